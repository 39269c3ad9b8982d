"""Node `teleop_relay`: takes the commands of teleoperation that is not ours for a person's.

Whatever publishes the contract's action types can teach: a vendor's leader arm, a VR bridge, a
web page. Such a topic says neither whether a person is at it nor when there is nothing to say, so
`~/engage` or a dead-man switch says the one, and silence the other.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
import sys
import time
from typing import Any

from imitation_ros.frames.status import action_topic
from imitation_ros.nodes._messages import message_class, SENSOR
from imitation_ros.nodes._params import load_params, param, ParameterError
from imitation_ros.nodes._runtime import run_node
from imitation_ros.nodes._teleop import DeviceNode, DeviceParams
from imitation_ros.teleop.relay import FOREIGN, Relay
from imitation_ros.types import Action
from std_msgs.msg import Bool
from std_srvs.srv import SetBool


@dataclass(frozen=True)
class TeleopRelayParams(DeviceParams):
    """Parameters of `teleop_relay`."""

    topics: tuple[str, ...] = param(
        (),
        "Where each action part comes from, in the contract's order; empty: foreign/<action>.",
    )
    latched: tuple[str, ...] = param(
        (), 'Discrete parts that are commanded once and stay in force, such as a gripper.'
    )
    deadman: str = param(
        '', 'Topic (std_msgs/Bool) that is true while a person drives; empty: ~/engage says so.'
    )
    timeout_s: float = param(
        0.2,
        "Age of a message that is too old, s; the contract's least max_age_s is one, too.",
        low=0.02,
    )


class TeleopRelayNode(DeviceNode):
    """The commands of others in, `teleop/…` with its status out."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__('teleop_relay', **kwargs)
        self.params: TeleopRelayParams = load_params(self, TeleopRelayParams)
        self.check_params()

    def open_device(self) -> None:
        """Subscribes what is relayed, and the dead-man switch."""
        topics = self._topics()
        self._relay = Relay(self.contract, topics, self.params.timeout_s, self.params.latched)
        self._engaged, self._held, self._held_ns, self.lost = False, False, 0, False
        for part, topic in topics.items():
            self._hear(self.contract.actions[part].type, topic, partial(self._on_command, part))
        if self.params.deadman:
            self._hear('std_msgs/msg/Bool', self.params.deadman, self._on_deadman)
        self.own(self.destroy_service, self.create_service(SetBool, '~/engage', self._on_engage))

    def device_action(self, now_ns: int) -> tuple[Action | None, str]:
        """What was commanded last, if it is fresh and a person stands behind it."""
        self.held = False
        action, reason = self._relay.action(now_ns)
        reason = reason or self._silent_deadman(now_ns)
        if action is None or reason:
            self.lost = self.lost or self._engaged
            self._engaged = False  # who comes back must say so
            return None, reason
        if not self._engaged:
            reason = self._engage(action) if self._held else self._how
        if not self._engaged:
            return None, reason
        problem = '' if self.driving else self._mismatch(action, gripper=not self.watched)
        return self.unless(problem, action, now_ns)

    @property
    def _how(self) -> str:
        """How a person says that it is a person who commands."""
        deadman = self.params.deadman
        return f'dead-man switch {deadman} is up' if deadman else 'not engaged; call ~/engage'

    def _topics(self) -> dict[str, str]:
        """Part → the topic that it is taken from."""
        parts, given = self.contract.actions, self.params.topics
        if given and len(given) != len(parts):
            raise ParameterError(
                f'teleop_relay: parameter topics: {len(given)} topics; '
                f'valid: {len(parts)}, for {", ".join(parts)}'
            )
        topics = given or [action_topic(FOREIGN, part.topic) for part in parts.values()]
        # What comes back from here would keep itself alive, and the robot moving.
        own = {
            self.resolve_topic_name(action_topic(stream, part.topic))
            for stream in ('executed', 'policy', 'teleop')
            for part in parts.values()
        }
        for topic in topics:
            if self.resolve_topic_name(topic) in own:
                raise ParameterError(
                    f'teleop_relay: parameter topics: {topic} is one of our own; '
                    f'valid: topics of somebody else'
                )
        return dict(zip(parts, topics))

    def _hear(self, type: str, topic: str, callback: Any) -> None:
        subscription = self.create_subscription(message_class(type), topic, callback, SENSOR)
        self.own(self.destroy_subscription, subscription)

    def _on_command(self, part: str, message: Any) -> None:
        ros_ns = self.get_clock().now().nanoseconds
        self._relay.take(part, message, time.monotonic_ns(), ros_ns)

    def _on_deadman(self, message: Bool) -> None:
        self._held, self._held_ns = message.data, time.monotonic_ns()
        if not message.data:
            self._engaged = self.lost = False

    def _silent_deadman(self, now_ns: int) -> str:
        silent = now_ns - self._held_ns > self._relay.max_age_s * 1e9
        return f'nothing on {self.params.deadman}' if self.params.deadman and silent else ''

    def _engage(self, action: Action) -> str:
        """Why the robot cannot follow from where it is, or '' and it does."""
        problem = self._mismatch(action)
        self._engaged = not problem
        self.lost = self.lost and bool(problem)
        return problem

    def _mismatch(self, action: Action, gripper: bool = True) -> str:
        """Why the robot cannot follow from here, or ''; with or without a look at the gripper."""
        far = self._relay.too_far(action, self.measured())
        return far or (self._relay.other_gripper(action, self.executed) if gripper else '')

    def _on_engage(self, request: SetBool.Request, response: SetBool.Response) -> SetBool.Response:
        action, problem = self._relay.action(time.monotonic_ns())
        if self.params.deadman:
            problem = f'the dead-man switch {self.params.deadman} says who drives'
        elif not request.data:
            self._engaged, self.lost, problem = False, False, ''
        elif action is not None:
            problem = self._engage(action)
        response.success = not problem
        response.message = problem or ('engaged' if self._engaged else 'let go')
        return response


def main(args: list[str] | None = None) -> int:
    """Entry point of `ros2 run imitation_ros teleop_relay`."""
    return run_node(TeleopRelayNode, args)


if __name__ == '__main__':
    sys.exit(main())
