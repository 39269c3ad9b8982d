"""Ends of the supervisor in the middle of a motion: the last command on the wire is the stop.

SIGINT, SIGTERM, SIGHUP (a closed terminal), an exception in a callback, and deactivation, by turns
and at random moments. The bar: the last decision says that the supervisor is ending, the arm was
brought to rest within its limits, the last command repeats the one before it, and none comes after
it; the exit code is 0, or 1 after the exception.
"""

from __future__ import annotations

from contextlib import suppress
import random
import signal
import subprocess
import sys
import time

from imitation_ros.errors import GraphError
from imitation_ros.nodes.graph import Graph
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
import numpy as np
from rclpy.client import Client
from std_msgs.msg import Empty

from bench.faults.driven import CONTRACT, Driven, driven, Sent, wait_until
from bench.faults.outcome import Outcome

ENDS = ('SIGINT', 'SIGTERM', 'SIGHUP', 'exception', 'deactivation')
TRIALS = {'short': 5, 'full': 200}
BRAKING = 20
"""Commands that are looked at, up to the first at rest; more of it follow."""
HEARD_S = 5.0
"""At most, on a machine that is busy, until what was said last is heard."""
QUIET_S = 0.3
"""For so long nothing may follow the stop."""


def run(tier: str, seed: int) -> Outcome:
    """Ends supervisors; see the module's text."""
    outcome, rng = Outcome('exits'), random.Random(seed)
    with driven() as robot:
        end = _End(robot)
        for trial in range(TRIALS[tier]):
            how = ENDS[trial % len(ENDS)]
            problem = end.once(how, rng.uniform(0.0, 0.3))
            outcome.injected += 1
            outcome.survived += not problem
            if problem:
                outcome.problems.append(f'{how} (trial {trial}): {problem}')
        outcome.illegal = robot.watcher.illegal
    return outcome


class _End:
    """Starts a supervisor, lets it drive, ends it, and looks at what it sent last."""

    def __init__(self, robot: Driven) -> None:
        self._robot, self._graph = robot, robot.graph
        self._graph.offer('supervisor', 'supervisor')
        self._fail = self._graph.node.create_publisher(Empty, 'faults/fail', 1)
        self._change: Client = self._graph.node.create_client(
            ChangeState, 'supervisor/change_state'
        )

    def once(self, how: str, after_s: float) -> str:
        """What was wrong, or ''."""
        self._robot.watcher.forget()
        process = _start(self._graph)
        try:
            self._robot.drive()
            time.sleep(after_s)
            code = self._end(process, how)
        finally:
            process.kill()
            process.wait()
        with suppress(GraphError):  # then the judge says what was heard instead
            wait_until(self._ended, 'the last decision', HEARD_S)
        time.sleep(QUIET_S)
        expected = 1 if how == 'exception' else 0
        return f'exit code {code}' if code != expected else self._judge()

    def _end(self, process: subprocess.Popen[bytes], how: str) -> int | str:
        """The exit code."""
        if how == 'exception':
            self._fail.publish(Empty())
        elif how == 'deactivation':
            request = ChangeState.Request()
            request.transition.id = Transition.TRANSITION_DEACTIVATE
            answer = self._change.call_async(request)
            wait_until(answer.done, 'the answer to deactivation')
            time.sleep(QUIET_S)
            process.send_signal(signal.SIGINT)
        else:
            process.send_signal(getattr(signal, how))
        try:
            return process.wait(30.0)
        except subprocess.TimeoutExpired:
            return f'none within 30 s of {how}'

    def _ended(self) -> bool:
        last = self._robot.watcher.decisions[-1].status
        return last.values['mode'] == 'stopped' and last.reason == 'the supervisor is ending'

    def _judge(self) -> str:
        watcher = self._robot.watcher
        if not self._ended():
            last = watcher.decisions[-1].status
            return f'the last decision is {last.values["mode"]}: {last.reason}'
        return _not_at_rest(watcher.commands, self._robot) or ''


def _not_at_rest(commands: list[Sent], robot: Driven) -> str:
    part, hz = robot.contract.actions['arm'], robot.contract.command_hz
    steps = np.diff([sent.vector for sent in commands], axis=0) * hz
    if steps[-1].any():
        return f'the last command moves at {np.abs(steps[-1]).max():.3g} rad/s'
    at_rest = int(np.flatnonzero(steps.any(axis=1)).max(initial=0)) + 1
    change = np.abs(np.diff(steps[max(0, at_rest - BRAKING) : at_rest + 1], axis=0)) * hz
    if (change > np.array(part.max_acceleration) * 1.001 + 1e-6).any():
        return f'it brakes with {change.max():.3g} rad/s²'
    return ''


def _start(graph: Graph) -> subprocess.Popen[bytes]:
    given = ('-p', f'contract:={CONTRACT}', '-p', 'use_sim_time:=true')
    return subprocess.Popen(
        [sys.executable, '-m', 'bench.faults._supervisor', '--ros-args', *given],
        env=graph.environment,
        stderr=subprocess.DEVNULL,
    )
