"""A gripper behind an action server, commanded by the contract's `std_msgs/Bool` topic.

The package commands topics only. This node turns each change of the command (false: open, true:
close) into a goal; run it beside the supervisor on a machine where `control_msgs` is installed:

    python3 examples/gripper_action_bridge.py --ros-args \
        -p action:=/fr3_gripper/gripper_action -p open:=0.039 -p max_effort:=20.0

ros2_control's gripper controller of Jazzy and newer takes `-p type:=ParallelGripperCommand
-p joint:=NAME`.
"""

from __future__ import annotations

from importlib import import_module
import sys
from types import SimpleNamespace
from typing import Any

import rclpy
from rclpy.action import ActionClient
from rclpy.executors import ExternalShutdownException
from rclpy.node import Node
from std_msgs.msg import Bool

DEFAULTS = {
    'topic': 'gripper/command',
    'action': 'gripper_controller/gripper_cmd',
    'type': 'GripperCommand',  # or ParallelGripperCommand
    'joint': '',  # that ParallelGripperCommand names
    'open': 0.04,  # position of the gripper (m or rad)
    'close': 0.0,
    'max_effort': 10.0,  # N or N m
}
NOT_INSTALLED = (
    'the gripper actions are in control_msgs, which no wheel brings; valid: on a ROS 2 machine '
    'apt install ros-$ROS_DISTRO-control-msgs, and type GripperCommand or ParallelGripperCommand'
)


class GripperActionBridge(Node):
    """One goal at a time: a new command cancels the one under way and follows when it is over."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__('gripper_action_bridge', **kwargs)
        given = {name: self.declare_parameter(name, DEFAULTS[name]).value for name in DEFAULTS}
        self._params = SimpleNamespace(**given)
        self._type = action_class(self._params.type)
        self._client = ActionClient(self, self._type, self._params.action)
        self._wanted: bool | None = None  # closed?
        self._sent: bool | None = None
        self._busy, self._goal = False, None
        self.create_subscription(Bool, self._params.topic, self._on_command, 1)

    def _on_command(self, message: Bool) -> None:
        self._wanted = message.data
        if self._client.server_is_ready():
            self._follow()
            return
        self._sent, self._busy, self._goal = None, False, None  # it comes back knowing nothing
        warning = f'no action server on {self._params.action}'
        self.get_logger().warning(warning, throttle_duration_sec=5.0)

    def _follow(self) -> None:
        if self._wanted == self._sent:
            return
        if not self._busy:
            self._busy, self._sent = True, self._wanted
            future = self._client.send_goal_async(self._goal_for(bool(self._wanted)))
            future.add_done_callback(self._on_answer)
        elif self._goal is not None:
            self._goal.cancel_goal_async()
            self._goal, self._sent = None, None  # what was sent is not what will be there

    def _goal_for(self, closed: bool) -> Any:
        params, goal = self._params, self._type.Goal()
        position = params.close if closed else params.open
        if params.type == 'ParallelGripperCommand':
            goal.command.name, goal.command.position = [params.joint], [position]
            goal.command.effort = [params.max_effort]
        else:
            goal.command.position, goal.command.max_effort = position, params.max_effort
        return goal

    def _on_answer(self, future: Any) -> None:
        goal = future.result()
        if goal.accepted:
            self._goal = goal
            goal.get_result_async().add_done_callback(self._on_result)
        else:
            self.get_logger().error('the goal was refused; the next change tries again')
            self._busy = False
        self._follow()

    def _on_result(self, future: Any) -> None:
        self._busy, self._goal = False, None
        self._follow()


def action_class(name: str) -> Any:
    """The action of that name; ends the program where it is not installed."""
    try:
        return getattr(import_module('control_msgs.action'), name)
    except (ImportError, AttributeError) as error:
        sys.exit(f'{error}: {NOT_INSTALLED}')


def main() -> None:
    """Runs the bridge until Ctrl-C."""
    rclpy.init()
    try:
        rclpy.spin(GripperActionBridge())
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    finally:
        rclpy.try_shutdown()


if __name__ == '__main__':
    main()
