"""Training a reward: order, health, resuming, and what cannot be learned from."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

from imitation_ros.errors import CheckpointError, RewardError
from imitation_ros.frames.contract import load_contract
from imitation_ros.learning.irl.network import RewardConfig, tensors
from imitation_ros.learning.irl.separation import auc
from imitation_ros.learning.irl.trainer import RewardTrainer, scrambled
from imitation_ros.learning.irl.transitions import concatenated
import numpy as np
import pytest
from test_reward import make_steps
import torch

CONTRACT = load_contract('panda_reach')


def make_trainer(expert=None, seed=0, **config):
    expert = make_steps(0, episodes=20) if expert is None else expert
    return RewardTrainer(expert, CONTRACT, RewardConfig(learning_rate=1e-3, **config), seed)


def clumsy(seed=1, episodes=10):
    steps = make_steps(seed, episodes=episodes, skill=0.2)
    return replace(steps, episode=steps.episode + 100 * seed)


@pytest.mark.parametrize(
    ('objective', 'regularization'),
    [
        *product(['gail', 'margin'], ['gradient_penalty', 'spectral']),
        ('ranking', 'gradient_penalty'),
    ],
)
def test_the_expert_scores_above_the_actor(objective, regularization):
    trainer = make_trainer(objective=objective, regularization=regularization)
    trainer.add(clumsy())
    health = trainer.train(1000)
    assert health.separation > 0.1
    reward = trainer.reward()
    unseen = make_steps(3, episodes=30), clumsy(seed=2, episodes=30)
    assert auc(*(reward.score_steps(steps) for steps in unseen)) > 0.6


def test_airl_takes_the_actors_density_out_of_the_score():
    """Where the actor is as likely as the score, the logit has nothing left to learn."""
    trainer = make_trainer(objective='airl', inputs='state', shaping=True)
    trainer.add(clumsy())
    with pytest.raises(ValueError, match='log_density'):
        trainer.train(1)
    trainer.train(20, lambda observation, action: torch.zeros(len(action)))
    assert trainer.reward().disentangled().config.shaping is False


def test_ranking_compares_whole_trajectories():
    """Half of the actor's steps are the expert's own: only their sums tell the two apart."""
    rng = np.random.default_rng(0)
    expert, actor = make_steps(5, episodes=20), clumsy(episodes=20)
    good = rng.random(len(actor)) < 0.5
    mixed = replace(actor, action=np.where(good[:, None], expert.action, actor.action))
    mixed = replace(
        mixed, observation=np.where(good[:, None], expert.observation, actor.observation)
    )
    trainer = make_trainer(objective='ranking')
    trainer.add(mixed)
    trainer.train(500)
    scores = trainer.reward().score_steps(mixed)
    assert scores[good].mean() > scores[~good].mean()
    assert auc(trainer.reward().score_steps(make_steps(3, episodes=30)), scores[~good]) > 0.6


def test_shuffled_labels_give_no_order():
    rng = np.random.default_rng(0)
    both = concatenated([make_steps(0, episodes=20), clumsy(episodes=20)])
    names = rng.permutation(both.episodes)
    trainer = make_trainer(both.of(names[:20]), held_out_every=2)
    trainer.add(both.of(names[20:]))
    trainer.train(300)
    honest = make_trainer(held_out_every=2)
    honest.add(clumsy(episodes=20))
    honest.train(300)
    assert abs(trainer.health().auc - 0.5) < 0.15
    assert honest.health().auc > 0.75


def test_calibration_puts_random_at_zero_and_the_expert_at_one():
    trainer = make_trainer()
    random = make_steps(9, episodes=8, skill=0.0)
    trainer.set_random(random)
    trainer.add(clumsy())
    trainer.train(200)
    reward = trainer.reward()
    assert reward.score_steps(random).mean() == pytest.approx(0.0, abs=1e-5)
    held_out = trainer.demonstrations.held_out
    assert reward.score_steps(held_out).mean() == pytest.approx(1.0, abs=1e-5)


def test_random_behaviour_above_the_expert_does_not_hide_what_was_learned():
    """All scores were 0 then, so that expert and actor were called alike: AUC 0.5, converged."""
    trainer = make_trainer()
    trainer.add(clumsy())
    assert trainer.train(200).above_random
    told, shown = trainer.health(), trainer.demonstrations.fitted
    best = trainer.reward().score_steps(shown) > 1.0
    trainer.set_random(replace(shown.take(best), action=shown.action[best] + 1e-5))
    health = trainer.health()
    assert not health.above_random
    assert (health.expert, health.actor, health.separation) == (0.0, 0.0, 0.0)
    assert (health.auc, health.accuracy) == pytest.approx((told.auc, told.accuracy))
    assert not health.converged


@pytest.mark.parametrize(('numbers', 'held_out'), [(range(9), 0), (range(12), 1), ([9], 0)])
def test_health_says_how_many_of_the_actors_episodes_were_held_out(numbers, held_out):
    """Of number 9 alone nothing was left to train against, and the error said that none came."""
    trainer, steps = make_trainer(), clumsy(episodes=12)
    steps = replace(steps, episode=steps.episode - steps.episode[0])
    trainer.add(steps.of(list(numbers)))
    health = trainer.train(1)
    assert (health.actor_episodes, health.held_out) == (len(numbers), held_out)


def test_what_stands_for_random_behaviour_stays_the_same():
    """Without any given, the 0 moved with each roll-out that came in."""
    trainer, seen = make_trainer(), make_steps(4)
    trainer.add(clumsy())
    trainer.train(100)
    before = trainer.reward().score_steps(seen)
    trainer.add(clumsy(seed=2))
    np.testing.assert_array_equal(trainer.reward().score_steps(seen), before)


def test_what_stands_for_random_behaviour_does_not_jump():
    """State and next state were drawn apart from each other: jumps across the workspace."""
    steps = make_steps(0, terminated=True)
    near = steps.observation + np.float32(0.01) * (np.arange(len(steps))[:, None] % 2)
    near[:, -1] = steps.next_observation[:, -1]
    made_up = scrambled(replace(steps, next_observation=near), seed=0)
    change = made_up.next_observation - made_up.observation
    assert np.abs(change).max() < 0.011
    assert not made_up.observation[:, -1].any()


def test_airl_needs_the_demonstrated_actions_even_where_it_sees_states_alone():
    """The actor's density was asked for zeros that stood in their place."""
    with pytest.raises(RewardError, match='action: NaN'):
        make_trainer(make_steps().without_actions(), objective='airl', inputs='state')


def test_length_says_nothing_where_episodes_are_the_same_but_for_it():
    """Absorbing states handled: expert and actor differ in length alone, and that by chance."""
    expert = make_steps(0, episodes=20, ticks=30, terminated=True)
    short = make_steps(1, episodes=30, ticks=8, terminated=True)
    trainer = make_trainer(expert, inputs='state_action')
    trainer.add(short)
    trainer.train(200)
    living = short.take(short.observation[:, -1] == 0)
    fresh = expert.take(expert.observation[:, -1] == 0)
    reward = trainer.reward()
    means = [float(reward.raw(tensors(each)).mean()) for each in (fresh, living)]
    assert abs(means[0] - means[1]) < 0.3


def test_a_resumed_training_ends_with_the_same_weights(tmp_path):
    def trained(stop):
        trainer = make_trainer()
        trainer.add(clumsy())
        trainer.train(20)
        if stop:
            trainer.save(tmp_path / 'state.safetensors')
            trainer = make_trainer()
            trainer.load(tmp_path / 'state.safetensors')
        trainer.train(20)
        return trainer.reward().score_steps(make_steps(4)), trainer.version

    straight, resumed = trained(stop=False), trained(stop=True)
    np.testing.assert_array_equal(straight[0], resumed[0])
    assert straight[1] == resumed[1] == 2


def test_the_state_of_another_training_is_refused(tmp_path):
    path = tmp_path / 'state.safetensors'
    make_trainer().save(path)
    with pytest.raises(CheckpointError, match='demonstrations: '):
        make_trainer(make_steps(8)).load(path)
    with pytest.raises(CheckpointError, match='seed: 0 there, 1 here'):
        make_trainer(seed=1).load(path)
    path.write_bytes(b'nothing')
    with pytest.raises(CheckpointError, match='a state that save'):
        make_trainer().load(path)


def test_too_few_or_broken_demonstrations_are_refused():
    with pytest.raises(RewardError, match='0 episodes with 0 steps; valid: at least 2'):
        make_trainer(make_steps(episodes=0))
    with pytest.raises(RewardError, match='1 episodes'):
        make_trainer(make_steps(episodes=1))
    steps = make_steps()
    with pytest.raises(RewardError, match='6 numbers of observation'):
        make_trainer(replace(steps, observation=steps.observation[:, 1:]))
    with pytest.raises(RewardError, match='action: NaN'):
        make_trainer(steps.without_actions())
    make_trainer(steps.without_actions(), inputs='state_next')


def test_what_an_actor_did_serves_another_reward():
    first, second = make_trainer(), make_trainer()
    with pytest.raises(RewardError, match='none yet'):
        assert first.rollouts
    first.add(clumsy())
    second.add(first.rollouts)
    assert np.array_equal(second.rollouts.observation, clumsy().observation)


def test_one_sided_data_is_refused():
    with pytest.raises(RewardError, match='roll-outs: none to train against'):
        make_trainer().train(1)
    with pytest.raises(RewardError, match='roll-outs: no step'):
        make_trainer().add(make_steps(episodes=0))


def test_the_demonstrations_themselves_are_no_roll_outs():
    expert = make_steps(0)
    with pytest.raises(RewardError, match='100% of the 44 steps are demonstrated'):
        make_trainer(expert).add(expert)


def test_nan_in_a_roll_out_is_refused_and_changes_nothing():
    trainer, broken = make_trainer(), clumsy()
    broken.observation[0, 0] = np.nan
    with pytest.raises(RewardError, match='observation: NaN'):
        trainer.add(broken)
    with pytest.raises(RewardError, match='none to train against'):
        trainer.train(1)


def test_diverging_training_keeps_the_last_good_reward():
    trainer, steps = make_trainer(), make_steps(4)
    trainer.add(clumsy())
    trainer.train(50)
    before = trainer.reward().score_steps(steps)
    with torch.no_grad():
        next(trainer.network.parameters()).fill_(torch.nan)
    with pytest.raises(RewardError, match='the last good reward, version 1, is kept'):
        trainer.train(10)
    np.testing.assert_array_equal(trainer.reward().score_steps(steps), before)
    trainer.train(10)
    assert trainer.version == 2


def test_old_steps_of_the_actor_are_forgotten():
    trainer = make_trainer(recent_steps=60)
    for seed in range(1, 5):
        trainer.add(clumsy(seed, episodes=4))
    assert len(trainer._recent) == 60
    assert trainer._recent.all().episode[-1] == 403


def test_noise_blurs_actions_and_nothing_else():
    network = make_trainer().network
    features = network.standardized(tensors(make_steps(1)))
    blurred = network.blurred(features, 0.5, torch.Generator().manual_seed(0)) - features
    actions = slice(7, 10)
    assert float(blurred[:, actions].std()) == pytest.approx(0.5, rel=0.2)
    blurred[:, actions] = 0.0
    assert not blurred.any()
