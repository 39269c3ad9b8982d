"""Messages become frames by the design's rule; what cannot is left out and counted."""

from __future__ import annotations

from imitation_ros.episodes.align import frame_differences, load_episode
from imitation_ros.episodes.reader import EpisodeReader
from imitation_ros.episodes.training_set import TrainingSet
from imitation_ros.errors import EpisodeError
from imitation_ros.frames.alignment import Aligner
from imitation_ros.frames.status import Status, STATUS_TOPICS, STATUS_TYPE
from imitation_ros.types import Frame
import numpy as np
import pytest
from recorded_episodes import (
    action,
    Bag,
    cdr,
    contract,
    new,
    PERIOD_NS,
    record_lockstep,
    record_real_time,
    state,
    STORE,
    WALL_NS,
)
from rosbags.rosbag2 import StoragePlugin, Writer

TICK_NS = 1_000_000_000


def test_lockstep_frames_are_those_of_the_ticks(tmp_path):
    episode = load_episode(record_lockstep(tmp_path / 'e', 20, task='reach', seed=0))
    assert episode.tick_ns.tolist() == [TICK_NS + tick * PERIOD_NS for tick in range(20)]
    np.testing.assert_allclose(episode.observations['state'], [state(tick) for tick in range(20)])
    assert episode.segment.tolist() == [0] * 20
    assert episode.outcome == 'success'
    assert episode.left_out == {}
    assert episode.metadata['task'] == 'reach'
    assert episode.metadata['path'] == str(tmp_path / 'e')


def test_the_label_is_what_the_expert_said_not_what_was_executed(tmp_path):
    folder = record_lockstep(tmp_path / 'e', 20)
    expert, executed = load_episode(folder), load_episode(folder, label='executed')
    np.testing.assert_allclose(expert.actions['arm'], [action(tick)['arm'] for tick in range(20)])
    np.testing.assert_allclose(executed.actions['arm'], np.full((20, 2), 0.5))
    assert expert.actions['gripper'].ravel().tolist() == [0, 1] * 10
    assert expert.actions['gripper'].dtype == np.int64


def test_without_labels_an_episode_without_actions_is_frames_alone(tmp_path):
    """Each tick was left out, since it had 'no action for the tick'."""
    bag = Bag(tmp_path / 'e', contract())
    for step in range(100):
        now_ns = WALL_NS + step * 10_000_000
        bag.observe(*state(step / 5), now_ns - 500_000, now_ns - 400_000, now_ns)
    folder = bag.writer.stop('success')
    assert len(load_episode(folder)) == 0
    episode = load_episode(folder, label='none')
    assert len(episode) >= 18
    assert episode.actions == {}
    assert not episode.segment.any()
    (cached,) = TrainingSet.from_folder(folder, contract(), label='none', cache=tmp_path / 'c')
    assert cached.actions == {}
    np.testing.assert_array_equal(cached.observations['state'], episode.observations['state'])


def test_without_labels_frames_do_not_wait_for_any(tmp_path):
    folder = record_real_time(tmp_path / 'e', 20, mode='policy')
    seen = load_episode(folder, label='none')
    assert seen.actions == {}
    assert set(load_episode(folder).tick_ns) <= set(seen.tick_ns)


def test_lockstep_does_not_care_in_which_order_messages_were_received(tmp_path):
    bag = Bag(tmp_path / 'e', contract(), lockstep=True)
    for tick in range(20):
        ros_ns, wall_ns = TICK_NS + tick * PERIOD_NS, WALL_NS + tick * 5_000_000
        bag.clock(ros_ns, wall_ns)
        late = wall_ns + 9_000_000  # after the decision of the tick, and after the next tick's
        bag.observe(*state(tick), ros_ns, wall_ns + 100_000, late)
        bag.act('teleop', action(tick), ros_ns, wall_ns + 1_000_000, engaged='true')
        bag.act('executed', action(tick), ros_ns, wall_ns + 2_000_000, mode='expert')
    episode = load_episode(bag.writer.stop())
    np.testing.assert_allclose(episode.observations['state'], [state(tick) for tick in range(20)])


def test_live_and_recorded_frames_are_equal(tmp_path):
    """Parity: the same messages through the same code, live as they came, later from the bag."""
    folder = record_real_time(tmp_path / 'e', 20, lose=(7,))
    reader, live = EpisodeReader(folder), []
    aligner = Aligner(reader.contract)
    ticks = [WALL_NS + tick * PERIOD_NS + 2_000_000 for tick in range(20)]
    for message in reader.messages(['/joint_states', '/width']):
        while ticks and ticks[0] < message.log_time_ns:
            live.append(aligner.frame(ticks.pop(0)))
        decoded = STORE.deserialize_cdr(message.data, reader.topics[message.topic].type)
        topic = message.topic.lstrip('/')
        aligner.add(topic, decoded, message.log_time_ns, message.publish_time_ns)
    frames = [frame for frame in live if isinstance(frame, Frame)]
    episode = load_episode(folder)
    assert len(frames) == len(episode) == 20
    assert frame_differences(frames, episode) == []
    changed = Frame(frames[3].tick_ns, {'state': frames[3].observation['state'] + 0.5})
    assert frame_differences([changed], episode) == [
        f'tick {changed.tick_ns}: state differs by up to 0.5'
    ]


def test_a_gap_splits_the_segment_and_is_counted(tmp_path):
    episode = load_episode(record_real_time(tmp_path / 'e', 20, lose=(7, 8, 9, 10)))
    assert episode.segment.tolist() == [0] * 9 + [1] * 9  # what was seen last holds for 0.1 s
    assert episode.left_out == {'joint_states: stale (at most 0.1 s)': 2}


def test_ticks_in_which_nobody_drove_are_left_out(tmp_path):
    bag = Bag(tmp_path / 'e', contract())
    for step in range(20):
        now_ns = WALL_NS + step * PERIOD_NS
        mode = 'stopped' if step < 5 else 'hold' if step in (12, 13) else 'expert'
        bag.observe(*state(step), now_ns, now_ns, now_ns)
        bag.act('teleop', action(step), now_ns + 1000, now_ns + 2000, engaged='true')
        bag.act('executed', action(step), now_ns + 1000, now_ns + 4000, mode=mode)
    episode = load_episode(bag.writer.stop())
    assert episode.left_out == {
        'the supervisor was in mode stopped': 5,
        'the supervisor was in mode hold': 2,
    }
    assert episode.segment.tolist() == [0] * 7 + [1] * 6


def test_a_policy_is_not_cloned_from_itself(tmp_path):
    bag = Bag(tmp_path / 'e', contract())
    for step in range(10):
        now_ns = WALL_NS + step * PERIOD_NS
        bag.observe(*state(step), now_ns, now_ns, now_ns)
        bag.act('policy', action(step), now_ns + 1000, now_ns + 2000)
        if step >= 6:  # a person's device is a little late, and held only near the end
            engaged = 'true' if step >= 8 else 'false'
            said = {**action(step), 'arm': [1.0, 1.0]}
            bag.act('teleop', said, now_ns + 20_000_000, now_ns + 21_000_000, engaged=engaged)
        bag.act('executed', action(step), now_ns + 1000, now_ns + 4000, mode='policy')
    folder = bag.writer.stop()
    episode = load_episode(folder)
    assert episode.tick_ns.tolist() == [WALL_NS + tick * PERIOD_NS + 1000 for tick in (8, 9)]
    assert episode.actions['arm'].tolist() == [[1.0, 1.0]] * 2
    assert episode.left_out == {
        'arm: the policy drove and no expert said what to do': 6,
        'arm: nobody held the device': 2,
    }
    assert len(load_episode(folder, label='executed')) == 10


def test_without_teleoperation_the_executed_action_of_the_expert_is_the_label(tmp_path):
    episode = load_episode(record_real_time(tmp_path / 'e', 10, teleop=False))
    np.testing.assert_allclose(episode.actions['arm'], np.full((10, 2), 0.5))


def test_a_message_that_was_lost_does_not_lend_the_label_of_the_next_tick(tmp_path):
    bag = Bag(tmp_path / 'e', contract(), lockstep=True)
    for tick in range(20):
        ros_ns, wall_ns = TICK_NS + tick * PERIOD_NS, WALL_NS + tick * 5_000_000
        bag.clock(ros_ns, wall_ns)
        bag.observe(*state(tick), ros_ns, wall_ns + 100_000)
        if tick != 4:
            bag.act('executed', action(tick), ros_ns, wall_ns + 2_000_000, mode='expert')
    episode = load_episode(bag.writer.stop())
    assert len(episode) == 19
    assert episode.segment.tolist() == [0] * 4 + [1] * 15
    np.testing.assert_allclose(episode.actions['arm'][4], action(5)['arm'])


def test_next_observation_is_what_was_measured_one_tick_later(tmp_path):
    guided = contract(replaced={'low: -3': 'label: next_observation, low: -3'})
    folder = record_real_time(tmp_path / 'e', 20, lose=(7, 8, 9, 10), contract=guided)
    episode = load_episode(folder)
    frames = load_episode(folder, contract())
    following = np.flatnonzero(np.diff(frames.tick_ns) == PERIOD_NS)
    np.testing.assert_array_equal(
        episode.actions['arm'], frames.observations['state'][following + 1, :2]
    )
    assert episode.left_out['no next observation'] == 2
    assert episode.segment.tolist() == [0] * 8 + [1] * 8


def test_an_arm_guided_by_hand_is_learned_from_while_the_supervisor_is_stopped(tmp_path):
    """All its frames were left out: 'the supervisor was in mode stopped'."""
    guided = contract(replaced={'low: -3': 'label: next_observation, low: -3'})
    bag = Bag(tmp_path / 'e', guided, lockstep=True)
    for tick in range(10):
        ros_ns, wall_ns = TICK_NS + tick * PERIOD_NS, WALL_NS + tick * 5_000_000
        bag.clock(ros_ns, wall_ns)
        bag.observe(*state(tick), ros_ns, wall_ns + 100_000)
        bag.act('teleop', action(tick), ros_ns, wall_ns + 1_000_000, engaged='true')
        bag.act('executed', action(tick), ros_ns, wall_ns + 2_000_000, mode='stopped')
    episode = load_episode(bag.writer.stop())
    assert len(episode) == 9
    np.testing.assert_allclose(episode.actions['arm'][0], state(1)[:2])


def test_a_foreign_bag_is_put_on_a_regular_grid(tmp_path):
    """Nobody wrote statuses: labels are the first commands published in (tick, tick + period]."""
    with Writer(tmp_path / 'bag', version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        arm = contract().actions['arm']
        connections = {
            topic: writer.add_connection(f'/robot/{topic}', type, typestore=STORE)
            for topic, type in (
                ('joint_states', 'sensor_msgs/msg/JointState'),
                ('width', 'std_msgs/msg/Float64'),
                (arm.topic, arm.type),
                ('gripper/command', 'std_msgs/msg/Bool'),
            )
        }

        def put(topic, time_ns, message):
            type = connections[topic].msgtype
            writer.write(connections[topic], time_ns, cdr(message, type))

        for step in range(101):
            now_ns = WALL_NS + step * 10_000_000
            joints = new('sensor_msgs/msg/JointState')
            joints.header.stamp.sec, joints.header.stamp.nanosec = divmod(now_ns, 10**9)
            joints.name, joints.position = ['a', 'b'], [float(step), 0.0]
            put('joint_states', now_ns, joints)
            width = new('std_msgs/msg/Float64')
            put('width', now_ns, width)
            command = new(arm.type)
            command.data = [float(step), 1.0]
            put(arm.topic, now_ns, command)
            close = new('std_msgs/msg/Bool')
            close.data = step >= 50
            put('gripper/command', now_ns, close)
    with pytest.raises(EpisodeError, match='bag: no contract inside; give one'):
        load_episode(tmp_path / 'bag')
    episode = load_episode(tmp_path / 'bag', contract())
    assert len(episode) == 20
    assert episode.observations['state'][:, 0].tolist() == list(range(0, 100, 5))
    assert episode.actions['arm'][:, 0].tolist() == list(range(1, 101, 5))
    assert episode.actions['gripper'].ravel().tolist() == [0] * 10 + [1] * 10
    assert episode.outcome == 'unknown'


def test_one_message_from_another_age_is_refused(tmp_path):
    bag = Bag(tmp_path / 'e', contract())
    bag.observe(*state(0), 1, 1, 1)
    bag.observe(*state(0), WALL_NS, WALL_NS, WALL_NS)
    with pytest.raises(EpisodeError, match='e: the messages span 472222 hours'):
        load_episode(bag.writer.stop())


def test_nan_is_never_learned_from(tmp_path):
    bag = Bag(tmp_path / 'e', contract())
    for step in range(6):
        now_ns = WALL_NS + step * PERIOD_NS
        bag.observe(*state(step), now_ns, now_ns, now_ns)
        said = action(step) if step != 2 else {**action(step), 'arm': [np.nan, 0.0]}
        bag.act('teleop', said, now_ns + 1000, now_ns + 2000, engaged='true')
        if step == 4:
            bag.observe(np.nan, 0.0, 0.0, now_ns + 1, now_ns, now_ns)
    episode = load_episode(bag.writer.stop())
    assert episode.left_out == {
        'arm: the action is not finite': 1,
        'joint_states: position.a is nan': 1,
    }


def test_a_garbled_observation_is_as_if_it_had_not_come(tmp_path):
    bag = Bag(tmp_path / 'e', contract())
    for step in range(6):
        now_ns = WALL_NS + step * PERIOD_NS
        bag.observe(*state(step), now_ns, now_ns, now_ns)
        bag.act('executed', action(step), now_ns + 1000, now_ns + 4000, mode='expert')
        bag.writer.write(bag._topics['joint_states'], b'\1\2\3', now_ns + 1, now_ns, 0)
    assert len(load_episode(bag.writer.stop())) == 6


def test_a_message_that_nobody_can_read_is_as_if_it_had_not_come(tmp_path):
    """One stray status, or half an action, and no training took the episode."""
    bag = Bag(tmp_path / 'e', contract())
    for step in range(6):
        now_ns = WALL_NS + step * PERIOD_NS
        bag.observe(*state(step), now_ns, now_ns, now_ns)
        bag.act('teleop', action(step), now_ns + 1000, now_ns + 2000, engaged='true')
        bag.send(STATUS_TOPICS['teleop'], STATUS_TYPE, new(STATUS_TYPE), now_ns + 5000)
        bag.writer.write(bag._topics['teleop/arm/command'], b'\1\2\3', now_ns, now_ns + 6000, 0)
    assert len(load_episode(bag.writer.stop())) == 6


def test_decisions_that_lack_their_commands_tell_of_no_tick(tmp_path):
    """The ticks were then those of teleoperation: what it said on hold was learned."""
    bag = Bag(tmp_path / 'e', contract())
    for step in range(6):
        now_ns = WALL_NS + step * PERIOD_NS
        bag.observe(*state(step), now_ns, now_ns, now_ns)
        bag.act('teleop', action(step), now_ns + 1000, now_ns + 2000, engaged='true')
        decision = Status(now_ns + 1000, 'supervisor', 2, '', {'mode': 'hold'}).encode(new)
        bag.send(STATUS_TOPICS['executed'], STATUS_TYPE, decision, now_ns + 4000)
    assert len(load_episode(bag.writer.stop())) == 0


def test_what_was_lost_of_the_expert_is_not_lent_by_its_next_tick(tmp_path):
    """The next one came early, within the period of the tick whose message was lost."""
    bag = Bag(tmp_path / 'e', contract())
    for step in range(6):
        now_ns = WALL_NS + step * PERIOD_NS - (step == 4) * 100_000
        bag.observe(*state(step), now_ns, now_ns, now_ns)
        if step != 3:
            bag.act('teleop', action(step), now_ns + 1000, now_ns + 2000, engaged='true')
        bag.act('executed', action(step), now_ns + 1000, now_ns + 4000, mode='expert')
    labels = load_episode(bag.writer.stop()).actions['arm']
    np.testing.assert_allclose(labels, [action(step)['arm'] for step in range(6)])


@pytest.mark.parametrize(
    ('old', 'wanted', 'says'),
    [
        ('topic: joint_states', 'topic: joint_state', r"no topic 'joint_state'; did you mean"),
        (
            'std_msgs/msg/Float64,',
            'std_msgs/msg/Float32,',
            'width holds std_msgs/msg/Float64;',
        ),
        ('std_msgs/msg/Float64Mul', 'std_msgs/msg/Float32Mul', 'command holds std_msgs/msg/Float'),
    ],
)
def test_a_bag_that_lacks_what_the_contract_names(tmp_path, old, wanted, says):
    folder = record_lockstep(tmp_path / 'e', 3)
    with pytest.raises(EpisodeError, match=says):
        load_episode(folder, contract(replaced={old: wanted}))


def test_no_such_label(tmp_path):
    with pytest.raises(EpisodeError, match="label 'teacher'; valid: expert, executed"):
        load_episode(tmp_path, label='teacher')


def test_an_episode_without_ticks_is_empty(tmp_path):
    bag = Bag(tmp_path / 'e', contract())
    bag.observe(*state(0), WALL_NS, WALL_NS, WALL_NS)
    episode = load_episode(bag.writer.stop())
    assert len(episode) == 0
    assert episode.observations['state'].shape == (0, 3)
    assert episode.actions['gripper'].shape == (0, 1)
