"""The robot itself: does it say where it is, and does it follow what it is told?"""

from __future__ import annotations

import re

from imitation_ros.supervision.authority import Mode
from imitation_ros.supervision.mux import Mux
import numpy as np
import pytest
from test_authority_mux import contract, RealTime, S, tick_action

REACH = 0.2


def robot(**settings) -> RealTime:
    """A mux whose arm may be at most `REACH` away from its commands."""
    document = contract().to_document()
    document['actions']['arm']['max_handover_error'] = REACH
    made = RealTime()
    made.mux = Mux(contract(actions=document['actions']), **settings)
    return made


def drive(arm: RealTime, duration_s=0.3) -> None:
    arm.run(0.1, 'teleop', arm=arm.at)
    assert arm.resume()[0]
    arm.run(duration_s, 'teleop', arm=arm.at + 0.15)


def stuck(arm: RealTime, duration_s, target) -> list:
    """The robot stands, whatever it is told; the commands meanwhile."""
    sent, at = [], arm.at.copy()
    for _ in range(round(duration_s * 20)):
        arm.at = at
        for step in range(5):
            arm.mux.measure('arm', at, arm.now_ns, arm.now_ns, arm.now_ns)
            if step == 0:
                arm.mux.offer('teleop', tick_action(arm.now_ns, target), arm.now_ns, arm.now_ns)
            sent.append(arm.mux.command(arm.now_ns, arm.now_ns))
            arm.now_ns += S // 100
    return sent


def test_a_robot_that_does_not_follow_is_a_fault_and_the_target_does_not_run_on():
    """A protective stop: the commands went on without the arm, which then jumped to them."""
    arm = robot()
    drive(arm)
    at = arm.at.copy()
    sent = stuck(arm, 2.0, at + 1.0)
    assert sent[-1].mode is Mode.STOPPED
    assert 'arm does not follow' in arm.mux.authority.fault
    furthest = max(np.abs(each.action['arm'] - at).max() for each in sent if each.action)
    braking = 1.0**2 / (2 * 10.0) + 0.01
    assert furthest <= REACH + 1.0 * 0.1 + braking, 'how far, how late, and the way to rest'


def test_after_that_fault_the_next_command_starts_where_the_robot_is():
    arm = robot()
    drive(arm)
    at = arm.at.copy()
    stuck(arm, 2.0, at + 1.0)
    arm.at = at
    arm.run(0.1, 'teleop', arm=at)
    assert arm.resume()[0]
    arm.sent.clear()
    arm.run(0.1, 'teleop', arm=at)
    np.testing.assert_allclose(arm.sent[0].action['arm'], at, atol=1e-3)


def test_a_robot_that_lags_behind_its_commands_follows():
    arm = robot()
    arm.run(0.1, 'teleop', arm=arm.at)
    arm.resume()
    path = [arm.at] * 20
    for _ in range(100):
        arm.at = path[-20]
        arm.run(0.01, 'teleop', arm=(2.0, 2.0))
        path.append(arm.sent[-1].action['arm'])
    assert np.abs(path[-1] - path[-20]).max() > 0.15
    assert arm.sent[-1].mode is Mode.EXPERT


def test_the_way_home_is_watched_too():
    arm = robot()
    arm.run(0.1)
    assert arm.mux.home(arm.now_ns)[0]
    stuck(arm, 3.0, arm.at)
    assert 'arm does not follow' in arm.mux.authority.fault


def test_feedback_that_stops_while_somebody_drives_puts_the_robot_on_hold():
    arm = robot()
    drive(arm)
    arm.run(0.09, 'teleop', feedback=False, arm=arm.at)
    assert arm.sent[-1].mode is Mode.EXPERT
    held = arm.run(0.1, 'teleop', feedback=False, arm=arm.at)
    assert held.mode is Mode.HOLD
    assert 'the feedback of arm on joint_states is' in held.reason
    assert arm.run(0.1, 'teleop', arm=arm.at).mode is Mode.EXPERT


def test_on_the_way_home_too():
    arm = robot()
    arm.run(0.1)
    arm.mux.home(arm.now_ns)
    arm.run(0.3)
    last = arm.run(0.3, feedback=False)
    assert last.mode is Mode.STOPPED
    assert 'the feedback of arm' in last.reason
    assert arm.mux.resting


@pytest.mark.parametrize(
    ('stamp_s', 'text'), [(-0.25, r'is 0\.25 s old'), (0.25, r'is stamped 0\.25 s ahead')]
)
def test_stamps_count_as_much_as_arrival(stamp_s, text):
    arm = robot()
    drive(arm)
    stamp_ns = arm.now_ns + round(stamp_s * S)
    arm.mux.measure('arm', arm.at, stamp_ns, arm.now_ns, arm.now_ns)
    last = arm.run(0.01, 'teleop', feedback=False, arm=arm.at)
    assert last.mode is Mode.HOLD
    assert re.search(text, last.reason)


def test_an_action_that_comes_late_is_stale_the_sooner():
    """Its age began when it came: 90 ms late, and 100 ms more until it was noticed."""
    arm = robot()
    drive(arm)
    arm.run(0.04)
    late = tick_action(arm.now_ns - round(0.09 * S), arm.at)
    arm.mux.offer('teleop', late, arm.now_ns, arm.now_ns)
    arm.run(0.01)
    assert arm.sent[-1].mode is Mode.EXPERT
    assert arm.run(0.03).mode is Mode.HOLD


CLOCKS = {
    'paused': lambda now_ns, start_ns: start_ns,
    'jumps back': lambda now_ns, start_ns: now_ns - 50 * S,
    'races': lambda now_ns, start_ns: start_ns + 20 * (now_ns - start_ns),
}


@pytest.mark.parametrize('clock', CLOCKS)
def test_no_simulated_clock_keeps_a_silent_source_alive(clock):
    arm = robot()
    drive(arm)
    start_ns = arm.now_ns
    for _ in range(15):
        ros_ns = CLOCKS[clock](arm.now_ns, start_ns)
        arm.mux.measure('arm', arm.at, ros_ns, arm.now_ns, ros_ns)
        command = arm.mux.command(arm.now_ns, ros_ns)
        arm.now_ns += S // 100
    assert command.mode is Mode.HOLD


@pytest.mark.parametrize('clock', ['jumps back', 'races'])
def test_an_action_from_before_the_clock_went_wrong_is_not_executed(clock):
    arm = robot()
    drive(arm)
    start_ns = arm.now_ns
    arm.now_ns += S // 20
    ros_ns = CLOCKS[clock](arm.now_ns, start_ns)
    arm.mux.measure('arm', arm.at, ros_ns, arm.now_ns, ros_ns)
    arm.mux.offer('teleop', tick_action(start_ns, arm.at), arm.now_ns, ros_ns)
    command = arm.mux.command(arm.now_ns, ros_ns)
    assert command.mode is Mode.HOLD
