"""Random handovers in simulation: executed steps beyond the velocity or acceleration limit; none.

The supervisor's mux and guard command the simulated arm at `command_hz`, in process, while a human
with a leader arm and a policy take turns at random: by a button, by falling silent, by `stop` and
`resume`. Both want whatever they like: near, too far, jumping, at full speed, not a number. The
limits are checked on the sequence of what was sent, by differences, from the measured state at
rest on. The guard takes no part in that.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from imitation_ros.frames.actions import ActionCodec
from imitation_ros.frames.contract import ActionPart, Contract, load_contract
from imitation_ros.frames.status import Status, TickAction
from imitation_ros.nodes._messages import new
from imitation_ros.sim.observer import Observer
from imitation_ros.sim.simulator import Simulator
from imitation_ros.supervision.authority import Mode, STREAMS
from imitation_ros.supervision.gates import GateConfig
from imitation_ros.supervision.mux import Command, Mux
from imitation_ros.types import Action, Array
import numpy as np

from bench.harness import at_least, at_most, options, Row
from bench.rows import say

CONTRACTS = ('panda_position', 'panda_twist')
TOLERANCE = 1e-6
"""Of a limit, for rounding: differences of positions lose that many digits."""


def main(argv: Sequence[str] | None = None) -> dict[str, Any]:
    """Measures both an absolute and a relative contract."""
    quick = options(argv, __doc__).quick
    handovers = 20 if quick else 500
    rows = [_measure(contract, handovers) for contract in CONTRACTS]
    violations = sum(row['violations'] for row in rows)
    done = sum(row['handovers'] for row in rows)
    wanted = handovers * len(CONTRACTS)
    return {
        'bench': 'handover',
        'value': violations,
        'pass': {
            'violations <= 0': at_most(violations, 0),
            f'handovers >= {wanted}': at_least(done, wanted),
        },
        'rows': rows,
        'compared': "executed velocities and accelerations with the contract's limits",
    }


def _measure(name: str, handovers: int) -> Row:
    scene, judge = Scene(load_contract(name), seed=0), Judge(load_contract(name))
    while judge.handovers < handovers:
        command = scene.step()
        judge.see(command, scene.measured)
    say(f'{name}: {judge.handovers} handovers, {judge.violations} violations')
    return {'contract': name, **judge.row()}


class Scene:
    """A human and a policy at one simulated robot, at random.

    Attributes:
        measured: part → where the robot was when the last command was made.
    """

    def __init__(self, contract: Contract, seed: int) -> None:
        self._contract, self._rng = contract, np.random.default_rng(seed)
        self._simulator = Simulator('pick_place', contract)
        self._simulator.reset(seed)
        self._observer = Observer(contract, self._simulator)
        self._steps = round(200 / contract.command_hz)  # of physics in a command
        self._mux = Mux(contract)
        self._wants: dict[str, Action | None] = {}
        self._codecs = {part: ActionCodec(each) for part, each in contract.actions.items()}
        self._now_ns = 10**9
        self.measured: dict[str, Array] = {}

    def step(self) -> Command:
        """The next command, which the robot has followed at the return."""
        now_ns, rng = self._now_ns, self._rng
        self.measured = self._observer.measured()
        for part, vector in self.measured.items():
            self._mux.measure(part, vector, now_ns, now_ns)
        if now_ns % self._contract.tick_period_ns == 0:
            self._speak(now_ns)
        if rng.random() < 0.02:
            self._mux.takeover.press(bool(rng.integers(2)))
        if rng.random() < 0.001:
            self._mux.stop('at random')
        if rng.random() < 0.02:
            self._mux.resume(now_ns, [], GateConfig('human'))
        command = self._mux.command(now_ns, now_ns)
        self._simulator.command(command.action, self._steps)
        self._simulator.step(self._steps)
        self._now_ns += round(1e9 / self._contract.command_hz)
        return command

    def _speak(self, now_ns: int) -> None:
        for stream in STREAMS:
            if self._rng.random() < 0.1 or stream not in self._wants:
                self._wants[stream] = self._another_wish()
            wish = self._wants[stream]
            if wish is not None:
                tick = self._tick(stream, now_ns, wish)
                self._mux.offer(stream, tick, now_ns, now_ns)

    def _another_wish(self) -> Action | None:
        """Something else to do: None is silence, which 1 in 10 falls into."""
        if self._rng.random() < 0.1:
            return None
        return {part: self._vector(part, each) for part, each in self._contract.actions.items()}

    def _vector(self, name: str, part: ActionPart) -> Array:
        rng = self._rng
        if part.discrete:
            return rng.integers(len(part.classes), size=1)
        if rng.random() < 0.02:
            return np.full(part.size, np.nan)
        if part.absolute:
            far = 1.5 if rng.random() < 0.1 else part.max_handover_error
            target: Array = self.measured[name] + rng.uniform(-far, far, part.size)
            return target
        return rng.uniform(part.low, part.high) * rng.choice([0.5, 1.0, 3.0])

    def _tick(self, stream: str, now_ns: int, wish: Action) -> TickAction:
        messages = {
            part: codec.encode(wish[part], now_ns, new) for part, codec in self._codecs.items()
        }
        values = {'fingerprint': self._contract.fingerprint, 'engaged': 'true'}
        return TickAction(Status(now_ns, stream, len(messages), '', values), messages)


def where_commands_begin(part: ActionPart, measured: Array, dt_s: float) -> Array:
    """(n,) where the robot is measured, or the limit that it leans on.

    It was told to be at that limit, or within; it leans by no more than a command may move it.
    """
    limit = np.clip(measured, part.low, part.high)
    leaning = np.abs(limit - measured) <= np.multiply(part.max_velocity, dt_s)
    return np.where(leaning, limit, measured)


class Judge:
    """Watches the commands.

    Attributes:
        handovers: how often another source's action was executed than before.
        violations: steps beyond a limit.
    """

    def __init__(self, contract: Contract) -> None:
        self._parts = {n: part for n, part in contract.actions.items() if not part.discrete}
        self._dt_s = 1 / contract.command_hz
        self._path: dict[str, list[Array]] = {}
        self._driver = ''
        self._resting = False
        self._largest = {'velocity': 0.0, 'acceleration': 0.0}  # as fractions of the limit
        self._modes = {mode.value: 0 for mode in Mode}
        self.handovers = self.violations = 0

    def see(self, command: Command, measured: dict[str, Array]) -> None:
        """Takes a command and where the robot was before it."""
        self._modes[command.mode.value] += 1
        if command.source and command.source != self._driver:
            self.handovers += bool(self._driver)
            self._driver = command.source
        if self._resting and command.mode is not Mode.STOPPED:
            self._path.clear()  # as after silence: what comes now starts where the robot is
        for name, part in self._parts.items():
            if name not in command.action:
                self._path.pop(name, None)  # silence: the next one starts where the robot is
                continue
            start = np.zeros(part.size)
            if part.absolute:
                start = where_commands_begin(part, measured[name], self._dt_s)
            path = self._path.setdefault(name, [start, start])
            path.append(command.action[name])
            del path[:-3]
            self._check(part, path)
        self._resting = command.mode is Mode.STOPPED and all(map(self._at_rest, self._parts))

    def row(self) -> Row:
        """What was seen."""
        largest = {f'largest_{name}': round(x, 6) for name, x in self._largest.items()}
        return {
            'handovers': self.handovers, 'violations': self.violations,
            'commands': sum(self._modes.values()), 'modes': self._modes, **largest,
        }  # fmt: skip

    def _at_rest(self, name: str) -> bool:
        """Whether a part was told again to stand still: the same position, or no velocity.

        The first time that a position is repeated is the last step of braking: the robot still
        follows, and who resumes then goes on from what was said.
        """
        if name not in self._path:
            return True
        earlier, last, now = self._path[name]
        if not self._parts[name].absolute:
            return not now.any()
        return np.array_equal(now, last) and np.array_equal(last, earlier)

    def _check(self, part: ActionPart, path: list[Array]) -> None:
        """Takes differences: a position's second one is its acceleration, a velocity's first."""
        rates = np.diff(path, axis=0) / self._dt_s
        if part.absolute:
            velocity, acceleration = rates[-1], (rates[-1] - rates[-2]) / self._dt_s
            fastest = np.array(part.max_velocity)
        else:
            velocity, acceleration = path[-1], rates[-1]
            fastest = np.maximum(np.abs(part.low), np.abs(part.high))
        fractions = {
            'velocity': np.abs(velocity) / fastest,
            'acceleration': np.abs(acceleration) / part.max_acceleration,
        }
        for name, each in fractions.items():
            self._largest[name] = max(self._largest[name], float(each.max()))
        self.violations += any((each > 1 + TOLERANCE).any() for each in fractions.values())
