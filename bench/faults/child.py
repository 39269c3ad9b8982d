"""What processes that are made to fail have in common."""

from __future__ import annotations

import multiprocessing
from multiprocessing.context import ForkServerContext
import os

IMPORTED_ONCE = (
    'imitation_ros.nodes.recorder',
    'bench.faults._episode_child',
    'bench.faults.readers',
)


def forks() -> ForkServerContext:
    """Processes forked from one that has imported what all classes need, and no ROS context.

    There is one such server for all classes: it keeps what its first user told it to import.
    """
    context = multiprocessing.get_context('forkserver')
    context.set_forkserver_preload(list(IMPORTED_ONCE))
    return context


def quiet() -> None:
    """Sends what this process prints to nowhere: its failures are the point."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for descriptor in (1, 2):
        os.dup2(nowhere, descriptor)
    os.close(nowhere)
