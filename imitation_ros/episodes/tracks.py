"""Who said what for which tick: the action streams of a recorded episode."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from imitation_ros.episodes.reader import EpisodeReader, Message
from imitation_ros.errors import EpisodeError, MessageError
from imitation_ros.frames.alignment import ClockMap
from imitation_ros.frames.contract import Contract
from imitation_ros.frames.status import (
    action_topic,
    Pairing,
    Status,
    STATUS_TOPICS,
    STATUS_TYPE,
    TickAction,
)

CLOCK_TYPE = 'rosgraph_msgs/msg/Clock'


@dataclass
class Track:
    """One stream: 'executed', 'teleop' or 'policy'.

    Attributes:
        statuses: tick → its status, in the order of the recording.
        logged_ns: tick → when its first status was received.
    """

    statuses: dict[int, Status] = field(default_factory=dict)
    logged_ns: dict[int, int] = field(default_factory=dict)
    _messages: dict[str, dict[int, Any]] = field(default_factory=dict)
    _times: dict[str, list[int]] = field(default_factory=dict)
    _ticks: list[int] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self._messages)

    def find(self, part: str, tick_ns: int, within_ns: int) -> Any | None:
        """The message for a tick: the one computed for it, else the first for the time after.

        Args:
            part: of the action.
            tick_ns: the tick.
            within_ns: how far after the tick it may be; 0 means it must be the tick's own.
        """
        messages = self._messages.get(part, {})
        if tick_ns in messages or not within_ns:
            return messages.get(tick_ns)
        times = self._times.setdefault(part, sorted(messages))
        index = bisect_left(times, tick_ns)
        if index < len(times) and times[index] < tick_ns + within_ns:
            return messages[times[index]]
        return None

    def idle(self, tick_ns: int, within_ns: int) -> bool:
        """Whether nobody held the device at a tick."""
        return self.said(tick_ns, within_ns).get('engaged') == 'false'

    def said(self, tick_ns: int, within_ns: int) -> Mapping[str, str]:
        """The values of the status for a tick, searched as `find` does."""
        status = self.statuses.get(tick_ns)
        if status is None and within_ns:
            if len(self._ticks) != len(self.statuses):
                self._ticks = sorted(self.statuses)
            index = bisect_left(self._ticks, tick_ns)
            if index < len(self._ticks) and self._ticks[index] < tick_ns + within_ns:
                status = self.statuses[self._ticks[index]]
        return status.values if status else {}

    def add(self, tick: TickAction) -> None:
        """Takes a whole tick; said twice, the later one counts.

        What a device says that nobody holds ('engaged' is false) is no action.
        """
        tick_ns = tick.status.tick_ns
        self.statuses[tick_ns] = tick.status
        if tick.status.values.get('engaged') == 'false':
            return
        for part, message in tick.messages.items():
            self.add_message(part, tick_ns, message)

    def add_message(self, part: str, time_ns: int, message: Any) -> None:
        """Takes a message that stands for what was said at `time_ns`."""
        self._messages.setdefault(part, {})[time_ns] = message


@dataclass(frozen=True)
class Tracks:
    """All streams of an episode, and its clock.

    Attributes:
        streams: name → track; those of which the bag holds nothing are empty.
        clock: wall → ROS time.
        discarded: first and last tick of what the operator took back, each time.
    """

    streams: Mapping[str, Track]
    clock: ClockMap
    discarded: Sequence[tuple[int, int]] = ()


def read_tracks(reader: EpisodeReader, contract: Contract) -> Tracks:
    """Reads statuses, actions and clock.

    Messages of a stream that publishes no status (foreign bags) stand for the time at which they
    were published. A status or an action that cannot be read is left out, as it is live.

    Raises:
        EpisodeError: an action topic has another type than the contract says, or a clock message
            cannot be decoded.
    """
    clock, streams = read_clock(reader), {name: Track() for name in STATUS_TOPICS}
    roles = _roles(reader, contract)
    paired = {stream for stream, part in roles.values() if part is None}
    spoken_of = contract.commands_in_a_decision * len(contract.actions)
    pairings = {stream: Pairing(spoken_of) for stream in paired}
    discarded: list[tuple[int, int]] = []
    for message in reader.messages(roles.keys()):
        stream, part = roles[message.topic]
        track = streams[stream]
        try:
            decoded = reader.decode(message)
            status = None if part is not None else Status.decode(decoded)
        except (EpisodeError, MessageError, AttributeError, TypeError):
            continue  # whoever published it; the definition is the bag's own
        if stream not in paired:
            # Published in (tick, tick + period] is the rule, [tick, tick + period) the search.
            assert part is not None
            track.add_message(part, clock.ros_ns(message.publish_time_ns) - 1, decoded)
            continue
        if status is not None:
            track.logged_ns.setdefault(status.tick_ns, message.log_time_ns)
            whole = pairings[stream].add_status(message.publish_time_ns, status)
            # Said once: it counts though the tick has lost a command, or another decision.
            first = status.values.get('discarded', '') if stream == 'executed' else ''
            if first.isdecimal():
                discarded.append((int(first), status.tick_ns))
        else:
            assert part is not None
            whole = pairings[stream].add_message(part, message.publish_time_ns, decoded)
        for tick in whole:
            track.add(tick)
    return Tracks(streams, clock, discarded)


def read_clock(reader: EpisodeReader) -> ClockMap:
    """Wall → ROS time of an episode, the identity where no simulated clock was recorded."""
    clock, topic = ClockMap(), reader.find_topic('/clock')
    if topic and topic.type == CLOCK_TYPE:
        for message in reader.messages([topic.name]):
            clock.add(message.publish_time_ns, _clock_ns(reader, message))
    return clock


def _clock_ns(reader: EpisodeReader, message: Message) -> int:
    said = getattr(reader.decode(message), 'clock', None)
    parts = getattr(said, 'sec', None), getattr(said, 'nanosec', None)
    if not all(isinstance(part, int) for part in parts):  # the definition is the bag's own
        raise EpisodeError(f'{reader.path}: {message.topic}: no seconds and nanoseconds')
    return int(parts[0]) * 1_000_000_000 + int(parts[1])  # type: ignore[arg-type]


def _roles(reader: EpisodeReader, contract: Contract) -> dict[str, tuple[str, str | None]]:
    """Topic in the bag → its stream and action part; None for the part of a status."""
    roles: dict[str, tuple[str, str | None]] = {}
    for stream, status_topic in STATUS_TOPICS.items():
        topic = reader.find_topic(status_topic)
        if topic and topic.type == STATUS_TYPE and topic.messages:
            roles[topic.name] = stream, None
        for name, part in contract.actions.items():
            wanted = action_topic(stream, part.topic)
            if reader.find_topic(wanted):
                roles[reader.topic(wanted, part.type).name] = stream, name
    return roles
