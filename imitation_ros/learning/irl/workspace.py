"""A learned reward as a function of where the tool is."""

from __future__ import annotations

from imitation_ros.learning.irl.reward import Reward
from imitation_ros.learning.irl.transitions import Transitions
from imitation_ros.types import Array
import numpy as np

MARGIN_M = 0.15
"""Around the way of the demonstration."""


def reward_map(
    reward: Reward, demonstration: Transitions, points: int
) -> tuple[Array, Array, Array, Array] | None:
    """What standing still is worth at each place of a plane through a demonstration's end.

    Args:
        reward: to look at.
        demonstration: one episode; all but the tool is as at its end.
        points: along each side.

    Returns:
        x (m), y (m), reward (points, points), and the tool's last position (2,) m; None where
        the contract does not observe the tool's pose, or commands no velocities.
    """
    layout = reward.layout
    sources = layout.contract.observation_specs.values()
    fields = [field for spec in sources for field in spec.fields]
    tool = [
        at
        for at, field in enumerate(fields)
        if 'tool' in field and field.endswith(('position.x', 'position.y'))
    ]
    kinds = {part.kind for part in layout.contract.actions.values() if not part.discrete}
    if len(tool) != 2 or kinds != {'delta'}:
        return None
    alive = demonstration.take(demonstration.observation[:, -1] == 0)
    last, way = alive.observation[-1], alive.observation[:, tool]
    low, high = way.min(0) - MARGIN_M, way.max(0) + MARGIN_M
    x, y = (np.linspace(low[axis], high[axis], points) for axis in (0, 1))
    states = np.tile(last, (points * points, 1))
    states[:, tool[0]], states[:, tool[1]] = (grid.ravel() for grid in np.meshgrid(x, y))
    still = np.tile(alive.action[-1], (len(states), 1))
    scores = reward.score(states, still, states).reshape(points, points)
    return x, y, scores, last[tool]
