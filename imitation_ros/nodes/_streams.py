"""What policy and teleoperation nodes share: frames in, actions and their status out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache, partial
from typing import Any

from imitation_ros.errors import MessageError
from imitation_ros.frames.actions import ActionCodec
from imitation_ros.frames.alignment import Aligner
from imitation_ros.frames.codecs import codec_for
from imitation_ros.frames.contract import Contract
from imitation_ros.frames.status import (
    action_topic,
    Pairing,
    Status,
    STATUS_TOPICS,
    STATUS_TYPE,
    TickAction,
)
from imitation_ros.nodes._messages import message_class, new, qos_profile, RELIABLE, SENSOR
from imitation_ros.types import Action, Frame, Gap
from rclpy.clock import Clock, ClockType
from rclpy.lifecycle import LifecycleNode
from rclpy.qos import QoSProfile
from rosgraph_msgs.msg import Clock as ClockMessage

ACTION_QOS = RELIABLE
"""Sources and supervisor within one machine; the executed action has the contract's QoS."""


EXECUTED_DEPTH = 64
"""Commands that may wait for who listens to what was executed: several belong to a tick."""


class FrameStream:
    """Subscribes a contract's observations and hands out a frame, or the gap, each tick.

    Args:
        node: who subscribes.
        contract: which topics.
        lockstep: a tick is a stamp that all observations carry; else the node's timer ticks at
            the contract's rate, on the simulated clock where the node uses it.
        on_tick: gets the frame or the gap.
        on_repeat: gets nothing; the last tick came again (lockstep), its answer may be lost.
        timer: in real time, tick by itself; off for who asks for the frames of others' ticks.
    """

    def __init__(
        self,
        node: LifecycleNode,
        contract: Contract,
        lockstep: bool,
        on_tick: Callable[[Frame | Gap], None],
        on_repeat: Callable[[], None] = lambda: None,
        timer: bool = True,
    ) -> None:
        self._node, self._lockstep = node, lockstep
        self._on_tick, self._on_repeat = on_tick, on_repeat
        self._aligner = Aligner(contract, lockstep)
        self._last_tick_ns = 0
        simulated = node.get_parameter('use_sim_time').value
        sources = {source.topic: source for source in contract.sources}
        # Not as bytes: that would cost the policy 4 % of its tick, and if it dies the robot holds.
        self._subscriptions = [
            node.create_subscription(
                message_class(source.type),
                topic,
                partial(self._on_message, topic),
                qos_profile(source.qos),
                raw=False,
            )
            for topic, source in sources.items()
        ]
        # Only a message without a header needs the clock to be placed in simulated time.
        stamped = all(codec_for(source.type).stamped for source in contract.sources)
        if (simulated or lockstep) and not stamped:
            self._subscriptions.append(
                node.create_subscription(ClockMessage, '/clock', self._on_clock, SENSOR)
            )
        self._timer = None
        if timer and not lockstep:
            clock = node.get_clock() if simulated else Clock(clock_type=ClockType.STEADY_TIME)
            period_s = contract.tick_period_ns / 1e9
            self._timer = node.create_timer(period_s, self._on_timer, clock=clock)

    def close(self) -> None:
        """Destroys the subscriptions and the timer."""
        for subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)
        if self._timer is not None:
            self._node.destroy_timer(self._timer)

    def at(self, tick_ns: int) -> Frame | Gap | None:
        """The frame of somebody's tick; None while, in lockstep, its observations may yet come."""
        if self._lockstep and tick_ns > self._last_tick_ns:
            return None
        return self._aligner.frame(tick_ns)

    def _on_message(self, topic: str, message: Any, info: Mapping[str, int]) -> None:
        # In lockstep only the stamp counts, and asking for the time costs 54 µs after a sleep.
        now_ns = 0 if self._lockstep else self._node.get_clock().now().nanoseconds
        self._aligner.add(topic, message, now_ns, info['source_timestamp'])
        if self._lockstep and not self._new_tick() and self._is_repeat(topic):
            self._on_repeat()

    def _new_tick(self) -> bool:
        """Lockstep: hands out the frame of a tick that has become whole."""
        tick_ns = self._aligner.newest_whole_tick()
        if tick_ns is None or tick_ns == self._last_tick_ns:
            return False
        self._last_tick_ns = tick_ns
        self._on_tick(self._aligner.frame(tick_ns))
        return True

    def _is_repeat(self, topic: str) -> bool:
        """Whether the last tick's observations came again; told by one of the topics."""
        whole = self._aligner.newest_whole_tick() == self._last_tick_ns
        return whole and topic == self._aligner.topics[-1]

    def _on_clock(self, message: ClockMessage, info: Mapping[str, int]) -> None:
        ros_ns = message.clock.sec * 1_000_000_000 + message.clock.nanosec
        self._aligner.clock.add(info['source_timestamp'], ros_ns)
        self._aligner.clock.forget()
        if self._lockstep:
            self._new_tick()

    def _on_timer(self) -> None:
        self._on_tick(self._aligner.frame(self._node.get_clock().now().nanoseconds))


class ActionListener:
    """Subscribes the actions of one source, or what was executed, and their statuses.

    Args:
        node: who subscribes.
        contract: names the topics.
        stream: 'policy', 'teleop' or 'executed'.
        on_tick: gets each whole action, or the word that there is none.
        on_bad: gets why a status could not be read.
    """

    def __init__(
        self,
        node: LifecycleNode,
        contract: Contract,
        stream: str,
        on_tick: Callable[[TickAction], None],
        on_bad: Callable[[str], None] = lambda problem: None,
    ) -> None:
        self._node = node
        self._pairing = Pairing(contract.commands_in_a_decision * len(contract.actions))
        self._on_tick, self._on_bad = on_tick, on_bad
        executed = stream == 'executed'
        self._subscriptions = [
            node.create_subscription(
                message_class(part.type),
                action_topic(stream, part.topic),
                partial(self._on_action, name),
                _deeper(qos_profile(part.qos)) if executed else ACTION_QOS,
            )
            for name, part in contract.actions.items()
        ]
        self._subscriptions.append(
            node.create_subscription(
                message_class(STATUS_TYPE), STATUS_TOPICS[stream], self._on_status, ACTION_QOS
            )
        )

    def close(self) -> None:
        """Destroys the subscriptions."""
        for subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)

    def _on_action(self, part: str, message: Any, info: Mapping[str, int]) -> None:
        self._hand_on(self._pairing.add_message(part, info['source_timestamp'], message))

    def _on_status(self, message: Any, info: Mapping[str, int]) -> None:
        try:
            status = Status.decode(message)
        except MessageError as error:
            self._on_bad(str(error))
            return
        self._hand_on(self._pairing.add_status(info['source_timestamp'], status))

    def _hand_on(self, ticks: list[TickAction]) -> None:
        for tick in ticks:
            self._on_tick(tick)


def _deeper(qos: QoSProfile) -> QoSProfile:
    """For who wants every command, where a robot wants the newest."""
    qos.depth = EXECUTED_DEPTH
    return qos


class ActionStream:
    """Publishes the actions of one source (`policy/…` or `teleop/…`), each with its status."""

    def __init__(self, node: LifecycleNode, contract: Contract, stream: str) -> None:
        self._node = node
        self._fingerprint = contract.fingerprint
        self._codecs = {name: ActionCodec(part) for name, part in contract.actions.items()}
        # One message a part, filled again each tick: a new one costs as much as the rest of it.
        self._new = {name: cache(new) for name in contract.actions}
        self._publishers = {
            name: node.create_publisher(
                message_class(part.type), action_topic(stream, part.topic), ACTION_QOS
            )
            for name, part in contract.actions.items()
        }
        self._status = node.create_publisher(
            message_class(STATUS_TYPE), STATUS_TOPICS[stream], ACTION_QOS
        )
        self._last: tuple[Mapping[str, Any], Any] = {}, None

    def close(self) -> None:
        """Destroys the publishers."""
        for publisher in (*self._publishers.values(), self._status):
            self._node.destroy_publisher(publisher)

    def send(
        self,
        tick_ns: int,
        action: Action | None,
        reason: str = '',
        values: Callable[[], Mapping[str, str]] = dict,
    ) -> None:
        """Publishes the action of a tick and then its status; without an action, why not.

        What else the status says is asked for when the action is out.
        """
        messages = {
            name: codec.encode(action[name], tick_ns, self._new[name])
            for name, codec in self._codecs.items()
            if action is not None
        }
        self._publish(messages)  # before anything else: somebody waits for it
        source = self._node.get_name()
        said = {'fingerprint': self._fingerprint, **values()}
        status = Status(tick_ns, source, len(messages), reason, said).encode(new)
        self._last = messages, status
        self._status.publish(status)

    def send_again(self) -> None:
        """Repeats the last tick, whose messages may have been lost."""
        messages, status = self._last
        self._publish(messages)
        if status is not None:
            self._status.publish(status)

    def _publish(self, messages: Mapping[str, Any]) -> None:
        for name, message in messages.items():
            self._publishers[name].publish(message)
