"""The simulation of one task: reset, command, step, read. No ROS, no Gymnasium.

The environment steps it a tick at a time, the node `sim_arm` a tick or any number of physics
steps; both give it the contract's actions and read the same named numbers.
"""

from __future__ import annotations

from dataclasses import dataclass

from imitation_ros.errors import TaskError
from imitation_ros.frames.contract import Contract
from imitation_ros.sim.arm import Arm
from imitation_ros.sim.commands import commands_for
from imitation_ros.sim.families import find_task
from imitation_ros.sim.model import ArmModel, PANDA
from imitation_ros.sim.tasks import Task
from imitation_ros.sim.world import Camera, Item, World
from imitation_ros.types import Action, Array
import numpy as np

PHYSICS_HZ = 200
POSE_FIELDS = (
    *(f'pose.position.{axis}' for axis in 'xyz'),
    *(f'pose.orientation.{axis}' for axis in 'xyzw'),
)
CAMERA_TOPIC = 'camera/image_raw'
CAMERA_TYPE = 'sensor_msgs/msg/Image'


@dataclass(frozen=True)
class Channel:
    """One topic that the simulation has numbers for.

    Attributes:
        topic: relative name.
        type: of its message.
        fields: paths in the message, in the order of the numbers.
        frame_id: of its header, empty where it has none.
    """

    topic: str
    type: str
    fields: tuple[str, ...]
    frame_id: str = ''


class Simulator:
    """A world with an arm in it, and a task.

    Attributes:
        task: what is asked.
        model: which arm.
        substeps: steps of physics in a tick.
        channels: what `read` returns, topic by topic.
        tool: (3,) m, where the tool is.
        cube: (3,) m, where the cube is that the task is about.
        goal: (3,) m.
        distance_m: how far the task is from its goal.
    """

    def __init__(
        self,
        task: str | Task,
        contract: Contract,
        model: ArmModel = PANDA,
        camera: Camera | None = None,
        gui: bool = False,
    ) -> None:
        """Builds the world, with a window of PyBullet's if `gui`.

        Raises:
            TaskError: no such task, an arm that cannot be loaded, or an action it cannot do.
        """
        self.task = find_task(task) if isinstance(task, str) else task
        self.model = model
        self.substeps = max(1, round(PHYSICS_HZ / contract.rate_hz))
        self.step_s = 1.0 / (contract.rate_hz * self.substeps)
        self.channels = _channels(model, self.task.items)
        self.camera = camera or Camera()
        self._tick_ns = contract.tick_period_ns
        self._contract = contract
        self._commands = commands_for(contract, model, self.task.gain)
        self._world = World(self.step_s, gui, self.task.items)
        self._arm = Arm(self._world.client, model, self.step_s)
        self._world.save()
        self.reset(0)

    def reset(self, seed: int) -> None:
        """Starts the episode that belongs to `seed`."""
        layout = self.task.sample(np.random.default_rng(seed))
        self._world.restore()
        self._world.place(layout.items)
        self.goal = layout.goal
        names = [item.name for item in self.task.items]
        self._cube_place = len(POSE_FIELDS) * (1 + names.index(self.task.moved))
        self._arm.reset(self._arm.kinematics.solve(layout.tool), self.task.closed)
        self._steps = self._steps_at_goal = 0
        self._measure(0)

    def ask(self, task: Task) -> None:
        """Asks for another task among the same items, from the next reset on.

        Raises:
            TaskError: it needs other items.
        """
        if task.items != self.task.items:
            names = ', '.join(item.name for item in self.task.items)
            raise TaskError(f'{task.name}: needs other items; valid: {names}')
        self.task = task
        self._commands = commands_for(self._contract, self.model, task.gain)

    def command(self, action: Action, steps: int | None = None) -> None:
        """Gives the arm a command, which stays in force until the next.

        Args:
            action: parts of the contract's action; a part that is left out goes on as it was.
            steps: of physics over which joint targets are moved to; a tick where it is None.
        """
        for part, vector in action.items():
            self._commands[part](self._arm, vector, steps or self.substeps)

    def step(self, steps: int | None = None) -> None:
        """Lets time go on, by a tick or by that many steps of physics."""
        steps = steps or self.substeps
        for targets in self._arm.plan(steps):
            self._arm.drive(targets)
            self._world.step()
        self._measure(steps)

    def shift_cube(self, offset: Array) -> None:
        """Moves the cube by (3,) m as if somebody had; it is seen there after the next step."""
        self._world.shift(self.task.moved, offset)

    def read(self) -> Array:
        """The numbers of all `channels`, one after the other."""
        return self._numbers

    def named(self) -> dict[str, dict[str, float]]:
        """The same as topic → field → number."""
        values = iter(self._numbers.tolist())
        return {
            channel.topic: {field: next(values) for field in channel.fields}
            for channel in self.channels
        }

    def render(self, width: int = 0, height: int = 0) -> Array:
        """The camera's picture (height, width, 3) uint8, in its own size or another."""
        return self.camera.render(self._world.client, width, height)

    @property
    def time_ns(self) -> int:
        """Simulated time since the reset."""
        return self._steps * self._tick_ns // self.substeps

    @property
    def ticks(self) -> int:
        """Whole ticks since the reset."""
        return self._steps // self.substeps

    @property
    def reached(self) -> bool:
        """Whether the goal is reached now."""
        return self.distance_m <= self.task.tolerance_m

    @property
    def holding_ticks(self) -> int:
        """For how many ticks the goal has been reached without a break."""
        return self._steps_at_goal // self.substeps

    @property
    def success(self) -> bool:
        """Whether the goal has been held long enough, up to now."""
        return self.holding_ticks >= self.task.hold_ticks

    @property
    def finished(self) -> bool:
        """Whether it has been held so long that the episode can end."""
        return self.holding_ticks >= self.task.hold_ticks + self.task.stay_ticks

    @property
    def out_of_time(self) -> bool:
        """Whether the horizon is over."""
        return self.ticks >= self.task.horizon

    def close(self) -> None:
        """Frees the physics."""
        self._world.close()

    def _measure(self, steps: int) -> None:
        """Reads the state after `steps` steps of physics; the order is that of `_channels`."""
        poses = [*self._arm.tool_pose()]
        for item in self.task.items:
            poses += self._world.pose(item.name)
        joints = self._arm.joint_states()
        self._numbers = np.array([*joints, *poses, 0.0])
        first = len(joints)
        self.tool = self._numbers[first : first + 3]
        self.cube = self._numbers[first + self._cube_place : first + self._cube_place + 3]
        self.distance_m = self.task.distance(self.tool, self.cube, self.goal)
        self._steps += steps
        self._steps_at_goal = self._steps_at_goal + steps if self.reached else 0
        self._numbers[-1] = self.success


def _channels(model: ArmModel, items: tuple[Item, ...]) -> tuple[Channel, ...]:
    joints = tuple(
        f'{array}.{joint}'
        for array in ('position', 'velocity', 'effort')
        for joint in model.all_joints
    )
    pose = 'geometry_msgs/msg/PoseStamped'
    return (
        Channel('joint_states', 'sensor_msgs/msg/JointState', joints),
        Channel('tool/pose', pose, POSE_FIELDS, model.base),
        *(Channel(f'{item.name}/pose', pose, POSE_FIELDS, model.base) for item in items),
        Channel('success', 'std_msgs/msg/Bool', ('data',)),
    )
