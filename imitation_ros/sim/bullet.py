"""PyBullet, without the greeting that importing it writes to the standard error."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
import os
import sys

__all__ = ['bullet']


@contextmanager
def _quiet_errors() -> Iterator[None]:
    sys.stderr.flush()
    kept = os.dup(2)
    try:
        with open(os.devnull, 'w') as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


with _quiet_errors():
    import pybullet as bullet
