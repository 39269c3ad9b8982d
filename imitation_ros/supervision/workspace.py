"""The workspace: a box that the tool must not leave, and targets that were out of bounds."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil

from imitation_ros.errors import ContractError
from imitation_ros.frames.contract import Contract
from imitation_ros.frames.urdf import Tool
from imitation_ros.types import Array
import numpy as np

STEP = 0.1
"""Of a joint (rad or m) between two looks at where the tool would be."""
HALVINGS = 12


class Workspace:
    """Ends the way to a joint target where the tool would leave the box.

    Args:
        contract: of the robot; its `home` must lie inside.
        part: action part of absolute joint targets.
        tool: tells where the tool is.
        low: (3,) corner of the box in the robot's root link, m.
        high: (3,) the other corner.

    Attributes:
        part: which targets it is about.

    Raises:
        ContractError: there is no such part, no such box, or `home` is outside.
    """

    def __init__(
        self,
        contract: Contract,
        part: str,
        tool: Tool,
        low: Sequence[float],
        high: Sequence[float],
    ) -> None:
        self.part, self._tool = part, tool
        self._low, self._high = corners(low, high)
        home = contract.home.get(part)
        if home is not None and self.outside(np.array(home)) > 0.0:
            at = [round(float(each), 3) for each in tool.position(np.array(home))]
            raise ContractError(f'home.{part}', f'its tool is at {at}', 'inside the workspace')

    def lacking(self, now_ns: int) -> str:
        """Nothing: where the joints are, the tool is."""
        return ''

    def outside(self, joints: Array) -> float:
        """How far the tool is out of the box, m; 0 inside."""
        at = self._tool.position(joints)
        return float(np.maximum(np.maximum(self._low - at, at - self._high), 0.0).max())

    def scaled(self, commanded: Sequence[float], target: Sequence[float]) -> list[float]:
        """The furthest point of the straight way to `target` up to which the tool stays inside.

        From a place outside the tool may go on as long as it does not get further out.
        """
        start, way = np.array(commanded), np.subtract(target, commanded)
        allowed = self.outside(start) + 1e-9
        looks = max(1, ceil(float(np.abs(way).max()) / STEP))
        for look in range(1, looks + 1):
            if self.outside(start + way * look / looks) > allowed:
                inside, beyond = (look - 1) / looks, look / looks
                for _ in range(HALVINGS):
                    middle = (inside + beyond) / 2
                    if self.outside(start + way * middle) > allowed:
                        beyond = middle
                    else:
                        inside = middle
                return list((start + way * inside).tolist())
        return list(target)


def corners(low: Sequence[float], high: Sequence[float]) -> tuple[Array, Array]:
    """(3,) each.

    Raises:
        ContractError: they span no box.
    """
    lower, upper = np.array(low, float), np.array(high, float)
    if lower.shape != (3,) or upper.shape != (3,) or not (lower < upper).all():
        found = f'{list(low)} to {list(high)}'
        raise ContractError('workspace', found, 'two corners [x, y, z], the lower one first')
    return lower, upper


class Excess:
    """Counts targets that were far out of bounds: a source that insists on them is broken.

    Args:
        most_in_a_row: ticks; 0: any number.

    Attributes:
        tick_ns: the last that was counted.
        total: ticks so far.
        slowed: ticks so far whose target velocity and acceleration limits kept the robot from.
            No row of them is a fault: an ordinary source asks for that now and then, and a slow
            robot behind a fast leader for as long as it moves.
    """

    def __init__(self, most_in_a_row: int) -> None:
        self._most, self._row, self.tick_ns = most_in_a_row, 0, 0
        self.total = self.slowed = 0

    def start(self) -> None:
        """Authority is given anew: what was in a row before is over."""
        self._row = 0

    def count(self, tick_ns: int, excess: str, slowed: bool = False) -> str:
        """Takes what was out of bounds at a tick, '' for nothing; returns the fault, or ''."""
        if tick_ns == self.tick_ns:
            return ''
        self.tick_ns = tick_ns
        self._row = self._row + 1 if excess else 0
        self.total += bool(excess)
        self.slowed += slowed
        if self._most and self._row >= self._most:
            return f'{excess}, {self._row} ticks in a row'
        return ''
