from __future__ import annotations

import os
from pathlib import Path
import signal
import subprocess
import sys
import time

from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import PoseStamped
from imitation_ros.frames.actions import ActionCodec
from imitation_ros.frames.codecs import set_stamp
from imitation_ros.frames.contract import load_contract
from imitation_ros.frames.status import Pairing, Status, STATUS_TYPE
from imitation_ros.nodes import supervisor
from imitation_ros.nodes._emergency import EmergencyTopic
from imitation_ros.nodes._messages import LATCHED, new, RELIABLE, SENSOR
from imitation_ros.nodes._params import ParameterError
from imitation_ros.nodes._streams import ActionStream
from imitation_ros.nodes.supervisor import SupervisorNode
import numpy as np
import pytest
from rclpy.clock import Clock as RosClock
from rclpy.clock import ClockType
from rclpy.duration import Duration
from rclpy.parameter import Parameter
from std_msgs.msg import Bool

CONTRACT = Path(__file__).parents[2] / 'config/contracts/panda_position.yaml'
PANDA = load_contract(CONTRACT)
HOME = np.array(PANDA.home['arm'])
TICK = PANDA.tick_period_ns


class Robot:
    """A source and a robot on the probe's topics; the robot is where it was commanded last."""

    def __init__(self, ros, stream='teleop', lockstep=False, process=False, **parameters):
        self.ros, self.stream = ros, stream
        self.feedback = ros.publisher('joint_states', 'sensor_msgs/msg/JointState')
        self.source = ActionStream(ros.probe, PANDA, stream)
        self.arm = ros.listen('arm/command', PANDA.actions['arm'].type)
        self.gripper = ros.listen('gripper/command', PANDA.actions['gripper'].type)
        self.decisions = ros.listen('supervisor/decision', STATUS_TYPE)
        self.target, self.far = HOME + 0.1, None
        self.values = {'engaged': 'true'}
        if process:
            self.supervisor = self.launch()
        else:
            parameters |= {'contract': str(CONTRACT), 'lockstep': lockstep}
            self.supervisor = ros.start(SupervisorNode, **parameters)
        self.timers = []
        ros.spin_until(self.matched, what='discovery')

    def matched(self):
        counted = (
            self.ros.probe.count_subscribers(f'{self.stream}/status'),
            self.ros.probe.count_subscribers('joint_states'),
            self.ros.probe.count_publishers('arm/command'),
            self.ros.probe.count_publishers('supervisor/decision'),
        )
        if isinstance(self.supervisor, SupervisorNode):
            counted += (
                self.supervisor.count_publishers(f'{self.stream}/status'),
                self.supervisor.count_subscribers('arm/command'),
            )
        return all(counted)

    def launch(self):
        arguments = ['--ros-args', '-p', f'contract:={CONTRACT}']
        return subprocess.Popen(
            [sys.executable, '-m', 'imitation_ros.nodes.supervisor', *arguments],
            env={**os.environ, 'ROS_DOMAIN_ID': str(self.ros.domain_id)},
            stderr=subprocess.DEVNULL,
        )

    def live(self):
        """Feedback at 100 Hz, and an action each tick, from now on."""
        node = self.ros.probe
        self.timers = [
            node.create_timer(0.01, self.send_feedback),
            node.create_timer(0.05, self.send_action),
        ]

    def silence(self):
        self.ros.probe.destroy_timer(self.timers.pop())

    def send_feedback(self, stamp_ns=None):
        message = new('sensor_msgs/msg/JointState')
        message.name = [f'panda_joint{index}' for index in range(1, 8)]
        message.position = list(self.arm[-1].data) if self.arm else HOME.tolist()
        set_stamp(message, stamp_ns or self.now_ns)
        self.feedback.publish(message)

    def send_action(self, tick_ns=None):
        if self.far is not None:
            # Never too far for a handover: on a busy machine it falls silent now and then.
            self.target = np.minimum(self.far, np.array(self.arm[-1].data) + 0.15)
        action = {'arm': self.target, 'gripper': np.array([1])}
        self.source.send(tick_ns or self.now_ns, action, '', lambda: self.values)

    @property
    def now_ns(self):
        return self.ros.probe.get_clock().now().nanoseconds

    @property
    def decided(self):
        return [Status.decode(message) for message in self.decisions]

    def ended(self):
        return self.decisions and self.decided[-1].reason == 'the supervisor is ending'

    def drive(self):
        """Resumes, as soon as the supervisor allows it."""
        self.ros.spin_until(lambda: self.ros.call('supervisor/resume').success, what='resume')

    def drive_far(self):
        """Resumes, and waits until the robot is in the middle of a long motion."""
        self.drive()
        self.ros.spin_until(lambda: self.arm, what='a command')
        self.far = HOME + 0.4
        self.ros.spin_until(lambda: self.arm[-1].data[0] > HOME[0] + 0.12, what='motion')

    def wait_for_mode(self, mode):
        def reached():
            return self.decisions and self.decided[-1].values['mode'] == mode

        self.ros.spin_until(reached, what=f'mode {mode}')

    def wait_for_reason(self, part):
        def given():
            return self.decisions and part in self.decided[-1].reason

        self.ros.spin_until(given, what=f'a decision because of: {part}')


def test_it_starts_stopped_and_refuses_to_resume_without_feedback_or_a_source(ros):
    robot = Robot(ros)
    answer = ros.call('supervisor/resume')
    assert not answer.success
    assert answer.message == 'no feedback of arm on joint_states yet'
    ros.probe.create_timer(0.01, robot.send_feedback)
    ros.spin_until(lambda: 'source' in ros.call('supervisor/resume').message)
    answer = ros.call('supervisor/resume')
    assert not answer.success
    assert answer.message == (
        'no source is live: policy: nothing heard yet; teleop: nothing heard yet'
    )
    robot.wait_for_mode('stopped')
    assert not robot.arm


def test_the_resumed_source_drives_at_command_hz_within_the_limits(ros):
    robot = Robot(ros)
    robot.live()
    robot.drive()
    ros.spin_until(
        lambda: robot.arm and np.allclose(robot.arm[-1].data, robot.target, atol=1e-4),
        what='the target',
    )
    path = np.array([HOME, *(message.data for message in robot.arm)])
    limits = np.array(PANDA.actions['arm'].max_velocity) / PANDA.command_hz
    assert (np.abs(np.diff(path, axis=0)) <= limits + 1e-9).all()
    assert robot.gripper[-1].data
    last = robot.decided[-1]
    assert last.values['fingerprint'] == PANDA.fingerprint
    assert (last.values['mode'], last.values['source']) == ('expert', 'probe')


def test_there_is_one_decision_a_tick_and_it_counts_its_commands(ros):
    robot = Robot(ros)
    pairing, ticks = Pairing(), []

    def on_decision(message, info):
        stamp = info['source_timestamp']
        ticks.extend(pairing.add_status(stamp, Status.decode(message)))

    def on_arm(message, info):
        ticks.extend(pairing.add_message('arm', info['source_timestamp'], message))

    def on_gripper(message, info):
        ticks.extend(pairing.add_message('gripper', info['source_timestamp'], message))

    for part, callback in (('arm', on_arm), ('gripper', on_gripper)):
        topic, message = PANDA.actions[part].topic, type(new(PANDA.actions[part].type))
        ros.probe.create_subscription(message, topic, callback, 1000)
    ros.probe.create_subscription(DiagnosticArray, 'supervisor/decision', on_decision, 1000)
    robot.live()
    robot.drive()

    def driven():
        return [tick for tick in ticks if tick.status.values['mode'] == 'expert']

    ros.spin_until(lambda: len(driven()) > 5, what='six whole ticks')
    stamps = [tick.status.tick_ns for tick in driven()]
    assert len(set(stamps)) == len(stamps)
    assert all(set(tick.messages) == {'arm', 'gripper'} for tick in driven()[1:])
    assert all(tick.status.sent >= 2 for tick in driven())


def test_a_silent_source_leads_to_hold_with_one_latched_target(ros):
    robot = Robot(ros)
    robot.live()
    robot.drive()
    robot.wait_for_mode('expert')
    robot.silence()
    robot.wait_for_mode('hold')
    late = ('teleop: silent for', 'teleop: its action is')  # which is first depends on the machine
    assert any(reason in robot.decided[-1].reason for reason in late)
    seen = len(robot.arm) + 50
    ros.spin_until(lambda: len(robot.arm) > seen, what='repeated commands')
    assert robot.arm[-1].data == robot.arm[-20].data
    robot.live()
    robot.wait_for_mode('expert')


def test_a_command_that_must_not_be_sent_is_refused_and_nothing_crashes(ros):
    robot = Robot(ros)
    robot.live()
    robot.drive()
    robot.wait_for_mode('expert')
    good, robot.target = robot.target, np.full(7, np.nan)
    robot.wait_for_reason('teleop: refused: arm: not finite')
    assert robot.decided[-1].values['mode'] == 'hold'
    assert all(np.isfinite(message.data).all() for message in robot.arm)
    robot.target = good
    robot.wait_for_mode('expert')


def test_a_malformed_command_is_refused_and_nothing_crashes(ros):
    robot = Robot(ros, 'policy', lockstep=True)
    ros.call('supervisor/resume')
    robot.send_feedback(TICK)
    message = new(PANDA.actions['arm'].type)
    message.data = [0.1, 0.2]
    robot.source._publishers['arm'].publish(message)
    status = Status(TICK, 'probe', 1, '', {'fingerprint': PANDA.fingerprint})
    robot.source._status.publish(status.encode(new))
    ros.spin_until(lambda: robot.decisions)
    assert robot.decided[0].values['mode'] == 'hold'
    assert 'refused: ' in robot.decided[0].reason
    np.testing.assert_array_equal(robot.arm[0].data, HOME)


def test_a_status_that_is_none_is_counted_and_nothing_crashes(ros):
    robot = Robot(ros)
    diagnostics = ros.listen('/diagnostics', STATUS_TYPE)
    ros.publisher('teleop/status', STATUS_TYPE)
    robot.source._status.publish(DiagnosticArray())

    def values():
        return {pair.key: pair.value for m in diagnostics for pair in m.status[0].values}

    ros.spin_until(lambda: values().get('teleop refused') == '1', what='the count')
    assert 'not the status of an action source' in values()['teleop']


def test_a_teleoperator_who_lets_go_loses_authority(ros):
    robot = Robot(ros)
    robot.live()
    robot.drive()
    robot.values = {'engaged': 'false'}
    robot.wait_for_reason('not engaged')
    assert robot.decided[-1].values['mode'] == 'hold'


def test_stop_answers_when_the_robot_is_at_rest_and_then_it_is_silent(ros):
    robot = Robot(ros)
    robot.live()
    robot.drive_far()
    assert robot.arm[-1].data != robot.arm[-2].data
    answer = ros.call('supervisor/stop')
    assert answer.success, answer.message
    ros.spin_until(lambda: robot.decided[-1].sent == 0, what='a decision without commands')
    steps = np.abs(np.diff([message.data for message in robot.arm], axis=0))
    assert steps[-1].max() == pytest.approx(0.0, abs=1e-9)
    seen = len(robot.arm)
    ros.spin_for(0.1)
    assert len(robot.arm) == seen


def test_deactivation_sends_the_hold_last(ros):
    robot = Robot(ros)
    robot.live()
    robot.drive_far()
    robot.supervisor.trigger_deactivate()
    ros.spin_until(robot.ended, what='the last decision')
    ros.spin_for(0.2)
    assert robot.arm[-1].data == pytest.approx(robot.arm[-2].data, abs=0.002)
    assert not ros.call('supervisor/resume').success
    robot.supervisor.trigger_activate()
    assert robot.decided[-1].values['mode'] == 'stopped'


def test_where_it_ends_its_readers_have_heard_it_and_a_stopped_one_does_not_keep_it(
    ros, monkeypatch
):
    """What a busy machine had lost by then was never sent again: the stop was not heard of."""
    robot = Robot(ros)
    decision, reader = robot.supervisor._decision, start_reader(ros)
    try:
        ros.spin_until(lambda: decision.get_subscription_count() == 2, what='both readers')
        robot.live()
        robot.drive_far()
        monkeypatch.setattr(supervisor, 'HEARD_S', 10.0)  # on any machine
        robot.supervisor.trigger_deactivate()
        assert decision.wait_for_all_acked(Duration())
        monkeypatch.undo()
        reader.send_signal(signal.SIGSTOP)
        robot.supervisor.trigger_activate()
        robot.drive()
        begun = time.monotonic()
        robot.supervisor.trigger_deactivate()
        assert time.monotonic() - begun < 5.0, 'the patience of `ros2 launch`'
        assert not decision.wait_for_all_acked(Duration())
    finally:
        reader.kill()
        reader.wait()


def start_reader(ros):
    """A process that listens to decisions."""
    code = (
        'from diagnostic_msgs.msg import DiagnosticArray as Decision; import rclpy; '
        'rclpy.init(); node = rclpy.create_node("reader"); '
        'node.create_subscription(Decision, "supervisor/decision", lambda message: None, 10); '
        'rclpy.spin(node)'
    )
    environment = {**os.environ, 'ROS_DOMAIN_ID': str(ros.domain_id)}
    return subprocess.Popen([sys.executable, '-c', code], env=environment)


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT])
def test_a_signal_ends_it_with_the_robot_at_rest(ros, number):
    """rclpy's own handlers close the context first, and the last command is never sent. A terminal
    that was closed (SIGHUP) killed the node outright."""
    robot = Robot(ros, process=True)
    try:
        robot.live()
        robot.drive_far()
        robot.supervisor.send_signal(number)
        ros.spin_until(lambda: robot.supervisor.poll() is not None, what='the end')
        ros.spin_until(robot.ended, what='the last decision')
        ros.spin_for(0.1)
        assert robot.supervisor.returncode == 0
    finally:
        robot.supervisor.kill()
        robot.supervisor.wait()
    path = np.array([message.data for message in robot.arm])
    acceleration = np.abs(np.diff(path, n=2, axis=0)) * PANDA.command_hz**2
    assert acceleration.max() <= PANDA.actions['arm'].max_acceleration[0] + 1e-6
    speed = np.abs(path[-1] - path[-2]) * PANDA.command_hz
    assert speed.max() <= PANDA.actions['arm'].max_acceleration[0] / PANDA.command_hz + 1e-6


@pytest.mark.skipif(sys.platform != 'linux', reason='reads what Linux says of a process')
@pytest.mark.parametrize('reach', ['LOCALHOST', 'SUBNET'])
def test_it_shares_no_lock_that_a_stopped_process_could_keep(ros, monkeypatch, reach):
    monkeypatch.setenv('ROS_AUTOMATIC_DISCOVERY_RANGE', reach)
    robot = Robot(ros, process=True)
    try:
        mapped = Path(f'/proc/{robot.supervisor.pid}/maps').read_text()
    finally:
        robot.supervisor.kill()
        robot.supervisor.wait()
    assert 'libfast' in mapped
    assert '/dev/shm/fast' not in mapped


@pytest.mark.parametrize('qos', [LATCHED, SENSOR, RELIABLE], ids=['latched', 'best', 'reliable'])
def test_an_emergency_stop_stops_whatever_qos_it_comes_with(ros, qos):
    robot = Robot(ros)
    button = ros.publisher('emergency_stop', 'std_msgs/msg/Bool', qos)
    robot.live()
    robot.drive()
    robot.wait_for_mode('expert')
    ros.spin_until(lambda: button.get_subscription_count(), what='discovery')
    button.publish(Bool(data=True))
    robot.wait_for_mode('stopped')
    assert robot.decided[-1].reason == 'emergency stop is pressed'
    assert ros.call('supervisor/resume').message == 'emergency stop is pressed'
    button.publish(Bool(data=False))
    robot.drive()
    robot.wait_for_mode('expert')


def test_an_emergency_stop_from_before_the_start_is_heard(ros):
    button = ros.publisher('emergency_stop', 'std_msgs/msg/Bool', LATCHED)
    button.publish(Bool(data=True))
    robot = Robot(ros)
    robot.live()
    ros.spin_until(
        lambda: ros.call('supervisor/resume').message == 'emergency stop is pressed',
        what='the refusal',
    )


def test_a_reliable_button_is_heard_reliably(ros):
    """It matched only a best-effort subscription, which may lose what it says."""
    Robot(ros)
    ros.publisher('emergency_stop', 'std_msgs/msg/Bool', RELIABLE)

    def heard():
        infos = ros.probe.get_subscriptions_info_by_topic('/emergency_stop')
        return {(each.qos_profile.reliability, each.qos_profile.durability) for each in infos}

    wanted = (RELIABLE.reliability, RELIABLE.durability)
    ros.spin_until(lambda: wanted in heard(), what='a reliable, volatile subscription')


def test_one_button_does_not_release_another(ros):
    """`false` of one ended the `true` of the other, which somebody was still pressing."""
    robot = Robot(ros)
    pressed, other = (ros.publisher('emergency_stop', 'std_msgs/msg/Bool') for _ in range(2))
    ros.spin_until(lambda: pressed.get_subscription_count() >= 2, what='discovery')
    ros.spin_until(lambda: other.get_subscription_count() >= 2, what='discovery')
    ros.spin_until(lambda: robot.supervisor.count_publishers('emergency_stop') == 2)
    robot.live()
    robot.drive()
    pressed.publish(Bool(data=True))
    robot.wait_for_mode('stopped')
    other.publish(Bool(data=True))
    other.publish(Bool(data=False))
    ros.spin_for(0.2)
    assert ros.call('supervisor/resume').message == 'emergency stop is pressed'
    pressed.publish(Bool(data=False))
    robot.drive()
    pressed.publish(Bool(data=True))
    robot.wait_for_mode('stopped')
    ros.probe.destroy_publisher(pressed)
    ros.spin_until(lambda: robot.supervisor.count_publishers('emergency_stop') == 1)
    assert ros.call('supervisor/resume').message == 'emergency stop is pressed'
    other.publish(Bool(data=False))
    robot.drive()


@pytest.fixture
def emergency(ros):
    """Says a button's nth message at a wall clock's time; gives what was heard by then."""
    heard = []
    topic = EmergencyTopic(ros.probe, heard.append)

    def say(pressed, number, time_s):
        info = {
            'publisher_gid': {'data': b'button'},
            'publication_sequence_number': number,
            'source_timestamp': time_s * 10**9,
        }
        topic._on_message(Bool(data=pressed), info)
        return heard

    yield say
    topic.close()


def test_a_button_whose_clock_is_set_back_stops_and_releases(emergency):
    """Its `true` passed for an old message until the clock had caught up."""
    emergency(False, 1, 100)
    assert emergency(True, 2, 70)[-1]
    assert not emergency(False, 3, 71)[-1]
    assert emergency(True, 4, 72)[-1]
    assert not emergency(False, 5, 40)[-1], 'set back while it is pressed'


def test_what_a_slower_subscription_says_of_a_button_releases_and_presses_nothing(emergency):
    emergency(False, 1, 1)
    emergency(True, 2, 2)
    assert emergency(False, 1, 1)[-1], 'an older word'
    emergency(False, 4, 4)
    heard = emergency(True, 3, 3)
    assert heard[-2:] == [True, False], 'the faster one has lost it: a stop all the same'


def test_the_emergency_stop_is_a_service_too_and_latches(ros):
    robot = Robot(ros)
    robot.live()
    robot.drive()
    assert ros.call('supervisor/emergency_stop').success
    fault = 'emergency stop by ~/emergency_stop'
    robot.wait_for_reason(fault)
    assert robot.decided[-1].values['mode'] == 'stopped'
    assert ros.call('supervisor/home').message == f'{fault}; ~/resume ends a fault'
    robot.drive()
    robot.wait_for_mode('expert')


def test_the_way_home_is_refused_beside_a_second_publisher(ros):
    """It was not asked who else publishes, and the arm moved beside the intruder."""
    robot = Robot(ros)
    robot.live()
    intruder = ros.publisher('arm/command', PANDA.actions['arm'].type)
    robot.wait_for_mode('stopped')
    named = '/arm/command has more than one publisher'
    robot.wait_for_reason(named)
    answer = ros.call('supervisor/home')
    assert not answer.success
    assert answer.message.startswith(named)
    ros.probe.destroy_publisher(intruder)
    ros.spin_until(lambda: 'resume ends' in ros.call('supervisor/home').message, what='the fault')
    robot.drive()
    ros.call('supervisor/stop')
    robot.target = HOME + 0.1
    assert ros.call('supervisor/home').success
    ros.publisher('arm/command', PANDA.actions['arm'].type)
    robot.wait_for_mode('stopped')
    robot.wait_for_reason(named)


def test_activated_again_it_is_silent_and_begins_where_the_robot_is(ros):
    """A brake went on at the next activation; a robot moved meanwhile was told to jump back."""
    robot = Robot(ros)
    robot.live()
    robot.drive()
    robot.wait_for_mode('expert')
    robot.supervisor.trigger_deactivate()
    ros.spin_until(robot.ended, what='the last decision')
    ended = len(robot.decisions)
    robot.supervisor.trigger_activate()
    ros.spin_until(lambda: len(robot.decisions) > ended + 5, what='decisions')
    assert not any(status.sent for status in robot.decided[ended:])
    robot.drive()
    robot.wait_for_mode('expert')


def test_home_drives_there_and_is_refused_while_somebody_drives(ros):
    robot = Robot(ros)
    robot.live()
    robot.drive()
    robot.wait_for_mode('expert')
    answer = ros.call('supervisor/home')
    assert (answer.success, answer.message) == (False, 'teleop has authority; stop first')
    ros.call('supervisor/stop')
    answer = ros.call('supervisor/home')
    assert answer.success, answer.message

    def at_home():
        if 'the feedback' in robot.decided[-1].reason:
            ros.call('supervisor/home')  # a busy machine: it was late, and the way home ended
        return robot.decided[-1].reason == 'at home'

    ros.spin_until(at_home, what='home')
    np.testing.assert_allclose(robot.arm[-1].data, HOME, atol=1e-5)


def test_in_lockstep_each_tick_gets_one_command_a_part_and_then_the_decision(ros):
    robot = Robot(ros, 'policy', lockstep=True)
    answer = ros.call('supervisor/resume')
    assert (answer.success, answer.message) == (True, 'policy has authority')
    for tick in range(1, 20):
        robot.send_action(tick * TICK)
        robot.send_feedback(tick * TICK)
        ros.spin_until(lambda tick=tick: len(robot.decisions) == tick, what=f'tick {tick}')
    ros.spin_until(lambda: len(robot.arm) == len(robot.gripper) == 19)
    assert [status.tick_ns for status in robot.decided] == [t * TICK for t in range(1, 20)]
    assert {status.sent for status in robot.decided} == {2}
    np.testing.assert_allclose(robot.arm[-1].data, robot.target, atol=1e-9)


def test_in_lockstep_the_answer_is_given_again_if_the_tick_comes_again(ros):
    robot = Robot(ros, 'policy', lockstep=True)
    robot.send_feedback(TICK)
    robot.send_action(TICK)
    ros.spin_until(lambda: len(robot.decisions) == 1)
    robot.source.send_again()
    ros.spin_until(lambda: len(robot.decisions) == 2 and len(robot.arm) == 2)
    assert robot.arm[0] == robot.arm[1]
    assert robot.decisions[0] == robot.decisions[1]


def test_in_lockstep_an_action_that_came_in_pieces_is_answered_when_it_is_whole(ros):
    robot = Robot(ros, 'policy', lockstep=True)
    robot.send_feedback(TICK)
    publishers = robot.source._publishers
    gripper = ActionCodec(PANDA.actions['gripper']).encode(np.array([0]), TICK, new)
    arm = ActionCodec(PANDA.actions['arm']).encode(HOME, TICK, new)
    publishers['arm'].publish(arm)
    ros.spin_for(0.05)
    publishers['gripper'].publish(gripper)
    ros.spin_for(0.05)
    assert not robot.decisions
    status = Status(TICK, 'probe', 2, '', {'fingerprint': PANDA.fingerprint})
    robot.source._status.publish(status.encode(new))
    ros.spin_until(lambda: robot.decisions)


def test_noise_changes_what_is_executed_and_not_the_label(ros):
    robot = Robot(ros, 'teleop', lockstep=True)
    robot.target = HOME
    labels = ros.listen('teleop/arm/command', PANDA.actions['arm'].type)
    from rclpy.parameter import Parameter

    robot.supervisor.set_parameters(
        [Parameter('dart_noise', value=0.2), Parameter('dart_seed', value=3)]
    )
    ros.call('supervisor/resume')
    for tick in range(1, 6):
        robot.send_feedback(tick * TICK)
        robot.send_action(tick * TICK)
        ros.spin_until(lambda tick=tick: len(robot.arm) == tick == len(labels))
    assert all(list(label.data) == HOME.tolist() for label in labels)
    assert all(not np.allclose(message.data, HOME, atol=1e-6) for message in robot.arm)


@pytest.mark.parametrize(
    ('parameters', 'message'),
    [
        ({}, 'contract is not set'),
        ({'contract': 'x', 'stale_after_s': -1.0}, 'stale_after_s'),
        ({'contract': 'x', 'home_speed': 2.0}, 'home_speed'),
        ({'contract': 'x', 'home_sped': 0.2}, "unknown parameter 'home_sped'.*home_speed"),
    ],
)
def test_a_bad_parameter_is_refused_at_start(ros, parameters, message):
    with pytest.raises(ParameterError, match=message):
        ros.start(SupervisorNode, **parameters)


def test_a_missing_contract_is_refused_when_it_is_configured(ros):
    node = ros.start(SupervisorNode, autostart=False, contract='/no/such.yaml')
    assert not node.autostart()


def test_with_a_paused_clock_it_says_that_it_holds(ros):
    """A decision waited for the next tick, which never came; the commands were at rest."""
    from rosgraph_msgs.msg import Clock

    clock = ros.publisher('/clock', 'rosgraph_msgs/msg/Clock')
    robot = Robot(ros, use_sim_time=True)
    ros.probe.set_parameters([Parameter('use_sim_time', value=True)])
    running, message = [True], Clock()

    def tick():
        if running:
            message.clock.nanosec += 10_000_000
            message.clock.sec += message.clock.nanosec // 1_000_000_000
            message.clock.nanosec %= 1_000_000_000
        clock.publish(message)

    ros.probe.create_timer(0.01, tick, clock=RosClock(clock_type=ClockType.STEADY_TIME))
    steady = RosClock(clock_type=ClockType.STEADY_TIME)
    ros.probe.create_timer(0.01, lambda: running and robot.send_feedback(), clock=steady)
    ros.probe.create_timer(0.05, robot.send_action, clock=steady)
    robot.drive()
    robot.wait_for_mode('expert')
    running.clear()
    robot.wait_for_mode('hold')


def test_a_clock_before_zero_does_not_end_a_node(ros):
    """rclpy raised out of the executor: one message from anybody ended every node."""
    robot = Robot(ros, use_sim_time=True)
    clock = ros.publisher('/clock', 'rosgraph_msgs/msg/Clock')
    ros.spin_until(lambda: ros.probe.count_subscribers('/clock'), what='the clock is heard')
    bad, good = new('rosgraph_msgs/msg/Clock'), new('rosgraph_msgs/msg/Clock')
    bad.clock.sec, good.clock.sec = -1, 7

    def send():
        clock.publish(bad)
        clock.publish(good)
        return robot.supervisor.get_clock().now().nanoseconds == 7 * 10**9

    ros.spin_until(send, what='the good time')


def test_limits_and_workspace_come_from_a_urdf_where_one_is_given(ros):
    data = pytest.importorskip('pybullet_data').getDataPath()
    urdf = f'{data}/franka_panda/panda.urdf'
    box = {'workspace_low': [0.2, -0.1, 0.2], 'workspace_high': [0.8, 0.1, 0.9]}
    robot = Robot(ros, urdf=urdf, tool_link='panda_hand', **box)
    robot.live()
    robot.drive()
    robot.wait_for_mode('expert')
    robot.far = HOME + np.array([1.0, 0, 0, 0, 0, 0, 0])
    robot.wait_for_mode('stopped')
    reason = robot.decided[-1].reason
    assert 'arm: the tool would leave the workspace, 20 ticks in a row' in reason
    assert 0.05 < robot.arm[-1].data[0] - HOME[0] < 0.5


def test_a_tool_whose_velocity_is_commanded_stays_in_the_workspace(ros):
    contract = load_contract('panda_reach')
    box = {'workspace_low': [0.3, -0.2, 0.1], 'workspace_high': [0.7, 0.2, 0.5]}
    source = ActionStream(ros.probe, contract, 'teleop')
    decided = ros.listen('supervisor/decision', STATUS_TYPE)
    sent = ros.listen('arm/command', 'geometry_msgs/msg/TwistStamped')
    tool = ros.probe.create_publisher(PoseStamped, 'tool/pose', 10)
    node = ros.start(
        SupervisorNode, contract='panda_reach', tool_topic='tool/pose', excess_limit=0, **box
    )
    pose = PoseStamped()
    pose.header.frame_id, pose.pose.position.x, pose.pose.position.z = 'panda_link0', 0.5, 0.3

    def send():
        now = ros.probe.get_clock().now()
        pose.header.stamp = now.to_msg()
        tool.publish(pose)
        action, engaged = {'arm': np.array([0.3, 0.0, 0.0])}, {'engaged': 'true'}
        source.send(now.nanoseconds, action, '', lambda: engaged)

    ros.probe.create_timer(0.05, send)
    ros.spin_until(lambda: ros.call('supervisor/resume').success, what='resume')
    ros.spin_until(lambda: sent and sent[-1].twist.linear.x > 0.29, what='motion')
    pose.pose.position.x = 0.7
    ros.spin_until(lambda: abs(sent[-1].twist.linear.x) < 1e-6, what='rest at the wall')
    assert Status.decode(decided[-1]).values['mode'] == 'expert'
    pose.pose.position.x = float('nan')
    ros.spin_until(
        lambda: 'old; the newest is not finite' in Status.decode(decided[-1]).reason, what='hold'
    )
    assert Status.decode(decided[-1]).values['mode'] == 'hold'
    pose.pose.position.x = 0.5
    ros.spin_until(lambda: Status.decode(decided[-1]).values['mode'] == 'expert', what='its end')
    pose.header.frame_id = 'camera'
    ros.spin_until(
        lambda: 'the pose of the tool on tool/pose is' in Status.decode(decided[-1]).reason,
        what='hold',
    )
    assert node.active


@pytest.mark.parametrize(
    'parameters',
    [{'urdf': '/nowhere.urdf'}, {'tool_link': 'hand'}, {'workspace_low': [0.0]},
     {'tool_topic': 'tool/pose'}],
)  # fmt: skip
def test_it_refuses_to_start_with_half_a_workspace(ros, parameters):
    node = ros.start(SupervisorNode, autostart=False, contract=str(CONTRACT), **parameters)
    assert not node.autostart()
