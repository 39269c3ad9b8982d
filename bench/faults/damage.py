"""Damaged and forged episodes, checkpoints and contracts: refused by name, or read as they were.

Each is read in a process whose memory is limited to what it has plus the file plus 256 MB, and
which is ended when one file takes 2 s of its time, or blocks it for a minute. Only the package's
own errors may come out. Of a file with wrong checksums, what is accepted must read as the whole
one did; one that was forged, with checksums that fit, may say anything, but must do no harm. A
recording that was cut off and then damaged is repaired: whatever is whole in it is saved or kept.
"""

from __future__ import annotations

from multiprocessing.connection import Connection
from pathlib import Path
import tempfile
import time
from typing import Any

from bench.faults.child import forks
from bench.faults.outcome import Outcome
from bench.faults.reader import Reader
from bench.faults.readers import READERS
from bench.faults.recorder_process import published, recorder

MUTATIONS = {'short': 150, 'full': 100_000}
"""Of each kind of file."""
FORGED = 0.2
"""Of them are forged, beside these."""
BATCH = 5_000
READ_AT_MOST_S = 2.0
PATIENCE_S, PATIENCE_A_FILE_S = 120.0, 1.0
"""For the answer of a process: beyond it, not even its own limits have ended a file."""
MEMORY_BYTES = 256 << 20


def run(tier: str, seed: int) -> Outcome:
    """Damages files; see the module's text."""
    outcome = Outcome('damaged episodes, checkpoints, contracts')
    with tempfile.TemporaryDirectory(prefix='faults_') as folder:
        _prepare(Path(folder))
        for name, reader in READERS.items():
            share = FORGED if reader.forged else 1.0
            count = round(MUTATIONS[tier] * share)
            for first in range(0, count, BATCH):
                found = _in_a_process(name, folder, seed + first, min(BATCH, count - first))
                _count(name, found, outcome)
    return outcome


def _prepare(folder: Path) -> None:
    """A whole file of each kind: the episode comes from the recorder itself."""
    with published() as (graph, _), recorder(graph, folder / 'data') as one:
        one.start_episode()
        time.sleep(0.3)
        episode = Path(one.call('success').splitlines()[0])
    episode.rename(folder / 'episode')
    (folder / 'episode' / f'{episode.name}_0.mcap').rename(folder / 'episode/episode_0.mcap')


def _in_a_process(name: str, folder: str, seed: int, count: int) -> dict[str, Any]:
    """What came of `count` damages; of a process that hung or crashed, the one that did it."""
    context = forks()
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_damage, args=(theirs, name, folder, seed, count))
    process.start()
    theirs.close()
    found: dict[str, Any] = {'tried': count}
    patience_s = PATIENCE_S + PATIENCE_A_FILE_S * count
    try:
        if ours.poll(patience_s):
            found = ours.recv()
        else:
            told = f'seed {seed}: hung, no answer to {count} files within {patience_s:.0f} s'
            found |= {'hung': 1, 'problems': [told]}
    except EOFError:
        process.join()
        found |= {'crashed': 1, 'problems': [f'seed {seed}: exit code {process.exitcode}']}
    process.kill()
    process.join()
    return found


def _damage(pipe: Connection, name: str, folder: str, seed: int, count: int) -> None:
    """Runs in a process of its own."""
    reader: Reader = READERS[name].make(Path(folder))
    pipe.send(reader.try_many(seed, count, READ_AT_MOST_S, MEMORY_BYTES))


def _count(name: str, found: dict[str, Any], outcome: Outcome) -> None:
    problems = found.pop('problems', [])
    figures = outcome.figures.setdefault(name, {})
    for key, value in found.items():
        if key.startswith('at most'):
            figures[key] = max(figures.get(key, 0), value)
        else:
            figures[key] = figures.get(key, 0) + value
    survived = found.get('refused', 0) + found.get('accepted', 0)
    outcome.injected += found.get('tried', 0)
    outcome.survived += survived
    outcome.problems += [f'{name}: {problem}' for problem in problems]
