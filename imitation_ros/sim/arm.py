"""The simulated arm: from a command to the motors' targets of every step of physics."""

from __future__ import annotations

from itertools import pairwise
import math

from imitation_ros.errors import one_of, TaskError
from imitation_ros.sim.bullet import bullet
from imitation_ros.sim.kinematics import Kinematics
from imitation_ros.sim.model import ArmModel
from imitation_ros.types import Array
import numpy as np

MOTOR_GAIN = 0.5
"""Share of the position error that a motor makes good in one step of physics, in its force."""
VELOCITY_TIMEOUT_S = 0.1
"""A tool velocity that is not repeated ends after this time, as in MoveIt Servo."""
MAX_LEAD_M = 0.03
"""How far a velocity command may pull the target away from a tool that is held back."""


class Arm:
    """An arm with a gripper, moved by position motors.

    The last command stays in force: joint targets and fingers are moved to and then held, a tool
    velocity moves a tool target along until it times out.
    """

    def __init__(self, client: int, model: ArmModel, step_s: float) -> None:
        """Loads the arm.

        Raises:
            TaskError: the URDF cannot be read, or lacks a joint or link of the model.
        """
        self.kinematics = Kinematics(model)
        self._model, self._client, self._step_s = model, client, step_s
        self._body = bullet.loadURDF(str(model.path), useFixedBase=True, physicsClientId=client)
        joints, links = self._indices()
        self._tool = links[model.tool]
        for name in model.all_joints:
            if name not in joints:
                raise TaskError(f'{model.urdf}: no joint {name!r}; {one_of(name, joints)}')
        self._motors = [joints[name] for name in model.all_joints]
        arm_forces = self.kinematics.max_effort.tolist()
        self._forces = arm_forces + [model.finger_force] * len(model.fingers)
        self._workspace = np.array(model.workspace_low), np.array(model.workspace_high)
        self._gains = [MOTOR_GAIN] * len(self._motors)
        self._couple_fingers([joints[name] for name in model.fingers])
        self.reset(self.kinematics.home, closed=False)

    def reset(self, joints: Array, closed: bool) -> None:
        """At rest at `joints` (n,) rad, with the fingers open or closed, without a command."""
        self._commanded = joints.copy()  # (n,) what the motors were told last
        self._target = self._commanded  # (n,) what they are on the way to
        self._steps_left = 1
        self._tool_target = self.kinematics.forward(joints).position
        self._velocity = np.zeros(3)
        self._velocity_steps = 0
        self._servo = self._driven = False
        self._finger = self._finger_target = 0.0 if closed else self._model.finger_open_m
        fingers = [self._finger] * len(self._model.fingers)
        for motor, position in zip(self._motors, [*joints.tolist(), *fingers]):
            bullet.resetJointState(self._body, motor, position, 0.0, physicsClientId=self._client)

    def move_joints(self, target: Array, steps: int) -> None:
        """Moves to `target` (n,) rad evenly over the next `steps` steps of physics."""
        self._servo = False
        self._target = _clip(target, self.kinematics.low, self.kinematics.high)
        self._steps_left = steps

    def move_tool(self, velocity: Array) -> None:
        """Moves the tool at `velocity` (3,) m/s in the base's frame, its orientation kept."""
        if not self._servo:
            self._tool_target = self.kinematics.forward(self._commanded).position
        self._servo = True
        self._velocity = velocity
        self._velocity_steps = round(VELOCITY_TIMEOUT_S / self._step_s)

    def grip(self, closed: bool) -> None:
        """Closes or opens the fingers at their speed."""
        self._finger_target = 0.0 if closed else self._model.finger_open_m

    @property
    def target(self) -> Array:
        """The joints (n,) rad that the last command asks for."""
        return self._target

    def plan(self, steps: int) -> list[list[float]]:
        """The motors' targets for each of the next `steps` steps, counted as commanded."""
        if self._servo:
            self._follow_tool(steps)
        count = len(self._commanded)
        ahead = np.arange(1.0, steps + 1.0)
        share = np.minimum(ahead / self._steps_left, 1.0)[:, None]
        reach = self._model.finger_speed * self._step_s * ahead
        targets = np.empty((steps, len(self._motors)))
        targets[:, :count] = self._commanded + share * (self._target - self._commanded)
        left = self._finger_target - self._finger
        targets[:, count:] = self._finger + math.copysign(1.0, left) * np.minimum(
            reach[:, None], abs(left)
        )
        self._commanded, self._finger = targets[-1, :count], float(targets[-1, -1])
        self._steps_left = max(self._steps_left - steps, 1)
        return targets.tolist()

    def drive(self, targets: list[float]) -> None:
        """Gives the motors their targets for one step of physics."""
        self._driven = True
        bullet.setJointMotorControlArray(
            self._body,
            self._motors,
            bullet.POSITION_CONTROL,
            targetPositions=targets,
            forces=self._forces,
            positionGains=self._gains,
            physicsClientId=self._client,
        )

    def joint_states(self) -> tuple[float, ...]:
        """Positions, then velocities, then efforts of the model's joints, fingers last."""
        states = bullet.getJointStates(self._body, self._motors, physicsClientId=self._client)
        positions, velocities, _, efforts = zip(*states)
        if not self._driven:  # PyBullet still tells the efforts from before the reset
            efforts = (0.0,) * len(self._motors)
        return (*positions, *velocities, *efforts)

    def tool_pose(self) -> tuple[float, ...]:
        """Position (m) and quaternion (x, y, z, w) of the tool."""
        state = bullet.getLinkState(
            self._body, self._tool, computeForwardKinematics=True, physicsClientId=self._client
        )
        return (*state[4], *state[5])

    def _follow_tool(self, steps: int) -> None:
        """Moves the tool target along, and the joint target after it."""
        moving = min(steps, self._velocity_steps)
        self._velocity_steps -= moving
        tool = np.array(self.tool_pose()[:3])
        lead = self._tool_target + self._velocity * (moving * self._step_s) - tool
        length = math.sqrt(lead @ lead)
        if length > MAX_LEAD_M:
            lead = lead * (MAX_LEAD_M / length)
        self._tool_target = _clip(tool + lead, *self._workspace)
        arm = self.kinematics
        state = arm.forward(self._commanded)
        motion = arm.step(self._commanded, self._tool_target - state.position, state)
        self._target = _clip(self._commanded + motion, arm.low, arm.high)
        self._steps_left = steps

    def _couple_fingers(self, fingers: list[int]) -> None:
        """Lets the fingers move as one; PyBullet ignores a URDF's `mimic`."""
        for first, second in pairwise(fingers):
            gear = bullet.createConstraint(
                self._body,
                first,
                self._body,
                second,
                bullet.JOINT_GEAR,
                jointAxis=(1, 0, 0),
                parentFramePosition=(0, 0, 0),
                childFramePosition=(0, 0, 0),
                physicsClientId=self._client,
            )
            bullet.changeConstraint(
                gear,
                gearRatio=-1,
                erp=0.1,
                maxForce=self._model.finger_force,
                physicsClientId=self._client,
            )

    def _indices(self) -> tuple[dict[str, int], dict[str, int]]:
        """PyBullet's numbers of the joints and of the links, by name."""
        count = bullet.getNumJoints(self._body, physicsClientId=self._client)
        infos = [
            bullet.getJointInfo(self._body, index, physicsClientId=self._client)
            for index in range(count)
        ]
        return {info[1].decode(): info[0] for info in infos}, {
            info[12].decode(): info[0] for info in infos
        }


def _clip(values: Array, low: Array, high: Array) -> Array:
    """`np.clip`, which takes three times as long for a few numbers."""
    return np.minimum(np.maximum(values, low), high)
