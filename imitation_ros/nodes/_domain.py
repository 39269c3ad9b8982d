"""A ROS domain that nobody else on this machine uses: what ours sends must not reach others."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
import tempfile

from imitation_ros.errors import GraphError

DOMAINS = range(1, 102)
"""Without the default domain 0; from 102 on, ports of DDS may be taken by anybody."""


class Domain:
    """One domain, held until `release` or the end of the process, even by SIGKILL.

    Args:
        first: which is tried first.

    Attributes:
        id: of the domain.

    Raises:
        GraphError: all are taken.
    """

    def __init__(self, first: int | None = None) -> None:
        offset = os.getpid() if first is None else first
        for index in range(len(DOMAINS)):
            self.id = DOMAINS[(offset + index) % len(DOMAINS)]
            path = Path(tempfile.gettempdir(), f'imitation_ros_{os.getuid()}_domain_{self.id}')
            self._lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                os.close(self._lock)
        raise GraphError(f'the ROS domains {DOMAINS[0]} to {DOMAINS[-1]} are all in use here')

    def release(self) -> None:
        """Lets others have it."""
        os.close(self._lock)
