"""Many messages → one frame a tick, the same code live and from a bag.

The observation of a tick is, for each source, the newest message with stamp ≤ tick *and* received
≤ tick. One older than the contract's `max_age_s` is a gap, never repeated; its age runs from its
stamp or from its receipt, whichever says more. A source whose stamps are further ahead than that
is a gap, too: nobody can tell how old what it says is. In lockstep, freshness is equality: the
message stamped with the tick, whenever it came.

All times are ROS time in ns. A message without a header takes the middleware's source timestamp,
which `ClockMap` turns into simulated time where that is used.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Any, cast, NamedTuple

from imitation_ros.errors import MessageError
from imitation_ros.frames.codecs import codec_for, Decoder, stamp_ns
from imitation_ros.frames.contract import Contract, Source
from imitation_ros.frames.images import ImageCodec
from imitation_ros.types import Array, Frame, Gap
import numpy as np

KEPT = 64
"""Messages remembered a topic: enough to look back over one tick at any usual rate."""


class ClockMap:
    """Wall time → the simulated clock as it stood then; the identity while no clock was heard."""

    def __init__(self) -> None:
        self._wall_ns: list[int] = []
        self._ros_ns: list[int] = []

    def add(self, wall_ns: int, ros_ns: int) -> None:
        """Takes one `/clock` message: when it was published, and what it said."""
        if self._wall_ns and wall_ns < self._wall_ns[-1]:
            return
        self._wall_ns.append(wall_ns)
        self._ros_ns.append(ros_ns)

    def ros_ns(self, wall_ns: int) -> int:
        """The clock at `wall_ns`."""
        if not self._wall_ns:
            return wall_ns
        return self._ros_ns[max(0, bisect_right(self._wall_ns, wall_ns) - 1)]

    def forget(self, keep: int = 256) -> None:
        """Drops all but the newest entries, for nodes that run for long."""
        del self._wall_ns[:-keep], self._ros_ns[:-keep]


class _Received(NamedTuple):
    message: Any
    stamp_ns: int | None  # of the header
    source_ns: int  # wall
    received_ns: int


class Aligner:
    """Keeps the newest messages of a contract's observations and puts frames together.

    Args:
        contract: names the topics, fields and freshness limits.
        lockstep: whether freshness is equality of stamps.
    """

    def __init__(self, contract: Contract, lockstep: bool = False) -> None:
        self.clock = ClockMap()
        self._lockstep = lockstep
        self._disordered: set[str] = set()  # topics where a stamp was below the one before it
        self._buffers: dict[str, deque[_Received]] = {
            source.topic: deque(maxlen=KEPT) for source in contract.sources
        }
        self._observations = {
            name: [(source, _decoder(source)) for source in sources]
            for name, sources in contract.observations.items()
        }

    @property
    def topics(self) -> tuple[str, ...]:
        """The topics that `add` takes."""
        return tuple(self._buffers)

    def add(self, topic: str, message: Any, received_ns: int, source_ns: int = 0) -> None:
        """Takes one message.

        Args:
            topic: as the contract spells it.
            message: anything with the message's attributes; it is decoded when a frame needs it.
            received_ns: when it was received, ROS time.
            source_ns: when it was published, wall time; needed where there is no header.
        """
        buffer = self._buffers[topic]
        received = _Received(message, stamp_ns(message), source_ns, received_ns)
        if buffer and self._stamp(received) < self._stamp(buffer[-1]):
            self._disordered.add(topic)
        buffer.append(received)

    def newest_whole_tick(self) -> int | None:
        """In lockstep: the stamp of the last message, if that of every source has it."""
        stamps = set()
        for buffer in self._buffers.values():
            if not buffer:
                return None
            stamps.add(self._stamp(buffer[-1]))
        return stamps.pop() if len(stamps) == 1 else None

    def frame(self, tick_ns: int) -> Frame | Gap:
        """The frame of a tick, or why there is none: what is missing, stale or unreadable."""
        observation: dict[str, Array] = {}
        for name, sources in self._observations.items():
            parts = []
            for source, decode in sources:
                found = self._newest(source, tick_ns)
                if isinstance(found, str):
                    return Gap(tick_ns, f'{source.topic}: {found}')
                try:
                    parts.append(decode(found.message))
                except MessageError as error:
                    return Gap(tick_ns, f'{source.topic}: {error}')
            array = parts[0] if len(parts) == 1 else np.concatenate(parts)
            if array.ndim == 1 and not all(map(isfinite, array.tolist())):
                return Gap(tick_ns, _not_finite([source for source, _ in sources], array))
            observation[name] = array
        return Frame(tick_ns, observation)

    def _newest(self, source: Source, tick_ns: int) -> _Received | str:
        buffer: Sequence[_Received] = self._buffers[source.topic]
        limit_s, limit = source.max_age_s, f'at most {source.max_age_s} s'
        if self._lockstep:
            limit_s, limit = 0.0, 'lockstep'
        elif (ahead_s := self._ahead_s(buffer, tick_ns)) > limit_s:
            return f'the newest is stamped {ahead_s:.3f} s ahead ({limit})'
        if source.topic in self._disordered:
            buffer = sorted(buffer, key=self._stamp)
        for received in reversed(buffer):
            stamp = self._stamp(received)
            if stamp > tick_ns or (not self._lockstep and received.received_ns > tick_ns):
                continue
            born_ns = stamp if self._lockstep else min(stamp, received.received_ns)
            age_s = (tick_ns - born_ns) / 1e9
            if age_s > limit_s:
                return f'the newest is {age_s:.3f} s old ({limit})'
            return received
        return 'no message yet'

    def _ahead_s(self, buffer: Sequence[_Received], tick_ns: int) -> float:
        """How far the stamp of the message that had come last by the tick is ahead of it."""
        came = (each for each in reversed(buffer) if each.received_ns <= tick_ns)
        last = next(came, None)
        return 0.0 if last is None else (self._stamp(last) - tick_ns) / 1e9

    def _stamp(self, received: _Received) -> int:
        if received.stamp_ns is not None:
            return received.stamp_ns
        return self.clock.ros_ns(received.source_ns or received.received_ns)


def feedback_decoders(contract: Contract) -> Mapping[str, tuple[str, Decoder]]:
    """Action part → the topic of its measured state, and what reads it from the message."""
    sources = {part: contract.feedback_source(part) for part in contract.actions}
    return {part: (source.topic, _decoder(source)) for part, source in sources.items() if source}


def _decoder(source: Source) -> Decoder:
    codec = codec_for(source.type)
    if codec.image:
        size = cast(tuple[int, int], source.resize)
        return cast(ImageCodec, codec).image_decoder(size, source.encoding or 'rgb8')
    return codec.decoder(source.select)


def _not_finite(sources: list[Source], array: Array) -> str:
    names = [f'{source.topic}: {field}' for source in sources for field in source.select]
    index = int(np.flatnonzero(~np.isfinite(array))[0])
    return f'{names[index]} is {array[index]}'
