"""A robot's URDF: limits of its joints, and where its tool is.

Reads only joints and links. Nothing that a file names is opened, and a document type, with which
a small file could grow into a large one, is refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
import math
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from imitation_ros.errors import ContractError, one_of
from imitation_ros.frames.contract import ActionPart, Contract
from imitation_ros.frames.contract_checks import check
from imitation_ros.types import Array
import numpy as np

MAX_BYTES = 16 << 20
MOVING = ('revolute', 'continuous', 'prismatic')


@dataclass(frozen=True)
class Joint:
    """One joint.

    Attributes:
        kind: 'revolute', 'continuous', 'prismatic' or 'fixed'.
        parent: link.
        child: link.
        origin: (4, 4) pose of the joint in its parent link.
        axis: (3,) of length 1.
        low: lower limit (rad or m); minus infinity without one.
        high: upper limit.
        max_velocity: rad/s or m/s; infinity without a limit.
    """

    kind: str
    parent: str
    child: str
    origin: Array
    axis: Array
    low: float
    high: float
    max_velocity: float


class Urdf:
    """A robot description.

    Args:
        path: of the file; for `xacro`, of what it has made.

    Attributes:
        joints: name → joint.

    Raises:
        ContractError: it cannot be read, or is no robot.
    """

    def __init__(self, path: str | Path) -> None:
        self._path = str(path)
        try:
            with open(path, 'rb') as file:
                content = file.read(MAX_BYTES + 1)
        except OSError as error:
            raise ContractError(self._path, f'cannot be read: {error}', 'a URDF file') from None
        if len(content) > MAX_BYTES:
            raise ContractError(self._path, 'too large', f'at most {MAX_BYTES} bytes')
        self.joints = {name: self._joint(name, each) for name, each in self._elements(content)}
        self._above = {joint.child: name for name, joint in self.joints.items()}

    def tool(self, link: str, joints: Sequence[str]) -> Tool:
        """What tells where a link is; raises ContractError if there is none, or a loop."""
        chain: list[str] = []
        at = link
        while at in self._above:
            chain.append(self._above[at])
            at = self.joints[chain[-1]].parent
            if len(chain) > len(self.joints):
                raise ContractError(self._path, f'a loop at {link!r}', 'a tree of links')
        if not chain:
            raise ContractError(self._path, f'no link {link!r}', one_of(link, self._above))
        return Tool([(self.joints[name], name) for name in reversed(chain)], joints)

    def tighten(self, contract: Contract) -> Contract:
        """The contract with the limits of its joints where they are narrower than its own.

        Raises:
            ContractError: the robot lacks a joint, or nothing is left between two limits.
        """
        document = contract.to_document()
        for name, part in contract.actions.items():
            if part.joints and part.kind in ('position', 'trajectory', 'velocity'):
                document['actions'][name] |= self._limits(name, part)
        narrowed = Contract(**document)
        try:
            check(narrowed)
        except ContractError as error:
            where = f'{self._path}: {error.where}'
            raise ContractError(where, f'within its limits {error.found}', error.valid) from None
        return narrowed

    def _limits(self, name: str, part: ActionPart) -> dict[str, list[float]]:
        for joint in part.joints:
            if joint not in self.joints:
                where = f'{self._path}: actions.{name}.joints'
                raise ContractError(where, f'no joint {joint!r}', one_of(joint, self.joints))
        joints = [self.joints[joint] for joint in part.joints]
        speeds = [joint.max_velocity for joint in joints]
        if not part.absolute:
            return {
                'low': [max(low, -v) for low, v in zip(part.low, speeds)],
                'high': [min(high, v) for high, v in zip(part.high, speeds)],
            }
        return {
            'low': [max(low, joint.low) for low, joint in zip(part.low, joints)],
            'high': [min(high, joint.high) for high, joint in zip(part.high, joints)],
            'max_velocity': [min(own, v) for own, v in zip(part.max_velocity, speeds)],
        }

    def _elements(self, content: bytes) -> list[tuple[str, Any]]:
        parser = ElementTree.XMLParser(target=_Plain())
        try:
            parser.feed(content)
            root = parser.close()
        except _DocumentTypeError:
            raise ContractError(self._path, 'found a document type', 'a URDF has none') from None
        except (ElementTree.ParseError, ValueError, LookupError) as error:
            raise ContractError(self._path, f'not XML: {error}', 'a URDF file') from None
        if root.tag != 'robot':
            raise ContractError(self._path, f'found <{root.tag}>', 'a URDF starts with <robot>')
        return [(each.get('name', ''), each) for each in root.findall('joint')]

    def _joint(self, name: str, element: Any) -> Joint:
        where, kind = f'{self._path}: joint {name}', element.get('type', '')
        links = [element.find(end) for end in ('parent', 'child')]
        if any(link is None or not link.get('link') for link in links):
            raise ContractError(where, 'no parent or no child', 'a link each')
        origin, axis, limit = (element.find(key) for key in ('origin', 'axis', 'limit'))
        direction = self._numbers(where, axis, 'xyz', (1.0, 0.0, 0.0))
        length = float(np.linalg.norm(direction))
        if kind in MOVING and not length > 0.0:
            raise ContractError(where, 'an axis of length 0', 'a direction')
        bounded = kind in ('revolute', 'prismatic')
        return Joint(
            kind,
            links[0].get('link'),
            links[1].get('link'),
            _pose(
                self._numbers(where, origin, 'xyz', (0.0, 0.0, 0.0)),
                self._numbers(where, origin, 'rpy', (0.0, 0.0, 0.0)),
            ),
            direction / (length or 1.0),
            self._numbers(where, limit, 'lower', (0.0,))[0] if bounded else -math.inf,
            self._numbers(where, limit, 'upper', (0.0,))[0] if bounded else math.inf,
            self._numbers(where, limit, 'velocity', (math.inf,))[0],
        )

    def _numbers(self, where: str, element: Any, key: str, otherwise: tuple[float, ...]) -> Array:
        """Numbers of an attribute; the default of URDF where it is absent."""
        text = None if element is None else element.get(key)
        if text is None:
            return np.array(otherwise)
        try:
            values = np.array([float(word) for word in text.split()])
        except ValueError:
            values = np.array([math.nan])
        if values.shape != (len(otherwise),) or not np.isfinite(values).all():
            raise ContractError(f'{where}: {key}', f'found {text[:80]!r}', 'finite numbers')
        return values


class Tool:
    """Where a link is, from the positions of joints; joints that nobody names stay at 0."""

    def __init__(self, chain: Sequence[tuple[Joint, str]], joints: Sequence[str]) -> None:
        self._chain = [
            (joint, joints.index(name) if name in joints else None) for joint, name in chain
        ]

    def position(self, joints: Array) -> Array:
        """(3,) in the root link, m; `joints` (n,) in the order that was given."""
        pose = np.eye(4)
        for joint, index in self._chain:
            pose = pose @ joint.origin
            if index is not None and joint.kind in MOVING:
                pose = pose @ _moved(joint, float(joints[index]))
        at: Array = pose[:3, 3]
        return at


class _DocumentTypeError(Exception):
    """A file declares one, and with it entities."""


class _Plain(ElementTree.TreeBuilder):
    """Builds a tree of elements and nothing else."""

    def doctype(self, name: str, public_id: str | None, system_id: str | None) -> None:
        """Ends the parsing before any entity is declared."""
        raise _DocumentTypeError


def _moved(joint: Joint, by: float) -> Array:
    pose = np.eye(4)
    if joint.kind == 'prismatic':
        pose[:3, 3] = by * joint.axis
    else:
        x, y, z = joint.axis
        cross = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
        pose[:3, :3] += math.sin(by) * cross + (1.0 - math.cos(by)) * cross @ cross
    return pose


def _pose(xyz: Array, rpy: Array) -> Array:
    """Fixed axes: roll about x, then pitch about y, then yaw about z."""
    (sr, sp, sy), (cr, cp, cy) = np.sin(rpy), np.cos(rpy)
    pose = np.eye(4)
    pose[:3, :3] = [
        [cy * cp, cy * sp * sr - sy * cr, cy * sp * cr + sy * sr],
        [sy * cp, sy * sp * sr + cy * cr, sy * sp * cr - cy * sr],
        [-sp, cp * sr, cp * cr],
    ]
    pose[:3, 3] = xyz
    return pose
