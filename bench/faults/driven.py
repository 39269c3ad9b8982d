"""The simulated arm in real time, driven by a source through the supervisor: a process each."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import pairwise
import subprocess
import sys
import threading
import time
from typing import Any

from imitation_ros.errors import GraphError, MessageError
from imitation_ros.frames.contract import Contract, load_contract
from imitation_ros.frames.status import Status, STATUS_TOPICS, STATUS_TYPE
from imitation_ros.nodes.graph import Graph
from imitation_ros.types import Array
import numpy as np
from rclpy.qos import QoSProfile

CONTRACT = 'panda_position'
PATIENCE_S = 60.0


@dataclass(frozen=True)
class Sent:
    """One command of the arm: when it came, on the steady clock, its source timestamp, itself."""

    at_s: float
    source_ns: int
    vector: Array


@dataclass(frozen=True)
class Said:
    """One decision: when it came, on the steady clock, its source timestamp, itself."""

    at_s: float
    source_ns: int
    status: Status


class Watcher:
    """Listens to what is executed and decided.

    Attributes:
        commands: of the arm, as they came.
        decisions: what was said of them, as it came.
        illegal: commands that are not finite, too short or outside of the limits.
    """

    def __init__(self, graph: Graph, contract: Contract) -> None:
        self._part, self._parts = contract.actions['arm'], len(contract.actions)
        self._low, self._high = np.array(self._part.low), np.array(self._part.high)
        self.commands: list[Sent] = []
        self.decisions: list[Said] = []
        self.illegal = 0
        every = QoSProfile(depth=1000)
        graph.listen(self._part.topic, self._part.type, self._on_command, every)
        graph.listen(STATUS_TOPICS['executed'], STATUS_TYPE, self._on_decision, every)

    @property
    def mode(self) -> str:
        """Of the last decision, '' before any."""
        return self.decisions[-1].status.values['mode'] if self.decisions else ''

    def first(self, modes: tuple[str, ...], after_s: float) -> float:
        """When the first command came that a decision after a moment gives a mode; inf: none.

        A decision follows its commands, at most a tick later.
        """
        of_these = (said for said in list(self.decisions) if said.status.values['mode'] in modes)
        said = next((said for said in of_these if said.at_s > after_s), None)
        if said is None:
            return float('inf')
        before = [sent.at_s for sent in list(self.commands) if sent.source_ns < said.source_ns]
        return before[-(said.status.sent // self._parts)]

    def last_moving(self) -> float:
        """When the last command came that was not where the one before it was; 0: never."""
        sent = list(self.commands)
        pairs = reversed(list(pairwise(sent)))
        return next((b.at_s for a, b in pairs if (a.vector != b.vector).any()), 0.0)

    def forget(self) -> None:
        """Drops what was heard."""
        self.commands.clear()
        self.decisions.clear()

    def _on_command(self, message: Any, info: Mapping[str, int]) -> None:
        vector = np.array(message.data)
        self.commands.append(Sent(time.monotonic(), info['source_timestamp'], vector))
        fits = vector.shape == self._low.shape and bool(np.isfinite(vector).all())
        if not fits or (vector < self._low).any() or (vector > self._high).any():
            self.illegal += 1

    def _on_decision(self, message: Any, info: Mapping[str, int]) -> None:
        with suppress(MessageError):  # where somebody else was told to publish here
            status = Status.decode(message)
            self.decisions.append(Said(time.monotonic(), info['source_timestamp'], status))


class Driven:
    """What runs, and how to make the arm move.

    Attributes:
        graph: with the nodes `sim_arm` and `supervisor`.
        contract: of the arm.
        watcher: of what is sent.
        arm: the process of the simulated arm.
        source: the process that drives.
    """

    def __init__(self, graph: Graph) -> None:
        self.graph, self.contract = graph, load_contract(CONTRACT)
        self.arm = graph.start('sim_arm', {'contract': CONTRACT, 'task': 'reach'})
        self.watcher = Watcher(graph, self.contract)
        self.start_source()

    def start_source(self) -> None:
        """Starts a source; one that was killed stays on the graph until DDS gives it up."""
        self.source = subprocess.Popen(
            [sys.executable, '-m', 'bench.faults.source', CONTRACT],
            env=self.graph.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def tell(self, word: str) -> float:
        """Tells the source what to do; returns when its last good action was sent, in s.

        Raises:
            GraphError: the source ended.
        """
        assert self.source.stdin is not None
        assert self.source.stdout is not None
        self.source.stdin.write(word + '\n')
        self.source.stdin.flush()
        answer = self.source.stdout.readline()
        if not answer:
            raise GraphError(f'told to {word}, the source ended: exit code {self.source.wait()}')
        return float(answer)

    def drive(self) -> None:
        """Returns when the source drives, is known to our node, and the arm is told to move.

        Raises:
            GraphError: it does not, and what the supervisor says of it.
        """

        def moving() -> bool:
            if self.watcher.mode in ('stopped', ''):
                with suppress(GraphError):  # until the source is live and close enough
                    self.graph.call('supervisor/resume', 10.0)
            last = self.watcher.commands[-2:]
            moved = len(last) == 2 and bool(np.abs(last[1].vector - last[0].vector).max() > 1e-4)
            known = self.graph.node.count_publishers(STATUS_TOPICS['teleop']) > 0
            return self.watcher.mode == 'expert' and moved and known

        try:
            wait_until(moving, 'the arm is driven')
        except GraphError as error:
            said = self.watcher.decisions[-1].status if self.watcher.decisions else None
            why = f'{said.values["mode"]}: {said.reason}' if said else 'it says nothing'
            ended = self.source.poll()
            source = 'runs' if ended is None else f'ended with exit code {ended}'
            raise GraphError(f'{error} (the supervisor: {why}; the source {source})') from error

    def close(self) -> None:
        """Ends the source."""
        self.source.kill()
        self.source.wait()


@contextmanager
def driven(parameters: Mapping[str, Any] | None = None) -> Iterator[Driven]:
    """The arm, a source, and unless `parameters` is None the supervisor."""
    with Graph() as graph:
        robot = Driven(graph)
        try:
            if parameters is not None:
                shared = {'contract': CONTRACT, 'use_sim_time': True}
                graph.start('supervisor', {**shared, **parameters})
            graph.wait_ready()
            yield robot
        finally:
            robot.close()


def wait_until(predicate: Callable[[], bool], what: str, timeout_s: float = PATIENCE_S) -> None:
    """Waits for what other processes do.

    Raises:
        GraphError: it does not come.
    """
    deadline = time.monotonic() + timeout_s
    while not predicate():
        if time.monotonic() > deadline:
            raise GraphError(f'not within {timeout_s:g} s: {what}')
        time.sleep(0.005)


class Canary:
    """A timer that says how late this machine wakes who sleeps: the excuse of a late answer."""

    def __init__(self) -> None:
        self._late: list[tuple[float, float]] = []
        threading.Thread(target=self._run, daemon=True).start()

    def worst_s(self, since_s: float) -> float:
        """The longest oversleeping since then."""
        return max((late for at, late in list(self._late) if at >= since_s), default=0.0)

    def _run(self) -> None:
        while True:
            due = time.monotonic() + 0.005
            time.sleep(0.005)
            now = time.monotonic()
            self._late.append((now, now - due))
            del self._late[:-100_000]
