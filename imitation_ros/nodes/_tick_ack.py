"""When the recorder has everything of a lockstep tick, so that the simulation may go on."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
import struct

from imitation_ros.frames.codecs import codec_for
from imitation_ros.frames.contract import Contract
from imitation_ros.frames.status import action_topic, Pairing, Status, STATUS_TOPICS


class TickAck:
    """Follows the ticks of a lockstep run in serialized messages.

    A tick is whole with each stamped observation of that stamp, and the action and status for it
    of every stream that takes part. A repeated tick is acknowledged again: the first
    acknowledgement may have been lost.

    Args:
        contract: names the topics.
        takes_part: whether a stream ('policy', 'teleop') has a source now; 'executed' always has.
        decode: a serialized status.
    """

    def __init__(
        self,
        contract: Contract,
        takes_part: Callable[[str], bool],
        decode: Callable[[bytes], Status],
    ) -> None:
        self._takes_part, self._decode = takes_part, decode
        self._stamps: dict[str, int] = {
            source.topic: -1 for source in contract.sources if codec_for(source.type).stamped
        }
        self._pairings = {stream: Pairing() for stream in STATUS_TOPICS}
        self._answered = dict.fromkeys(STATUS_TOPICS, -1)
        self._last = -1
        self._handlers: dict[str, Callable[[bytes, int], bool]] = {
            topic: partial(self._observation, topic) for topic in self._stamps
        }
        for stream, topic in STATUS_TOPICS.items():
            self._handlers[topic] = partial(self._status, stream)
            for name, part in contract.actions.items():
                handler = partial(self._action, stream, name)
                self._handlers[action_topic(stream, part.topic)] = handler

    def add(self, topic: str, data: bytes, source_ns: int) -> int | None:
        """Takes a message; returns the tick that is to be acknowledged now, if any."""
        handler = self._handlers.get(topic)
        if handler is None:
            return None
        repeated = handler(data, source_ns)
        tick_ns = self._whole_tick()
        if tick_ns is None or (tick_ns == self._last and not repeated):
            return None
        self._last = tick_ns
        return tick_ns

    def _observation(self, topic: str, data: bytes, source_ns: int) -> bool:
        """Returns whether the simulation repeats a tick that was acknowledged."""
        self._stamps[topic] = header_stamp_ns(data)
        # One of the topics stands for all, or each of them would be answered.
        return self._stamps[topic] == self._last and topic == next(reversed(self._stamps))

    def _action(self, stream: str, part: str, data: bytes, source_ns: int) -> bool:
        for tick in self._pairings[stream].add_message(part, source_ns, None):
            self._answered[stream] = tick.status.tick_ns
        return False

    def _status(self, stream: str, data: bytes, source_ns: int) -> bool:
        for tick in self._pairings[stream].add_status(source_ns, self._decode(data)):
            self._answered[stream] = tick.status.tick_ns
        return False

    def _whole_tick(self) -> int | None:
        stamps = set(self._stamps.values())
        if len(stamps) != 1:
            return None
        tick_ns = stamps.pop()
        for stream, answered in self._answered.items():
            if answered != tick_ns and (stream == 'executed' or self._takes_part(stream)):
                return None
        return tick_ns


def header_stamp_ns(data: bytes) -> int:
    """The stamp of a serialized message whose first field is a std_msgs/Header."""
    seconds, nanoseconds = struct.unpack_from('<iI' if data[1] & 1 else '>iI', data, 4)
    return int(seconds) * 1_000_000_000 + int(nanoseconds)
