"""Damages a file and reads it, within limits of time and memory, and counts what came of it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
import hashlib
from pathlib import Path
import random
import resource
import shutil
import signal
import tempfile
import time
from types import FrameType
from typing import Any, ClassVar

from imitation_ros.errors import ImitationError

from bench.faults.child import quiet

BLOCKED_AT_MOST_S = 60.0
"""Of real time, for who waits and takes none of his own; a busy machine makes it long."""


class TookTooLong(BaseException):
    """A file that keeps its reader busy beyond the limit."""


class Reader(ABC):
    """Damages one kind of file, and reads it.

    Args:
        folder: with a whole file of each kind, copied before it is damaged.

    Attributes:
        forged: whether checksums are made to fit, so that anything may be read.
    """

    forged: ClassVar[bool] = False

    def __init__(self, folder: Path) -> None:
        self.rng = random.Random(0)
        self.folder = Path(tempfile.mkdtemp(prefix='read_', dir=folder))
        self.prepare(folder)
        self.whole = self.read()

    @classmethod
    def make(cls, folder: Path) -> Reader:
        """The reader for a folder."""
        return cls(folder)

    @abstractmethod
    def prepare(self, folder: Path) -> None:
        """Makes a whole file in `self.folder`."""

    @abstractmethod
    def damage(self) -> int:
        """Writes a damaged file; returns its size in bytes."""

    @abstractmethod
    def read(self) -> str:
        """Reads all of it; returns a digest of what it says."""

    def agrees(self, found: str) -> bool:
        """Whether what was read may be."""
        return self.forged or found == self.whole

    def try_many(
        self, seed: int, count: int, at_most_s: float, memory_bytes: int
    ) -> dict[str, Any]:
        """Damages and reads `count` times; counts what came of it."""
        quiet()
        self.rng = random.Random(seed)
        counts: Counter[str] = Counter(tried=count)
        problems: list[str] = []
        slowest_s, before_kb = 0.0, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        for index in range(count):
            size = self.damage()
            began = time.process_time()
            try:
                with _limited(at_most_s, memory_bytes + size):
                    agrees = self.agrees(self.read())
                counts['accepted' if agrees else 'WRONG'] += 1
                told = '' if agrees else 'reads as something else'
            except ImitationError as error:
                counts['refused'] += 1
                told = '' if str(error) else 'refused without a word'
            except BaseException as error:  # anything else is what this looks for
                counts[type(error).__name__] += 1
                told = repr(error)[:200]
            slowest_s = max(slowest_s, time.process_time() - began)
            if told and len(problems) < 5:
                problems.append(f'seed {seed}, number {index}: {told}')
        grown_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kb
        shutil.rmtree(self.folder)
        return {
            **counts,
            'at most s': round(slowest_s, 3),
            'at most MB': round(grown_kb / 1024, 1),
            'problems': problems,
        }


@contextmanager
def _limited(at_most_s: float, memory_bytes: int) -> Iterator[None]:
    """Limits the time of the process and its memory, beyond what it has now."""
    pages = int(Path('/proc/self/statm').read_text().split()[0])
    limits = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(
        resource.RLIMIT_AS, (pages * resource.getpagesize() + memory_bytes, limits[1])
    )
    limited = (
        (signal.SIGPROF, signal.ITIMER_PROF, at_most_s),
        (signal.SIGALRM, signal.ITIMER_REAL, BLOCKED_AT_MOST_S),
    )
    for number, timer, seconds in limited:
        signal.signal(number, _too_long)
        signal.setitimer(timer, seconds)
    try:
        yield
    finally:
        for _, timer, _ in limited:
            signal.setitimer(timer, 0.0)
        resource.setrlimit(resource.RLIMIT_AS, limits)


def _too_long(number: int, frame: FrameType | None) -> None:
    raise TookTooLong


def digest(*parts: Any) -> str:
    return hashlib.sha256(repr(parts).encode('utf-8', 'backslashreplace')).hexdigest()
