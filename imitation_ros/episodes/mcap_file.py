"""A strict, bounded reader of MCAP files.

The stock Python reader inflates a 33 KB file to 2 GB and takes damaged files for whole ones. This
one opens a file by walking its records, without decompressing, and holds them against the index
and its checksums; chunks are decompressed one at a time, never beyond the size they declare, and
what they declare is limited too. Whatever is wrong with a file is an `EpisodeError`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import contextmanager
import heapq
from pathlib import Path

from imitation_ros.episodes.mcap_records import (
    attachment,
    Body,
    Channel,
    Chunk,
    chunk_index,
    MAGIC,
    MAX_CHUNK_RECORDS,
    message_counts,
    RawMessage,
    read_chunk,
    read_footer,
    read_records,
    read_summary,
    Record,
    Schema,
    View,
)
from imitation_ros.episodes.mcap_salvage import Salvage
from imitation_ros.errors import disk_error, EpisodeError
from mcap.opcode import Opcode

FIRST_PRIVATE_OPCODE = 0x80
MAX_TOTAL_BYTES, MAX_RATIO = 512 << 20, 1 << 14
"""A file may inflate to the first plus the second times its size: a covered camera's images, all
black, take a 12,000th of theirs."""
MAX_WAITING_BYTES = 128 << 20
"""Of messages read before their time, because their chunks overlap."""
MAX_DEFINITION_BYTES = 16 << 20
"""Of all schemas and channels: they stay in memory, wherever they lie."""
DEFINITION_COST = 16
"""Of a schema or a channel, in messages: each is taken apart, and few are needed."""
MAX_EXTRAS, MAX_KEPT_BYTES = 1 << 12, 64 << 20
"""Attachments and metadata records: they stay in memory too."""


class McapFile:
    """One MCAP file, opened and checked.

    Args:
        path: of the file.
        salvage: read as much as can be read of a file that was cut off or damaged; what cannot
            is counted in `lost_bytes`.

    Attributes:
        schemas: by id.
        channels: by id.
        counts: channel id → messages; None where the file does not say.
        metadata: record name → its entries; of several with one name, the last.
        attachments: name → content.
        lost_bytes: of the file that could not be read; always 0 without `salvage`.
        damaged: whether more was lost than the half record at the end that a kill leaves.

    Raises:
        EpisodeError: it cannot be opened, or is not whole.
    """

    def __init__(self, path: str | Path, salvage: bool = False) -> None:
        self.path = Path(path)
        self.schemas: dict[int, Schema] = {}
        self.channels: dict[int, Channel] = {}
        self.counts: dict[int, int] | None = None
        self.metadata: dict[str, dict[str, str]] = {}
        self.attachments: dict[str, bytes] = {}
        self.lost_bytes = 0
        self.damaged = False
        self._salvage = salvage
        self._defined_bytes = self._kept_bytes = 0
        self._chunks: list[Chunk] = []
        self._extras: dict[Opcode, set[tuple[object, ...]]] = {
            Opcode.ATTACHMENT: set(), Opcode.METADATA: set()
        }  # fmt: skip
        with self._open() as view:
            if salvage:
                self._walk_what_is_there(view)
                self._drop_lone_messages()
            else:
                self._walk_whole(view)
            self._check_size(view.size)
            if salvage or (self._chunks and not self.channels):
                self._count_messages(view)

    @property
    def span_ns(self) -> tuple[int, int] | None:
        """Log times of the first and the last message; None without any."""
        if not self._chunks:
            return None
        starts, ends = zip(*((chunk.start_ns, chunk.end_ns) for chunk in self._chunks))
        return min(starts), max(ends)

    def messages(self, channel_ids: Collection[int] | None = None) -> Iterator[RawMessage]:
        """All messages, or those of some channels, by log time; ties as they were written.

        Chunks are read when their time comes, so that one at a time is in memory, more where
        they overlap. Where more of them overlap than is good for the memory, after a clock was
        set back by much, a message may come after those that say they are later.

        Raises:
            EpisodeError: a damaged chunk.
        """
        wanted = set(self.channels if channel_ids is None else channel_ids)
        waiting: list[tuple[int, int, int, RawMessage]] = []  # time, place in the file, message
        found = waiting_bytes = 0
        with self._open() as view:
            budget = _Budget(view)
            for chunk in sorted(self._chunks):
                while waiting and (
                    waiting[0][:2] < (chunk.start_ns, chunk.offset)
                    or waiting_bytes > MAX_WAITING_BYTES
                    or len(waiting) > MAX_CHUNK_RECORDS
                ):
                    message = heapq.heappop(waiting)[-1]
                    waiting_bytes -= len(message.data)
                    yield message
                for index, message in enumerate(self._chunk_messages(view, chunk, budget)):
                    found += message.channel_id in self.channels
                    if message.channel_id in wanted:
                        place = message.log_time_ns, chunk.offset, index
                        heapq.heappush(waiting, (*place, message))
                        waiting_bytes += len(message.data)
            while waiting:
                yield heapq.heappop(waiting)[-1]
            if self.counts is not None and found != sum(self.counts.values()):
                expected = sum(self.counts.values())
                raise EpisodeError(f'damaged: {found} messages, its statistics say {expected}')

    def _walk_whole(self, view: View) -> None:
        """Takes every record and compares them with the summary."""
        start, end, crc = read_footer(view)
        indexed: dict[Opcode, set[tuple[object, ...]]] | None = None
        if start:
            indexed = {Opcode.CHUNK: set(), Opcode.ATTACHMENT: set(), Opcode.METADATA: set()}
            for opcode, body in read_summary(view, start, end, crc):
                if opcode == Opcode.CHUNK_INDEX:
                    indexed[Opcode.CHUNK].add(chunk_index(body))
                elif opcode == Opcode.ATTACHMENT_INDEX:
                    indexed[Opcode.ATTACHMENT].add((body.u64(), body.u64()))
                elif opcode == Opcode.METADATA_INDEX:
                    indexed[Opcode.METADATA].add((body.u64(), body.u64(), body.string()))
                elif opcode == Opcode.STATISTICS:
                    self.counts = message_counts(body)
                else:
                    self._define(opcode, body)
        self._walk_data(view, start or end)
        if indexed is not None:
            self._compare(indexed)

    def _walk_data(self, view: View, end: int) -> None:
        record = view.record(len(MAGIC), end)
        if record.opcode != Opcode.HEADER:
            raise EpisodeError('damaged: no header')
        while record.opcode != Opcode.DATA_END:
            record = view.record(record.end, end)
            self._take(view, record)
        if record.end != end:
            raise EpisodeError('damaged: the data does not end where the footer says')

    def _walk_what_is_there(self, view: View) -> None:
        """Takes every whole record; where one is damaged, goes on at the next that is not."""
        salvage, at = Salvage(view), min(len(MAGIC), view.size)
        start = view.read(0, at)
        if start != MAGIC:
            self._lose(at, damaged=not MAGIC.startswith(start))
        while at < view.size:
            try:
                record = salvage.record(at)
                if record.opcode == Opcode.DATA_END:
                    return
                self._take(view, record)
                at = record.end
            except EpisodeError:
                further = salvage.next(at + 1)
                end = view.size if further is None else further
                self._lose(end - at, damaged=further is not None or not salvage.is_cut_off(at))
                at = end

    def _lose(self, count: int, damaged: bool = True) -> None:
        self.lost_bytes += count
        self.damaged |= damaged

    def _drop_lone_messages(self) -> None:
        """Beside chunks, a message on its own is a damaged record of another kind."""
        chunks = [chunk for chunk in self._chunks if not chunk.lone_message]
        if chunks:
            dropped = sum(chunk.length for chunk in self._chunks if chunk.lone_message)
            if dropped:
                self._lose(dropped)
            self._chunks = chunks

    def _take(self, view: View, record: Record) -> None:
        if record.opcode in (Opcode.CHUNK, Opcode.MESSAGE):
            self._chunks.append(read_chunk(view, record))
        elif record.opcode in (Opcode.SCHEMA, Opcode.CHANNEL):
            self._define(record.opcode, view.body(record))
        elif record.opcode == Opcode.METADATA:
            body = view.body(record)
            name = body.string()
            self.metadata[name] = dict(body.pairs())
            self._note_extra(record, name)
        elif record.opcode == Opcode.ATTACHMENT:
            name, content = attachment(view.body(record))
            self.attachments[name] = content
            self._note_extra(record)
        elif Opcode.DATA_END < record.opcode < FIRST_PRIVATE_OPCODE:
            raise EpisodeError(f'damaged: a record of unknown kind at byte {record.at}')

    def _note_extra(self, record: Record, *name: str) -> None:
        """What an attachment or a metadata record is compared with; all of it stays in memory."""
        self._extras[Opcode(record.opcode)].add((record.at, record.length, *name))
        self._kept_bytes += record.length
        if sum(map(len, self._extras.values())) > MAX_EXTRAS or self._kept_bytes > MAX_KEPT_BYTES:
            raise EpisodeError(
                f'more than {MAX_EXTRAS} attachments and metadata records, '
                f'or {MAX_KEPT_BYTES} bytes of them'
            )

    def _define(self, opcode: int, body: Body) -> None:
        """Takes a schema or a channel; one number must not mean two."""
        defined = len(self.schemas) + len(self.channels)
        if opcode == Opcode.SCHEMA:
            number = body.u16()
            schema = Schema(body.string(), body.string(), body.take(body.u32()))
            if self.schemas.setdefault(number, schema) != schema:
                raise EpisodeError(f'damaged: two schemas with the number {number}')
        elif opcode == Opcode.CHANNEL:
            number = body.u16()
            channel = Channel(body.u16(), body.string(), body.string(), body.pairs())
            if self.channels.setdefault(number, channel) != channel:
                raise EpisodeError(f'damaged: two channels with the number {number}')
        if len(self.schemas) + len(self.channels) > defined:
            self._defined_bytes += len(body)
        if self._defined_bytes > MAX_DEFINITION_BYTES:
            raise EpisodeError(f'more than {MAX_DEFINITION_BYTES} bytes of schemas and channels')

    def _compare(self, indexed: dict[Opcode, set[tuple[object, ...]]]) -> None:
        """The index must name every chunk, attachment and metadata record, and no other."""
        chunks = {
            (c.offset, c.length, c.start_ns, c.end_ns, c.data_length, c.size)
            for c in self._chunks
            if not c.lone_message
        }
        if chunks and len(chunks) < len(self._chunks):
            raise EpisodeError('damaged: a message outside of the chunks')
        if indexed != {Opcode.CHUNK: chunks, **self._extras}:
            raise EpisodeError('damaged: the records differ from the index')

    def _check_size(self, file_size: int) -> None:
        total = sum(chunk.size for chunk in self._chunks)
        limit = MAX_TOTAL_BYTES + MAX_RATIO * file_size
        if total > limit:
            raise EpisodeError(f'{file_size} bytes claim to hold {total}; at most {limit}')

    def _count_messages(self, view: View) -> None:
        """Reads every chunk once, for the channels inside, where no summary names them.

        When salvaging, a chunk that cannot be read is left out and its bytes are counted, as are
        messages on a channel that only such a chunk names.
        """
        readable, budget = [], _Budget(view)
        counts, sizes = Counter[int](), Counter[int]()
        for chunk in self._chunks:
            try:
                messages = self._chunk_messages(view, chunk, budget)
            except EpisodeError:
                if not self._salvage:
                    raise
                self._lose(chunk.length)
                continue
            readable.append(chunk)
            for message in messages:
                counts[message.channel_id] += 1
                sizes[message.channel_id] += len(message.data)
        for number in (
            counts.keys() - self.channels.keys()
        ):  # where the chunk is lost that names it
            del counts[number]
            self._lose(sizes[number])
        self._chunks, self.counts = readable, dict(counts)

    def _chunk_messages(self, view: View, chunk: Chunk, budget: _Budget) -> list[RawMessage]:
        messages = []
        for record in read_records(view, chunk):
            if not isinstance(record, RawMessage):
                budget.spend(DEFINITION_COST)
                self._define(*record)
                continue
            budget.spend(1)
            if record.channel_id in self.channels or self._salvage:
                messages.append(record)
            else:
                raise EpisodeError(f'damaged: a message on channel {record.channel_id}')
        return messages

    @contextmanager
    def _open(self) -> Iterator[View]:
        """Opens the file; errors in the block name it."""
        try:
            with open(self.path, 'rb') as file:
                yield View(file)
        except EpisodeError as error:
            raise EpisodeError(f'{self.path}: {error}') from None
        except OSError as error:
            raise disk_error(f'{self.path}: {error.strerror or error}', error) from None


class _Budget:
    """How many records a file may inflate to: one a byte, which none with a message reaches."""

    def __init__(self, view: View) -> None:
        self._limit = self._left = MAX_CHUNK_RECORDS + view.size

    def spend(self, count: int) -> None:
        """Takes note of so many; raises EpisodeError where there are too many."""
        self._left -= count
        if self._left < 0:
            raise EpisodeError(f'more than {self._limit} records')
