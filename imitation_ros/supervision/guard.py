"""The guard: every command passes it, whoever sends it, on a robot and in the simulator.

A malformed or non-finite command is refused whole, never repaired. Anything else is brought
within the contract's limits: of position, velocity and acceleration for absolute targets, of
value and rate of change for velocities and deltas. The guard counts time in commands: `dt_s` is
the nominal time between two of them and stays the same from reset to reset, so that a late timer
slows the robot down and never makes it jump. A target whose tool would leave the workspace is
taken back towards where the robot was last told to be; a velocity of the tool brakes before the
walls.
"""

from __future__ import annotations

from collections.abc import Mapping
import math
from typing import Any, Protocol

from imitation_ros.errors import ContractError
from imitation_ros.frames.contract import ActionPart, Contract
from imitation_ros.types import Action, Array
import numpy as np


class Refused(Exception):
    """A command that must not be sent.

    Attributes:
        reason: for people: which part, and what is wrong with it.
    """

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)


class Fence(Protocol):
    """Keeps the tool where it may be; see `Workspace` and `VelocityWorkspace`."""

    part: str

    def lacking(self, now_ns: int) -> str:
        """Why it cannot be told where the tool is, or ''."""

    def scaled(self, commanded: list[float], target: list[float]) -> list[float]:
        """What of a target is allowed."""


class Guard:
    """Turns what a source wants into what may be sent.

    `reset` puts it at the measured state; each later call gives the command that is due `dt_s`
    after the last one.

    Args:
        contract: of the robot, with its limits.
        workspace: of its tool; None: anywhere within the limits.

    Attributes:
        measurable: the parts that start where they are measured: those with absolute targets.
        ready: whether `reset` was called, so that there is a state to start from.
        excess: what was far out of bounds in the last target, '' for nothing.
    """

    def __init__(self, contract: Contract, workspace: Fence | None = None) -> None:
        self._workspace, self.excess = workspace, ''
        self._bounds = {
            name: _wider(part) for name, part in contract.actions.items() if not part.discrete
        }
        self._parts = {
            name: _limiter(name, part, contract.home.get(name))
            for name, part in contract.actions.items()
        }
        self.measurable = tuple(name for name, each in self._parts.items() if each.measurable)
        self.ready = False

    def reset(self, measured: Mapping[str, Array]) -> None:
        """Starts again: absolute parts at rest where they are `measured`, velocities at zero.

        Args:
            measured: part → (n,) measured state; needed for absolute parts, others are ignored.

        Raises:
            Refused: the state of an absolute part is missing, malformed or not finite.
        """
        starts = {
            name: _numbers(f'measured {name}', measured.get(name), self._parts[name].size)
            for name in self.measurable
        }
        for name, limiter in self._parts.items():
            limiter.start(starts.get(name, []))
        self.ready = True

    def check(self, target: Action) -> None:
        """Refuses what must not be sent.

        Raises:
            Refused: an unknown or missing part, a wrong type or shape, a number that is not
                finite, no such class.
        """
        self._checked(target)

    def advance(self, target: Action, dt_s: float, remaining_s: float) -> Action:
        """The next command on the way to `target`, which is to be reached in `remaining_s`.

        An absolute part is interpolated and brakes in time: it overshoots the target only where
        the target jumped to within its braking distance, the position limits never. A velocity
        takes its new value as fast as its acceleration allows. A class is passed on.

        Raises:
            Refused: see `check`; the state of the guard is then unchanged.
        """
        self._check_ready()
        values = self._checked(target)
        self.excess = self._excess(values)
        if self._workspace is not None:
            self._keep_inside(self._workspace, values)
        return {
            name: limiter.advance(values[name], dt_s, remaining_s)
            for name, limiter in self._parts.items()
        }

    def hold(self, dt_s: float) -> Action:
        """The next command when nobody drives: brake within the limits, then repeat one target.

        Velocities and deltas go to zero. A class is repeated, or the class that stands still is
        sent with `on_stop: zero`; a part that never had one is left out.
        """
        self._check_ready()
        held = {name: limiter.hold(dt_s) for name, limiter in self._parts.items()}
        return {name: command for name, command in held.items() if command is not None}

    def home(self, dt_s: float, speed: float) -> Action:
        """The next command on the way to the contract's `home`; parts without one hold.

        Args:
            dt_s: time between commands.
            speed: as a fraction of the velocity limits. The joints arrive together.
        """
        self._check_ready()
        moved = {name: limiter.home(dt_s, speed) for name, limiter in self._parts.items()}
        return {name: command for name, command in moved.items() if command is not None}

    def lacking(self, now_ns: int) -> str:
        """Why it cannot tell where the tool is, or ''."""
        return '' if self._workspace is None else self._workspace.lacking(now_ns)

    @property
    def commanded(self) -> Action:
        """The last command of the `measurable` parts."""
        return {name: np.array(self._parts[name].commanded) for name in self.measurable}

    @property
    def at_home(self) -> bool:
        """Whether the last command was `home`, at rest."""
        return self.ready and all(limiter.at_home for limiter in self._parts.values())

    @property
    def at_rest(self) -> bool:
        """Whether repeating the last command keeps the robot where it is."""
        return self.ready and all(limiter.at_rest for limiter in self._parts.values())

    def _checked(self, target: Action) -> dict[str, list[float]]:
        if target.keys() != self._parts.keys():
            found, valid = ', '.join(target) or 'none', ', '.join(self._parts)
            raise Refused(f'action parts: found {found}; valid: {valid}')
        return {name: limiter.check(name, target[name]) for name, limiter in self._parts.items()}

    def _excess(self, values: Mapping[str, list[float]]) -> str:
        for name, bounds in self._bounds.items():
            for index, (value, (low, high)) in enumerate(zip(values[name], bounds)):
                if not low <= value <= high:
                    return f'{name}: element {index} is far beyond its limits: {value:.3g}'
        return ''

    def _keep_inside(self, workspace: Fence, values: dict[str, list[float]]) -> None:
        limiter = self._parts[workspace.part]
        target = limiter.clamped(values[workspace.part])
        scaled = workspace.scaled(limiter.commanded, target)
        if scaled != target:
            self.excess = self.excess or f'{workspace.part}: the tool would leave the workspace'
        values[workspace.part] = scaled

    def _check_ready(self) -> None:
        if not self.ready:
            raise Refused('the guard has no measured state to start from yet')


class _Limiter(Protocol):
    """The limits of one action part, and its last command."""

    size: int
    measurable: bool

    @property
    def commanded(self) -> list[float]: ...
    @property
    def at_home(self) -> bool: ...
    @property
    def at_rest(self) -> bool: ...
    def start(self, measured: list[float]) -> None: ...
    def check(self, name: str, target: Any) -> list[float]: ...
    def clamped(self, target: list[float]) -> list[float]: ...
    def advance(self, target: list[float], dt_s: float, remaining_s: float) -> Array: ...
    def hold(self, dt_s: float) -> Array | None: ...
    def home(self, dt_s: float, speed: float) -> Array | None: ...


def _limiter(name: str, part: ActionPart, home: tuple[float, ...] | None) -> _Limiter:
    if part.discrete:
        return _Choice(name, part)
    return _Target(part, home) if part.absolute else _Rate(part)


EXCESS = 0.1
"""Of a range, beyond either end: more is no longer the noise of somebody at the limit."""


def _wider(part: ActionPart) -> list[tuple[float, float]]:
    return [
        (low - EXCESS * (high - low), high + EXCESS * (high - low))
        for low, high in zip(part.low, part.high)
    ]


class _Target:
    """Positions: a trapezoidal speed profile an element, in discrete time."""

    measurable = True

    def __init__(self, part: ActionPart, home: tuple[float, ...] | None) -> None:
        self.size = part.size
        self._limits = list(zip(part.low, part.high, part.max_velocity, part.max_acceleration))
        self._home = list(home) if home is not None else None
        self._position: list[float] = []
        self._velocity: list[float] = []

    def start(self, measured: list[float]) -> None:
        self._position = measured
        self._velocity = [0.0] * self.size

    def check(self, name: str, target: Any) -> list[float]:
        return _numbers(name, target, self.size)

    def clamped(self, target: list[float]) -> list[float]:
        return [min(max(goal, low), high) for goal, (low, high, *_) in zip(target, self._limits)]

    def advance(self, target: list[float], dt_s: float, remaining_s: float) -> Array:
        steps = [
            _step(position, velocity, goal, limits, dt_s, remaining_s)
            for position, velocity, goal, limits in zip(
                self._position, self._velocity, target, self._limits
            )
        ]
        self._position = [position for position, _ in steps]
        self._velocity = [velocity for _, velocity in steps]
        return np.array(self._position)

    def hold(self, dt_s: float) -> Array:
        for index, (low, high, _, acceleration) in enumerate(self._limits):
            position, velocity = self._position[index], self._velocity[index]
            velocity -= min(max(velocity, -acceleration * dt_s), acceleration * dt_s)
            self._position[index] = _within(position + velocity * dt_s, low, high, position)
            self._velocity[index] = velocity
        return np.array(self._position)

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
    goal = min(max(goal, low), high)
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
        return _numbers(name, target, self.size)

    def clamped(self, target: list[float]) -> list[float]:
        return [min(max(goal, low), high) for goal, (low, high, *_) in zip(target, self._limits)]

    def advance(self, target: list[float], dt_s: float, remaining_s: float) -> Array:
        self._value = [
            value + min(max(min(max(goal, low), high) - value, -change * dt_s), change * dt_s)
            for value, goal, (low, high, change) in zip(self._value, target, self._limits)
        ]
        return np.array(self._value)

    def hold(self, dt_s: float) -> Array:
        return self.advance([0.0] * self.size, dt_s, dt_s)

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
        value = _numbers(name, target, 1)
        if value[0] not in range(self._classes):
            raise Refused(f'{name}: class {value[0]}; valid: 0 to {self._classes - 1}')
        return value

    def clamped(self, target: list[float]) -> list[float]:
        return target

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

    def home(self, dt_s: float, speed: float) -> Array | None:
        return self.hold(dt_s)


def _numbers(name: str, vector: Any, size: int) -> list[float]:
    """The vector as `size` finite floats, or `Refused`."""
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
