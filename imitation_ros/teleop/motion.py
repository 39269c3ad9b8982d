"""How far somebody moves a device, by the actions that it would give."""

from __future__ import annotations

from collections import deque

from imitation_ros.frames.contract import Contract
from imitation_ros.types import Action
import numpy as np

LATELY_NS = 1_000_000_000
"""A device that nobody moved for that long rests, and one that is moved slower than it shows."""


class Motion:
    """Compares a device's action with those of the last second.

    Classes are left out: many devices say of a gripper what the robot is told.
    """

    def __init__(self, contract: Contract) -> None:
        self._scales = {
            name: (np.array(part.high) - np.array(part.low)) / 2
            for name, part in contract.actions.items()
            if not part.discrete
        }
        self._lately: deque[tuple[int, Action]] = deque()

    def of(self, action: Action, now_ns: int) -> float:
        """How far the element that moved most did, from 0 to 1, which is half its range.

        Args:
            action: of this tick.
            now_ns: steady time.
        """
        self._lately.append((now_ns, action))
        while now_ns - self._lately[0][0] > LATELY_NS:
            self._lately.popleft()
        moved = [
            float(np.abs((action[name] - other[name]) / scale).max())
            for _, other in self._lately
            for name, scale in self._scales.items()
        ]
        return min(1.0, max(moved, default=0.0))
