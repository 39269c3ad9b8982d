"""The supervisor with a callback that fails when somebody publishes on `faults/fail`."""

from __future__ import annotations

import os
import sys

from imitation_ros.nodes._runtime import run_node
from imitation_ros.nodes._transport import share_no_memory
from imitation_ros.nodes.supervisor import SupervisorNode
from rclpy.utilities import get_rmw_implementation_identifier
from std_msgs.msg import Empty


class FailingSupervisor(SupervisorNode):
    """As the supervisor, until it fails."""

    def build(self) -> None:
        """Listens for the word to fail."""
        super().build()
        self._own(
            self.destroy_subscription,
            self.create_subscription(Empty, 'faults/fail', self._fail, 1),
        )

    def _fail(self, message: Empty) -> None:
        raise ArithmeticError('injected')


if __name__ == '__main__':
    share_no_memory(os.environ, get_rmw_implementation_identifier())  # as its `main` does
    sys.exit(run_node(FailingSupervisor))
