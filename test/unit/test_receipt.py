"""When messages were received, while the wall clock is set."""

from __future__ import annotations

import os
import random

from imitation_ros.episodes.info import Topic
from imitation_ros.episodes.reader import EpisodeReader
from imitation_ros.episodes.receipt import ReceiptTimes
from imitation_ros.episodes.repair import repair
from imitation_ros.episodes.writer import EpisodeWriter
import pytest

SECOND = 1_000_000_000
NOON = 1_700_000_000 * SECOND


class Clocks:
    """A wall clock and a steady one."""

    def __init__(self):
        self.times, self.wall_ns, self.steady_ns = ReceiptTimes(), NOON, 5 * SECOND

    def pass_by(self, seconds):
        self.wall_ns += round(seconds * SECOND)
        self.steady_ns += round(seconds * SECOND)

    def received(self, topic, late_s=0.0):
        self.times.look_at(self.wall_ns, self.steady_ns)
        return self.times.at(topic, self.wall_ns - round(late_s * SECOND)) - NOON


@pytest.fixture
def clocks():
    return Clocks()


def test_each_topic_has_its_own_time(clocks):
    """Of a topic that is taken later, messages that came before are not moved."""
    assert [clocks.received('a'), clocks.received('b', 0.3)] == [0, -0.3 * SECOND]
    assert [clocks.received('a', 0.5), clocks.received('b', 0.5)] == [0, -0.3 * SECOND]


def test_after_a_step_back_no_topic_goes_back(clocks):
    clocks.received('a')
    clocks.wall_ns -= 600 * SECOND
    assert [clocks.received('a'), clocks.received('new')] == [0, 0]
    clocks.pass_by(599)
    assert clocks.received('other') == 0
    clocks.pass_by(2)
    assert [clocks.received('a'), clocks.received('new', 0.5)] == [SECOND, SECOND / 2]


def test_a_step_forward_is_taken_as_it_is(clocks):
    clocks.received('a')
    clocks.wall_ns += 600 * SECOND
    assert clocks.received('a') == 600 * SECOND


def test_what_runs_slower_was_not_set(clocks):
    for _ in range(100):
        clocks.received('a')
        clocks.pass_by(1)
        clocks.wall_ns -= SECOND // 10
    assert clocks.received('new', 0.2) == clocks.wall_ns - SECOND // 5 - NOON


def test_another_episode_begins_in_its_own_time(clocks):
    clocks.received('a')
    clocks.wall_ns -= 600 * SECOND
    clocks.received('a')
    clocks.times.forget()
    assert clocks.received('a') == -600 * SECOND


@pytest.mark.parametrize('kept_order', [True, False], ids=['as we record', 'as it was'])
def test_an_episode_in_which_the_clock_was_set_back_is_readable(
    clocks, tmp_path, monkeypatch, kept_order
):
    """All until the clock had caught up was read before the first of it: above 128 MB, a minute
    of images, the episode was refused, and a repair of it too."""
    monkeypatch.setattr('imitation_ros.episodes.mcap_file.MAX_WAITING_BYTES', 3 << 20)
    writer = EpisodeWriter(tmp_path / 'e')
    often, seldom = (
        writer.copy_topic(Topic(name, 'std_msgs/msg/UInt8MultiArray', 'uint8[] data\n'))
        for name in ('/often', '/seldom')
    )
    last_ns = 0
    for number in range(1, 101):
        if number == 20:
            clocks.wall_ns -= 600 * SECOND
        received_ns = clocks.wall_ns
        if kept_order:
            received_ns = NOON + clocks.received('often')
        elif number >= 20:  # a topic at a time, as it was: that of `seldom` goes back
            received_ns = max(received_ns, last_ns)
        last_ns = received_ns
        data = random.Random(number).randbytes(1 << 18)
        writer.write(often, data, received_ns, clocks.wall_ns, number)
        if number % 30 == 0:
            at_ns = NOON + clocks.received('seldom') if kept_order else clocks.wall_ns
            writer.write(seldom, b'x', at_ns, clocks.wall_ns, number // 30)
        clocks.pass_by(1)
    recording = writer.stop().rename(tmp_path / 'e.recording')
    os.truncate(recording / 'e_0.mcap', (recording / 'e_0.mcap').stat().st_size - 20)
    assert repair(recording).messages == 103
    for topic, count in (('/often', 100), ('/seldom', 3)):
        messages = EpisodeReader(tmp_path / 'e').messages([topic])
        assert [message.sequence for message in messages] == list(range(1, count + 1))
    if kept_order:
        found = [message.publish_time_ns for message in EpisodeReader(tmp_path / 'e').messages()]
        assert len(found) == 103
        assert found[19:] == sorted(found[19:])
