"""A leader arm's joints → the joint targets of the robot that follows it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from imitation_ros.errors import ContractError, MessageError, one_of
from imitation_ros.frames.contract import Contract
from imitation_ros.teleop.grippers import other_class
from imitation_ros.types import Action, Array
import numpy as np


@dataclass(frozen=True)
class LeaderMap:
    """Which leader joint moves which joint of the robot.

    Attributes:
        joints: names on the leader, in the order of the robot's joints in the contract.
        scales: factor of each.
        offsets: added after that, in the contract's units.
        gripper_joint: leader joint that switches the gripper, '' if there is none: it then stays
            as it was told last; see `Leader.presumed`.
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
        self._map, self._contract = mapping, contract
        parts = [name for name, part in contract.actions.items() if part.absolute]
        if len(parts) != 1:
            raise ContractError('actions', f'{len(parts)} position parts', 'a leader needs one')
        self.part = parts[0]
        self._spec = contract.actions[self.part]
        for name in ('joints', 'scales', 'offsets'):
            if len(getattr(mapping, name)) != self._spec.size:
                found = f'{len(getattr(mapping, name))} {name} of the leader'
                raise ContractError(f'actions.{self.part}', found, f'{self._spec.size} are needed')
        self._grippers = {
            name: part.classes for name, part in contract.actions.items() if part.discrete
        }
        for name, classes in self._grippers.items():
            for wanted in mapping.gripper_classes if mapping.gripper_joint else ():
                if wanted not in classes:
                    found = f'no class {wanted!r}'
                    raise ContractError(f'actions.{name}', found, one_of(wanted, classes))

    def action(
        self,
        names: Sequence[str],
        positions: Sequence[float],
        executed: Mapping[str, int] = MappingProxyType({}),
    ) -> Action:
        """The action for one joint state of the leader.

        Args:
            names: of its joints.
            positions: of those.
            executed: discrete part → index of the class that it was told last, where that is
                known. Without a gripper joint it stays that, where it is known.

        Raises:
            MessageError: a joint is missing, or not finite; as many positions as names are not
                there.
        """
        if len(positions) != len(names):  # nobody could tell whose they are
            raise MessageError(f'{len(positions)} positions of {len(names)} joints')
        at = dict(zip(names, positions))
        mapping = self._map
        values = np.array([_position(at, joint) for joint in mapping.joints])
        action: dict[str, Array] = {self.part: values * mapping.scales + mapping.offsets}
        for name, classes in self._grippers.items():
            chosen = executed.get(name, 0)
            if mapping.gripper_joint:
                above = _position(at, mapping.gripper_joint) > mapping.gripper_threshold
                chosen = classes.index(mapping.gripper_classes[above])
            action[name] = np.array([chosen])
        return action

    def presumed(self, executed: Mapping[str, int]) -> str:
        """Which gripper gets a class that nobody has said, since an action needs one, or ''."""
        for name, classes in self._grippers.items():
            if not self._map.gripper_joint and name not in executed:
                return f"nobody has told {name} a class yet: it will be told '{classes[0]}'"
        return ''

    def other_gripper(self, action: Action, executed: Mapping[str, int]) -> str:
        """Which gripper of the robot is not as the leader's, and might drop a thing, or ''."""
        leaders = dict.fromkeys(self._grippers, "the leader's")
        return other_class(self._contract, action, executed, leaders)

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
