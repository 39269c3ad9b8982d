"""Records small episodes in processes that are killed, or refused, at a system call."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
import shutil
import subprocess
import sys
import tempfile

from imitation_ros.episodes.writer import EpisodeWriter

from bench.faults import _episode_child as child
from bench.faults.child import forks
from bench.faults.recorded import digests, repaired_problems

CALLS = ('write', 'fsync', 'rename')
LOSS_AT_MOST_S = 1.0
TOLD_AT_MOST_S = 1.0
STRACE = shutil.which('strace')
SYSTEM_CALLS = 'write,fsync,rename'


@dataclass(frozen=True)
class Injected:
    """What came of one fault.

    Attributes:
        problems: in words; empty if it was survived.
        lost_s: from the last message accepted to the last saved.
        calls: how many calls of that kind there were.
        told_s: from the refusal to the error, 0 where nothing was refused.
    """

    problems: list[str]
    lost_s: float
    calls: int
    told_s: float = 0.0


class EpisodeCalls:
    """A data set with a closed episode beside which others are recorded; use `prepared`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._closed = folder / 'closed'
        writer = EpisodeWriter(self._closed)
        topic = writer.copy_topic(child.TOPIC)
        for number in range(1, 50):
            writer.write(topic, child.payload(number), number, number, number)
        writer.stop('success')
        self._digests = digests(self._closed)
        self._context = forks()

    def inject(self, call: str, at: int, what: str) -> Injected:
        """Does `what` (see `Injection`) at the `at`th `call` of the writer; 0: only counts."""
        with self._data() as (data, notes):
            arguments = (str(data / 'open'), str(notes), call, at, what, what == 'ENOSPC')
            process = self._context.Process(target=child.run, args=arguments)
            process.start()
            process.join(30.0)
            hung = process.is_alive()
            process.kill()
            process.join()
            kept = child.Notes(notes)
            killed = what in ('kill', 'torn', 'killed') and at
            problems = ['hung'] if hung else []
            if not killed and process.exitcode != 0:
                problems.append(f'crashed with exit code {process.exitcode}')
            told_s = 0.0
            if kept['failed_ns']:
                told_s = (kept['told_ns'] - kept['failed_ns']) / 1e9
                if not 0 <= told_s <= TOLD_AT_MOST_S:
                    problems.append('the refusal was not told within a second')
            return self._judged(data, kept, problems, told_s)

    def strace(self, call: str, at: str, what: str) -> Injected:
        """The same by the kernel, on every thread.

        Args:
            call: as above.
            at: '3' for the third, '3+' for that and all after it, '' for none.
            what: 'signal=SIGKILL', or 'error=ENOSPC'.
        """
        assert STRACE is not None
        with self._data() as (data, notes):
            log = data.parent / 'strace'
            inject = ['-e', f'inject={call}:{what}:when={at}'] if at else []
            command = [
                *(STRACE, '-f', '-qq', '-o', str(log), '-e', f'trace={SYSTEM_CALLS}', *inject),
                *(sys.executable, '-m', child.__name__, str(data / 'open'), str(notes)),
            ]
            problems = []
            try:
                code = subprocess.run(
                    command, timeout=60.0, stderr=subprocess.DEVNULL, cwd=Path(__file__).parents[2]
                ).returncode
                if code and 'signal' not in what:
                    problems.append(f'crashed with exit code {code}')
            except subprocess.TimeoutExpired:
                problems.append('hung')
            count = log.read_text(errors='replace').count(f' {call}(') if log.exists() else 0
            judged = self._judged(data, child.Notes(notes), problems)
            return Injected(judged.problems, judged.lost_s, count)

    def _judged(
        self, data: Path, notes: child.Notes, problems: list[str], told_s: float = 0.0
    ) -> Injected:
        found, lost_s = repaired_problems(data, notes, LOSS_AT_MOST_S)
        if digests(data / 'closed') != self._digests:
            found.append('a closed episode was touched')
        return Injected([*problems, *found], lost_s, notes['calls'], told_s)

    @contextmanager
    def _data(self) -> Iterator[tuple[Path, Path]]:
        with tempfile.TemporaryDirectory(dir=self._folder) as folder:
            data = Path(folder, 'data')
            shutil.copytree(self._closed, data / 'closed')
            child.Notes(Path(folder, 'notes'))
            yield data, Path(folder, 'notes')


@contextmanager
def prepared() -> Iterator[EpisodeCalls]:
    """In a folder that is gone at the end."""
    with tempfile.TemporaryDirectory(prefix='faults_') as folder:
        yield EpisodeCalls(Path(folder))
