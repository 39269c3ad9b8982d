"""It learns: an actor from random weights, on a reward from demonstrations alone."""

from __future__ import annotations

from imitation_ros.frames.contract import load_contract
from imitation_ros.learning.irl.actor import ActorConfig
from imitation_ros.learning.irl.adversarial import AdversarialConfig, Imitator
from imitation_ros.learning.irl.flat_env import FlatEnv
from imitation_ros.learning.irl.layout import Layout
from imitation_ros.learning.irl.network import RewardConfig
from imitation_ros.learning.irl.separation import auc
from imitation_ros.learning.irl.trainer import RewardTrainer
from imitation_ros.learning.irl.transitions import transitions
from imitation_ros.types import Episode, Frame
import numpy as np

CONTRACT = load_contract('panda_reach')
TICKS = 20


class Points:
    """The arm's `reach` without an arm: a tool that goes where it is told."""

    def reset(self, seed=None, options=None):
        rng = np.random.default_rng(seed)
        self.tick, self.state = 0, rng.uniform(-0.2, 0.2, 6)
        return {'state': self.state}, {}

    def step(self, action):
        self.tick += 1
        self.state = self.state + np.concatenate([0.1 * action['arm'], np.zeros(3)])
        return {'state': self.state}, 0.0, False, self.tick == TICKS, {'success': True}

    def close(self):
        pass


def expert(frame):
    state = frame.observation['state']
    return {'arm': np.clip(3.0 * (state[3:] - state[:3]), -0.4, 0.4)}


def roll_out(act, seed):
    env, states, actions = Points(), [], []
    observation, _ = env.reset(seed=seed)
    for tick in range(TICKS):
        states.append(observation['state'])
        actions.append(act(Frame(tick * CONTRACT.tick_period_ns, observation))['arm'])
        observation, *_ = env.step({'arm': actions[-1]})
    ticks = np.arange(TICKS)
    arrays = {'state': np.array(states)}, {'arm': np.array(actions)}
    return Episode(ticks, *arrays, np.zeros(TICKS, np.int32))


def error(act):
    """Mean distance of the action from the expert's, in the states that it comes to."""
    errors = []
    for seed in range(100, 110):
        episode = roll_out(act, seed)
        for state, action in zip(episode.observations['state'], episode.actions['arm']):
            errors.append(np.abs(action - expert(Frame(0, {'state': state}))['arm']).mean())
    return np.mean(errors)


def test_an_actor_learns_on_a_learned_reward_what_the_expert_does():
    demonstrations = transitions([roll_out(expert, seed) for seed in range(10)], CONTRACT)
    trainer = RewardTrainer(demonstrations, CONTRACT, RewardConfig(penalty=1.0), seed=0)
    config = AdversarialConfig(
        ActorConfig(hidden=(64, 64), learning_starts=100, batch_size=128, gamma=0.9), steps=1_200
    )
    imitator = Imitator([lambda: FlatEnv(Points(), Layout(CONTRACT))], trainer, config, seed=0)
    random = np.random.default_rng(0)

    def act_randomly(frame):
        return {'arm': random.uniform(-0.4, 0.4, 3)}

    before = error(act_randomly)
    policy = imitator.run()
    assert error(policy.act) < 0.5 * before
    trainer.promote()
    reward = trainer.reward()
    unseen = [
        reward.score_steps(transitions([roll_out(act, seed) for seed in range(50, 60)], CONTRACT))
        for act in (expert, act_randomly)
    ]
    assert auc(*unseen) > 0.9
