"""What recorded steps are worth: by outcome, by a recorded topic, by a function, or a mix."""

from __future__ import annotations

from dataclasses import replace

from imitation_ros.episodes.align import load_episode
from imitation_ros.errors import EpisodeError, RewardError
from imitation_ros.learning.irl.transitions import transitions
from imitation_ros.learning.paid import by_outcome, by_steps, by_topic, mixed, paid_recorded
import numpy as np
import pytest
from recorded_episodes import action, Bag, contract, new, PERIOD_NS, record_real_time, WALL_NS
from recorded_episodes import state as state_at

ROBOT = contract()
FLOAT = 'std_msgs/msg/Float64'


def say(bag, value, published_ns, topic='task_reward', type=FLOAT):
    message = new(type)
    message.data = value
    bag.send(topic, type, message, published_ns)


def record(folder, rewards):
    """A lockstep episode: `rewards` holds what is said between each tick and the next."""
    bag = Bag(folder, ROBOT, lockstep=True)
    for tick, said in enumerate(rewards):
        ros_ns, wall_ns = 1_000_000_000 + tick * PERIOD_NS, WALL_NS + tick * 5_000_000
        bag.clock(ros_ns, wall_ns)
        bag.observe(*state_at(tick), ros_ns, wall_ns + 100_000)
        for index, value in enumerate(said):
            say(bag, value, wall_ns + 200_000 + 1000 * index)
        bag.act('teleop', action(tick), ros_ns, wall_ns + 1_000_000, engaged='true')
        bag.act('executed', action(tick), ros_ns, wall_ns + 2_000_000, mode='expert')
    bag.writer.stop('success')
    return load_episode(folder, label='executed')


def test_a_step_is_worth_what_the_topic_said_when_the_next_observation_came(tmp_path):
    episode = record(tmp_path / 'one', [[0.5], [1.0], [2.0], [-3.0]])
    paid = paid_recorded(ROBOT, [episode], by_topic('/task_reward'))
    assert paid.rewards.tolist() == [1.0, 2.0, -3.0]
    np.testing.assert_allclose(paid.steps.observation[:, :3], episode.observations['state'][:3])


def test_of_several_messages_the_newest_counts_and_without_one_nobody_knows(tmp_path):
    episode = record(tmp_path / 'one', [[], [1.0, 1.5], [], [float('nan')], [4.0]])
    paid = paid_recorded(ROBOT, [episode], by_topic('task_reward'))
    np.testing.assert_array_equal(paid.rewards, [1.5, np.nan, np.nan, 4.0])
    known = paid.known
    assert known.rewards.tolist() == [1.5, 4.0]
    np.testing.assert_array_equal(known.steps.observation, paid.steps.observation[[0, 3]])


def test_in_real_time_the_message_of_the_next_tick_counts(tmp_path):
    """Recorded beside ticks that are 2 ms after the observations, over 20 periods of 50 ms."""
    path = tmp_path / 'live'

    class Paying(Bag):
        def act(self, stream, action, tick_ns, published_ns, **values):
            if stream == 'executed':
                say(self, float(tick_ns - WALL_NS), published_ns - 10_000_000)
            super().act(stream, action, tick_ns, published_ns, **values)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr('recorded_episodes.Bag', Paying)
        record_real_time(path, lose=(7, 8, 9))
    episode = load_episode(path, ROBOT, label='executed')
    paid = paid_recorded(ROBOT, [episode], by_topic('task_reward'))
    follows = np.diff(episode.segment) == 0
    assert not follows.all()  # there is a gap
    np.testing.assert_array_equal(paid.rewards, episode.tick_ns[1:][follows] - WALL_NS)


def test_a_topic_that_is_missing_or_of_another_type_is_named(tmp_path):
    episode = record(tmp_path / 'one', [[1.0], [1.0]])
    with pytest.raises(
        EpisodeError, match="no topic '/task_rewards'; did you mean '/task_reward'"
    ):
        paid_recorded(ROBOT, [episode], by_topic('/task_rewards'))
    with pytest.raises(EpisodeError, match='joint_states holds sensor_msgs/msg/JointState'):
        paid_recorded(ROBOT, [episode], by_topic('joint_states'))


def test_an_outcome_pays_for_the_ticks_until_the_goal(tmp_path):
    success = record(tmp_path / 'one', [[]] * 5)
    episodes = [success, *(replace(success, outcome=each) for each in ('failure', 'unknown'))]
    paid = paid_recorded(ROBOT, episodes, by_outcome(ticks_at_goal=3))
    nobody = [np.nan] * 4
    np.testing.assert_array_equal(paid.rewards, [-1, -1, 0, 0, -1, -1, -1, -1, *nobody])
    assert paid.steps.episode.tolist() == [0] * 4 + [1] * 4 + [2] * 4


def test_the_end_of_a_recording_is_a_cut_whatever_its_metadata_say(tmp_path):
    """One that the task had ended got an absorbing step, for which there was no reward."""
    success = record(tmp_path / 'one', [[]] * 5)
    ended = replace(success, metadata={**success.metadata, 'terminated': True})
    found, expected = (
        paid_recorded(ROBOT, [each], by_outcome(ticks_at_goal=3)) for each in (ended, success)
    )
    np.testing.assert_array_equal(found.rewards, expected.rewards)
    np.testing.assert_array_equal(found.steps.observation, expected.steps.observation)


def test_steps_that_nobody_is_paid_for_are_refused(tmp_path):
    episode = replace(record(tmp_path / 'one', [[]] * 3), outcome='unknown')
    with pytest.raises(RewardError, match='no reward for any of 2 steps; valid: episodes whose'):
        _ = paid_recorded(ROBOT, [episode], by_outcome(1)).known
    with pytest.raises(RewardError, match='no reward for any of 0 steps'):
        _ = paid_recorded(ROBOT, [], by_outcome(1)).known


def test_a_function_of_the_steps_pays_and_a_mix_does(tmp_path):
    episode = record(tmp_path / 'one', [[]] * 4)
    steps = transitions([episode], ROBOT)
    learned = by_steps(lambda steps: steps.next_observation[:, 0])
    task = by_outcome(ticks_at_goal=2)
    np.testing.assert_array_equal(learned(episode, steps), steps.next_observation[:, 0])
    for share in (0.0, 0.25, 1.0):
        expected = share * np.array([-1, -1, 0]) + (1 - share) * steps.next_observation[:, 0]
        np.testing.assert_allclose(mixed(share, task, learned)(episode, steps), expected)
    unknown = replace(episode, outcome='unknown')
    assert np.isfinite(mixed(0.0, task, learned)(unknown, steps)).all()
