"""A source of actions in a process of its own, which does as it is told on its standard input.

`go` lets it send a slow motion about the contract's home each tick; `freeze` lets it fall silent;
`late` and `future` stamp its actions a second off. To each word it answers with when its last good
action was sent, on the steady clock: from the answer on it does as it was told, and not before.
"""

from __future__ import annotations

import math
import sys
import threading
import time

from imitation_ros.frames.contract import Contract, load_contract
from imitation_ros.nodes._streams import ActionStream
import numpy as np
import rclpy
from rclpy.clock import Clock, ClockType
from rclpy.executors import SingleThreadedExecutor
from rclpy.parameter import Parameter

SWING_RAD, PERIOD_S = 0.15, 4.0
OFF_NS = {'go': 0, 'late': -1_000_000_000, 'future': 1_000_000_000}


class Source:
    """A teleoperation device that is always engaged."""

    def __init__(self, contract: Contract) -> None:
        self._told, self._last_good_s = 'go', 0.0
        self._one_at_a_time = threading.Lock()
        simulated = [Parameter('use_sim_time', value=True)]
        self.node = rclpy.create_node('source', parameter_overrides=simulated)
        self._home = np.array(contract.home['arm'])
        self._stream = ActionStream(self.node, contract, 'teleop')
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.node.create_timer(1 / contract.rate_hz, self._send, clock=steady)

    def obey(self, word: str) -> float:
        """Does as told from now on; returns when the last good action was sent, in s."""
        with self._one_at_a_time:
            self._told = word
            return self._last_good_s

    def _send(self) -> None:
        with self._one_at_a_time:
            now_ns = self.node.get_clock().now().nanoseconds
            if self._told not in OFF_NS or not now_ns:
                return
            swing = SWING_RAD * math.sin(2 * math.pi * now_ns / 1e9 / PERIOD_S)
            action = {'arm': self._home + swing, 'gripper': np.array([0])}
            if self._told == 'go':
                self._last_good_s = time.monotonic()
            self._stream.send(now_ns + OFF_NS[self._told], action, '', lambda: {'engaged': 'true'})


def main() -> None:
    """Sends until its standard input ends."""
    rclpy.init()
    source = Source(load_contract(sys.argv[1]))
    executor = SingleThreadedExecutor()
    executor.add_node(source.node)
    threading.Thread(target=executor.spin, daemon=True).start()
    for line in sys.stdin:
        print(source.obey(line.strip()), flush=True)
    executor.shutdown()
    rclpy.try_shutdown()


if __name__ == '__main__':
    main()
