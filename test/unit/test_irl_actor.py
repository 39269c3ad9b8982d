"""The pieces around a reward: simulators, replay, export, ranking, feature matching, watching."""

from __future__ import annotations

from dataclasses import replace

from imitation_ros.episodes.training_set import TrainingSet
from imitation_ros.errors import ImitationError, RewardError
from imitation_ros.frames.contract import load_contract
from imitation_ros.learning.bc import BCConfig, train_bc
from imitation_ros.learning.irl.actor import ActorConfig
from imitation_ros.learning.irl.adversarial import AdversarialConfig, Imitator
from imitation_ros.learning.irl.apprenticeship import feature_expectations, match_features
from imitation_ros.learning.irl.flat_env import ABSORBING, FlatEnv
from imitation_ros.learning.irl.layout import Layout
from imitation_ros.learning.irl.network import RewardConfig
from imitation_ros.learning.irl.ranking import TrajectoryRanker
from imitation_ros.learning.irl.sim_tasks import SimTask
from imitation_ros.learning.irl.trainer import RewardTrainer
from imitation_ros.learning.irl.transitions import transitions
from imitation_ros.learning.irl.watching import InverseConfig, InverseDynamics
from imitation_ros.sim.env import ArmEnv
from imitation_ros.types import Episode, Frame
import numpy as np
import pytest
from test_reward import make_episode, make_steps
import torch

CONTRACT = load_contract('panda_reach')
PICK = load_contract('panda_twist')
KEYS = load_contract('panda_keys')
STATES = np.random.default_rng(1).normal(0.0, 0.1, (12, 6))


class Corridor:
    """Walks along x; ends by itself after `length` ticks, or is cut after `limit`."""

    def __init__(self, length=3, limit=10):
        self.length, self.limit = length, limit

    def reset(self, seed=None, options=None):
        self.tick = 0
        self.state = np.zeros(6)
        return {'state': self.state}, {}

    def step(self, action):
        self.tick += 1
        self.state = self.state + np.concatenate([action['arm'], np.zeros(3)])
        ended = self.tick == self.length
        return {'state': self.state}, 0.0, ended, self.tick == self.limit and not ended, {}

    def close(self):
        pass


class Still(Corridor):
    """Nothing moves, whatever is done."""

    def __init__(self):
        super().__init__(length=99, limit=8)

    def step(self, action):
        self.tick += 1
        return {'state': self.state}, 0.0, False, self.tick == self.limit, {}


def make_still(contract, actor, pay=None, **reward):
    """An imitator of demonstrations in which one action is right, always."""
    layout, rng = Layout(contract), np.random.default_rng(0)
    (spec,) = layout.actions.values()
    right = np.full((12, 1), 3) if spec.discrete else np.full((12, 3), 0.2)
    episodes = [
        replace(make_episode(rng), actions={'arm': right}, observations={'state': STATES})
        for _ in range(4)
    ]
    trainer = RewardTrainer(transitions(episodes, contract), contract, RewardConfig(**reward))
    config = AdversarialConfig(actor, steps=3_000)
    return Imitator([lambda: FlatEnv(Still(), layout)], trainer, config, seed=0, pay=pay)


def make_imitator(
    algorithm='sac',
    contract=CONTRACT,
    objective='gail',
    inputs='state_action',
    expert=None,
    precision=1.0,
    steps=40,
    **config,
):
    expert = make_steps(0, episodes=6) if expert is None else expert
    trainer = RewardTrainer(expert, contract, RewardConfig(inputs, objective=objective), seed=0)
    actor = ActorConfig(
        algorithm, (16, 16), learning_starts=8, batch_size=16, rollout_steps=16, epochs=1,
        precision=precision,
    )  # fmt: skip
    settings = AdversarialConfig(actor, steps=steps, reward_updates=2, watch_every=20, **config)
    return Imitator([lambda: FlatEnv(Corridor(), Layout(contract))], trainer, settings, seed=0)


def test_a_terminal_leads_through_the_absorbing_state_and_a_time_limit_does_not():
    env = FlatEnv(Corridor(length=3), Layout(CONTRACT))
    env.reset()
    steps = [env.step(np.zeros(3)) for _ in range(4)]
    assert [step[0][-1] for step in steps] == [0, 0, 1, 1]
    assert [step[2:4] for step in steps] == [(False, False)] * 3 + [(False, True)]
    assert steps[3][4] == {ABSORBING: True, 'success': False}
    assert env.steps == 3
    env = FlatEnv(Corridor(length=99, limit=3), Layout(CONTRACT))
    env.reset()
    steps = [env.step(np.zeros(3)) for _ in range(3)]
    assert steps[-1][2:4] == (False, True)
    assert steps[-1][0][-1] == 0


@pytest.mark.parametrize('algorithm', ['sac', 'td3', 'ppo'])
def test_an_actor_is_exported_exactly(algorithm):
    imitator = make_imitator(algorithm, averaging=0.0)
    policy = imitator.run()
    layout = imitator.trainer.layout
    for state in np.random.default_rng(0).normal(0.3, 0.1, (5, 6)):
        policy.reset()
        action = policy.act(Frame(0, {'state': state}))
        flat, _ = imitator.model.predict(layout.observe({'state': state}), deterministic=True)
        exported = layout.flatten(action)
        np.testing.assert_allclose(np.clip(exported, -1, 1), flat, atol=2e-5)


@pytest.mark.parametrize('algorithm', ['sac', 'td3'])
@pytest.mark.parametrize('normalized', [False, True])
def test_the_values_of_a_normalized_critic_do_not_grow_far_away(algorithm, normalized):
    actor = ActorConfig(algorithm, (16, 16), learning_starts=8, normalized=normalized)
    model = make_still(CONTRACT, actor).model
    with torch.no_grad():
        near, far = (
            float(torch.cat(model.critic(torch.full((1, 7), away), torch.zeros(1, 3))).abs().max())
            for away in (1e4, 1e6)
        )
    assert far == pytest.approx(near, rel=0.1) if normalized else far > 50 * near


BEGINS = [
    ('td3', CONTRACT), ('td3', PICK), ('ppo', CONTRACT), ('ppo', PICK), ('ppo', KEYS)
]  # fmt: skip


def random_episode(contract, seed):
    """Twelve ticks of anything that the contract allows."""
    rng = np.random.default_rng(seed)
    (name, seen), specs = *contract.observation_specs.items(), contract.action_specs
    actions = {
        part: rng.integers(0, len(spec.classes), (12, 1))
        if spec.discrete
        else rng.uniform(spec.low, spec.high, (12, *spec.shape))
        for part, spec in specs.items()
    }
    observations = {name: rng.normal(0, 0.2, (12, *seen.shape))}
    return Episode(np.arange(12), observations, actions, np.zeros(12, np.int32))


def make_clone(contract, **architecture):
    torch.manual_seed(0)
    shown = TrainingSet.from_episodes([random_episode(contract, 9)], contract)
    config = BCConfig(hidden=(12, 8), epochs=2, validation_fraction=0.0, **architecture)
    return train_bc(shown, config, 0)[0]


def begun(algorithm, contract, clone=None, steps=5_000):
    shown = transitions([random_episode(contract, seed) for seed in range(3)], contract)
    layout = Layout(contract)
    return Imitator(
        [lambda: FlatEnv(Still(), layout)], RewardTrainer(shown, contract),
        AdversarialConfig(ActorConfig(algorithm, (16, 16)), steps), seed=0, clone=clone,
    )  # fmt: skip


def assert_same_acts(imitator, policy, contract):
    """A policy does what the actor finds best."""
    layout, (name,) = imitator.trainer.layout, contract.observation_specs
    for seed in range(5):
        seen = {name: random_episode(contract, seed).observations[name][0]}
        best, _ = imitator.model.predict(layout.observe(seen), deterministic=True)
        policy.reset()
        acted = policy.act(Frame(0, seen))
        if best.shape != (layout.action_size,):
            assert acted['arm'][0] == best
            continue
        expected = layout.unflatten(best)
        for part, spec in contract.action_specs.items():
            limits = () if spec.discrete else (spec.low, spec.high)
            found = acted[part] if spec.discrete else np.clip(acted[part], *limits)
            np.testing.assert_allclose(found, expected[part], atol=1e-5)


@pytest.mark.parametrize(('algorithm', 'contract'), BEGINS)
def test_the_export_does_the_same_for_every_kind_of_action(algorithm, contract):
    """PPO's could not be made at all where a gripper opens and closes beside an arm."""
    imitator = begun(algorithm, contract)
    assert_same_acts(imitator, imitator.policy(), contract)


@pytest.mark.parametrize(('algorithm', 'contract'), BEGINS)
def test_an_actor_may_begin_as_a_clone(algorithm, contract):
    clone = make_clone(contract)
    imitator = begun(algorithm, contract, clone)
    assert_same_acts(imitator, clone, contract)
    assert_same_acts(imitator, imitator.policy(), contract)


def test_an_actor_stays_the_clone_while_its_critic_learns():
    """It followed a critic of random weights: a clone of 100 % was at 20 % after 500 steps."""
    clone = make_clone(CONTRACT)
    imitator = begun('td3', CONTRACT, clone, steps=130)
    critic = next(imitator.model.critic.parameters()).clone()
    assert_same_acts(imitator, imitator.run(), CONTRACT)
    assert_same_acts(imitator, clone, CONTRACT)
    assert not torch.equal(next(imitator.model.critic.parameters()), critic)


def test_what_cannot_begin_as_a_clone_is_refused():
    with pytest.raises(RewardError, match=r'sac ends in a tanh.* valid .*td3, ppo'):
        begun('sac', CONTRACT, make_clone(CONTRACT))
    with pytest.raises(RewardError, match='history 2; valid: 1'):
        begun('td3', CONTRACT, make_clone(CONTRACT, history=2))


@pytest.mark.parametrize(('contract', 'right'), [(CONTRACT, [0.4] * 3), (KEYS, [3])])
def test_ppo_with_its_usual_settings_learns(contract, right):
    """Its weights were averaged once a roll-out, and its bonus of 1 paid for noise: what came out
    after 5,000 steps was a tenth of the way from random weights."""
    expert = torch.from_numpy(Layout(contract).flatten({'arm': np.array([right])}))
    actor = ActorConfig('ppo', (16, 16), batch_size=64)
    imitator = make_still(contract, actor, lambda batch, _: -(batch[1] - expert).square().sum(1))
    action = imitator.run().act(Frame(0, {'state': np.zeros(6)}))['arm']
    np.testing.assert_allclose(np.minimum(action, right), right, atol=0.15)


@pytest.mark.parametrize(('precision', 'deviation'), [(1.0, 1.0), (3.0, 0.1353)])
def test_precise_exploration_of_ppo_begins_with_less_noise(precision, deviation):
    noise = make_imitator('ppo', precision=precision).model.policy.log_std.exp()
    np.testing.assert_allclose(noise.detach(), deviation, atol=1e-3)


def test_the_watcher_is_called_and_steps_are_those_of_the_simulation():
    seen = []
    imitator = make_imitator()
    imitator.run(lambda each: seen.append(each.steps))
    assert seen == [20, 40]
    assert imitator.steps == 40
    assert imitator.trainer.updates > 0
    assert len(imitator.trainer._recent) > 40  # the absorbing steps are remembered too


def test_the_watcher_sees_what_comes_out_at_the_end():
    """What was learned after its last turn was never tried."""
    seen = []
    make_imitator(steps=50).run(lambda each: seen.append(each.steps))
    assert seen == [20, 40, 50]


def test_a_potential_that_is_discounted_otherwise_than_the_actor_does_is_refused():
    """It paid the actor for being where the potential is high."""
    with pytest.raises(RewardError, match=r'gamma: 0\.99 of the reward, 0\.97 of the actor'):
        make_still(CONTRACT, ActorConfig(), shaping=True)
    make_still(CONTRACT, ActorConfig(), shaping=True, gamma=0.97)


@pytest.mark.parametrize('algorithm', ['sac', 'ppo'])
def test_a_reward_of_whole_trajectories_pays_the_actor_step_by_step(algorithm):
    imitator = make_imitator(algorithm, objective='ranking')
    imitator.run()
    assert imitator.trainer.updates > 0


@pytest.mark.parametrize('algorithm', ['sac', 'ppo'])
def test_airl_asks_the_actor_for_its_density(algorithm):
    imitator = make_imitator(algorithm, objective='airl')
    imitator.run()
    assert imitator.trainer.updates > 0


def test_airl_asks_for_the_density_of_each_class(monkeypatch):
    """The first of seven classes was taken for the second, and all others for the first."""
    imitator = make_still(KEYS, ActorConfig('ppo', (16, 16)), objective='airl')
    layout, asked = imitator.trainer.layout, []
    monkeypatch.setattr(imitator.trainer, 'update', lambda _, density: asked.append(density))
    imitator.env.reset()
    imitator.env.step(np.array([0]))
    imitator.teach()
    (density,) = asked
    seen = torch.from_numpy(layout.observe({'state': STATES[:7]}))
    each = torch.from_numpy(layout.flatten({'arm': np.arange(7)[:, None]}))
    with torch.no_grad():
        imitator.model.policy.action_net.bias += torch.arange(7)
        expected = imitator.model.policy.get_distribution(seen).distribution.logits.diagonal()
    np.testing.assert_allclose(density(seen, each), expected, atol=1e-5)


def test_airl_with_an_actor_that_has_no_density_is_refused():
    """It was an AssertionError at the first turn of the reward."""
    with pytest.raises(RewardError, match=r'algorithm: td3 .* valid: sac, ppo'):
        make_imitator('td3', objective='airl')


def test_half_of_a_batch_is_demonstrated_and_paid_by_the_present_reward():
    imitator = make_imitator()
    imitator.run()
    batch = imitator.model.replay_buffer.sample(16)
    shown = imitator.trainer.demonstrations.fitted.observation
    known = {row.tobytes() for row in shown}
    marks = [row.numpy().tobytes() in known for row in batch.observations]
    assert marks == [False] * 8 + [True] * 8
    before = batch.rewards.clone()
    with torch.no_grad():
        imitator.trainer.network.g[-1].bias += 1.0
    again = imitator.trainer.network((batch.observations, batch.actions, batch.next_observations))
    np.testing.assert_allclose(again.detach(), before[:, 0] + 1.0, atol=1e-5)


def test_demonstrations_that_were_only_watched_stay_out_of_the_replay_buffer():
    """Their actions were shown to the critic as zeros."""
    shown = make_steps(0, episodes=6).without_actions()
    imitator = make_imitator(expert=shown, inputs='state_next')
    imitator.run()
    batch = imitator.model.replay_buffer.sample(64)
    known = {row.tobytes() for row in shown.observation}
    assert not any(row.numpy().tobytes() in known for row in batch.observations)


@pytest.mark.parametrize('algorithm', ['sac', 'td3', 'ppo'])
def test_an_actor_that_diverges_says_so(algorithm):
    """NaN reached the guard, whose `Refused` was a traceback, or the sampling of actions."""

    def pay(batch, demonstrated):
        return batch[0].sum(1) * torch.nan

    layout = Layout(CONTRACT)
    actor = ActorConfig(algorithm, (16, 16), learning_starts=8, batch_size=16, rollout_steps=16)
    trainer = RewardTrainer(make_steps(0), CONTRACT)
    settings = AdversarialConfig(actor, steps=60)
    simulators = [lambda: FlatEnv(ArmEnv('reach', CONTRACT), layout)]
    imitator = Imitator(simulators, trainer, settings, seed=0, pay=pay)
    with pytest.raises(RewardError, match=r'not finite.* valid: a learning_rate below 0\.001'):
        imitator.run()


def test_an_unknown_algorithm_is_refused():
    with pytest.raises(ImitationError, match=r'algorithm: .* valid: sac'):
        ActorConfig('dqn')


def test_the_arm_goes_on_at_the_goal_with_a_fixed_horizon_alone():
    fixed = SimTask('reach', CONTRACT).demonstrate([1])
    ending = SimTask('reach', CONTRACT, fixed_horizon=False).demonstrate([1])
    assert not fixed.next_observation[:, -1].any()
    assert len(fixed) == 99
    assert ending.next_observation[-1, -1] == 1
    assert len(ending) < 99


def clumsy(seed, episodes, skill):
    steps = make_steps(seed, episodes=episodes, skill=skill)
    return replace(steps, episode=steps.episode + 1000 * seed)


def test_ranking_orders_trajectories_by_skill():
    ranker = TrajectoryRanker(
        make_steps(0, episodes=20), CONTRACT, RewardConfig(learning_rate=1e-3)
    )
    ranker.update(clumsy(1, 20, 0.3), 300)
    reward = ranker.reward(clumsy(2, 5, 0.0), make_steps(3, episodes=5))
    means = [reward.score_steps(clumsy(9, 20, skill)).mean() for skill in (0.2, 0.6, 1.0)]
    assert means == sorted(means)


def test_ranking_refuses_what_it_cannot_rank():
    ranker = TrajectoryRanker(make_steps(0), CONTRACT)
    with pytest.raises(RewardError, match='worse: 0 steps'):
        ranker.update(make_steps(episodes=0), 1)
    ranker.network.g[0].weight.data.fill_(torch.nan)
    with pytest.raises(RewardError, match='the last reward is kept'):
        ranker.update(clumsy(1, 4, 0.3), 1)


def grid_expectations(weights, gamma=0.9, side=4, horizon=60):
    """Exact value iteration in a grid whose features are its cells; starts in a corner."""
    states = side * side
    moves = np.array([[1, 0], [-1, 0], [0, 1], [0, -1], [0, 0]])
    places = np.array([[x, y] for x in range(side) for y in range(side)])
    after = np.clip(places[:, None] + moves, 0, side - 1) @ np.array([side, 1])
    value = np.zeros(states)
    for _ in range(200):
        value = weights + gamma * value[after].max(1)
    state, features = 0, np.zeros(states)
    for tick in range(horizon):
        features[state] += gamma**tick
        state = after[state, value[after[state]].argmax()]
    return features


def test_feature_matching_recovers_the_goal_of_a_grid():
    """The expert goes to one cell and stays: that cell gets the greatest weight."""
    truth = np.zeros(16)
    truth[11] = 1.0
    expert = grid_expectations(truth)
    away = np.zeros(16)
    away[0] = 1.0
    learned = match_features(expert, grid_expectations(away), grid_expectations)
    assert learned.weights.argmax() == 11 or learned.margin[-1] <= 1e-3
    np.testing.assert_allclose(grid_expectations(learned.weights), expert, atol=0.2)
    assert learned.margin == tuple(sorted(learned.margin, reverse=True))
    assert learned.mixture.sum() == pytest.approx(1.0)


def test_feature_expectations_are_discounted_means_over_episodes():
    episodes = [np.array([[1.0], [1.0]]), np.array([[0.0], [0.0]])]
    np.testing.assert_allclose(feature_expectations(episodes, 0.5), [0.75])
    with pytest.raises(RewardError, match='no episode'):
        feature_expectations([], 0.5)


def test_inverse_dynamics_names_the_actions_that_were_watched():
    rng = np.random.default_rng(0)
    episodes = []
    for _ in range(12):
        episode = make_episode(rng, ticks=40)
        episode.actions['arm'][:] = rng.uniform(-0.4, 0.4, (40, 3))
        tool = np.cumsum(episode.actions['arm'], 0) * 0.05
        episode.observations['state'][1:, :3] = tool[:-1]
        episode.observations['state'][0, :3] = 0.0
        episodes.append(episode)
    own, shown = transitions(episodes[:10], CONTRACT), transitions(episodes[10:], CONTRACT)
    model = InverseDynamics(own, CONTRACT, InverseConfig(updates=800))
    inferred = model.labelled(shown.without_actions())
    assert np.abs(inferred.action - shown.action).mean() < 0.1
    (first, _) = model.episodes(shown.without_actions())
    assert len(first) == 39
    assert np.abs(first.actions['arm'] - episodes[10].actions['arm'][:39]).mean() < 0.04
