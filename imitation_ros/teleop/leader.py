"""A leader arm's joints → the joint targets of the robot that follows it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from imitation_ros.errors import ContractError, MessageError, one_of
from imitation_ros.frames.contract import Contract
from imitation_ros.types import Action, Array
import numpy as np


@dataclass(frozen=True)
class LeaderMap:
    """Which leader joint moves which joint of the robot.

    Attributes:
        joints: names on the leader, in the order of the robot's joints in the contract.
        scales: factor of each.
        offsets: added after that, in the contract's units.
        gripper_joint: leader joint that switches the gripper, '' if there is none.
        gripper_threshold: position between its classes.
        gripper_classes: class below and above the threshold.
    """

    joints: tuple[str, ...]
    scales: tuple[float, ...]
    offsets: tuple[float, ...]
    gripper_joint: str = ''
    gripper_threshold: float = 0.0
    gripper_classes: tuple[str, ...] = ('close', 'open')


class Leader:
    """Turns the leader's joint states into actions of a contract.

    Raises:
        ContractError: the contract has no position part, or the mapping does not fit it.
    """

    def __init__(self, contract: Contract, mapping: LeaderMap) -> None:
        self._map = mapping
        parts = [name for name, part in contract.actions.items() if part.absolute]
        if len(parts) != 1:
            raise ContractError('actions', f'{len(parts)} position parts', 'a leader needs one')
        self.part = parts[0]
        self._spec = contract.actions[self.part]
        for name in ('joints', 'scales', 'offsets'):
            if len(getattr(mapping, name)) != self._spec.size:
                found = f'{len(getattr(mapping, name))} {name} of the leader'
                raise ContractError(f'actions.{self.part}', found, f'{self._spec.size} are needed')
        self._grippers: dict[str, list[int]] = {}
        for name, part in contract.actions.items():
            if part.discrete:
                for wanted in mapping.gripper_classes if mapping.gripper_joint else ():
                    if wanted not in part.classes:
                        found = f'no class {wanted!r}'
                        valid = one_of(wanted, part.classes)
                        raise ContractError(f'actions.{name}', found, valid)
                self._grippers[name] = [part.classes.index(c) for c in mapping.gripper_classes]

    def action(self, names: Sequence[str], positions: Sequence[float]) -> Action:
        """The action for one joint state of the leader.

        Raises:
            MessageError: a joint is missing, or not finite.
        """
        at = dict(zip(names, positions))
        mapping = self._map
        values = np.array([_position(at, joint) for joint in mapping.joints])
        action: dict[str, Array] = {self.part: values * mapping.scales + mapping.offsets}
        for name, (below, above) in self._grippers.items():
            chosen = above
            if mapping.gripper_joint:
                position = _position(at, mapping.gripper_joint)
                chosen = above if position > mapping.gripper_threshold else below
            action[name] = np.array([chosen])
        return action

    def too_far(self, action: Action, measured: Array) -> str:
        """Which joint of the robot is too far from the leader's to take over, or ''."""
        error = np.abs(action[self.part] - measured)
        worst = int(np.argmax(error))
        limit = self._spec.max_handover_error
        if error[worst] <= limit:
            return ''
        joint = (self._spec.joints or self._spec.wire_fields)[worst]
        return f'{joint} is {error[worst]:.2f} from the leader (at most {limit})'


def _position(at: dict[str, float], joint: str) -> float:
    if joint not in at:
        raise MessageError(f'no joint {joint!r} in the message; {one_of(joint, at)}')
    if not np.isfinite(at[joint]):
        raise MessageError(f'joint {joint!r} is {at[joint]}')
    return float(at[joint])
