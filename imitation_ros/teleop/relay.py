"""Commands of somebody else's teleoperation → actions of a contract, while they are fresh."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from imitation_ros.errors import ContractError, MessageError, one_of
from imitation_ros.frames.actions import ActionCodec
from imitation_ros.frames.codecs import stamp_ns
from imitation_ros.frames.contract import Contract
from imitation_ros.teleop.grippers import other_class
from imitation_ros.types import Action, Array
import numpy as np

FOREIGN = 'foreign'
"""Below it lie the topics that are relayed, unless others are named."""


class Relay:
    """Holds the newest command of each part, and gives them away as long as all are fresh.

    Nothing is made up: a part of which nothing fresh was heard is no action at all.

    Args:
        contract: of the robot.
        topics: part → where its commands come from, for people.
        timeout_s: an older command counts as none; the contract's shortest `max_age_s` does so
            too, since no label may be older than what it is a label for.
        latched: discrete parts whose last command is in force until the next.

    Raises:
        ContractError: a part that is to be latched is none, or moves.
    """

    def __init__(
        self,
        contract: Contract,
        topics: Mapping[str, str],
        timeout_s: float,
        latched: Collection[str] = (),
    ) -> None:
        self._contract, self._parts = contract, contract.actions
        self._topics, self._latched = topics, latched
        self._codecs = {name: ActionCodec(part) for name, part in contract.actions.items()}
        discrete = [name for name, part in contract.actions.items() if part.discrete]
        for name in latched:
            if name not in discrete:
                found = f'no discrete part {name!r} to be latched'
                raise ContractError('actions', found, one_of(name, discrete))
        self.max_age_s = min(timeout_s, *(source.max_age_s for source in contract.sources))
        self._vectors: dict[str, Array] = {}
        self._born_ns: dict[str, int] = {}
        self._problems: dict[str, str] = {}

    def take(self, part: str, message: Any, now_ns: int, ros_ns: int) -> None:
        """Takes one command.

        Args:
            part: that it is for.
            message: of the part's type.
            now_ns: steady time.
            ros_ns: ROS time, in which a header's stamp says how old the command is already.
        """
        try:
            vector = self._codecs[part].decode(message)
            if not np.isfinite(vector).all():
                raise MessageError(f'not finite: {vector.tolist()}')
        except MessageError as error:
            self._vectors.pop(part, None)
            self._problems[part] = str(error)
            return
        late_ns = max(0, ros_ns - (stamp_ns(message) or ros_ns))
        self._vectors[part], self._born_ns[part] = vector, now_ns - late_ns
        self._problems.pop(part, None)

    def action(self, now_ns: int) -> tuple[Action | None, str]:
        """The action of this moment (steady ns), or None and which part lacks what."""
        for part, topic in self._topics.items():
            if problem := self._problem(part, now_ns):
                return None, f'{topic}: {problem}'
        return dict(self._vectors), ''

    def too_far(self, action: Action, measured: Mapping[str, Array]) -> str:
        """Why the robot must not begin to follow from where it is, or ''."""
        for name, part in self._parts.items():
            if not part.absolute:
                continue
            if name not in measured:
                return f'no feedback of {name} from the robot'
            error = np.abs(action[name] - measured[name])
            worst = int(np.argmax(error))
            if error[worst] > part.max_handover_error:
                element = (part.joints or part.wire_fields)[worst]
                return (
                    f'{element} is {error[worst]:.2f} from {self._topics[name]} '
                    f'(at most {part.max_handover_error})'
                )
        return ''

    def other_gripper(self, action: Action, executed: Mapping[str, int]) -> str:
        """Which discrete part of the robot was told otherwise since by others, or ''."""
        return other_class(self._contract, action, executed, self._topics)

    def _problem(self, part: str, now_ns: int) -> str:
        if part not in self._vectors:
            return self._problems.get(part, 'no message yet')
        age_s = (now_ns - self._born_ns[part]) / 1e9
        if age_s <= self.max_age_s or part in self._latched:
            return ''
        return f'the newest is {age_s:.2f} s old (at most {self.max_age_s:g} s)'
