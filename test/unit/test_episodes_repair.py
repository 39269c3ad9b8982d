"""What a crash leaves behind is found, saved and marked; what goes on is left alone."""

from __future__ import annotations

import json

from imitation_ros.episodes.reader import EpisodeReader
from imitation_ros.episodes.repair import find_unfinished, repair, repair_dataset
from imitation_ros.episodes.writer import EpisodeWriter
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


@pytest.mark.parametrize('keep', [0.0, 0.003, 0.1, 0.2])
def test_a_recording_without_messages_is_removed(tmp_path, keep, monkeypatch):
    monkeypatch.setattr(
        'imitation_ros.episodes.writer.FLUSH_PERIOD_S', 60
    )  # one chunk, at the end
    repaired = repair(cut_off(tmp_path / 'e', keep))
    assert repaired.episode is None
    assert 'an empty recording was removed' in str(repaired)
    assert not list(tmp_path.iterdir())


def test_a_damaged_chunk_is_left_out_and_counted(tmp_path):
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
