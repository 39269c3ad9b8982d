"""Which message belongs to which frame, whatever comes late, twice, in disorder or not at all."""

from __future__ import annotations

from types import SimpleNamespace as Message

from hypothesis import given, settings
from hypothesis import strategies as st
from imitation_ros.frames.alignment import Aligner, ClockMap, feedback_decoders, KEPT
from imitation_ros.frames.contract import load_contract, parse_contract
from imitation_ros.types import Frame, Gap
import numpy as np
import pytest

MAX_AGE = {'pose': 20, 'level': 10, 'goal': 1000}  # ns
TYPES = {
    'pose': ('geometry_msgs/msg/PoseStamped', 'pose.position.x'),
    'level': ('std_msgs/msg/Float64', 'data'),
    'goal': ('geometry_msgs/msg/PoseStamped', 'pose.position.x'),
}
CONTRACT = parse_contract(
    {
        'name': 'two_names_three_topics',
        'rate_hz': 20,
        'command_hz': 20,
        'observations': {
            name: [
                {
                    'topic': topic,
                    'type': TYPES[topic][0],
                    'select': [TYPES[topic][1]],
                    'max_age_s': MAX_AGE[topic] / 1e9,
                }
                for topic in topics
            ]
            for name, topics in {'state': ('pose', 'level'), 'goal': ('goal',)}.items()
        },
        'actions': {
            'go': {'topic': 'go', 'type': 'std_msgs/msg/Bool', 'kind': 'discrete',
                   'classes': ['no', 'yes']},
        },
    }
)  # fmt: skip


def stamped(value, stamp_ns):
    sec, nanosec = divmod(stamp_ns, 1_000_000_000)
    header = Message(stamp=Message(sec=sec, nanosec=nanosec))
    return Message(header=header, pose=Message(position=Message(x=value)))


def add(aligner, topic, value, stamp_ns, received_ns=None):
    """Gives it a message; that of `level` has no header, so its stamp is when it was published."""
    message = Message(data=value) if topic == 'level' else stamped(value, stamp_ns)
    aligner.add(topic, message, received_ns or stamp_ns, stamp_ns)


def filled(lockstep=False, stamp_ns=100, **values):
    aligner = Aligner(CONTRACT, lockstep)
    for topic in TYPES:
        add(aligner, topic, values.get(topic, 1.0), stamp_ns)
    return aligner


MESSAGES = st.lists(
    st.tuples(
        st.sampled_from(list(TYPES)),
        st.integers(1, 120),  # stamp
        st.integers(0, 40),  # how much later it is received
    ),
    max_size=40,
)


def right_answer(messages, topic, tick_ns, lockstep):
    """The rule of the design, read out naively: the stamp of the message to use, or None."""
    stamps = [
        stamp_ns
        for name, stamp_ns, delay_ns in messages
        if name == topic and stamp_ns <= tick_ns and (lockstep or stamp_ns + delay_ns <= tick_ns)
    ]
    newest = max(stamps, default=None)
    limit = 0 if lockstep else MAX_AGE[topic]
    return None if newest is None or tick_ns - newest > limit else newest


@settings(deadline=None)
@given(MESSAGES, st.integers(1, 160), st.booleans(), st.booleans())
def test_a_frame_holds_the_newest_message_stamped_and_received_by_the_tick(
    messages, tick_ns, lockstep, sorted_by_receipt
):
    """For any disorder, delay and gap; the value of a message is its stamp."""
    if sorted_by_receipt:
        messages = sorted(messages, key=lambda each: each[1] + each[2])
    aligner = Aligner(CONTRACT, lockstep)
    for topic, stamp_ns, delay_ns in messages:
        add(aligner, topic, float(stamp_ns), stamp_ns, stamp_ns + delay_ns)
    right = [right_answer(messages, topic, tick_ns, lockstep) for topic in TYPES]
    frame = aligner.frame(tick_ns)
    if None in right:
        assert isinstance(frame, Gap)
        assert frame.reason.startswith(f'{list(TYPES)[right.index(None)]}: ')
    else:
        assert isinstance(frame, Frame)
        np.testing.assert_array_equal(frame.observation['state'], right[:2])
        np.testing.assert_array_equal(frame.observation['goal'], right[2:])
    assert frame.tick_ns == tick_ns


@settings(deadline=None)
@given(st.permutations([(topic, stamp_ns) for topic in TYPES for stamp_ns in (50, 100, 100)]))
def test_in_lockstep_the_order_of_arrival_does_not_matter(messages):
    aligner = Aligner(CONTRACT, lockstep=True)
    for received_ns, (topic, stamp_ns) in enumerate(messages, 1000):
        add(aligner, topic, float(stamp_ns), stamp_ns, received_ns)
    for tick_ns in (50, 100):
        frame = aligner.frame(tick_ns)
        assert isinstance(frame, Frame), frame.reason
        assert frame.observation['state'].tolist() == [tick_ns, tick_ns]
    assert isinstance(aligner.frame(75), Gap)


@settings(deadline=None)
@given(st.lists(st.integers(1, 40), min_size=1, max_size=15), st.integers(1, 60))
def test_what_comes_later_does_not_change_an_earlier_frame(delays, tick_ns):
    """Live, the frame is made at the tick; from a bag, perhaps after much that came later."""
    messages = [(stamp_ns, stamp_ns + delay) for stamp_ns, delay in enumerate(delays, 1)]
    live, bag = Aligner(CONTRACT), Aligner(CONTRACT)
    for stamp_ns, received_ns in sorted(messages, key=lambda each: each[1]):
        for topic in TYPES:
            add(bag, topic, float(stamp_ns), stamp_ns, received_ns)
            if received_ns <= tick_ns:
                add(live, topic, float(stamp_ns), stamp_ns, received_ns)
    one, other = live.frame(tick_ns), bag.frame(tick_ns)
    assert type(one) is type(other)
    if isinstance(one, Frame):
        assert one.observation['state'].tolist() == other.observation['state'].tolist()


def test_a_gap_says_which_topic_is_missing_or_stale():
    aligner = Aligner(CONTRACT)
    assert aligner.frame(100) == Gap(100, 'pose: no message yet')
    aligner = filled(stamp_ns=1_000_000_000)
    assert isinstance(aligner.frame(1_000_000_010), Frame)
    late = aligner.frame(1_100_000_000)
    assert late == Gap(1_100_000_000, 'pose: the newest is 0.100 s old (at most 2e-08 s)')
    lockstep = filled(lockstep=True, stamp_ns=1_000_000_000).frame(1_000_000_001)
    assert lockstep.reason == 'pose: the newest is 0.000 s old (lockstep)'


def test_an_age_of_exactly_the_limit_is_fresh():
    aligner = filled()
    assert isinstance(aligner.frame(110), Frame)
    assert aligner.frame(111).reason.startswith('level: the newest is')


def test_a_message_from_the_future_is_not_used_before_its_time():
    aligner = filled()
    add(aligner, 'pose', 2.0, stamp_ns=105, received_ns=101)
    assert aligner.frame(104).observation['state'][0] == 1.0
    assert aligner.frame(105).observation['state'][0] == 2.0


def test_a_message_ages_from_its_receipt_where_its_stamp_is_ahead():
    """A sensor whose clock is ahead: its old messages passed for new ones when their time came."""
    aligner = filled(pose=1.0)
    add(aligner, 'pose', 2.0, stamp_ns=118, received_ns=101)
    for topic in ('level', 'goal'):
        add(aligner, topic, 1.0, stamp_ns=120)
    assert aligner.frame(121).observation['state'][0] == 2.0
    add(aligner, 'level', 1.0, stamp_ns=122)
    assert aligner.frame(122).reason.startswith('pose: the newest is 0.000 s old')


def test_a_stamp_further_ahead_than_the_age_limit_is_a_gap_as_soon_as_it_comes():
    """A clock half a second ahead: frames were made of what had been received that long ago."""
    aligner = Aligner(CONTRACT)
    for stamp_ns in range(100, 200, 5):
        add(aligner, 'pose', float(stamp_ns), stamp_ns + 50, received_ns=stamp_ns)
        for topic in ('level', 'goal'):
            add(aligner, topic, 1.0, stamp_ns)
        assert aligner.frame(stamp_ns) == Gap(
            stamp_ns, 'pose: the newest is stamped 0.000 s ahead (at most 2e-08 s)'
        )
    assert isinstance(aligner.frame(202), Gap), 'dead for 7 ns'
    for topic in TYPES:
        add(aligner, topic, 1.0, stamp_ns=206)
    assert isinstance(aligner.frame(206), Frame), 'the clock was set right'


AHEAD = st.lists(st.tuples(st.integers(1, 40), st.integers(-30, 60)), min_size=1, max_size=15)


@settings(deadline=None)
@given(AHEAD, st.integers(1, 60))
def test_what_comes_later_changes_no_frame_where_stamps_are_ahead_either(messages, tick_ns):
    live, bag = Aligner(CONTRACT), Aligner(CONTRACT)
    for received_ns, ahead_ns in sorted(messages):
        stamp_ns = max(1, received_ns + ahead_ns)
        for topic in TYPES:
            add(bag, topic, float(stamp_ns), stamp_ns, received_ns)
            if received_ns <= tick_ns:
                add(live, topic, float(stamp_ns), stamp_ns, received_ns)
    one, other = live.frame(tick_ns), bag.frame(tick_ns)
    assert type(one) is type(other)
    if isinstance(one, Gap):
        assert one == other
    else:
        assert one.observation['state'].tolist() == other.observation['state'].tolist()


@pytest.mark.parametrize('value', [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_a_gap_that_names_the_field(value):
    assert filled(level=value).frame(100).reason == f'level: data is {value}'
    assert filled(goal=value).frame(100).reason == f'goal: pose.position.x is {value}'


def test_a_message_that_lacks_what_is_selected_is_a_gap():
    contract = load_contract('panda_twist')
    aligner = Aligner(contract)
    for topic in ('tool/pose', 'object/pose', 'goal/pose'):
        message = stamped(0.0, 100)
        message.pose.position.y = message.pose.position.z = 0.0
        aligner.add(topic, message, 100)
    joints = Message(name=['panda_joint1'], position=[0.0], velocity=[], effort=[])
    aligner.add('joint_states', joints, 100, 100)
    reason = aligner.frame(100).reason
    assert reason.startswith("joint_states: no joint 'panda_joint2' in the message; ")


def test_a_stamp_of_zero_counts_as_no_stamp():
    """ROS: it was never set. The time of publication is the next best."""
    aligner = filled()
    aligner.add('pose', stamped(5.0, 0), received_ns=109, source_ns=108)
    assert aligner.frame(110).observation['state'][0] == 5.0
    assert aligner.frame(108).observation['state'][0] == 1.0


def test_without_header_and_source_timestamp_the_receipt_counts():
    aligner = filled()
    aligner.add('level', Message(data=5.0), received_ns=105)
    assert aligner.frame(104).observation['state'][1] == 1.0
    assert aligner.frame(105).observation['state'][1] == 5.0


def test_only_the_newest_messages_are_kept():
    aligner = filled()
    for stamp_ns in range(101, 101 + KEPT):
        add(aligner, 'pose', float(stamp_ns), stamp_ns)
    assert aligner.frame(100).reason == 'pose: no message yet'
    assert aligner.frame(101).observation['state'][0] == 101.0


def test_a_restarted_simulator_is_followed():
    aligner = filled(lockstep=True, stamp_ns=10_000)
    assert aligner.newest_whole_tick() == 10_000
    for topic in TYPES:
        add(aligner, topic, 2.0, 100)
    assert aligner.newest_whole_tick() == 100
    assert aligner.frame(100).observation['goal'][0] == 2.0


def test_a_tick_is_whole_when_all_observations_have_its_stamp():
    aligner = Aligner(CONTRACT, lockstep=True)
    assert aligner.topics == ('pose', 'level', 'goal')
    assert aligner.newest_whole_tick() is None
    for topic, whole in (('pose', None), ('goal', None), ('level', 50)):
        add(aligner, topic, 1.0, 50)
        assert aligner.newest_whole_tick() == whole
    for topic, whole in (('level', None), ('goal', None), ('pose', 100), ('pose', 100)):
        add(aligner, topic, 1.0, 100)
        assert aligner.newest_whole_tick() == whole


def test_a_message_without_header_has_the_simulated_time_of_its_publication():
    """The simulator runs at its own pace: wall time means nothing to a tick."""
    aligner = filled(stamp_ns=5_000)
    for wall_ns, ros_ns in ((1_000_000, 5_000), (2_000_000, 5_050), (3_000_000, 5_100)):
        aligner.clock.add(wall_ns, ros_ns)
    aligner.add('level', Message(data=7.0), received_ns=5_050, source_ns=2_500_000)
    add(aligner, 'pose', 7.0, 5_050)
    assert aligner.frame(5_055).observation['state'].tolist() == [7.0, 7.0]


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 50), st.integers(0, 50)), max_size=20),
    st.integers(0, 1000),
)
def test_the_clock_map_gives_what_the_clock_said_last(steps, wall_ns):
    clock, said = ClockMap(), []
    wall = ros = 0
    for wall_step, ros_step in steps:
        wall, ros = wall + wall_step, ros + ros_step
        clock.add(wall, ros)
        said.append((wall, ros))
    before = [ros_ns for at, ros_ns in said if at <= wall_ns]
    first = said[0][1] if said else wall_ns
    assert clock.ros_ns(wall_ns) == (before[-1] if before else first)


def test_a_clock_message_that_was_overtaken_is_left_out():
    clock = ClockMap()
    for wall_ns, ros_ns in ((10, 1), (30, 3), (20, 2)):
        clock.add(wall_ns, ros_ns)
    assert [clock.ros_ns(wall_ns) for wall_ns in (10, 25, 30)] == [1, 1, 3]


def test_the_clock_map_forgets_what_is_old():
    clock = ClockMap()
    for index in range(1000):
        clock.add(index, 10 * index)
        clock.forget(keep=100)
    assert clock.ros_ns(950) == 9500
    assert clock.ros_ns(0) == 9000, 'the oldest that is left'


def test_feedback_comes_from_the_messages_of_its_source():
    contract = load_contract('panda_position')
    decoders = feedback_decoders(contract)
    assert list(decoders) == ['arm']
    topic, decode = decoders['arm']
    assert topic == 'joint_states'
    names = [f'panda_joint{index}' for index in range(7, 0, -1)]
    message = Message(name=names, position=list(range(7, 0, -1)), velocity=[], effort=[])
    assert decode(message).tolist() == [1, 2, 3, 4, 5, 6, 7]
