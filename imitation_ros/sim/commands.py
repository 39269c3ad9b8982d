"""The contract's action parts → what they make the simulated arm do."""

from __future__ import annotations

from collections.abc import Callable

from imitation_ros.errors import one_of, TaskError
from imitation_ros.frames.contract import ActionPart, Contract
from imitation_ros.sim.arm import Arm
from imitation_ros.sim.model import ArmModel
from imitation_ros.types import Array
import numpy as np

Command = Callable[[Arm, Array, int], None]
"""Gives the arm a part's vector, to be carried out over that many steps of physics."""

TWIST_FIELDS = {
    'geometry_msgs/msg/Twist': ('linear.x', 'linear.y', 'linear.z'),
    'geometry_msgs/msg/TwistStamped': ('twist.linear.x', 'twist.linear.y', 'twist.linear.z'),
}
GRIPPER_CLASSES = {'open', 'close'}
VALID = (
    'valid: joints with kind position or trajectory, a Twist(Stamped) in m/s, or a discrete '
    'part with the classes open and close'
)


def commands_for(contract: Contract, model: ArmModel, gain: float = 1.0) -> dict[str, Command]:
    """Part → how it commands the arm.

    Args:
        contract: with the parts.
        model: of the arm.
        gain: how much faster than commanded the tool moves, by the parts that are velocities.

    Raises:
        TaskError: a part that the simulated arm cannot carry out.
    """
    return {
        name: _command(f'actions.{name}', part, model, gain)
        for name, part in contract.actions.items()
    }


def tool_velocities(where: str, part: ActionPart, model: ArmModel) -> Array:
    """What turns a part's vector into a tool velocity: (3, n), or (classes, 3) if discrete.

    Raises:
        TaskError: not a linear velocity in the base's frame.
    """
    if part.frame_id not in ('', model.base):
        raise TaskError(f'{where}.frame_id: found {part.frame_id!r}; valid: {model.base!r}')
    if set(part.units) - {'m/s'}:
        raise TaskError(f'{where}.units: found {part.units}; valid: m/s')
    axes = TWIST_FIELDS[part.type]
    for field in part.wire_fields:
        if field not in axes:
            raise TaskError(f'{where}.select: {field!r}; {one_of(field, axes)}')
    picks = np.array([[float(field == axis) for field in part.wire_fields] for axis in axes])
    return np.array(part.values) @ picks.T if part.discrete else picks


def joint_places(where: str, part: ActionPart, model: ArmModel) -> list[int]:
    """Which of the model's joints a part's vector holds, in order.

    Raises:
        TaskError: the arm has no such joint.
    """
    for joint in part.joints:
        if joint not in model.joints:
            raise TaskError(f'{where}.joints: no {joint!r}; {one_of(joint, model.joints)}')
    return [model.joints.index(joint) for joint in part.joints]


def is_gripper(part: ActionPart) -> bool:
    """Whether the part opens and closes the gripper."""
    return part.discrete and set(part.classes) == GRIPPER_CLASSES


def _command(where: str, part: ActionPart, model: ArmModel, gain: float) -> Command:
    if part.type in TWIST_FIELDS:
        return _move_tool(gain * tool_velocities(where, part, model), part.discrete)
    if part.joints and part.absolute:
        return _move_joints(joint_places(where, part, model))
    if is_gripper(part) and model.fingers:
        close = part.classes.index('close')
        return lambda arm, vector, _: arm.grip(closed=int(vector[0]) == close)
    raise TaskError(f'{where}: {part.type} of kind {part.kind} moves nothing; {VALID}')


def _move_tool(velocities: Array, discrete: bool) -> Command:
    if discrete:
        return lambda arm, vector, _: arm.move_tool(velocities[int(vector[0])])
    return lambda arm, vector, _: arm.move_tool(velocities @ vector)


def _move_joints(places: list[int]) -> Command:
    def command(arm: Arm, vector: Array, steps: int) -> None:
        target = arm.target.copy()
        target[places] = vector
        arm.move_joints(target, steps)

    return command
