"""Lockstep: the simulator waits for the answers to a tick before it goes on to the next.

Freshness is then equality of stamps, and wall time plays no part but here: after `RESEND_S` the
tick is sent again, since a participant may not have been there for the first time, and after
`GIVE_UP_S` the episode ends.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

RESEND_S = 1.0
GIVE_UP_S = 10.0


class Lockstep:
    """Who has yet to answer the present tick, and what happens then.

    Args:
        participants: who must answer each tick.
    """

    def __init__(self, participants: Collection[str]) -> None:
        self._participants = frozenset(participants)
        self._missing: set[str] = set()
        self._then: Callable[[], None] | None = None
        self._tick_ns = 0
        self._sent_s = self._first_s = 0.0

    @property
    def waiting(self) -> bool:
        """Whether a tick is out that not all have answered."""
        return self._then is not None

    @property
    def missing(self) -> str:
        """For people: who has not answered."""
        return ' and '.join(sorted(self._missing))

    def wait(self, tick_ns: int, now_s: float, then: Callable[[], None]) -> None:
        """A tick was sent at wall time `now_s`; `then` is called when all have answered."""
        self._missing = set(self._participants)
        self._tick_ns, self._then = tick_ns, then
        self._sent_s = self._first_s = now_s
        self._go_on_if_whole()

    def answer(self, participant: str, tick_ns: int) -> None:
        """Somebody has answered; what answers another tick is an echo and counts for nothing."""
        if self.waiting and tick_ns == self._tick_ns:
            self._missing.discard(participant)
            self._go_on_if_whole()

    def resend_due(self, now_s: float) -> bool:
        """Whether to send the tick again; counted as sent if so."""
        due = self.waiting and now_s - self._sent_s >= RESEND_S
        if due:
            self._sent_s = now_s
        return due

    def give_up_due(self, now_s: float) -> bool:
        """Whether it has taken too long; nobody is waited for any more if so."""
        due = self.waiting and now_s - self._first_s >= GIVE_UP_S
        if due:
            self._then = None
        return due

    def _go_on_if_whole(self) -> None:
        if not self._missing and self._then is not None:
            then, self._then = self._then, None
            then()
