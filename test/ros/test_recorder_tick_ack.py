"""When the recorder acknowledges a lockstep tick."""

from __future__ import annotations

from imitation_ros.frames.contract import parse_contract
from imitation_ros.frames.status import Status
from imitation_ros.nodes._tick_ack import header_stamp_ns, TickAck
import pytest

CONTRACT = parse_contract("""
name: test
rate_hz: 20
command_hz: 100
observations:
  state:
    - {topic: joint_states, type: sensor_msgs/msg/JointState, select: [position.j], max_age_s: 1}
    - {topic: tool, type: geometry_msgs/msg/PoseStamped, select: [pose.position.x], max_age_s: 1}
    - {topic: force, type: std_msgs/msg/Float64, select: [data], max_age_s: 1}
actions:
  arm: {topic: command, type: std_msgs/msg/Float64MultiArray, kind: velocity, units: rad/s,
        joints: [j], low: -1, high: 1, max_acceleration: 1}
""")


def stamped(tick: int) -> bytes:
    return b'\0\1\0\0' + tick.to_bytes(4, 'little') + bytes(8)


class Run:
    """A lockstep run in which all say what they should, in order, unless told otherwise."""

    def __init__(self, *streams: str) -> None:
        self._source_ns = 0
        self._ack = TickAck(CONTRACT, streams.__contains__, lambda data: Status(
            int.from_bytes(data, 'little') * 10**9, 'somebody', 1
        ))  # fmt: skip

    def observe(self, tick: int) -> list[int]:
        return self._add(('joint_states', stamped(tick)), ('tool', stamped(tick)))

    def answer(self, stream: str, tick: int, action: str) -> list[int]:
        topic = {'executed': 'supervisor/decision'}.get(stream, f'{stream}/status')
        return self._add((action, b''), (topic, tick.to_bytes(4, 'little')))

    def execute(self, tick: int) -> list[int]:
        return self.answer('executed', tick, 'command')

    def _add(self, *messages: tuple[str, bytes]) -> list[int]:
        acks = []
        for topic, data in messages:
            self._source_ns += 1
            tick_ns = self._ack.add(topic, data, self._source_ns)
            if tick_ns is not None:
                acks.append(tick_ns // 10**9)
        return acks


def test_a_tick_is_acknowledged_once_with_the_last_of_its_messages():
    run = Run()
    assert [run.observe(1), run.execute(1), run.observe(2), run.execute(2)] == [[], [1], [], [2]]


def test_the_order_of_observation_and_action_does_not_matter():
    run = Run()
    assert [run.execute(1), run.observe(1)] == [[], [1]]


def test_sources_that_take_part_are_waited_for():
    run = Run('teleop')
    run.observe(1)
    assert run.execute(1) == []
    assert run.answer('teleop', 1, 'teleop/command') == [1]
    assert run.answer('policy', 1, 'policy/command') == []


def test_a_repeated_tick_is_acknowledged_again_once():
    run = Run()
    run.observe(1)
    run.execute(1)
    assert run.observe(1) == [1]


def test_a_repeated_action_is_no_news():
    run = Run()
    run.observe(1)
    assert [run.execute(1), run.execute(1)] == [[1], []]


def test_an_answer_to_the_tick_before_does_not_count():
    run = Run()
    run.observe(1)
    run.execute(1)
    run.observe(2)
    assert run.execute(1) == []


def test_topics_of_no_tick_are_ignored():
    assert Run()._add(('force', b''), ('/tf', b'')) == []


@pytest.mark.parametrize(('order', 'flag'), [('little', 1), ('big', 0)])
def test_the_stamp_is_read_from_the_bytes(order, flag):
    data = bytes([0, flag, 0, 0]) + (7).to_bytes(4, order) + (8).to_bytes(4, order) + b'rest'
    assert header_stamp_ns(data) == 7_000_000_008


def test_the_stamp_agrees_with_the_middleware():
    serialization = pytest.importorskip('rclpy.serialization')
    from sensor_msgs.msg import JointState

    message = JointState()
    message.header.stamp.sec, message.header.stamp.nanosec = 3, 5
    assert header_stamp_ns(serialization.serialize_message(message)) == 3_000_000_005
