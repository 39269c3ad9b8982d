"""A box that the tool must not leave, and sources that insist on what is out of bounds."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from imitation_ros.errors import ContractError
from imitation_ros.frames.contract import load_contract
from imitation_ros.frames.urdf import Urdf
from imitation_ros.supervision.authority import Mode
from imitation_ros.supervision.guard import Guard
from imitation_ros.supervision.mux import Mux
from imitation_ros.supervision.workspace import Workspace
import numpy as np
import pytest
from test_authority_mux import contract, RealTime

PANDA = load_contract('panda_position')
ARM = PANDA.actions['arm']
HOME = np.array(PANDA.home['arm'])
LOW, HIGH = (0.2, -0.3, 0.2), (0.7, 0.3, 0.9)


def box(low=LOW, high=HIGH) -> Workspace:
    data = pytest.importorskip('pybullet_data').getDataPath()
    tool = Urdf(f'{data}/franka_panda/panda.urdf').tool('panda_hand', ARM.joints)
    return Workspace(PANDA, 'arm', tool, low, high)


@settings(max_examples=8, deadline=None)
@given(st.lists(st.tuples(*[st.floats(-4, 4)] * 7), min_size=1, max_size=3))
def test_no_command_leaves_the_box_and_none_breaks_a_limit(targets):
    workspace = box()
    guard = Guard(PANDA, workspace)
    guard.reset({'arm': HOME})
    before, speed = HOME, np.zeros(7)
    for target in targets:
        for _ in range(15):
            wanted = {'arm': np.array(target), 'gripper': np.array([0])}
            sent = guard.advance(wanted, 0.01, 0.05)['arm']
            # A target may jump to within the braking distance; the tool then passes by that.
            assert workspace.outside(sent) < 0.15
            moved = (sent - before) / 0.01
            assert (np.abs(moved) <= np.array(ARM.max_velocity) + 1e-6).all()
            assert (np.abs(moved - speed) / 0.01 <= np.array(ARM.max_acceleration) + 1e-4).all()
            before, speed = sent, moved


def test_a_target_outside_is_approached_up_to_the_wall():
    workspace = box()
    guard = Guard(PANDA, workspace)
    guard.reset({'arm': HOME})
    target = HOME + np.array([1.5, 0, 0, 0, 0, 0, 0])  # about the vertical: y leaves the box
    for _ in range(150):
        sent = guard.advance({'arm': target, 'gripper': np.array([0])}, 0.01, 0.05)['arm']
        assert workspace.outside(sent) < 1e-3
        assert guard.excess == 'arm: the tool would leave the workspace'
    tool = workspace._tool.position(sent)
    assert tool[1] == pytest.approx(0.3, abs=5e-3)


def test_from_outside_it_may_only_come_in():
    workspace = box()
    out = HOME + np.array([1.2, 0, 0, 0, 0, 0, 0])
    assert workspace.outside(out) > 0.1
    further = (out + np.array([0.3, 0, 0, 0, 0, 0, 0])).tolist()
    np.testing.assert_allclose(workspace.scaled(out.tolist(), further), out, atol=1e-3)
    assert workspace.scaled(out.tolist(), HOME.tolist()) == HOME.tolist()


def test_a_home_outside_or_a_box_inside_out_is_refused():
    with pytest.raises(ContractError, match=r'home\.arm: its tool is at'):
        box((0.6, -0.3, 0.2), (0.7, 0.3, 0.3))
    with pytest.raises(ContractError, match='the lower one first'):
        box(HIGH, LOW)


def insistent(**settings) -> RealTime:
    robot = RealTime()
    robot.mux = Mux(contract(), **settings)
    robot.run(0.1, 'policy')
    robot.resume()
    return robot


def test_a_source_that_insists_on_what_is_out_of_bounds_is_a_fault():
    robot = insistent(excess_limit=10)
    robot.run(0.4, 'policy', arm=(9.0, 0.0))
    assert robot.sent[-1].mode is Mode.POLICY
    robot.run(0.05, 'policy', arm=(0.0, 0.0))
    robot.run(0.4, 'policy', arm=(9.0, 0.0))
    assert robot.sent[-1].mode is Mode.POLICY, 'not in a row'
    last = robot.run(0.2, 'policy', arm=(9.0, 0.0))
    assert last.mode is Mode.STOPPED
    assert 'far beyond its limits: 9, 10 ticks in a row' in robot.mux.authority.fault
    assert robot.mux.excess.total == 18


def test_at_the_limit_there_is_no_excess():
    robot = insistent(excess_limit=3)
    assert robot.run(1.0, 'policy', arm=(2.3, -2.3)).mode is Mode.POLICY
    assert robot.mux.excess.total == 0


def test_after_a_resume_the_row_begins_anew():
    """It went on from before: the first excess after `~/resume` was a fault at once."""
    robot = insistent(excess_limit=10)
    assert robot.run(0.6, 'policy', arm=(9.0, 0.0)).mode is Mode.STOPPED
    robot.run(0.1, 'policy', arm=(0.0, 0.0))
    assert robot.resume()[0]
    assert robot.run(0.4, 'policy', arm=(9.0, 0.0)).mode is Mode.POLICY
    assert robot.run(0.2, 'policy', arm=(9.0, 0.0)).mode is Mode.STOPPED


def test_targets_that_the_limits_keep_it_from_are_counted_and_are_no_fault():
    """Nobody told that a source asked for more speed than there is, for as long as it did."""
    robot = insistent(excess_limit=3)
    assert robot.run(0.5, 'policy', arm=robot.at + 0.01).mode is Mode.POLICY
    assert robot.mux.excess.slowed == 0
    assert robot.run(1.0, 'policy', arm=robot.at + 1.5).mode is Mode.POLICY
    assert 18 <= robot.mux.excess.slowed <= 21, 'each tick'
    assert robot.mux.excess.total == 0


def test_the_way_home_must_not_lead_through_the_wall():
    """Its end was looked at when the supervisor started, and never how it gets there."""
    workspace = box()
    twisted = np.array([-0.5, 0.8, 1.2, -0.3, -2.2, 2.7, 2.5])
    assert workspace.outside(twisted) == 0.0
    drives = (True, 'driving home at 20% of the velocity limits')
    refusal = (False, 'arm: on the straight way home the tool would leave the workspace')
    for joints, answer in (
        (twisted, refusal),
        (HOME + 0.1, drives),
        (HOME + np.array([1.2, 0, 0, 0, 0, 0, 0]), drives),  # from outside it comes in
    ):
        mux = Mux(PANDA, guard=Guard(PANDA, workspace))
        mux.measure('arm', joints, None, 0)
        assert mux.home(0) == answer
