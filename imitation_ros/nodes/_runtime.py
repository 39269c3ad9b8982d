"""From a process to a running node and back: start, spin, stop on a signal, exit code."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
import ctypes
import gc
import os
import signal
import sys
import traceback
from types import FrameType

from imitation_ros.errors import ImitationError
from imitation_ros.nodes._managed import ManagedNode
from imitation_ros.nodes._params import ParameterError
import rclpy
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.signals import SignalHandlerOptions

PARENT = 'IMITATION_ROS_PARENT'
"""Environment variable with the process id of the graph that started a node."""
PR_SET_PDEATHSIG = 1
ENDS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
"""Ctrl-C; `kill`, launch, systemd; a terminal or ssh session that is closed; Ctrl-\\."""


def run_node(make_node: Callable[[], ManagedNode], args: Sequence[str] | None = None) -> int:
    """Runs a node until a signal asks it to end, or an error, and closes it.

    rclpy's own signal handlers end the context before anyone can send a last command, and without
    handlers a signal kills outright; so the handlers here only ask the loop to end.

    Returns:
        The exit code: 0, 1 after an error, 2 for bad parameters.
    """
    # What was imported, above all torch, is never garbage. Looking through it would stop a tick
    # now and then, and the end of the process for 2 s on a busy machine, where `launch` loses
    # patience. What holds the DDS participant is garbage at the end, and must be found.
    gc.freeze()
    code = _run(make_node, args)
    gc.collect()
    gc.freeze()
    return code


def _run(make_node: Callable[[], ManagedNode], args: Sequence[str] | None) -> int:
    if insecure := _insecure(os.environ):
        print(insecure, file=sys.stderr)
        return 2
    stop = _stop_on_signals()
    _end_with_parent()
    rclpy.init(args=args, signal_handler_options=SignalHandlerOptions.NO)
    node: ManagedNode | None = None
    try:
        node = make_node()
        if node.params.autostart and not node.autostart():
            return 1
        executor = SingleThreadedExecutor()
        executor.add_node(node)
        while not stop():
            executor.spin_once(timeout_sec=0.1)
        return 0
    except ParameterError as error:
        print(error, file=sys.stderr)
        return 2
    except (ImitationError, ExternalShutdownException) as error:
        print(error, file=sys.stderr)
        return 1
    except Exception:
        traceback.print_exc()
        return 1
    finally:
        if node is not None:
            node.close()
            node.destroy_node()
        rclpy.try_shutdown()


def _insecure(environment: Mapping[str, str]) -> str:
    """Why a node that was told to be secure would not be; '' if it would, or nobody asked.

    Without `Enforce`, a node that finds no keys, or a middleware without security, speaks in the
    clear.
    """
    if environment.get('ROS_SECURITY_ENABLE') != 'true':
        return ''
    strategy = environment.get('ROS_SECURITY_STRATEGY', '')
    if strategy == 'Enforce':
        return ''
    return (
        f'ROS_SECURITY_ENABLE is true and ROS_SECURITY_STRATEGY is {strategy!r}: a node without '
        'keys would speak in the clear; valid: Enforce'
    )


def _end_with_parent() -> None:
    """Where a graph started this process: SIGINT when it dies, even by SIGKILL.

    A supervisor without its operator, left behind, would meet the next one on the same topics.
    """
    parent = int(os.environ.get(PARENT, '0'))
    if parent and sys.platform == 'linux':
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGINT)
        if os.getppid() != parent:  # it has died already
            os.kill(os.getpid(), signal.SIGINT)


def _stop_on_signals() -> Callable[[], bool]:
    asked: list[int] = []

    def ask(number: int, frame: FrameType | None) -> None:
        asked.append(number)

    for number in ENDS:
        if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:  # by nohup
            signal.signal(number, ask)
    return lambda: bool(asked)
