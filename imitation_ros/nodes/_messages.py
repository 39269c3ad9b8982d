"""Message classes by name, messages from bytes, and the contract's QoS as rclpy's."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, wraps
from importlib import import_module
from typing import Any

from imitation_ros.errors import GraphError, MessageError
from imitation_ros.frames.contract import QoS
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy
from rclpy.serialization import deserialize_message

SENSOR = QoSProfile(
    history=HistoryPolicy.KEEP_LAST, depth=10, reliability=ReliabilityPolicy.BEST_EFFORT
)
RELIABLE = QoSProfile(history=HistoryPolicy.KEEP_LAST, depth=10)
LATCHED = QoSProfile(
    history=HistoryPolicy.KEEP_LAST, depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL
)


HEADER_BYTES, PADDING_BITS = 4, 3
"""Of serialized messages (DDS-XTypes 1.3, 7.6.3.1.2): how many bytes of padding are at the end."""


@cache
def message_class(type: str) -> Any:
    """The class of 'package/msg/Name'.

    Raises:
        GraphError: the package or the message is not installed.
    """
    package, _, name = type.partition('/msg/')
    try:
        return getattr(import_module(f'{package}.msg'), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise GraphError(f'message type {type!r} is not installed: {error}') from None


def new(type: str) -> Any:
    """An empty message of a type."""
    return message_class(type)()


def decoded(type: Any, content: bytes) -> Any:
    """A message from its bytes, as `raw` subscriptions hand them over.

    Args:
        type: class of the message.
        content: with the encapsulation header.

    Raises:
        MessageError: these bytes are no such message. Where less follows the header than it says
            is padding, Fast CDR itself looks beyond the end, and the process dies.
    """
    size = len(content)
    if size < HEADER_BYTES or size < HEADER_BYTES + (content[3] & PADDING_BITS):
        raise MessageError(f'{size} bytes; valid: {HEADER_BYTES}, and the padding that they name')
    try:
        return deserialize_message(content, type)
    except (RuntimeError, ValueError) as error:  # rclpy's own, and of text that is not UTF-8
        raise MessageError(f'{size} bytes are no {type.__name__}: {error}') from None


def of_whole_messages(
    type: Any, callback: Callable[..., Any], refuse: Callable[[MessageError], None]
) -> Callable[..., Any]:
    """For a `raw` subscription: calls back with messages, and `refuse` for what is none."""

    @wraps(callback)  # rclpy asks it how many arguments it takes
    def on_bytes(content: bytes, *info: Any) -> Any:
        try:
            message = decoded(type, content)
        except MessageError as error:
            return refuse(error)
        return callback(message, *info)

    return on_bytes


def qos_profile(qos: QoS) -> QoSProfile:
    """Rclpy's form of a contract's QoS."""
    return QoSProfile(
        history=HistoryPolicy.KEEP_LAST,
        depth=qos.depth,
        reliability=ReliabilityPolicy[qos.reliability.upper()],
        durability=DurabilityPolicy[qos.durability.upper()],
    )
