"""Handover: a new driver's absolute target may be away from where the robot is.

Within the contract's `max_handover_error` the robot is brought there under the guard's limits,
and what is executed meanwhile is nobody's label; above it the new driver is refused. Relative
actions (velocities, deltas) start from wherever the robot is and need nothing of that.
"""

from __future__ import annotations

from collections.abc import Mapping

from imitation_ros.frames.contract import Contract
from imitation_ros.supervision.guard import Guard
from imitation_ros.types import Action, Array
import numpy as np


class Handover:
    """Compares the new driver's target with where the robot is."""

    def __init__(self, contract: Contract, guard: Guard) -> None:
        self._guard = guard
        self._parts = {name: part for name, part in contract.actions.items() if part.absolute}
        self._reach = {
            name: np.array(part.max_velocity) / contract.rate_hz
            for name, part in self._parts.items()
        }

    def refusal(self, target: Action, measured: Mapping[str, Array]) -> str:
        """Why the robot must not go there, or ''.

        Args:
            target: of the new driver.
            measured: part → (n,) where the robot is; a part that was never measured is refused.
        """
        for name, part in self._parts.items():
            if name not in measured:
                return f'{name}: nobody knows where the robot is'
            error = float(np.abs(target[name] - measured[name]).max())
            if not error <= part.max_handover_error:
                return (
                    f'{name}: {error:.3g} away from where the robot is '
                    f'(max_handover_error {part.max_handover_error:.3g})'
                )
        return ''

    def far(self, target: Action) -> bool:
        """Whether it takes more than a tick at full speed from the last command to there.

        Of a target that the robot must not reach, the way up to the limit counts.
        """
        commanded, end = self._guard.commanded, self._guard.destination(target)
        return any(
            bool((np.abs(end[name] - commanded[name]) > reach).any())
            for name, reach in self._reach.items()
        )
