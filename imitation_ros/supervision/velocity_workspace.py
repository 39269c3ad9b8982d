"""The workspace where a source commands the tool's velocity: it brakes before the walls."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf, sqrt

from imitation_ros.errors import ContractError
from imitation_ros.frames.contract import ActionPart, Contract
from imitation_ros.supervision.workspace import corners
from imitation_ros.types import Array
import numpy as np

AXES = ('linear.x', 'linear.y', 'linear.z')
LATENCY_S = 0.2
"""That is reckoned with. Near the wall the speed is the distance by this time; a tool that is
steered by where it was more than 1/e of it ago would swing."""
MAX_AGE_S = 0.1
"""An older pose of the tool puts the robot on hold."""


class VelocityWorkspace:
    """Limits each component of a tool's velocity by its distance from the wall ahead.

    Args:
        contract: of the robot, with one part that commands the tool's linear velocity in m/s.
        topic: where the pose of the tool is told, for messages.
        low: (3,) corner of the box in the frame of the part, m.
        high: (3,) the other corner.

    Attributes:
        part: which targets it is about.
        frame_id: in which the tool's pose must be told.

    Raises:
        ContractError: there is no such part, or no such box.
    """

    def __init__(
        self, contract: Contract, topic: str, low: Sequence[float], high: Sequence[float]
    ) -> None:
        self.part, part = _tool_velocity(contract)
        self.frame_id, self._topic = part.frame_id, topic
        fields = list(part.wire_fields)
        self._columns = [_column(fields, axis) for axis in AXES]
        self._braking = [part.max_acceleration[column] for column in self._columns]
        self._low, self._high = corners(low, high)
        self._at: Array | None = None
        self._newest = ''  # what is wrong with it, for messages
        self._born_ns = self._late_ns = 0

    def take(self, position: Array, now_ns: int, late_ns: int = 0) -> None:
        """Takes the (3,) position of the tool, m, at a steady time, that late already.

        Below 0 it is stamped ahead: from a clock that cannot be trusted. A position that is not
        finite is none: the last one ages.
        """
        finite = np.isfinite(position).all()
        self._newest = '' if finite else '; the newest is not finite'
        if not finite:
            return
        self._at, self._born_ns, self._late_ns = position, now_ns - max(0, late_ns), late_ns

    def lacking(self, now_ns: int) -> str:
        """Why nobody knows where the tool is, or ''."""
        if self._at is None:
            return f'no pose of the tool on {self._topic} yet{self._newest}'
        age_s = (now_ns - self._born_ns) / 1e9
        if age_s > MAX_AGE_S:
            return f'the pose of the tool on {self._topic} is {age_s:.2f} s old{self._newest}'
        if -self._late_ns / 1e9 > MAX_AGE_S:
            ahead_s = -self._late_ns / 1e9
            return f'the pose of the tool on {self._topic} is stamped {ahead_s:.2f} s ahead'
        return ''

    def scaled(self, commanded: Sequence[float], target: Sequence[float]) -> list[float]:
        """The velocity, with which the tool can still stop before the wall; outside, back in."""
        velocity = list(target)
        for axis, (column, braking) in enumerate(zip(self._columns, self._braking)):
            down = up = 0.0  # of an unknown place nothing is known but that it may be the wall
            if self._at is not None:
                down = _stoppable(float(self._at[axis] - self._low[axis]), braking)
                up = _stoppable(float(self._high[axis] - self._at[axis]), braking)
            velocity[column] = min(max(velocity[column], -down), up)
        return velocity


def _tool_velocity(contract: Contract) -> tuple[str, ActionPart]:
    found = [
        (name, part)
        for name, part in contract.actions.items()
        if part.kind in ('velocity', 'delta')
        and all(any(f.endswith(axis) for f in part.wire_fields) for axis in AXES)
    ]
    if len(found) != 1:
        names = ', '.join(name for name, _ in found) or 'none'
        raise ContractError('actions', f'tool velocities: {names}', 'a workspace is of one part')
    ((name, part),) = found
    units = {part.units[_column(list(part.wire_fields), axis)] for axis in AXES}
    if units != {'m/s'}:
        found_units = ', '.join(sorted(units))
        raise ContractError(f'actions.{name}.units', found_units, 'm/s, for a workspace')
    return name, part


def _column(fields: Sequence[str], axis: str) -> int:
    return next(index for index, field in enumerate(fields) if field.endswith(axis))


def _stoppable(distance: float, braking: float) -> float:
    """The highest speed that comes to rest within a distance, after the latency; m, m/s²."""
    if distance <= 0.0 or braking == inf:
        return max(0.0, distance / LATENCY_S)
    reaction = braking * LATENCY_S
    return sqrt(reaction * reaction + 2 * braking * distance) - reaction
