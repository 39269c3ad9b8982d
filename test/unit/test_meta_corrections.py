"""A correction of an adapted policy is told from the demonstration of a new task."""

from __future__ import annotations

import dataclasses

from imitation_ros.cli.__main__ import main
from imitation_ros.errors import EpisodeError
from imitation_ros.learning.meta.adaptation import (
    adapt,
    held_out_losses,
    judge,
    save_adapted,
)
from imitation_ros.learning.meta.correction import corrected
from imitation_ros.learning.meta.recorded import (
    adapt_recorded,
    corrected_by,
    demonstration,
)
from imitation_ros.policies.checkpoint import read_digest, read_record
import numpy as np
import pytest
from recorded_episodes import action, Bag, contract, PERIOD_NS, record_lockstep, state, WALL_NS
from test_meta import episode, meta
import torch

TWO_JOINTS = contract()


def drive(folder, digest, ticks=24, mode='policy'):
    """An episode in which a policy with these weights drove, and the expert labelled."""
    bag = Bag(folder, TWO_JOINTS, lockstep=True)
    for tick in range(ticks):
        ros_ns, wall_ns = 1_000_000_000 + tick * PERIOD_NS, WALL_NS + tick * 5_000_000
        bag.clock(ros_ns, wall_ns)
        bag.observe(*state(tick), ros_ns, wall_ns + 100_000)
        bag.act('policy', action(tick), ros_ns, wall_ns + 500_000, checkpoint=digest)
        bag.act('teleop', action(tick), ros_ns, wall_ns + 1_000_000, engaged='true')
        bag.act('executed', action(tick), ros_ns, wall_ns + 2_000_000, mode=mode)
    bag.writer.stop('success')
    return folder


@pytest.fixture
def parent():
    return meta(contract=TWO_JOINTS)


@pytest.fixture
def adapted(parent, tmp_path):
    """A checkpoint that was adapted to one recorded episode."""
    record_lockstep(tmp_path / 'shown', 24)
    shown = [demonstration(tmp_path / 'shown', TWO_JOINTS)]
    verdict = dataclasses.replace(judge(parent, shown), before=2.0, after=1.0)
    save_adapted(tmp_path / 'adapted', adapt(parent, shown), parent, shown, verdict)
    return tmp_path / 'adapted'


def test_an_episode_in_which_the_adapted_policy_drove_corrects_it(adapted, tmp_path):
    correction = drive(tmp_path / 'correction', read_digest(adapted))
    assert corrected_by(correction, adapted, TWO_JOINTS) == ([tmp_path / 'shown'], 1)


def test_any_other_episode_shows_a_new_task(adapted, tmp_path):
    for name, digest, mode in (
        ('another_policy', '0' * 64, 'policy'),
        ('only_beside_the_expert', read_digest(adapted), 'expert'),
    ):
        shown = drive(tmp_path / name, digest, mode=mode)
        assert corrected_by(shown, adapted, TWO_JOINTS) == ([], 0)
    record_lockstep(tmp_path / 'new', 24)
    assert corrected_by(tmp_path / 'new', adapted, TWO_JOINTS) == ([], 0)


def test_a_correction_is_learned_from_beside_what_it_corrects(
    adapted, parent, tmp_path, monkeypatch
):
    monkeypatch.setattr('imitation_ros.learning.meta.adaptation.Verdict.refusal', '')  # untrained
    correction = drive(tmp_path / 'correction', read_digest(adapted))
    out = tmp_path / 'again'
    before, showing = corrected_by(correction, adapted, TWO_JOINTS)
    adapt_recorded(parent, [*before, correction], out, showing)
    record = read_record(out)
    assert record['demonstrations'] == ['shown', 'correction']
    second = drive(tmp_path / 'second', read_digest(out))
    assert corrected_by(second, out, TWO_JOINTS) == ([tmp_path / 'shown', correction], 1)
    with pytest.raises(EpisodeError, match='has learned from this correction'):
        corrected_by(correction, out, TWO_JOINTS)  # alone it would be a task of its own
    assert corrected_by(tmp_path / 'shown', out, TWO_JOINTS) == ([], 0)


def test_the_verb_takes_corrections(adapted, parent, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr('imitation_ros.learning.meta.adaptation.Verdict.refusal', '')  # untrained
    parent.save(tmp_path / 'meta', {})
    correction, out = drive(tmp_path / 'correction', read_digest(adapted)), tmp_path / 'again'
    verb = ['meta', 'adapt', '--parent', str(tmp_path / 'meta'), '--corrects', str(adapted)]
    assert main([*verb, '--out', str(out), str(correction)]) == 0
    assert read_record(out)['demonstrations'] == ['shown', 'correction']
    assert main([*verb, '--out', str(out), str(tmp_path / 'shown')]) == 1
    assert 'shown: no correction of ' in capsys.readouterr().err


def test_a_correction_lowers_the_loss_and_leaves_what_was_meant(parent):
    parent, shown, correction = meta(), episode(1), episode(2)
    before = {name: each.clone() for name, each in parent.learner.state_dict().items()}
    alone = judge(parent, [shown])
    verdict = judge(parent, [shown, correction], showing=1)
    assert verdict.means == alone.means
    labels = parent.tensors.labels([shown, correction])
    decoder, condition = parent.learner.adapted(parent.tensors.shots([shown]))
    again, told = corrected(decoder, condition, labels)
    assert told.pointers == condition.pointers
    losses = [
        float(each.loss(each(labels.state, given), labels).detach())
        for each, given in ((decoder, condition), (again, told))
    ]
    assert losses[1] < losses[0]
    for name, each in parent.learner.state_dict().items():
        assert torch.equal(each, before[name])


def test_a_correction_is_judged_beside_the_policy_that_it_corrects():
    parent, both = meta(), [episode(1), episode(2)]
    held_out = [held_out_losses(parent, both, showing) for showing in (0, 1)]
    assert held_out[0][0] != held_out[1][0]


def test_a_demonstration_that_is_gone_is_named(adapted, parent, tmp_path):
    correction = drive(tmp_path / 'correction', read_digest(adapted))
    before, showing = corrected_by(correction, adapted, TWO_JOINTS)
    (tmp_path / 'shown').rename(tmp_path / 'elsewhere')
    with pytest.raises(EpisodeError, match='shown'):
        adapt_recorded(parent, [*before, correction], tmp_path / 'again', showing)


def test_nothing_moves_across_a_gap():
    """The tool's way between two corrected parts of an episode was taken as its motion."""
    parent, whole = meta(), episode(ticks=40)
    segment = np.repeat([0, 1], 20).astype(np.int32)
    apart = dataclasses.replace(whole, segment=segment)
    frames = [np.arange(40)]
    motions = [parent.tensors.shots([each], frames=frames).motion[0] for each in (whole, apart)]
    different = (motions[0] != motions[1]).any(-1)
    assert different.sum() <= 1
    assert (motions[1][different] == 0).all()
    frames = [np.arange(10, 42 - 10)]
    motions = [parent.tensors.shots([each], frames=frames).motion[0] for each in (whole, apart)]
    assert (motions[0] != motions[1]).any()
