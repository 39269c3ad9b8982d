"""Scripted experts: from what a policy sees to the right action, without memory.

Each task is a field of tool velocities over the scene: the phases of a task are regions of it that
blend into each other, never a counter. A human at any point of it would do the same, a network can
learn it, and the expert can be asked for the label of any state in any order.
"""

from __future__ import annotations

from collections.abc import Callable
import math
from typing import NamedTuple, TypeVar

from imitation_ros.errors import TaskError
from imitation_ros.frames.contract import ActionPart, Contract
from imitation_ros.sim.commands import is_gripper, joint_places, tool_velocities, TWIST_FIELDS
from imitation_ros.sim.kinematics import Kinematics
from imitation_ros.sim.model import ArmModel, PANDA
from imitation_ros.sim.tasks import make_task, ON_TABLE_M
from imitation_ros.types import Action, Array, Frame
import numpy as np

_Number = TypeVar('_Number', float, Array)

SPEED = 0.35
"""m/s, of the tool where nothing is near."""
APPROACH_PER_S = 6.0
"""Speed per distance near a target: what is left shrinks to 1/e in 1/6 s."""
REACH_PER_S = 3.0
"""The same for `reach`: gentle, so that most of the way is linear in what is seen."""
KEY_SHARE = 0.4
"""A key is pressed from where half this share of its speed is wanted, or it would stop short."""

HOVER_M = 0.10
"""How high above its grasp, or its push, the tool travels."""
FUNNEL_M = (0.008, 0.05)
"""Horizontal distance at which the tool is all the way down, and at hovering height."""
GRASP_M = 0.012
"""How near the open fingers must be to the cube's middle before they close."""
SLIP_M = 0.03
"""How far off the cube may be in closed fingers that keep closing."""
GRASPED_M = (0.022, 0.028)
"""Finger positions at which the cube is held, and not yet."""

PUSH_HEIGHT_M = ON_TABLE_M
BEHIND_M = (0.065, 0.10)
"""How far behind the cube the tool comes down: nearest, farthest."""
TOUCH_M = 0.025
"""The nearest that a pushing tool comes to the cube's middle."""
PUSHED_M = (0.010, 0.025)
"""Distance from the goal where pushing has ended, and where it begins to slow down."""

LOST_RAD = (0.3, 0.8)
"""How far the tool is turned away where a joint-space expert begins to go home, and only does."""


class Scene(NamedTuple):
    """What an expert looks at; positions (3,) m in the arm's base frame."""

    tool: Array
    cube: Array
    goal: Array
    finger_m: float  # 0 is closed


class Motion(NamedTuple):
    """What to do about it."""

    velocity: Array  # (3,) m/s of the tool
    closed: bool  # the gripper


def reach(scene: Scene) -> Motion:
    """Straight to the goal."""
    return Motion(_toward(scene.goal - scene.tool, REACH_PER_S), True)


def push(scene: Scene) -> Motion:
    """Down behind the cube, as seen from the goal, then ahead with it."""
    to_goal = (scene.goal - scene.cube)[:2]
    left = math.hypot(*to_goal)
    ahead = to_goal / max(left, 1e-6)
    side = np.array([-ahead[1], ahead[0]])
    offset = (scene.tool - scene.cube)[:2]
    behind, aside = -float(offset @ ahead), float(offset @ side)
    lift = scene.tool[2] - PUSH_HEIGHT_M

    # Once down, the lane goes on to the cube; from above, it ends a finger's width before it.
    near = _blend(TOUCH_M, BEHIND_M[0], _smooth(lift, 0.01, 0.03))
    ahead_error = behind - min(max(behind, near), BEHIND_M[1])
    off_lane = math.hypot(ahead_error, aside)
    enter = np.array([*(ahead * (behind - 0.075) - side * aside), 0.0])
    height = HOVER_M * _smooth(off_lane, *FUNNEL_M)
    approach = _descend(enter, height - lift)

    pushing = 1.0 - max(_smooth(off_lane, 0.008, 0.02), _smooth(lift, 0.01, 0.03))
    drive = np.array([*(_toward(to_goal) - side * aside * APPROACH_PER_S), -lift * APPROACH_PER_S])
    velocity = _blend(approach, drive, pushing)
    return Motion(velocity * _smooth(left, *PUSHED_M), True)


def pick_place(scene: Scene) -> Motion:
    """Over the cube, down, close, and with the cube to the goal."""
    error = scene.cube - scene.tool
    aside = math.hypot(error[0], error[1])
    held = 1.0 - _smooth(scene.finger_m, *GRASPED_M)
    within = _blend(GRASP_M, SLIP_M, held)
    near = math.hypot(aside, error[2]) < within

    approach = _descend(error, error[2] + HOVER_M * _smooth(aside, *FUNNEL_M))
    carry = _toward(scene.goal - scene.cube)
    return Motion(_blend(approach, carry, held * near), near)


EXPERTS: dict[str, Callable[[Scene], Motion]] = {
    'reach': reach,
    'push': push,
    'pick_place': pick_place,
}


class Expert:
    """A task's motion, in the form of a contract's action."""

    def __init__(self, task: str, contract: Contract, model: ArmModel = PANDA) -> None:
        make_task(task)  # refuses an unknown name
        self._motion = EXPERTS[task]
        self._contract, self._model = contract, model
        find = Fields(contract)
        xyz = [f'pose.position.{axis}' for axis in 'xyz']
        self._tool, self._goal = find('tool/pose', xyz), find('goal/pose', xyz)
        self._cube = find('object/pose', xyz) if task != 'reach' else self._goal
        self._finger = (
            find('joint_states', [f'position.{model.fingers[0]}'])
            if task == 'pick_place'
            else None
        )
        self._parts = {
            name: self._part(f'actions.{name}', part, find)
            for name, part in contract.actions.items()
        }
        if task == 'pick_place' and not any(map(is_gripper, contract.actions.values())):
            raise TaskError('actions: pick_place needs a part with the classes open and close')

    def __call__(self, frame: Frame) -> Action:
        """The right action in this frame."""
        finger = float(self._finger(frame)[0]) if self._finger else 0.0
        scene = Scene(self._tool(frame), self._cube(frame), self._goal(frame), finger)
        motion = self._motion(scene)
        return {name: part(frame, motion) for name, part in self._parts.items()}

    def _part(
        self, where: str, part: ActionPart, find: Fields
    ) -> Callable[[Frame, Motion], Array]:
        if part.type in TWIST_FIELDS:
            velocities = tool_velocities(where, part, self._model)
            return _key_press(velocities) if part.discrete else _tool_velocity(velocities, part)
        if is_gripper(part):
            classes = np.array([[part.classes.index('open')], [part.classes.index('close')]])
            return lambda _, motion: classes[int(motion.closed)]
        if part.joints and part.absolute:
            return self._joint_targets(where, part, find)
        raise TaskError(f'{where}: no scripted expert commands {part.type} of kind {part.kind}')

    def _joint_targets(
        self, where: str, part: ActionPart, find: Fields
    ) -> Callable[[Frame, Motion], Array]:
        """Joint targets a tick ahead, so near that the guard has nothing to limit."""
        kinematics, model = Kinematics(self._model), self._model
        tick_s = 1.0 / self._contract.rate_hz
        measured = find('joint_states', [f'position.{joint}' for joint in model.joints])
        places = joint_places(where, part, model)
        fastest = np.array(part.max_velocity) * tick_s  # (n,) in a tick
        stoppable = np.array(part.max_acceleration) * tick_s**2
        longest = np.minimum(fastest, stoppable)
        low, high = np.array(part.low), np.array(part.high)

        def targets(frame: Frame, motion: Motion) -> Array:
            joints = measured(frame)
            state = kinematics.forward(joints)
            step = kinematics.step(joints, motion.velocity * tick_s, state)[places]
            step = step / max(1.0, float(np.max(np.abs(step) / longest)))
            lost = _smooth(kinematics.tilt_rad(state), *LOST_RAD)
            homing = np.clip(kinematics.home[places] - joints[places], -fastest, fastest)
            return np.clip(joints[places] + _blend(step, homing, lost), low, high)

        return targets


def make_expert(task: str, contract: Contract, model: ArmModel = PANDA) -> Expert:
    """The scripted expert of a task: a function from a frame to an action, without memory.

    Raises:
        TaskError: an unknown task, or a contract that lacks a field or action that it needs.
    """
    return Expert(task, contract, model)


class Fields:
    """Finds fields in the vectors of a contract's observations."""

    def __init__(self, contract: Contract) -> None:
        self._places = {
            field: (name, index)
            for name, spec in contract.observation_specs.items()
            for index, field in enumerate(spec.fields)
        }

    def __call__(self, topic: str, fields: list[str]) -> Callable[[Frame], Array]:
        """A function from a frame to the values of `fields` (n,).

        Raises:
            TaskError: the contract does not observe one of them.
        """
        paths = [f'{topic}.{field}' for field in fields]
        for path in paths:
            if path not in self._places:
                raise TaskError(f'observations: the scripted expert needs {path}')
        names = {self._places[path][0] for path in paths}
        indices = [self._places[path][1] for path in paths]
        if len(names) == 1:
            (name,) = names
            return lambda frame: frame.observation[name][indices]
        places = [self._places[path] for path in paths]
        return lambda frame: np.array([frame.observation[name][at] for name, at in places])


def _tool_velocity(velocities: Array, part: ActionPart) -> Callable[[Frame, Motion], Array]:
    low, high = np.array(part.low), np.array(part.high)
    return lambda _, motion: np.clip(motion.velocity @ velocities, low, high)


def _key_press(velocities: Array) -> Callable[[Frame, Motion], Array]:
    """The class whose velocity (classes, 3) comes nearest to what is wanted."""

    def press(_: Frame, motion: Motion) -> Array:
        errors = np.square(KEY_SHARE * velocities - motion.velocity).sum(1)
        return np.argmin(errors, keepdims=True).astype(np.int64)

    return press


def _descend(error: Array, up: float) -> Array:
    """Velocity down a funnel: sideways by `error` as far as the tool is above the funnel's wall.

    Args:
        error: (3,) from the tool to the funnel's bottom, of which x and y count.
        up: from the tool to the funnel's surface; positive where the tool is below it.
    """
    freedom = 1.0 - _smooth(up, 0.01, 0.05)
    sideways = _toward(error[:2]) * freedom
    return np.array([*sideways, *_toward(np.array([up]))])


def _toward(error: Array, per_s: float = APPROACH_PER_S) -> Array:
    """Velocity along `error`, proportional when near and saturating smoothly at SPEED."""
    length = math.sqrt(error @ error)
    if length < 1e-9:
        return np.zeros(len(error))
    return error * (SPEED * math.tanh(per_s * length / SPEED) / length)


def _smooth(value: float, start: float, end: float) -> float:
    """0 up to `start`, 1 from `end` on, and a smooth step between."""
    share = min(max((value - start) / (end - start), 0.0), 1.0)
    return share * share * (3.0 - 2.0 * share)


def _blend(first: _Number, second: _Number, share: float) -> _Number:
    """`first` where share is 0, `second` where it is 1."""
    return first + share * (second - first)
