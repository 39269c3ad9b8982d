"""Adapting to demonstrations: what a policy is made of, what is refused, what lies on disk."""

from __future__ import annotations

import dataclasses

from imitation_ros.errors import CheckpointError, EpisodeError, ImitationError
from imitation_ros.frames.contract import load_contract, parse_contract
from imitation_ros.learning.meta.adaptation import (
    adapt,
    held_out_losses,
    judge,
    save_adapted,
    Verdict,
)
from imitation_ros.learning.meta.meta_policy import (
    Familiar,
    load_meta_policy,
    MetaPolicy,
    METHODS,
    Settings,
)
from imitation_ros.learning.meta.shots import Shots, stacked, stacked_labels
from imitation_ros.learning.meta.slots import StateLayout
from imitation_ros.policies.checkpoint import load_checkpoint, read_record
from imitation_ros.policies.normalization import Normalization, Standard
from imitation_ros.types import Episode, Frame
import numpy as np
import pytest
import torch

CONTRACT = load_contract('panda_family_pick_place')


def episode(seed=0, ticks=40, outcome='success', contract=CONTRACT, scale=0.3):
    """Noise in the shapes of the contract."""
    rng = np.random.default_rng(seed)
    actions = {
        part: rng.integers(0, 2, (ticks, 1))
        if spec.discrete
        else rng.normal(size=(ticks, *spec.shape))
        for part, spec in contract.action_specs.items()
    }
    observations = {
        name: scale * rng.normal(size=(ticks, *spec.shape))
        for name, spec in contract.observation_specs.items()
    }
    segment = np.zeros(ticks, np.int32)
    ticks_ns = 50_000_000 * np.arange(1, ticks + 1)
    return Episode(ticks_ns, observations, actions, segment, outcome)


def meta(contract=CONTRACT, seed=0, **settings):
    """An untrained meta policy."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    specs = contract.observation_specs, contract.action_specs
    normalization = Normalization(
        *(
            {
                name: Standard(rng.normal(size=spec.shape), rng.uniform(0.1, 2.0, spec.shape))
                for name, spec in group.items()
                if not spec.discrete
            }
            for group in specs
        )
    )
    size = StateLayout.of(contract).size
    familiar = Familiar(np.full(size, -2.0), np.full(size, 2.0), 1e3)
    return MetaPolicy(
        contract, Settings(hidden=(16, 8), tasks=2, **settings), normalization, familiar
    )


@pytest.fixture(params=METHODS)
def parent(request):
    return meta(method=request.param)


def test_things_of_a_kind_are_read_off_the_contract():
    layout = StateLayout.of(CONTRACT)
    assert [slots.name for slots in layout.sets] == ['objects', 'places']
    assert layout.robot.tolist() == [0, 1, 2, 3]
    assert layout.reference.tolist() == [1, 2, 3]
    assert layout.sets[0].topics[0] == 'red_cube/pose'
    assert layout.sets[0].fields.tolist() == [[4, 5, 6], [7, 8, 9], [10, 11, 12], [13, 14, 15]]
    flat = StateLayout.of(CONTRACT, slots=False)
    assert (len(flat.robot), flat.sets) == (28, ())
    assert not StateLayout.of(load_contract('panda_twist')).sets


def test_images_are_refused():
    document = CONTRACT.to_document()
    document['observations']['wrist'] = {
        'topic': 'camera/image_raw', 'type': 'sensor_msgs/msg/Image', 'resize': [96, 96],
        'max_age_s': 0.1,
    }  # fmt: skip
    with pytest.raises(ImitationError, match=r'observations\.wrist: an image'):
        StateLayout.of(parse_contract(document))


def test_the_ordinary_policy_acts_as_the_conditioned_decoder(parent):
    shown = [episode(1), episode(2)]
    decoder, condition = parent.learner.adapted(parent.tensors.shots(shown))
    policy, asked = adapt(parent, shown), episode(3)
    labels = parent.tensors.labels([asked])
    with torch.no_grad():
        outputs = decoder(labels.state, condition).numpy()
    for tick in range(5):
        seen = {name: array[tick] for name, array in asked.observations.items()}
        action = policy.act(Frame(int(asked.tick_ns[tick]), seen))
        wanted = parent.normalization.actions['arm'].invert(outputs[tick, :3])
        np.testing.assert_allclose(action['arm'], wanted, rtol=1e-3, atol=1e-3)
        assert action['gripper'][0] == outputs[tick, 3:].argmax()


def test_adapting_changes_nothing_but_what_it_returns(parent):
    before = {name: each.clone() for name, each in parent.learner.state_dict().items()}
    first, second = adapt(parent, [episode(1)]), adapt(parent, [episode(1)])
    other = adapt(parent, [episode(2)])
    for name, each in parent.learner.state_dict().items():
        assert torch.equal(each, before[name])
    states = [policy.network.state_dict() for policy in (first, second, other)]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    assert any(not torch.equal(states[0][name], states[2][name]) for name in states[0])


def test_which_slot_a_thing_has_tells_the_encoder_nothing():
    parent = meta()
    shots = parent.tensors.shots([episode(1)])
    order = [2, 0, 3, 1]
    fields = parent.learner.decoder.layout.sets[0].fields
    state = shots.state.clone()
    state[..., fields] = shots.state[..., fields[order]]
    told = parent.learner.read(shots)
    moved = parent.learner.read(shots._replace(state=state))
    torch.testing.assert_close(moved.pointers[0], told.pointers[0][order])
    torch.testing.assert_close(moved.pointers[1], told.pointers[1])
    torch.testing.assert_close(moved.context, told.context)


@pytest.mark.parametrize('first_order', [False, True])
def test_inner_steps_learn_from_the_demonstration(first_order):
    parent = meta(method='gradient', first_order=first_order, inner_steps=5)
    shots = parent.tensors.shots([episode(1)])
    learner = parent.learner
    with torch.no_grad():
        before = learner.decoder.loss(
            learner.decoder(shots.labels.state, learner.prior()), shots.labels
        )
        decoder, condition = learner.adapted(shots)
        after = decoder.loss(decoder(shots.labels.state, condition), shots.labels)
    assert after < before


def test_second_derivatives_are_what_first_order_leaves_out():
    gradients = []
    for first_order in (False, True):
        parent = meta(method='gradient', first_order=first_order)
        support, query = batch(parent)
        loss = parent.learner.losses(support, query, torch.arange(2)).mean()
        loss.backward()
        gradients.append(parent.learner.decoder.perceptron[0].weight.grad)
        assert all(rate.grad is not None for rate in parent.learner.rates.values())
    assert not torch.allclose(*gradients)


def batch(parent):
    support: Shots = stacked([parent.tensors.shots([episode(seed)]) for seed in (1, 2)])
    query = stacked_labels([parent.tensors.labels([episode(seed)]) for seed in (3, 4)])
    return support, query


def test_the_losses_of_tasks_are_their_own(parent):
    torch.manual_seed(1)
    support, query = batch(parent)
    both = parent.learner.losses(support, query, torch.arange(2))
    swapped = Shots(*(each.flip(0) for each in support[:3]), flipped(support.labels))
    torch.manual_seed(1)
    other = parent.learner.losses(swapped, flipped(query), torch.tensor([1, 0]))
    assert both.shape == (2,)
    torch.testing.assert_close(other.flip(0), both)


def flipped(labels):
    targets = {part: each.flip(0) for part, each in labels.targets.items()}
    return labels._replace(state=labels.state.flip(0), targets=targets)


def test_a_meta_policy_comes_back_from_disk(parent, tmp_path):
    digest = parent.save(tmp_path / 'meta', {'seed': 3})
    again = load_meta_policy(tmp_path / 'meta', CONTRACT)
    assert (again.checkpoint, again.settings) == (digest, parent.settings)
    states = [adapt(each, [episode(1)]).network.state_dict() for each in (parent, again)]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    with pytest.raises(CheckpointError, match='rate_hz'):
        load_meta_policy(tmp_path / 'meta', CONTRACT.model_copy(update={'rate_hz': 10.0}))


def test_a_damaged_meta_policy_is_refused(tmp_path):
    meta().save(tmp_path / 'meta', {})
    weights = tmp_path / 'meta/meta.safetensors'
    weights.write_bytes(weights.read_bytes()[:-4] + b'oops')
    with pytest.raises(CheckpointError, match='damaged'):
        load_meta_policy(tmp_path / 'meta')


@pytest.mark.parametrize(
    ('shown', 'message'),
    [
        ([], 'no demonstration'),
        ([episode(ticks=15)], 'demonstration 0: too short: 15 frames; valid: at least 16'),
        (
            [episode(), episode(contract=load_contract('panda_twist'))],
            r"demonstration 1: made for another contract: observations \{'state': \(17,\)\}",
        ),
        ([episode(), episode(outcome='discarded')], 'demonstration 1: its operator discarded it'),
    ],
)
def test_what_cannot_be_learned_from_is_refused(shown, message):
    for use in (adapt, judge):
        with pytest.raises(EpisodeError, match=message):
            use(meta(), shown)


def test_what_is_odd_is_warned_of():
    parent = meta()
    assert not judge(parent, [episode()]).warnings
    assert judge(parent, [episode(outcome='failure')]).warnings == (
        'demonstration 0: its outcome is failure',
    )
    (warning,) = judge(parent, [episode(outcome='disk_full')]).warnings
    assert warning.startswith('demonstration 0: its outcome is disk_full: it was cut off')
    far = episode()
    far.observations['objects'][5, 4] = 9.0
    (warning,) = judge(parent, [far]).warnings
    assert 'far from the family: green_cube/pose.pose.position.y' in warning
    parent.familiar = dataclasses.replace(parent.familiar, loss=0.0)
    (warning,) = judge(parent, [episode()]).warnings
    assert warning.startswith('far from the family: held-out frames')


def test_the_verdict_names_what_is_meant():
    means = judge(meta(), [episode()]).means
    assert set(means) == {'objects', 'places'}
    assert all(name.endswith(('_cube', '_pad')) for name, _ in means.values())
    assert all(0.25 <= sure <= 1 for _, sure in means.values())


def test_held_out_frames_are_not_learned_from(monkeypatch):
    parent, shown = meta(), episode(ticks=60)
    learned, asked = [], []
    adapted, loss = parent.learner.adapted, parent.learner.decoder.loss
    monkeypatch.setattr(
        parent.learner,
        'adapted',
        lambda shots: learned.append(shots.labels.state) or adapted(shots),
    )
    monkeypatch.setattr(
        parent.learner.decoder, 'loss', lambda *given: asked.append(given[1].state) or loss(*given)
    )
    held_out_losses(parent, [shown])
    frames = [{tuple(frame.tolist()) for frame in state} for state in (*learned, *asked)]
    assert len(frames) == 3
    assert frames[1] == frames[2]
    assert 8 <= len(frames[1]) <= 20
    assert not frames[0] & frames[1]


def test_an_adapted_checkpoint_says_where_it_comes_from(parent, tmp_path):
    parent.save(tmp_path / 'meta', {})
    shown = [episode(1)]
    verdict = dataclasses.replace(judge(parent, shown), before=2.0, after=1.0)
    policy = adapt(parent, shown)
    digest = save_adapted(tmp_path / 'adapted', policy, parent, shown, verdict)
    assert load_checkpoint(tmp_path / 'adapted', CONTRACT).checkpoint == digest
    record = read_record(tmp_path / 'adapted')
    assert record['parent'] == parent.checkpoint
    assert record['demonstrations'] == ['demonstration 0']
    assert len(record['data_hash']) == 64
    assert record['verdict']['after'] == 1.0


def test_what_made_things_worse_is_refused(tmp_path):
    parent, shown = meta(method='finetune', inner_rate=10.0), [episode()]
    assert 'adaptation made things worse' in judge(parent, shown).refusal  # it learns too fast
    worse = Verdict(1.0, 1.5, 1.0, {}, ())
    with pytest.raises(
        ImitationError, match=r'refused: .* worse: .* loss of 1\.500, before it 1\.000'
    ):
        save_adapted(tmp_path / 'adapted', adapt(parent, shown), parent, shown, worse)
    assert not (tmp_path / 'adapted').exists()


def test_an_unknown_method_is_refused():
    with pytest.raises(ImitationError, match=r"did you mean 'gradient'\?"):
        Settings('gradiant')
