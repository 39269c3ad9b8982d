"""What is recorded comes back byte for byte, by our reader and by others, and survives a kill."""

from __future__ import annotations

from contextlib import suppress
import os
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
from types import SimpleNamespace

from imitation_ros.episodes.definitions import message_definition
from imitation_ros.episodes.info import EpisodeInfo
from imitation_ros.episodes.mcap_records import MAX_MESSAGE_BYTES
from imitation_ros.episodes.reader import EpisodeReader
from imitation_ros.episodes.repair import repair
from imitation_ros.episodes.writer import (
    check_free_space,
    EpisodeWriter,
    next_episode_folder,
)
from imitation_ros.errors import EpisodeError
from imitation_ros.frames.contract import QoS
import pytest
from recorded_episodes import cdr, contract, new, record_lockstep, STORE, WALL_NS
from rosbags.highlevel import AnyReader
from rosbags.interfaces import QosDurability
from rosbags.rosbag2 import Reader
import yaml

FLOAT = 'std_msgs/msg/Float64'


def floats(count):
    message = new(FLOAT)
    for number in range(count):
        message.data = float(number)
        yield cdr(message, FLOAT)


def write_floats(writer, count, topic='/x'):
    number = writer.add_topic(topic, FLOAT)
    for index, data in enumerate(floats(count)):
        writer.write(number, data, WALL_NS + index, WALL_NS + index - 5, index + 1)


def test_bytes_times_and_numbers_come_back(tmp_path):
    writer = EpisodeWriter(tmp_path / 'e')
    write_floats(writer, 1000)
    reader = EpisodeReader(writer.stop('success'))
    messages = list(reader.messages())
    assert [message.data for message in messages] == list(floats(1000))
    assert [message.log_time_ns for message in messages] == [WALL_NS + i for i in range(1000)]
    assert messages[7].publish_time_ns == WALL_NS + 2
    assert [message.sequence for message in messages] == list(range(1, 1001))
    assert reader.topics['/x'].messages == 1000


def test_what_the_episode_says_of_itself_comes_back(tmp_path):
    info = EpisodeInfo('push', 'ada', 7, lockstep=True, notes={'gripper': 'wörn', 'task': 'x'})
    writer = EpisodeWriter(tmp_path / 'e', contract(), info)
    reader = EpisodeReader(writer.stop('failure', {'lost': '3'}))
    assert (reader.info.task, reader.info.operator, reader.info.seed) == ('push', 'ada', 7)
    assert reader.info.notes == {'gripper': 'wörn', 'task': 'x', 'lost': '3'}
    assert reader.info.outcome == 'failure'
    assert reader.info.lockstep
    assert not reader.info.truncated
    assert reader.info.started == info.started
    assert reader.contract == contract()
    assert reader.info.fingerprint == contract().fingerprint


def test_rosbags_reads_and_decodes_it(tmp_path):
    folder = record_lockstep(tmp_path / 'e', ticks=5)
    with AnyReader([folder]) as bag:  # the definitions inside are all it has
        found = [
            (connection.topic, bag.deserialize(data, connection.msgtype), time_ns)
            for connection, time_ns, data in bag.messages()
        ]
    states = [message for topic, message, _ in found if topic == '/joint_states']
    assert [message.position.tolist() for message in states][:2] == [[0, 0], [-0.02, 0.01]]
    assert [time_ns for *_, time_ns in found] == sorted(time_ns for *_, time_ns in found)
    statuses = [message for topic, message, _ in found if topic == '/supervisor/decision']
    assert {pair.key: pair.value for pair in statuses[0].status[0].values}['mode'] == 'expert'


def test_both_decoders_give_the_same_values(tmp_path):
    folder = record_lockstep(tmp_path / 'e', ticks=3)
    reader = EpisodeReader(folder)
    for message in reader.messages():
        type = reader.topics[message.topic].type
        ours = reader.decode(message)
        theirs = STORE.deserialize_cdr(message.data, type)
        assert cdr(ours, type) == cdr(theirs, type) == message.data


def test_metadata_is_what_rosbag2_wants(tmp_path):
    folder = record_lockstep(tmp_path / 'e', ticks=4)
    text = (folder / 'metadata.yaml').read_text()
    information = yaml.safe_load(text)['rosbag2_bagfile_information']
    assert information['version'] == 9
    assert information['storage_identifier'] == 'mcap'
    assert information['relative_file_paths'] == ['e_0.mcap']
    assert information['message_count'] == 4 * 9
    assert information['duration']['nanoseconds'] == 3 * 5_000_000 + 2_001_000


def test_qos_and_type_hash_are_kept(tmp_path):
    writer = EpisodeWriter(tmp_path / 'e')
    qos = QoS(reliability='best_effort', durability='transient_local', depth=3)
    number = writer.add_topic('/x', FLOAT, qos, 'RIHS01_' + '0' * 64)
    writer.write(number, next(floats(1)), WALL_NS, WALL_NS, 1)
    folder = writer.stop()
    with Reader(folder) as bag:
        connection = bag.connections[0]
        offered = connection.ext.offered_qos_profiles[0]
    assert connection.digest == 'RIHS01_' + '0' * 64
    assert offered.durability == QosDurability.TRANSIENT_LOCAL
    assert offered.depth == 3
    topic = EpisodeReader(folder).topics['/x']
    assert 'best_effort' in topic.offered_qos
    assert topic.type_hash == 'RIHS01_' + '0' * 64


def test_definition_holds_every_part_once():
    text = message_definition('sensor_msgs/msg/JointState')
    assert text.count('MSG: std_msgs/Header') == 1
    assert text.count('MSG: builtin_interfaces/Time') == 1
    assert text.startswith('# This is a message that holds data to describe the state')


@pytest.mark.parametrize(
    ('type', 'says'),
    [
        ('sensor_msgs/msg/JointStat', "no message 'JointStat' in sensor_msgs; did you mean"),
        ('no_such_msgs/msg/Thing', 'no_such_msgs is not installed; searched share/'),
        ('std_srvs/srv/Trigger', "'std_srvs/srv/Trigger' is not a message type; valid"),
    ],
)
def test_a_type_without_definition_is_refused(tmp_path, type, says):
    with EpisodeWriter(tmp_path / 'e') as writer:
        with pytest.raises(EpisodeError, match=says):
            writer.add_topic('/x', type)


def test_definitions_of_another_prefix_come_first(tmp_path, monkeypatch):
    own = tmp_path / 'share/std_msgs/msg'
    own.mkdir(parents=True)
    (own / 'Float64.msg').write_text('float64 data # ours\nPart[<=3] parts\n')
    (own / 'Part.msg').write_text('string<=5 name\nint8 SIZE=3\n')
    monkeypatch.setenv('AMENT_PREFIX_PATH', f'/nowhere{os.pathsep}{tmp_path}')
    assert 'MSG: std_msgs/Part' in message_definition(FLOAT)


def test_while_recording_the_folder_says_so(tmp_path):
    writer = EpisodeWriter(tmp_path / 'set/e')
    assert [path.name for path in (tmp_path / 'set').iterdir()] == ['e.recording']
    with pytest.raises(EpisodeError, match=r'e\.recording exists: being recorded, or cut off'):
        EpisodeWriter(tmp_path / 'set/e')
    writer.stop()
    assert [path.name for path in (tmp_path / 'set').iterdir()] == ['e']
    with pytest.raises(EpisodeError, match='e exists; an episode is never overwritten'):
        EpisodeWriter(tmp_path / 'set/e')


def test_from_the_start_a_power_cut_leaves_the_file_its_name(tmp_path, monkeypatch):
    """The file's bytes were synced each second, its entry in the folder only at the end."""
    synced, fsync = [], os.fsync

    def note(descriptor):
        synced.append(os.readlink(f'/proc/self/fd/{descriptor}'))
        fsync(descriptor)

    monkeypatch.setattr(os, 'fsync', note)
    with EpisodeWriter(tmp_path / 'e'):
        assert synced[:2] == [str(tmp_path / 'e.recording'), str(tmp_path)]


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / 'file').write_text('')
    with pytest.raises(EpisodeError, match=r'file/e\.recording: cannot be made'):
        EpisodeWriter(tmp_path / 'file/e')


def test_an_exception_keeps_the_episode_as_unknown(tmp_path):
    def record():
        with EpisodeWriter(tmp_path / 'e') as writer:
            write_floats(writer, 10)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        record()
    reader = EpisodeReader(tmp_path / 'e')
    assert reader.info.outcome == 'unknown'
    assert reader.topics['/x'].messages == 10


def test_discard_removes_or_keeps(tmp_path):
    EpisodeWriter(tmp_path / 'a').discard()
    EpisodeWriter(tmp_path / 'b').discard(keep=True)
    assert [path.name for path in tmp_path.iterdir()] == ['b']
    assert EpisodeReader(tmp_path / 'b').info.outcome == 'discarded'


def test_no_such_outcome(tmp_path):
    with EpisodeWriter(tmp_path / 'e') as writer:
        with pytest.raises(EpisodeError, match="outcome 'succes'; did you mean 'success'"):
            writer.stop('succes')


def test_a_message_that_could_not_be_read_back_is_refused(tmp_path):
    with EpisodeWriter(tmp_path / 'e') as writer:
        number = writer.add_topic('/x', FLOAT)
        with pytest.raises(EpisodeError, match='/x: a message of 33554433 bytes; at most'):
            writer.write(number, bytes(MAX_MESSAGE_BYTES + 1), 0, 0)


def test_after_the_end_nothing_is_written(tmp_path):
    writer = EpisodeWriter(tmp_path / 'e')
    number = writer.add_topic('/x', FLOAT)
    writer.stop()
    with pytest.raises(ValueError, match='the episode is closed'):
        writer.write(number, b'', 0, 0)


@pytest.fixture
def small_disk():
    """Files may grow to 3 MB: the kernel refuses more, as a full disk does."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (3_000_000, limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_a_full_disk_stops_the_episode_and_costs_nothing_before(tmp_path, small_disk):
    writer = EpisodeWriter(tmp_path / 'e')
    number = writer.add_topic('/x', 'sensor_msgs/msg/Image')
    sent = [os.urandom(100_000) for _ in range(50)]

    def write_all():
        for index, data in enumerate(sent):
            writer.write(number, data, WALL_NS + index, WALL_NS, index + 1)

    with pytest.raises(EpisodeError, match=r'e\.recording: cannot be written: File too large'):
        write_all()
    with pytest.raises(EpisodeError, match='cannot be written'):
        writer.write(number, b'', 0, 0)
    with pytest.raises(EpisodeError, match='cannot be written'):
        writer.stop()
    repaired = repair(tmp_path / 'e.recording')
    assert 20 <= repaired.messages < 30  # two whole chunks at least
    reader = EpisodeReader(tmp_path / 'e')
    assert reader.info.truncated
    assert [message.data for message in reader.messages()] == sent[: repaired.messages]


def test_a_slow_disk_does_not_keep_messages_from_the_kernel(tmp_path, monkeypatch):
    """One thread flushed and synced: what came while the disk was busy waited for it."""
    fsync, syncing, go_on = os.fsync, threading.Event(), threading.Event()

    def slow(descriptor):
        if threading.current_thread().name == 'sync':
            syncing.set()
            go_on.wait()
        fsync(descriptor)

    monkeypatch.setattr(os, 'fsync', slow)
    writer = EpisodeWriter(tmp_path / 'e')
    assert syncing.wait(10)
    write_floats(writer, 10)
    file = tmp_path / 'e.recording/e_0.mcap'
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        if len(list(EpisodeReader(file, salvage=True).messages())) == 10:
            break
        os.sched_yield()
    assert not go_on.is_set()
    assert len(list(EpisodeReader(file, salvage=True).messages())) == 10
    go_on.set()
    writer.stop()


def test_little_space_shows_before_the_disk_is_full(tmp_path, monkeypatch):
    writer = EpisodeWriter(tmp_path / 'e', min_free_bytes=1000)
    write_floats(writer, 10)
    monkeypatch.setattr(shutil, 'disk_usage', lambda path: SimpleNamespace(free=999))
    deadline = time.monotonic() + 5
    while writer.low_space is None and time.monotonic() < deadline:
        os.sched_yield()
    assert '0.00 GB free on the disk' in str(writer.low_space)
    assert writer.error is None
    reader = EpisodeReader(writer.stop('disk_full'))
    assert (reader.info.outcome, reader.info.truncated) == ('disk_full', False)
    assert len(list(reader.messages())) == 10


def test_what_is_saved_says_that_the_disk_was_full_even_after_a_kill(tmp_path, small_disk):
    writer = EpisodeWriter(tmp_path / 'e')
    number = writer.add_topic('/x', 'sensor_msgs/msg/Image')
    with suppress(EpisodeError):
        for index in range(50):
            writer.write(number, os.urandom(100_000), WALL_NS + index, WALL_NS, index + 1)
    assert 'File too large' in str(writer.error)
    del writer
    repair(tmp_path / 'e.recording')
    info = EpisodeReader(tmp_path / 'e').info
    assert (info.outcome, info.truncated) == ('disk_full', True)


def test_a_full_disk_shows_although_no_message_comes(tmp_path):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        writer = EpisodeWriter(tmp_path / 'e')
        number = writer.add_topic('/x', 'sensor_msgs/msg/Image')
        with suppress(EpisodeError):  # on a slow machine it is flushed, and refused, right here
            writer.write(number, os.urandom(200_000), WALL_NS, WALL_NS, 1)
        deadline = time.monotonic() + 5
        while writer.error is None and time.monotonic() < deadline:
            os.sched_yield()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert 'File too large' in str(writer.error)


RECORD = """
import sys, time
from imitation_ros.episodes.writer import EpisodeWriter
writer = EpisodeWriter(sys.argv[1])
number = writer.add_topic('/x', 'std_msgs/msg/Float64')
sequence = 0
while True:
    sequence += 1
    now_ns = time.time_ns()
    writer.write(number, bytes(12), now_ns, now_ns, sequence)
    print(now_ns, flush=True)
    time.sleep(0.002)
"""


def test_a_kill_costs_less_than_a_third_of_a_second(tmp_path):
    command = [sys.executable, '-c', RECORD, str(tmp_path / 'e')]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        first_ns = int(process.stdout.readline())
        for line in process.stdout:
            if int(line) > first_ns + 700_000_000:
                break
        process.send_signal(signal.SIGKILL)
        last_ns = int(([line, *process.stdout.read().splitlines()])[-1])
    repaired = repair(tmp_path / 'e.recording')
    messages = list(EpisodeReader(repaired.episode).messages())
    assert messages[0].log_time_ns == first_ns
    assert last_ns - messages[-1].log_time_ns < 300_000_000
    assert [message.sequence for message in messages] == list(range(1, len(messages) + 1))


def test_episodes_are_numbered_on(tmp_path):
    assert next_episode_folder(tmp_path / 'new').name == 'episode_000000'
    for name in ('episode_000007', 'episode_000011.recording', 'episode_x', 'other'):
        (tmp_path / name).mkdir()
    assert next_episode_folder(tmp_path).name == 'episode_000012'


def test_free_space(tmp_path):
    assert check_free_space(tmp_path / 'not/yet', 1) > 1
    with pytest.raises(EpisodeError, match=r'GB free on the disk; at least 1000000000000\.00'):
        check_free_space(tmp_path, 10**21)


def test_several_threads_may_write(tmp_path):
    from concurrent.futures import ThreadPoolExecutor

    writer = EpisodeWriter(tmp_path / 'e')
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda name: write_floats(writer, 500, name), ['/a', '/b', '/c', '/d']))
    reader = EpisodeReader(writer.stop())
    assert [topic.messages for topic in reader.topics.values()] == [500] * 4
    assert len(list(reader.messages())) == 2000
