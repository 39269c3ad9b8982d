"""What the recorder counts: rates, gaps and lost messages of a topic."""

from __future__ import annotations

from imitation_ros.nodes._traffic import Traffic
import pytest

SECOND = 1_000_000_000
ONE, OTHER = b'1', b'2'


def received(*messages: tuple[int | None, bytes | None], period_ns: int = SECOND // 10) -> Traffic:
    """Messages (sequence, publisher), one each 0.1 s from 0.1 s on."""
    traffic = Traffic(0)
    for index, (sequence, publisher) in enumerate(messages):
        traffic.add((index + 1) * period_ns, sequence, publisher)
    return traffic


def test_gaps_in_the_numbers_are_lost_messages():
    assert received((5, ONE), (6, ONE), (9, ONE), (11, ONE)).lost == 3


def test_publishers_are_counted_apart():
    assert received((5, ONE), (100, OTHER), (6, ONE), (102, OTHER)).lost == 1


@pytest.mark.parametrize(
    'messages',
    [
        pytest.param([(None, ONE)], id='no numbers'),
        pytest.param([(5, None), (6, None), (3, None)], id='numbers go back without publishers'),
    ],
)
def test_loss_that_cannot_be_known_is_unknown(messages):
    assert received(*messages).lost is None


def test_several_publishers_without_ids_make_the_loss_unknown():
    without_ids, with_ids = received((1, None), (2, None)), received((1, ONE), (2, ONE))
    without_ids.numbers.note_several_publishers()
    with_ids.numbers.note_several_publishers()
    assert (without_ids.lost, with_ids.lost) == (None, 0)


def test_a_latched_message_that_comes_again_counts_once():
    traffic = received((4, ONE), (5, ONE))
    assert not traffic.add(SECOND, 4, ONE)
    assert (traffic.messages, traffic.lost) == (2, 0)


def test_rate_and_largest_gap():
    traffic = received((1, ONE), (2, ONE), (3, ONE))
    traffic.add(SECOND, 4, ONE)
    assert traffic.summary(written=3) == {
        'messages': 4, 'published': 4, 'written': 3, 'lost': 1, 'lost_before_first': 0,
        'lost_after_last': None, 'rate_hz': pytest.approx(3 / 0.9, abs=1e-3), 'largest_gap_s': 0.7,
    }  # fmt: skip


def test_a_healthy_topic_has_no_troubles():
    report = received(*((number, ONE) for number in range(10))).report(SECOND, 0.2, 1)
    assert (report.rate_hz, report.troubles) == (10.0, ())


def test_a_report_tells_what_is_new_since_the_last():
    traffic = received((1, ONE), (4, ONE))
    traffic.add(SECOND, 5, ONE)
    report = traffic.report(SECOND, 0.2, 1)
    assert report.troubles == ('a gap of 0.80 s (at most 0.2 s)', '2 messages lost')
    traffic.add(SECOND + SECOND // 10, 6, ONE)
    assert traffic.report(SECOND + SECOND // 10, 0.2, 1).troubles == ()


@pytest.mark.parametrize(
    ('max_age_s', 'publishers', 'troubles'),
    [
        (0.2, 1, ('stopped: nothing for 0.90 s',)),
        (None, 1, ()),
        (None, 0, ('stopped: its publisher is gone',)),
    ],
)
def test_a_topic_that_stops(max_age_s, publishers, troubles):
    assert received((1, ONE)).report(SECOND, max_age_s, publishers).troubles == troubles


def test_a_topic_that_never_came_is_as_old_as_the_episode():
    assert Traffic(0).report(SECOND, 0.2, 1).troubles == ('stopped: nothing for 1.00 s',)
