"""The limits of one action part, element by element: what `guard` applies to each command."""

from __future__ import annotations

import math
from typing import Any, Protocol

from imitation_ros.errors import ContractError
from imitation_ros.frames.contract import ActionPart
from imitation_ros.types import Array
import numpy as np


class Refused(Exception):
    """A command that must not be sent.

    Attributes:
        reason: for people: which part, and what is wrong with it.
    """

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)


class Limiter(Protocol):
    """The limits of one action part, and its last command."""

    size: int
    measurable: bool

    @property
    def commanded(self) -> list[float]:
        """The last command."""

    @property
    def at_home(self) -> bool:
        """Whether that was the part's home, at rest; True for a part without one, at rest."""

    @property
    def at_rest(self) -> bool:
        """Whether repeating the last command keeps the robot where it is."""

    def start(self, measured: list[float]) -> None:
        """Begins anew where the robot is, at rest."""

    def check(self, name: str, target: Any) -> list[float]:
        """The target as numbers; raises `Refused`."""

    def clamped(self, target: list[float]) -> list[float]:
        """The target within its low and high."""

    def beyond_reach(self, target: list[float], duration_s: float) -> bool:
        """Whether the target is too far for the limits of its change, by more than `EXCESS`."""

    def advance(self, target: list[float], dt_s: float, remaining_s: float) -> Array:
        """The next command towards a target that is due in `remaining_s`."""

    def hold(self, dt_s: float) -> Array | None:
        """The next command on the way to rest, None where nothing was ever said."""

    def freeze(self) -> None:
        """Ends all motion without braking, before the last `hold` of all."""

    def home(self, dt_s: float, speed: float) -> Array | None:
        """The next command on the way home, at a fraction of the velocity limits."""


def make_limiter(
    name: str, part: ActionPart, home: tuple[float, ...] | None, dt_s: float
) -> Limiter:
    """What fits a part of an action that is commanded every `dt_s`."""
    if part.discrete:
        return _Choice(name, part)
    return _Target(part, home, dt_s) if part.absolute else _Rate(part)


EXCESS = 0.1
"""Of a range, beyond either end, or of what can be reached: more is no longer the noise of
somebody at the limit."""


def wider(part: ActionPart) -> list[tuple[float, float]]:
    """Low and high of each element, beyond which a target is excess."""
    return [
        (low - EXCESS * (high - low), high + EXCESS * (high - low))
        for low, high in zip(part.low, part.high)
    ]


class _Target:
    """Positions: a trapezoidal speed profile an element, in discrete time.

    A robot that leans on a limit is measured a little beyond it: by no more than a command may
    move it, that counts as the limit. From further out it is only moved inwards.
    """

    measurable = True

    def __init__(self, part: ActionPart, home: tuple[float, ...] | None, dt_s: float) -> None:
        self.size = part.size
        self._leaning = [velocity * dt_s for velocity in part.max_velocity]
        self._limits = list(zip(part.low, part.high, part.max_velocity, part.max_acceleration))
        self._home = list(home) if home is not None else None
        self._position: list[float] = []
        self._velocity: list[float] = []

    def start(self, measured: list[float]) -> None:
        inside = self.clamped(measured)
        self._position = [
            limit if abs(at - limit) <= most else at
            for at, limit, most in zip(measured, inside, self._leaning)
        ]
        self._velocity = [0.0] * self.size

    def check(self, name: str, target: Any) -> list[float]:
        return numbers(name, target, self.size)

    def clamped(self, target: list[float]) -> list[float]:
        return [min(max(goal, low), high) for goal, (low, high, *_) in zip(target, self._limits)]

    def beyond_reach(self, target: list[float], duration_s: float) -> bool:
        return any(
            abs(goal - at) > (1 + EXCESS) * _reach(v if goal > at else -v, limits, duration_s)
            for goal, at, v, limits in zip(
                self.clamped(target), self._position, self._velocity, self._limits
            )
        )

    def advance(self, target: list[float], dt_s: float, remaining_s: float) -> Array:
        return self._move(self.clamped(target), dt_s, remaining_s)

    def hold(self, dt_s: float) -> Array:
        return self._move(self._position, dt_s, dt_s)

    def _move(self, goals: list[float], dt_s: float, remaining_s: float) -> Array:
        steps = [
            _step(position, velocity, goal, limits, dt_s, remaining_s)
            for position, velocity, goal, limits in zip(
                self._position, self._velocity, goals, self._limits
            )
        ]
        self._position = [position for position, _ in steps]
        self._velocity = [velocity for _, velocity in steps]
        return np.array(self._position)

    def freeze(self) -> None:
        self._velocity = [0.0] * self.size

    def home(self, dt_s: float, speed: float) -> Array:
        if self._home is None:
            return self.hold(dt_s)
        duration_s = max(
            abs(goal - position) / (speed * limits[2])
            for goal, position, limits in zip(self._home, self._position, self._limits)
        )
        return self.advance(self._home, dt_s, duration_s)

    @property
    def commanded(self) -> list[float]:
        return self._position

    @property
    def at_home(self) -> bool:
        if self._home is None:
            return self.at_rest
        near = zip(self._home, self._position, self._velocity)
        return all(abs(goal - at) < 1e-6 and abs(v) < 1e-3 for goal, at, v in near)

    @property
    def at_rest(self) -> bool:
        return not any(self._velocity)


def _step(
    position: float,
    velocity: float,
    goal: float,
    limits: tuple[float, float, float, float],
    dt_s: float,
    remaining_s: float,
) -> tuple[float, float]:
    """Position and velocity after the next step of one element towards `goal`."""
    low, high, max_velocity, max_acceleration = limits
    distance = abs(goal - position)
    speed = min(max_velocity, distance / max(remaining_s, dt_s))
    speed = min(speed, _braking_speed(distance, speed, max_acceleration, dt_s))
    change = math.copysign(speed, goal - position) - velocity
    velocity += min(max(change, -max_acceleration * dt_s), max_acceleration * dt_s)
    # A goal that jumped to within the braking distance is passed; the limits are not, since
    # every earlier goal lay within them and the speed has let it stop there.
    moved = _within(position + velocity * dt_s, low, high, position)
    return moved, (moved - position) / dt_s


def _braking_speed(distance: float, speed: float, acceleration: float, dt_s: float) -> float:
    """The highest speed for the next step, up to `speed`, that can still stop within `distance`.

    A step at speed v and n more, each slower by a·dt, cover dt·((n + 1)·v - a·dt·n(n + 1)/2): the
    right Riemann sum of v²/2a. Solved for v, with n the number of whole steps in the distance, it
    stops exactly at the distance; √(2·a·distance) would overshoot by up to v·dt/2.
    """
    if speed * dt_s + speed * speed / (2 * acceleration) <= distance:
        return speed
    quanta = distance / (acceleration * dt_s * dt_s)
    n = math.floor((math.sqrt(1 + 8 * quanta) - 1) / 2)
    return min(speed, (quanta + n * (n + 1) / 2) / (n + 1) * acceleration * dt_s)


def _reach(velocity: float, limits: tuple[float, float, float, float], duration_s: float) -> float:
    """How far an element can come in a time, from a velocity in that direction."""
    *_, max_velocity, max_acceleration = limits
    speeding_s = min(duration_s, max(0.0, max_velocity - velocity) / max_acceleration)
    fastest = velocity + max_acceleration * speeding_s
    return (velocity + fastest) / 2 * speeding_s + fastest * (duration_s - speeding_s)


def _within(value: float, low: float, high: float, start: float) -> float:
    """Clamps to the limits; from a start outside them, not further out."""
    return min(max(value, min(low, start)), max(high, start))


class _Rate:
    """Velocities and deltas: the value is limited, and how fast it changes."""

    measurable = False
    at_home = True

    def __init__(self, part: ActionPart) -> None:
        self.size = part.size
        self._limits = list(zip(part.low, part.high, part.max_acceleration))
        self._value = [0.0] * self.size

    @property
    def commanded(self) -> list[float]:
        return self._value

    @property
    def at_rest(self) -> bool:
        return not any(self._value)

    def start(self, measured: list[float]) -> None:
        self._value = [0.0] * self.size

    def check(self, name: str, target: Any) -> list[float]:
        return numbers(name, target, self.size)

    def clamped(self, target: list[float]) -> list[float]:
        return [min(max(goal, low), high) for goal, (low, high, *_) in zip(target, self._limits)]

    def beyond_reach(self, target: list[float], duration_s: float) -> bool:
        return any(
            abs(goal - value) > (1 + EXCESS) * change * duration_s
            for goal, value, (*_, change) in zip(self.clamped(target), self._value, self._limits)
        )

    def advance(self, target: list[float], dt_s: float, remaining_s: float) -> Array:
        self._value = [
            value + min(max(min(max(goal, low), high) - value, -change * dt_s), change * dt_s)
            for value, goal, (low, high, change) in zip(self._value, target, self._limits)
        ]
        return np.array(self._value)

    def hold(self, dt_s: float) -> Array:
        return self.advance([0.0] * self.size, dt_s, dt_s)

    def freeze(self) -> None:
        self._value = [0.0] * self.size

    def home(self, dt_s: float, speed: float) -> Array:
        return self.hold(dt_s)


class _Choice:
    """A class: there is nothing to limit, but it must exist."""

    measurable = False
    at_home = True
    size = 1

    def __init__(self, name: str, part: ActionPart) -> None:
        self._classes = len(part.classes)
        self._last: list[float] | None = None
        self._rest: list[float] | None = None
        if part.on_stop == 'zero':
            values = part.values or tuple((float(index),) for index in range(self._classes))
            still = [index for index, value in enumerate(values) if not any(value)]
            if not still:
                raise ContractError(
                    f'actions.{name}.on_stop', "found 'zero', but no class has zeros", 'hold'
                )
            self._rest = [still[0]]

    def start(self, measured: list[float]) -> None:
        pass  # a gripper keeps what it was told last

    def check(self, name: str, target: Any) -> list[float]:
        value = numbers(name, target, 1)
        if value[0] not in range(self._classes):
            raise Refused(f'{name}: class {value[0]}; valid: 0 to {self._classes - 1}')
        return value

    def clamped(self, target: list[float]) -> list[float]:
        return target

    def beyond_reach(self, target: list[float], duration_s: float) -> bool:
        return False

    def advance(self, target: list[float], dt_s: float, remaining_s: float) -> Array:
        self._last = target
        return np.array(target, np.int64)

    @property
    def commanded(self) -> list[float]:
        return self._last or []

    @property
    def at_rest(self) -> bool:
        return self._rest is None or self._last in (None, self._rest)

    def hold(self, dt_s: float) -> Array | None:
        self._last = self._last if self._rest is None else self._rest
        return None if self._last is None else np.array(self._last, np.int64)

    def freeze(self) -> None:
        pass  # a class has no way to brake

    def home(self, dt_s: float, speed: float) -> Array | None:
        return self.hold(dt_s)


def numbers(name: str, vector: Any, size: int) -> list[float]:
    """The vector as `size` finite floats; raises `Refused`."""
    if vector is None:
        raise Refused(f'{name}: missing')
    try:
        array = np.asarray(vector)
    except (ValueError, TypeError, OverflowError):
        raise Refused(f'{name}: not a vector of numbers') from None
    if array.dtype.kind not in 'fiu':
        raise Refused(f'{name}: found {array.dtype}; valid: numbers')
    if array.shape != (size,):
        raise Refused(f'{name}: shape {array.shape}; valid: ({size},)')
    # A cast would warn of a signalling NaN.
    values = [float(value) for value in array.tolist()]
    for value in values:
        if not math.isfinite(value):
            raise Refused(f'{name}: not finite: {values}')
    return values
