"""A training set selects, aligns once, hashes, measures and splits; and stays out of memory."""

from __future__ import annotations

from dataclasses import replace
import os
import tracemalloc

from imitation_ros.episodes import training_set as training_set_module
from imitation_ros.episodes.align import load_episode
from imitation_ros.episodes.cache import episode_hash
from imitation_ros.episodes.statistics import Moments
from imitation_ros.episodes.training_set import TrainingSet
from imitation_ros.errors import EpisodeError
from imitation_ros.frames.contract import parse_contract
from imitation_ros.types import Episode
import numpy as np
import pytest
from recorded_episodes import (
    Bag,
    contract,
    new,
    PERIOD_NS,
    record_lockstep,
    record_real_time,
    WALL_NS,
)


@pytest.fixture
def dataset(tmp_path):
    """Six episodes of different content."""
    for seed in range(6):
        record_lockstep(tmp_path / f'episode_{seed}', 10 + seed, seed=seed)
    return tmp_path


def same(one, other):
    return episode_hash(one) == episode_hash(other) and one.metadata == other.metadata


def test_it_holds_the_episodes_by_name(dataset):
    training_set = TrainingSet.from_folder(dataset)
    assert training_set.contract == contract()
    assert [len(episode) for episode in training_set] == [10, 11, 12, 13, 14, 15]
    assert len(training_set) == 6
    for index in range(6):
        assert same(training_set[index], load_episode(dataset / f'episode_{index}'))
    assert same(training_set[-1], training_set[5])
    assert training_set[2].outcome == 'success'
    assert training_set.skipped == {}


def test_failures_and_discarded_ones_are_not_learned_from(tmp_path):
    for outcome in ('success', 'failure', 'discarded', 'unknown'):
        record_lockstep(tmp_path / outcome, 5, outcome)
    record_lockstep(tmp_path / 'cut', 5).rename(tmp_path / 'cut.recording')
    (tmp_path / 'notes').mkdir()
    training_set = TrainingSet.from_folder(tmp_path)
    assert [episode.outcome for episode in training_set] == ['success', 'unknown']
    assert training_set.skipped == {
        'a recording that is not finished': 1,
        'outcome discarded': 1,
        'outcome failure': 1,
    }
    assert len(TrainingSet.from_folder(tmp_path, outcomes=['failure'])) == 1
    with pytest.raises(EpisodeError, match="outcome 'bad'; valid: success"):
        TrainingSet.from_folder(tmp_path, outcomes=['bad'])


def test_an_episode_without_frames_is_skipped_with_its_reason(tmp_path):
    record_lockstep(tmp_path / 'a', 5)
    record_real_time(tmp_path / 'b', 5, teleop=False, mode='policy')
    training_set = TrainingSet.from_folder(tmp_path)
    assert len(training_set) == 1
    assert training_set.skipped == {
        'no frame (arm: the policy drove and no expert said what to do)': 1
    }


def test_one_episode_is_a_dataset_too(dataset):
    assert len(TrainingSet.from_folder(dataset / 'episode_3')) == 1
    assert not (dataset / 'episode_3/.training_cache').exists()


@pytest.mark.parametrize(
    ('folder', 'says'),
    [
        ('nowhere', 'nowhere: no such folder'),
        ('empty', r'empty: no episode to learn from \(none there\)'),
        ('failed', r'failed: no episode to learn from \(1 with outcome failure\)'),
    ],
)
def test_nothing_to_learn_from(tmp_path, folder, says):
    (tmp_path / 'empty').mkdir()
    record_lockstep(tmp_path / 'failed/e', 3, 'failure')
    with pytest.raises(EpisodeError, match=says):
        TrainingSet.from_folder(tmp_path / folder)


def test_a_damaged_episode_is_named(dataset):
    path = dataset / 'episode_3/episode_3_0.mcap'
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(EpisodeError, match=r'episode_3_0\.mcap: cut off'):
        TrainingSet.from_folder(dataset)


def test_another_contract_is_refused_with_the_difference(dataset):
    other = contract(replaced={'rate_hz: 20': 'rate_hz: 10', 'high: 3': 'high: 2'})
    with pytest.raises(EpisodeError, match=r'episode_0: recorded for another contract: rate_hz'):
        TrainingSet.from_folder(dataset, other)
    record_lockstep(dataset / 'episode_7', 5, contract=other)
    with pytest.raises(EpisodeError, match='episode_7: recorded for another contract'):
        TrainingSet.from_folder(dataset)


def test_what_has_been_aligned_is_not_aligned_again(dataset, monkeypatch):
    aligned = []

    def load(path, *rest):
        aligned.append(path.name)
        return load_episode(path, *rest)

    monkeypatch.setattr(training_set_module, 'load_episode', load)
    first = TrainingSet.from_folder(dataset)
    assert aligned == [f'episode_{index}' for index in range(6)]
    hashes = [first.hash, TrainingSet.from_folder(dataset).hash]
    assert hashes[0] == hashes[1]
    assert len(aligned) == 6
    TrainingSet.from_folder(dataset, label='executed')  # another label, other arrays
    stricter = contract(replaced={'[data], max_age_s: 0.1': '[data], max_age_s: 0.05'})
    TrainingSet.from_folder(dataset, stricter)  # the same fingerprint, other gaps
    assert len(aligned) == 18


def test_a_bag_that_was_changed_is_aligned_anew(tmp_path):
    record_lockstep(tmp_path / 'data/e', 5)
    before = TrainingSet.from_folder(tmp_path / 'data')
    hash_before = before.hash
    (tmp_path / 'data/e').rename(tmp_path / 'old')
    record_lockstep(tmp_path / 'data/e', 5, seed=1)
    assert TrainingSet.from_folder(tmp_path / 'data').hash != hash_before


def test_what_other_code_has_aligned_is_aligned_anew(dataset, monkeypatch):
    """A correction that was discarded stayed in the cache of the version before."""
    with monkeypatch.context() as before:
        before.setattr('imitation_ros.episodes.cache._code', lambda: 'of the version before')
        before.setattr(training_set_module, 'load_episode', only_one_frame)
        assert [len(episode) for episode in TrainingSet.from_folder(dataset)] == [1] * 6
    assert [len(each) for each in TrainingSet.from_folder(dataset)] == [10, 11, 12, 13, 14, 15]


def only_one_frame(path, *rest):
    episode = load_episode(path, *rest)
    first = slice(1)
    return replace(
        episode,
        tick_ns=episode.tick_ns[first],
        observations={name: array[first] for name, array in episode.observations.items()},
        actions={name: array[first] for name, array in episode.actions.items()},
        segment=episode.segment[first],
    )


def test_an_episode_that_was_moved_says_where_it_is(tmp_path):
    """Its path in the cache was that of the first time, where another lay meanwhile."""
    record_lockstep(tmp_path / 'before/e', 5)
    TrainingSet.from_folder(tmp_path / 'before')
    (tmp_path / 'before').rename(tmp_path / 'now')
    (episode,) = TrainingSet.from_folder(tmp_path / 'now')
    assert episode.metadata['path'] == str(tmp_path / 'now/e')


def test_a_discarded_episode_does_not_say_which_contract(tmp_path):
    other = contract(replaced={'max_velocity: 2': 'max_velocity: 3'})
    record_lockstep(tmp_path / 'episode_0', 5, 'discarded', contract=other)
    record_lockstep(tmp_path / 'episode_1', 5)
    assert TrainingSet.from_folder(tmp_path).contract == contract()


@pytest.mark.parametrize('damage', ['cut', 'empty', 'header', 'garbage', 'text', 'deep'])
def test_a_damaged_cache_is_made_anew(dataset, damage):
    expected = TrainingSet.from_folder(dataset).hash
    for path in (dataset / '.training_cache').iterdir():
        data = path.read_bytes()
        changed = {
            'cut': data[: len(data) // 2],
            'empty': b'',
            'header': b'\xff' * 8 + data[8:],
            'garbage': data[:8] + b'x' * (len(data) - 8),
            'text': (3).to_bytes(8, 'little') + b'"a"',
            'deep': (100_000).to_bytes(8, 'little') + b'[' * 100_000,
        }[damage]
        path.write_bytes(changed)
    assert TrainingSet.from_folder(dataset).hash == expected


def test_the_cache_may_lie_elsewhere(dataset, tmp_path_factory):
    cache = tmp_path_factory.mktemp('cache')
    TrainingSet.from_folder(dataset, cache=cache / 'deep')
    assert not (dataset / '.training_cache').exists()
    assert len(list((cache / 'deep').glob('*.safetensors'))) == 6
    (cache / 'file').write_text('')
    with pytest.raises(EpisodeError, match=r'cache .*file: '):
        TrainingSet.from_folder(dataset, cache=cache / 'file')


def test_the_cache_is_in_the_safetensors_format(dataset):
    load_file = pytest.importorskip('safetensors.numpy').load_file
    episode = TrainingSet.from_folder(dataset)[0]
    path = next((dataset / '.training_cache').glob('episode_0.*.safetensors'))
    arrays = load_file(path)
    np.testing.assert_array_equal(arrays['observations/state'], episode.observations['state'])
    np.testing.assert_array_equal(arrays['actions/gripper'], episode.actions['gripper'])


def test_the_hash_is_that_of_the_content(dataset, tmp_path_factory):
    from_folder = TrainingSet.from_folder(dataset)
    in_memory = TrainingSet.from_episodes(list(from_folder), contract())
    assert in_memory.hash == from_folder.hash
    fewer = TrainingSet.from_folder(dataset, limit=5)
    assert len(fewer) == 5
    assert fewer.hash != from_folder.hash
    changed = list(from_folder)
    arm = changed[2].actions['arm'].copy()
    arm[4, 1] = np.nextafter(arm[4, 1], 1)
    changed[2] = Episode(
        changed[2].tick_ns, changed[2].observations, {**changed[2].actions, 'arm': arm},
        changed[2].segment,
    )  # fmt: skip
    assert TrainingSet.from_episodes(changed, contract()).hash != from_folder.hash


def test_empty_episodes_in_memory_are_skipped(dataset):
    whole = load_episode(dataset / 'episode_0')
    none = {'state': whole.observations['state'][:0]}
    nothing = {part: array[:0] for part, array in whole.actions.items()}
    empty = Episode(whole.tick_ns[:0], none, nothing, whole.segment[:0])
    training_set = TrainingSet.from_episodes([empty, whole], contract())
    assert (len(training_set), training_set.skipped) == (1, {'no frame': 1})
    assert training_set.statistics.observations['state'].count == 10


def test_statistics_are_those_of_all_frames(dataset):
    training_set = TrainingSet.from_folder(dataset)
    states = np.concatenate([episode.observations['state'] for episode in training_set])
    arms = np.concatenate([episode.actions['arm'] for episode in training_set])
    found = training_set.statistics
    for moments, array in ((found.observations['state'], states), (found.actions['arm'], arms)):
        assert moments.count == len(array)
        np.testing.assert_allclose(moments.mean, array.mean(0), rtol=1e-12)
        np.testing.assert_allclose(moments.std, array.std(0), rtol=1e-9, atol=1e-12)
        np.testing.assert_array_equal(moments.low, array.min(0))
        np.testing.assert_array_equal(moments.high, array.max(0))
    assert set(found.actions) == {'arm'}  # the gripper has classes, not numbers


def test_statistics_keep_their_precision_far_from_zero():
    rng = np.random.default_rng(0)
    vectors = 1e9 + rng.normal(size=(1000, 2))
    moments = Moments.of(vectors[:1])
    for start in range(1, 1000, 37):
        moments = moments.merged(Moments.of(vectors[start : start + 37]))
    np.testing.assert_allclose(moments.std, vectors.std(0), rtol=1e-6)


def test_a_split_is_by_episode_and_repeatable(dataset):
    training_set = TrainingSet.from_folder(dataset)
    train, held_out = training_set.split(0.3, np.random.default_rng(0))
    lengths = [len(episode) for part in (train, held_out) for episode in part]
    assert (len(train), len(held_out)) == (4, 2)
    assert sorted(lengths) == [10, 11, 12, 13, 14, 15]
    again, _ = training_set.split(0.3, np.random.default_rng(0))
    assert again.hash == train.hash
    assert [len(part) for part in training_set.split(0.01, np.random.default_rng(0))] == [5, 1]
    assert [len(part) for part in training_set.split(1.0, np.random.default_rng(0))] == [1, 5]
    assert [len(part) for part in training_set.split(0.0, np.random.default_rng(0))] == [6, 0]


def test_left_out_ticks_are_summed_up(tmp_path):
    for name in ('a', 'b'):
        record_real_time(tmp_path / name, 20, lose=(7, 8, 9, 10))
    assert TrainingSet.from_folder(tmp_path).left_out == {'joint_states: stale (at most 0.1 s)': 4}


def test_progress_is_told(dataset):
    told = []
    TrainingSet.from_folder(dataset, limit=3, progress=lambda *done: told.append(done))
    assert told == [(1, 6), (2, 6), (3, 6)]


CAMERA = """
name: seeing
rate_hz: 20
command_hz: 20
observations:
  wrist: {topic: image, type: sensor_msgs/msg/Image, resize: [64, 64], max_age_s: 0.1}
actions:
  gripper: {topic: gripper, type: std_msgs/msg/Bool, kind: discrete, classes: [open, close]}
"""


def record_camera(folder, seed, ticks=100):
    bag = Bag(folder, parse_contract(CAMERA))
    image = new('sensor_msgs/msg/Image')
    image.height = image.width = 64
    image.encoding, image.step = 'rgb8', 192
    rng = np.random.default_rng(seed)
    for tick in range(ticks):
        now_ns = WALL_NS + tick * PERIOD_NS
        image.data = np.repeat(rng.integers(0, 256, 192, dtype=np.uint8), 64)
        bag.send('image', 'sensor_msgs/msg/Image', image, now_ns, now_ns)
        bag.act('executed', {'gripper': [tick % 2]}, now_ns + 1000, now_ns + 2000, mode='expert')
    return bag.writer.stop('success')


def test_images_stay_on_the_disk(tmp_path):
    """Eight episodes hold 10 MB of pixels; going over all of them takes a fraction of that."""
    for seed in range(8):
        record_camera(tmp_path / f'e{seed:02}', seed)
    TrainingSet.from_folder(tmp_path)
    tracemalloc.start()
    training_set = TrainingSet.from_folder(tmp_path)
    kept = list(training_set)
    bright = [int(episode.observations['wrist'][::20].max()) for episode in kept]
    assert training_set.hash
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert sum(episode.observations['wrist'].nbytes for episode in kept) == 8 * 100 * 64 * 64 * 3
    assert bright == [255] * 8
    assert peak < 1 << 20
    assert not kept[0].observations['wrist'].flags.writeable
    assert len(os.listdir('/proc/self/fd')) < 200
