"""Feedback: where the robot is, for those parts of an action that start there."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
import math

from imitation_ros.frames.contract import Contract
from imitation_ros.supervision.limiters import wider
from imitation_ros.types import Array
import numpy as np


@dataclass(frozen=True)
class _Measured:
    vector: Array
    stamp_ns: int | None
    received_ns: int
    late_ns: int  # from its stamp until it came; below 0 for a stamp that is still to come


class Feedback:
    """The newest measured state of each part.

    Args:
        contract: of the robot; a part that has feedback is watched in real time, too, where its
            commands do not start there: velocities of a robot that is not heard from.
        needed: the parts whose state must be known.
    """

    def __init__(self, contract: Contract, needed: Collection[str]) -> None:
        self._contract, self._needed = contract, needed
        self._watched = [
            part for part in contract.actions if part in needed or contract.feedback_source(part)
        ]
        self._measured: dict[str, _Measured] = {}
        self._before: dict[str, _Measured] = {}

    def take(
        self,
        part: str,
        vector: Array,
        stamp_ns: int | None,
        now_ns: int,
        ros_ns: int | None = None,
    ) -> None:
        """Takes the measured state of an action part.

        Args:
            part: of the action.
            vector: (n,).
            stamp_ns: of its header, ROS time.
            now_ns: steady time.
            ros_ns: ROS time; None where stamps do not matter.
        """
        if part in self._measured:
            self._before[part] = self._measured[part]
        late_ns = 0 if stamp_ns is None or ros_ns is None else ros_ns - stamp_ns
        self._measured[part] = _Measured(vector, stamp_ns, now_ns, late_ns)

    @property
    def vectors(self) -> dict[str, Array]:
        """Part → (n,) where it was last."""
        return {part: measured.vector for part, measured in self._measured.items()}

    def of_tick(self, tick_ns: int) -> bool:
        """Lockstep: whether the measured state of the tick has arrived."""
        found = [self._measured.get(part) for part in self._needed]
        return all(measured and measured.stamp_ns in (tick_ns, None) for measured in found)

    def lacking(self, now_ns: int) -> str:
        """Real time: which measured state is missing, old, or cannot be right, or ''.

        It ages on the steady clock from its stamp on, or from its arrival where that says more.
        """
        for part in self._watched:
            source = self._contract.feedback_source(part)
            topic = source.topic if source else ''
            measured = self._measured.get(part)
            if measured is None:
                return f'no feedback of {part} on {topic} yet'
            age_s = (now_ns - measured.received_ns + max(0, measured.late_ns)) / 1e9
            limit_s = source.max_age_s if source else math.inf
            if age_s > limit_s:
                return f'the feedback of {part} on {topic} is {age_s:.2f} s old'
            if -measured.late_ns / 1e9 > limit_s:
                ahead_s = -measured.late_ns / 1e9
                return f'the feedback of {part} on {topic} is stamped {ahead_s:.2f} s ahead'
            if not np.isfinite(measured.vector).all():
                return f'the feedback of {part} on {topic} is not finite'
            if part in self._needed and (element := self._far_out(part, measured.vector)):
                return f'the feedback of {part} on {topic} is far beyond its limits: {element}'
        return ''

    @property
    def jump(self) -> str:
        """Which of the needed parts has moved faster than it can since the message before, or ''.

        It takes two messages that agree for commands to begin there: one may be wild.
        """
        for name, before in self._before.items():
            part, now = self._contract.actions[name], self._measured[name]
            if name not in self._needed:
                continue
            passed_s = max(
                (now.received_ns - before.received_ns) / 1e9, 1 / self._contract.command_hz
            )
            moved = np.abs(now.vector - before.vector)
            beyond = moved - np.multiply(part.max_velocity, passed_s)
            if not (beyond <= 0).all():
                index = int(np.argmax(beyond))
                return f'the feedback of {name} jumped: element {index} by {moved[index]:.3g}'
        return ''

    def _far_out(self, part: str, vector: Array) -> str:
        """The element that no command can have brought there, or ''."""
        bounds = wider(self._contract.actions[part])
        for index, (value, (low, high)) in enumerate(zip(vector, bounds)):
            if not low <= value <= high:
                return f'element {index} is {value:.3g}'
        return ''
