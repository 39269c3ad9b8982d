"""The report tells what an episode holds, what is wrong with it, and whether to learn from it."""

from __future__ import annotations

from dataclasses import asdict
import json

from imitation_ros.episodes.inspect import inspect_episode
from imitation_ros.episodes.repair import repair
from imitation_ros.errors import EpisodeError
import pytest
from recorded_episodes import (
    action,
    Bag,
    contract,
    PERIOD_NS,
    record_lockstep,
    record_real_time,
    state,
    WALL_NS,
)


def topic_of(report, name):
    return next(topic for topic in report.topics if topic.name == name)


def test_a_whole_episode_is_good(tmp_path):
    report = inspect_episode(record_real_time(tmp_path / 'e', 40))
    assert (report.verdict, report.reasons) == ('good', ())
    assert report.frames == 40
    assert report.info.outcome == 'success'
    assert report.duration_s == pytest.approx(2.0, abs=0.05)
    joints = topic_of(report, '/joint_states')
    assert joints.messages == 205
    assert joints.rate_hz == pytest.approx(100.0)
    assert joints.largest_gap_s == pytest.approx(0.01)
    assert joints.lost == 0


def test_a_lockstep_episode_is_measured_in_simulated_time(tmp_path):
    report = inspect_episode(record_lockstep(tmp_path / 'e', 40))
    assert report.verdict == 'good'
    assert topic_of(report, '/joint_states').rate_hz == pytest.approx(20.0)
    assert report.duration_s == pytest.approx(39 * 0.05)


def test_a_gap_makes_it_poor_and_says_where(tmp_path):
    report = inspect_episode(record_real_time(tmp_path / 'e', 40, lose=range(10, 20)))
    assert report.verdict == 'poor'
    assert report.reasons[0] == 'joint_states: a gap of 0.51 s (max_age_s is 0.1)'
    assert '8 of 40 ticks give no frame' in report.reasons
    assert report.left_out == {'joint_states: stale (at most 0.1 s)': 8}


@pytest.mark.parametrize(
    ('numbers', 'lost'),
    [
        ([1, 2, 3, 4], 0),
        ([7, 8, 11, 12], 2),
        ([1, 2, 1, 2], None),  # two publishers, or one that was restarted
        ([0, 0, 0, 0], None),  # no numbers at all
        ([], None),
    ],
)
def test_loss_is_counted_where_it_can_be_known(tmp_path, numbers, lost):
    bag = Bag(tmp_path / 'e', contract())
    number = bag.writer.add_topic('/x', 'std_msgs/msg/Bool')
    for step, sequence in enumerate(numbers):
        bag.writer.write(number, b'\0\1\0\0\1', WALL_NS + step, WALL_NS + step, sequence)
    report = inspect_episode(bag.writer.stop())
    assert topic_of(report, '/x').lost == lost
    assert ('/x: 2 messages lost' in report.reasons) == (lost == 2)


def test_a_rollout_of_a_policy_without_an_expert_is_not_bad(tmp_path):
    """It was called bad: 'no frame can be made', since nobody had labelled it."""
    bag = Bag(tmp_path / 'e', contract())
    for step in range(10):
        now_ns = WALL_NS + step * PERIOD_NS
        bag.observe(*state(step), now_ns, now_ns, now_ns)
        bag.act('policy', action(step), now_ns + 1000, now_ns + 2000)
        bag.act('executed', action(step), now_ns + 1000, now_ns + 4000, mode='policy')
    report = inspect_episode(bag.writer.stop())
    assert (report.verdict, report.frames) == ('good', 10)


def test_an_episode_without_frames_is_bad(tmp_path):
    report = inspect_episode(record_real_time(tmp_path / 'e', 10, lose=range(-1, 10)))
    assert report.verdict == 'bad'
    assert report.frames in (None, 0)


def test_a_bag_that_does_not_fit_the_contract_is_bad_but_reported(tmp_path):
    folder = record_lockstep(tmp_path / 'e', 3)
    report = inspect_episode(folder, contract(replaced={'topic: width': 'topic: opening'}))
    assert report.verdict == 'bad'
    assert "no topic 'opening'" in report.reasons[0]
    assert topic_of(report, '/width').messages == 3


def test_a_repaired_episode_is_poor(tmp_path):
    recording = record_lockstep(tmp_path / 'e', 400).rename(tmp_path / 'e.recording')
    path = recording / 'e_0.mcap'
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    report = inspect_episode(repair(recording).episode)
    assert report.verdict == 'poor'
    assert report.reasons == ('the end is missing: the recording was cut off',)


def test_a_report_is_plain_data(tmp_path):
    report = inspect_episode(record_lockstep(tmp_path / 'e', 5))
    assert json.loads(json.dumps(asdict(report)))['info']['outcome'] == 'success'


def test_what_cannot_be_read_is_an_error(tmp_path):
    with pytest.raises(EpisodeError, match='no rosbag2 folder'):
        inspect_episode(tmp_path)
