"""A joystick's axes and buttons → deflections, switches and requests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from imitation_ros.types import Array
import numpy as np


@dataclass(frozen=True)
class JoyMap:
    """Which axis moves what, and which button does what.

    Attributes:
        axes: element → index of its axis, -1 for none.
        scales: element → factor, negative to turn its direction around.
        deadman: index of the button that must be held; nothing moves without it.
        buttons: what a press asks for ('switch' or a service) → index of its button, -1 for none.
        deadzone: deflections up to this count as none.
    """

    axes: tuple[int, ...]
    scales: tuple[float, ...]
    deadman: int
    buttons: Mapping[str, int]
    deadzone: float = 0.1

    def __post_init__(self) -> None:
        if len(self.axes) != len(self.scales):
            raise ValueError(f'{len(self.axes)} axes, but {len(self.scales)} scales')


@dataclass(frozen=True)
class JoyState:
    """What the operator wants now.

    Attributes:
        deflection: (size,) of -1 to 1; zero unless engaged.
        engaged: whether the dead-man button is held.
        requests: what was asked for by buttons that went down just now.
        problem: what the message lacks of what is mapped, or ''; nobody is engaged by such a one.
    """

    deflection: Array
    engaged: bool
    requests: tuple[str, ...]
    problem: str = ''


class Joystick:
    """Follows a joystick, one message after the other."""

    def __init__(self, mapping: JoyMap) -> None:
        self._map = mapping
        self._down: frozenset[str] = frozenset(mapping.buttons)  # held at the start: no press

    def update(self, axes: Sequence[float], buttons: Sequence[int]) -> JoyState:
        """Takes one message; a broken axis takes no button away."""
        mapping = self._map
        problems: list[str] = []

        def pick(values: Sequence[float], index: int, what: str) -> float:
            if index < len(values):
                return values[index]
            problems.append(
                f'no {what} {index} in the message; valid: 0 to {len(values) - 1}'
                if len(values)
                else f'no {what} in the message'
            )
            return 0.0

        deadman = bool(pick(buttons, mapping.deadman, 'button'))
        values = [pick(axes, axis, 'axis') if axis >= 0 else 0.0 for axis in mapping.axes]
        down = frozenset(
            request
            for request, button in mapping.buttons.items()
            if button >= 0 and pick(buttons, button, 'button')
        )
        requests, self._down = tuple(sorted(down - self._down)), down
        deflection = np.array(values, float)
        if not np.isfinite(deflection).all():
            problems.append(f'axes are not finite: {values}')
        if problems:
            return JoyState(np.zeros(len(values)), False, requests, problems[0])
        deflection[np.abs(deflection) <= mapping.deadzone] = 0.0
        return JoyState(deflection * mapping.scales * deadman, deadman, requests)
