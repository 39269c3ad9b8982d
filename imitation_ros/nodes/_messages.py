"""Message classes by name, and the contract's QoS as rclpy's."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from typing import Any

from imitation_ros.errors import GraphError
from imitation_ros.frames.contract import QoS
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy

SENSOR = QoSProfile(
    history=HistoryPolicy.KEEP_LAST, depth=10, reliability=ReliabilityPolicy.BEST_EFFORT
)
RELIABLE = QoSProfile(history=HistoryPolicy.KEEP_LAST, depth=10)
LATCHED = QoSProfile(
    history=HistoryPolicy.KEEP_LAST, depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL
)


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


def qos_profile(qos: QoS) -> QoSProfile:
    """Rclpy's form of a contract's QoS."""
    return QoSProfile(
        history=HistoryPolicy.KEEP_LAST,
        depth=qos.depth,
        reliability=ReliabilityPolicy[qos.reliability.upper()],
        durability=DurabilityPolicy[qos.durability.upper()],
    )
