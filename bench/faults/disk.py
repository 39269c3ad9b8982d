"""Disk full and I/O errors: at each Nth write, fsync and rename, and under the real recorder."""

from __future__ import annotations

from pathlib import Path
import random
import tempfile
import time

from imitation_ros.episodes.reader import EpisodeReader
from imitation_ros.episodes.repair import find_unfinished, repair
from imitation_ros.episodes.writer import DISK_FULL, RECORDING
from imitation_ros.errors import EpisodeError, GraphError
from imitation_ros.nodes.graph import Graph

from bench.faults.episode_calls import CALLS, EpisodeCalls, prepared, STRACE
from bench.faults.outcome import Outcome
from bench.faults.recorder_process import published, Publisher, Recorder, recorder

ERRORS = ('ENOSPC', 'EIO', 'EDQUOT')
FILE_BYTES = (60_000, 100_000, 160_000, 250_000)
STOPPED_AT_MOST_S = 1.0


def run(tier: str, seed: int) -> Outcome:
    """Refuses to write; see the module's text."""
    outcome, rng = Outcome('disk full and I/O errors'), random.Random(seed)
    outcome.figures['told after at most (s)'] = 0.0
    with prepared() as calls:
        _at_each_call(calls, tier, rng, outcome)
        if STRACE:
            _by_strace(calls, tier, rng, outcome)
        else:
            outcome.figures['strace'] = 'not installed'
    with published() as (graph, publisher):
        for limit in FILE_BYTES * 5 if tier == 'full' else FILE_BYTES[:1]:
            _full_under_the_recorder(graph, publisher, limit, outcome)
    return outcome


def _at_each_call(calls: EpisodeCalls, tier: str, rng: random.Random, outcome: Outcome) -> None:
    for call in CALLS:
        count = calls.inject(call, 0, 'EIO').calls
        moments = [(at, error) for at in range(1, count + 1) for error in ERRORS]
        if tier != 'full':
            moments = rng.sample(moments, min(6, len(moments)))
        for at, error in moments:
            injected = calls.inject(call, at, error)
            _tell(outcome, injected.told_s)
            _count(outcome, injected.problems, f'{error} at {call} {at}')


def _by_strace(calls: EpisodeCalls, tier: str, rng: random.Random, outcome: Outcome) -> None:
    by_strace = 0
    for call in CALLS:
        count = calls.strace(call, '', 'error=EIO').calls
        moments = [(f'{at}', 'error=EIO') for at in range(1, count + 1)]
        moments += [(f'{at}+', 'error=ENOSPC') for at in range(1, count + 1)]
        if tier != 'full':
            moments = rng.sample(moments, min(1, len(moments)))
        for at, what in moments:
            injected = calls.strace(call, at, what)
            _count(outcome, injected.problems, f'strace: {what} at {call} {at}')
            by_strace += 1
    outcome.figures['errors by strace'] = by_strace


def _full_under_the_recorder(
    graph: Graph, publisher: Publisher, limit: int, outcome: Outcome
) -> None:
    """The kernel refuses to let any file grow beyond a limit; the node must end the episode."""
    problems: list[str] = []
    with tempfile.TemporaryDirectory(prefix='faults_') as folder:
        data = Path(folder, 'data')
        with recorder(graph, data, file_bytes=limit) as one:
            recording = one.start_episode()
            file = recording.with_name(f'{recording.name}{RECORDING}') / f'{recording.name}_0.mcap'
            deadline = time.monotonic() + 30.0
            while file.exists() and file.stat().st_size < limit and time.monotonic() < deadline:
                time.sleep(0.005)
            full_at = time.monotonic()
            while not (_ended(recording) or time.monotonic() > deadline):
                time.sleep(0.005)
            told_s = time.monotonic() - full_at
            full_ns = time.time_ns() - round(told_s * 1e9)
            said = _said(one)
            told = 'ended early' in said or 'cannot be written' in said
            if not told or told_s > STOPPED_AT_MOST_S:
                problems.append(f'after {told_s:.2f} s the recorder says {said!r}')
            if one.end() > 4.0 or one.process.exitcode != 0:
                problems.append(f'the node ended with exit code {one.process.exitcode}')
        problems += _readable(data, recording, full_ns, publisher)
    _tell(outcome, told_s)
    _count(outcome, problems, f'files of at most {limit} bytes')


def _ended(episode: Path) -> bool:
    """Whether the recorder has given up the episode, and maybe saved it already."""
    recording = episode.with_name(f'{episode.name}{RECORDING}')
    return episode.exists() or (recording / DISK_FULL).exists()


def _said(one: Recorder) -> str:
    """Why there is no episode any more."""
    said = 'busy'
    while 'busy' in said:
        try:
            said = one.call('success')
        except GraphError as error:
            said = str(error)
    return said


def _readable(data: Path, episode: Path, full_ns: int, publisher: Publisher) -> list[str]:
    """What is wrong with what was written before the disk was full, once there is room again."""
    try:
        for recording in find_unfinished(data):
            repair(recording)
        reader = EpisodeReader(episode)
        states = list(reader.messages(['/joint_states']))
    except EpisodeError as error:
        return [str(error)]
    problems = []
    if (reader.info.outcome, reader.info.truncated) != ('disk_full', True):
        problems.append(f'outcome {reader.info.outcome}, truncated {reader.info.truncated}')
    sent_ns = [at for at in publisher.sent_ns if at <= full_ns]
    lost_s = (sent_ns[-1] - publisher.sent_ns[states[-1].sequence - 1]) / 1e9
    if lost_s > 1.0:
        problems.append(f'{lost_s:.2f} s before it are lost')
    return problems


def _tell(outcome: Outcome, told_s: float) -> None:
    figures = outcome.figures
    figures['told after at most (s)'] = round(max(figures['told after at most (s)'], told_s), 3)


def _count(outcome: Outcome, problems: list[str], where: str) -> None:
    outcome.injected += 1
    outcome.survived += not problems
    outcome.problems += [f'{where}: {problem}' for problem in problems]
