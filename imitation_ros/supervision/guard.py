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
from typing import Protocol

from imitation_ros.frames.contract import Contract
from imitation_ros.supervision.limiters import make_limiter, numbers, wider
from imitation_ros.supervision.limiters import Refused as Refused
from imitation_ros.types import Action, Array
import numpy as np


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
        self._workspace, self._home = workspace, contract.home
        self.excess = ''
        self._bounds = {
            name: wider(part) for name, part in contract.actions.items() if not part.discrete
        }
        self._parts = {
            name: make_limiter(name, part, contract.home.get(name), 1 / contract.command_hz)
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
            name: numbers(f'measured {name}', measured.get(name), self._parts[name].size)
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

    def beyond_reach(self, target: Action, duration_s: float) -> bool:
        """Whether limits of velocity and acceleration keep the robot from a checked target."""
        return any(
            limiter.beyond_reach([float(value) for value in target[name]], duration_s)
            for name, limiter in self._parts.items()
        )

    def destination(self, target: Action) -> Action:
        """Where a checked target leads: as far as position limits and workspace allow.

        Of the `measurable` parts alone.
        """
        ends = {n: self._parts[n].clamped(target[n].tolist()) for n in self.measurable}
        fence = self._workspace
        if fence is not None and fence.part in ends:
            at = self._parts[fence.part].commanded
            ends[fence.part] = fence.scaled(at, ends[fence.part])
        return {name: np.array(end) for name, end in ends.items()}

    def hold(self, dt_s: float) -> Action:
        """The next command when nobody drives: brake within the limits, then repeat one target.

        Velocities and deltas go to zero. A class is repeated, or the class that stands still is
        sent with `on_stop: zero`; a part that never had one is left out.
        """
        self._check_ready()
        held = {name: limiter.hold(dt_s) for name, limiter in self._parts.items()}
        return {name: command for name, command in held.items() if command is not None}

    def freeze(self) -> None:
        """Lets the next `hold` be the stop: velocities of zero, positions as they were last.

        For who has no time left to brake; it is the one call that keeps no acceleration limit.
        """
        for limiter in self._parts.values():
            limiter.freeze()

    def home(self, dt_s: float, speed: float) -> Action:
        """The next command on the way to the contract's `home`; parts without one hold.

        Args:
            dt_s: time between commands.
            speed: as a fraction of the velocity limits. The joints arrive together.
        """
        self._check_ready()
        moved = {name: limiter.home(dt_s, speed) for name, limiter in self._parts.items()}
        return {name: command for name, command in moved.items() if command is not None}

    def blocked(self, measured: Mapping[str, Array]) -> str:
        """Why the straight way home from the `measured` state must not be driven, or ''."""
        fence = self._workspace
        home = self._home.get(fence.part) if fence is not None else None
        if fence is None or home is None:
            return ''
        if fence.scaled(measured[fence.part].tolist(), list(home)) == list(home):
            return ''
        return f'{fence.part}: on the straight way home the tool would leave the workspace'

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
