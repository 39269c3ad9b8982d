"""One source as the supervisor sees it: its newest action, and whether it is live."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping

from imitation_ros.errors import MessageError
from imitation_ros.frames.actions import ActionCodec
from imitation_ros.frames.contract import Contract
from imitation_ros.frames.status import TickAction
from imitation_ros.supervision.guard import Guard, Refused
from imitation_ros.types import Action

RATE_FACTOR = 10
"""So many times the contract's rate is a flood."""
FLOOD = 30
"""Actions that are counted for that; fewer may have waited in a queue."""


class Watch:
    """Follows one stream.

    Args:
        stream: 'policy' or 'teleop'; teleop must also say that its device is engaged.
        contract: of the robot; a source that was made for another is never live.
        guard: refuses what must not be sent.

    Attributes:
        action: the newest action, None where there is none that may be sent.
        tick_ns: which tick the newest status speaks of; None before the first.
        received_ns: when that came.
        source: name of the node that sent it.
        values: what its status says beside that.
        fault: why the newest action cannot be executed, '' if it can.
        renewed: whether it has another checkpoint than before, and nobody has looked since where
            that wants the robot.
        refused: how many actions were malformed, not finite, or out of order.
    """

    def __init__(self, stream: str, contract: Contract, guard: Guard) -> None:
        self._stream, self._fingerprint, self._guard = stream, contract.fingerprint, guard
        self._codecs = {name: ActionCodec(part) for name, part in contract.actions.items()}
        self.action: Action | None = None
        self.tick_ns: int | None = None
        self.received_ns = self._born_ns = 0
        self.source = ''
        self.values: Mapping[str, str] = {}
        self.fault = 'nothing heard yet'
        self.renewed = False
        self.refused = 0
        self._flood_ns = contract.tick_period_ns * FLOOD // RATE_FACTOR
        self._heard: deque[int] = deque(maxlen=FLOOD)

    def take(self, tick: TickAction, now_ns: int, fault: str = '', late_ns: int = 0) -> None:
        """Takes the whole action of a tick, or the word that there is none.

        Args:
            tick: from the stream.
            now_ns: steady time.
            fault: why it cannot be executed, where the caller knows that already.
            late_ns: how old it is already.
        """
        self.tick_ns, self.received_ns = tick.status.tick_ns, now_ns
        self._born_ns = now_ns - max(0, late_ns)
        self._heard.append(now_ns)
        before = self.values.get('checkpoint')
        self.source, self.values = tick.status.source, tick.status.values
        self.renewed |= before not in (None, self.values.get('checkpoint', before))
        self.action, self.fault = None, fault or self._unfit(tick)
        if self.fault:
            return
        try:
            action = {part: self._codecs[part].decode(m) for part, m in tick.messages.items()}
            self._guard.check(action)
        except (MessageError, Refused) as error:
            self.refuse(str(error))
        else:
            self.action = action

    def refuse(self, reason: str) -> None:
        """Counts something that must not be executed, and says so until the next good action."""
        self.action, self.fault = None, f'refused: {reason}'
        self.refused += 1

    @property
    def planned_ns(self) -> int:
        """The tick whose observation the newest action comes from.

        Its own tick, unless a policy that carries out a chunk says 'planned'; 0 before any.
        """
        planned = self.values.get('planned', '')
        return int(planned) if planned.isdecimal() else self.tick_ns or 0

    @property
    def lost(self) -> bool:
        """Whether the source's last word was no decision of whoever is at the device."""
        return self.values.get('lost') == 'true'

    @property
    def motion(self) -> float | None:
        """How far a device says that somebody moves it, 0 to 1; None for one that says nothing."""
        try:
            motion = float(self.values['motion'])
        except (KeyError, ValueError):
            return None
        return motion if motion == motion else None  # NaN is no number

    def problem(self, now_ns: int, stale_after_ns: int) -> str:
        """Why the source is not live now, or ''."""
        if self.tick_ns is not None and now_ns - self._born_ns > stale_after_ns:
            silent_s, limit_s = (now_ns - self.received_ns) / 1e9, stale_after_ns / 1e9
            if silent_s > limit_s:
                return f'silent for {silent_s:.2f} s (at most {limit_s:.2f} s)'
            age_s = (now_ns - self._born_ns) / 1e9
            return self.fault or f'its action is {age_s:.2f} s old (at most {limit_s:.2f} s)'
        return self.fault or self._flooding()

    def _flooding(self) -> str:
        span_ns = self._heard[-1] - self._heard[0] if len(self._heard) == FLOOD else None
        if span_ns is None or span_ns > self._flood_ns:
            return ''
        return f'floods: {FLOOD} actions within {span_ns / 1e9:.3f} s'

    def _unfit(self, tick: TickAction) -> str:
        found = tick.status.values.get('fingerprint', 'none')
        if found != self._fingerprint:
            return f'made for another contract ({found[:8]}; ours is {self._fingerprint[:8]})'
        if self._stream == 'teleop' and tick.status.values.get('engaged') != 'true':
            return tick.status.reason or 'the device is not engaged'
        if not tick.messages:
            return tick.status.reason or 'it has no action'
        return ''
