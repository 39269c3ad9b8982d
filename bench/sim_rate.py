"""Ticks per second of the simulator beside a raw PyBullet loop, in one process.

Both drive the same arm over the same table with the same tool velocities: one step of the same
inverse kinematics a tick, the same interpolated motor targets in each of the same substeps, and
the same reads (joints, tool, cube). The raw loop keeps no task, no time, no contract. The
environment, which adds the guard, the contract's arrays and Gymnasium's interface, is printed too.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
import statistics
import time
from typing import Any

from imitation_ros.frames.contract import load_contract
from imitation_ros.sim.bullet import bullet
from imitation_ros.sim.env import ArmEnv
from imitation_ros.sim.kinematics import Kinematics
from imitation_ros.sim.model import PANDA
from imitation_ros.sim.simulator import Simulator
from imitation_ros.sim.world import World
from imitation_ros.types import Action, Array
import numpy as np

from bench.harness import at_least

CONTRACT = Path(__file__).parents[1] / 'config' / 'contracts' / 'panda_twist.yaml'
AT_LEAST = 0.9
BLOCK = 10


def main(argv: list[str] | None = None) -> dict[str, Any]:
    """Runs the pairs and prints the result as its last line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--quick', action='store_true', help='few and short pairs, for the tests')
    quick = parser.parse_args(argv).quick
    pairs, ticks = (3, 40) if quick else (21, 400)
    _pair(0, BLOCK)  # warms up
    rows = [_pair(index, ticks) for index in range(pairs)]
    ratios = [row['ratio'] for row in rows]
    value = statistics.median(ratios)
    return {
        'bench': 'sim_rate',
        'value': round(value, 4),
        'pass': {f'ratio >= {AT_LEAST}': at_least(round(value, 4), AT_LEAST)},
        'rows': rows,
        'ratio_range': [min(ratios), max(ratios)],
        'env_ratio': statistics.median(row['env_ratio'] for row in rows),
        'compared': 'simulator ticks/s over raw PyBullet ticks/s: same substeps, motor targets, '
        'inverse kinematics and reads',
    }


def _pair(index: int, ticks: int) -> dict[str, Any]:
    """Times the three by turns, a block of ticks each, each first in turn."""
    contract = load_contract(CONTRACT)
    env, simulator = ArmEnv('pick_place', contract), Simulator('pick_place', contract)
    env.reset(seed=0)
    raw = RawLoop(simulator)
    contestants: dict[str, Callable[[Action], object]] = {
        'raw': raw.tick,
        'simulator': lambda action: (simulator.command(action), simulator.step()),
        'env': env.step,
    }
    actions = _actions(ticks)
    names = list(contestants)
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for start in range(0, ticks, BLOCK):
        turn = (index + start // BLOCK) % len(names)
        for name in names[turn:] + names[:turn]:
            seconds[name].append(_seconds(contestants[name], actions[start : start + BLOCK]))
    for owner in (env, simulator, raw):
        owner.close()
    rates = {
        f'{name}_ticks_per_s': round(BLOCK / statistics.median(spent), 1)
        for name, spent in seconds.items()
    }
    ratio, env_ratio = (_ratio(seconds['raw'], seconds[name]) for name in ('simulator', 'env'))
    return {'pair': index, **rates, 'ratio': ratio, 'env_ratio': env_ratio}


def _ratio(raw: list[float], other: list[float]) -> float:
    """Of the rates, block by block; the median, since the load of the machine comes and goes."""
    return round(statistics.median(base / spent for base, spent in zip(raw, other)), 4)


def _seconds(tick: Callable[[Action], object], actions: list[Action]) -> float:
    """Of processor time, which other processes of the machine take no part of."""
    start = time.thread_time()
    for action in actions:
        tick(action)
    return time.thread_time() - start


def _actions(ticks: int) -> list[Action]:
    """Circles of the tool, at about 0.1 m/s."""
    turn = np.arange(ticks) * 0.1
    velocities = 0.1 * np.stack([np.cos(turn), np.sin(turn), 0.5 * np.sin(turn)], axis=1)
    return [{'arm': velocity, 'gripper': np.array([0])} for velocity in velocities]


class RawLoop:
    """What one would write without the package: PyBullet calls and nothing else."""

    def __init__(self, like: Simulator) -> None:
        """Loads the same bodies and puts them where `like` has them."""
        self._world = World(like.step_s)
        self._world.place({'object': like.cube, 'goal': like.goal})
        self._client = self._world.client
        self._substeps, self._tick_s = like.substeps, like.substeps * like.step_s
        self._kinematics = Kinematics(PANDA)
        self._body = bullet.loadURDF(
            str(PANDA.path), useFixedBase=True, physicsClientId=self._client
        )
        self._motors = [0, 1, 2, 3, 4, 5, 6, 9, 10]
        self._forces, self._gains = [87.0] * 4 + [12.0] * 3 + [40.0] * 2, [0.5] * 9
        self._joints: Array = like.read()[:7]
        for motor, position in zip(self._motors, [*self._joints, 0.04, 0.04]):
            bullet.resetJointState(self._body, motor, position, physicsClientId=self._client)
        gear = bullet.createConstraint(
            self._body, 9, self._body, 10, bullet.JOINT_GEAR, (1, 0, 0), (0, 0, 0), (0, 0, 0),
            physicsClientId=self._client,
        )  # fmt: skip
        bullet.changeConstraint(
            gear, gearRatio=-1, erp=0.1, maxForce=40, physicsClientId=self._client
        )

    def tick(self, action: Action) -> tuple[Any, Any, Any]:
        """Inverse kinematics, the substeps, and what is read after them."""
        step = self._kinematics.step(self._joints, action['arm'] * self._tick_s)
        share = np.arange(1, self._substeps + 1)[:, None] / self._substeps
        rows = self._joints + share * step
        self._joints = rows[-1]
        for row in rows.tolist():
            bullet.setJointMotorControlArray(
                self._body,
                self._motors,
                bullet.POSITION_CONTROL,
                targetPositions=[*row, 0.04, 0.04],
                forces=self._forces,
                positionGains=self._gains,
                physicsClientId=self._client,
            )
            bullet.stepSimulation(physicsClientId=self._client)
        return (
            bullet.getJointStates(self._body, self._motors, physicsClientId=self._client),
            bullet.getLinkState(
                self._body, 11, computeForwardKinematics=True, physicsClientId=self._client
            ),
            self._world.pose('object'),
        )

    def close(self) -> None:
        """Frees the physics."""
        self._world.close()


if __name__ == '__main__':
    main()
