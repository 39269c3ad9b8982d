"""What came in on a topic: how many messages, how often, and how many are missing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from imitation_ros.episodes.accounting import account, Numbers


@dataclass(frozen=True)
class Report:
    """How a topic did since the report before.

    Attributes:
        rate_hz: of the messages received.
        troubles: for people; empty while all is well.
    """

    rate_hz: float
    troubles: tuple[str, ...]


class Traffic:
    """Counts the messages of one topic.

    Args:
        started_ns: from when on.
        before: publisher → number of its last message until then.

    Attributes:
        numbers: which messages came, and which did not (`episodes/accounting.py`).
        largest_gap_ns: longest time between two messages.
        last_ns: when the newest was received, None before the first.
    """

    def __init__(self, started_ns: int, before: Mapping[bytes | None, int] | None = None) -> None:
        self.numbers = Numbers(before or {})
        self.largest_gap_ns = 0
        self.last_ns: int | None = None
        self._first_ns = self._started_ns = started_ns
        self._reported = (started_ns, 0, 0)  # when, messages and lost until then
        self._gap_ns = 0  # the largest since then

    def add(self, received_ns: int, sequence: int | None, publisher: bytes | None) -> bool:
        """Takes note of one message; returns False if it is one that came before.

        A latched message comes again with each new subscription.

        Args:
            received_ns: when, wall time.
            sequence: number that its publisher gave it.
            publisher: who that was, None where it is not known.
        """
        if not self.numbers.add(sequence, publisher):
            return False
        if self.last_ns is None:
            self._first_ns = received_ns
        elif received_ns - self.last_ns > self._gap_ns:
            self._gap_ns = received_ns - self.last_ns
            self.largest_gap_ns = max(self.largest_gap_ns, self._gap_ns)
        self.last_ns = received_ns
        return True

    @property
    def messages(self) -> int:
        """Received so far."""
        return self.numbers.messages

    @property
    def lost(self) -> int | None:
        """Missing so far, None if that cannot be known."""
        return self.numbers.lost

    def age_ns(self, now_ns: int) -> int:
        """How long ago the newest message came; before the first, how long we have waited."""
        return now_ns - (self._started_ns if self.last_ns is None else self.last_ns)

    @property
    def rate_hz(self) -> float:
        """Mean rate from the first to the last message; 0 with fewer than two."""
        if self.last_ns is None or self.last_ns <= self._first_ns:
            return 0.0
        return (self.messages - 1) * 1e9 / (self.last_ns - self._first_ns)

    def report(self, now_ns: int, max_age_s: float | None, publishers: int) -> Report:
        """What happened since the last report.

        Args:
            now_ns: wall time.
            max_age_s: a longer silence is trouble; None where any is fine.
            publishers: how many there are now.
        """
        then_ns, messages, lost = self._reported
        gap_ns, self._gap_ns = self._gap_ns, 0
        self._reported = (now_ns, self.messages, self.lost or 0)
        troubles = []
        if max_age_s is not None and self.age_ns(now_ns) > max_age_s * 1e9:
            troubles.append(f'stopped: nothing for {self.age_ns(now_ns) / 1e9:.2f} s')
        elif not publishers and self.messages:
            troubles.append('stopped: its publisher is gone')
        if max_age_s is not None and gap_ns > max_age_s * 1e9:
            troubles.append(f'a gap of {gap_ns / 1e9:.2f} s (at most {max_age_s} s)')
        if (self.lost or 0) > lost:
            troubles.append(f'{(self.lost or 0) - lost} messages lost')
        rate_hz = (self.messages - messages) * 1e9 / max(1, now_ns - then_ns)
        return Report(rate_hz, tuple(troubles))

    def summary(self, written: int | None = None) -> dict[str, float | int | None]:
        """The counts, for an episode's metadata.

        Args:
            written: how many the file holds; all that came if None.
        """
        return {
            'messages': self.messages,
            **account(self.numbers, self.messages if written is None else written),
            'rate_hz': round(self.rate_hz, 3),
            'largest_gap_s': round(self.largest_gap_ns / 1e9, 6),
        }
