"""From a human's first message to the first executed human command; at most 2 ticks at 50 Hz.

`sim_arm`, `policy` and `supervisor` run in real time, in a process each, with the gate `human` and
a dead-man lease (`takeover: engaged`). The human is a probe: at a random moment it says that it is
engaged, with an action that no policy would choose, and measures until a command that can only
come of it. The figure is the longest time of all trials on a machine that has nothing else to do;
beside it, the same with two busy loops.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
import subprocess
import sys
import tempfile
import threading
import time
from typing import Any

from imitation_ros.errors import GraphError
from imitation_ros.frames.contract import Contract, load_contract
from imitation_ros.frames.status import Status, STATUS_TOPICS, STATUS_TYPE
from imitation_ros.nodes._streams import ActionStream
from imitation_ros.nodes.graph import Graph
import numpy as np
from rclpy.parameter import Parameter
import yaml

from bench.harness import at_most, options, Row
from bench.policy_latency import save_untrained_policy
from bench.rows import say

AT_MOST = 2
RATE_HZ = 50
SPEED = 0.4
"""Of the human, upwards and downwards by turns (m/s); that of the policy is next to nothing."""
SEEN = 0.01
"""Share of it that cannot be the policy's."""
TIMEOUT_S = 30.0
UNTIL_THE_POLICY_DRIVES = {'stopped': 'supervisor/resume', 'hold': 'supervisor/give_back'}


def main(argv: Sequence[str] | None = None) -> dict[str, Any]:
    """Measures idle and loaded."""
    trials = 10 if options(argv, __doc__).quick else 200
    with tempfile.TemporaryDirectory(prefix='takeover_') as folder, Graph() as graph:
        human = _start(graph, Path(folder))
        idle = _measure('idle', human, trials)
        with busy_loops(2):
            loaded = _measure('two busy loops', human, trials)
    value = idle['max_ticks']
    return {
        'bench': 'takeover',
        'value': value,
        'pass': {f'ticks <= {AT_MOST}': at_most(value, AT_MOST)},
        'rows': [idle, loaded],
        'tick_ms': 1e3 / RATE_HZ,
        'compared': 'first human message to first executed human command',
    }


@contextmanager
def busy_loops(count: int) -> Iterator[None]:
    """So many processes that use a core each."""
    loops = [subprocess.Popen([sys.executable, '-c', 'while True: pass']) for _ in range(count)]
    try:
        yield
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()


def _start(graph: Graph, folder: Path) -> Human:
    document = load_contract('panda_reach').to_document() | {'rate_hz': RATE_HZ}
    contract, checkpoint = folder / 'contract.yaml', folder / 'checkpoint'
    contract.write_text(yaml.safe_dump(document))
    save_untrained_policy(contract, checkpoint, scale=1e-6)
    common = {'contract': contract, 'use_sim_time': True}
    graph.start('sim_arm', {'contract': contract, 'task': 'reach'})
    graph.start('supervisor', {**common, 'gate': 'human', 'takeover': 'engaged'})
    graph.start('policy', {**common, 'checkpoint': checkpoint})
    graph.wait_ready()
    human = Human(graph, load_contract(contract))
    human.let_go()
    return human


def _measure(name: str, human: Human, trials: int) -> Row:
    rng = np.random.default_rng(0)
    ticks = []
    for trial in range(trials):
        time.sleep(rng.uniform(0.0, 5.0 / RATE_HZ))  # any phase of the tick
        ticks.append(human.take_over(SPEED if trial % 2 else -SPEED) * RATE_HZ)
        human.let_go()
    p50, p99 = np.percentile(ticks, (50, 99))
    row = {'load': name, 'trials': trials, 'max_ticks': round(max(ticks), 3)}
    say(f'{name}: median {p50:.2f}, longest {max(ticks):.2f} ticks')
    return {**row, 'p50_ticks': round(float(p50), 3), 'p99_ticks': round(float(p99), 3)}


class Human:
    """The probe: a teleoperation source at `RATE_HZ` that listens to what is executed."""

    def __init__(self, graph: Graph, contract: Contract) -> None:
        self._graph = graph
        graph.node.set_parameters([Parameter('use_sim_time', value=True)])
        self._stream = ActionStream(graph.node, contract, 'teleop')
        self._driven_s, self._speed, self._mode = 0.0, SPEED, ''
        self._driven, self._policy = threading.Event(), threading.Event()
        arm = contract.actions['arm']
        graph.listen(arm.topic, arm.type, self._on_command)
        graph.listen(STATUS_TOPICS['executed'], STATUS_TYPE, self._on_decision)

    def take_over(self, speed: float) -> float:
        """Seconds from the first message to the first command that is the human's."""
        self._speed = speed
        self._driven.clear()
        began_s = time.perf_counter()
        self._say_until(self._driven, {'arm': np.array([0.0, 0.0, speed])})
        return self._driven_s - began_s

    def let_go(self) -> None:
        """Returns when the policy drives."""
        self._policy.clear()
        self._say_until(self._policy, None)

    def _say_until(self, event: threading.Event, action: dict[str, Any] | None) -> None:
        """Says the same each tick until something happens.

        Gives a stopped robot its gate; and gives back where that was not heard, since the machine
        was too busy just then.
        """
        deadline = time.monotonic() + TIMEOUT_S
        engaged = 'false' if action is None else 'true'
        reason = 'dead-man button is up' if action is None else ''
        while not event.is_set():
            if time.monotonic() > deadline:
                raise GraphError(f'not within {TIMEOUT_S} s; the mode is {self._mode!r}')
            now_ns = self._graph.node.get_clock().now().nanoseconds
            self._stream.send(now_ns, action, reason, lambda: {'engaged': engaged})
            event.wait(1 / RATE_HZ)
            if action is None and self._mode in UNTIL_THE_POLICY_DRIVES:
                with suppress(GraphError):  # as long as the policy is not live
                    self._graph.call(UNTIL_THE_POLICY_DRIVES[self._mode])

    def _on_command(self, message: Any) -> None:
        # What is left of the turn before has the other sign.
        if message.twist.linear.z / self._speed > SEEN and not self._driven.is_set():
            self._driven_s = time.perf_counter()
            self._driven.set()

    def _on_decision(self, message: Any) -> None:
        self._mode = Status.decode(message).values['mode']
        if self._mode == 'policy':
            self._policy.set()
