"""The topic of the emergency stop: pressed while any button that is there says so."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from imitation_ros.nodes._messages import LATCHED, RELIABLE, SENSOR
from rclpy.lifecycle import LifecycleNode
from std_msgs.msg import Bool

EMERGENCY_TOPIC = 'emergency_stop'


class EmergencyTopic:
    """Listens to `emergency_stop`, whatever QoS it is published with.

    Buttons are told apart by their publisher: one that is let go of does not release another. A
    button that has left the graph no longer counts as soon as one of the others is let go of;
    until then it stays pressed, since nobody can tell why it left. What a button says is in the
    order of the middleware's count of its messages: a wall clock may be set back.

    Args:
        node: who subscribes.
        on_change: gets whether the stop is pressed, with each message; first True for each `true`.
    """

    def __init__(self, node: LifecycleNode, on_change: Callable[[bool], None]) -> None:
        self._node, self._on_change = node, on_change
        self._said: dict[bytes, tuple[int, bool]] = {}  # publisher → number and word of its newest
        # The first matches everybody, the second loses nothing, the third hears what was said
        # before it was there. A volatile publisher does not match the third.
        self._subscriptions = [
            node.create_subscription(Bool, EMERGENCY_TOPIC, self._on_message, qos)
            for qos in (SENSOR, RELIABLE, LATCHED)
        ]

    def close(self) -> None:
        """Destroys the subscriptions."""
        for subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)

    def _on_message(self, message: Bool, info: Mapping[str, Any]) -> None:
        gid = info.get('publisher_gid')  # Jazzy does not tell: there all buttons are one
        publisher = bytes(gid['data']) if gid else b''
        # A middleware that does not count gives all the same number: there the last one counts.
        number = info['publication_sequence_number'] if gid else 0
        if number >= self._said.get(publisher, (0, False))[0]:  # else by a slower subscription
            self._said[publisher] = number, message.data
        if message.data:
            self._on_change(True)  # late, too: the faster subscription may have lost it
        else:
            there = self._node.get_publishers_info_by_topic(
                self._node.resolve_topic_name(EMERGENCY_TOPIC)
            )
            alive = {publisher, *(bytes(each.endpoint_gid) for each in there)}
            self._said = {each: said for each, said in self._said.items() if each in alive}
        self._on_change(any(pressed for _, pressed in self._said.values()))
