"""The records of an MCAP file (https://mcap.dev/spec), parsed strictly and within limits."""

from __future__ import annotations

from collections.abc import Iterator
import os
import struct
from typing import BinaryIO, NamedTuple
import zlib

from imitation_ros.errors import EpisodeError
import lz4.frame
from mcap.opcode import Opcode
import zstandard

MAGIC = b'\x89MCAP0\r\n'
_HEAD = struct.Struct('<BQ')  # opcode, length of the body
HEAD_BYTES = _HEAD.size
_MESSAGE = struct.Struct('<HIQQ')  # channel, sequence, log time, publish time
_CHUNK = struct.Struct('<QQQII')  # start, end, size, CRC, length of the compression's name
CHUNK_HEAD_BYTES = _HEAD.size + _CHUNK.size + 16 + 8
"""Of a chunk's record, at most: what comes before the compressed records."""
_FOOTER = struct.Struct('<QQI')  # start of the summary, of its offsets, CRC
_FOOTER_LENGTH = _HEAD.size + _FOOTER.size

MAX_MESSAGE_BYTES = 32 << 20
MAX_CHUNK_BYTES = 2 * MAX_MESSAGE_BYTES
"""Of one chunk when decompressed; what is read at a time is at most this."""
MAX_CHUNK_RECORDS = 1 << 18
"""Messages, schemas, channels and others."""
MAX_PAIRS = 1 << 14
"""Of the map in a metadata record or a channel."""
MAX_CHANNELS = 1 << 16


class Schema(NamedTuple):
    """The type of a channel's messages, and its text."""

    name: str
    encoding: str
    data: bytes


class Channel(NamedTuple):
    """A topic, or one of several with the same name."""

    schema_id: int
    topic: str
    encoding: str
    metadata: tuple[tuple[str, str], ...]


class RawMessage(NamedTuple):
    """A message as it was recorded; times in ns."""

    channel_id: int
    sequence: int
    log_time_ns: int
    publish_time_ns: int
    data: bytes


class Chunk(NamedTuple):
    """Where a chunk's records lie, and what its head says of them."""

    start_ns: int
    offset: int  # of the chunk's record
    length: int  # of the record, its head included
    end_ns: int
    compression: str
    data_offset: int
    data_length: int
    size: int  # when decompressed
    crc: int  # of the decompressed records, 0 if unknown

    @property
    def lone_message(self) -> bool:
        """Whether it is a message outside of any chunk, treated as a chunk of one record."""
        return self.data_offset == self.offset


class View:
    """The bytes of an open file; every read is whole or an error."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.size = file.seek(0, os.SEEK_END)

    def read(self, offset: int, length: int) -> bytes:
        """`length` bytes from `offset` on."""
        self._file.seek(offset)
        data = self._file.read(length)
        if len(data) < length:
            raise EpisodeError(f'cut off at byte {offset + len(data)}')
        return data

    def head(self, at: int) -> Record:
        """What the head at byte `at` says, wherever that ends."""
        opcode, length = _HEAD.unpack(self.read(at, _HEAD.size))
        return Record(opcode, at, at + _HEAD.size, at + _HEAD.size + length)

    def record(self, at: int, end: int) -> Record:
        """The record that starts at byte `at` and must end by `end`."""
        record = self.head(at)
        if record.opcode == 0 or record.end > end:
            raise EpisodeError(f'damaged: no whole record at byte {at}')
        return record

    def body(self, record: Record) -> Body:
        """The content of a record."""
        if record.end - record.at > MAX_CHUNK_BYTES:
            raise EpisodeError(f'a record of {record.length} bytes; at most {MAX_CHUNK_BYTES}')
        return Body(self.read(record.body_at, record.end - record.body_at))


class Record(NamedTuple):
    """Where a record lies in the file."""

    opcode: int
    at: int
    body_at: int
    end: int

    @property
    def length(self) -> int:
        """Bytes, its head included."""
        return self.end - self.at


class Body:
    """The content of a record, read from front to back and never beyond its end."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def __len__(self) -> int:
        return len(self._data)

    @property
    def left(self) -> int:
        """Bytes that nobody has taken yet."""
        return len(self._data) - self._at

    def take(self, length: int) -> bytes:
        """The next `length` bytes."""
        start, self._at = self._at, self._at + length
        if self._at > len(self._data):
            raise EpisodeError('damaged: a record is shorter than it says')
        return self._data[start : self._at]

    def u16(self) -> int:
        """An unsigned number of two bytes."""
        return int.from_bytes(self.take(2), 'little')

    def u32(self) -> int:
        """An unsigned number of four bytes."""
        return int.from_bytes(self.take(4), 'little')

    def u64(self) -> int:
        """An unsigned number of eight bytes."""
        return int.from_bytes(self.take(8), 'little')

    def string(self) -> str:
        """Text with its length before it."""
        try:
            return self.take(self.u32()).decode()
        except UnicodeDecodeError:
            raise EpisodeError('damaged: text that is not UTF-8') from None

    def pairs(self) -> tuple[tuple[str, str], ...]:
        """A map from text to text."""
        body, pairs = Body(self.take(self.u32())), []
        while body.left:
            pairs.append((body.string(), body.string()))
            if len(pairs) > MAX_PAIRS:
                raise EpisodeError(f'damaged: a map of more than {MAX_PAIRS} entries')
        return tuple(pairs)


def read_footer(view: View) -> tuple[int, int, int]:
    """Where the summary starts (0 if there is none), where it ends, and its CRC.

    Raises:
        EpisodeError: the file is no MCAP file, or its end is missing.
    """
    end = view.size - len(MAGIC) - _FOOTER_LENGTH
    if end < len(MAGIC) or view.read(0, len(MAGIC)) != MAGIC:
        raise EpisodeError('not an MCAP file')
    if view.read(view.size - len(MAGIC), len(MAGIC)) != MAGIC:
        raise EpisodeError('cut off: the end is missing; a repair saves what is there')
    opcode, length = _HEAD.unpack(view.read(end, _HEAD.size))
    start, _, crc = _FOOTER.unpack(view.read(end + _HEAD.size, _FOOTER.size))
    if (opcode, length) != (Opcode.FOOTER, _FOOTER.size) or not (
        start == 0 or len(MAGIC) <= start <= end
    ):
        raise EpisodeError('damaged: no valid footer')
    return start, end, crc


def read_summary(view: View, start: int, end: int, crc: int) -> Iterator[tuple[int, Body]]:
    """Opcode and content of each record of the summary, once its checksum is checked."""
    if end - start > MAX_CHUNK_BYTES:
        raise EpisodeError(f'a summary of {end - start} bytes; at most {MAX_CHUNK_BYTES}')
    # The checksum covers the footer as well, but for the checksum itself.
    data = view.read(start, end - start + _FOOTER_LENGTH - 4)
    if crc and zlib.crc32(data) != crc:
        raise EpisodeError('damaged: the checksum of the summary does not match')
    for opcode, at, after in _spans(data[: end - start]):
        yield opcode, Body(data[at:after])


def read_chunk(view: View, record: Record) -> Chunk:
    """The head of a chunk record, or a stand-in for a message outside of any chunk."""
    if record.opcode == Opcode.MESSAGE:
        _, _, log_ns, _ = _MESSAGE.unpack(view.read(record.body_at, _MESSAGE.size))
        length = size = record.length
        chunk = Chunk(log_ns, record.at, length, log_ns, '', record.at, length, size, 0)
    else:
        start_ns, end_ns, size, crc, name_length = _CHUNK.unpack(
            view.read(record.body_at, _CHUNK.size)
        )
        if name_length > 16:
            raise EpisodeError(f'damaged: the chunk at byte {record.at}')
        tail = Body(view.read(record.body_at + _CHUNK.size, name_length + 8))
        name, length = tail.take(name_length).decode('latin-1'), tail.u64()
        at = record.end - length
        if at != record.body_at + _CHUNK.size + name_length + 8:
            raise EpisodeError(f'damaged: the chunk at byte {record.at} does not fit its record')
        chunk = Chunk(start_ns, record.at, record.length, end_ns, name, at, length, size, crc)
    if max(chunk.size, chunk.data_length) > MAX_CHUNK_BYTES:
        raise EpisodeError(f'a chunk of {chunk.size} bytes; at most {MAX_CHUNK_BYTES}')
    return chunk


def read_records(view: View, chunk: Chunk) -> Iterator[RawMessage | tuple[int, Body]]:
    """The records in a chunk: messages, and opcode and content of the others."""
    data = _decompress(view.read(chunk.data_offset, chunk.data_length), chunk)
    for count, (opcode, at, end) in enumerate(_spans(data)):
        if count == MAX_CHUNK_RECORDS:
            raise EpisodeError(f'damaged: more than {MAX_CHUNK_RECORDS} records in a chunk')
        if opcode != Opcode.MESSAGE:
            yield opcode, Body(data[at:end])
            continue
        if at + _MESSAGE.size > end:
            raise EpisodeError('damaged: half a message')
        head = _MESSAGE.unpack_from(data, at)
        message = RawMessage._make((*head, data[at + _MESSAGE.size : end]))
        if not chunk.start_ns <= message.log_time_ns <= chunk.end_ns:
            raise EpisodeError('damaged: a message outside of the time of its chunk')
        yield message


def chunk_index(body: Body) -> tuple[int, ...]:
    """Offset, length, start, end, compressed and decompressed size of a chunk."""
    start_ns, end_ns, offset, length = (body.u64() for _ in range(4))
    body.take(body.u32())  # where each channel's message index lies
    body.u64()
    body.string()
    compressed, size = body.u64(), body.u64()
    return offset, length, start_ns, end_ns, compressed, size


def attachment(body: Body) -> tuple[str, bytes]:
    """Name and content of an attachment."""
    content = body.take(max(0, len(body) - 4))
    crc = body.u32()
    if crc and zlib.crc32(content) != crc:
        raise EpisodeError('damaged: the checksum of an attachment does not match')
    body = Body(content)
    body.take(16)  # its times
    name, _ = body.string(), body.string()
    return name, body.take(body.u64())


def message_counts(body: Body) -> dict[int, int] | None:
    """Channel → number of messages, or None where a statistics record does not say."""
    total = body.u64()
    body.take(34)  # counts of other records, and times
    counts = Body(body.take(body.u32()))
    if len(counts) > 10 * MAX_CHANNELS:
        raise EpisodeError(f'damaged: counts of more than {MAX_CHANNELS} channels')
    by_channel = {counts.u16(): counts.u64() for _ in range(len(counts) // 10)}
    return by_channel if sum(by_channel.values()) == total else None


def _spans(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Opcode, start and end of the body of each record."""
    at = 0
    while at < len(data):
        if at + _HEAD.size > len(data):
            raise EpisodeError('damaged: half a record')
        opcode, length = _HEAD.unpack_from(data, at)
        at += _HEAD.size
        if at + length > len(data):
            raise EpisodeError('damaged: a record is longer than what it lies in')
        yield opcode, at, at + length
        at += length


def _decompress(data: bytes, chunk: Chunk) -> bytes:
    """The records of a chunk, at most as many bytes as it declares."""
    try:
        if chunk.compression == 'zstd':
            reader = zstandard.ZstdDecompressor(max_window_size=MAX_CHUNK_BYTES)
            data = reader.stream_reader(data).read(chunk.size + 1)
        elif chunk.compression == 'lz4':
            data = lz4.frame.LZ4FrameDecompressor().decompress(data, max_length=chunk.size + 1)
        elif chunk.compression:
            raise EpisodeError(f'compression {chunk.compression!r}; valid: zstd, lz4, none')
    except (zstandard.ZstdError, RuntimeError, EOFError) as error:
        raise EpisodeError(f'damaged: a chunk cannot be decompressed: {error}') from None
    if len(data) != chunk.size:
        raise EpisodeError(f'damaged: a chunk does not hold the {chunk.size} bytes it declares')
    if chunk.crc and zlib.crc32(data) != chunk.crc:
        raise EpisodeError('damaged: the checksum of a chunk does not match')
    return data
