"""Which action messages belong to which status, whatever order they come in and what gets lost."""

from __future__ import annotations

from types import SimpleNamespace as Message

from hypothesis import given, settings
from hypothesis import strategies as st
from imitation_ros.errors import MessageError
from imitation_ros.frames.status import action_topic, Pairing, Status, STATUS_TOPICS
import pytest

PARTS = ('arm', 'gripper', 'base')
TICK_NS, SENDING_NS = 1000, 10


def new(type):
    """Messages without ROS, of the types that a status is made of."""
    return {
        'diagnostic_msgs/msg/DiagnosticArray': lambda: Message(
            header=Message(stamp=Message(sec=0, nanosec=0), frame_id=''), status=[]
        ),
        'diagnostic_msgs/msg/DiagnosticStatus': lambda: Message(
            level=b'\x00', name='', message='', hardware_id='', values=[]
        ),
        'diagnostic_msgs/msg/KeyValue': lambda: Message(key='', value=''),
    }[type]()


def sent_ticks(counts):
    """What a source publishes that sends the first `count` parts in each tick, topic by topic.

    Returns:
        topic → what it carries in order: (part, source_ns, payload) or ('', source_ns, status).
    """
    topics = {part: [] for part in (*PARTS, '')}
    for tick, count in enumerate(counts, 1):
        for index, part in enumerate(PARTS[:count]):
            at = tick * TICK_NS + index * SENDING_NS
            topics[part].append((part, at, f'{part} of {tick}'))
        status = Status(tick, 'policy', count)
        topics[''].append(('', tick * TICK_NS + 5 * SENDING_NS, status))
    return topics


def interleaved(draw, topics):
    """Any order that keeps the order within each topic, as the middleware does."""
    queues = {name: list(events) for name, events in topics.items() if events}
    events = []
    while queues:
        name = draw(st.sampled_from(sorted(queues)))
        events.append(queues[name].pop(0))
        if not queues[name]:
            del queues[name]
    return events


def paired(events):
    pairing, ticks = Pairing(), []
    for part, source_ns, content in events:
        if part:
            ticks += pairing.add_message(part, source_ns, content)
        else:
            ticks += pairing.add_status(source_ns, content)
    return ticks


def whole(counts):
    """What must come out: each tick once, in order, with its own messages."""
    return [
        (tick, {part: f'{part} of {tick}' for part in PARTS[:count]})
        for tick, count in enumerate(counts, 1)
    ]


def plain(ticks):
    return [(tick.status.tick_ns, dict(tick.messages)) for tick in ticks]


@st.composite
def runs(draw):
    """A source that sends all of its parts in a tick, or nothing, and how that arrives."""
    parts = draw(st.integers(1, 3))
    counts = draw(st.lists(st.sampled_from([0, parts, parts]), max_size=8))
    return counts, interleaved(draw, sent_ticks(counts))


@settings(deadline=None)
@given(runs())
def test_any_interleaving_gives_the_same_ticks(run):
    counts, events = run
    assert plain(paired(events)) == whole(counts)


@settings(deadline=None)
@given(st.integers(1, 3), st.integers(2, 7), st.data())
def test_a_lost_message_costs_its_tick_alone(parts, ticks, data):
    topics = sent_ticks([parts] * ticks)
    tick, part = data.draw(st.integers(1, ticks - 1)), data.draw(st.sampled_from(PARTS[:parts]))
    del topics[part][tick - 1]
    events = interleaved(data.draw, topics)
    assert plain(paired(events)) == [each for each in whole([parts] * ticks) if each[0] != tick]


@settings(deadline=None)
@given(st.integers(1, 3), st.integers(1, 7), st.data())
def test_what_is_lost_at_the_end_is_never_made_up(parts, ticks, data):
    topics = sent_ticks([parts] * ticks)
    del topics[data.draw(st.sampled_from(PARTS[:parts]))][-1]
    events = interleaved(data.draw, topics)
    assert plain(paired(events)) == whole([parts] * ticks)[:-1]


@settings(deadline=None)
@given(st.integers(2, 7), st.data())
def test_messages_of_a_lost_status_do_not_enter_a_later_tick(ticks, data):
    """Once the later tick is there; before that, nobody can tell them apart."""
    topics = sent_ticks([2] * ticks)
    lost = data.draw(st.integers(1, ticks))
    del topics[''][lost - 1]
    events = sorted((e for events in topics.values() for e in events), key=lambda e: e[1])
    assert plain(paired(events)) == [each for each in whole([2] * ticks) if each[0] != lost]


@settings(deadline=None)
@given(st.data())
def test_a_tick_that_is_sent_again_is_whole_again(data):
    """In lockstep the source repeats its answer; whoever listens drops the second."""
    first, again = sent_ticks([3]), sent_ticks([3])
    topics = {
        name: [*first[name], *((part, at + 500, content) for part, at, content in again[name])]
        for name in first
    }
    del topics[data.draw(st.sampled_from(PARTS))][0]
    assert plain(paired(interleaved(data.draw, topics))) == whole([3])
    complete = {name: events for name, events in topics.items() if len(events) == 2}
    complete |= {name: first[name] + topics[name] for name in topics if name not in complete}
    assert plain(paired(interleaved(data.draw, complete))) == whole([3]) * 2


def test_the_last_message_of_a_part_counts():
    pairing = Pairing()
    for at, content in ((1, 'old'), (3, 'new'), (2, 'between')):
        assert pairing.add_message('arm', at, content) == []
    (tick,) = pairing.add_status(4, Status(0, 'teleop', 3))
    assert tick.messages == {'arm': 'new'}


def test_without_an_action_there_are_no_messages():
    (tick,) = Pairing().add_status(1, Status(7, 'policy', 0, 'joint_states: no message yet'))
    assert tick.messages == {}
    assert tick.status.reason == 'joint_states: no message yet'


def test_a_status_may_speak_of_many_messages():
    """At 1000 commands a second and 5 ticks none was whole: the first ones had been forgotten."""
    pairing = Pairing(spoken_of=3 * 200 * 2)
    for at in range(200):
        assert pairing.add_message('arm', 2 * at, at) == []
        assert pairing.add_message('gripper', 2 * at + 1, at) == []
    (tick,) = pairing.add_status(400, Status(1, 'supervisor', 400))
    assert tick.messages == {'arm': 199, 'gripper': 199}


def test_messages_without_any_status_do_not_pile_up():
    """A foreign teleoperation topic has nobody who speaks for it."""
    pairing = Pairing()
    for at in range(10_000):
        assert pairing.add_message('arm', at, at) == []
    (tick,) = pairing.add_status(10_000, Status(1, 'teleop', 1))
    assert tick.messages == {'arm': 9_999}


def test_statuses_without_their_messages_do_not_pile_up():
    pairing = Pairing()
    for at in range(10_000):
        assert pairing.add_status(2 * at, Status(at, 'policy', 1)) == []
    ticks = pairing.add_message('arm', 2 * 9_999, 'late')
    assert plain(ticks) == [(9_999, {'arm': 'late'})]


def test_a_status_survives_its_message():
    status = Status(1_500_000_000, 'policy', 2, 'all well', {'checkpoint': 'abc', 'mode': 'x'})
    message = status.encode(new)
    assert message.status[0].level == b'\x00'
    assert Status.decode(message) == status
    silent = Status(1, 'policy', 0, 'no frame')
    assert silent.encode(new).status[0].level == b'\x01', 'a warning, for monitors'
    assert Status.decode(silent.encode(new)) == silent


def foreign(values=None):
    message = Status(1, 'x', 1).encode(new)
    if values is None:
        message.status = []
    else:
        message.status[0].values = [Message(key=key, value=value) for key, value in values]
    return message


@pytest.mark.parametrize(
    'message',
    [
        foreign(),
        foreign([]),
        foreign([('mode', 'policy')]),
        foreign([('sent', 'two')]),
        foreign([('sent', '')]),
        foreign([('sent', '-1')]),
        foreign([('sent', '9' * 5000)]),
    ],
)
def test_diagnostics_of_somebody_else_are_no_status(message):
    with pytest.raises(MessageError, match='not the status of an action source'):
        Status.decode(message)


def test_streams_have_their_topics():
    assert action_topic('executed', 'arm/command') == 'arm/command'
    assert action_topic('policy', 'arm/command') == 'policy/arm/command'
    assert STATUS_TOPICS['executed'] == 'supervisor/decision'
