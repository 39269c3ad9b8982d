"""Starts nodes as processes and talks to them: what the command line, benches and tests use."""

from __future__ import annotations

from collections.abc import Callable, Mapping
import os
from pathlib import Path
import signal
import subprocess
import sys
import tempfile
import threading
import time
from types import TracebackType
from typing import Any

from imitation_ros.errors import GraphError
from imitation_ros.nodes._domain import Domain
from imitation_ros.nodes._messages import message_class, of_whole_messages, RELIABLE
from imitation_ros.nodes._runtime import PARENT
from imitation_ros.nodes._transport import AS_USUAL
from lifecycle_msgs.srv import GetState
from rcl_interfaces.srv import SetParameters
import rclpy
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile
from rclpy.signals import SignalHandlerOptions
from std_srvs.srv import SetBool, Trigger
import yaml

STOP_ORDER = (
    *('recorder', 'trainer', 'reward_trainer'),
    *('policy', 'teleop', 'supervisor', 'sim_arm'),
)
"""Who is stopped first: the data is safe before the arm is let go."""
SERVICES: dict[str, dict[str, Any]] = {
    'sim_arm': {'reset': Trigger, 'pause': SetBool},
    'supervisor': dict.fromkeys(
        (
            *('stop', 'emergency_stop', 'resume', 'home'),
            *('take', 'give_back', 'discard_correction'),
        ),
        Trigger,
    ),
    'recorder': {'start': Trigger, 'success': Trigger, 'failure': Trigger, 'discard': Trigger},
    'policy': {'reload': Trigger, 'rollback': Trigger},
    'trainer': {'train': Trigger, 'rollback': Trigger},
    'reward_trainer': {'train': Trigger},
}
"""Node → its own services."""


class Graph:
    """A handful of nodes, each in a process of its own, and a client that speaks to them.

    Use it as a context manager: whatever happens inside, the nodes are stopped at the end.

    Args:
        log_dir: each node's output goes to a file here; by default it is kept until the end, for
            the text of errors.
        domain_id: ROS domain; by default that of ROS_DOMAIN_ID where it is set, else one of our
            own: the commands of a simulation must not reach the robot of a colleague.

    Attributes:
        domain_id: of the nodes.
        environment: of the nodes, for other processes that shall see them.
        node: the client, which spins in the background.
    """

    def __init__(self, log_dir: Path | None = None, domain_id: int | None = None) -> None:
        self._temporary = tempfile.TemporaryDirectory(prefix='imitation_ros_')
        self._logs = log_dir or Path(self._temporary.name)
        self._logs.mkdir(parents=True, exist_ok=True)
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._domain: Domain | None = None
        if domain_id is None and os.environ.get('ROS_DOMAIN_ID'):
            domain_id = int(os.environ['ROS_DOMAIN_ID'])
        elif domain_id is None:
            self._domain = Domain()
            domain_id = self._domain.id
        self.domain_id = domain_id
        os.environ.setdefault('ROS_AUTOMATIC_DISCOVERY_RANGE', 'LOCALHOST')
        self.environment = {
            **os.environ,
            'ROS_DOMAIN_ID': str(domain_id),
            'PYTHONUNBUFFERED': '1',
            'OMP_NUM_THREADS': '1',
            PARENT: str(os.getpid()),
        }
        self._context = Context()
        rclpy.init(
            context=self._context,
            domain_id=domain_id,
            signal_handler_options=SignalHandlerOptions.NO,
        )
        name = f'imitation_ros_client_{os.getpid()}_{domain_id}'
        self.node = rclpy.create_node(name, context=self._context)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self.node)
        self._clients: dict[str, Any] = {}
        self._closing = threading.Event()
        self._spinning = threading.Thread(target=self._spin, daemon=True)
        self._spinning.start()

    def __enter__(self) -> Graph:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def start(self, name: str, parameters: Mapping[str, Any]) -> subprocess.Popen[bytes]:
        """Starts the node `name` (a module of `imitation_ros.nodes`) with these parameters."""
        given = {key: value for key, value in parameters.items() if value not in ((), [], None)}
        document = {'/**': {'ros__parameters': {key: _plain(v) for key, v in given.items()}}}
        file = self._logs / f'{name}.yaml'
        file.write_text(yaml.safe_dump(document))
        with (self._logs / f'{name}.log').open('wb') as log:
            self._processes[name] = subprocess.Popen(
                [
                    *(sys.executable, '-m', f'imitation_ros.nodes.{name}'),
                    *('--ros-args', '--params-file', str(file)),
                ],
                env=self.environment | (AS_USUAL if given.get('lockstep') else {}),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        self.offer(name, name)
        return self._processes[name]

    def offer(self, name: str, kind: str) -> None:
        """Makes the clients of a node that is about to be started.

        A server drops its answer to a client that it has not discovered yet, so all clients are
        there before the server is.

        Args:
            name: of the node on the graph.
            kind: which of the package's nodes it is.
        """
        own = {'get_state': GetState, 'set_parameters': SetParameters, **SERVICES.get(kind, {})}
        for service, type in own.items():
            self._client(type, f'{name}/{service}')

    @property
    def pids(self) -> dict[str, int]:
        """Node → its process."""
        return {name: process.pid for name, process in self._processes.items()}

    def wait_ready(self, timeout_s: float = 60.0) -> None:
        """Waits until every node is active.

        Raises:
            GraphError: one of them ended (with the end of its output) or took too long.
        """
        deadline = time.monotonic() + timeout_s
        for name in self._processes:
            while self._state(name, deadline) != 'active':
                self._check_alive(name)
                if time.monotonic() > deadline:
                    raise GraphError(f'{name} is not active after {timeout_s} s{self._tail(name)}')

    def call(self, service: str, timeout_s: float = 30.0) -> str:
        """Calls a Trigger service and returns its message.

        Raises:
            GraphError: it was refused (with the reason), or did not answer.
        """
        response = self._request(Trigger, service, Trigger.Request(), timeout_s)
        if not response.success:
            raise GraphError(f'{service}: {response.message}')
        return str(response.message)

    def switch(self, service: str, on: bool, timeout_s: float = 30.0) -> str:
        """Calls a SetBool service and returns its message; raises as `call` does."""
        response = self._request(SetBool, service, SetBool.Request(data=on), timeout_s)
        if not response.success:
            raise GraphError(f'{service}: {response.message}')
        return str(response.message)

    def set(self, name: str, **parameters: Any) -> None:
        """Sets live parameters of a node.

        Raises:
            GraphError: the node refused one, with its reason.
        """
        request = SetParameters.Request(
            parameters=[
                Parameter(key, value=_plain(value)).to_parameter_msg()
                for key, value in parameters.items()
            ]
        )
        results = self._request(SetParameters, f'{name}/set_parameters', request, 10.0).results
        for key, result in zip(parameters, results):
            if not result.successful:
                raise GraphError(f'{name}: parameter {key}: {result.reason}')

    def listen(
        self,
        topic: str,
        type: str,
        callback: Callable[..., None],
        qos: QoSProfile = RELIABLE,
    ) -> None:
        """Calls `callback` for each whole message, on the client's thread.

        A callback with a second argument gets the middleware's info in it.
        """
        kind = message_class(type)
        on_bytes = of_whole_messages(kind, callback, lambda error: None)
        self.node.create_subscription(kind, topic, on_bytes, qos, raw=True)

    def stop(self, name: str, timeout_s: float = 10.0) -> int:
        """Stops one node by SIGINT, and by SIGKILL if it does not end; returns its exit code."""
        process = self._processes.pop(name)
        process.send_signal(signal.SIGINT)
        try:
            return process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            process.kill()
            return process.wait()

    def close(self) -> None:
        """Stops all nodes, the recorder first and the arm last, and the client."""
        for prefix in STOP_ORDER:
            for name in [name for name in self._processes if name.startswith(prefix)]:
                self.stop(name)
        for name in list(self._processes):
            self.stop(name)
        self._closing.set()
        self._spinning.join()
        self._executor.shutdown()
        self.node.destroy_node()
        self._context.try_shutdown()
        self._temporary.cleanup()
        if self._domain is not None:
            self._domain.release()

    def _spin(self) -> None:
        while not self._closing.is_set():
            self._executor.spin_once(timeout_sec=0.1)

    def _state(self, name: str, deadline: float) -> str:
        try:
            request = GetState.Request()
            wait_s = max(0.1, min(2.0, deadline - time.monotonic()))
            response = self._request(GetState, f'{name}/get_state', request, wait_s)
        except GraphError:
            return 'unknown'
        return str(response.current_state.label)

    def _request(self, type: Any, service: str, request: Any, timeout_s: float) -> Any:
        client = self._client(type, service)
        deadline = time.monotonic() + timeout_s
        while not client.wait_for_service(timeout_sec=0.2):
            self._check_alive(service.split('/')[0])
            if time.monotonic() > deadline:
                raise GraphError(f'service {service} is not there after {timeout_s:.0f} s')
        done = threading.Event()
        future = client.call_async(request)
        future.add_done_callback(lambda _: done.set())
        while not done.wait(0.2):
            self._check_alive(service.split('/')[0])
            if time.monotonic() > deadline:
                raise GraphError(f'service {service} did not answer within {timeout_s:.0f} s')
        return future.result()

    def _client(self, type: Any, service: str) -> Any:
        if service not in self._clients:
            self._clients[service] = self.node.create_client(type, service)
        return self._clients[service]

    def _check_alive(self, name: str) -> None:
        process = self._processes.get(name)
        if process is not None and process.poll() is not None:
            raise GraphError(f'{name} ended with exit code {process.returncode}{self._tail(name)}')

    def _tail(self, name: str) -> str:
        lines = (self._logs / f'{name}.log').read_text(errors='replace').splitlines()[-12:]
        return '; the end of its output:\n' + '\n'.join(f'    {line}' for line in lines)


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return list(value)
    return str(value) if isinstance(value, Path) else value
