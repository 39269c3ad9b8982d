"""The scripted expert of a family's task: it alone is told what is meant."""

from __future__ import annotations

from imitation_ros.frames.contract import Contract
from imitation_ros.sim.commands import is_gripper
from imitation_ros.sim.experts import Expert, EXPERTS, Fields, make_expert, Scene
from imitation_ros.sim.families import FamilyTask, find_task
from imitation_ros.sim.model import ArmModel, PANDA
from imitation_ros.types import Action, Frame
import numpy as np

XYZ = [f'pose.position.{axis}' for axis in 'xyz']


class FamilyExpert(Expert):
    """The motion of the family, at the task's object, place, gain and speed.

    Like every scripted expert it has no memory, so that it labels any state in any order.
    """

    def __init__(self, task: FamilyTask, contract: Contract, model: ArmModel = PANDA) -> None:
        """Finds what it looks at.

        Raises:
            TaskError: the contract lacks a field or an action that the expert needs.
        """
        find = Fields(contract)
        self._motion = EXPERTS[task.family.name]
        self._contract, self._model = contract, model
        self._offset, self._pace = np.array(task.offset), task.speed / task.gain
        self._tool = find('tool/pose', XYZ)
        self._cube = find(f'{task.moved}/pose', XYZ)
        self._goal = find(f'{task.goal_item}/pose', XYZ)
        gripper = any(map(is_gripper, contract.actions.values()))
        finger = [f'position.{model.fingers[0]}']
        self._finger = find('joint_states', finger) if gripper else None
        self._parts = {
            name: self._part(f'actions.{name}', part, find)
            for name, part in contract.actions.items()
        }

    def __call__(self, frame: Frame) -> Action:
        """The right action in this frame."""
        finger = float(self._finger(frame)[0]) if self._finger else 0.0
        goal = self._goal(frame) + self._offset
        motion = self._motion(Scene(self._tool(frame), self._cube(frame), goal, finger))
        motion = motion._replace(velocity=motion.velocity * self._pace)
        return {name: part(frame, motion) for name, part in self._parts.items()}


def find_expert(name: str, contract: Contract, model: ArmModel = PANDA) -> Expert:
    """The scripted expert of a task by its name, as `find_task` takes it.

    Raises:
        TaskError: an unknown task, or a contract that lacks a field or action that it needs.
    """
    task = find_task(name)
    if isinstance(task, FamilyTask):
        return FamilyExpert(task, contract, model)
    return make_expert(name, contract, model)
