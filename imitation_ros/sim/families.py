"""Families of tasks in which nobody is told the task: only a demonstration shows it.

Several coloured things lie about. A *task*, drawn by a task seed, says which of them is meant and
where it shall go: how far from which of the coloured places, or, in `reach`, how long the unseen
tip of the tool is. It says, too, how strongly the arm answers (gain) and how hasty the expert is
(speed). A *scene*, drawn by a scene seed, says where everything lies, whatever the task: the same
scene of two tasks looks the same until somebody moves.

Task seeds are kept apart: training below 500,000, validation from there, tests from 1,000,000 on.
A region of tasks is held out beside them: its offsets, and its pairs of an object and a place,
occur in no training task.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from imitation_ros.errors import one_of, TaskError
from imitation_ros.sim.tasks import Box, Layout, make_task, ON_TABLE_M, Task
from imitation_ros.sim.world import Item
from imitation_ros.types import Array
import numpy as np

COLORS = {
    'red': (0.85, 0.15, 0.12, 1.0),
    'green': (0.15, 0.55, 0.2, 1.0),
    'blue': (0.15, 0.3, 0.8, 1.0),
    'yellow': (0.9, 0.75, 0.1, 1.0),
}
PLACING_TRIES = 100
"""Drawings of one thing's position after which a scene starts again."""


@dataclass(frozen=True)
class Family:
    """Tasks that have everything in common but what a demonstration shows.

    Attributes:
        name: 'reach', 'push' or 'pick_place', which is also the expert's motion.
        objects: one of them is meant.
        places: where it may have to go; empty where the tool goes to the object itself.
        object_region: where objects lie (m, in the arm's base frame).
        place_region: where places lie.
        apart_m: least distance of any two things; more than twice the offset's reach over the
            table, so that one demonstration tells which place is meant.
        offset: (m) of the goal from the place, drawn by the task.
        held_out_from: share of the offset's x range from which on it belongs to the held-out
            region.
        gain: from, to: how much faster than commanded the tool moves.
        speed: from, to: how hasty the expert is, 1 is the usual.
        tolerance_m: as in `Task`.
        horizon: as in `Task`.
        closed: whether the gripper starts closed.
    """

    name: str
    objects: tuple[Item, ...]
    places: tuple[Item, ...]
    object_region: Box
    place_region: Box
    apart_m: float
    offset: Box
    gain: tuple[float, float]
    speed: tuple[float, float]
    tolerance_m: float
    horizon: int
    closed: bool
    held_out_from: float = 0.75

    @property
    def contract(self) -> str:
        """The own contract that shows all things of the family."""
        return f'panda_family_{self.name}'

    @property
    def items(self) -> tuple[Item, ...]:
        """Everything that lies there."""
        return self.objects + self.places

    def draw(self, seed: int, held_out: bool = False) -> FamilyTask:
        """The task of that seed, of the region that is trained in or of the one held out."""
        rng = np.random.default_rng(seed)
        pairs = [
            (target, place)
            for target in range(len(self.objects))
            for place in range(max(1, len(self.places)))
            if not self.places or self._pair_held_out(target, place) == held_out
        ]
        target, place = pairs[rng.integers(len(pairs))]
        low, high = np.array(self.offset.low), np.array(self.offset.high)
        share = rng.uniform(size=3)
        share[0] *= 1.0 - self.held_out_from if held_out else self.held_out_from
        share[0] += self.held_out_from if held_out else 0.0
        return FamilyTask(
            tolerance_m=self.tolerance_m,
            horizon=self.horizon,
            closed=self.closed,
            gain=float(rng.uniform(*self.gain)),
            family=self,
            target=target,
            place=place,
            offset=tuple((low + share * (high - low)).tolist()),
            speed=float(rng.uniform(*self.speed)),
        )

    def scene(self, rng: np.random.Generator) -> dict[str, Array]:
        """Where everything lies: name → (3,) m, no two things too near to each other."""
        while True:
            positions: dict[str, Array] = {}
            for item in self.items:
                region = self.object_region if item in self.objects else self.place_region
                for _ in range(PLACING_TRIES):
                    position = region.sample(rng)
                    if all(
                        np.linalg.norm(position - other) >= self.apart_m
                        for other in positions.values()
                    ):
                        positions[item.name] = position
                        break
            if len(positions) == len(self.items):
                return positions

    def _pair_held_out(self, target: int, place: int) -> bool:
        """One place of each object."""
        return (target + place) % len(self.places) == 0


@dataclass(frozen=True, kw_only=True)
class FamilyTask(Task):
    """One task of a family; see there what nobody is told.

    Attributes:
        family: that it belongs to.
        target: index of the object that is meant.
        place: index of the place, 0 where there are none.
        offset: (m) from the place to the goal; in `reach` from the tip to where `tool/pose` is.
        speed: of the expert.
    """

    family: Family
    target: int
    place: int
    offset: tuple[float, float, float]
    speed: float
    name: ClassVar[str] = 'family'

    @property
    def items(self) -> tuple[Item, ...]:
        """Everything that lies there."""
        return self.family.items

    @property
    def moved(self) -> str:
        """The object that is meant."""
        return self.family.objects[self.target].name

    @property
    def goal_item(self) -> str:
        """What the goal is relative to."""
        if not self.family.places:
            return self.moved
        return self.family.places[self.place].name

    def sample(self, rng: np.random.Generator) -> Layout:
        """Draws the scene, which does not depend on the task, and finds the goal in it."""
        tool, items = self.tool_start.sample(rng), self.family.scene(rng)
        return Layout(tool, items[self.moved], items[self.goal_item] + self.offset, items)

    def distance(self, tool: Array, cube: Array, goal: Array) -> float:
        """How far (m) the tool, or the object that is meant, is from the goal."""
        moved = cube if self.family.places else tool
        return float(np.linalg.norm(moved - goal))


def _items(kind: str, solid: bool) -> tuple[Item, ...]:
    return tuple(Item(f'{color}_{kind}', rgba, solid) for color, rgba in COLORS.items())


FAMILIES = {
    family.name: family
    for family in (
        Family(
            name='reach',
            objects=_items('ball', solid=False),
            places=(),
            object_region=Box((0.40, -0.20, 0.10), (0.60, 0.20, 0.30)),
            place_region=Box((0.0, 0.0, 0.0), (0.0, 0.0, 0.0)),
            apart_m=0.12,
            offset=Box((-0.04, -0.04, 0.0), (0.04, 0.04, 0.10)),
            gain=(0.7, 1.4),
            speed=(0.7, 1.0),
            tolerance_m=0.03,
            horizon=120,
            closed=True,
        ),
        Family(
            name='push',
            objects=_items('cube', solid=True),
            places=_items('pad', solid=False),
            object_region=Box((0.40, -0.25, ON_TABLE_M), (0.47, 0.25, ON_TABLE_M)),
            place_region=Box((0.59, -0.25, ON_TABLE_M), (0.62, 0.25, ON_TABLE_M)),
            apart_m=0.11,
            offset=Box((-0.02, -0.02, 0.0), (0.02, 0.02, 0.0)),
            gain=(0.8, 1.25),
            speed=(0.8, 1.0),
            tolerance_m=0.05,
            horizon=240,
            closed=True,
        ),
        Family(
            name='pick_place',
            objects=_items('cube', solid=True),
            places=_items('pad', solid=False),
            object_region=Box((0.36, -0.26, ON_TABLE_M), (0.60, 0.26, ON_TABLE_M)),
            place_region=Box((0.36, -0.26, ON_TABLE_M), (0.60, 0.26, ON_TABLE_M)),
            apart_m=0.10,
            offset=Box((-0.03, -0.03, 0.12), (0.03, 0.03, 0.22)),
            gain=(0.8, 1.25),
            speed=(0.8, 1.0),
            tolerance_m=0.04,
            horizon=160,
            closed=False,
        ),
    )
}


def make_family(name: str) -> Family:
    """The family of that name.

    Raises:
        TaskError: there is no such family.
    """
    if name not in FAMILIES:
        raise TaskError(f'no family {name!r}; {one_of(name, FAMILIES)}')
    return FAMILIES[name]


def find_task(name: str) -> Task:
    """The task of that name, as pinned, or, for FAMILY/SEED, the one of a family.

    Raises:
        TaskError: there is no such task, or no such family.
    """
    family, slash, seed = name.partition('/')
    if not slash:
        return make_task(name)
    if not seed.isdecimal():
        raise TaskError(f'task {name!r}: valid: FAMILY/SEED, for example pick_place/7')
    return make_family(family).draw(int(seed))
