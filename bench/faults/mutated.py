"""Serialized messages, damaged: what a broken or hostile peer may put on the wire."""

from __future__ import annotations

from collections.abc import Callable
import math
import random
import struct
from typing import Any

from imitation_ros.nodes._messages import new
from rclpy.serialization import serialize_message

NUMBERS = (math.nan, math.inf, -math.inf, 1e308, -1e308, 5e-324, 0.0, -1.0, 3.0)
LENGTHS = (0, 1, 0xFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF)


def mutated(message: Any, rng: random.Random) -> bytes:
    """A message, damaged once or a few times."""
    content = bytearray(serialize_message(message))
    for _ in range(rng.choice((1, 1, 1, 2, 5))):
        content = rng.choice(WAYS)(content, rng)
    return bytes(content)


def filled(type: str, rng: random.Random, depth: int = 3) -> Any:
    """A message of the type whose fields hold something, wild or usual."""
    return fill(new(type), rng, depth)


def fill(message: Any, rng: random.Random, depth: int = 3) -> Any:
    """Fills the fields of a message or request, as far as rclpy sends that."""
    for name, kind in message.get_fields_and_field_types().items():
        if (value := _value(kind, rng, depth)) is not None:
            try:
                setattr(message, name, value)
            except (AssertionError, TypeError, ValueError, OverflowError):
                continue  # rclpy itself does not send it
    return message


def _value(kind: str, rng: random.Random, depth: int) -> Any:
    if kind.startswith('sequence<') and depth:
        inner = kind[len('sequence<') :].rpartition('>')[0].partition(',')[0]
        values = [_value(inner, rng, depth - 1) for _ in range(rng.choice((0, 1, 2, 7, 8, 40)))]
        return None if None in values else values
    if '/' in kind and '[' not in kind and '<' not in kind and depth:
        package, _, name = kind.rpartition('/')
        return filled(f'{package}/msg/{name}', rng, depth - 1)
    if kind in ('double', 'float'):
        return rng.choice((*NUMBERS, rng.uniform(-3, 3)))
    if kind == 'boolean':
        return rng.random() < 0.5
    if kind == 'string':
        return rng.choice(('', 'panda_joint1', 'sent', '1', 'fingerprint', 'x' * 300, '-1', 'ü'))
    if kind.startswith(('int', 'uint')):
        bits = int(kind.removeprefix('u').removeprefix('int'))
        top = 2 ** (bits - kind.startswith('int')) - 1
        return rng.choice((0, 1, 2, 3, 4, top, rng.randint(0, top)))
    return None


def _flip(content: bytearray, rng: random.Random) -> bytearray:
    if content:
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    return content


def _cut(content: bytearray, rng: random.Random) -> bytearray:
    return content[: rng.randint(0, len(content))]


def _extend(content: bytearray, rng: random.Random) -> bytearray:
    return content + rng.randbytes(rng.choice((1, 8, 500)))


def _noise(content: bytearray, rng: random.Random) -> bytearray:
    """All but the header that names the encoding."""
    return content[:4] + bytearray(rng.randbytes(max(0, len(content) - 4)))


def _number(content: bytearray, rng: random.Random) -> bytearray:
    """A double anywhere, as the wire aligns it."""
    return _put(content, struct.pack('<d', rng.choice(NUMBERS)), rng)


def _length(content: bytearray, rng: random.Random) -> bytearray:
    return _put(content, struct.pack('<I', rng.choice(LENGTHS)), rng)


def _put(content: bytearray, word: bytes, rng: random.Random) -> bytearray:
    places = (len(content) - 4) // len(word)
    if places > 0:
        start = 4 + len(word) * rng.randrange(places)
        content[start : start + len(word)] = word
    return content


WAYS: tuple[Callable[[bytearray, random.Random], bytearray], ...] = (
    *(_flip, _cut, _extend, _noise, _number, _number, _length),
)
