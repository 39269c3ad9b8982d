"""The fixture `ros`: a private ROS graph for each test, and nothing of it left behind."""

from __future__ import annotations

from collections.abc import Callable
import itertools
import os
import time
from typing import Any

import pytest

# What a test leaves behind for a moment is not met by the next.
_FIRST_TRIES = itertools.count(7 * os.getpid())


class Ros:
    """A context and an executor of its own, in a domain of its own, and a node to probe with."""

    def __init__(self) -> None:
        from imitation_ros.nodes._domain import Domain
        import rclpy
        from rclpy.context import Context
        from rclpy.executors import SingleThreadedExecutor
        from rclpy.signals import SignalHandlerOptions

        self._domain = Domain(next(_FIRST_TRIES))
        self.domain_id = self._domain.id
        self.context = Context()
        rclpy.init(
            context=self.context,
            domain_id=self.domain_id,
            signal_handler_options=SignalHandlerOptions.NO,
        )
        self.executor = SingleThreadedExecutor(context=self.context)
        self._nodes: list[Any] = []
        self.probe = self.add(rclpy.create_node('probe', context=self.context))

    def add(self, node: Any) -> Any:
        """Spins a node from now on, and destroys it at the end."""
        self._nodes.append(node)
        self.executor.add_node(node)
        return node

    def start(self, node_class: Any, autostart: bool = True, **parameters: Any) -> Any:
        """Makes one of the package's nodes, active unless told otherwise."""
        from rclpy.parameter import Parameter

        overrides = [Parameter(name, value=value) for name, value in parameters.items()]
        node = self.add(node_class(context=self.context, parameter_overrides=overrides))
        if autostart:
            assert node.autostart(), f'{node.get_name()} refused to start'
        return node

    def stop(self, node: Any) -> None:
        """Ends a node, as if its process had ended."""
        self._nodes.remove(node)
        self.executor.remove_node(node)
        node.close()
        node.destroy_node()

    def listen(self, topic: str, type: str, depth: int = 1000) -> list[Any]:
        """The messages of a topic, as they come in."""
        from imitation_ros.nodes._messages import message_class

        messages: list[Any] = []
        self.probe.create_subscription(message_class(type), topic, messages.append, depth)
        return messages

    def publisher(self, topic: str, type: str, depth: int = 10) -> Any:
        """A publisher of the probe."""
        from imitation_ros.nodes._messages import message_class

        return self.probe.create_publisher(message_class(type), topic, depth)

    def call(self, service: str, request: Any = None, type: Any = None) -> Any:
        """Calls a service (a Trigger by default) and returns its response."""
        from std_srvs.srv import Trigger

        type = type or Trigger
        client = self.probe.create_client(type, service)
        self.spin_until(client.service_is_ready, what=f'service {service}')
        future = client.call_async(request or type.Request())
        self.spin_until(future.done, what=f'answer of {service}')
        self.probe.destroy_client(client)
        return future.result()

    def spin_until(
        self, predicate: Callable[[], Any], timeout_s: float = 20.0, what: str = ''
    ) -> None:
        """Spins all nodes until `predicate` holds, and fails if it never does."""
        deadline = time.monotonic() + timeout_s
        while not predicate():
            if time.monotonic() > deadline:
                pytest.fail(f'not within {timeout_s} s: {what or predicate}')
            self.executor.spin_once(timeout_sec=0.01)

    def spin_for(self, duration_s: float) -> None:
        """Spins all nodes for a while: only to see that something does not happen."""
        deadline = time.monotonic() + duration_s
        while time.monotonic() < deadline:
            self.executor.spin_once(timeout_sec=0.01)

    def close(self) -> None:
        """Closes every node, and the context."""
        for node in reversed(self._nodes):
            if hasattr(node, 'close'):
                node.close()
            self.executor.remove_node(node)
            node.destroy_node()
        self.executor.shutdown()
        self.context.try_shutdown()
        self._domain.release()


@pytest.fixture
def ros():
    graph = Ros()
    yield graph
    graph.close()
