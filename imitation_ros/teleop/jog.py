"""Jogging: deflections of a device → the actions of a contract, whatever their kind."""

from __future__ import annotations

from collections.abc import Mapping

from imitation_ros.errors import ContractError
from imitation_ros.frames.contract import ActionPart, Contract
from imitation_ros.types import Action, Array
import numpy as np


class Jog:
    """Moves one part of the action by deflections, and switches the discrete others.

    Velocities and deltas follow the deflection. Absolute targets are moved on from where the
    robot is measured. A discrete part whose classes are motions takes the class that points where
    the deflection does.

    Args:
        contract: of the robot.
        speed: at full deflection, as a fraction of the part's limits.
        part: which part is jogged; by default the first that moves.

    Attributes:
        size: number of elements that can be deflected.
        feedback: whether it must be told where the robot is.
    """

    def __init__(self, contract: Contract, speed: float = 0.5, part: str = '') -> None:
        moving = [name for name, each in contract.actions.items() if _motions(each)]
        if part not in (moving if part else ['']) or not moving:
            found = part or 'none'
            raise ContractError('actions', f'no part to jog: {found}', f'valid: {moving}')
        self._name = part or moving[0]
        self._part, self._speed = contract.actions[self._name], speed
        self._period_s = 1 / contract.rate_hz
        for name, other in contract.actions.items():
            if name != self._name and not other.discrete:
                raise ContractError(
                    f'actions.{name}', f'a second part of kind {other.kind}', 'one can be jogged'
                )
        self.size = _motions(self._part)
        self.feedback = self._part.absolute
        self._target: Array | None = None
        self._classes = {
            name: 0 for name in contract.actions if contract.actions[name].discrete
        }  # fmt: skip
        self._counts = {name: len(contract.actions[name].classes) for name in self._classes}

    def release(self) -> None:
        """The device was let go: the next action starts where the robot then is."""
        self._target = None

    def switch(self) -> None:
        """Goes on to the next class of each discrete part, such as the gripper's."""
        for name, last in self._classes.items():
            self._classes[name] = (last + 1) % self._counts[name]

    def action(self, deflection: Array, measured: Mapping[str, Array]) -> Action | None:
        """The action for a deflection (size,) of -1 to 1, or None while it lacks feedback."""
        moved = self._moved(np.clip(deflection, -1.0, 1.0), measured.get(self._name))
        if moved is None:
            return None
        classes = {name: np.array([index]) for name, index in self._classes.items()}
        return {**classes, self._name: moved}

    def _moved(self, deflection: Array, measured: Array | None) -> Array | None:
        part = self._part
        if part.discrete:
            return np.array([_nearest_class(part, deflection)])
        if not part.absolute:
            limits = np.where(deflection > 0, part.high, np.negative(part.low))
            return np.array(deflection * limits * self._speed)
        if self._target is None:
            if measured is None:
                return None
            self._target = measured
        step = deflection * part.max_velocity * (self._speed * self._period_s)
        self._target = np.clip(self._target + step, part.low, part.high)
        return self._target


def _motions(part: ActionPart) -> int:
    """How many elements can be deflected: 0 for a part that only switches."""
    if not part.discrete:
        return part.size
    return len(part.values[0]) if part.values and len(part.values[0]) > 1 else 0


def _nearest_class(part: ActionPart, deflection: Array) -> int:
    values = np.array(part.values)
    largest = np.abs(values).max() or 1.0
    return int(np.argmin(np.square(values / largest - deflection).sum(1)))
