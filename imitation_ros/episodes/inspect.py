"""What an episode holds and whether it is fit to learn from, as plain data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from imitation_ros.episodes.align import load_episode
from imitation_ros.episodes.info import EpisodeInfo
from imitation_ros.episodes.reader import EpisodeReader, Message
from imitation_ros.episodes.tracks import read_clock
from imitation_ros.errors import EpisodeError
from imitation_ros.frames.contract import Contract

MAX_LEFT_OUT = 0.05
"""Of the ticks; more makes an episode poor."""


@dataclass(frozen=True)
class TopicReport:
    """What an episode holds of one topic.

    Attributes:
        name: in the bag.
        type: of its messages.
        messages: how many.
        rate_hz: mean, in ROS time; None for fewer than two messages.
        largest_gap_s: between two messages, in ROS time; None for fewer than two.
        lost: messages missing in the numbers that the publisher gave them; None where that
            cannot be known: no numbers, or several publishers.
    """

    name: str
    type: str
    messages: int
    rate_hz: float | None
    largest_gap_s: float | None
    lost: int | None


@dataclass(frozen=True)
class EpisodeReport:
    """What `inspect` tells of an episode.

    Attributes:
        path: of the bag.
        info: who recorded what, with which outcome.
        duration_s: from the first message to the last, in ROS time.
        topics: by name.
        frames: that can be made; None without a contract.
        left_out: reason → ticks that give no frame because of it.
        verdict: 'good'; 'poor': can be learned from, but something is wrong; 'bad': cannot.
        reasons: for the verdict, empty if it is good.
    """

    path: str
    info: EpisodeInfo
    duration_s: float
    topics: Sequence[TopicReport]
    frames: int | None
    left_out: Mapping[str, int]
    verdict: str
    reasons: Sequence[str]


def inspect_episode(path: str | Path, contract: Contract | None = None) -> EpisodeReport:
    """Reads a whole episode and judges it.

    Args:
        path: a rosbag2 folder or `.mcap` file.
        contract: what it should be fit for; the episode's own if None.

    Raises:
        EpisodeError: the bag cannot be read at all.
    """
    reader = EpisodeReader(path)
    contract = contract or reader.contract
    clock = read_clock(reader)
    traffic = {name: _Traffic() for name in reader.topics}
    for message in reader.messages():
        published_ns = message.publish_time_ns or message.log_time_ns
        traffic[message.topic].add(message, clock.ros_ns(published_ns))
    topics = tuple(
        TopicReport(
            name,
            topic.type,
            traffic[name].count,
            traffic[name].rate_hz,
            traffic[name].largest_gap_s,
            traffic[name].lost,
        )
        for name, topic in sorted(reader.topics.items())
    )
    frames, left_out, faults = _frames(reader, contract)
    doubts = _doubts(reader, contract, topics, frames, left_out)
    start_ns, end_ns = (clock.ros_ns(time_ns) for time_ns in reader.span_ns)
    return EpisodeReport(
        str(path),
        reader.info,
        (end_ns - start_ns) / 1e9,
        topics,
        frames,
        left_out,
        'bad' if faults else 'poor' if doubts else 'good',
        (*faults, *doubts),
    )


def _frames(
    reader: EpisodeReader, contract: Contract | None
) -> tuple[int | None, Mapping[str, int], list[str]]:
    """How many frames can be made, what is left out, and why it cannot be learned from.

    A policy's roll-out without an expert is judged by the actions that were executed.
    """
    if contract is None:
        return None, {}, ['no contract inside; give one to judge it']
    try:
        episode = load_episode(reader, contract)
        if not len(episode):
            episode = load_episode(reader, contract, label='executed')
    except EpisodeError as error:
        return None, {}, [str(error)]
    faults = [] if len(episode) else ['no frame can be made']
    return len(episode), episode.left_out, faults


def _doubts(
    reader: EpisodeReader,
    contract: Contract | None,
    topics: Sequence[TopicReport],
    frames: int | None,
    left_out: Mapping[str, int],
) -> list[str]:
    doubts = [f'{topic.name}: {topic.lost} messages lost' for topic in topics if topic.lost]
    if reader.info.truncated:
        doubts.append('the end is missing: the recording was cut off')
    ages = {source.topic: source.max_age_s for source in contract.sources} if contract else {}
    for name, max_age_s in ages.items():
        found = reader.find_topic(name)
        topic = next((topic for topic in topics if found and topic.name == found.name), None)
        gap_s = (topic and topic.largest_gap_s) or 0.0
        if gap_s > max_age_s and not reader.info.lockstep:
            doubts.append(f'{name}: a gap of {gap_s:.2f} s (max_age_s is {max_age_s})')
    missing = sum(count for reason, count in left_out.items() if not _expected(reason))
    if frames and missing > MAX_LEFT_OUT * (frames + missing):
        doubts.append(f'{missing} of {frames + missing} ticks give no frame')
    return doubts


def _expected(reason: str) -> bool:
    """Nobody drives before the start of a demonstration, and nothing follows its last tick."""
    return reason.startswith('the supervisor was') or reason == 'no next observation'


@dataclass
class _Traffic:
    """The messages of one topic, counted as they come by."""

    count: int = 0
    largest_gap_ns: int = 0
    numbered: bool = True
    _first_ns: int = 0
    _last_ns: int = 0
    _first: int = 0
    _last: int = 0

    def add(self, message: Message, time_ns: int) -> None:
        if self.count:
            self.largest_gap_ns = max(self.largest_gap_ns, time_ns - self._last_ns)
        else:
            self._first_ns, self._first = time_ns, message.sequence
        # Numbers that do not grow come from several publishers, or one that was restarted.
        self.numbered = self.numbered and message.sequence > self._last
        self.count += 1
        self._last_ns, self._last = time_ns, message.sequence

    @property
    def rate_hz(self) -> float | None:
        span_s = (self._last_ns - self._first_ns) / 1e9
        return (self.count - 1) / span_s if span_s > 0 else None

    @property
    def largest_gap_s(self) -> float | None:
        return self.largest_gap_ns / 1e9 if self.count > 1 else None

    @property
    def lost(self) -> int | None:
        if not self.count or not self.numbered:
            return None
        return self._last - self._first + 1 - self.count
