"""What a source says beside its action: which tick it was computed for, and how it is doing.

Action types carry no provenance, so `policy`, `teleop …` and `supervisor` each publish a
`diagnostic_msgs/DiagnosticArray` right after the action of a tick: on `policy/status`,
`teleop/status` and `supervisor/decision`. `Pairing` puts the two together again, live and from a
bag, by the middleware's source timestamps: a status speaks of the messages that its source
published since its last status.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from imitation_ros.errors import MessageError
from imitation_ros.frames.codecs import MessageFactory, set_stamp, stamp_ns

STATUS_TYPE = 'diagnostic_msgs/msg/DiagnosticArray'
STATUS_TOPICS = {
    'policy': 'policy/status',
    'teleop': 'teleop/status',
    'executed': 'supervisor/decision',
}
"""Stream → the topic of its status."""
CLASS = 'class '
"""The supervisor says under this and the name of a discrete part what class it was told last."""
ACK_TOPIC = 'recorder/ack'
"""Where the recorder says, in lockstep, that it has everything of a tick."""
EPISODE_TOPIC = 'sim_arm/episode'
"""One status at the end of each lockstep episode: values 'success' (0 or 1) and 'ticks'."""


def action_topic(stream: str, topic: str) -> str:
    """Where a stream publishes an action part whose executed command is on `topic`."""
    return topic if stream == 'executed' else f'{stream}/{topic}'


@dataclass(frozen=True)
class Status:
    """One tick of a source.

    Attributes:
        tick_ns: the tick that the action was computed for.
        source: node name of who says it.
        sent: how many action messages belong to it; 0 if there was no action to give.
        reason: for people: why nothing was sent, or why the supervisor decided so.
        values: 'fingerprint' of the contract; 'engaged' for teleop; 'checkpoint' and
            'uncertainty' for a policy; 'mode' and 'source' for the supervisor.
    """

    tick_ns: int
    source: str
    sent: int = 0
    reason: str = ''
    values: Mapping[str, str] = field(default_factory=dict)

    def encode(self, new: MessageFactory) -> Any:
        """As a DiagnosticArray; the level is OK if something was sent, else WARN."""
        message, status = new(STATUS_TYPE), new('diagnostic_msgs/msg/DiagnosticStatus')
        set_stamp(message, self.tick_ns)
        status.level = b'\x00' if self.sent else b'\x01'
        status.name, status.message = self.source, self.reason
        for key, value in {'sent': str(self.sent), **self.values}.items():
            pair = new('diagnostic_msgs/msg/KeyValue')
            pair.key, pair.value = key, value
            status.values.append(pair)
        message.status = [status]
        return message

    @classmethod
    def decode(cls, message: Any) -> Status:
        """Reads a DiagnosticArray.

        Raises:
            MessageError: it is not one of ours.
        """
        try:
            status = message.status[0]
            values = {pair.key: pair.value for pair in status.values}
            sent = int(values.pop('sent'))
            if sent < 0:
                raise ValueError(f'sent: {sent}')
        except (IndexError, KeyError, ValueError) as error:
            raise MessageError(f'not the status of an action source: {error!r}') from None
        return cls(stamp_ns(message) or 0, status.name, sent, status.message, values)


@dataclass(frozen=True)
class TickAction:
    """The messages of one source for one tick: part → message (the last one of each)."""

    status: Status
    messages: Mapping[str, Any]


class Pairing:
    """Puts action messages and statuses of one source together, whatever order they arrive in.

    Args:
        spoken_of: messages that one status may speak of, at most.
    """

    def __init__(self, spoken_of: int = 128) -> None:
        self._messages: deque[tuple[int, str, Any]] = deque(maxlen=2 * max(128, spoken_of))
        self._statuses: deque[tuple[int, Status]] = deque(maxlen=64)

    def add_message(self, part: str, source_ns: int, message: Any) -> list[TickAction]:
        """Takes an action message; returns the ticks that are complete now, oldest first."""
        self._messages.append((source_ns, part, message))
        return self._complete()

    def add_status(self, source_ns: int, status: Status) -> list[TickAction]:
        """Takes a status; returns the ticks that are complete now, oldest first."""
        self._statuses.append((source_ns, status))
        return self._complete()

    def _complete(self) -> list[TickAction]:
        ticks = []
        while self._statuses:
            source_ns, status = self._statuses[0]
            mine = [entry for entry in self._messages if entry[0] <= source_ns]
            if len(mine) < status.sent:
                # A later tick that is whole shows that what is missing here was lost.
                if len(self._statuses) == 1 or not self._later_is_whole():
                    break
                mine = []
            else:
                latest = {part: message for _, part, message in sorted(mine, key=lambda e: e[0])}
                ticks.append(TickAction(status, latest if status.sent else {}))
            self._statuses.popleft()
            later = (entry for entry in self._messages if entry[0] > source_ns)
            self._messages = deque(later, maxlen=self._messages.maxlen)
        return ticks

    def _later_is_whole(self) -> bool:
        """Topics keep their order: after a whole tick, nothing of an earlier one can come."""
        return any(
            sum(start < at <= end for at, _, _ in self._messages) >= status.sent > 0
            for (start, _), (end, status) in pairwise(self._statuses)
        )
