"""Weights of frames: what the discriminator learns, what it refuses, and that cloning heeds it."""

from __future__ import annotations

from dataclasses import replace

from imitation_ros.episodes.training_set import TrainingSet
from imitation_ros.errors import ImitationError
from imitation_ros.frames.contract import parse_contract
from imitation_ros.learning.bc import BCConfig, train_bc
from imitation_ros.learning.weighting import (
    NoGoodEpisodesError,
    NotFiniteError,
    NoUnlabelledEpisodesError,
    pu_loss,
    weigh_frames,
    WeightingConfig,
)
from imitation_ros.types import Episode, Frame
import numpy as np
import pytest
import torch

CONTRACT = parse_contract("""
name: weighing
rate_hz: 20
command_hz: 20
observations:
  state: {topic: a, type: std_msgs/msg/Float64MultiArray, select: [data.0, data.1], max_age_s: 1}
actions:
  arm: {topic: b, type: std_msgs/msg/Float64, kind: velocity, units: '1', select: [data],
        low: -9, high: 9, max_acceleration: 1}
  gripper: {topic: c, type: std_msgs/msg/Int32, kind: discrete, classes: [open, close]}
""")
BC = BCConfig(hidden=(16, 16), epochs=4, steps_per_epoch=20, validation_fraction=0.25)
QUICK = WeightingConfig(rounds=1, steps=200)
GOOD, LABELLED = 8, 3


def episode(seed: int, sign: float, frames: int = 40) -> Episode:
    """The good ones act by the first element of the state, the wrong ones by its opposite."""
    states = np.random.default_rng(seed).normal(size=(frames, 2))
    actions = {'arm': sign * states[:, :1], 'gripper': (states[:, 1:] > 0).astype(np.int64)}
    return Episode(np.arange(frames), {'state': states}, actions, np.zeros(frames, np.int32))


def mixed() -> TrainingSet:
    """Good episodes, of which the first `LABELLED` are to be labelled, then as many wrong ones."""
    signs = [1.0] * GOOD + [-1.0] * GOOD
    episodes = [episode(seed, sign) for seed, sign in enumerate(signs)]
    return TrainingSet.from_episodes(episodes, CONTRACT)


def test_the_loss_finds_the_log_odds_of_the_good_share():
    """Two kinds of frames; half of the unlabelled are of the kind that is labelled good."""
    logits = torch.zeros(2, requires_grad=True)
    optimizer = torch.optim.SGD([logits], 0.5)
    for _ in range(2000):
        loss = pu_loss(logits[[0]], logits[[0, 0, 0, 1]], prior=0.5)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    # Of the kind that makes up 3/4 of the unlabelled, 0.5 / 0.75 must be good.
    assert torch.sigmoid(logits[0]).item() == pytest.approx(2 / 3, abs=0.02)
    assert torch.sigmoid(logits[1]).item() < 0.01


def test_what_the_good_ones_add_is_never_less_than_nothing():
    """Without the bound, good frames that are known by heart would make the loss negative."""
    assert 0.0 <= float(pu_loss(torch.tensor([50.0]), torch.tensor([-50.0]), 0.5)) < 1e-9


@pytest.mark.parametrize('whole', [True, False])
def test_good_frames_count_more_than_wrong_ones(whole):
    weights = weigh_frames(mixed(), range(LABELLED), replace(QUICK, whole_episodes=whole))
    assert [each.shape for each in weights] == [(40,)] * 2 * GOOD
    assert all(((each >= 0) & (each <= 1)).all() for each in weights)
    assert all((each == 1).all() for each in weights[:LABELLED])
    good, wrong = np.concatenate(weights[LABELLED:GOOD]), np.concatenate(weights[GOOD:])
    assert good.mean() > (3.0 if whole else 1.5) * wrong.mean()
    assert all((each == each[0]).all() for each in weights) == whole


def test_the_same_seed_gives_the_same_weights():
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    first, again = (weigh_frames(mixed(), [0, 1], QUICK, seed=5) for _ in range(2))
    assert torch.rand(1) == expected
    assert all(map(np.array_equal, first, again))


def test_weights_that_are_all_alike_change_nothing():
    training_set = mixed()
    alike = [np.full(len(each), 0.25) for each in training_set]
    for config in (BC, replace(BC, members=2), replace(BC, chunk=3)):
        plain, record = train_bc(training_set, config)
        weighted, told = train_bc(training_set, config, frame_weights=alike)
        networks = plain.network.state_dict(), weighted.network.state_dict()
        assert all(torch.equal(networks[0][name], networks[1][name]) for name in networks[0])
        assert (record.frame_weights, record.mean_frame_weight) == ('', 1.0)
        assert len(told.frame_weights) == 64
        assert told.mean_frame_weight == 0.25


def test_frames_of_no_weight_are_not_imitated():
    training_set = mixed()
    weights = [np.full(len(e), float(k < GOOD)) for k, e in enumerate(training_set)]
    config = replace(BC, epochs=40, validation_fraction=0.0, weight_decay=0.0)
    policy, _ = train_bc(training_set, config, frame_weights=weights)
    for value in (-1.0, 1.0):
        action = policy.act(Frame(0, {'state': np.array([value, 0.0])}))
        assert action['arm'][0] == pytest.approx(value, abs=0.2)
        policy.reset()


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (lambda w: w[1:], 'shapes'),
        (lambda w: [each[1:] for each in w], 'shapes'),
        (lambda w: [each * np.nan for each in w], 'NaN'),
        (lambda w: [-each for each in w], 'negative'),
        (lambda w: [0 * each for each in w], 'all 0'),
    ],
)
def test_weights_that_do_not_fit_are_refused(change, message):
    training_set = mixed()
    weights = change([np.ones(len(each)) for each in training_set])
    with pytest.raises(ImitationError, match=message):
        train_bc(training_set, BC, frame_weights=weights)


def test_labels_and_data_that_cannot_be_learned_from_are_refused():
    training_set = mixed()
    with pytest.raises(NoGoodEpisodesError, match='no episode is labelled good'):
        weigh_frames(training_set, [])
    with pytest.raises(NoUnlabelledEpisodesError, match='all 16 episodes'):
        weigh_frames(training_set, range(16))
    with pytest.raises(ImitationError, match='no episode 16; valid: 0 to 15'):
        weigh_frames(training_set, [0, 16])
    broken = episode(0, 1.0)
    broken.actions['arm'][3] = np.nan
    data = TrainingSet.from_episodes([episode(1, 1.0), broken], CONTRACT)
    with pytest.raises(NotFiniteError, match=r'episode 1: actions\.arm holds NaN'):
        weigh_frames(data, [0])


@pytest.mark.parametrize(
    ('name', 'value'),
    [('prior', 1.0), ('rounds', -1), ('steps', 0), ('noise', -0.1), ('hidden', ())],
)
def test_settings_that_cannot_be_are_refused(name, value):
    with pytest.raises(ImitationError, match=name):
        WeightingConfig(**{name: value})
