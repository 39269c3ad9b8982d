"""Vectors with NaN, Inf, huge, denormal and wrong values, shapes and types, to the guard.

Each goes to the guard of a contract of the package, between good ones; where it is refused, the
robot holds. The bar: nothing but `Refused` is raised, not even a warning, and what comes out is
finite and within the limits of position, velocity and acceleration.
"""

from __future__ import annotations

from collections.abc import Callable
import math
from typing import Any
import warnings

from imitation_ros.frames.contract import ActionPart, Contract, load_contract
from imitation_ros.supervision.guard import Guard, Refused
from imitation_ros.types import Action, Array
import numpy as np

from bench.faults.outcome import Outcome

VECTORS = {'short': 20_000, 'full': 1_000_000}
CONTRACTS = ('panda_position', 'panda_twist', 'panda_trajectory', 'panda_keys')
ROUND = 500
"""Vectors from one measured state to the next."""
SPECIAL = (
    *(math.nan, math.inf, -math.inf, 1e308, -1e308, 5e-324, -5e-324, 2.0**63, 1e-300, 0.0, -0.0),
)
TOLERANCE = 1e-6
"""Of a limit, relative: differences of positions are rounded."""


def run(tier: str, seed: int) -> Outcome:
    """Sends the vectors; see the module's text."""
    outcome, rng = Outcome('guard'), np.random.default_rng(seed)
    share = VECTORS[tier] // len(CONTRACTS)
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        for name in CONTRACTS:
            arena = _Arena(load_contract(name), rng, outcome)
            for _ in range(share // ROUND):
                arena.play(ROUND)
    return outcome


class _Arena:
    """One contract's guard under fire."""

    def __init__(self, contract: Contract, rng: np.random.Generator, outcome: Outcome) -> None:
        self._contract, self._rng, self._outcome = contract, rng, outcome
        self._dt_s = 1 / contract.command_hz

    def play(self, count: int) -> None:
        """From a fresh measured state: so many targets, each advanced, held or sent home."""
        guard, measured = Guard(self._contract), self._measured()
        guard.reset(measured)
        seen = _Seen(self._contract, measured, self._dt_s)
        for _ in range(count):
            self._outcome.injected += 1
            problem = self._once(guard, seen)
            self._outcome.survived += not problem
            if problem and len(self._outcome.problems) < 20:
                self._outcome.problems.append(f'{self._contract.name}: {problem}')

    def _once(self, guard: Guard, seen: _Seen) -> str:
        target = self._target()
        try:
            sent = self._sent(guard, target)
        except Exception as error:
            return f'{type(error).__name__}: {error} of {target!r}'
        broken = seen.broken(sent)
        self._outcome.illegal += bool(broken)
        return broken and f'{broken} after {target!r}'

    def _sent(self, guard: Guard, target: Any) -> Action:
        try:
            return guard.advance(target, self._dt_s, self._rng.choice([0.0, self._dt_s, 0.05]))
        except Refused:
            return guard.hold(self._dt_s)

    def _measured(self) -> dict[str, Array]:
        return {
            name: self._rng.uniform(part.low, part.high)
            for name, part in self._contract.actions.items()
            if part.absolute
        }

    def _target(self) -> Any:
        action: dict[str, Any] = {
            name: self._good(part) for name, part in self._contract.actions.items()
        }
        if self._rng.random() < 0.3:
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
        self._at = {n: measured.get(n, np.zeros(p.size)) for n, p in self._parts.items()}
        self._speed = {name: np.zeros(part.size) for name, part in self._parts.items()}

    def broken(self, sent: Action) -> str:
        """The limit that the command breaks, or ''."""
        for name, part in self._parts.items():
            value = sent[name]
            if not np.isfinite(value).all():
                return f'{name}: not finite: {value}'
            if _beyond(value, part.low, part.high):
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


def _beyond(value: Array, low: Any, high: Any) -> bool:
    return bool((value < np.array(low)).any() or (value > np.array(high)).any())
