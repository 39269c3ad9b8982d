"""The mux: authority, guard and liveness together, with time passed in."""

from __future__ import annotations

from types import SimpleNamespace

from imitation_ros.frames.contract import Contract, parse_contract
from imitation_ros.frames.status import Status, TickAction
from imitation_ros.supervision.authority import Mode
from imitation_ros.supervision.mux import Mux
from imitation_ros.supervision.noise import ActionNoise
import numpy as np
import pytest

S = 1_000_000_000
TICK = S // 20
POSES = ['position.j0', 'position.j1']


def contract(**changes) -> Contract:
    return parse_contract(
        {
            'name': 'two_joints',
            'rate_hz': 20,
            'command_hz': 100,
            'observations': {
                'state': {
                    'topic': 'joint_states',
                    'type': 'sensor_msgs/msg/JointState',
                    'select': POSES,
                    'max_age_s': 0.1,
                }
            },
            'actions': {
                'arm': {
                    'topic': 'arm/command',
                    'type': 'std_msgs/msg/Float64MultiArray',
                    'kind': 'position',
                    'units': 'rad',
                    'joints': ['j0', 'j1'],
                    'feedback': POSES,
                    'low': -2.0,
                    'high': 2.0,
                    'max_velocity': 1.0,
                    'max_acceleration': 10.0,
                    'max_handover_error': 4.0,
                },
                'gripper': {
                    'topic': 'gripper/command',
                    'type': 'std_msgs/msg/Bool',
                    'kind': 'discrete',
                    'classes': ['open', 'close'],
                },
            },
            'home': {'arm': [0.5, -0.5]},
            **changes,
        }
    )


FINGERPRINT = contract().fingerprint


def tick_action(tick_ns, arm=(0.1, 0.1), gripper=True, reason='', **values) -> TickAction:
    messages = {'arm': SimpleNamespace(data=list(arm)), 'gripper': SimpleNamespace(data=gripper)}
    if reason:
        messages = {}
    values = {'fingerprint': FINGERPRINT, 'engaged': 'true', **values}
    return TickAction(Status(tick_ns, 'teleop_test', len(messages), reason, values), messages)


class RealTime:
    """A mux with a clock; the robot stands where it was told to, or at the start."""

    def __init__(self, **changes):
        self.mux = Mux(contract(**changes))
        self.now_ns = 100 * S
        self.at = np.array([0.2, -0.2])
        self.sent = []

    def run(self, duration_s, stream='', feedback=True, **action):
        """Sends an action of `stream` each tick and takes a command every 10 ms."""
        for step in range(round(duration_s * 100)):
            if feedback:
                self.mux.measure('arm', self.at, self.now_ns, self.now_ns)
            if stream and step % 5 == 0:
                tick = tick_action(self.now_ns, **action)
                self.mux.offer(stream, tick, self.now_ns, self.now_ns)
            command = self.mux.command(self.now_ns, self.now_ns)
            self.at = command.action.get('arm', self.at)
            self.sent.append(command)
            self.now_ns += S // 100
        return self.sent[-1]

    def resume(self, matched=()):
        return self.mux.resume(self.now_ns, matched)


def test_it_says_nothing_until_authority_is_given():
    robot = RealTime()
    robot.run(0.5, 'teleop')
    assert all(not command.action and command.mode is Mode.STOPPED for command in robot.sent)


def test_the_resumed_source_drives_from_the_measured_state_within_the_limits():
    robot = RealTime()
    robot.run(0.1, 'teleop')
    start = robot.at
    assert robot.resume() == (True, 'teleop has authority')
    last = robot.run(1.0, 'teleop', arm=(1.0, 0.0))
    assert (last.mode, last.source) == (Mode.EXPERT, 'teleop_test')
    path = np.array([start, *(command.action['arm'] for command in robot.sent if command.action)])
    assert np.abs(np.diff(path, axis=0)).max() <= 1.0 * 0.01 + 1e-9
    np.testing.assert_allclose(path[-1], [1.0, 0.0], atol=1e-3)
    assert last.action['gripper'] == 1


def test_a_silent_source_puts_the_robot_on_hold_and_gets_it_back():
    robot = RealTime()
    robot.run(0.1, 'policy')
    robot.resume()
    robot.run(0.3, 'policy', arm=(1.0, 1.0))
    moving = robot.at
    robot.run(0.05)
    assert robot.sent[-1].mode is Mode.POLICY, 'the limit is two ticks'
    held = robot.run(0.5)
    assert held.mode is Mode.HOLD
    assert 'policy: silent for' in held.reason
    assert (held.action['arm'] > moving).all()
    np.testing.assert_array_equal(held.action['arm'], robot.sent[-10].action['arm'])
    assert robot.run(0.1, 'policy').mode is Mode.POLICY


@pytest.mark.parametrize(('rate_hz', 'limit_s'), [(10, 0.2), (50, 0.1)])
def test_the_limit_is_a_tenth_of_a_second_or_two_ticks_where_that_is_longer(rate_hz, limit_s):
    made_for = contract(rate_hz=rate_hz)
    mux = Mux(made_for)
    mux.offer('policy', tick_action(S, fingerprint=made_for.fingerprint), S, S)
    limit_ns = S + round(limit_s * S)
    assert not mux.problems(limit_ns)['policy']
    assert 'silent' in mux.problems(limit_ns + 1)['policy']


def test_an_action_that_comes_after_a_newer_one_is_passed_over():
    robot = RealTime()
    robot.run(0.1, 'policy', arm=(0.3, 0.3))
    watch = robot.mux.watches['policy']
    newest, action = watch.tick_ns, watch.action
    robot.mux.offer('policy', tick_action(newest - TICK), robot.now_ns, robot.now_ns)
    assert (watch.tick_ns, watch.action, watch.refused) == (newest, action, 1)
    assert not robot.mux.problems(robot.now_ns)['policy']


def test_the_other_source_does_not_take_over_from_hold():
    robot = RealTime()
    robot.run(0.1, 'policy')
    robot.resume()
    robot.run(0.3)
    assert robot.run(0.2, 'teleop').mode is Mode.HOLD
    assert robot.resume() == (True, 'teleop has authority')


def test_stop_brakes_to_rest_and_then_nothing_is_sent():
    robot = RealTime()
    robot.run(0.1, 'policy')
    robot.resume()
    robot.run(0.3, 'policy', arm=(1.0, 1.0))
    before = robot.at
    assert robot.mux.stop('test') == 'stopped (was policy)'
    braking = robot.run(0.02, 'policy')
    assert (braking.mode, braking.source) == (Mode.STOPPED, '')
    assert (braking.action['arm'] > before).all()
    assert not robot.run(0.7, 'policy').action
    assert robot.mux.resting


NOT_LIVE = {
    'foreign': ({'fingerprint': 'abc'}, 'made for another contract (abc; ours is'),
    'anonymous': ({'fingerprint': ''}, 'made for another contract'),
    'not engaged': ({'engaged': 'false'}, 'the device is not engaged'),
    'gap': ({'reason': 'joint_states: no message yet'}, 'joint_states: no message yet'),
    'NaN': ({'arm': (0.1, np.nan)}, 'refused: arm: not finite'),
    'short': ({'arm': (0.1,)}, 'refused: '),
}


@pytest.mark.parametrize('case', NOT_LIVE)
def test_a_source_that_may_not_drive_gets_no_authority_and_loses_it(case):
    change, reason = NOT_LIVE[case]
    robot = RealTime()
    robot.run(0.1, 'teleop', **change)
    given, text = robot.resume()
    assert not given
    assert reason in text
    robot.run(0.1, 'teleop')
    assert robot.resume()[0]
    held = robot.run(0.01, 'teleop', **change)
    assert held.mode is Mode.HOLD
    assert reason in held.reason


def test_an_action_for_a_tick_long_past_is_not_executed():
    """A node that was suspended empties its queue when it wakes up."""
    robot = RealTime()
    robot.run(0.1, 'policy')
    robot.resume()
    old = tick_action(robot.now_ns - S)
    robot.mux.offer('policy', old, robot.now_ns, robot.now_ns)
    command = robot.mux.command(robot.now_ns, robot.now_ns)
    assert (command.mode, command.reason) == (
        Mode.HOLD,
        'policy: its action is for a tick 1.00 s ago',
    )


def test_an_action_for_a_tick_to_come_is_not_executed():
    """The clock of who sends it is ahead: nobody can tell how old its actions are."""
    robot = RealTime()
    robot.run(0.1, 'policy')
    robot.resume()
    robot.mux.offer('policy', tick_action(robot.now_ns + S), robot.now_ns, robot.now_ns)
    command = robot.mux.command(robot.now_ns, robot.now_ns)
    assert (command.mode, command.reason) == (
        Mode.HOLD,
        'policy: its action is for a tick 1.00 s ahead',
    )


def test_an_emergency_stop_is_a_fault_that_resume_does_not_end_while_it_lasts():
    robot = RealTime()
    robot.run(0.1, 'policy')
    robot.resume()
    robot.run(0.1, 'policy')
    robot.mux.emergency(True)
    assert robot.run(0.3, 'policy').mode is Mode.STOPPED
    assert robot.mux.resume(robot.now_ns, []) == (False, 'emergency stop is pressed')
    assert robot.mux.home(robot.now_ns) == (False, 'emergency stop is pressed')
    robot.mux.emergency(False)
    assert robot.run(0.3, 'policy').mode is Mode.STOPPED, 'releasing it moves nothing'
    assert robot.mux.authority.fault == 'emergency stop is pressed'
    assert robot.resume()[0]
    assert robot.mux.authority.fault == ''


def test_resume_and_home_need_fresh_feedback():
    robot = RealTime()
    robot.run(0.1, 'policy', feedback=False)
    for ask in (robot.resume, lambda: robot.mux.home(robot.now_ns)):
        assert ask() == (False, 'no feedback of arm on joint_states yet')
    robot.run(0.01, 'policy')
    robot.run(0.2, 'policy', feedback=False)
    for ask in (robot.resume, lambda: robot.mux.home(robot.now_ns)):
        given, text = ask()
        assert not given
        assert 'feedback of arm on joint_states is 0.21 s old' in text
    robot.mux.measure('arm', np.array([np.nan, 0.0]), None, robot.now_ns)
    assert robot.resume() == (False, 'the feedback of arm on joint_states is not finite')
    assert not robot.run(0.01, feedback=False).action, 'a refused request moves nothing'


def test_where_the_robot_cannot_be_no_command_begins():
    """One wild message of feedback at `~/resume`, and hold told the arm to be 50 rad away."""
    robot = RealTime()
    robot.run(0.1, 'policy')
    robot.mux.measure('arm', np.array([50.0, 0.0]), None, robot.now_ns)
    far = 'the feedback of arm on joint_states is far beyond its limits: element 0 is 50'
    for ask in (robot.resume, lambda: robot.mux.home(robot.now_ns)):
        assert ask() == (False, far)
    assert not robot.run(0.01, feedback=False).action
    robot.run(0.02, 'policy')
    assert robot.resume()[0]


def test_one_message_does_not_say_where_the_robot_is():
    """Within the limits, or a little beyond, a wild one was where hold sent the arm."""
    robot = RealTime()
    robot.run(0.1, 'policy')
    wild = robot.at + 0.3
    jump = 'the feedback of arm jumped: element 0 by 0.3'
    robot.mux.measure('arm', wild, None, robot.now_ns)
    for ask in (robot.resume, lambda: robot.mux.home(robot.now_ns)):
        assert ask() == (False, jump)
    robot.run(0.02, 'policy')
    assert robot.resume()[0], 'two that agree'
    robot.mux.measure('arm', wild, None, robot.now_ns)
    assert robot.mux.command(robot.now_ns, robot.now_ns).action == {}
    assert (robot.mux.authority.mode, robot.mux.authority.reason) == (Mode.STOPPED, jump)


def test_home_drives_slowly_and_stops_there():
    robot = RealTime()
    robot.run(0.1)
    started, text = robot.mux.home(robot.now_ns)
    assert started
    assert '20%' in text
    robot.run(0.5)
    assert robot.resume() == (False, 'the robot is on its way home; wait, or stop it')
    last = robot.run(3.0, 'policy')
    assert (last.mode, last.reason) == (Mode.STOPPED, 'at home')
    np.testing.assert_allclose(robot.at, [0.5, -0.5], atol=1e-6)
    path = np.array([c.action['arm'] for c in robot.sent if c.action])
    assert np.abs(np.diff(path, axis=0)).max() <= 0.2 * 1.0 * 0.01 + 1e-9
    assert all('gripper' not in command.action for command in robot.sent)


def test_home_is_refused_while_somebody_drives_and_without_one():
    robot = RealTime()
    robot.run(0.1, 'policy')
    robot.resume()
    assert robot.mux.home(robot.now_ns) == (False, 'policy has authority; stop first')
    homeless = RealTime(home={})
    assert homeless.mux.home(0) == (False, 'the contract has no home')


def test_stop_ends_the_way_home():
    robot = RealTime()
    robot.run(0.1)
    robot.mux.home(robot.now_ns)
    robot.run(0.5)
    robot.mux.stop('test')
    assert not robot.run(0.6).action
    assert robot.at[0] < 0.4


def test_the_last_commands_bring_the_robot_to_rest():
    robot = RealTime()
    assert robot.mux.last_commands(0) == [], 'a robot that was never driven is told nothing'
    robot.run(0.1, 'policy')
    robot.resume()
    robot.run(0.3, 'policy', arm=(1.0, 1.0))
    last = [command.action['arm'] for command in robot.mux.last_commands(robot.now_ns)]
    speeds = np.diff([robot.at, *last], axis=0)[:, 0] / 0.01
    assert len(last) < 15 + 50, 'half a second of them says where it stands'
    assert speeds[-50:] == pytest.approx(0.0, abs=1e-9)
    assert (np.diff(speeds) <= 1e-9).all()


def lockstep(**changes) -> Mux:
    return Mux(contract(**changes), lockstep=True)


def ask(mux, tick, stream='teleop', **action):
    mux.measure('arm', np.array([0.2, -0.2]), tick * TICK, 0)
    mux.offer(stream, tick_action(tick * TICK, **action), 0)
    return mux.answer(stream, 0)


def test_in_lockstep_every_tick_is_answered_once_whatever_the_mode():
    mux = lockstep()
    stopped = ask(mux, 1)
    assert (stopped.tick_ns, stopped.mode) == (TICK, Mode.STOPPED)
    np.testing.assert_array_equal(stopped.action['arm'], [0.2, -0.2])
    assert mux.resume(0, ['teleop']) == (True, 'teleop has authority')
    driven = ask(mux, 2, arm=(0.21, -0.2))
    assert (driven.tick_ns, driven.mode) == (2 * TICK, Mode.EXPERT)
    np.testing.assert_allclose(driven.action['arm'], [0.21, -0.2])
    gap = ask(mux, 3, reason='object/pose: no message yet')
    assert (gap.tick_ns, gap.mode) == (3 * TICK, Mode.HOLD)
    assert ask(mux, 4).mode is Mode.EXPERT


def test_in_lockstep_the_same_stamp_again_gets_the_same_answer():
    mux = lockstep()
    mux.resume(0, ['teleop'])
    first = ask(mux, 1, arm=(0.21, -0.2))
    assert ask(mux, 1, arm=(0.21, -0.2)) is first


def test_in_lockstep_the_first_command_waits_for_the_feedback_of_its_tick():
    mux = lockstep()
    mux.resume(0, ['policy'])
    mux.offer('policy', tick_action(5 * TICK), 0)
    mux.measure('arm', np.array([9.0, 9.0]), 4 * TICK, 0)
    assert mux.answer('policy', 0) is None
    assert mux.waiting_for == 'policy'
    mux.measure('arm', np.array([0.1, 0.1]), 5 * TICK, 0)
    command = mux.answer('policy', 0)
    np.testing.assert_allclose(command.action['arm'], [0.1, 0.1])
    assert mux.waiting_for is None


def test_in_lockstep_only_the_holder_is_answered():
    mux = lockstep()
    mux.resume(0, ['policy'])
    assert ask(mux, 1, 'teleop') is None
    assert ask(mux, 1, 'policy').mode is Mode.POLICY


def test_in_lockstep_while_stopped_the_slower_source_is_no_second_tick():
    mux = lockstep()
    assert ask(mux, 2, 'policy').tick_ns == 2 * TICK
    assert ask(mux, 2, 'teleop') is None
    assert ask(mux, 1, 'teleop') is None


def test_in_lockstep_resume_wants_one_source_on_the_graph():
    mux = lockstep()
    assert not mux.resume(0, [])[0]
    assert not mux.resume(0, ['policy', 'teleop'])[0]


def test_in_lockstep_an_arm_that_was_put_elsewhere_is_driven_from_there():
    """Between two episodes there is no tick to brake in, and the arm is moved by the reset."""
    mux = lockstep()
    mux.resume(0, ['teleop'])
    ask(mux, 1, arm=(0.22, -0.2))
    mux.stop('test')
    mux.resume(0, ['teleop'])
    mux.measure('arm', np.array([-1.0, 1.0]), 2 * TICK, 0)
    mux.offer('teleop', tick_action(2 * TICK, arm=(-1.0, 1.0)), 0)
    np.testing.assert_array_equal(mux.answer('teleop', 0).action['arm'], [-1.0, 1.0])


def test_in_lockstep_resume_does_not_end_a_hold_that_distance_began():
    actions = contract().to_document()['actions']
    actions['arm']['max_handover_error'] = 0.3
    mux = lockstep(actions=actions)
    made_for = contract(actions=actions).fingerprint
    mux.resume(0, ['policy'])
    ask(mux, 1, 'policy', arm=(0.2, -0.2), checkpoint='old', fingerprint=made_for)
    held = ask(mux, 2, 'policy', arm=(1.7, -0.2), checkpoint='new', fingerprint=made_for)
    far = 'policy: arm: 1.5 away from where the robot is (max_handover_error 0.3)'
    assert (held.mode, held.reason) == (Mode.HOLD, far)
    assert mux.resume(0, ['policy']) == (False, far)
    assert not mux.resume(0, ['policy', 'teleop'])[0]
    assert ask(mux, 3, 'policy', arm=(1.7, -0.2), fingerprint=made_for).mode is Mode.HOLD


def test_in_lockstep_a_clock_that_jumped_back_starts_over():
    mux = lockstep()
    mux.resume(0, ['teleop'])
    ask(mux, 10, arm=(0.22, -0.2))
    command = ask(mux, 3, arm=(0.2, -0.2))
    assert command.tick_ns == 3 * TICK
    np.testing.assert_allclose(command.action['arm'], [0.2, -0.2])


def test_in_lockstep_feedback_that_is_not_finite_stops_and_says_so():
    mux = lockstep()
    mux.resume(0, ['teleop'])
    mux.measure('arm', np.array([np.nan, 0.0]), TICK, 0)
    mux.offer('teleop', tick_action(TICK), 0)
    command = mux.answer('teleop', 0)
    assert (command.mode, command.action) == (Mode.STOPPED, {})
    assert 'measured arm: not finite' in command.reason


def test_noise_disturbs_the_expert_only_and_is_repeatable():
    sent = {}
    for name, stream, seed in (
        ('clean', 'policy', 1),
        ('noisy', 'teleop', 1),
        ('again', 'teleop', 1),
        ('other', 'teleop', 2),
    ):
        mux = lockstep()
        mux.noise = ActionNoise(contract(), 0.5, seed)
        mux.resume(0, [stream])
        command = ask(mux, 1, stream, arm=(0.2, -0.2))
        sent[name] = command.action['arm'].tolist()
        assert command.action['gripper'] == 1
    assert sent['clean'] == pytest.approx([0.2, -0.2])
    assert sent['noisy'] == sent['again']
    assert sent['noisy'] != sent['clean']
    assert sent['noisy'] != sent['other']
