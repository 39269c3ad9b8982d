"""Vectors with NaN, Inf, huge, denormal and wrong values, shapes and types, to the guard.

Each goes to the guard of a contract of the package, between good ones; where it is refused, the
robot holds, and now and then it is sent home. Some rounds start outside of the limits or of the
workspace. The bar: nothing but `Refused` is raised, not even a warning, and what comes out is
finite and within the limits of position, velocity and acceleration, of the contract and of a URDF
where there is one, and the tool is within its workspace; from outside nothing goes further out.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
import math
from typing import Any
import warnings

from imitation_ros.frames.contract import ActionPart, Contract, load_contract
from imitation_ros.frames.urdf import Urdf
from imitation_ros.supervision.guard import Fence, Guard, Refused
from imitation_ros.supervision.velocity_workspace import VelocityWorkspace
from imitation_ros.supervision.workspace import Workspace
from imitation_ros.types import Action, Array
import numpy as np

from bench.faults.outcome import Outcome
from bench.handover import where_commands_begin

VECTORS = {'short': 20_000, 'full': 1_000_000}
CONTRACTS = ('panda_position', 'panda_twist', 'panda_trajectory', 'panda_keys')
FENCED_SHARE = 0.05
"""Of the vectors, for each guard with a workspace: it asks often where the tool is."""
ROUND = 500
"""Vectors from one measured state to the next."""
OUTSIDE = 0.2
"""Of the rounds start out of the limits, by up to as much of the range."""
HOMING = 0.01
"""So often the robot is sent home instead."""
CHANGE = 0.02
"""So often there is another good target."""
GOOD = 0.5
"""Of the targets; the others are spoilt."""
LOW, HIGH = (0.2, -0.3, 0.2), (0.7, 0.3, 0.9)
"""Corners of the workspace, m."""
PASSED_M = 0.15
"""By which a tool may pass the wall: the way to stop, where a target jumps to before the wall."""
SPECIAL = (
    *(math.nan, math.inf, -math.inf, 1e308, -1e308, 5e-324, -5e-324, 2.0**63, 1e-300, 0.0, -0.0),
)
TOLERANCE = 1e-6
"""Of a limit, relative: differences of positions are rounded."""


def run(tier: str, seed: int) -> Outcome:
    """Sends the vectors; see the module's text."""
    outcome, rng = Outcome('guard'), np.random.default_rng(seed)
    fenced = round(VECTORS[tier] * FENCED_SHARE)
    plain = (VECTORS[tier] - 2 * fenced) // len(CONTRACTS)
    arenas = [(_Arena(load_contract(name), rng, outcome), plain) for name in CONTRACTS]
    arenas += [(_Arena(each.contract, rng, outcome, each), fenced) for each in _walls()]
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        for arena, count in arenas:
            for _ in range(count // ROUND):
                arena.play(ROUND)
    return outcome


class _JointWall:
    """Joint targets, the limits of a URDF, and a tool that must stay in the box."""

    def __init__(self) -> None:
        data = import_module('pybullet_data').getDataPath()
        urdf, wide = Urdf(f'{data}/franka_panda/panda.urdf'), load_contract('panda_position')
        self.contract = urdf.tighten(wide)
        tool = urdf.tool('panda_hand', wide.actions['arm'].joints)
        self.fence = Workspace(self.contract, 'arm', tool, LOW, HIGH)
        self._allowed_m = 0.0

    def start(self, measured: dict[str, Array], rng: np.random.Generator) -> None:
        """Anywhere in the box, or where it was measured; from there it may not get further out."""
        part = self.contract.actions['arm']
        while rng.random() > OUTSIDE and self.fence.outside(measured['arm']):
            measured['arm'] = rng.uniform(part.low, part.high)
        self._allowed_m = self.fence.outside(measured['arm']) + PASSED_M

    def broken(self, sent: Action, dt_s: float) -> str:
        """How far the tool is out of the box, where that is too far."""
        outside_m = self.fence.outside(sent['arm'])
        return f'the tool is {outside_m:.3f} m outside' if outside_m > self._allowed_m else ''


class _ToolWall:
    """Velocities of a tool that must stay in the box."""

    def __init__(self) -> None:
        self.contract = load_contract('panda_reach')
        self.fence = VelocityWorkspace(self.contract, 'tool/pose', LOW, HIGH)
        self._at, self._out_m = np.zeros(3), 0.0

    def start(self, measured: dict[str, Array], rng: np.random.Generator) -> None:
        """The tool is anywhere in the box, or a little outside of it."""
        margin = OUTSIDE * (rng.random() < OUTSIDE)
        self._at = rng.uniform(np.array(LOW) - margin, np.array(HIGH) + margin)
        self._out_m = self._outside()
        self.fence.take(self._at, 0)

    def broken(self, sent: Action, dt_s: float) -> str:
        """Moves the tool, and says how far it is out of the box, where that is too far."""
        self._at = self._at + sent['arm'] * dt_s
        self.fence.take(self._at, 0)
        before, self._out_m = self._out_m, self._outside()
        return f'the tool is {self._out_m:.3f} m outside' if self._out_m > before + 1e-3 else ''

    def _outside(self) -> float:
        beyond = np.maximum(np.array(LOW) - self._at, self._at - np.array(HIGH))
        return float(np.maximum(beyond, 0.0).max())


_Wall = _JointWall | _ToolWall


def _walls() -> list[_Wall]:
    return [_JointWall(), _ToolWall()]


class _Arena:
    """One contract's guard under fire."""

    def __init__(
        self,
        contract: Contract,
        rng: np.random.Generator,
        outcome: Outcome,
        wall: _Wall | None = None,
    ) -> None:
        self._contract, self._rng, self._outcome, self._wall = contract, rng, outcome, wall
        self._dt_s = 1 / contract.command_hz
        self._good_target: dict[str, Any] = {}

    def play(self, count: int) -> None:
        """From a fresh measured state: so many targets, each advanced, held or sent home."""
        measured = self._measured()
        fence: Fence | None = None
        if self._wall is not None:
            fence = self._wall.fence
            self._wall.start(measured, self._rng)
        guard = Guard(self._contract, fence)
        guard.reset(measured)
        seen = _Seen(self._contract, measured, self._dt_s)
        for _ in range(count):
            self._outcome.injected += 1
            homing = self._contract.home and self._rng.random() < HOMING
            problem = self._home(guard, seen) if homing else self._once(guard, seen)
            self._outcome.survived += not problem
            if problem and len(self._outcome.problems) < 20:
                self._outcome.problems.append(f'{self._contract.name}: {problem}')

    def _once(self, guard: Guard, seen: _Seen) -> str:
        target = self._target()
        try:
            sent = self._sent(guard, target)
        except Exception as error:
            return f'{type(error).__name__}: {error} of {target!r}'
        broken = self._broken(seen, sent)
        return broken and f'{broken} after {target!r}'

    def _home(self, guard: Guard, seen: _Seen) -> str:
        """As the supervisor does: to rest, and home where the way there is free."""
        try:
            while not guard.at_rest:
                if broken := self._broken(seen, guard.hold(self._dt_s)):
                    return f'{broken} on the way to rest'
            if guard.blocked(guard.commanded):
                return ''
            for _ in range(int(self._rng.integers(ROUND))):
                speed = float(self._rng.choice([0.01, 0.2, 1.0]))
                if broken := self._broken(seen, guard.home(self._dt_s, speed)):
                    return f'{broken} on the way home'
        except Exception as error:
            return f'{type(error).__name__}: {error} on the way home'
        return ''

    def _broken(self, seen: _Seen, sent: Action) -> str:
        broken = seen.broken(sent)
        if self._wall is not None:
            broken = broken or self._wall.broken(sent, self._dt_s)
        self._outcome.illegal += bool(broken)
        return broken

    def _sent(self, guard: Guard, target: Any) -> Action:
        try:
            return guard.advance(target, self._dt_s, self._rng.choice([0.0, self._dt_s, 0.05]))
        except Refused:
            return guard.hold(self._dt_s)

    def _measured(self) -> dict[str, Array]:
        outside = OUTSIDE * (self._rng.random() < OUTSIDE)
        measured = {}
        for name, part in self._contract.actions.items():
            if part.absolute:
                low, high = np.array(part.low), np.array(part.high)
                margin = outside * (high - low)
                measured[name] = self._rng.uniform(low - margin, high + margin)
        return measured

    def _target(self) -> Any:
        """A good target, which stays for a while so that the robot gets somewhere, or a bad."""
        if not self._good_target or self._rng.random() < CHANGE:
            self._good_target = {
                name: self._good(part) for name, part in self._contract.actions.items()
            }
        action = dict(self._good_target)
        if self._rng.random() < GOOD:
            return action
        name = self._rng.choice(list(action))
        spoil = SPOILS[self._rng.integers(len(SPOILS))]
        return spoil(action, str(name), self._rng)

    def _good(self, part: ActionPart) -> Array:
        if part.discrete:
            return self._rng.integers(len(part.classes), size=1)
        return self._rng.uniform(part.low, part.high)


def _special(action: dict[str, Any], name: str, rng: np.random.Generator) -> Any:
    """One element or all of them."""
    vector = np.array(action[name], float)
    chosen = rng.random(vector.shape) < rng.choice([0.3, 1.0])
    vector[chosen] = rng.choice(SPECIAL, int(chosen.sum()))
    return {**action, name: vector}


def _bits(action: dict[str, Any], name: str, rng: np.random.Generator) -> Any:
    """Any float there is, of 32 or 64 bits."""
    kind = rng.choice(['f4', 'f8'])
    size = len(action[name])
    return {**action, name: np.frombuffer(rng.bytes(size * int(kind[1])), kind)}


def _huge(action: dict[str, Any], name: str, rng: np.random.Generator) -> Any:
    scale = 10.0 ** rng.uniform(0, 300)
    return {**action, name: rng.uniform(-scale, scale, len(action[name]))}


def _shape(action: dict[str, Any], name: str, rng: np.random.Generator) -> Any:
    shapes: list[tuple[int, ...]] = [(), (0,), (len(action[name]) + 1,), (1, len(action[name]))]
    return {**action, name: np.zeros(shapes[rng.integers(len(shapes))])}


def _type(action: dict[str, Any], name: str, rng: np.random.Generator) -> Any:
    size = len(action[name])
    wrong: list[Any] = [
        None, 'text', b'bytes', [[1.0], 2.0], ['a'] * size, [None] * size, [10**400] * size,
        np.zeros(size, complex), np.zeros(size, bool), np.zeros(size, 'M8[s]'), {}, object(),
    ]  # fmt: skip
    return {**action, name: wrong[rng.integers(len(wrong))]}


def _parts(action: dict[str, Any], name: str, rng: np.random.Generator) -> Any:
    """One part too few, too many, or no part at all."""
    without = {key: value for key, value in action.items() if key != name}
    return [without, {**action, 'leg': action[name]}, {}][rng.integers(3)]


SPOILS: tuple[Callable[[dict[str, Any], str, np.random.Generator], Any], ...] = (
    *(_special, _bits, _huge, _shape, _type, _parts),
)


class _Seen:
    """What was sent last, and whether the next breaks a limit."""

    def __init__(self, contract: Contract, measured: dict[str, Array], dt_s: float) -> None:
        self._dt_s = dt_s
        self._parts = {n: p for n, p in contract.actions.items() if not p.discrete}
        self._at = {
            name: where_commands_begin(part, measured[name], dt_s)
            if part.absolute
            else np.zeros(part.size)
            for name, part in self._parts.items()
        }
        self._speed = {name: np.zeros(part.size) for name, part in self._parts.items()}

    def broken(self, sent: Action) -> str:
        """The limit that the command breaks, or ''."""
        for name, part in self._parts.items():
            value = sent[name]
            if not np.isfinite(value).all():
                return f'{name}: not finite: {value}'
            low, high = (np.array(part.low), np.array(part.high))
            if part.absolute:  # from a start outside, not further out
                low, high = np.minimum(low, self._at[name]), np.maximum(high, self._at[name])
            if (value < low).any() or (value > high).any():
                return f'{name}: beyond low or high: {value}'
            change = (value - self._at[name]) / self._dt_s
            self._at[name] = value
            if not part.absolute:
                if (np.abs(change) > np.array(part.max_acceleration) * (1 + TOLERANCE)).any():
                    return f'{name}: changes by {change} in a second'
                continue
            if (np.abs(change) > np.array(part.max_velocity) * (1 + TOLERANCE)).any():
                return f'{name}: moves at {change}'
            speed, self._speed[name] = self._speed[name], change
            allowed = np.array(part.max_acceleration) * (1 + TOLERANCE)
            if (np.abs(change - speed) / self._dt_s > allowed + TOLERANCE / self._dt_s).any():
                return f'{name}: accelerates by {(change - speed) / self._dt_s}'
        return ''
