"""Jogging: deflections of a device → the actions of a contract, whatever their kind."""

from __future__ import annotations

from collections.abc import Mapping

from imitation_ros.errors import ContractError
from imitation_ros.frames.contract import ActionPart, Contract
from imitation_ros.types import Action, Array
import numpy as np

SWITCH_S = 1.0
"""How long a switch counts while others drive: it may come just before a takeover, and is a label
where the expert is asked about every tick; but none that was forgotten may open a gripper."""


class Jog:
    """Moves one part of the action by deflections, and switches the discrete others.

    Velocities and deltas follow the deflection. Absolute targets are moved on from where the
    robot is measured. A discrete part whose classes are motions takes the class that points where
    the deflection does. While others drive, `follow` keeps it where they brought the robot.

    Args:
        contract: of the robot.
        speed: at full deflection, as a fraction of the part's limits.
        part: which part is jogged; by default the first that moves.

    Attributes:
        size: number of elements that can be deflected.
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
        self._target: Array | None = None
        self._counts = {
            name: len(part.classes)
            for name, part in contract.actions.items()
            if part.discrete and name != self._name
        }
        self._classes = dict.fromkeys(self._counts, 0)
        self._switch_ticks = round(contract.rate_hz * SWITCH_S)
        self._switched = 0  # ticks for which a switch still counts

    def release(self) -> None:
        """The device was let go: the next action starts where the robot then is."""
        self._target = None

    def follow(self, driving: bool, executed: Mapping[str, int]) -> None:
        """Says, once a tick, whether these actions are executed, and what else is.

        While they are not, targets start where the robot then is, and discrete parts are as they
        were told: who takes over must not go back to an old pose, or drop what is held. A switch
        counts for `SWITCH_S` all the same.

        Args:
            driving: whether they are executed.
            executed: discrete part → index of the class that it was told last, where known.
        """
        self._switched = max(0, self._switched - 1)
        if driving:
            return
        self._target = None
        if not self._switched:
            self._classes |= {name: executed[name] for name in self._classes if name in executed}

    def switch(self) -> None:
        """Goes on to the next class of each discrete part, such as the gripper's."""
        self._switched = self._switch_ticks
        for name, last in self._classes.items():
            self._classes[name] = (last + 1) % self._counts[name]

    def motion(self, deflection: Array) -> float:
        """How far somebody moves the device now, from 0 to 1; a switch is 1."""
        return 1.0 if self._switched else float(min(1.0, np.abs(deflection).max(initial=0.0)))

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
