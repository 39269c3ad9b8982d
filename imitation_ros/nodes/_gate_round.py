"""Tells the supervisor which round its gate is in: by that β falls, and the gate learns anew."""

from __future__ import annotations

import time
from typing import Any

from imitation_ros.frames.status import STATUS_TOPICS
from rcl_interfaces.srv import SetParameters
from rclpy.callback_groups import CallbackGroup
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.task import Future

PARAMETER = 'gate_round'
ASK_AGAIN_S = 5.0
"""After which an answer is not waited for any more."""


class GateRound:
    """The supervisor's live parameter `gate_round`, as a client.

    Args:
        node: who tells.
        supervisor: name of the supervisor; '' for none.
        group: of the client.
    """

    def __init__(self, node: Node, supervisor: str, group: CallbackGroup) -> None:
        self._node, self._client, self._supervisor = node, None, supervisor
        self._told: tuple[Any, ...] = ()
        self._asked: Future | None = None
        self._asked_s = 0.0
        if supervisor:
            self._client = node.create_client(
                SetParameters, f'{supervisor}/set_parameters', callback_group=group
            )

    def close(self) -> None:
        """Destroys the client."""
        if self._client is not None:
            self._node.destroy_client(self._client)
            self._client = None

    def keep(self, number: int) -> None:
        """Tells the supervisor, unless it knows; call it again and again, it waits for nothing.

        A supervisor that was started anew has forgotten it, and is another publisher.
        """
        if self._client is None or not self._client.service_is_ready():
            return
        there = self._node.get_publishers_info_by_topic(STATUS_TOPICS['executed'])
        state = number, *sorted(bytes(each.endpoint_gid) for each in there)
        asked = self._asked is not None and time.monotonic() - self._asked_s < ASK_AGAIN_S
        if state == self._told or asked:
            return
        parameter = Parameter(PARAMETER, value=number).to_parameter_msg()
        self._asked_s = time.monotonic()
        self._asked = self._client.call_async(SetParameters.Request(parameters=[parameter]))
        self._asked.add_done_callback(lambda future: self._on_answer(future, state))

    def _on_answer(self, future: Future, state: tuple[Any, ...]) -> None:
        if future is self._asked:
            self._asked = None
        results = future.result().results if future.result() else []
        if results and results[0].successful:
            self._told = state
            self._node.get_logger().info(f'{self._supervisor}: {PARAMETER} is {state[0]}')
        else:
            reason = results[0].reason if results else 'no answer'
            self._node.get_logger().warning(
                f'{self._supervisor}: {PARAMETER} stays as it is: {reason}',
                throttle_duration_sec=60.0,
            )
