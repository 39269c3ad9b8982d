"""A process that records one small episode, and is killed or refused at its Nth system call."""

from __future__ import annotations

from collections.abc import Callable
import errno
import io
import mmap
import os
from pathlib import Path
import signal
import sys
import time
from typing import Any

from imitation_ros.episodes import rosbag2
from imitation_ros.episodes import writer as writer_module
from imitation_ros.episodes.info import Topic
from imitation_ros.episodes.writer import EpisodeWriter
from imitation_ros.errors import EpisodeError

TOPIC = Topic('/x', 'std_msgs/msg/UInt8MultiArray', 'uint8[] data\n', 'x')
MESSAGES = 120
PERIOD_S = 0.002


def payload(number: int) -> bytes:
    """The message of a number: no two alike, and none that compresses."""
    import random

    return b'\0\1\0\0' + random.Random(number).randbytes(400)


class Notes:
    """Numbers in a file that both processes have mapped: no system call, and a kill keeps them."""

    NAMES = (
        *('began_ns', 'accepted', 'accepted_ns', 'calls'),
        *('failed_ns', 'told_ns', 'ended'),
    )

    def __init__(self, path: Path) -> None:
        if not path.exists():
            path.write_bytes(bytes(8 * len(self.NAMES)))
        with open(path, 'r+b') as file:
            self._map = mmap.mmap(file.fileno(), 0)

    def __getitem__(self, name: str) -> int:
        at = 8 * self.NAMES.index(name)
        return int.from_bytes(self._map[at : at + 8], 'little')

    def __setitem__(self, name: str, value: int) -> None:
        at = 8 * self.NAMES.index(name)
        self._map[at : at + 8] = value.to_bytes(8, 'little')


def record(folder: Path, notes: Notes) -> None:
    """Records an episode; notes what was accepted, and when a refusal was told."""
    try:
        writer = EpisodeWriter(folder)
        topic = writer.copy_topic(TOPIC)
        notes['began_ns'] = time.time_ns()
        for number in range(1, MESSAGES + 1):
            now_ns = time.time_ns()
            writer.write(topic, payload(number), now_ns, now_ns, number)
            notes['accepted'], notes['accepted_ns'] = number, now_ns
            time.sleep(PERIOD_S)
        writer.stop('success')
        notes['ended'] = 1
    except EpisodeError:
        notes['told_ns'] = time.monotonic_ns()
        notes['ended'] = 2


class Injection:
    """Does something at the Nth call of one kind, on the files of one folder.

    Args:
        call: 'write', 'fsync' or 'rename'.
        at: which one, from 1 on; 0 for none.
        what: 'kill' before it, 'torn' in the middle, 'killed' after it; or a name of `errno`.
        notes: where calls are counted.
        for_ever: refuse every later one too, as a full disk does.
    """

    def __init__(self, call: str, at: int, what: str, notes: Notes, for_ever: bool) -> None:
        self.call, self.at, self.what = call, at, what
        self.notes, self.for_ever = notes, for_ever

    def around(self, call: str, do: Callable[[], Any], half: Callable[[], Any] = int) -> Any:
        """Does it, unless its time has come."""
        if call != self.call:
            return do()
        self.notes['calls'] += 1
        count = self.notes['calls']
        if count == self.at or (self.for_ever and count > self.at > 0):
            if self.what == 'torn':
                half()
            if self.what == 'killed':
                do()
            if self.what in ('kill', 'torn', 'killed'):
                os.kill(os.getpid(), signal.SIGKILL)
            if not self.notes['failed_ns']:
                self.notes['failed_ns'] = time.monotonic_ns()
            number = getattr(errno, self.what)
            raise OSError(number, os.strerror(number))
        return do()

    def install(self) -> None:
        """Puts it in the way of the writer's files."""
        fsync, rename, injection = os.fsync, Path.rename, self

        class Raw(io.FileIO):
            def write(self, data: Any) -> Any:
                whole = bytes(data)
                return injection.around(
                    'write',
                    lambda: io.FileIO.write(self, whole),
                    lambda: io.FileIO.write(self, whole[: len(whole) // 2]),
                )

        def opened(path: Path, mode: str, encoding: str | None = None) -> Any:
            file = io.BufferedWriter(Raw(path, mode))
            return io.TextIOWrapper(file, encoding) if encoding else file

        writer_module.open = rosbag2.open = opened  # type: ignore[attr-defined]

        def synced(descriptor: Any) -> None:
            injection.around('fsync', lambda: fsync(descriptor))

        def renamed(path: Path, to: Any) -> Any:
            return injection.around('rename', lambda: rename(path, to))

        os.fsync, Path.rename = synced, renamed  # type: ignore[assignment, method-assign]


def run(folder: str, notes: str, call: str, at: int, what: str, for_ever: bool) -> None:
    """Records with an injection; what `multiprocessing` calls."""
    kept = Notes(Path(notes))
    Injection(call, at, what, kept, for_ever).install()
    record(Path(folder), kept)


if __name__ == '__main__':
    record(Path(sys.argv[1]), Notes(Path(sys.argv[2])))
