"""What surrounds the arm: physics, a table, things on it, and a camera that looks at them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
import math

from imitation_ros.sim.bullet import bullet
from imitation_ros.types import Array
import numpy as np

CUBE_SIDE_M = 0.04
CUBE_MASS_KG = 0.1
TABLE_TOP = (0.55, 0.0)
TABLE_HALF_M = (0.45, 0.6, 0.05)
UPRIGHT = (0.0, 0.0, 0.0, 1.0)
FAR_AWAY = (0.0, 0.0, 10.0)
SOLVER_ITERATIONS = 20


@dataclass(frozen=True)
class Item:
    """A coloured thing in the world.

    Attributes:
        name: unique; its pose is on the topic NAME/pose.
        color: red, green, blue, opaqueness, each 0..1.
        solid: whether it is a cube that can be moved, or a marker that nothing can touch.
    """

    name: str
    color: tuple[float, float, float, float]
    solid: bool = True


CUBE = Item('object', (0.15, 0.5, 0.2, 1))
GOAL = Item('goal', (0.9, 0.1, 0.1, 1), solid=False)


@dataclass(frozen=True)
class Camera:
    """A fixed camera without distortion.

    Attributes:
        width: pixels of the published image.
        height: pixels.
        eye: (x, y, z) m in the arm's base frame.
        target: the point it looks at.
        field_of_view_deg: vertical.
    """

    width: int = 96
    height: int = 96
    eye: tuple[float, float, float] = (1.35, 0.6, 0.75)
    target: tuple[float, float, float] = (0.42, 0.0, 0.22)
    field_of_view_deg: float = 42.0
    frame_id: str = 'camera_optical_frame'

    def intrinsics(self, width: int = 0, height: int = 0) -> Array:
        """The (3, 3) matrix K of a picture of this size, in pixels."""
        width, height = width or self.width, height or self.height
        focal = height / (2 * math.tan(math.radians(self.field_of_view_deg) / 2))
        return np.array([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]])

    def render(self, client: int, width: int = 0, height: int = 0) -> Array:
        """A picture (height, width, 3) uint8 of the client's world, drawn on the CPU."""
        width, height = width or self.width, height or self.height
        view = bullet.computeViewMatrix(self.eye, self.target, (0, 0, 1))
        lens = bullet.computeProjectionMatrixFOV(self.field_of_view_deg, width / height, 0.05, 4.0)
        _, _, pixels, _, _ = bullet.getCameraImage(
            width,
            height,
            view,
            lens,
            lightDirection=(1.0, 0.6, 2.0),
            renderer=bullet.ER_TINY_RENDERER,
            flags=bullet.ER_NO_SEGMENTATION_MASK,
            physicsClientId=client,
        )
        return np.array(pixels, np.uint8).reshape(height, width, 4)[:, :, :3]


class World:
    """A physics client of its own with a table and some items.

    The origin is the arm's base, the table's top is z = 0.
    """

    def __init__(
        self, step_s: float, gui: bool = False, items: Sequence[Item] = (CUBE, GOAL)
    ) -> None:
        self.client = bullet.connect(bullet.GUI if gui else bullet.DIRECT)
        bullet.setPhysicsEngineParameter(
            fixedTimeStep=step_s,
            numSolverIterations=SOLVER_ITERATIONS,
            deterministicOverlappingPairs=1,
            physicsClientId=self.client,
        )
        bullet.setGravity(0, 0, -9.81, physicsClientId=self.client)
        self._box(TABLE_HALF_M, 0.0, (0.75, 0.72, 0.68, 1), (*TABLE_TOP, -TABLE_HALF_M[2]))
        self._bodies = {
            item.name: self._cube(item.color) if item.solid else self._marker(item.color)
            for item in items
        }
        self._solid = [item.name for item in items if item.solid]
        self._placed: dict[str, tuple[float, ...]] = {}
        self._snapshot = -1

    def save(self) -> None:
        """Remembers this state, which `restore` returns to.

        Called right after everything is loaded: from a state saved after motion, two restored
        runs were found to differ.
        """
        self._snapshot = bullet.saveState(physicsClientId=self.client)

    def restore(self) -> None:
        """Back to the state of `save`, without a trace of what was touching what since.

        PyBullet keeps contacts, with their impulses, across `restoreState`; a cube at rest then
        moves by micrometres that it does not move in a fresh world. Parting all bodies drops them.
        """
        bullet.restoreState(self._snapshot, physicsClientId=self.client)
        for index, name in enumerate(self._solid):
            self._put(name, (*FAR_AWAY[:2], FAR_AWAY[2] + index))
        bullet.performCollisionDetection(physicsClientId=self.client)

    def place(self, positions: Mapping[str, Array]) -> None:
        """Puts items, upright and at rest, at positions (3,) m."""
        for name, position in positions.items():
            self._put(name, tuple(position.tolist()))

    def shift(self, name: str, offset: Array) -> None:
        """Moves an item by (3,) m, upright and at rest."""
        position = np.array(self.pose(name)[:3]) + offset
        self._put(name, tuple(position.tolist()))

    def step(self) -> None:
        """One step of physics."""
        bullet.stepSimulation(physicsClientId=self.client)

    def pose(self, name: str) -> tuple[float, ...]:
        """Position and quaternion (x, y, z, w) of an item."""
        if name not in self._solid:
            return (*self._placed[name], *UPRIGHT)
        position, turn = bullet.getBasePositionAndOrientation(
            self._bodies[name], physicsClientId=self.client
        )
        return (*position, *turn)

    def close(self) -> None:
        """Frees the physics client; doing it twice is harmless."""
        if self.client >= 0:
            bullet.disconnect(physicsClientId=self.client)
            self.client = -1

    def _put(self, name: str, position: tuple[float, ...]) -> None:
        self._placed[name] = position
        bullet.resetBasePositionAndOrientation(
            self._bodies[name], position, UPRIGHT, physicsClientId=self.client
        )

    def _cube(self, color: tuple[float, ...]) -> int:
        half = CUBE_SIDE_M / 2
        body = self._box((half,) * 3, CUBE_MASS_KG, color, (0.5, 0.0, half))
        bullet.changeDynamics(
            body,
            -1,
            lateralFriction=1.0,
            spinningFriction=0.002,
            physicsClientId=self.client,
        )
        return body

    def _box(
        self,
        half: tuple[float, ...],
        mass: float,
        color: tuple[float, ...],
        at: tuple[float, ...],
    ) -> int:
        shape = bullet.createCollisionShape(
            bullet.GEOM_BOX, halfExtents=half, physicsClientId=self.client
        )
        look = bullet.createVisualShape(
            bullet.GEOM_BOX, halfExtents=half, rgbaColor=color, physicsClientId=self.client
        )
        body: int = bullet.createMultiBody(mass, shape, look, at, physicsClientId=self.client)
        return body

    def _marker(self, color: tuple[float, ...]) -> int:
        """A small ball that nothing can touch."""
        look = bullet.createVisualShape(
            bullet.GEOM_SPHERE, radius=0.015, rgbaColor=color, physicsClientId=self.client
        )
        body: int = bullet.createMultiBody(0.0, -1, look, physicsClientId=self.client)
        return body
