"""Which arm is simulated: its URDF and the names and limits that the URDF does not tell."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from imitation_ros.errors import TaskError
import pybullet_data


@dataclass(frozen=True)
class ArmModel:
    """An arm of revolute joints with a parallel gripper; the defaults are the Franka Panda.

    Attributes:
        urdf: a file, or a path below `pybullet_data`'s folder.
        base: the link that is fixed to the world and that poses are relative to.
        tool: the link whose pose is `tool/pose`; it keeps the orientation it has at `home`.
        joints: the arm's joints from base to tool.
        fingers: the gripper's prismatic joints, opening with their positive direction.
        home: posture (rad, one a joint) that the redundant joint is pulled to.
        finger_open_m: position of an open finger; 0 is closed.
        finger_speed: m/s of one finger.
        finger_force: N of one finger.
        workspace_low: (x, y, z) m, where end-effector velocities stop the tool.
        workspace_high: (x, y, z) m.
    """

    urdf: str = 'franka_panda/panda.urdf'
    base: str = 'panda_link0'
    tool: str = 'panda_grasptarget'
    joints: tuple[str, ...] = tuple(f'panda_joint{index}' for index in range(1, 8))
    fingers: tuple[str, ...] = ('panda_finger_joint1', 'panda_finger_joint2')
    home: tuple[float, ...] = (0.0, 0.2, 0.0, -2.2, 0.0, 2.4, 0.7854)
    finger_open_m: float = 0.04
    finger_speed: float = 0.2
    finger_force: float = 40.0
    workspace_low: tuple[float, float, float] = (0.25, -0.5, 0.012)
    workspace_high: tuple[float, float, float] = (0.75, 0.5, 0.6)

    @property
    def all_joints(self) -> tuple[str, ...]:
        """The joints of `joint_states`, in order."""
        return (*self.joints, *self.fingers)

    @property
    def path(self) -> Path:
        """The URDF file.

        Raises:
            TaskError: there is no such file.
        """
        for folder in (Path(), Path(pybullet_data.getDataPath())):
            if (folder / self.urdf).is_file():
                return (folder / self.urdf).absolute()
        raise TaskError(f'urdf: no file {self.urdf!r}; valid: a path, or one in pybullet_data')


PANDA = ArmModel()
