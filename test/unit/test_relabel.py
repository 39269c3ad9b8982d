"""A roll-out as a table, and that the labels of a training set are its valid rows."""

from __future__ import annotations

from imitation_ros.episodes.align import load_episode
from imitation_ros.episodes.relabel import relabel
from imitation_ros.learning.windows import Windows
from imitation_ros.policies.network import Architecture
from imitation_ros.policies.normalization import Normalization, Standard
import numpy as np
import pytest
from recorded_episodes import action, Bag, contract, PERIOD_NS, record_lockstep, state, WALL_NS
import torch

TICK_NS = 1_000_000_000
EXPERT, POLICY = {'mode': 'expert', 'source': 'teleop'}, {'mode': 'policy', 'source': 'policy'}
HANDOFF, HOLD = {'mode': 'handoff'}, {'mode': 'hold'}


def proposal(tick):
    return {**action(tick), 'arm': [0.2, 0.3]}


def roll_out(
    folder,
    decisions,
    engaged=lambda tick: True,
    lockstep=True,
    outcome='success',
    motion=(),
    spoil=lambda *tick: False,
):
    """One tick for each decision; the expert and the policy speak at every tick."""
    bag = Bag(folder, contract(), lockstep=lockstep)
    for tick, values in enumerate(decisions):
        ros_ns, wall_ns = TICK_NS + tick * PERIOD_NS, WALL_NS + tick * PERIOD_NS
        tick_ns = ros_ns if lockstep else wall_ns
        if lockstep:
            bag.clock(ros_ns, wall_ns)
        bag.observe(*state(tick), tick_ns, wall_ns, None if lockstep else wall_ns)
        held = str(engaged(tick)).lower()
        moved = {'motion': motion[tick]} if motion else {}
        bag.act('teleop', action(tick), tick_ns, wall_ns + 1_000_000, engaged=held, **moved)
        bag.act('policy', proposal(tick), tick_ns, wall_ns + 2_000_000)
        if spoil(bag, tick, tick_ns, wall_ns):
            continue
        executed = action(tick) if values['mode'] == 'expert' else proposal(tick)
        bag.act('executed', executed, tick_ns, wall_ns + 3_000_000, **values)
    return bag.writer.stop(outcome)


def agrees(folder, label='expert'):
    """The table, of which the training set's frames are the valid rows."""
    table, episode = relabel(folder, label=label), load_episode(folder, label=label)
    assert table.tick_ns[table.valid].tolist() == episode.tick_ns.tolist()
    assert table.left_out == episode.left_out
    if label == 'expert':
        expert = table.expert['arm'][table.valid]
        np.testing.assert_array_equal(expert, episode.actions['arm'])
    return table


@pytest.mark.parametrize('lockstep', [True, False])
def test_each_tick_says_who_wanted_what_and_who_drove(tmp_path, lockstep):
    folder = roll_out(tmp_path / 'e', [POLICY] * 4 + [HANDOFF] + [EXPERT] * 5, lockstep=lockstep)
    table = agrees(folder)
    assert table.mode.tolist() == ['policy'] * 4 + ['handoff'] + ['expert'] * 5
    assert table.source.tolist() == ['policy'] * 4 + [''] + ['teleop'] * 5
    np.testing.assert_allclose(table.expert['arm'], [action(tick)['arm'] for tick in range(10)])
    np.testing.assert_allclose(table.policy['arm'], [proposal(0)['arm']] * 10)
    executed = [(proposal if tick < 5 else action)(tick)['arm'] for tick in range(10)]
    np.testing.assert_allclose(table.executed['arm'], executed)
    np.testing.assert_array_equal(table.executed['gripper'].ravel(), [0, 1] * 5)
    assert table.valid.tolist() == [True] * 4 + [False] + [True] * 5
    assert table.reason[4] == 'the supervisor was in mode handoff'


def test_frames_in_handoff_and_hold_are_no_labels(tmp_path):
    folder = roll_out(tmp_path / 'e', [POLICY, HANDOFF, HANDOFF, EXPERT, HOLD, EXPERT])
    for label in ('expert', 'executed'):
        assert agrees(folder, label).left_out == {
            'the supervisor was in mode handoff': 2,
            'the supervisor was in mode hold': 1,
        }
    assert load_episode(folder).segment.tolist() == [0, 1, 2]


@pytest.mark.parametrize('mode', [EXPERT, POLICY])
@pytest.mark.parametrize('lockstep', [True, False])
def test_a_device_that_nobody_holds_gives_no_label(tmp_path, mode, lockstep):
    folder = roll_out(tmp_path / 'e', [mode] * 8, lambda tick: tick not in (2, 3), lockstep)
    table = agrees(folder)
    assert table.valid.tolist() == [True] * 2 + [False] * 2 + [True] * 4
    assert table.left_out == {'arm: nobody held the device': 2}
    assert np.isnan(table.expert['arm'][2:4]).all()


def test_where_the_gate_asks_about_driven_ticks_only_the_others_are_no_labels(tmp_path):
    driven = {'labels': 'driven', 'gate': 'human'}
    folder = roll_out(tmp_path / 'e', [{**POLICY, **driven}] * 6 + [{**EXPERT, **driven}] * 4)
    table = agrees(folder)
    assert table.valid.tolist() == [False] * 6 + [True] * 4
    (reason,) = table.left_out
    assert 'its gate takes labels of the expert only' in reason
    np.testing.assert_allclose(table.expert['arm'][0], action(0)['arm'])  # still in the table


def test_where_the_gate_asks_about_every_tick_shadowed_ticks_are_labels(tmp_path):
    shadow = {**POLICY, 'labels': 'every', 'gate': 'shadow'}
    assert agrees(roll_out(tmp_path / 'e', [shadow] * 6)).valid.all()


def test_a_correction_that_the_operator_discards_is_left_out(tmp_path):
    said = {**POLICY, 'discarded': str(TICK_NS + 2 * PERIOD_NS)}
    folder = roll_out(tmp_path / 'e', [POLICY] * 2 + [EXPERT] * 3 + [said] + [POLICY] * 3)
    table = agrees(folder)
    assert table.valid.tolist() == [True] * 2 + [False] * 4 + [True] * 3
    assert table.left_out == {'the operator discarded the correction': 4}
    assert table.corrections == [3]


@pytest.mark.parametrize('lockstep', [True, False])
@pytest.mark.parametrize('fault', ['said again', 'a command was lost'])
def test_a_discarded_correction_is_left_out_whatever_became_of_the_decision(
    tmp_path, fault, lockstep
):
    """A second decision for the tick, or a lost command, brought the correction back."""
    start_ns = TICK_NS if lockstep else WALL_NS
    said = {**POLICY, 'discarded': str(start_ns + 2 * PERIOD_NS)}

    def spoil(bag, tick, tick_ns, wall_ns):
        if tick != 5:
            return False
        if fault == 'said again':
            bag.act('executed', proposal(tick), tick_ns, wall_ns + 3_000_000, **said)
            bag.act('executed', proposal(tick), tick_ns, wall_ns + 4_000_000, **POLICY)
        else:
            bag.act('executed', proposal(tick), tick_ns, wall_ns + 3_000_000, sent='9', **said)
        return True

    decisions = [POLICY] * 2 + [EXPERT] * 3 + [POLICY] * 4
    folder = roll_out(tmp_path / 'e', decisions, lockstep=lockstep, spoil=spoil)
    table = relabel(folder)
    assert not table.valid[2:5].any()
    assert table.reason[2] == 'the operator discarded the correction'
    assert table.valid[[0, 1, 6, 7]].all()


def test_where_nobody_moves_a_device_that_follows_the_robot_it_is_no_label(tmp_path):
    """Beside a driving policy it would say 'stay' all the time; who drives may well mean that."""
    shadow = {**POLICY, 'labels': 'every', 'gate': 'shadow'}
    motions = ['0.00', '0.00', '0.40', '1.00', '0.00', '0.00']
    folder = roll_out(tmp_path / 'e', [shadow] * 5 + [EXPERT], motion=motions)
    table = agrees(folder)
    assert table.valid.tolist() == [False, False, True, True, False, True]
    assert table.left_out == {'arm: the policy drove, and nobody moved the device': 3}


def test_what_no_message_said_is_nan_and_the_outcome_is_kept(tmp_path):
    table = agrees(record_lockstep(tmp_path / 'e', 5, outcome='discarded'))
    assert np.isnan(table.policy['arm']).all()
    assert np.isnan(table.policy['gripper']).all()
    assert table.outcome == 'discarded'
    assert len(table) == 5


@pytest.mark.parametrize('chunk', [1, 4])
def test_a_correction_shorter_than_history_and_chunk_is_still_learned_from(tmp_path, chunk):
    driven = {**POLICY, 'labels': 'driven'}
    decisions = [driven] * 3 + [EXPERT] * 2 + [driven] * 3
    episode = load_episode(roll_out(tmp_path / 'e', decisions))
    assert len(episode) == 2
    standards = [
        {name: Standard(np.zeros(spec.shape), np.ones(spec.shape)) for name, spec in specs.items()}
        for specs in (contract().observation_specs, {'arm': contract().action_specs['arm']})
    ]
    specs = contract().observation_specs, contract().action_specs
    windows = Windows(
        [episode], *specs, Normalization(*standards), Architecture(history=5, chunk=chunk)
    )
    (batch,) = windows.batches(torch.arange(2), 8)
    assert batch.inputs.state.shape[:2] == (2, 5)
    assert torch.equal(batch.inputs.state[0, 0], batch.inputs.state[0, 4])  # its first frame
    assert batch.weight[:, 0].min() > 0
    assert (batch.weight[-1, 1:] == 0).all()  # nothing beyond the correction is made up
