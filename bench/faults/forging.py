"""Damages that carry the right checksums: what somebody would write to do harm."""

from __future__ import annotations

from copy import deepcopy
import hashlib
import json
import random
import struct
from typing import Any
import zlib

from imitation_ros.policies.model_folder import digest
from mcap.opcode import Opcode
import zstandard

from bench.faults.mutations import LENGTHS, mutate

MAGIC = b'\x89MCAP0\r\n'
_HEAD = struct.Struct('<BQ')
_CHUNK = struct.Struct('<QQQII')
VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 2**31, 2**63, 10**400, 0.5, float('nan'), float('inf'), 1e308),
    *('', 'x', '\ud800', 'x' * 10_000, '../../etc/passwd', [], {}, [[]], [0.0] * 5000, {'': None}),
    *(['x'] * 100, [65536, 65536], 'nan', {'mean': [0.0], 'std': [0.0]}),
)


def forge_episode(data: bytes, rng: random.Random) -> bytes:
    """An MCAP file with one record damaged, all checksums right, and no index to compare with."""
    records = list(_records(data[len(MAGIC) :]))
    records = records[: 1 + [opcode for opcode, _ in records].index(Opcode.DATA_END)]
    at = rng.randrange(len(records))
    opcode, body = records[at]
    records[at] = opcode, _forge_chunk(body, rng) if opcode == Opcode.CHUNK else mutate(body, rng)
    footer = _record(Opcode.FOOTER, struct.pack('<QQI', 0, 0, 0))
    return MAGIC + b''.join(_record(*record) for record in records) + footer + MAGIC


def _forge_chunk(body: bytes, rng: random.Random) -> bytes:
    """A chunk with one of its records damaged."""
    head, name = _CHUNK.unpack_from(body), 'zstd'
    start = _CHUNK.size + head[4]
    packed = body[start + 8 :]
    inner = list(_records(zstandard.ZstdDecompressor().decompress(packed, head[2])))
    at = rng.randrange(len(inner))
    inner[at] = inner[at][0], mutate(inner[at][1], rng)
    if rng.random() < 0.2:
        inner *= rng.choice((2, 3))
    raw = b''.join(_record(*record) for record in inner)
    times = [head[0], head[1]]
    if rng.random() < 0.2:
        times[rng.randrange(2)] = rng.choice(LENGTHS)
    size = rng.choice(LENGTHS) if rng.random() < 0.1 else len(raw)
    packed = zstandard.ZstdCompressor().compress(raw)
    chunk = _CHUNK.pack(*times, size, zlib.crc32(raw), len(name)) + name.encode()
    return chunk + struct.pack('<Q', len(packed)) + packed


def _records(data: bytes) -> list[tuple[int, bytes]]:
    records, at = [], 0
    while at + _HEAD.size <= len(data):
        opcode, length = _HEAD.unpack_from(data, at)
        at += _HEAD.size
        records.append((opcode, data[at : at + length]))
        at += length
    return records


def _record(opcode: int, body: bytes) -> bytes:
    return _HEAD.pack(opcode, len(body)) + body


def forge_document(data: bytes, rng: random.Random) -> bytes:
    """A checkpoint's JSON with up to three values replaced, and a SHA-256 that fits."""
    document = forge_values(json.loads(data), rng)
    document['sha256'] = digest(document)
    return json.dumps(document).encode()


def forge_weights(weights: bytes, document: bytes, rng: random.Random) -> tuple[bytes, bytes]:
    """Damaged weights, and a document that says that they are right."""
    weights = mutate(weights, rng)
    told = {**json.loads(document), 'weights_sha256': hashlib.sha256(weights).hexdigest()}
    told['sha256'] = digest(told)
    return weights, json.dumps(told).encode()


def forge_values(document: Any, rng: random.Random) -> Any:
    """Plain data with one to three values replaced, removed or added."""
    document = deepcopy(document)
    for _ in range(rng.randrange(1, 4)):
        places = list(_places(document))
        if not places:
            return document
        owner, key = rng.choice(places)
        kind = rng.randrange(3)
        if kind == 0:
            owner[key] = deepcopy(rng.choice(VALUES))
        elif kind == 1:
            del owner[key]
        elif isinstance(owner, dict):
            owner[rng.choice(('x', 'hidden', 'topic', ''))] = deepcopy(rng.choice(VALUES))
        else:
            owner.append(deepcopy(rng.choice(VALUES)))
    return document


def _places(value: Any) -> list[tuple[Any, Any]]:
    """Every mapping or list in a document, with each of its keys."""
    if not isinstance(value, (dict, list)):
        return []
    keys = list(value) if isinstance(value, dict) else list(range(len(value)))
    return [(value, key) for key in keys] + [
        place for key in keys for place in _places(value[key])
    ]
