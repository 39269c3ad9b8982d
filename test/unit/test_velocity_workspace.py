"""A box that a tool must not leave whose velocity is commanded."""

from __future__ import annotations

from collections import deque

from hypothesis import given, settings
from hypothesis import strategies as st
from imitation_ros.errors import ContractError
from imitation_ros.frames.contract import load_contract, parse_contract
from imitation_ros.supervision.guard import Guard
from imitation_ros.supervision.velocity_workspace import VelocityWorkspace
import numpy as np
import pytest

ROBOT = load_contract('panda_reach')
LOW, HIGH = (0.3, -0.2, 0.1), (0.7, 0.2, 0.5)
DT_S, DELAY = 0.01, 6
"""The tool's pose is that of so many commands ago."""
START = np.array([0.5, 0.0, 0.3])


def drive(targets, start=START, delay=DELAY):
    """Where the tool comes by the velocities that the guard lets through."""
    fence = VelocityWorkspace(ROBOT, 'tool/pose', LOW, HIGH)
    guard = Guard(ROBOT, fence)
    guard.reset({})
    told, at, path, excess = deque([start] * delay, delay), start, [], []
    for target in targets:
        fence.take(told[0], 0)
        velocity = guard.advance({'arm': np.array(target)}, DT_S, DT_S)['arm']
        excess.append(guard.excess)
        at = at + velocity * DT_S
        told.append(at)
        path.append(at)
    return np.array(path), excess


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(*[st.floats(-1, 1)] * 3), min_size=1, max_size=8))
def test_the_tool_does_not_leave_the_box_though_its_pose_comes_late(targets):
    path, _ = drive([target for target in targets for _ in range(60)])
    assert (path > np.array(LOW) - 1e-3).all()
    assert (path < np.array(HIGH) + 1e-3).all()


def test_it_comes_to_the_wall_and_slides_along_it():
    path, excess = drive([(0.4, 0.1, 0.0)] * 300)
    assert path[-1][0] == pytest.approx(0.7, abs=5e-3)
    assert path[-1][1] == pytest.approx(0.2, abs=5e-3)
    assert excess[0] == ''
    assert excess[-1] == 'arm: the tool would leave the workspace'


def test_from_outside_only_the_way_back_is_free():
    outside = np.array([0.8, 0.0, 0.3])
    further, _ = drive([(0.3, 0.0, 0.0)] * 20, outside)
    assert (further[:, 0] == 0.8).all()
    back, _ = drive([(-0.3, 0.0, 0.0)] * 20, outside)
    assert back[-1, 0] < 0.77


def test_without_a_fresh_pose_it_says_what_is_lacking_and_lets_nothing_move():
    fence = VelocityWorkspace(ROBOT, 'tool/pose', LOW, HIGH)
    assert fence.lacking(0) == 'no pose of the tool on tool/pose yet'
    assert fence.scaled([0.0] * 3, [0.1, -0.1, 0.1]) == [0.0, 0.0, 0.0]
    fence.take(START, 0)
    assert not fence.lacking(100_000_000)
    assert fence.lacking(300_000_000) == 'the pose of the tool on tool/pose is 0.30 s old'
    fence.take(START, 0, late_ns=50_000_000)
    assert fence.lacking(100_000_000)
    fence.take(START, 0, late_ns=-50_000_000)
    assert not fence.lacking(50_000_000)
    fence.take(START, 0, late_ns=-500_000_000)
    assert fence.lacking(0) == 'the pose of the tool on tool/pose is stamped 0.50 s ahead'


@pytest.mark.parametrize('bad', [float('nan'), float('inf')])
def test_a_pose_that_is_not_finite_is_none_and_the_last_one_ages(bad):
    """A NaN let every velocity pass, into the wall."""
    fence = VelocityWorkspace(ROBOT, 'tool/pose', LOW, HIGH)
    nowhere = np.array([0.7, bad, 0.3])
    fence.take(nowhere, 0)
    assert fence.lacking(0) == 'no pose of the tool on tool/pose yet; the newest is not finite'
    assert fence.scaled([0.0] * 3, [0.1] * 3) == [0.0] * 3
    fence.take(np.array(HIGH), 0)
    fence.take(nowhere, 50_000_000)
    assert not fence.lacking(100_000_000)
    assert fence.scaled([0.0] * 3, [0.4] * 3) == [0.0] * 3
    assert fence.lacking(300_000_000) == (
        'the pose of the tool on tool/pose is 0.30 s old; the newest is not finite'
    )
    fence.take(np.array(HIGH), 300_000_000)
    assert not fence.lacking(300_000_000)


def test_it_needs_a_part_with_velocities_in_metres_a_second():
    with pytest.raises(ContractError, match='tool velocities: none'):
        VelocityWorkspace(load_contract('panda_position'), 'tool/pose', LOW, HIGH)
    document = ROBOT.to_document()
    document['actions']['arm']['units'] = ['1', '1', '1']
    with pytest.raises(ContractError, match='m/s, for a workspace'):
        VelocityWorkspace(parse_contract(document), 'tool/pose', LOW, HIGH)


@pytest.mark.parametrize('low', [(0.8, -0.2, 0.1), (0.3, -0.2), (float('nan'), 0, 0)])
def test_it_needs_a_box(low):
    with pytest.raises(ContractError, match='two corners'):
        VelocityWorkspace(ROBOT, 'tool/pose', low, HIGH)
