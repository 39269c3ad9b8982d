"""Corrections: whether what the expert showed was long enough to teach."""

from __future__ import annotations

from collections.abc import Mapping

from imitation_ros.supervision.authority import Mode


class Corrections:
    """Counts the ticks that the expert drives in a row.

    A correction is what the expert does from a takeover until the policy drives again; a pause, in
    which the robot holds, splits what it teaches, and does not end it.

    Attributes:
        first_tick_ns: of the correction that goes on, else of the last one; None before any.
        notice: what to tell the operator of the last correction, until the next one or an episode
            begins; '' if it was long enough, or where the policy does not say how much it takes.
    """

    def __init__(self) -> None:
        self.first_tick_ns: int | None = None
        self.notice = ''
        self._ticks: set[int] = set()
        self._over = False

    def start(self) -> None:
        """A new episode: what was done in the last one is beyond recall."""
        self.first_tick_ns, self.notice = None, ''
        self._ticks.clear()

    def update(self, tick_ns: int, mode: Mode, policy: Mapping[str, str]) -> None:
        """Takes the mode of a tick.

        Args:
            tick_ns: the tick.
            mode: of the supervisor.
            policy: its status values, of which 'history' and 'chunk' count.
        """
        if mode is Mode.EXPERT:
            if not self._ticks:
                self.notice = ''
            if self._over or self.first_tick_ns is None:
                self.first_tick_ns, self._over = tick_ns, False
            self._ticks.add(tick_ns)
            return
        self._over = self._over or mode in (Mode.POLICY, Mode.STOPPED)
        if self._ticks:
            self.notice = _too_short(len(self._ticks), policy)
            self._ticks.clear()

    def discard(self) -> int | None:
        """Takes back the correction that goes on, or the last one; returns its first tick (ns).

        None where there is none that was not taken back before. What the expert does from now on
        is another one.
        """
        first, self.first_tick_ns = self.first_tick_ns, None
        self._ticks.clear()
        return first


def _too_short(ticks: int, policy: Mapping[str, str]) -> str:
    lengths = [policy.get(name, '') for name in ('history', 'chunk')]
    if not all(length.isdecimal() for length in lengths):
        return ''
    history, chunk = map(int, lengths)
    needed = history + chunk - 1  # frames of one training window
    if ticks >= needed:
        return ''
    return (
        f'the correction was too short to teach: {ticks} ticks; the policy looks at {history} and '
        f'predicts {chunk}, so it takes {needed}'
    )
