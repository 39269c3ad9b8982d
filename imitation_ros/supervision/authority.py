"""Authority: who drives. Modes, and the events that change them, as one table.

An authority is given by `resume` and to nobody else than the one source that is live; it is lost
by `stop`. In between, a source that falls silent puts the robot on hold, and hold ends by itself
only when that same source is live again; any other source needs a `resume`.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum

STREAMS = ('policy', 'teleop')
"""The streams that may drive."""


class Mode(str, Enum):
    """What the supervisor does.

    Attributes:
        STOPPED: nobody has authority; the robot stands.
        HOLD: `holder` has authority but is not live; the robot stands.
        EXPERT: the teleoperation stream drives.
        POLICY: the policy stream drives.
    """

    STOPPED = 'stopped'
    HOLD = 'hold'
    EXPERT = 'expert'
    POLICY = 'policy'


class Event(Enum):
    """What changes the mode."""

    STOP = 'somebody called stop'
    EXPERT_GIVEN = 'resume, and teleop was the one live source'
    POLICY_GIVEN = 'resume, and policy was the one live source'
    HOLDER_LOST = 'the source that drives is no longer live'
    EXPERT_BACK = 'teleop holds authority and is live again'
    POLICY_BACK = 'policy holds authority and is live again'


TRANSITIONS: Mapping[tuple[Mode, Event], Mode] = {
    (Mode.STOPPED, Event.STOP): Mode.STOPPED,
    (Mode.STOPPED, Event.EXPERT_GIVEN): Mode.EXPERT,
    (Mode.STOPPED, Event.POLICY_GIVEN): Mode.POLICY,
    (Mode.EXPERT, Event.STOP): Mode.STOPPED,
    (Mode.EXPERT, Event.HOLDER_LOST): Mode.HOLD,
    (Mode.POLICY, Event.STOP): Mode.STOPPED,
    (Mode.POLICY, Event.HOLDER_LOST): Mode.HOLD,
    (Mode.HOLD, Event.STOP): Mode.STOPPED,
    (Mode.HOLD, Event.EXPERT_BACK): Mode.EXPERT,
    (Mode.HOLD, Event.POLICY_BACK): Mode.POLICY,
    (Mode.HOLD, Event.EXPERT_GIVEN): Mode.EXPERT,
    (Mode.HOLD, Event.POLICY_GIVEN): Mode.POLICY,
}
"""(mode, event) → mode; what is not here does not happen."""

GIVEN = {'teleop': Event.EXPERT_GIVEN, 'policy': Event.POLICY_GIVEN}
BACK = {'teleop': Event.EXPERT_BACK, 'policy': Event.POLICY_BACK}


class Authority:
    """The state machine; starts `stopped`.

    What it is told about the sources is `problems`: stream → '' if it is live, else why not.

    Attributes:
        mode: the present mode.
        holder: the stream that has authority, also while on hold; None while stopped.
        reason: for people: why the mode is what it is.
    """

    def __init__(self) -> None:
        self.mode = Mode.STOPPED
        self.holder: str | None = None
        self.reason = 'not resumed yet'

    @property
    def driving(self) -> bool:
        """Whether the holder's actions are to be executed."""
        return self.mode in (Mode.EXPERT, Mode.POLICY)

    def update(self, problems: Mapping[str, str]) -> None:
        """Follows the holder in and out of hold."""
        if self.holder is None:
            return
        problem = problems[self.holder]
        if self.driving and problem:
            self._go(Event.HOLDER_LOST, f'{self.holder}: {problem}')
        elif self.mode is Mode.HOLD and not problem:
            self._go(BACK[self.holder], f'{self.holder} is live again')
        elif self.mode is Mode.HOLD:
            self.reason = f'{self.holder}: {problem}'

    def resume(self, problems: Mapping[str, str]) -> tuple[bool, str]:
        """Gives authority to the one live source; returns whether, and the answer for people."""
        self.update(problems)
        if self.driving:
            return True, f'{self.holder} has authority already'
        live = [stream for stream, problem in problems.items() if not problem]
        if not live:
            found = '; '.join(f'{stream}: {problem}' for stream, problem in problems.items())
            return False, f'no source is live: {found}'
        if len(live) > 1:
            return False, f'{" and ".join(live)} are live; leave one of them running'
        self.holder = live[0]
        self._go(GIVEN[self.holder], f'resumed with {self.holder}')
        return True, f'{self.holder} has authority'

    def stop(self, reason: str) -> str:
        """Takes authority away, whoever has it; returns the answer for people."""
        was = self.mode
        self._go(Event.STOP, reason)
        self.holder = None
        return f'stopped (was {was.value})'

    def _go(self, event: Event, reason: str) -> None:
        self.mode = TRANSITIONS[self.mode, event]
        self.reason = reason
