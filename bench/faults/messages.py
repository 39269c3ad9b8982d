"""Damaged and wild messages on every subscription, and wild requests to every service.

The nodes `sim_arm`, `supervisor`, `policy` and `recorder` run in real time. First the source that
drives is the hostile one: between good ticks it, the feedback, the clock and the emergency stop
send damaged bytes, as long as it drives; it has to be let back each time. Then every subscription
and every service that the four have gets its share; in the long tier those of the other nodes too,
but for `teleop_keyboard`, which needs a terminal. The bar: no process dies, each still answers,
and the supervisor sends no illegal command while it is the only one that commands. A client of
rclpy cannot send damaged bytes: requests are whole, and what is in them is wild.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
import random
import subprocess
import tempfile
import time
from typing import Any

from imitation_ros.errors import GraphError
from imitation_ros.frames.actions import ActionCodec
from imitation_ros.frames.contract import Contract, load_contract
from imitation_ros.frames.status import action_topic, Status, STATUS_TOPICS
from imitation_ros.nodes._emergency import EMERGENCY_TOPIC
from imitation_ros.nodes._messages import new
from imitation_ros.nodes.graph import Graph
from imitation_ros.types import Array
from lifecycle_msgs.srv import GetState
import numpy as np
from rclpy._rclpy_pybind11 import RCLError
from rclpy.qos import DurabilityPolicy, QoSProfile
from std_msgs.msg import Bool

from bench.faults.driven import CONTRACT, PATIENCE_S, wait_until, Watcher
from bench.faults.mutated import fill, filled, mutated
from bench.faults.outcome import Outcome
from bench.policy_latency import save_untrained_policy

MESSAGES = {'short': (500, 500, 0), 'full': (50_000, 25_000, 25_000)}
"""While the source drives, on all that the four nodes listen to, and on the others."""
RATE_HZ, BETWEEN_TICKS_HZ = 1_500, 300
RARE = (f'/{EMERGENCY_TOPIC}', '/clock')
ANSWER_S = 30.0
"""What it was sent may still be waiting."""
NODES = ('sim_arm', 'supervisor', 'policy', 'recorder')
OTHERS = ('teleop_expert', 'teleop_joy', 'teleop_leader', 'trainer', 'reward_trainer')
DEMONSTRATIONS, DEMONSTRATED_S = 3, 5.0
KEPT = ('get_type_description', 'change_state')
"""Services that are left alone: the one is rclpy's own, by the other the nodes would go."""


def run(tier: str, seed: int) -> Outcome:
    """Sends the messages; see the module's text."""
    outcome, rng = Outcome('raw fuzzed messages'), random.Random(seed)
    driving, everywhere, others = MESSAGES[tier]
    with _nodes() as (graph, processes, logs):
        attacker = _Attacker(graph, load_contract(CONTRACT), rng)
        watcher = Watcher(graph, load_contract(CONTRACT))
        attacker.pretend(driving, watcher)
        driven = sum(said.status.values['mode'] == 'expert' for said in watcher.decisions)
        outcome.figures['ticks driven'] = driven
        outcome.illegal = watcher.illegal
        attacker.everywhere(everywhere, NODES)
        _judge(graph, processes, logs, attacker, outcome)
    if others:
        with _other_nodes() as (graph, processes, logs):
            attacker = _Attacker(graph, load_contract(CONTRACT), rng)
            attacker.everywhere(others, OTHERS)
            _judge(graph, processes, logs, attacker, outcome)
    outcome.survived = 0 if outcome.problems else outcome.injected
    return outcome


def _judge(
    graph: Graph,
    processes: Mapping[str, subprocess.Popen[bytes]],
    logs: Path,
    attacker: _Attacker,
    outcome: Outcome,
) -> None:
    """Counts what was sent, and who did not survive it."""
    outcome.injected += attacker.sent
    outcome.figures['requests'] = outcome.figures.get('requests', 0) + attacker.asked
    for name, process in processes.items():
        if problem := _dead(graph, name, process):
            end = (logs / f'{name}.log').read_text(errors='replace')[-2000:]
            outcome.problems.append(f'{name}: {problem}:\n{end}')


@contextmanager
def _nodes() -> Iterator[tuple[Graph, dict[str, subprocess.Popen[bytes]], Path]]:
    with tempfile.TemporaryDirectory(prefix='faults_') as folder, Graph(Path(folder)) as graph:
        checkpoint = Path(folder, 'checkpoint')
        save_untrained_policy(CONTRACT, checkpoint)
        shared = {'contract': CONTRACT, 'use_sim_time': True}
        own = {
            'sim_arm': {'contract': CONTRACT, 'task': 'reach'},
            'supervisor': {**shared, 'gate': 'human', 'takeover': 'engaged'},
            'policy': {**shared, 'checkpoint': checkpoint},
            'recorder': {**shared, 'out': Path(folder, 'data')},
        }
        processes = {name: graph.start(name, own[name]) for name in NODES}
        graph.wait_ready()
        yield graph, processes, Path(folder)


@contextmanager
def _other_nodes() -> Iterator[tuple[Graph, dict[str, subprocess.Popen[bytes]], Path]]:
    """Beside the arm, with what the expert has demonstrated to learn from."""
    with tempfile.TemporaryDirectory(prefix='faults_') as folder, Graph(Path(folder)) as graph:
        data, shared = Path(folder, 'data'), {'contract': CONTRACT, 'use_sim_time': True}
        graph.start('sim_arm', {'contract': CONTRACT, 'task': 'reach'})
        expert = graph.start('teleop_expert', {**shared, 'task': 'reach'})
        graph.start('supervisor', shared)
        graph.start('recorder', {**shared, 'out': data})
        graph.wait_ready()
        wait_until(lambda: _done(graph, 'supervisor/resume'), 'the expert drives')
        for _ in range(DEMONSTRATIONS):
            wait_until(lambda: _done(graph, 'recorder/start'), 'the recorder records')
            time.sleep(DEMONSTRATED_S)
            graph.call('recorder/success')
        graph.stop('recorder')
        graph.stop('supervisor')
        joints = len(load_contract(CONTRACT).actions['arm'].joints)
        own = {
            'teleop_joy': {'axes': tuple(range(joints)), 'scales': (1.0,) * joints},
            'teleop_leader': {},
            'trainer': {'episodes': data, 'out': Path(folder, 'dagger'), 'epochs': 1},
            'reward_trainer': {
                'demonstrations': data, 'out': Path(folder, 'reward'), 'updates': 5,
            },
        }  # fmt: skip
        processes = {name: graph.start(name, {**shared, **own[name]}) for name in own}
        graph.wait_ready(180.0)  # four at once, three of them with PyTorch
        yield graph, {'teleop_expert': expert, **processes}, Path(folder)


def _done(graph: Graph, service: str) -> bool:
    with suppress(GraphError):
        graph.call(service)
        return True
    return False


class _Attacker:
    """A peer on the graph.

    Attributes:
        sent: messages.
        asked: requests.
    """

    def __init__(self, graph: Graph, contract: Contract, rng: random.Random) -> None:
        self._graph, self._rng, self._contract = graph, rng, contract
        self._clock_ns = 0
        graph.listen('/clock', 'rosgraph_msgs/msg/Clock', self._on_clock)
        self._home = np.array(contract.home['arm'])
        self._codecs = {name: ActionCodec(part) for name, part in contract.actions.items()}
        self._publishers: dict[str, Any] = {}
        self._clients: dict[str, Any] = {}
        self.sent = self.asked = 0

    def pretend(self, count: int, watcher: Watcher) -> None:
        """Is the source: good ticks so that it drives, and damage between them."""
        wait_until(lambda: len(self._listened('supervisor')) > 6, 'the supervisor is discovered')
        # A second publisher beside the policy is a fault by itself; it is attacked later.
        topics = [each for each in self._listened('supervisor') if 'policy' not in each[0]]
        # An emergency stop, or a clock that jumps, would let nobody drive for long.
        weights = [0.02 if topic in RARE else 1.0 for topic, _ in topics]
        ticks, began_s = 0, time.monotonic()
        drove_s = began_s
        while self.sent < count:
            now_s = time.monotonic()
            if (now_s - began_s) * self._contract.rate_hz > ticks:
                ticks += 1
                near = watcher.commands[-1].vector if watcher.commands else self._home
                self._good_tick(near + 0.1 * np.sin(ticks / 10))
                if watcher.mode in ('stopped', ''):
                    self._send_to(f'/{EMERGENCY_TOPIC}', Bool(data=False))
                    self._ask('/supervisor/resume', 'std_srvs/srv/Trigger')
            if watcher.mode == 'expert':
                drove_s = now_s
                self._attack(*self._rng.choices(topics, weights)[0])
            elif now_s > drove_s + PATIENCE_S:
                said = watcher.decisions[-1].status.reason if watcher.decisions else 'nothing'
                raise GraphError(f'the source was not let back in {PATIENCE_S:g} s: {said}')
            time.sleep(1 / BETWEEN_TICKS_HZ)

    def everywhere(self, count: int, nodes: Sequence[str]) -> None:
        """Every subscription and service of the nodes."""
        topics = [each for name in nodes for each in self._listened(name)]
        services = [each for name in nodes for each in self._served(name)]
        last, tried = self.sent + count, 0
        while self.sent < last:
            if tried % 20 == 0:
                self._ask(*self._rng.choice(services))
            self._attack(*self._rng.choice(topics))
            tried += 1
            time.sleep(1 / RATE_HZ)

    def _good_tick(self, arm: Array) -> None:
        now_ns, action = self._clock_ns, {'arm': arm, 'gripper': np.array([0])}
        for name, codec in self._codecs.items():
            message = codec.encode(action[name], now_ns, new)
            topic = action_topic('teleop', self._contract.actions[name].topic)
            self._send_to(f'/{topic}', message)
        said = {'fingerprint': self._contract.fingerprint, 'engaged': 'true'}
        status = Status(now_ns, 'hostile', len(action), '', said)
        self._send_to(f'/{STATUS_TOPICS["teleop"]}', status.encode(new))

    def _on_clock(self, message: Any) -> None:
        self._clock_ns = max(0, message.clock.sec) * 1_000_000_000 + message.clock.nanosec

    def _attack(self, topic: str, type: str) -> None:
        message = filled(type, self._rng)
        wild = self._rng.random() < 0.3
        content = message if wild else mutated(message, self._rng)
        with suppress(RCLError):  # more bytes than the type can have: our own side refuses them
            self._send_to(topic, message, content)
            self.sent += 1

    def _send_to(self, topic: str, message: Any, content: Any = None) -> None:
        if topic not in self._publishers:
            made = self._graph.node.create_publisher(type(message), topic, self._qos(topic))
            self._publishers[topic] = made
        self._publishers[topic].publish(message if content is None else content)

    def _qos(self, topic: str) -> QoSProfile:
        """Latched where somebody asks for that: he would get nothing else."""
        latched = DurabilityPolicy.TRANSIENT_LOCAL
        listeners = self._graph.node.get_subscriptions_info_by_topic(topic)
        asked = any(each.qos_profile.durability == latched for each in listeners)
        durability = latched if asked else DurabilityPolicy.VOLATILE
        return QoSProfile(depth=100, durability=durability)

    def _ask(self, service: str, type: str) -> None:
        package, _, name = type.split('/')
        kind = getattr(import_module(f'{package}.srv'), name)
        if service not in self._clients:
            self._clients[service] = self._graph.node.create_client(kind, service)
        if self._clients[service].service_is_ready():
            self._clients[service].call_async(fill(kind.Request(), self._rng))
            self.asked += 1

    def _listened(self, name: str) -> list[tuple[str, str]]:
        found = self._graph.node.get_subscriber_names_and_types_by_node(name, '/')
        return [(topic, types[0]) for topic, types in found]

    def _served(self, name: str) -> list[tuple[str, str]]:
        found = self._graph.node.get_service_names_and_types_by_node(name, '/')
        return [(topic, types[0]) for topic, types in found if not topic.endswith(KEPT)]


def _dead(graph: Graph, name: str, process: subprocess.Popen[bytes]) -> str:
    """What is wrong with a process, or ''."""
    client = graph.node.create_client(GetState, f'{name}/get_state')
    deadline = time.monotonic() + ANSWER_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            return f'died with exit code {process.returncode}'
        answer = client.call_async(GetState.Request())
        with suppress(GraphError):
            wait_until(answer.done, 'an answer', 2.0)
            return ''
    return f'does not answer within {ANSWER_S:g} s'
