"""The sum closes: published = written + lost; what cannot be known is said to be unknown."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from imitation_ros.episodes.accounting import account, Numbers
import pytest

ONE, OTHER = b'1', b'2'


def came(*messages, before=None):
    numbers = Numbers(before or {})
    for sequence, publisher in messages:
        numbers.add(sequence, publisher)
    return numbers


@given(
    st.lists(st.tuples(st.sampled_from([ONE, OTHER]), st.booleans()), max_size=60),
    st.data(),
)
def test_every_message_between_the_first_and_the_last_is_accounted_for(sent, data):
    """Two publishers send by turns; some messages never come, some cannot be written."""
    number, arrived = {ONE: 0, OTHER: 0}, []
    for publisher, arrives in sent:
        number[publisher] += 1
        if arrives:
            arrived.append((number[publisher], publisher))
    numbers = came(*arrived)
    written = data.draw(st.integers(0, len(arrived)))
    counts = account(numbers, written)
    spans = [[n for n, who in arrived if who == each] for each in (ONE, OTHER)]
    published = sum(span[-1] - span[0] + 1 for span in spans if span)
    assert counts['published'] == published
    assert counts['written'] + counts['lost'] == published
    assert counts['lost'] >= 0
    assert counts['lost_after_last'] is None


def test_what_was_lost_before_the_first_shows_if_something_came_before():
    assert came((5, ONE), (6, ONE), before={ONE: 2}).lost_before_first == 2
    assert came((3, ONE), before={ONE: 2}).lost_before_first == 0
    assert came((1, ONE)).lost_before_first == 0
    assert came((5, ONE)).lost_before_first is None
    assert came((5, ONE), (9, OTHER), before={ONE: 4}).lost_before_first is None


def test_a_latched_message_that_came_before_the_episode_is_not_lost():
    numbers = came((1, ONE), before={ONE: 1})
    assert (numbers.lost_before_first, numbers.published, numbers.lost) == (0, 1, 0)


def test_one_that_comes_again_counts_once():
    numbers = came((4, ONE), (5, ONE))
    assert not numbers.add(4, ONE)
    assert (numbers.messages, numbers.lost) == (2, 0)


@pytest.mark.parametrize(
    'messages',
    [
        pytest.param([(None, ONE)], id='no numbers'),
        pytest.param([(0, None)], id='number 0 in a file'),
        pytest.param([(5, None), (6, None), (3, None)], id='numbers go back without publishers'),
    ],
)
def test_what_cannot_be_known_is_unknown(messages):
    counts = account(came(*messages), len(messages))
    assert counts['written'] == len(messages)
    assert {counts[key] for key in counts if key != 'written'} == {None}


def test_what_is_known_so_far_goes_on():
    assert came((5, ONE), before={ONE: 4, OTHER: 7}).last == {ONE: 5, OTHER: 7}
