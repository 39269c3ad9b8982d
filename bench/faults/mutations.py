"""Damages bytes as disks, copies and attackers do: flips, cuts, splices, lengths, noise."""

from __future__ import annotations

from collections.abc import Callable
import random
import struct

Mutation = Callable[[bytes, random.Random], bytes]

LENGTHS = (0, 1, 2**7, 2**15, 2**16, 2**24, 2**31 - 1, 2**31, 2**32 - 1, 2**62, 2**63, 2**64 - 1)


def flip(data: bytes, rng: random.Random) -> bytes:
    """One to eight bits."""
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 8))):
        changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def truncate(data: bytes, rng: random.Random) -> bytes:
    """The beginning, or all but the beginning."""
    at = rng.randrange(len(data))
    return data[:at] if rng.random() < 0.8 else data[at:]


def splice(data: bytes, rng: random.Random) -> bytes:
    """A piece twice, missing, or moved to somewhere else."""
    start = rng.randrange(len(data))
    end = min(len(data), start + rng.choice((1, 8, 64, 1024, len(data))))
    at, piece = rng.randrange(len(data)), data[start:end]
    kind = rng.randrange(3)
    if kind == 0:
        return data[:at] + piece + data[at:]
    if kind == 1:
        return data[:start] + data[end:]
    return data[:at] + piece + data[at + len(piece) :]


def lengthen(data: bytes, rng: random.Random) -> bytes:
    """A number where a length may stand: huge, zero, or off by little."""
    size, form = rng.choice(((1, '<B'), (2, '<H'), (4, '<I'), (8, '<Q')))
    at = rng.randrange(max(1, len(data) - size))
    found = int.from_bytes(data[at : at + size], 'little')
    number = rng.choice((*LENGTHS, found + 1, found - 1, found * 2)) % (1 << 8 * size)
    return data[:at] + struct.pack(form, number) + data[at + size :]


def scribble(data: bytes, rng: random.Random) -> bytes:
    """Noise in place of up to 4 KB, or between."""
    at, size = rng.randrange(len(data)), rng.choice((1, 4, 16, 512, 4096))
    return data[:at] + rng.randbytes(size) + data[at + rng.choice((0, size)) :]


MUTATIONS: dict[str, Mutation] = {
    'flip': flip,
    'truncate': truncate,
    'splice': splice,
    'lengthen': lengthen,
    'scribble': scribble,
}


def mutate(data: bytes, rng: random.Random) -> bytes:
    """`data` with one damage of a kind drawn at random, in one of ten cases with two."""
    for _ in range(2 if rng.random() < 0.1 else 1):
        data = rng.choice(list(MUTATIONS.values()))(data, rng) if data else data
    return data
