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


UDP = {'FASTDDS_BUILTIN_TRANSPORTS': 'UDPv4'}
"""Of processes that are killed: over shared memory, one of some 100 kills left a process that had
spoken with the killed one standing still. What of it is the middleware's is not known."""


def join_domain(domain_id: int) -> None:
    """What a forked process does before it speaks ROS: the server has another environment."""
    os.environ |= {**UDP, 'ROS_DOMAIN_ID': str(domain_id)}


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
