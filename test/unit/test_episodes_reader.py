"""The reader takes what is whole, refuses what is not, and never inflates beyond its limits."""

from __future__ import annotations

from contextlib import suppress
import errno
import io
import os
from pathlib import Path
import random
import struct
import time
import tracemalloc

from imitation_ros.episodes.mcap_records import MAGIC, View
from imitation_ros.episodes.reader import EpisodeReader
from imitation_ros.episodes.rosbag2 import mcap_files
from imitation_ros.episodes.writer import EpisodeWriter
from imitation_ros.errors import DiskError, EpisodeError
import lz4.frame
from mcap.opcode import Opcode
from mcap.writer import CompressionType
from mcap.writer import Writer as McapWriter
import pytest
from recorded_episodes import cdr, new, record_lockstep, record_real_time, STORE, WALL_NS
from rosbags.rosbag2 import StoragePlugin, Writer
import zstandard

FLOAT = 'std_msgs/msg/Float64'


@pytest.fixture(scope='module')
def episode(tmp_path_factory):
    """A small episode of several chunks, and what is in it."""
    folder = record_lockstep(tmp_path_factory.mktemp('data') / 'e', ticks=6)
    return folder, folder / 'e_0.mcap', content(folder / 'e_0.mcap')


def content(path):
    """All that a reader can tell of a file."""
    reader = EpisodeReader(path)
    messages = list(reader.messages())
    decoded = [cdr(reader.decode(m), reader.topics[m.topic].type) for m in messages]
    return reader.info, reader.contract, reader.topics, messages, decoded


def write_mcap(path, chunks, **options):
    """A file of one topic with a chunk for each list of log times."""
    with open(path, 'wb') as file:
        writer = McapWriter(file, **options)
        writer.start('ros2')
        schema = writer.register_schema(FLOAT, 'ros2msg', b'float64 data\n')
        channel = writer.register_channel('/x', 'cdr', schema)
        for times in chunks:
            for time_ns in times:
                message = new(FLOAT)
                message.data = float(time_ns)
                writer.add_message(channel, time_ns, cdr(message, FLOAT), time_ns, 0)
            writer.flush()
        writer.finish()
    return path


def test_messages_come_in_the_order_of_their_receipt_across_chunks(tmp_path):
    path = write_mcap(tmp_path / 'x.mcap', [[5, 1, 9], [2, 8], [3, 30], [4, 20]])
    times = [message.log_time_ns for message in EpisodeReader(path).messages()]
    assert times == [1, 2, 3, 4, 5, 8, 9, 20, 30]


def test_messages_received_at_the_same_time_come_as_they_were_written(tmp_path):
    """A later chunk that began earlier was read first: a topic's messages changed places."""
    path = tmp_path / 'x.mcap'
    with open(path, 'wb') as file:
        writer = McapWriter(file)
        writer.start('ros2')
        schema = writer.register_schema(FLOAT, 'ros2msg', b'float64 data\n')
        one, other = (writer.register_channel(name, 'cdr', schema) for name in ('/a', '/b'))
        written = [(one, 5), (one, 5), None, (other, 1), (one, 5), (one, 5)]
        for number, message in enumerate(written):
            if message is None:
                writer.flush()
            else:
                writer.add_message(message[0], message[1], bytes(12), 0, number)
        writer.finish()
    found = [message.sequence for message in EpisodeReader(path).messages()]
    assert found == [3, 0, 1, 4, 5]


@pytest.mark.parametrize('compression', list(CompressionType))
def test_every_compression(tmp_path, compression):
    path = write_mcap(tmp_path / 'x.mcap', [[1, 2], [3]], compression=compression)
    assert [message.log_time_ns for message in EpisodeReader(path).messages()] == [1, 2, 3]


def test_without_chunks_and_without_an_index(tmp_path):
    path = write_mcap(tmp_path / 'a.mcap', [[2, 1], [3]], use_chunking=False)
    assert [message.log_time_ns for message in EpisodeReader(path).messages()] == [1, 2, 3]
    path = write_mcap(
        tmp_path / 'b.mcap', [[1], [2]], repeat_channels=False, repeat_schemas=False,
        use_statistics=False,
    )  # fmt: skip
    assert EpisodeReader(path).topics['/x'].messages == 2


def test_some_topics(episode):
    _, path, (_, _, _, messages, _) = episode
    reader = EpisodeReader(path)
    wanted = [message for message in messages if message.topic in ('/clock', '/width')]
    assert list(reader.messages(['/clock', '/width'])) == wanted
    assert list(reader.messages(['/absent'])) == []


def test_a_foreign_bag(tmp_path):
    message = STORE.types[FLOAT](data=1.5)
    with Writer(tmp_path / 'bag', version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        connection = writer.add_connection('/robot/width', FLOAT, typestore=STORE)
        for index in range(3):
            writer.write(connection, WALL_NS + index, STORE.serialize_cdr(message, FLOAT))
    reader = EpisodeReader(tmp_path / 'bag')
    assert reader.contract is None
    assert reader.info.outcome == 'unknown'
    assert [reader.decode(message).data for message in reader.messages()] == [1.5] * 3
    assert reader.find_topic('width').name == '/robot/width'


def test_a_bag_of_two_files(tmp_path):
    write_mcap(tmp_path / 'a.mcap', [[1, 4]])
    write_mcap(tmp_path / 'b.mcap', [[2, 3]])
    (tmp_path / 'metadata.yaml').write_text(
        'rosbag2_bagfile_information: {storage_identifier: mcap, '
        'relative_file_paths: [a.mcap, b.mcap]}'
    )
    reader = EpisodeReader(tmp_path)
    assert [message.log_time_ns for message in reader.messages()] == [1, 2, 3, 4]
    assert reader.topics['/x'].messages == 4
    assert reader.span_ns == (1, 4)


@pytest.mark.parametrize(
    ('metadata', 'says'),
    [
        (None, 'no rosbag2 folder: metadata.yaml: No such file'),
        ('[', 'not the metadata of a bag'),
        ('a: 1', 'not the metadata of a bag'),
        ('\0', 'not the metadata of a bag'),
        ('rosbag2_bagfile_information: [1]', 'not the metadata of a bag'),
        ('{a: ' * 5000, 'not the metadata of a bag'),
        ('x' * (1 << 18), 'more than 131072 bytes'),
        ('{storage_identifier: sqlite3, relative_file_paths: []}', "storage 'sqlite3'"),
        ('{storage_identifier: mcap, compression_mode: FILE, relative_file_paths: []}', "'FILE'"),
        ('{storage_identifier: mcap, relative_file_paths: [../e_0.mcap]}', 'not a file of this'),
        ('{storage_identifier: mcap, relative_file_paths: [/etc/passwd]}', 'not a file of this'),
        ('{storage_identifier: mcap, relative_file_paths: [gone.mcap]}', 'gone.mcap: No such'),
    ],
)
def test_a_folder_that_is_no_bag(tmp_path, metadata, says):
    if metadata is not None:
        text = metadata.replace('{storage', 'rosbag2_bagfile_information: {storage')
        (tmp_path / 'metadata.yaml').write_text(text)
    with pytest.raises(EpisodeError, match=says):
        EpisodeReader(tmp_path)


def test_a_file_that_is_not_there_or_something_else(tmp_path):
    with pytest.raises(EpisodeError, match=r'none\.mcap: No such file'):
        EpisodeReader(tmp_path / 'none.mcap')
    (tmp_path / 'text.mcap').write_text('x' * 100)
    with pytest.raises(EpisodeError, match=r'text\.mcap: not an MCAP file'):
        EpisodeReader(tmp_path / 'text.mcap')


def test_every_truncation_is_refused_and_salvaged(episode, tmp_path):
    _, path, (_, _, _, messages, _) = episode
    whole, cut = path.read_bytes(), tmp_path / 'cut.mcap'
    saved = []
    for size in [round(part * len(whole) / 50) for part in range(50)] + [len(whole) - 1]:
        cut.write_bytes(whole[:size])
        with pytest.raises(EpisodeError, match=r'cut\.mcap: '):
            EpisodeReader(cut)
        reader = EpisodeReader(cut, salvage=True)
        found = list(reader.messages())
        assert found == messages[: len(found)]
        saved.append(len(found))
    assert saved == sorted(saved)
    assert saved[-1] == len(messages)


def test_flipped_bits_are_noticed_or_do_not_matter(episode, tmp_path):
    """What is accepted must be what was recorded: the index, the order, every byte."""
    _, path, expected = episode
    whole, flipped = path.read_bytes(), tmp_path / 'flipped.mcap'
    rng = random.Random(0)
    for _ in range(400):
        data = bytearray(whole)
        for _ in range(rng.choice((1, 1, 3))):
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        flipped.write_bytes(data)
        with suppress(EpisodeError):  # any other error fails the test
            assert content(flipped) == expected
        with suppress(EpisodeError):
            messages = list(EpisodeReader(flipped, salvage=True).messages())
            assert all(message in expected[3] for message in messages)


def test_a_damaged_name_does_not_hide_the_outcome(episode, tmp_path):
    """One flipped bit in the name of the record made a success an 'unknown'."""
    _, path, _ = episode
    whole = path.read_bytes()
    renamed = whole.replace(b'imitation_ros.outcome', b'imitation_ros.outcomd', 1)
    (tmp_path / 'x.mcap').write_bytes(renamed)
    with pytest.raises(EpisodeError, match='the records differ from the index'):
        EpisodeReader(tmp_path / 'x.mcap')


def test_a_damaged_index_is_not_salvaged_as_a_message(episode, tmp_path):
    """One flipped bit made a message out of a message index."""
    _, path, (_, _, _, messages, _) = episode
    data = bytearray(path.read_bytes())
    view, at = View(io.BytesIO(data)), len(MAGIC)
    while (record := view.record(at, view.size)).opcode != Opcode.MESSAGE_INDEX:
        at = record.end
    data[at] = Opcode.MESSAGE
    (tmp_path / 'x.mcap').write_bytes(data)
    reader = EpisodeReader(tmp_path / 'x.mcap', salvage=True)
    assert list(reader.messages()) == messages
    assert reader.lost_bytes == record.length


def test_random_bytes_after_a_whole_head(episode, tmp_path):
    _, path, _ = episode
    whole = path.read_bytes()
    rng = random.Random(1)
    for _ in range(100):
        keep = rng.randrange(8, len(whole) // 2)
        noise = tmp_path / 'noise.mcap'
        noise.write_bytes(whole[:keep] + rng.randbytes(500) + whole[-300:])
        with pytest.raises(EpisodeError):
            content(noise)


def bomb(path, compress, declared, actual=2 << 30, chunks=1):
    """A file that inflates to 2 GB, or would."""
    block = b'\x80' + struct.pack('<Q', actual - 9) + bytes(1 << 20)
    packed = compress(block, actual)
    name = b'zstd' if compress is zstd_bomb else b'lz4'
    body = struct.pack('<QQQII', 0, 1, declared, 0, len(name)) + name
    body += struct.pack('<Q', len(packed)) + packed
    chunk = struct.pack('<BQ', 6, len(body)) + body
    head = b'\x89MCAP0\r\n' + struct.pack('<BQ', 1, 8) + bytes(8)
    end = struct.pack('<BQI', 15, 4, 0) + struct.pack('<BQQQI', 2, 20, 0, 0, 0)
    path.write_bytes(head + chunk * chunks + end + b'\x89MCAP0\r\n')
    return path


def record(opcode, body):
    return struct.pack('<BQ', opcode, len(body)) + body


def chunk_of(records, count):
    """A chunk record with these records, so many times."""
    packed = zstandard.ZstdCompressor().compress(records * count)
    head = struct.pack('<QQQII', 0, 1, len(records) * count, 0, 4) + b'zstd'
    return record(Opcode.CHUNK, head + struct.pack('<Q', len(packed)) + packed)


def forged(path, *records):
    """A file of these records, without a summary."""
    end = record(Opcode.DATA_END, bytes(4)) + record(Opcode.FOOTER, bytes(20))
    path.write_bytes(MAGIC + record(Opcode.HEADER, bytes(8)) + b''.join(records) + end + MAGIC)
    return path


def channel(number, pairs=b''):
    metadata = struct.pack('<I', len(pairs)) + pairs
    return record(Opcode.CHANNEL, struct.pack('<HHII', number, 0, 0, 0) + metadata)


def schema(number, size):
    return record(Opcode.SCHEMA, struct.pack('<HIII', number, 0, 0, size) + bytes(size))


FORGERIES = {
    'empty records': (
        lambda: [chunk_of(b'\x80' + bytes(8), 7_400_000)] * 8,
        r'more than \d+ records',
    ),
    'channels': (
        lambda: [chunk_of(b''.join(map(channel, range(1000))), 200)] * 40,
        r'more than \d+ records',
    ),
    'long schemas': (
        lambda: [chunk_of(schema(number, 10 << 20), 1) for number in range(40)],
        'more than 16777216 bytes of schemas and channels',
    ),
    'a map of nothing': (
        lambda: [chunk_of(channel(1, bytes(60 << 20)), 1)],
        'a map of more than 16384 entries',
    ),
    'metadata': (
        lambda: [record(Opcode.METADATA, bytes(8))] * 5000,
        'more than 4096 attachments and metadata records',
    ),
}


@pytest.mark.parametrize('name', FORGERIES)
def test_a_small_file_takes_little_time_and_memory(tmp_path, name):
    """54 KB of chunks held 59 million records of no kind, and reading them took half a minute."""
    records, says = FORGERIES[name]
    path = forged(tmp_path / 'x.mcap', *records())
    assert path.stat().st_size < 100_000
    start = time.process_time()
    with pytest.raises(EpisodeError, match=says):
        EpisodeReader(path)
    with suppress(EpisodeError):
        list(EpisodeReader(path, salvage=True).messages())
    assert time.process_time() - start < 8.0  # 1 s, where no tracer counts lines


def zstd_bomb(block, size):
    compressor = zstandard.ZstdCompressor(level=1).compressobj(size=size)
    return b''.join(
        [*(compressor.compress(bytes(1 << 20)) for _ in range(size >> 20)), compressor.flush()]
    )


def lz4_bomb(block, size):
    with lz4.frame.LZ4FrameCompressor() as compressor:
        data = compressor.begin()
        for _ in range(size >> 20):
            data += compressor.compress(bytes(1 << 20))
        return data + compressor.flush()


@pytest.mark.parametrize(
    ('compress', 'declared', 'actual', 'chunks', 'says'),
    [
        (zstd_bomb, 2 << 30, 64 << 20, 1, r'a chunk of 2147483648 bytes; at most 67108864'),
        (zstd_bomb, 1 << 20, 256 << 20, 1, 'does not hold the 1048576 bytes it declares'),
        (lz4_bomb, 1 << 20, 256 << 20, 1, 'does not hold the 1048576 bytes it declares'),
        (zstd_bomb, 64 << 20, 64 << 20, 40, r'bytes claim to hold 2684354560; at most'),
        (zstd_bomb, 64 << 20, 1 << 20, 1, 'does not hold the 67108864 bytes it declares'),
    ],
)
def test_a_bomb_is_refused_at_once(tmp_path, compress, declared, actual, chunks, says):
    path = bomb(tmp_path / 'bomb.mcap', compress, declared, actual, chunks)
    tracemalloc.start()
    start = time.process_time()
    for salvage in (False, True):
        try:
            list(EpisodeReader(path, salvage).messages())
        except EpisodeError as error:
            refusal = str(error)
        if not salvage:
            with pytest.raises(EpisodeError, match=says):
                raise EpisodeError(refusal)
    assert time.process_time() - start < 2
    assert tracemalloc.get_traced_memory()[1] < 150 << 20
    tracemalloc.stop()


@pytest.mark.parametrize(
    ('module', 'read'), [('mcap_file', EpisodeReader), ('rosbag2', mcap_files)]
)
def test_a_disk_that_fails_is_told_from_a_bag_that_is_not_there(
    tmp_path, monkeypatch, module, read
):
    """It was asked once more whether the file is there, which such a disk does not answer."""
    folder = record_lockstep(tmp_path / 'e', ticks=1)

    def stale(*given, **options):
        raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))

    with monkeypatch.context() as patched:
        patched.setattr(f'imitation_ros.episodes.{module}.open', stale, raising=False)
        patched.setattr(Path, 'is_file', stale)
        with pytest.raises(DiskError, match='Stale file handle'):
            read(folder)
    with pytest.raises(EpisodeError, match='No such file') as absent:
        read(tmp_path / 'absent')
    assert not isinstance(absent.value, DiskError)


def test_a_camera_that_was_covered_is_no_bomb(tmp_path):
    """Its images are all black: 300 times smaller than others when compressed, and refused."""
    frames, size = 800, 640 * 480 * 3
    with EpisodeWriter(tmp_path / 'e') as writer:
        topic = writer.add_topic('/camera', 'sensor_msgs/msg/Image')
        for number in range(frames):
            writer.write(topic, bytes(size), number, number, number + 1)
    found = EpisodeReader(tmp_path / 'e').messages()
    assert sum(len(message.data) for message in found) == frames * size


def test_chunks_that_all_overlap_are_bounded(tmp_path, monkeypatch):
    """An episode in which a clock was set back was refused: its chunks overlapped too much."""
    path = write_mcap(tmp_path / 'x.mcap', [[0, 100 - i] for i in range(50)])
    times = [message.log_time_ns for message in EpisodeReader(path).messages()]
    assert times == sorted(times)
    monkeypatch.setattr('imitation_ros.episodes.mcap_file.MAX_WAITING_BYTES', 300)
    bounded = [message.log_time_ns for message in EpisodeReader(path).messages()]
    assert sorted(bounded) == times
    assert bounded != times


def test_a_clock_that_stands_still_keeps_one_chunk_in_memory(tmp_path, monkeypatch):
    """A clock was set back, and every chunk until it had caught up was read before the first."""
    path = tmp_path / 'x.mcap'
    with open(path, 'wb') as file:
        writer = McapWriter(file)
        writer.start('ros2')
        schema = writer.register_schema(FLOAT, 'ros2msg', b'float64 data\n')
        channel = writer.register_channel('/x', 'cdr', schema)
        for number in range(40):
            writer.add_message(channel, 7, random.Random(number).randbytes(1 << 20), 0, number)
        writer.finish()
    tracemalloc.start()
    found = [message.sequence for message in EpisodeReader(path).messages()]
    assert tracemalloc.get_traced_memory()[1] < 10 << 20
    tracemalloc.stop()
    assert found == list(range(40))


def test_a_message_that_does_not_fit_its_type(tmp_path):
    folder = record_lockstep(tmp_path / 'e', ticks=1)
    reader = EpisodeReader(folder)
    message = next(reader.messages(['/joint_states']))._replace(data=b'\0\1\0\0\xff\xff\xff\xff')
    with pytest.raises(EpisodeError, match='/joint_states: 8 bytes are not a sensor_msgs/msg/Jo'):
        reader.decode(message)


def test_an_idl_definition_cannot_be_decoded_but_copied(tmp_path):
    path = tmp_path / 'x.mcap'
    with open(path, 'wb') as file:
        writer = McapWriter(file)
        writer.start('ros2')
        channel = writer.register_channel('/x', 'cdr', writer.register_schema('a', 'ros2idl', b''))
        writer.add_message(channel, 1, b'1234', 1, 0)
        writer.finish()
    reader = EpisodeReader(path)
    message = next(reader.messages())
    with pytest.raises(EpisodeError, match='/x: 4 bytes are not a a'):
        reader.decode(message)


def test_two_types_on_one_topic(tmp_path):
    path = tmp_path / 'x.mcap'
    with open(path, 'wb') as file:
        writer = McapWriter(file)
        writer.start('ros2')
        for name in ('a/msg/A', 'a/msg/B'):
            schema = writer.register_schema(name, 'ros2msg', b'int8 x')
            channel = writer.register_channel('/x', 'cdr', schema)
            writer.add_message(channel, 1, b'1234', 1, 0)
        writer.finish()
    with pytest.raises(EpisodeError, match='/x has two types'):
        EpisodeReader(path)


def test_opening_reads_no_messages(episode, tmp_path):
    """A dataset of hundreds of episodes is listed without decompressing one."""
    folder = record_real_time(tmp_path / 'e', ticks=40)
    path = folder / 'e_0.mcap'
    data = bytearray(path.read_bytes())
    data[data.index(b'zstd') + 40] ^= 1  # within the compressed messages
    path.write_bytes(data)
    reader = EpisodeReader(folder)
    assert sum(topic.messages for topic in reader.topics.values()) == 2 * 205 + 6 * 40
    with pytest.raises(EpisodeError, match=r'e_0\.mcap: damaged: '):
        list(reader.messages())
