"""Habits that a task does not need, in demonstrations of `reach`, and how much of them is left."""

from __future__ import annotations

from collections.abc import Callable
import math

from imitation_ros.frames.contract import Contract
from imitation_ros.sim.experts import SPEED
from imitation_ros.sim.rollout import Rollout
from imitation_ros.types import Action, Array, Frame
import numpy as np

from bench.mixed_demonstrations import fields

PART = 'arm'
PAUSE_TICKS, PAUSE_M = 12, 0.10
"""How long the arm idles, and how far from the goal."""
DETOUR, DETOUR_M = 0.4, (0.12, 0.25)
"""Velocity upwards, as a share of the expert's speed, and at which distances."""
WIGGLE, WIGGLE_M = 0.5, 0.08
"""Velocity sideways, as a share of the expert's speed, and the length of a wave on the way."""
SETTINGS = (PAUSE_TICKS, PAUSE_M, DETOUR, DETOUR_M, WIGGLE, WIGGLE_M)
IDLE_M_S = 0.02
NEAR_M = 0.03
"""From here on standing still is no idling."""


class Habits:
    """An expert who on the way makes a detour, wiggles, and pauses once."""

    def __init__(self, expert: Callable[[Frame], Action], contract: Contract) -> None:
        self._expert = expert
        self._tool, self._goal = fields(contract, 'tool/pose'), fields(contract, 'goal/pose')
        self._part = contract.actions[PART]
        self._paused = 0

    def __call__(self, frame: Frame) -> Action:
        """What it does in this frame."""
        way = position(frame, self._goal) - position(frame, self._tool)
        left = math.sqrt(way @ way)
        if left < PAUSE_M and self._paused < PAUSE_TICKS:
            self._paused += 1
            return {PART: np.zeros(3)}
        velocity = self._expert(frame)[PART].copy()
        if DETOUR_M[0] < left < DETOUR_M[1]:
            velocity[2] += DETOUR * SPEED
        if left > DETOUR_M[0]:
            sideways = np.array([-way[1], way[0], 0.0]) / max(math.hypot(*way[:2]), 1e-6)
            velocity += WIGGLE * SPEED * math.sin(2 * math.pi * left / WIGGLE_M) * sideways
        return {PART: np.clip(velocity, self._part.low, self._part.high)}


def position(frame: Frame, place: tuple[str, list[int]]) -> Array:
    """Of the tool or the goal, (3,) m."""
    name, indices = place
    found: Array = frame.observation[name][indices]
    return found


def habit_measures(rollout: Rollout, contract: Contract) -> dict[str, float]:
    """How much of each habit is in a roll-out.

    Returns:
        'idle': share of the ticks on the way in which nothing moves; 'detour': metres that the
        way is longer than a straight one; 'wiggle': mean square of the velocity across the line
        to the goal, as a share of the whole.
    """
    (name, tool), (_, goal) = fields(contract, 'tool/pose'), fields(contract, 'goal/pose')
    at, to = rollout.observations[name][:, tool], rollout.observations[name][:, goal]
    velocity, way = rollout.actions[PART], to - at
    left = np.linalg.norm(way, axis=1)
    on_way = np.maximum.accumulate(left[::-1])[::-1] > NEAR_M  # it is still to be beyond
    direction = way / np.maximum(left, 1e-6)[:, None]
    along = (velocity * direction).sum(1, keepdims=True) * direction
    moved = velocity[on_way]
    walked = np.linalg.norm(np.diff(at[np.append(on_way[1:], False) | on_way], axis=0), axis=1)
    straight = max(float(left[0]) - NEAR_M, 0.0)
    return {
        'idle': float((np.linalg.norm(moved, axis=1) < IDLE_M_S).mean()) if len(moved) else 0.0,
        'detour': float(walked.sum()) - straight,
        'wiggle': float(np.square((velocity - along)[on_way]).sum() / np.square(moved).sum())
        if moved.any()
        else 0.0,
    }
