"""Ensembles and safety classifiers: what a policy says of itself, on disk and in NumPy."""

from __future__ import annotations

from dataclasses import replace
import json

from imitation_ros.episodes.training_set import TrainingSet
from imitation_ros.errors import CheckpointError, EpisodeError, ImitationError
from imitation_ros.frames.contract import Contract, parse_contract
from imitation_ros.learning.bc import BCConfig, bootstrap, train_bc
from imitation_ros.learning.safety import train_risk
from imitation_ros.policies.checkpoint import load_checkpoint, save_checkpoint
from imitation_ros.policies.heads import Categorical, Deterministic
from imitation_ros.policies.network import Inputs
from imitation_ros.policies.policy import Policy
from imitation_ros.types import Episode, Frame
import numpy as np
import pytest
import torch

TICK_NS = 50_000_000
ENSEMBLE = BCConfig(
    hidden=(32,), members=4, epochs=20, steps_per_epoch=20, batch_size=64, weight_decay=0.0,
    validation_fraction=0.0,
)  # fmt: skip


def make_contract(discrete: bool = False) -> Contract:
    vector = {'type': 'std_msgs/msg/Float64MultiArray', 'select': ['data.0', 'data.1']}
    actions: dict[str, object] = {
        'arm': {
            'topic': 'command', 'kind': 'velocity', 'units': 'm/s', 'low': -2.0, 'high': 2.0,
            'max_acceleration': 1.0, **vector,
        }
    }  # fmt: skip
    if discrete:
        actions['gripper'] = {
            'topic': 'gripper', 'type': 'std_msgs/msg/Int32', 'kind': 'discrete',
            'classes': ['open', 'hold', 'close'],
        }  # fmt: skip
    return parse_contract(
        {
            'name': 'plane',
            'rate_hz': 20,
            'command_hz': 20,
            'observations': {'state': {'topic': 'state', 'max_age_s': 1.0, **vector}},
            'actions': actions,
        }
    )


def make_set(contract: Contract, episodes: int = 6, seed: int = 0) -> TrainingSet:
    """States in the unit square, each action a smooth function of them."""
    rng = np.random.default_rng(seed)
    made = []
    for _ in range(episodes):
        states = rng.uniform(-1, 1, (50, 2))
        actions = {'arm': np.sin(2 * states)}
        if 'gripper' in contract.action_specs:
            actions['gripper'] = np.digitize(states[:, :1], [-0.3, 0.3])
        ticks = np.arange(50) * TICK_NS
        made.append(Episode(ticks, {'state': states}, actions, np.zeros(50, np.int32)))
    return TrainingSet.from_episodes(made, contract)


def ask(policy: Policy, state: list[float]) -> dict[str, float]:
    policy.reset()
    policy.act(Frame(0, {'state': np.array(state)}))
    return dict(policy.signals)


@pytest.fixture(scope='module')
def ensemble() -> Policy:
    return train_bc(make_set(make_contract(discrete=True)), ENSEMBLE, seed=0)[0]


def test_it_is_unsure_where_it_has_seen_nothing(ensemble):
    inside = np.mean([ask(ensemble, [x, 0.2])['uncertainty'] for x in (-0.7, 0.0, 0.6)])
    outside = np.mean([ask(ensemble, [x, 4.0])['uncertainty'] for x in (-5.0, 0.0, 5.0)])
    assert outside > 5 * inside


def test_numpy_gives_what_the_members_of_the_network_give(ensemble):
    state = np.array([0.4, -0.6])
    standard = ensemble.normalization.observations['state']
    inputs = Inputs(torch.tensor(standard.apply(state), dtype=torch.float32)[None, None], {})
    with torch.no_grad():
        outputs = ensemble.network.by_part(ensemble.network(inputs)[:, 0, 0])
    arm, gripper = outputs['arm'].numpy(), outputs['gripper'].softmax(-1).mean(0)
    ensemble.reset()
    action = ensemble.act(Frame(0, {'state': state}))
    expected = ensemble.normalization.actions['arm'].invert(arm.mean(0))
    assert action['arm'] == pytest.approx(expected, abs=1e-4)
    assert action['gripper'] == [int(gripper.argmax())]
    spread = float(np.sqrt(np.square(arm.std(0)).mean()))
    assert ensemble.signals['uncertainty'] == pytest.approx(spread, rel=0.02)


def test_disagreement_on_a_class_is_the_share_of_other_votes():
    logits = 9.0 * np.eye(3)[[0, 0, 1, 0]][:, None]  # (members, 1, classes)
    head = Categorical(3)
    assert head.disagreement(logits, np.ones(3)) == pytest.approx(0.25)
    assert head.agreed(logits).tolist() == [[0]]
    certain = np.log(np.array([[0.9, 0.1], [0.4, 0.6], [0.4, 0.6]]))[:, None]
    assert Categorical(2).agreed(certain).tolist() == [[0]]  # the mean, not the majority


def test_disagreement_on_a_vector_is_in_the_given_units():
    outputs = np.array([[[0.0, 0.0]], [[2.0, 0.0]]])
    unit = np.array([0.5, 1.0])
    assert Deterministic(2).disagreement(outputs, unit) == pytest.approx(np.sqrt(2.0))


def test_members_differ_and_the_same_seed_gives_the_same_ones():
    training_set = make_set(make_contract())
    config = replace(ENSEMBLE, epochs=2)
    first, again, other = (
        train_bc(training_set, config, seed)[0].network.state_dict() for seed in (3, 3, 4)
    )
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not any(torch.equal(first[name], other[name]) for name in first)
    weight = first['perceptron.0.weight']
    assert weight.shape == (4, 2, 32)
    assert not torch.equal(weight[0], weight[1])


def test_members_learn_from_samples_of_their_own():
    draws = bootstrap(3, 10_000, seed=1)
    assert draws.mean(1).tolist() == pytest.approx([1.0] * 3, abs=0.05)
    assert (draws == 0).float().mean().item() == pytest.approx(np.exp(-1), abs=0.02)
    assert not torch.equal(draws[0], draws[1])
    assert torch.equal(draws, bootstrap(3, 10_000, seed=1))


def test_an_ensemble_is_nearer_to_the_truth_than_its_members():
    contract = make_contract()
    ensemble, _ = train_bc(make_set(contract), replace(ENSEMBLE, epochs=5), seed=0)
    states = np.random.default_rng(9).uniform(-1, 1, (200, 2))
    standard = ensemble.normalization.observations['state'].apply(states)
    with torch.no_grad():
        inputs = Inputs(torch.tensor(standard, dtype=torch.float32)[:, None], {})
        outputs = ensemble.network(inputs)[:, :, 0].numpy()
    truth = ensemble.normalization.actions['arm'].apply(np.sin(2 * states))
    members = np.square(outputs - truth).mean((1, 2))
    assert np.square(outputs.mean(0) - truth).mean() < members.mean()


def test_a_chunk_keeps_what_was_said_when_it_was_planned():
    contract = make_contract()
    config = replace(ENSEMBLE, epochs=1, chunk=3, execute=3)
    policy, _ = train_bc(make_set(contract), config)
    said = []
    for tick, x in enumerate((0.0, 5.0, 5.0, 5.0)):
        policy.act(Frame(tick * TICK_NS, {'state': np.array([x, x])}))
        said.append(policy.signals['uncertainty'])
    assert said[0] == said[1] == said[2] != said[3]


def test_a_single_network_says_nothing_of_itself():
    policy, _ = train_bc(make_set(make_contract()), replace(ENSEMBLE, members=1, epochs=1))
    assert not ask(policy, [0.0, 0.0])


@pytest.mark.parametrize('members', [0, 101])
def test_too_few_and_too_many_members_are_refused(members):
    with pytest.raises(ImitationError, match='members'):
        _ = BCConfig(members=members)


@pytest.fixture(scope='module')
def judged() -> Policy:
    """Right on the left, where it was trained; wrong on the right."""
    contract = make_contract()
    training = make_set(contract)
    left = [
        replace(each, observations={'state': np.minimum(each.observations['state'], 0.0)})
        for each in training
    ]
    left = [replace(e, actions={'arm': np.sin(2 * e.observations['state'])}) for e in left]
    config = replace(ENSEMBLE, members=1)
    policy, _ = train_bc(TrainingSet.from_episodes(left, contract), config)
    unseen = make_set(contract, seed=7)
    flipped = [
        replace(
            e, actions={'arm': np.where(e.observations['state'] > 0, -1.5, 1) * e.actions['arm']}
        )
        for e in unseen
    ]
    return policy.with_risk(
        train_risk(policy, TrainingSet.from_episodes(flipped, contract), threshold=0.3)
    )


def test_risk_is_high_where_the_policy_errs_on_frames_it_was_not_trained_on(judged):
    safe = [ask(judged, [-0.6, y])['risk'] for y in (-0.8, -0.4)]
    risky = [ask(judged, [0.6, y])['risk'] for y in (0.4, 0.8)]
    assert max(safe) < 0.2
    assert min(risky) > 0.8


def test_a_safety_classifier_is_saved_with_the_policy(judged, tmp_path):
    save_checkpoint(tmp_path / 'policy', judged, {})
    loaded = load_checkpoint(tmp_path / 'policy')
    assert loaded.risk is not None
    assert loaded.risk.threshold == 0.3
    assert ask(loaded, [0.6, 0.6]) == ask(judged, [0.6, 0.6])
    assert {path.name for path in (tmp_path / 'policy').iterdir()} == {
        'policy.json', 'policy.safetensors'
    }  # fmt: skip


def test_a_checkpoint_without_one_stays_valid(tmp_path):
    policy, _ = train_bc(make_set(make_contract()), replace(ENSEMBLE, members=1, epochs=1))
    save_checkpoint(tmp_path / 'policy', policy, {})
    document = json.loads((tmp_path / 'policy' / 'policy.json').read_text())
    assert 'risk' not in document
    assert load_checkpoint(tmp_path / 'policy').risk is None


def test_an_ensemble_reads_back_the_same(ensemble, tmp_path):
    save_checkpoint(tmp_path / 'policy', ensemble, {})
    loaded = load_checkpoint(tmp_path / 'policy')
    assert ask(loaded, [0.3, 0.1]) == ask(ensemble, [0.3, 0.1])


def test_weights_of_a_classifier_that_the_document_does_not_know_are_refused(judged, tmp_path):
    save_checkpoint(tmp_path / 'with', judged, {})
    save_checkpoint(tmp_path / 'without', replace_risk(judged), {})
    weights = tmp_path / 'with' / 'policy.safetensors'
    weights.replace(tmp_path / 'without' / 'policy.safetensors')
    with pytest.raises(CheckpointError, match='damaged'):
        load_checkpoint(tmp_path / 'without')


def replace_risk(policy: Policy) -> Policy:
    return Policy(policy.contract, policy.architecture, policy.normalization, policy.network)


def test_the_same_seed_gives_the_same_classifier(judged):
    unseen = make_set(judged.contract, seed=8)
    first, again = (train_risk(judged, unseen, 0.3, seed=5).state_dict() for _ in range(2))
    assert all(torch.equal(first[name], again[name]) for name in first)


def test_without_frames_there_is_nothing_to_learn_risk_from(judged):
    with pytest.raises(EpisodeError, match='held-out'):
        train_risk(judged, TrainingSet.from_episodes([], judged.contract), 0.3)
