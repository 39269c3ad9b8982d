"""Episodes as a recorder would write them, made without ROS (rosbags makes the bytes)."""

from __future__ import annotations

from functools import cache
from types import SimpleNamespace

from imitation_ros.episodes.info import EpisodeInfo
from imitation_ros.episodes.writer import EpisodeWriter
from imitation_ros.frames.actions import ActionCodec
from imitation_ros.frames.codecs import set_stamp
from imitation_ros.frames.contract import parse_contract
from imitation_ros.frames.status import action_topic, Status, STATUS_TOPICS, STATUS_TYPE
import numpy as np
from rosbags.interfaces import Nodetype
from rosbags.typesys import get_typestore, Stores

WALL_NS = 1_700_000_000_000_000_000
PERIOD_NS = 50_000_000
STORE = get_typestore(Stores.ROS2_KILTED)

CONTRACT = """
name: two_joints
rate_hz: 20
command_hz: 100
observations:
  state:
    - {topic: joint_states, type: sensor_msgs/msg/JointState, max_age_s: 0.1,
       select: [position.a, position.b]}
    - {topic: width, type: std_msgs/msg/Float64, select: [data], max_age_s: 0.1}
actions:
  arm: {topic: arm/command, type: std_msgs/msg/Float64MultiArray, kind: position, units: rad,
        joints: [a, b], feedback: [position.a, position.b], low: -3, high: 3,
        max_velocity: 2, max_acceleration: 8}
  gripper: {topic: gripper/command, type: std_msgs/msg/Bool, kind: discrete,
            classes: [open, close]}
"""


def contract(**changes):
    """The contract above; `changes` maps a piece of its text to another."""
    text = CONTRACT
    for old, new in changes.get('replaced', {}).items():
        assert old in text
        text = text.replace(old, new)
    return parse_contract(text)


def new(type):
    """An empty message."""
    return SimpleNamespace(**{name: _empty(desc) for name, desc in STORE.fielddefs[type][1]})


def cdr(message, type):
    """The message's bytes."""
    return bytes(STORE.serialize_cdr(_typed(message, type), type))


@cache
def _zero(base):
    return '' if base == 'string' else False if base == 'bool' else 0.0 if 'float' in base else 0


def _empty(desc):
    node, detail = desc
    if node == Nodetype.BASE:
        return _zero(detail[0])
    if node == Nodetype.NAME:
        return new(detail)
    return [] if node == Nodetype.SEQUENCE else [_empty(detail[0]) for _ in range(detail[1])]


def _typed(value, type):
    fields = {n: _converted(getattr(value, n), d) for n, d in STORE.fielddefs[type][1]}
    return STORE.types[type](**fields)


def _converted(value, desc):
    node, detail = desc
    if node == Nodetype.NAME:
        return _typed(value, detail)
    if node == Nodetype.BASE:
        return value[0] if isinstance(value, bytes) else value
    inner = detail[0]
    if inner[0] == Nodetype.BASE and inner[1][0] != 'string':
        return np.array(value, {'byte': 'u1'}.get(inner[1][0], inner[1][0]))
    return [_converted(item, inner) for item in value]


class Bag:
    """A recording in the making: `send` puts a message on a topic."""

    def __init__(self, folder, contract=None, **info):
        self.contract = contract
        self.writer = EpisodeWriter(folder, contract, EpisodeInfo(**info))
        self._topics = {}
        self._sequence = {}

    def send(self, topic, type, message, published_ns, received_ns=None, sequence=None):
        if topic not in self._topics:
            self._topics[topic] = self.writer.add_topic(
                '/' + topic.lstrip('/'), type, contract_name=topic
            )
        self._sequence[topic] = self._sequence.get(topic, 0) + 1
        self.writer.write(
            self._topics[topic],
            cdr(message, type),
            published_ns + 1_000_000 if received_ns is None else received_ns,
            published_ns,
            self._sequence[topic] if sequence is None else sequence,
        )

    def observe(self, a, b, width, stamp_ns, published_ns, received_ns=None):
        state = new('sensor_msgs/msg/JointState')
        state.name, state.position = ['b', 'a'], [b, a]  # the order on the wire may be any
        set_stamp(state, stamp_ns)
        self.send('joint_states', 'sensor_msgs/msg/JointState', state, published_ns, received_ns)
        opening = new('std_msgs/msg/Float64')
        opening.data = width
        self.send('width', 'std_msgs/msg/Float64', opening, published_ns, received_ns)

    def act(self, stream, action, tick_ns, published_ns, **values):
        """An action and its status; an action of None says that there is none."""
        for name, part in self.contract.actions.items() if action else ():
            message = ActionCodec(part).encode(np.asarray(action[name]), tick_ns, new)
            self.send(action_topic(stream, part.topic), part.type, message, published_ns)
        sent = len(self.contract.actions) if action else 0
        status = Status(tick_ns, stream, sent, '', values)
        message = status.encode(new)
        self.send(STATUS_TOPICS[stream], STATUS_TYPE, message, published_ns + 1000)

    def clock(self, ros_ns, published_ns):
        message = new('rosgraph_msgs/msg/Clock')
        message.clock.sec, message.clock.nanosec = divmod(ros_ns, 1_000_000_000)
        self.send('/clock', 'rosgraph_msgs/msg/Clock', message, published_ns)


def state(tick):
    """What is observed at a tick: a, b, width."""
    return 0.01 * tick, -0.02 * tick, 0.001 * tick


def action(tick):
    """What the expert does at a tick."""
    return {'arm': [0.1 + 0.01 * tick, -0.1], 'gripper': [tick % 2]}


def record_lockstep(folder, ticks=20, outcome='success', contract=None, seed=0, **info):
    """A lockstep episode: 5 ms of wall time a tick, ticks 50 ms apart from 1 s on."""
    bag = Bag(folder, contract or parse_contract(CONTRACT), lockstep=True, seed=seed, **info)
    for tick in range(ticks):
        ros_ns, wall_ns = 1_000_000_000 + tick * PERIOD_NS, WALL_NS + tick * 5_000_000
        bag.clock(ros_ns, wall_ns)
        bag.observe(*(value + seed for value in state(tick)), ros_ns, wall_ns + 100_000)
        bag.act('teleop', action(tick), ros_ns, wall_ns + 1_000_000, engaged='true')
        executed = {**action(tick), 'arm': [0.5, 0.5]}  # noise: the label must stay clean
        bag.act('executed', executed, ros_ns, wall_ns + 2_000_000, mode='expert', source='teleop')
    return bag.writer.stop(outcome)


def record_driven(folder, checkpoint, outcome='success', corrected=0):
    """A lockstep episode of 12 ticks that a policy drives, but for the last ones."""
    bag = Bag(folder, parse_contract(CONTRACT), lockstep=True)
    for tick in range(12):
        ros_ns, wall_ns = 1_000_000_000 + tick * PERIOD_NS, WALL_NS + tick * 5_000_000
        bag.clock(ros_ns, wall_ns)
        bag.observe(*state(tick), ros_ns, wall_ns + 100_000)
        bag.act('policy', action(tick), ros_ns, wall_ns + 1_000_000, checkpoint=checkpoint)
        mode, source = ('policy', 'policy') if tick < 12 - corrected else ('expert', 'teleop')
        if mode == 'expert':
            bag.act('teleop', action(tick), ros_ns, wall_ns + 1_500_000, engaged='true')
        bag.act('executed', action(tick), ros_ns, wall_ns + 2_000_000, mode=mode, source=source)
    return bag.writer.stop(outcome)


def record_real_time(folder, ticks=20, lose=(), contract=None, teleop=True, mode='expert'):
    """A real-time episode: observations at 100 Hz, ticks at 20 Hz, those in `lose` unobserved."""
    bag = Bag(folder, contract or parse_contract(CONTRACT))
    for step in range(-5, 5 * ticks):
        now_ns, tick = WALL_NS + step * 10_000_000, step // 5
        if tick not in lose:
            bag.observe(*state(step / 5), now_ns - 500_000, now_ns - 400_000, now_ns)
        if step >= 0 and step % 5 == 0:
            tick_ns = now_ns + 2_000_000
            if teleop:
                bag.act('teleop', action(tick), tick_ns, tick_ns + 1_000_000, engaged='true')
            executed = {**action(tick), 'arm': [0.5, 0.5]}
            bag.act('executed', executed, tick_ns, tick_ns + 2_000_000, mode=mode)
    return bag.writer.stop('success')
