"""What a robot does while it goes on, tick by tick: the policy's roll-outs as episodes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from imitation_ros.episodes.align import JITTER
from imitation_ros.errors import MessageError
from imitation_ros.frames.actions import ActionCodec
from imitation_ros.frames.contract import Contract
from imitation_ros.frames.status import TickAction
from imitation_ros.supervision.authority import Mode
from imitation_ros.types import Action, Array, Episode, Frame, Gap, Observation
import numpy as np


@dataclass(frozen=True)
class Step:
    """A tick in which something was executed.

    Attributes:
        tick_ns: the tick.
        mode: of the supervisor.
        observation: what was seen; None for a gap.
        action: what was executed; None where nothing was, or nothing that makes sense.
        reason: why one of the two is missing.
    """

    tick_ns: int
    mode: str
    observation: Observation | None
    action: Action | None
    reason: str = ''

    @property
    def whole(self) -> bool:
        """Whether both are there."""
        return self.observation is not None and self.action is not None


class Steps:
    """Puts a step together from what the supervisor executed and the frame of that tick."""

    def __init__(self, contract: Contract) -> None:
        self._codecs = {name: ActionCodec(part) for name, part in contract.actions.items()}

    def of(self, executed: TickAction, frame: Frame | Gap) -> Step:
        """The step of one decision of the supervisor."""
        status = executed.status
        mode = status.values.get('mode', '')
        if not status.sent:
            reason = status.reason or 'nothing was executed'
            return Step(status.tick_ns, mode, None, None, reason)
        if isinstance(frame, Gap):
            return Step(status.tick_ns, mode, None, None, frame.reason)
        try:
            action = self._action(executed.messages)
        except MessageError as error:
            return Step(status.tick_ns, mode, frame.observation, None, str(error))
        return Step(status.tick_ns, mode, frame.observation, action)

    def _action(self, messages: Mapping[str, object]) -> Action:
        action = {}
        for part, codec in self._codecs.items():
            if part not in messages:
                raise MessageError(f'action {part}: not executed')
            try:
                action[part] = codec.decode(messages[part])
            except MessageError as error:
                raise MessageError(f'action {part}: {error}') from None
            if not np.isfinite(action[part]).all():
                raise MessageError(f'action {part}: not finite: {action[part].tolist()}')
        return action


class Rollouts:
    """Collects the steps that the policy drove, as episodes.

    An episode ends when the supervisor stops, when somebody says so (`end`), when the clock goes
    back, or when it is as long as it may get. A gap, and whatever anybody else drove, begins a new
    segment of it.

    Args:
        contract: of the steps.
        longest: ticks of an episode; what goes on for hours is cut into such pieces.
    """

    def __init__(self, contract: Contract, longest: int) -> None:
        self._period_ns, self._longest = contract.tick_period_ns, longest
        self._finished: list[Episode] = []
        self._begin()

    def add(self, step: Step) -> None:
        """Takes the next step; one that comes a second time is ignored."""
        if step.mode == Mode.STOPPED.value:
            self.end()
        elif step.mode != Mode.POLICY.value or not step.whole:
            self._interrupt(step)
        else:
            self._append(step)

    def end(self, outcome: str = 'unknown') -> None:
        """Ends the episode, if there is one."""
        segment = np.array(self._segments, np.int32)
        if (segment[1:] == segment[:-1]).any():  # else there is no step from one frame to the next
            steps = self._steps
            self._finished.append(
                Episode(
                    np.array([step.tick_ns for step in steps], np.int64),
                    _stacked([step.observation or {} for step in steps]),
                    _stacked([step.action or {} for step in steps]),
                    segment,
                    outcome,
                    dict(self._left_out),
                )
            )
        self._begin()

    def take(self) -> list[Episode]:
        """The episodes that have ended since the last call."""
        finished, self._finished = self._finished, []
        return finished

    def _append(self, step: Step) -> None:
        last_ns = self._steps[-1].tick_ns if self._steps else step.tick_ns - self._period_ns
        if step.tick_ns == last_ns:
            return
        if step.tick_ns < last_ns or len(self._steps) >= self._longest:
            self.end()
        elif step.tick_ns - last_ns > JITTER * self._period_ns:
            self._broken = True
        self._segment += self._broken
        self._broken = False
        self._steps.append(step)
        self._segments.append(self._segment)

    def _interrupt(self, step: Step) -> None:
        self._broken = True
        if step.mode == Mode.POLICY.value and self._steps:
            self._left_out[step.reason] += 1

    def _begin(self) -> None:
        self._steps: list[Step] = []
        self._segments: list[int] = []
        self._segment, self._broken = 0, False
        self._left_out: Counter[str] = Counter()


def _stacked(rows: list[Mapping[str, Array]]) -> dict[str, Array]:
    return {name: np.stack([row[name] for row in rows]) for name in rows[0]}
