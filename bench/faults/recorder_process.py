"""The real recorder in a process of its own, fed by real publishers, to be killed and starved."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
import itertools
from multiprocessing.process import BaseProcess
import os
from pathlib import Path
import resource
import signal
import sys
import threading
import time
from typing import Any

from imitation_ros.errors import GraphError
from imitation_ros.nodes.graph import Graph
import yaml

from bench.faults.child import forks, join_domain, quiet, UDP

JOINTS, FLOATS = 'sensor_msgs/msg/JointState', 'std_msgs/msg/Float64MultiArray'
STATUS = 'diagnostic_msgs/msg/DiagnosticArray'
TYPES = {
    'joint_states': JOINTS,
    'command': FLOATS,
    'supervisor/decision': STATUS,
    'teleop/command': FLOATS,
    'teleop/status': STATUS,
}
CONTRACT = {
    'name': 'faults',
    'rate_hz': 50,
    'command_hz': 50,
    'observations': {
        'state': {
            'topic': 'joint_states', 'type': JOINTS, 'select': ['position.joint'],
            'max_age_s': 2.0,
        }
    },
    'actions': {
        'arm': {
            'topic': 'command', 'type': FLOATS, 'kind': 'velocity', 'units': 'rad/s',
            'joints': ['joint'], 'low': -1.0, 'high': 1.0, 'max_acceleration': 1.0,
        }
    },
}  # fmt: skip
RATE_HZ = 100
FOUND_WITHIN_S = 20.0
_NUMBERS = itertools.count(1)
PADDING = [0.0] * 20
"""Makes each joint state a few hundred bytes."""


@dataclass
class Publisher:
    """Publishes every topic at `RATE_HZ`, each message with its own number inside, and notes when.

    Attributes:
        sent_ns: wall time of each message of `joint_states`, the first is number 1.
    """

    node: Any
    sent_ns: list[int] = field(default_factory=list)
    _going: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        from imitation_ros.nodes._messages import message_class

        self._publishers = {
            name: self.node.create_publisher(message_class(type), name, 1000)
            for name, type in TYPES.items()
        }
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Ends."""
        self._going.set()
        self._thread.join()

    def _run(self) -> None:
        from imitation_ros.frames.status import Status
        from imitation_ros.nodes._messages import message_class, new

        state, floats = message_class(JOINTS), message_class(FLOATS)
        began = time.monotonic()
        for number in itertools.count(1):
            message = state(name=['joint'], position=[float(number)], effort=PADDING)
            status = Status(number, 'faults', 1).encode(new)
            for name, type in TYPES.items():
                one = message if type == JOINTS else floats(data=[0.1])
                self._publishers[name].publish(status if type == STATUS else one)
            self.sent_ns.append(time.time_ns())
            if self._going.wait(max(0.0, began + number / RATE_HZ - time.monotonic())):
                return


@dataclass
class Recorder:
    """A recorder process.

    Attributes:
        graph: to call its services.
        name: of the node; that of one that was killed stays on the graph for 20 s.
        process: to kill.
    """

    graph: Graph
    name: str
    process: BaseProcess

    def call(self, command: str, timeout_s: float = 40.0) -> str:
        """Calls one of its services and returns its message."""
        return self.graph.call(f'{self.name}/{command}', timeout_s)

    def start_episode(self) -> Path:
        """Starts an episode, once the recorder has found all publishers; returns its folder."""
        deadline = time.monotonic() + FOUND_WITHIN_S
        while True:
            try:
                return Path(self.call('start').splitlines()[0])
            except GraphError as refused:
                if 'no publisher' not in str(refused) or time.monotonic() > deadline:
                    raise
                time.sleep(0.02)

    def end(self, number: int = signal.SIGTERM, timeout_s: float = 20.0) -> float:
        """Ends the process by a signal; returns how many s it took."""
        assert self.process.pid is not None
        began = time.monotonic()
        os.kill(self.process.pid, number)
        self.process.join(timeout_s)
        return time.monotonic() - began


@contextmanager
def published() -> Iterator[tuple[Graph, Publisher]]:
    """A graph in a domain of its own in which everything is published that is recorded."""
    before = {name: os.environ.get(name) for name in UDP}
    os.environ |= UDP
    try:
        with Graph() as graph:
            publisher = Publisher(graph.node)
            try:
                yield graph, publisher
            finally:
                publisher.close()
    finally:
        for name, value in before.items():
            os.environ.pop(name)
            os.environ |= {name: value} if value is not None else {}


@contextmanager
def recorder(
    graph: Graph, data: Path, file_bytes: int = 0, **parameters: Any
) -> Iterator[Recorder]:
    """A recorder in the graph; killed at the end if it still runs.

    Args:
        graph: where it runs.
        data: its data set.
        file_bytes: no file of it may grow beyond, as if the disk were full; 0 for no limit.
        parameters: of the node.
    """
    contract = data.parent / 'contract.yaml'
    if not contract.exists():
        contract.write_text(yaml.safe_dump(CONTRACT))
    given = {'contract': contract, 'out': data, 'min_free_gib': 0.0, **parameters}
    name = f'recorder_{next(_NUMBERS)}'
    # A server drops its answer to a client that it has not discovered yet.
    graph.offer(name, 'recorder')
    process = forks().Process(
        target=_run,
        args=(graph.domain_id, name, {k: str(v) for k, v in given.items()}, file_bytes),
    )
    process.start()
    try:
        yield Recorder(graph, name, process)
    finally:
        process.kill()
        process.join()


def _run(domain_id: int, name: str, parameters: dict[str, str], file_bytes: int) -> None:
    from imitation_ros.nodes.recorder import main

    join_domain(domain_id)
    quiet()
    if file_bytes:
        resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes, file_bytes))
    given = [part for key, value in parameters.items() for part in ('-p', f'{key}:={value}')]
    sys.exit(main(['--ros-args', '-r', f'__node:={name}', *given]))
