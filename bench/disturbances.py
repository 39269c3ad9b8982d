"""Scripted disturbances: somebody pushes the arm, and moves the cube, at times of their own."""

from __future__ import annotations

from collections.abc import Callable

from imitation_ros.learning.evaluation import Evaluation
from imitation_ros.sim.env import ArmEnv
from imitation_ros.sim.rollout import roll_out
from imitation_ros.types import Action, Frame
import numpy as np

PUSHED_TICKS = 6
PUSH = 0.7
"""Of the largest velocity that the contract allows."""
PUSH_FROM = (5, 45)
MOVED_AT = (4, 12)
"""Ticks; the arm is still on its way to the cube."""
MOVED_M = 0.05


class Disturbance:
    """What happens in the scene of a seed: the arm is pushed once, and the cube moved once."""

    def __init__(self, env: ArmEnv, part: str, seed: int) -> None:
        rng = np.random.default_rng((seed, 1))
        direction = rng.normal(size=3)
        angle = rng.uniform(0, 2 * np.pi)
        self._env, self._part = env, part
        self._push_at, self._move_at = rng.integers(*PUSH_FROM), rng.integers(*MOVED_AT)
        self._direction = direction / np.linalg.norm(direction)
        self._offset = MOVED_M * np.array([np.cos(angle), np.sin(angle), 0.0])

    def applied(self, action: Action) -> Action:
        """What becomes of an action in this tick."""
        tick = self._env.simulator.ticks
        if tick == self._move_at:
            self._env.simulator.shift_cube(self._offset)
        if not self._push_at <= tick < self._push_at + PUSHED_TICKS:
            return action
        spec = self._env.contract.action_specs[self._part]
        assert spec.low is not None
        assert spec.high is not None
        pushed = action[self._part].copy()
        pushed[:3] += PUSH * spec.high[:3] * self._direction
        return {**action, self._part: np.clip(pushed, spec.low, spec.high)}


def evaluate_disturbed(
    env: ArmEnv, act: Callable[[Frame], Action], reset: Callable[[], None], part: str, seeds: range
) -> Evaluation:
    """Rolls out once for each seed, with the disturbance that belongs to it.

    Args:
        env: with a cube.
        act: from a frame to an action.
        reset: called before each episode.
        part: Cartesian velocity of the arm, which is pushed.
        seeds: of the scenes and disturbances.
    """
    successes, ticks = [], []
    for seed in seeds:
        reset()
        disturbance = Disturbance(env, part, seed)
        rollout = roll_out(env, lambda frame, d=disturbance: d.applied(act(frame)), seed)
        successes.append(rollout.success)
        ticks.append(rollout.ticks)
    return Evaluation(tuple(seeds), tuple(successes), tuple(ticks))
