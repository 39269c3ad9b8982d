"""200 reloads while the policy drives, a third of them bad: largest gap of commands, in ticks.

`policy` and `supervisor` run in a process each, in real time at 50 Hz, before a robot that is
where it was commanded. Two good checkpoints take turns; every third reload is of one that is
corrupt, made for another contract, slow (its weights do not come within the time limit), not
finite, or finite but so large that its actions are not. A bad activation is a bad checkpoint that
was taken, or a good one that was not. Times are those of the publishers; the gaps of as long a
time without reloads are shown beside, as another process that wants the processor makes gaps, too.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
import copy
import os
from pathlib import Path
import tempfile
import threading
import time
from typing import Any

from imitation_ros.errors import GraphError
from imitation_ros.frames.codecs import set_stamp
from imitation_ros.frames.contract import Contract, parse_contract
from imitation_ros.frames.status import Status, STATUS_TYPE
from imitation_ros.nodes._messages import message_class, RELIABLE
from imitation_ros.nodes.graph import Graph
from imitation_ros.policies.checkpoint import save_checkpoint, WEIGHTS
from imitation_ros.policies.network import Architecture, Network
from imitation_ros.policies.normalization import Normalization, Standard
from imitation_ros.policies.policy import Policy
import numpy as np
import torch
import yaml

from bench.harness import at_most, options, Row
from bench.policy_latency import CONTRACT, JOINTS
from bench.rows import say

RATE_HZ = 50
TICK_S = 1 / RATE_HZ
AT_MOST_TICKS = 2.0
TIMEOUT_S = 0.5
BAD = ('corrupt', 'mismatched', 'slow', 'nan', 'overflow')
VALUES = {'nan': float('nan'), 'overflow': 3e38}
"""What all weights of a bad checkpoint are."""
TOPICS = {'commands': 'arm/command', 'policy': 'policy/arm/command'}


def main(argv: Sequence[str] | None = None) -> dict[str, Any]:
    """Reloads, and looks at what drove meanwhile."""
    reloads = 15 if options(argv, __doc__).quick else 200
    with tempfile.TemporaryDirectory(prefix='hot_reload_') as name:
        folder = Path(name)
        contract, checkpoints = make_checkpoints(folder)
        with Graph() as graph:
            parameters = {'contract': folder / 'contract.yaml'}
            graph.start('supervisor', parameters)
            first = {'checkpoint': checkpoints['good 0'], 'reload_timeout_s': TIMEOUT_S}
            graph.start('policy', parameters | first)
            robot = Robot(graph, contract)
            graph.wait_ready()
            robot.drive()
            robot.wait_for_ticks(7 * reloads)  # about as long as the reloads take
            undisturbed = robot.largest_gaps()
            robot.forget()
            rows = [_reload(graph, robot, checkpoints, number) for number in range(reloads)]
            robot.wait_for_ticks(RATE_HZ)
            robot.stop_noting()
    gaps = robot.largest_gaps()
    bad = sum(not row['right'] for row in rows) + robot.not_finite
    value = max(gaps.values())
    return {
        'bench': 'hot_reload',
        'value': value,
        'pass': {
            f'gap <= {AT_MOST_TICKS:g} ticks': at_most(value, AT_MOST_TICKS),
            'bad activations <= 0': at_most(bad, 0),
        },
        'gaps_in_ticks': gaps,
        'gaps_in_ticks_without_reloads': undisturbed,
        'ticks': robot.ticks,
        'ticks_by_mode': dict(robot.modes),
        'reasons_to_hold': dict(robot.reasons),
        'reloads': dict(Counter(row['kind'] for row in rows)),
        'longest_reload_ms': max(row['ms'] for row in rows),
        'rows': rows,
    }


def _reload(graph: Graph, robot: Robot, checkpoints: Mapping[str, Path], number: int) -> Row:
    """One reload, and whether the right policy drives after it."""
    kind = BAD[number // 3 % len(BAD)] if number % 3 == 2 else 'good'
    name = f'good {number % 2}' if kind == 'good' else kind
    driving, began = robot.checkpoint, time.perf_counter()
    graph.set('policy', checkpoint=checkpoints[name])
    try:
        taken = graph.call('policy/reload')
    except GraphError as error:
        taken = ''
        refusal = str(error)
    milliseconds = round((time.perf_counter() - began) * 1e3, 1)
    robot.wait_for_ticks(5)
    if kind == 'good':
        right = bool(taken) and robot.checkpoint in taken
    else:
        right = not taken and robot.checkpoint == driving
    if kind == 'slow':
        _let_go(checkpoints[name] / WEIGHTS)
    if not right:
        say(f'reload {number}: {kind}: {taken or refusal}')
    return {'kind': kind, 'right': right, 'ms': milliseconds}


class Robot:
    """Is where it was commanded, and notes what drove it.

    Attributes:
        modes: of the supervisor → ticks, since it drives.
        reasons: of the supervisor, where it did not let the policy drive → ticks, since then.
        ticks: since then.
        checkpoint: SHA-256 of the policy's last action.
        not_finite: commands that were not.
    """

    def __init__(self, graph: Graph, contract: Contract) -> None:
        self._graph = graph
        self._position = [0.0] * len(JOINTS)
        self._times: dict[str, list[int]] = {stream: [] for stream in TOPICS}
        self.modes: Counter[str] = Counter()
        self.reasons: Counter[str] = Counter()
        self.checkpoint, self.not_finite, self.ticks = '', 0, 0
        self._noting, self._ticked = True, threading.Condition()
        node, type = graph.node, message_class(contract.actions['arm'].type)
        state = message_class('sensor_msgs/msg/JointState')
        self._state = state(name=JOINTS, velocity=[0.0] * len(JOINTS))
        self._publisher = node.create_publisher(state, 'joint_states', RELIABLE)
        node.create_subscription(type, TOPICS['commands'], self._on_command, RELIABLE)
        node.create_subscription(type, TOPICS['policy'], self._on_action, RELIABLE)
        graph.listen('policy/status', STATUS_TYPE, self._on_status)
        graph.listen('supervisor/decision', STATUS_TYPE, self._on_decision)
        node.create_timer(TICK_S / 2, self._send_state)

    def drive(self) -> None:
        """Lets the policy drive."""
        deadline = time.monotonic() + 30.0
        while True:
            try:
                self._graph.call('supervisor/resume')
                break
            except GraphError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)
        self.wait_for_ticks(RATE_HZ)
        self.forget()

    def forget(self) -> None:
        """What was noted before does not count."""
        with self._ticked:
            self.modes.clear()
            self.reasons.clear()
            for times in self._times.values():
                times.clear()
            self.ticks = 0

    def stop_noting(self) -> None:
        """What comes from now on is the end of the nodes."""
        self._noting = False

    def wait_for_ticks(self, count: int) -> None:
        """Until so many more decisions of the supervisor."""
        with self._ticked:
            wanted = self.ticks + count
            if not self._ticked.wait_for(lambda: self.ticks >= wanted, 30.0):
                raise GraphError('the supervisor has stopped deciding')

    def largest_gaps(self) -> dict[str, float]:
        """Stream → longest time between two of its messages, in ticks."""
        return {
            stream: round(float(np.diff(times).max()) * RATE_HZ / 1e9, 3)
            for stream, times in self._times.items()
        }

    def _send_state(self) -> None:
        set_stamp(self._state, time.time_ns())
        self._state.position = self._position
        self._publisher.publish(self._state)

    def _on_command(self, message: Any, info: Mapping[str, int]) -> None:
        self._note('commands', info)
        self.not_finite += not np.isfinite(message.data).all()
        self._position = list(message.data)

    def _on_action(self, message: Any, info: Mapping[str, int]) -> None:
        self._note('policy', info)

    def _note(self, stream: str, info: Mapping[str, int]) -> None:
        if self._noting:
            self._times[stream].append(info['source_timestamp'])

    def _on_status(self, message: Any) -> None:
        self.checkpoint = Status.decode(message).values['checkpoint']

    def _on_decision(self, message: Any) -> None:
        if not self._noting:
            return
        with self._ticked:
            status = Status.decode(message)
            self.modes[status.values['mode']] += 1
            if status.values['mode'] != 'policy':
                self.reasons[status.reason] += 1
            self.ticks += 1
            self._ticked.notify_all()


def make_checkpoints(folder: Path) -> tuple[Contract, dict[str, Path]]:
    """The contract, as `contract.yaml`, and checkpoints good and bad by name."""
    document = {**CONTRACT, 'rate_hz': RATE_HZ, 'command_hz': RATE_HZ}
    (folder / 'contract.yaml').write_text(yaml.safe_dump(document))
    contract = parse_contract(yaml.safe_dump(document))
    other = copy.deepcopy(document)
    other['actions']['arm']['high'] = 2.5
    paths = {name: folder / name for name in ('good 0', 'good 1', *BAD)}
    for seed, name in enumerate(paths):
        made_for = parse_contract(yaml.safe_dump(other)) if name == 'mismatched' else contract
        policy = untrained_policy(made_for, seed)
        with torch.no_grad():
            for weights in policy.network.parameters() if name in VALUES else ():
                weights.fill_(VALUES[name])
        save_checkpoint(paths[name], policy, {'method': 'untrained'})
    weights = paths['corrupt'] / WEIGHTS
    content = bytearray(weights.read_bytes())
    content[len(content) // 2] ^= 0xFF
    weights.write_bytes(content)
    (paths['slow'] / WEIGHTS).unlink()
    os.mkfifo(paths['slow'] / WEIGHTS)  # nobody writes into it
    return contract, paths


def untrained_policy(contract: Contract, seed: int) -> Policy:
    """A network of the usual size with random weights."""
    observations, actions = contract.observation_specs, contract.action_specs
    normalization = Normalization(*[
        {name: Standard(np.zeros(spec.shape), np.ones(spec.shape)) for name, spec in specs.items()}
        for specs in (observations, actions)
    ])  # fmt: skip
    torch.manual_seed(seed)
    network = Network(observations, actions, Architecture(), normalization)
    return Policy(contract, Architecture(), normalization, network)


def _let_go(pipe: Path) -> None:
    """Ends the thread that still waits for the weights."""
    os.close(os.open(pipe, os.O_WRONLY | os.O_NONBLOCK))
