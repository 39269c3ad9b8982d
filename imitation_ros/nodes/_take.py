"""Takes serialized messages of many topics on a thread of its own, with a wait set.

An executor costs a callback a message, and not each kind hands over the message's info (when it
was published, its sequence number). A wait set that drains whatever is ready costs a fifth.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from contextlib import ExitStack
import threading
import time
from typing import Any, NamedTuple, TypeVar

from imitation_ros.episodes.receipt import ReceiptTimes
from imitation_ros.nodes._messages import message_class
from rclpy.callback_groups import CallbackGroup
from rclpy.event_handler import SubscriptionEventCallbacks
from rclpy.impl.implementation_singleton import rclpy_implementation as _rclpy
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy

MAX_AT_ONCE = 1000
"""Messages taken from one topic before it is the next one's turn."""
_WAIT_NS = 500_000_000
"""The end of the context does not wake a wait set that waits without end."""

ResultT = TypeVar('ResultT')


class Taken(NamedTuple):
    """One message.

    Attributes:
        topic: as it was given to `subscribe`.
        data: serialized, with its encapsulation header.
        source_ns: when it was published, wall time.
        received_ns: from when on it could be taken, wall time: received, and those before it too
            (`episodes/receipt.py`).
        sequence: number that its publisher gave it, None where the middleware has none.
        publisher: who published it, None where rclpy does not say (Jazzy).
    """

    topic: str
    data: bytes
    source_ns: int
    received_ns: int
    sequence: int | None
    publisher: bytes | None


class _Entry(NamedTuple):
    topic: str
    type: str
    subscription: Any


class Taker:
    """Raw subscriptions of a node that its executor leaves alone.

    Args:
        node: who subscribes.
        on_message: gets each message, on the taker's thread; must not raise.
    """

    def __init__(self, node: Node, on_message: Callable[[Taken], None]) -> None:
        self._node, self._on_message = node, on_message
        self._group = _HandsOff()
        self._entries: dict[str, _Entry] = {}
        self._times = ReceiptTimes()
        self._lock = threading.RLock()  # of the entries
        self._calls: deque[Callable[[], None]] = deque()
        self._changed = self._closing = False
        self._guard = node.create_guard_condition(lambda: None, callback_group=self._group)
        self._thread = threading.Thread(target=self._run, name='taker', daemon=True)
        self._thread.start()

    def subscribe(self, topic: str, type: str, qos: QoSProfile) -> None:
        """Begins to take the messages of a topic, in place of an earlier subscription to it.

        Raises:
            GraphError: the type is not installed.
        """
        with self._lock:
            self.unsubscribe(topic)
            subscription = self._node.create_subscription(
                message_class(type),
                topic,
                lambda _: None,
                qos,
                callback_group=self._group,
                event_callbacks=SubscriptionEventCallbacks(use_default_callbacks=False),
                raw=True,
            )
            self._entries[topic] = _Entry(topic, type, subscription)
            self._wake(changed=True)

    def unsubscribe(self, topic: str) -> None:
        """Ends the subscription to a topic, if there is one."""
        with self._lock:
            if topic in self._entries:
                self._node.destroy_subscription(self._entries.pop(topic).subscription)
                self._wake(changed=True)

    def type(self, topic: str) -> str:
        """What the topic is subscribed as, '' if it is not."""
        entry = self._entries.get(topic)
        return entry.type if entry else ''

    def qos(self, topic: str) -> QoSProfile | None:
        """What the topic is subscribed with, None if it is not."""
        entry = self._entries.get(topic)
        return entry.subscription.qos_profile if entry else None

    def publishers(self, topic: str) -> int:
        """How many publishers the subscription to a topic is matched with."""
        with self._lock:
            entry = self._entries.get(topic)
            return entry.subscription.get_publisher_count() if entry else 0

    def call(self, function: Callable[[], ResultT]) -> ResultT:
        """Calls `function` between two messages, after all those that have arrived so far.

        It runs on the taker's thread, so that it needs no lock against `on_message`.
        """
        done = threading.Event()
        results: list[ResultT] = []
        errors: list[Exception] = []

        def run() -> None:
            try:
                results.append(function())
            except Exception as error:
                errors.append(error)
            done.set()

        self.call_soon(run)
        while not done.wait(0.1):
            if not self._thread.is_alive():  # the context was shut down
                self._run_calls(len(self._calls))
        if errors:
            raise errors[0]
        return results[0]

    def call_soon(self, function: Callable[[], None]) -> None:
        """As `call`, without waiting for it; `function` must not raise."""
        self._calls.append(function)
        self._wake()

    def count_time_anew(self) -> None:
        """Another episode begins; to be called between two messages."""
        self._times.forget()

    def close(self) -> None:
        """Ends the thread and all subscriptions."""
        self._closing = True
        self._wake(changed=True)
        self._thread.join()
        for topic in list(self._entries):
            self.unsubscribe(topic)
        self._node.destroy_guard_condition(self._guard)

    def _wake(self, changed: bool = False) -> None:
        self._changed |= changed
        if self._node.context.ok():
            self._guard.trigger()

    def _run(self) -> None:
        while not self._closing and self._node.context.ok():
            with self._lock, ExitStack() as held:
                self._changed = False
                entries = list(self._entries.values())
                # One that is destroyed from here on lives until we let go of it.
                for entry in entries:
                    held.enter_context(entry.subscription.handle)
                holding = held.pop_all()
            with holding:
                self._take_until_changed(entries)

    def _take_until_changed(self, entries: list[_Entry]) -> None:
        context = self._node.context
        wait_set = _rclpy.WaitSet(len(entries), 1, 0, 0, 0, 0, context.handle)
        handles = {entry.subscription.handle.pointer: entry for entry in entries}
        while not (self._changed or self._closing) and context.ok():
            wait_set.clear_entities()
            for entry in entries:
                wait_set.add_subscription(entry.subscription.handle)
            wait_set.add_guard_condition(self._guard.handle)
            wait_set.wait(_WAIT_NS)
            while self._calls:
                # One that joins while we take must wait for what has arrived before it.
                due = len(self._calls)
                for entry in entries:
                    self._drain(entry)
                self._run_calls(due)
            for pointer in wait_set.get_ready_entities('subscription'):
                self._drain(handles[pointer])

    def _drain(self, entry: _Entry) -> None:
        take, message_type = entry.subscription.handle.take_message, entry.subscription.msg_type
        self._times.look_at(time.time_ns(), time.monotonic_ns())
        for _ in range(MAX_AT_ONCE):
            taken = take(message_type, True)
            if taken is None:
                return
            data, info = taken
            publisher = info.get('publisher_gid')
            received_ns = info['received_timestamp'] or time.time_ns()  # some middleware has none
            self._on_message(
                Taken(
                    entry.topic,
                    data,
                    info['source_timestamp'],
                    self._times.at(entry.topic, received_ns),
                    info['publication_sequence_number'],
                    publisher['data'] if publisher else None,
                )
            )

    def _run_calls(self, due: int) -> None:
        for _ in range(due):
            self._calls.popleft()()


def adapted_qos(offers: Iterable[QoSProfile], otherwise: QoSProfile, depth: int) -> QoSProfile:
    """The strongest that every publisher can give, with our own depth.

    Args:
        offers: of the publishers that there are.
        otherwise: reliability and durability as long as there is none.
        depth: how many messages may wait for us.
    """
    offers = list(offers) or [otherwise]
    reliable = all(qos.reliability == ReliabilityPolicy.RELIABLE for qos in offers)
    latched = all(qos.durability == DurabilityPolicy.TRANSIENT_LOCAL for qos in offers)
    return QoSProfile(
        history=HistoryPolicy.KEEP_LAST,
        depth=depth,
        reliability=ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT,
        durability=DurabilityPolicy.TRANSIENT_LOCAL if latched else DurabilityPolicy.VOLATILE,
    )


class _HandsOff(CallbackGroup):  # type: ignore[misc]  # rclpy is untyped here
    """Whatever is in it is never executed."""

    def can_execute(self, entity: Any) -> bool:
        return False

    def beginning_execution(self, entity: Any) -> bool:
        return False

    def ending_execution(self, entity: Any) -> None:
        pass
