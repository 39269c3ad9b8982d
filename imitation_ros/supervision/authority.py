"""Authority: who drives. Modes, and the events that change them, as one table.

Authority is given by `resume`: to the one source that is live, or to a gate, which hands it from
one source to the other. It is lost by `stop`, and by a fault, which latches: nothing but another
`resume` ends it. In between, a source that falls silent puts the robot on hold, and hold ends
when that source is live again or the gate has chosen the other.
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
        HOLD: `holder` has authority but is not live, or may not take over; the robot stands.
        HANDOFF: the robot is on its way to where the new holder wants it.
        EXPERT: the teleoperation stream drives.
        POLICY: the policy stream drives.
    """

    STOPPED = 'stopped'
    HOLD = 'hold'
    HANDOFF = 'handoff'
    EXPERT = 'expert'
    POLICY = 'policy'


class Event(Enum):
    """What changes the mode."""

    STOP = 'somebody called stop, or there is a fault'
    GATE_GIVEN = 'resume, and a gate is to choose'
    EXPERT_GIVEN = 'resume or the gate gives teleop authority, or it is live again'
    POLICY_GIVEN = 'resume or the gate gives the policy authority, or it is live again'
    HOLDER_LOST = 'the source that has authority is not live, or may not take over'
    FAR_AWAY = 'the new holder wants the robot somewhere else'
    EXPERT_REACHED = 'the robot is where teleop wants it'
    POLICY_REACHED = 'the robot is where the policy wants it'


TRANSITIONS: Mapping[tuple[Mode, Event], Mode] = {
    (Mode.STOPPED, Event.STOP): Mode.STOPPED,
    (Mode.STOPPED, Event.GATE_GIVEN): Mode.HOLD,
    (Mode.STOPPED, Event.EXPERT_GIVEN): Mode.EXPERT,
    (Mode.STOPPED, Event.POLICY_GIVEN): Mode.POLICY,
    (Mode.HOLD, Event.STOP): Mode.STOPPED,
    (Mode.HOLD, Event.GATE_GIVEN): Mode.HOLD,
    (Mode.HOLD, Event.EXPERT_GIVEN): Mode.EXPERT,
    (Mode.HOLD, Event.POLICY_GIVEN): Mode.POLICY,
    (Mode.HOLD, Event.HOLDER_LOST): Mode.HOLD,
    (Mode.HANDOFF, Event.STOP): Mode.STOPPED,
    (Mode.HANDOFF, Event.EXPERT_GIVEN): Mode.EXPERT,
    (Mode.HANDOFF, Event.POLICY_GIVEN): Mode.POLICY,
    (Mode.HANDOFF, Event.HOLDER_LOST): Mode.HOLD,
    (Mode.HANDOFF, Event.EXPERT_REACHED): Mode.EXPERT,
    (Mode.HANDOFF, Event.POLICY_REACHED): Mode.POLICY,
    (Mode.EXPERT, Event.STOP): Mode.STOPPED,
    (Mode.EXPERT, Event.POLICY_GIVEN): Mode.POLICY,
    (Mode.EXPERT, Event.HOLDER_LOST): Mode.HOLD,
    (Mode.EXPERT, Event.FAR_AWAY): Mode.HANDOFF,
    (Mode.POLICY, Event.STOP): Mode.STOPPED,
    (Mode.POLICY, Event.EXPERT_GIVEN): Mode.EXPERT,
    (Mode.POLICY, Event.HOLDER_LOST): Mode.HOLD,
    (Mode.POLICY, Event.FAR_AWAY): Mode.HANDOFF,
}
"""(mode, event) → mode; what is not here does not happen."""

GIVEN = {'teleop': Event.EXPERT_GIVEN, 'policy': Event.POLICY_GIVEN}
REACHED = {'teleop': Event.EXPERT_REACHED, 'policy': Event.POLICY_REACHED}


class Authority:
    """The state machine; starts `stopped`.

    What it is told about the sources is `problems`: stream → '' if it is live, else why not.

    Attributes:
        mode: the present mode.
        holder: the stream that has authority, also while on hold; None while stopped.
        gated: whether a gate hands authority on.
        fault: why nobody may drive until the next `resume`, '' if there is no fault.
        reason: for people: why the mode is what it is.
    """

    def __init__(self) -> None:
        self.mode = Mode.STOPPED
        self.holder: str | None = None
        self.gated = False
        self.fault = ''
        self.reason = 'not resumed yet'

    @property
    def driving(self) -> bool:
        """Whether the holder's actions are to be executed."""
        return self.mode in (Mode.EXPERT, Mode.POLICY, Mode.HANDOFF)

    def drives(self, stream: str) -> bool:
        """Whether this one's actions are executed now."""
        return self.driving and self.holder == stream

    def update(self, problems: Mapping[str, str]) -> None:
        """Follows the holder in and out of hold."""
        if self.holder is None:
            return
        problem = problems[self.holder]
        if self.driving and problem:
            self._go(Event.HOLDER_LOST, f'{self.holder}: {problem}')
        elif self.mode is Mode.HOLD and not problem:
            self._go(GIVEN[self.holder], f'{self.holder} is live again')
        elif self.mode is Mode.HOLD:
            self.reason = f'{self.holder}: {problem}'

    def resume(self, problems: Mapping[str, str], gated: bool = False) -> tuple[bool, str]:
        """Gives authority to the one live source; returns whether, and the answer for people.

        Args:
            problems: of the sources. It ends no hold of the holder: `update` does.
            gated: a gate is to choose between them from now on; the robot holds until it has.
        """
        if self.driving:
            return True, f'{self.holder} has authority already'
        live = [stream for stream, problem in problems.items() if not problem]
        if not live:
            found = '; '.join(f'{stream}: {problem}' for stream, problem in problems.items())
            return False, f'no source is live: {found}'
        if len(live) > 1 and not gated:
            both = ' and '.join(live)
            return False, f'{both} are live; leave one of them running, or set a gate'
        self.holder, self.gated, self.fault = live[0], gated, ''
        if gated:
            self._go(Event.GATE_GIVEN, 'the gate has yet to choose')
            return True, 'the gate has authority'
        self._go(GIVEN[self.holder], f'resumed with {self.holder}')
        return True, f'{self.holder} has authority'

    def hand_to(self, stream: str, problem: str, reason: str) -> bool:
        """The gate's choice; returns whether the stream drives now and did not before.

        Args:
            stream: who should drive.
            problem: why it cannot, '' if it can; the robot then holds until it can, or until the
                gate chooses the other.
            reason: for people.
        """
        if self.holder is None:
            return False
        taken = not problem and not self.drives(stream)
        self.holder = stream
        if problem:
            self._go(Event.HOLDER_LOST, f'{stream}: {problem}')
        elif taken:
            self._go(GIVEN[stream], reason)
        else:
            self.reason = reason
        return taken

    def ramp(self, far_away: bool) -> None:
        """Says whether the robot is away from where the one who drives wants it."""
        if self.holder is None or not self.driving:
            return
        if far_away and self.mode is not Mode.HANDOFF:
            self._go(Event.FAR_AWAY, f'on the way to where {self.holder} wants it')
        elif not far_away and self.mode is Mode.HANDOFF:
            self._go(REACHED[self.holder], f'where {self.holder} wants it')

    def stop(self, reason: str, fault: bool = False) -> str:
        """Takes authority away, whoever has it; returns the answer for people.

        Args:
            reason: for people.
            fault: whether it is a fault, which is named until the next `resume`.
        """
        was = self.mode
        self._go(Event.STOP, reason)
        self.holder, self.gated = None, False
        if fault:
            self.fault = reason
        return f'stopped (was {was.value})'

    def _go(self, event: Event, reason: str) -> None:
        self.mode = TRANSITIONS[self.mode, event]
        self.reason = reason
