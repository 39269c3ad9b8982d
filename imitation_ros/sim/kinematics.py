"""Forward kinematics, Jacobian and one step of inverse kinematics, as functions of the joints.

Nothing is remembered between two calls, so that what follows from a state follows from it alone:
the scripted experts need that to be without memory, the simulation to repeat itself exactly.
"""

from __future__ import annotations

from collections.abc import Iterator
import math
from typing import NamedTuple
import xml.etree.ElementTree as ET

from imitation_ros.errors import one_of, TaskError
from imitation_ros.sim.model import ArmModel
from imitation_ros.types import Array
import numpy as np

DAMPING = 0.02
HOME_PULL = 0.03
"""Share of the way back to the home posture that the null space takes in one step."""
MAX_TURN_RAD = 0.1
"""Of the tool in one step."""


class ToolState(NamedTuple):
    """Where the tool is at a joint posture, and how it moves with the joints."""

    position: Array  # (3,) m
    rotation: Array  # (3, 3)
    jacobian: Array  # (6, n): linear m/rad above angular rad/rad


class Kinematics:
    """The chain of an arm's revolute joints from its base to its tool.

    Attributes:
        low: (n,) rad, lower joint limits.
        high: (n,) rad.
        max_effort: (n,) N·m.
        home: (n,) rad.
        orientation: (3, 3) of the tool at home, which `step` turns the tool back to.
    """

    def __init__(self, model: ArmModel) -> None:
        """Reads the chain.

        Raises:
            TaskError: the URDF cannot be read, or does not hold the model's links and joints.
        """
        chain = list(_chain(model))
        names = [joint.get('name') for joint in chain]
        for joint in model.joints:
            if joint not in names:
                raise TaskError(
                    f'{model.urdf}: no joint {joint!r} between {model.base} and {model.tool}; '
                    f'{one_of(joint, [str(name) for name in names])}'
                )
        self.home = np.array(model.home)
        self._read(chain, model)
        self.orientation = self.forward(self.home).rotation

    def forward(self, joints: Array) -> ToolState:
        """Where the tool is at `joints` (n,) rad, in the base's frame."""
        sin, cos = np.sin(joints)[:, None, None], np.cos(joints)[:, None, None]
        links = self._fixed + sin * self._turned + (1.0 - cos) * self._turned_twice  # (n, 4, 4)
        for index in range(1, len(links)):
            links[index] = links[index - 1] @ links[index]
        tool = links[-1] @ self._tool
        axes = (links[:, :3, :3] @ self._axes)[:, :, 0]  # (n, 3)
        arms = tool[:3, 3] - links[:, :3, 3]
        jacobian = np.empty((6, len(links)))
        jacobian[0] = axes[:, 1] * arms[:, 2] - axes[:, 2] * arms[:, 1]
        jacobian[1] = axes[:, 2] * arms[:, 0] - axes[:, 0] * arms[:, 2]
        jacobian[2] = axes[:, 0] * arms[:, 1] - axes[:, 1] * arms[:, 0]
        jacobian[3:] = axes.T
        return ToolState(tool[:3, 3], tool[:3, :3], jacobian)

    def step(self, joints: Array, move: Array, state: ToolState | None = None) -> Array:
        """Joint motion (n,) that moves the tool by `move` (3,) m and turns it to `orientation`.

        Damped least squares, dq = J^T (J J^T + λ² I)^-1 e (Nakamura and Hanafusa 1986, Wampler
        1986), with a pull to the home posture in the null space.
        """
        state = state or self.forward(joints)
        motion = np.concatenate([move, _turn(state.rotation, self.orientation)])
        jacobian = state.jacobian
        pull = HOME_PULL * (self.home - joints)
        square = jacobian @ jacobian.T
        square.flat[::7] += DAMPING**2
        return pull + jacobian.T @ np.linalg.solve(square, motion - jacobian @ pull)

    def tilt_rad(self, state: ToolState) -> float:
        """The angle by which the tool is turned away from `orientation`."""
        cosine = (float(np.sum(self.orientation * state.rotation)) - 1.0) / 2.0
        return math.acos(min(max(cosine, -1.0), 1.0))

    def solve(self, position: Array, steps: int = 40) -> Array:
        """Joints (n,) that bring the tool to `position` (3,) m in its orientation, from home."""
        joints = self.home
        for _ in range(steps):
            state = self.forward(joints)
            joints = joints + self.step(joints, position - state.position, state)
        return np.clip(joints, self.low, self.high)

    def _read(self, chain: list[ET.Element], model: ArmModel) -> None:
        fixed, axes, limits = [np.eye(4)], [], []
        for joint in chain:
            fixed[-1] = fixed[-1] @ _origin(joint)
            if joint.get('name') in model.joints:
                axes.append(_numbers(joint.find('axis'), 'xyz', '1 0 0'))
                limits.append(_limits(joint, model))
                fixed.append(np.eye(4))
        cross = np.zeros((len(axes), 4, 4))
        cross[:, :3, :3] = [np.cross(np.eye(3), axis) for axis in axes]
        self._fixed, self._tool = np.array(fixed[:-1]), fixed[-1]
        self._turned = self._fixed @ cross  # Rodrigues: R = I + sin K + (1 - cos) K²
        self._turned_twice = self._turned @ cross
        self._axes = np.array(axes)[:, :, None]  # (n, 3, 1)
        self.low, self.high, self.max_effort = np.array(limits).T


def _chain(model: ArmModel) -> Iterator[ET.Element]:
    """The URDF's joints from base to tool."""
    try:
        root = ET.parse(model.path).getroot()
    except ET.ParseError as error:
        raise TaskError(f'{model.path}: not a URDF: {error}') from None
    parents = {_link(joint, 'child'): joint for joint in root.findall('joint')}
    chain, link = [], model.tool
    while link != model.base:
        if link not in parents:
            raise TaskError(
                f'{model.urdf}: no link {model.tool!r} below {model.base!r}; '
                f'{one_of(model.tool, parents)}'
            )
        chain.append(parents[link])
        link = _link(parents[link], 'parent')
    return reversed(chain)


def _link(joint: ET.Element, end: str) -> str:
    element = joint.find(end)
    return '' if element is None else element.get('link', '')


def _limits(joint: ET.Element, model: ArmModel) -> tuple[float, float, float]:
    limit = joint.find('limit')
    if joint.get('type') != 'revolute' or limit is None:
        raise TaskError(f'{model.urdf}: joint {joint.get("name")}: valid: revolute, with limits')
    lower, upper, effort = (float(limit.get(key, '0')) for key in ('lower', 'upper', 'effort'))
    return lower, upper, effort


def _numbers(element: ET.Element | None, key: str, default: str) -> Array:
    text = default if element is None else element.get(key, default)
    return np.array([float(number) for number in text.split()])


def _origin(joint: ET.Element) -> Array:
    """The joint's fixed transform (4, 4) from its parent link."""
    (roll, pitch, yaw) = _numbers(joint.find('origin'), 'rpy', '0 0 0')
    (cr, cp, cy), (sr, sp, sy) = np.cos([roll, pitch, yaw]), np.sin([roll, pitch, yaw])
    transform = np.eye(4)
    transform[:3, :3] = [
        [cy * cp, cy * sp * sr - sy * cr, cy * sp * cr + sy * sr],
        [sy * cp, sy * sp * sr + cy * cr, sy * sp * cr - cy * sr],
        [-sp, cp * sr, cp * cr],
    ]
    transform[:3, 3] = _numbers(joint.find('origin'), 'xyz', '0 0 0')
    return transform


def _turn(current: Array, wanted: Array) -> Array:
    """Rotation vector (3,) towards `wanted`, exact for small angles, at most MAX_TURN_RAD long."""
    skew = wanted @ current.T
    turn = 0.5 * np.array(
        [skew[2, 1] - skew[1, 2], skew[0, 2] - skew[2, 0], skew[1, 0] - skew[0, 1]]
    )
    length = float(np.sqrt(turn @ turn))
    return turn if length <= MAX_TURN_RAD else turn * (MAX_TURN_RAD / length)
