"""Node `teleop_leader`: a person moves a leader arm, and the robot follows joint by joint.

A leader arm has no dead-man button, so `~/engage` says when it is held: without that, a leader
that lies on the table would be taken for an operator.
"""

from __future__ import annotations

from dataclasses import dataclass
import sys
import time
from typing import Any

from imitation_ros.errors import MessageError
from imitation_ros.nodes._messages import SENSOR
from imitation_ros.nodes._params import load_params, param
from imitation_ros.nodes._runtime import run_node
from imitation_ros.nodes._teleop import DeviceNode, DeviceParams
from imitation_ros.teleop.leader import Leader, LeaderMap
from imitation_ros.types import Action
from sensor_msgs.msg import JointState
from std_srvs.srv import SetBool


@dataclass(frozen=True)
class TeleopLeaderParams(DeviceParams):
    """Parameters of `teleop_leader`."""

    topic: str = param('leader/joint_states', "The leader's joint states.")
    joints: tuple[str, ...] = param(
        (), "The leader's joints, in the order of the robot's; empty: of the same names."
    )
    scales: tuple[float, ...] = param((), 'Factor of each; empty: 1.')
    offsets: tuple[float, ...] = param((), 'Added to each after that; empty: 0.')
    gripper_joint: str = param('', 'Leader joint that switches the gripper; empty: none.')
    gripper_threshold: float = param(0.0, 'Position between its classes.')
    gripper_classes: tuple[str, ...] = param(
        ('close', 'open'), 'Class below and above the threshold.'
    )
    timeout_s: float = param(
        0.1, 'Without a message for that long the leader counts as let go, s.', low=0.02
    )


class TeleopLeaderNode(DeviceNode):
    """The leader's joint states in, `teleop/…` out."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__('teleop_leader', **kwargs)
        self.params: TeleopLeaderParams = load_params(self, TeleopLeaderParams)
        self.check_params()

    def open_device(self) -> None:
        """Subscribes the leader."""
        params = self.params
        part = next((each for each in self.contract.actions.values() if each.absolute), None)
        size = part.size if part else 0
        mapping = LeaderMap(
            params.joints or (part.joints if part else ()),
            params.scales or (1.0,) * size,
            params.offsets or (0.0,) * size,
            params.gripper_joint,
            params.gripper_threshold,
            params.gripper_classes,
        )
        self._leader = Leader(self.contract, mapping)
        self._action: Action | None = None
        self._problem, self._engaged = '', False
        subscription = self.create_subscription(
            JointState, params.topic, self._on_joint_state, SENSOR
        )
        self.own(self.destroy_subscription, subscription)
        self.own(self.destroy_service, self.create_service(SetBool, '~/engage', self._on_engage))

    def device_action(self, now_ns: int) -> tuple[Action | None, str]:
        """Where the leader is now."""
        self.held = False
        lacking = self._lacking(now_ns)
        if lacking or self._action is None:
            self.lost = self.lost or self._engaged
            self._engaged = False  # who comes back must say so
            return None, lacking
        if not self._engaged:
            return None, 'not engaged; call ~/engage'
        problem = '' if self.driving else self._mismatch(gripper=not self.watched)
        return self.unless(problem, self._action, now_ns)

    def _lacking(self, now_ns: int) -> str:
        return self.unheard(self.params.topic, self.params.timeout_s, now_ns) or self._problem

    def _on_joint_state(self, message: JointState) -> None:
        self.hear(message)
        try:
            self._action = self._leader.action(message.name, message.position, self.executed)
            self._problem = ''
        except MessageError as error:
            self._action, self._problem = None, str(error)

    def _on_engage(self, request: SetBool.Request, response: SetBool.Response) -> SetBool.Response:
        problem = self._mismatch() if request.data else ''
        self._engaged = request.data and not problem
        self.lost = self.lost and bool(problem)
        response.success = not problem
        warning = self._leader.presumed(self.executed)
        engaged = f'engaged; {warning}' if warning else 'engaged'
        response.message = problem or (engaged if self._engaged else 'let go')
        return response

    def _mismatch(self, gripper: bool = True) -> str:
        """Why the robot cannot follow from here, or ''; with or without a look at the gripper."""
        lacking = self._lacking(time.monotonic_ns())
        measured = self.measured().get(self._leader.part)
        if lacking or self._action is None:
            return lacking or f'nothing on {self.params.topic}'
        if measured is None:
            return 'no feedback from the robot'
        far = self._leader.too_far(self._action, measured)
        return far or (self._leader.other_gripper(self._action, self.executed) if gripper else '')


def main(args: list[str] | None = None) -> int:
    """Entry point of `ros2 run imitation_ros teleop_leader`."""
    return run_node(TeleopLeaderNode, args)


if __name__ == '__main__':
    sys.exit(main())
