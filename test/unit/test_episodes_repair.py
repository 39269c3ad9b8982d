"""What a crash leaves behind is found, saved and marked; what goes on is left alone."""

from __future__ import annotations

from dataclasses import replace
import errno
import json
import random
import shutil

from imitation_ros.episodes.reader import EpisodeReader
from imitation_ros.episodes.repair import find_unfinished, repair, repair_dataset
from imitation_ros.episodes.writer import DISK_FULL, EpisodeWriter
from imitation_ros.errors import EpisodeError
import pytest
from recorded_episodes import Bag, contract, record_lockstep, state, WALL_NS
import yaml


def cut_off(folder, keep=1.0, ticks=30):
    """A recording as a kill leaves it: some of the file, no index, no metadata.yaml."""
    record_lockstep(folder, ticks, operator='ada')
    recording = folder.rename(folder.with_name(folder.name + '.recording'))
    (recording / 'metadata.yaml').unlink()
    path = recording / f'{folder.name}_0.mcap'
    data = path.read_bytes()
    path.write_bytes(data[: round(keep * len(data))])
    return recording


def test_a_cut_off_recording_becomes_a_truncated_episode(tmp_path):
    ticks = 3000  # several chunks, however fast they are written: some stay, the last is cut off
    before = list(EpisodeReader(record_lockstep(tmp_path / 'whole', ticks)).messages())
    recording = cut_off(tmp_path / 'e', 0.6, ticks=ticks)
    repaired = repair(recording)
    assert not recording.exists()
    assert repaired.lost_bytes > 0
    reader = EpisodeReader(tmp_path / 'e')
    assert reader.info.truncated
    assert reader.info.outcome == 'unknown'
    assert reader.info.operator == 'ada'
    assert reader.info.notes['repair'] == f'{repaired.lost_bytes} bytes could not be read'
    assert reader.contract == contract()
    found = list(reader.messages())
    assert 0 < len(found) == repaired.messages < len(before)
    assert found == before[: len(found)]
    assert f'{repaired.messages} messages saved' in str(repaired)


def test_the_repaired_bag_is_a_rosbag2_folder(tmp_path):
    repair(cut_off(tmp_path / 'e', 0.9, ticks=400))
    text = (tmp_path / 'e/metadata.yaml').read_text()
    topics = yaml.safe_load(text)['rosbag2_bagfile_information']['topics_with_message_count']
    qos = {
        topic['topic_metadata']['name']: topic['topic_metadata']['offered_qos_profiles']
        for topic in topics
    }
    assert qos['/joint_states'][0]['reliability'] == 'reliable'
    assert EpisodeReader(tmp_path / 'e').find_topic('joint_states').contract_name == 'joint_states'


def test_a_recording_that_had_ended_keeps_its_outcome(tmp_path):
    recording = cut_off(tmp_path / 'e')
    repaired = repair(recording)
    reader = EpisodeReader(tmp_path / 'e')
    assert repaired.messages == 30 * 9
    assert reader.info.outcome == 'success'
    assert not reader.info.truncated


def test_only_what_was_cut_off_is_found(tmp_path):
    record_lockstep(tmp_path / 'done', 2)
    cut_off(tmp_path / 'cut', 0.8)
    with EpisodeWriter(tmp_path / 'live') as writer:
        assert [path.name for path in find_unfinished(tmp_path)] == ['cut.recording']
        with pytest.raises(EpisodeError, match=r'live\.recording is still being recorded'):
            repair(tmp_path / 'live.recording')
        assert [done.episode.name for done in repair_dataset(tmp_path)] == ['cut']
        writer.stop()
    assert find_unfinished(tmp_path) == []


def test_what_the_disk_does_not_let_lock_is_told_by_the_repair(tmp_path, monkeypatch):
    """The recorder did not start any more: a file of another user, or NFS without locks."""
    cut_off(tmp_path / 'cut', 0.8)

    def refuse(file, how):
        raise OSError(errno.EBADF, 'Bad file descriptor')

    monkeypatch.setattr('imitation_ros.episodes.repair.fcntl.flock', refuse)
    (found,) = find_unfinished(tmp_path)
    with pytest.raises(EpisodeError, match=r'cut\.recording: cannot be repaired: Bad file desc'):
        repair(found)


@pytest.mark.parametrize('left', [(), (DISK_FULL,)])
def test_a_recording_that_never_had_a_file_is_removed(tmp_path, left):
    recording = tmp_path / 'e.recording'
    recording.mkdir()
    for name in left:
        (recording / name).touch()
    assert str(repair(recording)) == 'an empty recording was removed (0 bytes of it unreadable)'
    assert not recording.exists()


@pytest.mark.parametrize('keep', [0.0, 0.003, 0.1, 0.2])
def test_a_recording_without_messages_is_removed(tmp_path, keep, monkeypatch):
    monkeypatch.setattr(
        'imitation_ros.episodes.writer.FLUSH_PERIOD_S', 60
    )  # one chunk, at the end
    repaired = repair(cut_off(tmp_path / 'e', keep))
    assert repaired.episode is None
    assert 'an empty recording was removed' in str(repaired)
    assert not list(tmp_path.iterdir())


def test_a_damaged_chunk_is_left_out_and_counted(tmp_path, no_timer):
    bag = Bag(tmp_path / 'e', contract())
    for tick in range(3):
        bag.observe(*state(tick), WALL_NS, WALL_NS + tick)
        bag.writer._mcap.flush()
    recording = bag.writer.stop().rename(tmp_path / 'e.recording')
    path = recording / 'e_0.mcap'
    data = bytearray(path.read_bytes())
    second = data.index(b'zstd', data.index(b'zstd') + 1)
    data[second + 30] ^= 1
    path.write_bytes(data)
    repaired = repair(recording)
    assert repaired.messages == 4
    assert repaired.lost_bytes > 50


@pytest.fixture
def no_timer(monkeypatch):
    """A chunk is what the test says, however slow the machine is."""
    monkeypatch.setattr('imitation_ros.episodes.writer.FLUSH_PERIOD_S', 60)


def small_recording(folder):
    """Four chunks, as a kill between two writes leaves them; and its bytes."""
    bag = Bag(folder, contract(), operator='ada')
    for tick in range(4):
        bag.observe(*state(tick), WALL_NS, WALL_NS + tick)
        bag.writer._mcap.flush()
    bag.writer.abandon()
    recording = folder.with_name(folder.name + '.recording')
    return recording, (recording / f'{folder.name}_0.mcap').read_bytes()


def saved(folder):
    """What counts of an episode."""
    reader = EpisodeReader(folder)
    info = replace(reader.info, notes={})
    return info, reader.contract, reader.attachments, list(reader.messages())


def test_whatever_bit_is_flipped_nothing_is_deleted(tmp_path, no_timer):
    """A flipped bit in the first bytes, or in a length, and the demonstration was deleted: as 'an
    empty recording', or but for the eight messages before it."""
    recording, whole = small_recording(tmp_path / 'e')
    copy = tmp_path / 'copy'
    recording.rename(copy)
    path = shutil.copytree(copy, recording) / 'e_0.mcap'
    repair(recording)
    expected = saved(tmp_path / 'e')
    assert len(expected[3]) == 8
    rng, fewer = random.Random(0), 0
    for at in [*range(60), *rng.sample(range(60, len(whole)), 200)]:
        shutil.rmtree(tmp_path / 'e', ignore_errors=True)
        shutil.copytree(copy, recording)
        damaged = bytearray(whole)
        damaged[at] ^= 1 << rng.randrange(8)
        path.write_bytes(damaged)
        repaired = repair(recording)
        assert not recording.exists()
        if repaired.kept is None:
            assert saved(tmp_path / 'e') == expected, f'byte {at}'
            continue
        assert repaired.kept == tmp_path / 'e.damaged'
        assert 'e.damaged' in str(repaired)
        assert (repaired.kept / 'e_0.mcap').read_bytes() == damaged
        fewer += repaired.messages < 8
        if repaired.episode:
            assert all(message in expected[3] for message in saved(tmp_path / 'e')[3])
        shutil.rmtree(repaired.kept)
    assert fewer  # the test has seen what it is about


def test_what_lies_behind_a_damaged_length_is_saved(tmp_path, no_timer):
    """The reader gave up where a chunk named another length, and all behind it was deleted."""
    recording, data = small_recording(tmp_path / 'e')
    second = data.index(b'zstd', data.index(b'zstd') + 4) - len(b'\4\0\0\0') - 28 - 8
    for bit in (0, 13, 40):  # a little longer, beyond the next ones, beyond the end
        damaged = bytearray(data)
        damaged[second + bit // 8] ^= 1 << bit % 8
        recording.mkdir(exist_ok=True)
        (recording / 'e_0.mcap').write_bytes(damaged)
        assert repair(recording).messages == 6
        reader = EpisodeReader(tmp_path / 'e')
        assert [message.publish_time_ns - WALL_NS for message in reader.messages()] == [
            0, 0, 2, 2, 3, 3
        ]  # fmt: skip
        assert reader.info.operator == 'ada'
        shutil.rmtree(tmp_path / 'e')


def test_a_topic_whose_chunk_is_lost_does_not_take_the_others_along(tmp_path, no_timer):
    """Its name was in the lost chunk, and every chunk that held a message of it was left out."""
    bag = Bag(tmp_path / 'e', contract())
    for tick in range(4):
        bag.clock(tick, WALL_NS + tick)
        bag.writer._mcap.flush()
        bag.observe(*state(tick), WALL_NS, WALL_NS + tick)
    recording = bag.writer.stop().rename(tmp_path / 'e.recording')
    data = bytearray((recording / 'e_0.mcap').read_bytes())
    second = data.index(b'zstd', data.index(b'zstd') + 1)  # names the two observations
    data[second + 30] ^= 1
    (recording / 'e_0.mcap').write_bytes(data)
    repaired = repair(recording)
    assert repaired.kept
    assert [message.topic for message in EpisodeReader(tmp_path / 'e').messages()] == [
        '/clock', '/clock', '/clock'
    ]  # fmt: skip


def test_a_damaged_recording_that_holds_nothing_readable_is_kept(tmp_path, no_timer):
    recording, data = small_recording(tmp_path / 'e')
    first = data.index(b'zstd') + 30
    damaged = data[:first] + b'x' + data[first + 1 :]  # the channels are in this chunk
    (recording / 'e_0.mcap').write_bytes(damaged)
    (tmp_path / 'e.damaged').mkdir()  # of an earlier one
    repaired = repair(recording)
    assert (repaired.episode, repaired.messages) == (None, 0)
    assert str(repaired).startswith(f'{tmp_path / "e.1.damaged"} is damaged, and kept: no message')
    assert (tmp_path / 'e.1.damaged/e_0.mcap').read_bytes() == damaged


def test_what_is_kept_is_no_episode(tmp_path):
    """Its `metadata.yaml`, of a recording that had ended, would put it into a training set."""
    record_lockstep(tmp_path / 'e', 30)
    recording = (tmp_path / 'e').rename(tmp_path / 'e.recording')
    data = bytearray((recording / 'e_0.mcap').read_bytes())
    data[data.index(b'zstd') + 30] ^= 1
    (recording / 'e_0.mcap').write_bytes(data)
    kept = repair(recording).kept
    assert [path.name for path in kept.iterdir()] == ['e_0.mcap']
    assert find_unfinished(tmp_path) == []


def test_a_repair_that_was_itself_cut_off(tmp_path):
    recording = cut_off(tmp_path / 'e', 0.8, ticks=100)
    leftover = tmp_path / 'e.repairing'
    leftover.mkdir()
    (leftover / 'e_0.mcap').write_bytes(b'half')
    copy = (recording / 'e_0.mcap').read_bytes()
    first = repair(recording)
    assert not leftover.exists()
    recording.mkdir()  # it was saved, but not cleaned up
    (recording / 'e_0.mcap').write_bytes(copy)
    assert repair(recording).messages == first.messages
    assert [path.name for path in tmp_path.iterdir()] == ['e']


def test_an_interrupted_repair_loses_nothing(tmp_path, monkeypatch):
    recording = cut_off(tmp_path / 'e', 0.8, ticks=100)
    write, written = EpisodeWriter.write, []

    def interrupted(self, *message):
        if len(written) == 50:
            raise KeyboardInterrupt
        written.append(message)
        write(self, *message)

    monkeypatch.setattr(EpisodeWriter, 'write', interrupted)
    with pytest.raises(KeyboardInterrupt):
        repair(recording)
    monkeypatch.setattr(EpisodeWriter, 'write', write)
    assert not (tmp_path / 'e').exists()
    assert repair(recording).messages > 50
    assert [path.name for path in tmp_path.iterdir()] == ['e']


def test_a_repair_without_room_takes_none(tmp_path, monkeypatch):
    """Half a copy lay on the full disk until the next repair."""
    recording = cut_off(tmp_path / 'e', 0.8, ticks=100)

    def full(*message):
        raise OSError(28, 'No space left on device')

    with monkeypatch.context() as patch:
        patch.setattr('mcap.writer.Writer.add_message', full)
        with pytest.raises(EpisodeError, match='cannot be written: No space left on device'):
            repair(recording)
    assert [path.name for path in tmp_path.iterdir()] == ['e.recording']
    assert repair(recording).messages > 50


def test_what_is_saved_is_accounted_for(tmp_path):
    recording = cut_off(tmp_path / 'e', 0.8, ticks=100)
    repair(recording)
    reader = EpisodeReader(tmp_path / 'e')
    counts = json.loads(reader.info.notes['traffic'])
    assert counts['joint_states'] == {
        'published': reader.topics['/joint_states'].messages,
        'written': reader.topics['/joint_states'].messages,
        'lost': 0,
        'lost_before_first': 0,
        'lost_after_last': None,
    }


def test_nothing_is_overwritten(tmp_path):
    recording = cut_off(tmp_path / 'e', 0.8)
    record_lockstep(tmp_path / 'other', 3).rename(tmp_path / 'e')
    with pytest.raises(EpisodeError, match=r'e exists; .*e\.recording must be moved or renamed'):
        repair(recording)
    assert recording.exists()


def test_what_is_no_recording_is_refused(tmp_path):
    with pytest.raises(EpisodeError, match=r'e: not a \.recording folder'):
        repair(tmp_path / 'e')
