"""When each message of an episode was received, by a wall clock that may be set back."""

from __future__ import annotations

SET_BACK_NS = 1_000_000_000
"""By so much at least it was set, and did not only run slower for a while."""


class ReceiptTimes:
    """Times that never go back within a topic, and after a clock was set back in none.

    A message that had to be sent again is received after those which it holds up. A clock that
    is set back says that what comes now came before: those times are used twice, and nothing
    tells a frame of the one from a frame of the other. So they stand still until the clock has
    caught up: no tick of that while finds an observation that was received by then, and the
    messages stay in the order in which they came.
    """

    def __init__(self) -> None:
        self._ahead_ns: int | None = None  # of the wall clock, before the steady one
        self._not_before_ns = 0
        self._newest_ns: dict[str, int] = {}  # by topic

    def forget(self) -> None:
        """Another episode begins, in whatever time it is now."""
        self._not_before_ns = 0
        self._newest_ns.clear()

    def look_at(self, wall_ns: int, steady_ns: int) -> None:
        """Notices, between two messages, that the wall clock was set back."""
        before_ns, self._ahead_ns = self._ahead_ns, wall_ns - steady_ns
        if before_ns is not None and self._ahead_ns < before_ns - SET_BACK_NS:
            self._not_before_ns = max(self._newest_ns.values(), default=0)

    def at(self, topic: str, received_ns: int) -> int:
        """When a message counts as received, ns.

        Args:
            topic: of it.
            received_ns: what the wall clock said.
        """
        time_ns = max(received_ns, self._newest_ns.get(topic, 0), self._not_before_ns)
        self._newest_ns[topic] = time_ns
        return time_ns
