"""Bare rclpy nodes that the package's nodes are compared with: same topics, types and executor.

Each is what one would write by hand to pass the same messages on: no life cycle, no checks, no
alignment. `python -m bench.bare_nodes NAME CONTRACT NAMESPACE` runs one in a process of its own
until it is told to end, and prints `READY` when all its topics have found their other side.

They count messages, and a stray one of another graph would let them run ahead: so they live in a
namespace that nobody else has.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
import os
from pathlib import Path
import select
import signal
import subprocess
import sys
import time
from typing import Any

from imitation_ros.errors import GraphError
from imitation_ros.frames.actions import ActionCodec
from imitation_ros.frames.codecs import codec_for, set_stamp, stamp_ns
from imitation_ros.frames.contract import Contract, load_contract
from imitation_ros.frames.status import (
    action_topic,
    EPISODE_TOPIC,
    Status,
    STATUS_TOPICS,
    STATUS_TYPE,
)
from imitation_ros.nodes._messages import message_class, new, qos_profile, RELIABLE
import numpy as np
import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions

READY = 'ready'
TICKS = 52
"""How long an episode of the bare arm is: as long as one of the scripted expert, on average."""
ROOT = Path(__file__).parents[1]
NAMESPACE = f'/bare_{os.getpid()}'
"""Of the nodes that this process starts."""


class BareNode(Node):  # type: ignore[misc]  # rclpy is untyped here
    """Remembers its topics, to tell when all are matched."""

    def __init__(self, contract: Contract, namespace: str) -> None:
        super().__init__(type(self).__name__.lower(), namespace=namespace)
        self.contract = contract
        self.unmatched: list[Callable[[], int]] = []
        self.build()

    def build(self) -> None:
        """Creates the topics."""

    def listen(self, type: str, topic: str, callback: Callable[..., None], qos: Any) -> None:
        """Subscribes."""
        subscription = self.create_subscription(message_class(type), topic, callback, qos)
        self.unmatched.append(subscription.get_publisher_count)

    def talk(self, type: str, topic: str, qos: Any, heard: bool = True) -> Any:
        """Advertises; `heard` by somebody, or by nobody."""
        publisher = self.create_publisher(message_class(type), topic, qos)
        if heard:
            self.unmatched.append(publisher.get_subscription_count)
        return publisher

    def matched(self) -> bool:
        """Whether every topic has found its other side."""
        self.unmatched = [count for count in self.unmatched if not count()]
        return not self.unmatched

    def listen_to_parts(self, stream: str, callback: Callable[..., None]) -> None:
        """Subscribes the action and the status of a stream; calls back with part and message."""
        for part, topic, type, qos in _topics(self.contract, stream):
            self.listen(type, topic, lambda message, part=part: callback(part, message), qos)

    def talk_parts(self, stream: str) -> dict[str, Any]:
        """Part (or 'status') → publisher."""
        return {
            part: self.talk(type, topic, qos)
            for part, topic, type, qos in _topics(self.contract, stream)
        }

    def messages(self) -> dict[str, Any]:
        """Part (or 'status') → a message like those of the package's nodes."""
        messages = {
            name: ActionCodec(self.contract.actions[name]).encode(np.zeros(spec.shape), 1, new)
            for name, spec in self.contract.action_specs.items()
        }
        values = {'fingerprint': self.contract.fingerprint, 'checkpoint': '0' * 64}
        status = Status(1, self.get_name(), len(messages), '', values)
        return {**messages, 'status': status.encode(new)}


class Echo(BareNode):
    """Answers each observation with its first numbers as the action, and a status."""

    def build(self) -> None:
        """One observation, one action part."""
        (source,), ((name, part),) = self.contract.sources, self.contract.actions.items()
        self._publishers_of = self.talk_parts('policy')
        self._action, self._status, self._size = (
            new(part.type),
            self.messages()['status'],
            part.size,
        )
        self._name = name
        self.listen(source.type, source.topic, self._on_observation, qos_profile(source.qos))

    def _on_observation(self, message: Any) -> None:
        self._action.data = message.position[: self._size]
        self._publishers_of[self._name].publish(self._action)
        self._status.header.stamp = message.header.stamp
        self._publishers_of['status'].publish(self._status)


class Source(BareNode):
    """When all observations of a tick are there: an action and its status."""

    def build(self) -> None:
        """All observations in, `teleop/…` out."""
        self._out, self._messages, self._heard = self.talk_parts('teleop'), self.messages(), 0
        sources = {source.topic: source for source in self.contract.sources}
        self._topics = len(sources)
        for topic, source in sources.items():
            self.listen(source.type, topic, self._on_observation, qos_profile(source.qos))

    def _on_observation(self, message: Any) -> None:
        self._heard += 1
        if self._heard == self._topics:
            self._heard = 0
            _stamp_all(self._messages, stamp_ns(message) or 0)
            for part, publisher in self._out.items():
                publisher.publish(self._messages[part])


class Supervisor(BareNode):
    """Passes the action and the status of a tick on, once they are all there."""

    def build(self) -> None:
        """`teleop/…` in, commands out."""
        self._out = self.talk_parts('executed')
        self._in: dict[str, Any] = {}
        self.listen_to_parts('teleop', self._on_part)

    def _on_part(self, part: str, message: Any) -> None:
        self._in[part] = message
        if len(self._in) == len(self._out):
            for name, publisher in self._out.items():
                publisher.publish(self._in[name])
            self._in.clear()


class Arm(BareNode):
    """The raw simulator: sends a tick's observations, waits for the commands, steps."""

    def build(self) -> None:
        """Commands in, observations out; ~/pause starts an episode."""
        from imitation_ros.sim.simulator import Simulator
        from rosgraph_msgs.msg import Clock
        from std_srvs.srv import SetBool

        from bench.sim_rate import RawLoop

        simulator = Simulator('pick_place', self.contract)
        simulator.reset(0)
        self._raw = RawLoop(simulator)
        observed = {source.topic for source in self.contract.sources}
        self._observations = [
            (
                self.talk(channel.type, channel.topic, RELIABLE, channel.topic in observed),
                codec_for(channel.type).encode(new, channel.fields, [0.0] * len(channel.fields)),
            )
            for channel in simulator.channels
        ]
        simulator.close()
        self._clock, self._clock_message = self.talk_clock(Clock), Clock()
        self._episode = self.talk(STATUS_TYPE, EPISODE_TOPIC, RELIABLE)
        self.listen_to_parts('executed', self._on_part)
        self.create_service(SetBool, 'sim_arm/pause', self._on_pause)
        self._parts = len(self.contract.actions) + 1
        self._heard = self._ticks = self._time_ns = 0

    def talk_clock(self, type: Any) -> Any:
        """`/clock`, to which nobody listens here."""
        return self.create_publisher(type, '/clock', RELIABLE)

    def _on_pause(self, request: Any, response: Any) -> Any:
        self._ticks = 0
        self._send()
        response.success = True
        return response

    def _on_part(self, part: str, message: Any) -> None:
        self._heard += 1
        if self._heard < self._parts:
            return
        self._heard, self._ticks = 0, self._ticks + 1
        phase = 0.1 * self._ticks
        self._raw.tick({'arm': 0.1 * np.array([np.cos(phase), np.sin(phase), 0.0])})
        if self._ticks < TICKS:
            self._send()
        else:
            status = Status(self._time_ns, 'bare', 1, '', {'ticks': str(TICKS), 'success': '1'})
            self._episode.publish(status.encode(new))

    def _send(self) -> None:
        self._time_ns += self.contract.tick_period_ns
        clock = self._clock_message.clock
        clock.sec, clock.nanosec = divmod(self._time_ns, 1_000_000_000)
        self._clock.publish(self._clock_message)
        for publisher, message in self._observations:
            if hasattr(message, 'header'):
                set_stamp(message, self._time_ns)
            publisher.publish(message)


NODES = {node.__name__.lower(): node for node in (Echo, Source, Supervisor, Arm)}


@contextmanager
def bare_nodes(names: list[str], contract: Path, domain_id: int) -> Iterator[list[Any]]:
    """Runs bare nodes in processes of their own; `wait_ready` tells when they are matched."""
    processes = [
        subprocess.Popen(
            [sys.executable, '-m', 'bench.bare_nodes', name, str(contract), NAMESPACE],
            cwd=ROOT,
            env={**os.environ, 'ROS_DOMAIN_ID': str(domain_id), 'PYTHONUNBUFFERED': '1'},
            stdout=subprocess.PIPE,
            text=True,
        )
        for name in names
    ]
    try:
        yield processes
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.communicate(timeout=10.0)


def wait_ready(processes: list[subprocess.Popen[str]], timeout_s: float = 60.0) -> None:
    """Waits until all have said so.

    Raises:
        GraphError: one has ended instead, or has said nothing for too long.
    """
    deadline = time.monotonic() + timeout_s
    for process in processes:
        assert process.stdout is not None
        left_s = max(0.0, deadline - time.monotonic())
        said = select.select([process.stdout], [], [], left_s)[0]
        if not said or process.stdout.readline().strip() != READY:
            name = process.args[3]  # type: ignore[index]
            raise GraphError(f'bare node {name!r} has ended, or found nobody in {timeout_s} s')


def run(name: str, contract: str, namespace: str) -> None:
    """The loop of `imitation_ros.nodes._runtime`, without the life cycle."""
    asked: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, frame: asked.append(number))
    rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
    node = NODES[name](load_contract(contract), namespace)
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    waiting, parent = True, os.getppid()
    while not asked and os.getppid() == parent:  # never outlives who started it
        executor.spin_once(timeout_sec=0.1)
        if waiting and node.matched():
            waiting = False
            print(READY, flush=True)
    node.destroy_node()
    rclpy.try_shutdown()


def _topics(contract: Contract, stream: str) -> Iterator[tuple[str, str, str, Any]]:
    """Part, topic, type and QoS of what a stream says each tick, its status last."""
    for name, part in contract.actions.items():
        qos = qos_profile(part.qos) if stream == 'executed' else RELIABLE
        yield name, action_topic(stream, part.topic), part.type, qos
    yield 'status', STATUS_TOPICS[stream], STATUS_TYPE, RELIABLE


def _stamp_all(messages: dict[str, Any], at_ns: int) -> None:
    for message in messages.values():
        if hasattr(message, 'header'):
            set_stamp(message, at_ns)


if __name__ == '__main__':
    run(*sys.argv[1:])
