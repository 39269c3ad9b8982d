"""The tasks: where things start, what must come where, and when it counts as done.

Each has a goal and a cube; in `reach` the cube only lies aside. Everything that a success rate
depends on is pinned here: workspace, tolerance, hold, horizon, and the gripper's start.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
import math
from typing import ClassVar, NamedTuple

from imitation_ros.errors import one_of, TaskError
from imitation_ros.sim.world import CUBE, CUBE_SIDE_M, GOAL, Item
from imitation_ros.types import Array
import numpy as np

ON_TABLE_M = CUBE_SIDE_M / 2


class Layout(NamedTuple):
    """Where an episode starts; positions (3,) m in the arm's base frame.

    `items` holds everything that lies there by name, `cube` and `goal` what the task is about.
    """

    tool: Array
    cube: Array
    goal: Array
    items: Mapping[str, Array]

    @classmethod
    def of(cls, tool: Array, cube: Array, goal: Array) -> Layout:
        """With one cube and a goal that is seen."""
        return cls(tool, cube, goal, {CUBE.name: cube, GOAL.name: goal})


@dataclass(frozen=True)
class Box:
    """A box (m) from which positions are drawn evenly."""

    low: tuple[float, float, float]
    high: tuple[float, float, float]

    def sample(self, rng: np.random.Generator) -> Array:
        """A position (3,) m."""
        return rng.uniform(self.low, self.high)


@dataclass(frozen=True)
class Task:
    """What is asked of the arm.

    The goal counts as reached in a tick while what is to be moved, the tool or the cube, is
    within `tolerance_m` of it. It must stay there: an episode is a success if the goal has been
    reached in each of its last `hold_ticks` ticks (or more). It ends after `stay_ticks` further
    ticks at the goal, so that staying is demonstrated, or at the horizon.

    Attributes:
        tolerance_m: how near is near enough.
        horizon: ticks after which an episode ends.
        hold_ticks: ticks without a break at the goal that make a success.
        stay_ticks: ticks that an episode goes on after that.
        tool_start: where the tool starts.
        closed: whether the gripper starts closed.
        gain: how much faster than commanded the tool moves; nobody is told.
    """

    tolerance_m: float
    horizon: int
    hold_ticks: int = 10
    stay_ticks: int = 10
    tool_start: Box = Box((0.40, -0.10, 0.20), (0.50, 0.10, 0.30))
    closed: bool = False
    gain: float = 1.0
    name: ClassVar[str]
    moves_cube: ClassVar[bool] = True

    @property
    def items(self) -> tuple[Item, ...]:
        """What lies in the world."""
        return CUBE, GOAL

    @property
    def moved(self) -> str:
        """Which of the items is meant by the cube."""
        return CUBE.name

    def sample(self, rng: np.random.Generator) -> Layout:
        """Draws where an episode starts."""
        raise NotImplementedError

    def distance(self, tool: Array, cube: Array, goal: Array) -> float:
        """How far (m) what is to be moved is from the goal; positions (3,)."""
        error = (cube if self.moves_cube else tool) - goal
        return math.sqrt(error @ error)


@dataclass(frozen=True)
class Reach(Task):
    """Bring the tool to the goal."""

    tolerance_m: float = 0.03
    horizon: int = 100
    closed: bool = True
    goal: Box = Box((0.40, -0.15, 0.10), (0.60, 0.15, 0.35))
    cube: Box = Box((0.40, -0.45, ON_TABLE_M), (0.60, -0.38, ON_TABLE_M))
    name: ClassVar[str] = 'reach'
    moves_cube: ClassVar[bool] = False

    def sample(self, rng: np.random.Generator) -> Layout:
        """Draws tool, cube and goal from their boxes."""
        return Layout.of(self.tool_start.sample(rng), self.cube.sample(rng), self.goal.sample(rng))


@dataclass(frozen=True)
class Push(Task):
    """Slide the cube over the table to the goal, away from the base, with the gripper closed.

    Attributes:
        cube: where the cube starts.
        distance_m: from, to: how far from the cube the goal is.
        direction_rad: the goal's direction from the cube, at most so far off the x axis.
    """

    tolerance_m: float = 0.05
    horizon: int = 140
    closed: bool = True
    cube: Box = Box((0.40, -0.12, ON_TABLE_M), (0.48, 0.12, ON_TABLE_M))
    distance_m: tuple[float, float] = (0.12, 0.18)
    direction_rad: float = 0.5
    name: ClassVar[str] = 'push'

    def sample(self, rng: np.random.Generator) -> Layout:
        """Draws tool and cube from their boxes, and the goal ahead of the cube."""
        tool, cube = self.tool_start.sample(rng), self.cube.sample(rng)
        distance = rng.uniform(*self.distance_m)
        angle = rng.uniform(-self.direction_rad, self.direction_rad)
        ahead = distance * np.array([math.cos(angle), math.sin(angle), 0.0])
        return Layout.of(tool, cube, cube + ahead)


@dataclass(frozen=True)
class PickPlace(Task):
    """Grasp the cube, carry it to the goal above the table and keep it there."""

    tolerance_m: float = 0.04
    horizon: int = 140
    cube: Box = Box((0.38, -0.18, ON_TABLE_M), (0.58, 0.18, ON_TABLE_M))
    goal: Box = Box((0.38, -0.20, 0.12), (0.58, 0.20, 0.25))
    name: ClassVar[str] = 'pick_place'

    def sample(self, rng: np.random.Generator) -> Layout:
        """Draws tool, cube and goal from their boxes."""
        return Layout.of(self.tool_start.sample(rng), self.cube.sample(rng), self.goal.sample(rng))


TASKS: dict[str, type[Task]] = {task.name: task for task in (Reach, Push, PickPlace)}


def make_task(name: str) -> Task:
    """The task of that name, as pinned.

    Raises:
        TaskError: there is no such task.
    """
    if name not in TASKS:
        raise TaskError(f'no task {name!r}; {one_of(name, TASKS)}')
    return TASKS[name]()  # type: ignore[call-arg]
