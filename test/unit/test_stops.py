"""Stops: faults latch, the stop is the last word on the wire, and what comes after a silence."""

from __future__ import annotations

from types import SimpleNamespace

from imitation_ros.frames.contract import Contract, parse_contract
from imitation_ros.frames.status import Status, TickAction
from imitation_ros.supervision.authority import Mode
from imitation_ros.supervision.gates import GateConfig
from imitation_ros.supervision.mux import Mux
import numpy as np
import pytest
from test_authority_mux import contract, RealTime, S, tick_action
from test_robot_feedback import drive, robot

SLOW = 0.5
"""m/s²: from 1 m/s it takes two seconds to stop."""


def rolling(**part) -> Contract:
    """A base whose velocity is commanded."""
    return parse_contract(
        {
            'name': 'base',
            'rate_hz': 20,
            'command_hz': 100,
            'observations': {
                'state': {'topic': 'odom', 'type': 'std_msgs/msg/Float64', 'select': ['data'],
                          'max_age_s': 0.1},
            },
            'actions': {
                'base': {
                    'topic': 'cmd_vel',
                    'type': 'geometry_msgs/msg/Twist',
                    'kind': 'velocity',
                    'units': ['m/s'],
                    'select': ['linear.x'],
                    'low': -1.0,
                    'high': 1.0,
                    'max_acceleration': SLOW,
                    **part,
                },
            },
        }
    )  # fmt: skip


class Rolling:
    """A mux of such a base, and what it was told."""

    def __init__(self, **part):
        self.contract = rolling(**part)
        self.mux = Mux(self.contract)
        self.now_ns = 100 * S
        self.sent = []

    def run(self, duration_s, speed=None):
        """Takes a command every 10 ms; with a speed, the policy wants it each tick."""
        for step in range(round(duration_s * 100)):
            if speed is not None and step % 5 == 0:
                message = SimpleNamespace(linear=SimpleNamespace(x=speed))
                said = {'fingerprint': self.contract.fingerprint}
                tick = TickAction(Status(self.now_ns, 'policy', 1, '', said), {'base': message})
                self.mux.offer('policy', tick, self.now_ns, self.now_ns)
            self.sent.append(self.mux.command(self.now_ns, self.now_ns))
            self.now_ns += S // 100
        return self.sent[-1]

    def at_full_speed(self):
        self.run(0.1, 1.0)
        assert self.mux.resume(self.now_ns, [])[0]
        assert self.run(2.5, 1.0).action['base'] == pytest.approx([1.0])
        return self


def resumed_at_once(arm: RealTime):
    """Teleop is given authority where the arm is, before another command was due."""
    for _ in range(2):  # messages that agree
        arm.mux.measure('arm', arm.at, arm.now_ns, arm.now_ns, arm.now_ns)
    arm.mux.offer('teleop', tick_action(arm.now_ns, arm.at), arm.now_ns, arm.now_ns)
    assert arm.resume()[0]
    return arm.mux.command(arm.now_ns, arm.now_ns)


def test_the_way_home_is_no_way_around_a_fault():
    """`~/home` asked nobody about the latched fault, and the arm moved beside an intruder."""
    arm = robot()
    arm.run(0.1, 'teleop', arm=arm.at)
    arm.mux.fail('arm/command has more than one publisher: intruder')
    started, text = arm.mux.home(arm.now_ns)
    assert not started
    assert text == 'arm/command has more than one publisher: intruder; ~/resume ends a fault'
    assert arm.resume()[0]
    arm.mux.stop('test')
    assert arm.mux.home(arm.now_ns)[0]


def test_the_last_command_of_a_slow_brake_is_the_stop():
    """A second was not enough, and the velocity of that moment stayed on the wire."""
    base = Rolling().at_full_speed()
    speeds = [command.action['base'][0] for command in base.mux.last_commands(base.now_ns)]
    assert 2.0 <= len(speeds) / 100 <= 3.5, 'within the limits, and before launch kills it'
    assert (np.abs(np.diff([1.0, *speeds])) <= SLOW / 100 + 1e-9).all()
    assert speeds[-1] == 0.0


@pytest.mark.parametrize('on_stop', ['hold', 'zero'])
def test_where_the_brake_takes_too_long_the_last_command_is_the_stop_all_the_same(on_stop):
    base = Rolling(max_acceleration=0.1, on_stop=on_stop)
    base.run(0.1, 1.0)
    base.mux.resume(base.now_ns, [])
    base.run(12.0, 1.0)
    last = base.mux.last_commands(base.now_ns)
    assert len(last) / 100 <= 3.6
    assert last[-60].action['base'][0] > 0.5
    assert last[-1].action['base'].tolist() == [0.0]
    assert last[-1].reason == 'the supervisor is ending'


def test_a_position_that_cannot_brake_in_time_is_latched_within_its_limits():
    document = contract().to_document()
    document['actions']['arm']['max_acceleration'] = [0.1, 0.1]
    arm = RealTime(actions=document['actions'])
    values = {'fingerprint': contract(actions=document['actions']).fingerprint}
    arm.run(0.1, 'policy', arm=arm.at, **values)
    assert arm.resume()[0]
    arm.run(6.0, 'policy', arm=(2.0, 2.0), **values)
    last = [command.action['arm'] for command in arm.mux.last_commands(arm.now_ns)]
    assert (last[-1] == last[-2]).all()
    assert (last[-1] <= 2.0).all()


def test_an_end_long_after_the_stop_moves_nothing():
    """The last target was said again: an arm that was moved by hand meanwhile jumped to it."""
    arm = robot()
    drive(arm)
    arm.mux.stop('test')
    arm.run(1.0)
    last = arm.mux.last_commands(arm.now_ns)
    assert [(command.action, command.reason) for command in last] == [
        ({}, 'the supervisor is ending')
    ]


def test_after_activation_nothing_moves_until_resume():
    """A brake that was cut short went on at the next activation, a minute later."""
    arm = robot()
    drive(arm)
    arm.mux.last_commands(arm.now_ns)
    arm.now_ns += 60 * S
    arm.mux.begin()
    arm.sent.clear()
    arm.run(0.3, 'teleop', arm=arm.at)
    assert not any(command.action for command in arm.sent)


def test_after_activation_the_first_command_starts_where_the_robot_is():
    """`~/resume` before the first timer: it went on from the last command of before."""
    arm = robot()
    drive(arm)
    arm.mux.last_commands(arm.now_ns)
    arm.now_ns += 60 * S
    arm.at = np.array([-0.05, -0.3])
    arm.mux.begin()
    first = resumed_at_once(arm)
    np.testing.assert_allclose(first.action['arm'], arm.at, atol=1e-6)


def test_the_last_command_is_said_for_half_a_second_before_the_silence():
    """It was said once: where a best-effort topic lost it, the robot kept its last velocity."""
    base = Rolling().at_full_speed()
    base.mux.stop('test')
    base.sent.clear()
    base.run(4.0)
    speeds = [command.action['base'][0] for command in base.sent if command.action]
    assert 45 <= speeds.count(0.0) <= 55
    assert not any(speeds[-45:])
    assert not base.sent[-1].action


def test_it_rests_as_soon_as_it_stands_and_a_resume_then_starts_where_it_is():
    base = Rolling().at_full_speed()
    base.mux.stop('test')
    base.run(2.05)
    assert base.mux.resting
    assert base.sent[-1].action, 'it is still being said'
    arm = robot()
    drive(arm)
    arm.mux.stop('test')
    arm.run(0.3)
    assert arm.sent[-1].action
    arm.at = arm.at - 0.05
    first = resumed_at_once(arm)
    np.testing.assert_allclose(first.action['arm'], arm.at, atol=1e-6)


def test_a_robot_that_is_moved_away_from_its_latched_target_is_a_fault():
    """On hold nobody looked: an arm moved by hand in a protective stop jumped at its release."""
    arm = robot()
    drive(arm)
    assert arm.run(0.5).mode is Mode.HOLD
    moved = arm.at - 0.5
    for _ in range(30):
        arm.at = moved
        arm.run(0.01)
    assert arm.mux.authority.mode is Mode.STOPPED
    assert 'arm does not follow' in arm.mux.authority.fault


def test_feedback_that_is_lost_on_hold_is_no_such_fault():
    arm = robot()
    drive(arm)
    held = arm.run(2.0, feedback=False)
    assert held.mode is Mode.HOLD
    assert not arm.mux.authority.fault


def reloaded(stream='policy', gate=None) -> RealTime:
    """The policy drives by checkpoint a, near to where the arm is."""
    arm = robot()
    arm.run(0.1, stream, arm=arm.at, checkpoint='a')
    assert arm.mux.resume(arm.now_ns, [], gate)[0]
    assert arm.run(0.3, stream, arm=arm.at, checkpoint='a').mode is Mode.POLICY
    return arm


@pytest.mark.parametrize('gate', [None, GateConfig('shadow')])
def test_a_new_checkpoint_whose_target_is_far_puts_the_robot_on_hold(gate):
    """Nobody looked at which checkpoint drives: the arm chased the new target at full speed."""
    arm = reloaded(gate=gate)
    at = arm.at
    held = arm.run(0.3, 'policy', arm=at + 1.0, checkpoint='b')
    assert held.mode is Mode.HOLD
    assert 'policy: arm: 1 away from where the robot is (max_handover_error 0.2)' in held.reason
    np.testing.assert_allclose(arm.at, at, atol=1e-6)
    assert arm.run(0.5, 'policy', arm=at + 0.1, checkpoint='b').mode is Mode.POLICY
    assert arm.run(0.1, 'policy', arm=arm.at + 1.0, checkpoint='b').mode is Mode.POLICY


def test_a_new_checkpoint_whose_target_is_near_drives_on():
    arm = reloaded()
    assert arm.run(0.1, 'policy', arm=arm.at + 0.1, checkpoint='b').mode is Mode.POLICY
    assert all(command.mode is not Mode.HOLD for command in arm.sent)


def test_velocities_of_a_robot_that_is_not_heard_from_are_held():
    """Its feedback was watched only where positions start there."""
    document = rolling().to_document()
    document['actions']['base'] |= {'joints': ['wheel'], 'feedback': ['velocity.wheel'],
                                    'type': 'std_msgs/msg/Float64MultiArray', 'units': ['rad/s'],
                                    'select': []}  # fmt: skip
    document['observations'] = {
        'state': {'topic': 'joint_states', 'type': 'sensor_msgs/msg/JointState',
                  'select': ['velocity.wheel'], 'max_age_s': 0.1},
    }  # fmt: skip
    wheel = parse_contract(document)
    mux, now_ns = Mux(wheel), 100 * S
    said = {'fingerprint': wheel.fingerprint}

    def command(heard):
        nonlocal now_ns
        now_ns += S // 50
        message = SimpleNamespace(data=[1.0])
        tick = TickAction(Status(now_ns, 'policy', 1, '', said), {'base': message})
        mux.offer('policy', tick, now_ns, now_ns)
        if heard:
            mux.measure('base', np.array([0.0]), now_ns, now_ns, now_ns)
        return mux.command(now_ns, now_ns)

    command(heard=False)
    assert mux.resume(now_ns, []) == (False, 'no feedback of base on joint_states yet')
    command(heard=True)
    assert mux.resume(now_ns, [])[0]
    assert [command(heard=True).mode for _ in range(20)][-1] is Mode.POLICY
    held = [command(heard=False) for _ in range(10)][-1]
    assert held.mode is Mode.HOLD
    assert 'the feedback of base on joint_states is 0.2' in held.reason
