"""The recorder node, against real publishers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from types import SimpleNamespace
from typing import Any

from diagnostic_msgs.msg import DiagnosticStatus
from imitation_ros.episodes.reader import EpisodeReader
from imitation_ros.episodes.writer import EpisodeWriter, RECORDING
from imitation_ros.frames.status import ACK_TOPIC, Status, STATUS_TYPE
from imitation_ros.nodes._messages import message_class, new
from imitation_ros.nodes._params import ParameterError
from imitation_ros.nodes._recorded_topics import DEPTH
from imitation_ros.nodes.recorder import RecorderNode
from mcap.writer import Writer
import pytest
import rclpy
from rclpy.context import Context
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.serialization import deserialize_message
from rclpy.signals import SignalHandlerOptions
from std_srvs.srv import Trigger

OK, WARN = DiagnosticStatus.OK, DiagnosticStatus.WARN
ERROR, STALE = DiagnosticStatus.ERROR, DiagnosticStatus.STALE
JOINTS, POSE = 'sensor_msgs/msg/JointState', 'geometry_msgs/msg/PoseStamped'
FLOATS, STRING = 'std_msgs/msg/Float64MultiArray', 'std_msgs/msg/String'
CONTRACT = f"""
name: test
rate_hz: 20
command_hz: 100
observations:
  state:
    - {{topic: joint_states, type: {JOINTS}, select: [position.joint], max_age_s: 0.5}}
    - {{topic: tool, type: {POSE}, select: [pose.position.x], max_age_s: 0.5}}
actions:
  arm:
    {{topic: command, type: {FLOATS}, kind: velocity, units: rad/s, joints: [joint],
     low: -1.0, high: 1.0, max_acceleration: 1.0}}
record_too: [description]
"""
TYPES = {
    'joint_states': JOINTS,
    'tool': POSE,
    'command': FLOATS,
    'supervisor/decision': STATUS_TYPE,
    'teleop/command': FLOATS,
    'teleop/status': STATUS_TYPE,
}
RELIABLE = QoSProfile(depth=1000)
BEST_EFFORT = QoSProfile(depth=1000, reliability=ReliabilityPolicy.BEST_EFFORT)
LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)


class Robot:
    """Publishes what the contract asks for, each message with a number of its own."""

    def __init__(self, ros: Any, without: tuple[str, ...] = (), **qos: QoSProfile) -> None:
        self.ros = ros
        self.last: dict[str, Any] = {}
        self.said = ''
        self.diagnostics = ros.listen('/diagnostics', 'diagnostic_msgs/msg/DiagnosticArray')
        self._publishers = {
            name: ros.probe.create_publisher(message_class(type), name, qos.get(name, RELIABLE))
            for name, type in TYPES.items()
            if name not in without
        }

    def publish(self, name: str, number: int) -> None:
        if TYPES[name] == STATUS_TYPE:
            message = Status(number, 'robot', 1).encode(new)
        elif TYPES[name] == FLOATS:
            message = message_class(FLOATS)(data=[float(number)])
        else:
            message = new(TYPES[name])
            message.header.stamp.nanosec = number
        self._publishers[name].publish(message)
        self.last[name] = message

    def publish_all(self, number: int) -> None:
        for name in self._publishers:
            self.publish(name, number)

    def start_episode(self) -> str:
        """Publishes until the recorder has started; returns the folder."""
        timer = self.ros.probe.create_timer(0.02, lambda: self.publish_all(1))
        response = self.ros.call('recorder/start')
        self.ros.probe.destroy_timer(timer)
        self.said = response.message
        assert response.success, response.message
        self.diagnostics.clear()
        return response.message.splitlines()[0]

    def wait_until_recorded(self, name: str, messages: int) -> None:
        """Spins until a diagnosis of the recorder says that so many messages are in."""
        self.ros.spin_until(lambda: self.messages(name) >= messages, what=f'{messages} of {name}')

    def messages(self, name: str) -> int:
        """How many messages of a topic the recorder said last that it has."""
        values = {pair.key: pair.value for pair in self.diagnosis(name).values}
        return int(values.get('messages', 0))

    def diagnosis(self, name: str) -> Any:
        """What the recorder said last about a topic."""
        statuses = self.diagnostics[-1].status if self.diagnostics else []
        wanted = (status for status in statuses if status.name == f'recorder: {name}')
        return next(wanted, DiagnosticStatus(level=STALE))

    def end_episode(self, how: str = 'success') -> EpisodeReader:
        response = self.ros.call(f'recorder/{how}')
        self.said = response.message
        assert response.success, response.message
        return EpisodeReader(response.message.splitlines()[0])


@pytest.fixture
def contract(tmp_path):
    path = tmp_path / 'contract.yaml'
    path.write_text(CONTRACT)
    return str(path)


@pytest.fixture
def data(tmp_path):
    return tmp_path / 'data'


@pytest.fixture
def recorder(ros, contract, data):
    return lambda **given: ros.start(RecorderNode, contract=contract, out=str(data), **given)


@contextmanager
def another_participant(ros: Any) -> Iterator[Any]:
    """A node of another process, as far as the middleware is concerned."""
    context = Context()
    rclpy.init(
        context=context,
        domain_id=ros.domain_id,
        signal_handler_options=SignalHandlerOptions.NO,
    )
    node = rclpy.create_node('stranger', context=context)
    yield node
    node.destroy_node()
    context.try_shutdown()


def decoded(name: str, raw: list[bytes]) -> Any:
    return deserialize_message(raw[-1], message_class(TYPES[name]))


def data_of(episode: EpisodeReader, topic: str) -> list[bytes]:
    return [message.data for message in episode.messages([topic])]


def lost_on(episode: EpisodeReader, topic: str) -> int | None:
    return json.loads(episode.info.notes['traffic'])[topic]['lost']


def test_the_file_holds_byte_for_byte_what_was_published(ros, recorder):
    recorder()
    robot = Robot(ros)
    raw: dict[str, list[bytes]] = {name: [] for name in TYPES}
    for name, type in TYPES.items():
        ros.probe.create_subscription(message_class(type), name, raw[name].append, 1000, raw=True)
    robot.start_episode()
    for number in range(2, 52):
        robot.publish_all(number)
    for name in TYPES:
        ros.spin_until(
            lambda name=name: raw[name] and decoded(name, raw[name]) == robot.last[name]
        )
    episode = robot.end_episode()
    for name in TYPES:
        written = data_of(episode, f'/{name}')
        assert len(written) >= 50, name
        assert written == raw[name][-len(written) :], name
        assert lost_on(episode, name) == 0


def test_a_record_says_when_its_message_was_published_and_as_which(ros, recorder):
    recorder()
    robot = Robot(ros)
    infos: list[Any] = []
    ros.probe.create_subscription(
        message_class(POSE), 'tool', lambda message, info: infos.append((message, info)), 1000
    )
    robot.start_episode()
    robot.publish('tool', 2)
    ros.spin_until(lambda: infos and infos[-1][0] == robot.last['tool'])
    message = list(robot.end_episode().messages(['/tool']))[-1]
    assert message.publish_time_ns == infos[-1][1]['source_timestamp']
    assert message.sequence == infos[-1][1]['publication_sequence_number']
    assert message.log_time_ns >= message.publish_time_ns


def test_an_episode_says_what_it_is(ros, recorder):
    node = recorder(task='reach', operator='me', seed=7)
    robot = Robot(ros)
    robot.start_episode()
    node.set_parameters([Parameter('task', value='push')])  # for the next one
    episode = robot.end_episode()
    assert (episode.info.task, episode.info.operator, episode.info.seed) == ('reach', 'me', 7)
    assert (episode.info.outcome, episode.contract.name) == ('success', 'test')
    robot.start_episode()
    episode = robot.end_episode('failure')
    assert (episode.info.task, episode.info.outcome) == ('push', 'failure')
    assert episode.path.name == 'episode_000001'


def test_discard_marks_the_episode(ros, recorder):
    recorder()
    robot = Robot(ros)
    robot.start_episode()
    assert robot.end_episode('discard').info.outcome == 'discarded'


def test_start_names_all_that_is_missing(ros, recorder):
    recorder(start_timeout_s=0.2)
    response = ros.call('recorder/start')
    assert not response.success
    assert response.message == (
        'not started: '
        f'observation joint_states: no publisher of {JOINTS}; '
        f'observation tool: no publisher of {POSE}; '
        f'executed command: no publisher of {FLOATS}; '
        f'executed supervisor/decision: no publisher of {STATUS_TYPE}; '
        'no source of actions (policy lacks policy/command, policy/status; '
        'teleop lacks teleop/command, teleop/status)'
    )


def test_start_is_refused_with_a_silent_and_a_wrong_topic(ros, recorder, data):
    recorder(start_timeout_s=0.2)
    robot = Robot(ros, without=('tool', 'teleop/status'))
    with another_participant(ros) as stranger:
        stranger.create_publisher(message_class(STRING), 'tool', RELIABLE)
        ros.spin_until(lambda: ros.probe.count_publishers('tool'))
        response = ros.call('recorder/start')
    assert response.message == (
        'not started: observation joint_states: no message yet; '
        f'observation tool: published as {STRING}, not as {POSE}; '
        'no source of actions (policy lacks policy/command, policy/status; '
        'teleop lacks teleop/status)'
    )
    assert robot.last == {}
    assert not list(data.glob('*'))


def test_start_is_refused_with_a_stale_topic(ros, recorder):
    recorder(start_timeout_s=1.0)
    robot = Robot(ros)
    messages = ros.listen('joint_states', JOINTS)
    ros.spin_until(lambda: robot.publish_all(1) or messages)
    ros.spin_for(0.6)
    timer = ros.probe.create_timer(0.02, lambda: robot.publish('tool', 2))
    response = ros.call('recorder/start')
    ros.probe.destroy_timer(timer)
    assert not response.success
    assert 'joint_states: the newest message came' in response.message
    assert 's ago (at most 0.5 s)' in response.message
    assert 'tool' not in response.message


def test_start_is_refused_while_nothing_came_since_the_clock_was_set_back(
    ros, recorder, monkeypatch
):
    """A topic that had fallen silent counted as fresh until the clock had caught up."""
    recorder(start_timeout_s=2.0)
    robot = Robot(ros)
    robot.start_episode()
    robot.publish_all(2)
    for name in ('joint_states', 'tool'):
        robot.wait_until_recorded(name, 1)
    robot.end_episode()
    set_back = SimpleNamespace(
        time_ns=lambda: time.time_ns() - 600 * 10**9, monotonic=time.monotonic
    )
    monkeypatch.setattr('imitation_ros.nodes.recorder.time', set_back)
    refused = ros.call('recorder/start')
    assert not refused.success
    assert 'joint_states: the clock was set back, and none came since (by ' in refused.message


def test_the_node_answers_while_start_waits(ros, recorder):
    recorder(start_timeout_s=2.0)
    client = ros.probe.create_client(Trigger, 'recorder/start')
    ros.spin_until(client.service_is_ready)
    starting = client.call_async(Trigger.Request())
    assert ros.call('recorder/success').message == 'success: busy with the command before'
    assert not starting.done()
    ros.spin_until(starting.done)


def test_commands_out_of_order_are_refused(ros, recorder):
    recorder()
    robot = Robot(ros)
    assert ros.call('recorder/success').message == 'not recording; call start first'
    folder = robot.start_episode()
    assert ros.call('recorder/start').message == f'already recording {folder}'


def test_subscriptions_adapt_to_what_is_offered(ros, recorder):
    """With one QoS for all, the best-effort sensor would never be received."""
    recorder()
    robot = Robot(ros, joint_states=BEST_EFFORT, tool=LATCHED)
    robot.start_episode()
    for number in range(10):
        robot.publish('joint_states', number)
    robot.wait_until_recorded('joint_states', 10)
    episode = robot.end_episode()
    assert len(data_of(episode, '/joint_states')) >= 10
    assert 'reliability: best_effort' in episode.topics['/joint_states'].offered_qos
    assert 'durability: transient_local' in episode.topics['/tool'].offered_qos


def test_each_episode_holds_what_was_latched_before_it(ros, recorder):
    """The topic is found by its name alone, and its one message came before the first episode."""
    recorder()
    robot = Robot(ros)
    publisher = ros.probe.create_publisher(message_class(STRING), 'description', LATCHED)
    publisher.publish(message_class(STRING)(data='<robot/>'))
    for _ in range(2):
        robot.start_episode()
        robot.wait_until_recorded('description', 1)
        episode = robot.end_episode()
        [message] = episode.messages(['/description'])
        assert episode.decode(message).data == '<robot/>'


def test_start_says_which_topics_to_record_too_are_absent(ros, recorder):
    recorder()
    robot = Robot(ros)
    robot.start_episode()
    assert robot.said.endswith('without description')


def test_messages_lost_to_a_stalled_disk_are_counted(ros, recorder, monkeypatch):
    """The sum closes: written + lost = published."""
    recorder()
    robot = Robot(ros)
    robot.start_episode()
    robot.publish('joint_states', 1)
    robot.wait_until_recorded('joint_states', 1)
    go_on, stalled, write = threading.Event(), threading.Event(), EpisodeWriter.write

    def stall(self, *args):
        stalled.set()
        go_on.wait()
        write(self, *args)

    monkeypatch.setattr(EpisodeWriter, 'write', stall)
    ros.spin_until(lambda: robot.publish('tool', 2) or stalled.is_set())
    for number in range(DEPTH + 500):
        robot.publish('joint_states', number)
    go_on.set()
    episode = robot.end_episode()
    messages = list(episode.messages(['/joint_states']))
    published = messages[-1].sequence - messages[0].sequence + 1
    assert len(messages) + lost_on(episode, 'joint_states') == published
    assert lost_on(episode, 'joint_states') > 0
    assert 'lost on joint_states' in robot.said


def test_diagnostics_warn_while_recording(ros, recorder):
    recorder()
    robot = Robot(ros)
    robot.start_episode()
    timer = ros.probe.create_timer(0.01, lambda: robot.publish('tool', 2))
    ros.spin_until(lambda: robot.diagnosis('joint_states').level == WARN)
    assert robot.diagnosis('joint_states').message.startswith('stopped: nothing for')
    robot.wait_until_recorded('tool', 100)
    ros.probe.destroy_timer(timer)
    assert robot.diagnosis('tool').level == OK
    values = {pair.key: pair.value for pair in robot.diagnosis('tool').values}
    assert 20 < float(values['rate_hz']) < 110
    assert values['lost'] == '0'
    assert float(values['largest_gap_s']) < 0.5


def test_a_full_disk_ends_the_episode_and_keeps_what_came_before(ros, recorder, data, monkeypatch):
    recorder()
    robot = Robot(ros)
    robot.start_episode()
    for number in range(20):
        robot.publish('joint_states', number)
    robot.wait_until_recorded('joint_states', 20)

    def full(*args):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def failed():
        robot.publish('tool', 1)
        return robot.diagnostics and robot.diagnostics[-1].status[0].level == ERROR

    with monkeypatch.context() as patch:
        patch.setattr(Writer, 'add_message', full)
        ros.spin_until(failed)
    response = ros.call('recorder/success')
    assert not response.success
    assert 'episode_000000 ended early' in response.message
    assert 'No space left on device' in response.message
    second = robot.start_episode()  # there is room again
    assert second.endswith('episode_000001')
    first = EpisodeReader(data / 'episode_000000')
    assert len(data_of(first, '/joint_states')) >= 20
    assert (first.info.truncated, first.info.outcome) == (True, 'disk_full')


def test_little_space_ends_the_episode_whole(ros, recorder, data, monkeypatch):
    recorder()
    robot = Robot(ros)
    robot.start_episode()
    for number in range(20):
        robot.publish('joint_states', number)
    robot.wait_until_recorded('joint_states', 20)
    monkeypatch.setattr(shutil, 'disk_usage', lambda path: SimpleNamespace(free=(1 << 30) - 1))
    ros.spin_until((data / 'episode_000000').exists)
    episode = EpisodeReader(data / 'episode_000000')
    assert (episode.info.truncated, episode.info.outcome) == (False, 'disk_full')
    counts = json.loads(episode.info.notes['traffic'])['joint_states']
    assert counts['written'] == len(data_of(episode, '/joint_states')) >= 20
    assert counts['published'] == counts['written'] + counts['lost']
    response = ros.call('recorder/start')
    assert '1.07 GB free on the disk; at least 1.07' in response.message


def test_what_is_recorded_too_and_is_too_long_is_lost_alone(ros, recorder, monkeypatch):
    """A map that is latched ended each episode as soon as it had begun."""
    monkeypatch.setattr('imitation_ros.episodes.writer.MAX_MESSAGE_BYTES', 10_000)
    recorder()
    robot = Robot(ros)
    publisher = ros.probe.create_publisher(message_class(STRING), 'description', LATCHED)
    publisher.publish(message_class(STRING)(data='x' * 20_000))
    ros.spin_until(publisher.get_subscription_count)
    robot.start_episode()
    robot.wait_until_recorded('description', 1)
    episode = robot.end_episode()
    assert data_of(episode, '/description') == []
    assert lost_on(episode, 'description') == 1


def test_whatever_else_goes_wrong_ends_the_episode_too(ros, recorder, data, monkeypatch):
    recorder()
    robot = Robot(ros)
    robot.start_episode()

    def broken(*args):
        raise RuntimeError('out of luck')

    monkeypatch.setattr(EpisodeWriter, 'write', broken)
    ros.spin_until(
        lambda: robot.publish('tool', 1) or (data / 'episode_000000' / 'metadata.yaml').exists()
    )
    ros.spin_until(lambda: 'what came before' in ros.call('recorder/success').message)
    assert 'out of luck' in ros.call('recorder/success').message
    assert EpisodeReader(data / 'episode_000000').info.outcome == 'unknown'


def test_a_defect_is_an_answer_too(ros, recorder, monkeypatch):
    """An exception that nobody expected left the caller of the service waiting for ever."""
    recorder()
    robot = Robot(ros)
    robot.start_episode()

    def broken(*args):
        raise RuntimeError('out of luck')

    monkeypatch.setattr(EpisodeWriter, 'stop', broken)
    response = ros.call('recorder/success')
    assert not response.success
    assert response.message == "RuntimeError('out of luck')"
    monkeypatch.undo()
    assert 'not recording' in ros.call('recorder/success').message


def test_a_publisher_that_offers_less_can_join_while_recording(ros, recorder):
    recorder()
    robot = Robot(ros)
    robot.start_episode()
    late = ros.probe.create_publisher(message_class(POSE), 'tool', BEST_EFFORT)
    message = new(POSE)
    message.header.stamp.nanosec = 77
    ros.spin_until(lambda: late.publish(message) or robot.messages('tool') >= 3)
    episode = robot.end_episode()
    stamps = [episode.decode(m).header.stamp.nanosec for m in episode.messages(['/tool'])]
    assert stamps[-1] == 77


def test_a_recording_that_was_cut_off_is_repaired_at_the_start(recorder, data):
    folder = data / 'episode_000003'
    with EpisodeWriter(folder) as writer:
        writer.write(writer.add_topic('/tool', POSE), b'\0\1\0\0', 1, 1, 1)
    recording = folder.rename(data / f'episode_000003{RECORDING}')
    mcap = recording / 'episode_000003_0.mcap'
    os.truncate(mcap, mcap.stat().st_size - 20)
    recorder()
    assert EpisodeReader(folder).info.truncated


def test_deactivation_ends_the_episode_as_unknown(ros, recorder):
    node = recorder()
    robot = Robot(ros)
    folder = robot.start_episode()
    node.trigger_deactivate()
    assert EpisodeReader(folder).info.outcome == 'unknown'
    assert ros.call('recorder/start').message == 'the recorder is not active'
    node.trigger_activate()
    robot.start_episode()


def recorder_process(ros: Any, contract: str, data: Any, **given: Any) -> subprocess.Popen[bytes]:
    command = [
        *(sys.executable, '-m', 'imitation_ros.nodes.recorder', '--ros-args'),
        *('-p', f'contract:={contract}', '-p', f'out:={data}'),
    ]
    environment = {**os.environ, 'ROS_DOMAIN_ID': str(ros.domain_id)}
    return subprocess.Popen(command, env=environment, **given)


@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_ends_the_episode_readable(ros, contract, data, number):
    process = recorder_process(ros, contract, data)
    try:
        robot = Robot(ros)
        folder = robot.start_episode()
        robot.publish_all(2)
        process.send_signal(number)
        assert process.wait(10.0) == 0
    finally:
        process.kill()
    episode = EpisodeReader(folder)
    assert (episode.info.outcome, episode.info.truncated) == ('unknown', False)


def test_under_nohup_a_closed_terminal_ends_nothing(ros, contract, data):
    def as_nohup() -> None:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)

    process = recorder_process(ros, contract, data, preexec_fn=as_nohup)
    try:
        robot = Robot(ros)
        robot.start_episode()
        process.send_signal(signal.SIGHUP)
        assert robot.end_episode().info.outcome == 'success'
        process.send_signal(signal.SIGTERM)
        assert process.wait(10.0) == 0
    finally:
        process.kill()


def test_buttons_start_and_end_episodes(ros, recorder, data):
    recorder(joy_topic='joy', joy_start=0, joy_failure=2)
    robot = Robot(ros)
    joy = ros.publisher('joy', 'sensor_msgs/msg/Joy')
    ros.probe.create_timer(0.02, lambda: robot.publish_all(1))

    def press(button, done):
        for buttons in ([0, 0, 0, 0], [int(at == button) for at in range(4)]):
            joy.publish(message_class('sensor_msgs/msg/Joy')(buttons=buttons))
        ros.spin_until(done)

    ros.spin_until(joy.get_subscription_count)
    press(0, lambda: list(data.glob(f'*{RECORDING}')))
    ros.spin_until(lambda: 'already' in ros.call('recorder/start').message)
    press(2, lambda: (data / 'episode_000000').exists())
    assert EpisodeReader(data / 'episode_000000').info.outcome == 'failure'


def test_lockstep_ticks_are_acknowledged_when_they_are_whole(ros, recorder):
    recorder(lockstep=True)
    robot = Robot(ros)
    acks = ros.listen(ACK_TOPIC, STATUS_TYPE)
    ros.spin_until(lambda: robot.publish_all(1) or acks)
    acks.clear()
    for name in ('joint_states', 'tool', 'teleop/command', 'teleop/status', 'command'):
        robot.publish(name, 2)
    ros.spin_for(0.1)
    assert [ack for ack in acks if Status.decode(ack).tick_ns == 2] == []
    robot.publish('supervisor/decision', 2)
    ros.spin_until(lambda: acks and Status.decode(acks[-1]).tick_ns == 2)


def test_an_unreadable_status_does_not_stop_the_recorder(ros, recorder):
    recorder(lockstep=True)
    robot = Robot(ros)
    acks = ros.listen(ACK_TOPIC, STATUS_TYPE)
    stranger = ros.publisher('teleop/status', STATUS_TYPE)
    stranger.publish(new(STATUS_TYPE))
    ros.spin_until(lambda: robot.publish_all(1) or acks)


def test_a_recorder_without_a_contract_is_refused(ros):
    with pytest.raises(ParameterError, match='parameter contract is not set'):
        ros.start(RecorderNode)
