"""A training in a process of its own, beside nodes that must not wait for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
import ctypes
import fcntl
import multiprocessing
from multiprocessing.connection import Connection
import os
from pathlib import Path
import signal
import sys
import traceback
from typing import Any

from imitation_ros.errors import ImitationError

LOCK = '.lock'
NICENESS = 10
"""Of a training: it leaves the processor to the robot's nodes."""
PR_SET_PDEATHSIG = 1


def yield_processor(process: int = 0) -> None:
    """Lets the robot's nodes go before a process, by default this one."""
    present = os.getpriority(os.PRIO_PROCESS, process)
    os.setpriority(os.PRIO_PROCESS, process, max(present, NICENESS))


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Keeps other processes from working on a run meanwhile, until this one dies at the latest.

    Raises:
        ImitationError: another one does, or the folder that the run lies in is not writable.
    """
    folder = folder.resolve()
    beside = folder.with_name(f'{folder.name}{LOCK}')
    try:
        folder.mkdir(parents=True, exist_ok=True)
        opened = beside.open('w')
    except OSError as error:
        raise ImitationError(f'{beside}: {error.strerror}; valid: a folder to write in') from None
    with opened as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ImitationError(f'{folder}: another training is at work') from None
        yield


def answer(pipe: Connection, folder: Path, work: Callable[[], Any]) -> None:
    """Does a process's whole work; sends what it returns, or a text that says why there is none.

    The process yields to the robot's nodes, and dies with the one that started it.

    Args:
        pipe: where the answer goes.
        folder: of the run, which one process at a time works on.
        work: raises ImitationError for what a user can put right; of all else, which is in no
            log of the node, the traceback goes to stderr.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of a terminal; who started it ends it
    if sys.platform == 'linux':
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        parent = multiprocessing.parent_process()
        if parent is not None and os.getppid() != parent.pid:  # it has died already
            return
    _leave_session()
    yield_processor()
    try:
        with alone_in(folder):
            result = work()
    except ImitationError as error:
        result = str(error)
    except Exception as error:
        traceback.print_exc()
        result = f'{type(error).__name__}: {error}'
    with suppress(BrokenPipeError):
        pipe.send(result)


def _leave_session() -> None:
    """Makes the process a scheduling group of its own, which yields, too.

    Linux shares the processor among sessions first (`sched_autogroup`): in that of the nodes, what
    a training takes would be missing to them however nice it is.
    """
    with suppress(OSError):  # no Linux, no autogroups, or the leader of a group already
        os.setsid()
        Path('/proc/self/autogroup').write_text(str(NICENESS))
