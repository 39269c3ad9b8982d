"""What of a damaged MCAP file can be read: where it goes on, and what no kill explains."""

from __future__ import annotations

import re

from imitation_ros.episodes.mcap_records import (
    attachment,
    CHUNK_HEAD_BYTES,
    HEAD_BYTES,
    MAGIC,
    MAX_CHUNK_BYTES,
    read_chunk,
    Record,
    View,
)
from imitation_ros.errors import EpisodeError
from mcap.opcode import Opcode

_FOUND_AGAIN = re.compile(rb'[\x06\x09\x0c](?=.{4}\0{4})', re.DOTALL)
"""Heads of chunks, attachments and metadata (of less than 4 GB): what they hold can be checked."""
_BLOCK_BYTES = 1 << 20
_WITHOUT_LENGTHS = (Opcode.SCHEMA, Opcode.CHANNEL, Opcode.MESSAGE)
_KINDS = (
    *(Opcode.HEADER, Opcode.CHUNK, Opcode.MESSAGE_INDEX, Opcode.ATTACHMENT, Opcode.METADATA),
    *(Opcode.DATA_END, *_WITHOUT_LENGTHS),
)
"""What may lie before the summary. No recorder of ours writes another: it is a flipped bit."""


class Salvage:
    """Judges the records of one file, reading little more than its size in all.

    Args:
        view: of the file.
    """

    def __init__(self, view: View) -> None:
        self._view = view
        self._left = 2 * view.size + _BLOCK_BYTES  # bytes: a forged file names the same ones often

    def record(self, at: int) -> Record:
        """The record at byte `at`.

        Raises:
            EpisodeError: there is no whole one, or its length is not that of what is in it.
        """
        record = self._view.record(at, self._view.size)
        is_chunk = record.opcode == Opcode.CHUNK
        self._left -= CHUNK_HEAD_BYTES if is_chunk else record.length
        if self._left < 0 or not _fits(self._view, record):
            raise EpisodeError(f'damaged: no record at byte {at}')
        return record

    def next(self, start: int) -> int | None:
        """Where the next record lies that can be checked, from byte `start` on; None: nowhere."""
        while start < self._view.size:
            size = min(_BLOCK_BYTES + HEAD_BYTES - 1, self._view.size - start)
            for found in _FOUND_AGAIN.finditer(self._view.read(start, size)):
                try:
                    return self.record(start + found.start()).at
                except EpisodeError:
                    continue
            start += _BLOCK_BYTES
        return None

    def is_cut_off(self, at: int) -> bool:
        """Whether the rest from byte `at` on is the front of one record: what a kill leaves."""
        view = self._view
        if view.size - at < HEAD_BYTES:
            return True
        record = view.head(at)
        if record.opcode not in _KINDS or record.length > MAX_CHUNK_BYTES:
            return False
        if record.opcode == Opcode.CHUNK and view.size - at >= CHUNK_HEAD_BYTES:
            try:
                read_chunk(view, record)
            except EpisodeError:
                return False
        return record.end > view.size


def _fits(view: View, record: Record) -> bool:
    """Whether a record is of a kind that may be there and holds as much as it says."""
    if record.opcode == Opcode.CHUNK:
        read_chunk(view, record)
        return True
    is_first = record.at == len(MAGIC)
    if record.opcode not in _KINDS or is_first != (record.opcode == Opcode.HEADER):
        return False
    if record.opcode in _WITHOUT_LENGTHS:
        return True
    body = view.body(record)
    if record.opcode == Opcode.ATTACHMENT:
        attachment(body)
        return True
    if record.opcode == Opcode.HEADER:
        body.string()
        body.string()
    elif record.opcode == Opcode.METADATA:
        body.string()
        body.pairs()
    elif record.opcode == Opcode.MESSAGE_INDEX:
        body.take(2)
        body.take(body.u32())
    else:
        body.u32()
    return not body.left
