"""From observation to action: the policy node beside a bare echo node; at most 1.25 times as long.

A probe publishes joint states of 7 joints at 100 Hz, and measures until the action arrives. The
policy node (a network of 14, 256, 256, 7 units, answering each observation) and a bare node that
sends the same messages back by the same executor (`bare_nodes.py`) run in a process each; the
probe, in a third, asks the two by turns, 5 ms apart, so that the load of the machine falls on both
alike. `with_supervisor` is the same up to the command that the supervisor publishes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
import multiprocessing
from multiprocessing.connection import Connection
from pathlib import Path
import statistics
import tempfile
import time
from typing import Any

from imitation_ros.errors import GraphError
from imitation_ros.frames.codecs import set_stamp
from imitation_ros.frames.contract import load_contract
from imitation_ros.nodes.graph import Graph
from imitation_ros.policies.checkpoint import save_checkpoint
from imitation_ros.policies.network import Architecture, Network
from imitation_ros.policies.normalization import Normalization, Standard
from imitation_ros.policies.novelty import Novelty
from imitation_ros.policies.policy import Policy
import numpy as np
import torch
import yaml

from bench.bare_nodes import bare_nodes, NAMESPACE
from bench.harness import at_most, median_ratio, options, Row
from bench.rows import say

AT_MOST = 1.25
RATE_HZ = 100
PERIOD_NS = round(1e9 / RATE_HZ)
WARM_UP = 20
"""Answers at the start of each turn that do not count: the processes have slept."""
JOINTS = [f'joint_{index}' for index in range(7)]
POSITIONS = [f'position.{joint}' for joint in JOINTS]
CONTRACT: dict[str, Any] = {
    'name': 'policy_latency',
    'rate_hz': RATE_HZ,
    'command_hz': RATE_HZ,
    'observations': {
        'state': {
            'topic': 'joint_states',
            'type': 'sensor_msgs/msg/JointState',
            'select': POSITIONS + [f'velocity.{joint}' for joint in JOINTS],
            'max_age_s': 0.1,
        }
    },
    'actions': {
        'arm': {
            'topic': 'arm/command', 'type': 'std_msgs/msg/Float64MultiArray', 'kind': 'position',
            'units': 'rad', 'joints': JOINTS, 'feedback': POSITIONS, 'low': -3.0, 'high': 3.0,
            'max_velocity': 2.0, 'max_acceleration': 10.0, 'max_handover_error': 6.0,
        }
    },
}  # fmt: skip
Target = tuple[int, str, str]
"""Domain, namespace and topic of the answer."""
Measure = Callable[[list[Target], int], list[Row]]
"""Whom to ask by turns, how often → a row each."""
POLICY_ACTION, COMMAND = 'policy/arm/command', 'arm/command'


def main(argv: Sequence[str] | None = None) -> dict[str, Any]:
    """Measures the pairs, and then the way through the supervisor."""
    quick = options(argv, __doc__).quick
    pairs, answers = (2, 100) if quick else (10, 500)
    with tempfile.TemporaryDirectory(prefix='policy_latency_') as folder:
        contract = Path(folder, 'contract.yaml')
        contract.write_text(yaml.safe_dump(CONTRACT))
        checkpoint = Path(folder, 'checkpoint')
        save_untrained_policy(contract, checkpoint)
        parameters = {'contract': contract, 'checkpoint': checkpoint, 'lockstep': True}
        with (
            Graph() as graph,
            Graph() as other,
            bare_nodes(['echo'], contract, other.domain_id),
            probe() as measure,
        ):
            graph.start('policy', parameters)
            graph.wait_ready()
            policy = graph.domain_id, '', POLICY_ACTION
            bare = other.domain_id, NAMESPACE, POLICY_ACTION
            rows = [_pair(measure, pair, policy, bare, answers) for pair in range(pairs)]
            graph.start('supervisor', {'contract': contract, 'lockstep': True})
            graph.wait_ready()
            commands = [(graph.domain_id, '', COMMAND)]
            measure(commands, 1)  # answered by holding still, which shows that all are connected
            graph.call('supervisor/resume')
            (supervised,) = measure(commands, answers)
    value, interval = median_ratio(rows)
    return {
        'bench': 'policy_latency',
        'value': value,
        'pass': {f'ratio <= {AT_MOST}': at_most(value, AT_MOST)},
        'interval': interval,
        'policy': _summary([row['ours'] for row in rows]),
        'bare': _summary([row['reference'] for row in rows]),
        'with_supervisor': supervised,
        'rows': rows,
        'answers_a_row': answers,
        'compared': 'median time from observation to action, policy node over bare echo node',
    }


def _pair(measure: Measure, pair: int, policy: Target, bare: Target, answers: int) -> Row:
    """One row; who is asked first changes from pair to pair."""
    if pair % 2:
        reference, ours = measure([bare, policy], answers)
    else:
        ours, reference = measure([policy, bare], answers)
    ratio = round(ours['p50_us'] / reference['p50_us'], 4)
    say(f'pair {pair + 1}: {ours["p50_us"]} µs beside {reference["p50_us"]} µs')
    return {'pair': pair, 'ours': ours, 'reference': reference, 'ratio': ratio}


def _summary(rows: Sequence[Row]) -> Row:
    """Median over the pairs."""
    return {key: round(statistics.median(row[key] for row in rows)) for key in rows[0]}


def save_untrained_policy(contract: str | Path, checkpoint: Path, scale: float = 1.0) -> None:
    """A network of the usual size, with random weights: its speed is the same.

    Args:
        contract: name or path.
        checkpoint: where to.
        scale: of its actions.
    """
    checked = load_contract(contract)
    observations, actions = checked.observation_specs, checked.action_specs
    standards = [
        {name: Standard(np.zeros(spec.shape), np.full(spec.shape, std)) for name, spec in of}
        for of, std in ((observations.items(), 1.0), (actions.items(), scale))
    ]
    normalization = Normalization(*standards)
    torch.manual_seed(0)
    network = Network(observations, actions, Architecture(), normalization)
    sizes = [spec.shape[0] for spec in observations.values()]
    ones = np.ones(sum(sizes))
    novelty = Novelty(tuple(observations), (), -10 * ones, 10 * ones, ones, {})
    policy = Policy(checked, Architecture(), normalization, network, novelty=novelty)
    save_checkpoint(checkpoint, policy, {'method': 'untrained'})


@contextmanager
def probe() -> Iterator[Measure]:
    """The probe, in a process of its own."""
    spawn = multiprocessing.get_context('spawn')
    ours, theirs = spawn.Pipe()
    process = spawn.Process(target=_serve, args=(theirs,), daemon=True)
    process.start()
    theirs.close()  # so that the end of the process is the end of the pipe

    def measure(targets: list[Target], answers: int) -> list[Row]:
        ours.send((targets, answers))
        try:
            rows: list[Row] | str = ours.recv()
        except EOFError:
            rows = 'the probe has ended'
        if isinstance(rows, str):
            raise GraphError(rows)
        return rows

    try:
        yield measure
    finally:
        ours.close()
        process.join(10.0)


def _serve(pipe: Connection) -> None:
    probes: dict[Target, Probe] = {}
    while True:
        try:
            targets, answers = pipe.recv()
        except EOFError:
            return
        try:
            for target in targets:
                probes[target] = probes.get(target) or Probe(*target)
            pipe.send(_ask_by_turns([probes[target] for target in targets], answers))
        except GraphError as error:
            pipe.send(str(error))


def _ask_by_turns(probes: list[Probe], answers: int) -> list[Row]:
    """Latencies of so many answers of each at `RATE_HZ`, after `WARM_UP`."""
    latencies_us: list[list[float]] = [[] for _ in probes]
    due = time.perf_counter()
    for _ in range(WARM_UP + answers):
        for asked, own in zip(probes, latencies_us):
            own.append(asked.ask() / 1e3)
            # What is late is not made up for.
            due = max(due + 1 / (RATE_HZ * len(probes)), time.perf_counter())
            time.sleep(max(0.0, due - time.perf_counter()))
    return [_row(own[WARM_UP:]) for own in latencies_us]


def _row(latencies_us: list[float]) -> Row:
    p50, p99 = np.percentile(latencies_us, (50, 99))
    late = sum(latency_us > 1e6 / RATE_HZ for latency_us in latencies_us)
    return {'p50_us': round(float(p50)), 'p99_us': round(float(p99)), 'late': late}


class Probe:
    """Publishes joint states, and times what comes back on `topic`."""

    def __init__(
        self, domain_id: int, namespace: str, topic: str, timeout_s: float = 60.0
    ) -> None:
        """Waits until the other side is there.

        Raises:
            GraphError: it never is.
        """
        from imitation_ros.nodes._messages import message_class, RELIABLE
        import rclpy
        from rclpy.context import Context
        from rclpy.executors import SingleThreadedExecutor

        context = Context()
        rclpy.init(context=context, domain_id=domain_id)
        name = f'probe_{domain_id}_{topic.replace("/", "_")}'
        node = rclpy.create_node(name, context=context, namespace=namespace)
        self._executor = SingleThreadedExecutor(context=context)
        self._executor.add_node(node)
        joint_state = message_class('sensor_msgs/msg/JointState')
        numbers = [0.1] * len(JOINTS)
        self._message = joint_state(name=JOINTS, position=numbers, velocity=numbers)
        self._publisher = node.create_publisher(joint_state, 'joint_states', RELIABLE)
        answer = message_class('std_msgs/msg/Float64MultiArray')
        node.create_subscription(answer, topic, self._on_answer, RELIABLE)
        # Stamps that go on where those of an earlier probe ended: time must not jump back.
        self._topic, self._tick, self._answered_ns = topic, time.time_ns() // PERIOD_NS, 0
        self._wait_until_heard(timeout_s)

    def _wait_until_heard(self, timeout_s: float) -> None:
        """What is sent before discovery is lost, so this sends until an answer comes."""
        deadline = time.monotonic() + timeout_s
        while not self._answered_ns:
            if time.monotonic() > deadline:
                raise GraphError(f'nobody answers on {self._topic}')
            self._send()
            self._spin(0.5)
        self._spin(1.0)  # answers to the others

    def ask(self, timeout_s: float = 10.0) -> int:
        """Nanoseconds from an observation to its answer; the next is not sent before that."""
        self._answered_ns = 0
        asked_ns = time.perf_counter_ns()
        self._send()
        while not self._answered_ns:
            if time.perf_counter_ns() > asked_ns + timeout_s * 1e9:
                raise GraphError(f'no answer on {self._topic} within {timeout_s} s')
            self._executor.spin_once(timeout_sec=0.1)
        return self._answered_ns - asked_ns

    def _send(self) -> None:
        self._tick += 1
        set_stamp(self._message, self._tick * PERIOD_NS)
        self._publisher.publish(self._message)

    def _spin(self, duration_s: float) -> None:
        end = time.monotonic() + duration_s
        while time.monotonic() < end:
            self._executor.spin_once(timeout_sec=0.1)

    def _on_answer(self, message: Any) -> None:
        self._answered_ns = time.perf_counter_ns()
