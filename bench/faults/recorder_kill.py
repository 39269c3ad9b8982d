"""SIGKILL of the recorder at random moments, and at each write, fsync and rename of an episode.

Last, SIGTERM with a gigabyte in the open episode: closed and indexed in 4 s, before `ros2 launch`
kills.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
import json
from pathlib import Path
import random
import signal
import tempfile
import time

from imitation_ros.episodes.reader import EpisodeReader
from imitation_ros.episodes.repair import repair_dataset
from imitation_ros.errors import EpisodeError
from imitation_ros.nodes.graph import Graph

from bench.faults.closing import closed_after_sigterm
from bench.faults.episode_calls import CALLS, EpisodeCalls, LOSS_AT_MOST_S, prepared, STRACE
from bench.faults.outcome import Outcome
from bench.faults.recorded import digests
from bench.faults.recorder_process import published, Publisher, Recorder, recorder

AT_ONCE = 5
"""Recorders that record the same topics side by side, each killed when its time has come."""
LONGEST_S = 3.0


def run(tier: str, seed: int) -> Outcome:
    """Kills recorders; see the module's text."""
    outcome, rng = Outcome('SIGKILL of the recorder'), random.Random(seed)
    with prepared() as calls:
        _at_each_call(calls, tier, rng, outcome)
        if STRACE:
            _by_strace(calls, tier, rng, outcome)
        else:
            outcome.figures['strace'] = 'not installed'
    for _ in range(100 if tier == 'full' else 1):
        with published() as (graph, publisher):
            _at_random(graph, publisher, rng, outcome)
    with published() as (graph, _):
        problems, figures = closed_after_sigterm(graph, tier)
    outcome.figures |= figures
    _count(outcome, problems, 0.0, 'SIGTERM with a large episode')
    return outcome


def _at_each_call(calls: EpisodeCalls, tier: str, rng: random.Random, outcome: Outcome) -> None:
    """Before, in the middle of and after each; in the short tier some of the writes."""
    for call in CALLS:
        count = calls.inject(call, 0, 'kill').calls
        moments = [(at, what) for at in range(1, count + 1) for what in ('kill', 'killed')]
        if call == 'write':
            moments += [(at, 'torn') for at in range(1, count + 1)]
        if tier != 'full':
            moments = rng.sample(moments, min(6, len(moments)))
        for at, what in moments:
            injected = calls.inject(call, at, what)
            _count(outcome, injected.problems, injected.lost_s, f'{what} at {call} {at}')


def _by_strace(calls: EpisodeCalls, tier: str, rng: random.Random, outcome: Outcome) -> None:
    by_strace = 0
    for call in CALLS:
        moments = list(range(1, calls.strace(call, '', 'signal=SIGKILL').calls + 1))
        if tier != 'full':
            moments = rng.sample(moments, min(1, len(moments)))
        for at in moments:
            injected = calls.strace(call, str(at), 'signal=SIGKILL')
            _count(outcome, injected.problems, injected.lost_s, f'strace at {call} {at}')
            by_strace += 1
    outcome.figures['kills by strace'] = by_strace


@dataclass(frozen=True)
class _Started:
    """A recorder with a closed episode and an open one."""

    recorder: Recorder
    data: Path
    closed: Path
    digests: dict[str, str]
    open: Path
    began_ns: int


def _at_random(graph: Graph, publisher: Publisher, rng: random.Random, outcome: Outcome) -> None:
    """Kills several recorders, each when its time has come."""
    with tempfile.TemporaryDirectory(prefix='faults_') as folder, ExitStack() as stack:
        sets = [Path(folder, str(index), 'data') for index in range(AT_ONCE)]
        for data in sets:
            data.parent.mkdir()
        recorders = [stack.enter_context(recorder(graph, data)) for data in sets]
        started = [_start(one, data) for one, data in zip(recorders, sets)]
        began, killed_ns = time.monotonic(), {}
        moments = sorted((rng.uniform(0.0, LONGEST_S), index) for index in range(AT_ONCE))
        for moment, index in moments:
            time.sleep(max(0.0, began + moment - time.monotonic()))
            started[index].recorder.end(signal.SIGKILL)
            killed_ns[index] = time.time_ns()
        for index, one in enumerate(started):
            span_ns = one.began_ns, killed_ns[index]
            problems, lost_s = _left(one.data, one.open, span_ns, publisher)
            if digests(one.closed) != one.digests:
                problems.append('a closed episode was touched')
            _count(outcome, problems, lost_s, 'at random')


def _start(one: Recorder, data: Path) -> _Started:
    one.start_episode()
    closed = Path(one.call('success').splitlines()[0])
    open_ = one.start_episode()
    return _Started(one, data, closed, digests(closed), open_, time.time_ns())


def _left(
    data: Path, episode: Path, span_ns: tuple[int, int], publisher: Publisher
) -> tuple[list[str], float]:
    """What is wrong after the repair, and how much is lost."""
    try:
        for _ in repair_dataset(data):
            pass
        if not episode.exists():  # it was empty, and may have been so for a second at most
            lost_s = (span_ns[1] - span_ns[0]) / 1e9
            return (['nothing saved'] if lost_s > LOSS_AT_MOST_S else []), lost_s
        reader = EpisodeReader(episode)
        states = list(reader.messages(['/joint_states']))
        numbers = [round(reader.decode(message).position[0]) for message in states]
    except EpisodeError as error:
        return [str(error)], 0.0
    problems = []
    if numbers != [message.sequence for message in states]:
        problems.append('a message is not the one of its number')
    if not reader.info.truncated:
        problems.append('not marked as truncated')
    counts = json.loads(reader.info.notes['traffic'])['joint_states']
    missing = numbers[-1] - numbers[0] + 1 - len(numbers)
    if missing or counts['lost'] != missing:
        problems.append(f'{missing} messages missing in between, {counts["lost"]} said')
    sent_ns = [at for at in publisher.sent_ns if at <= span_ns[1]]
    lost_s = (sent_ns[-1] - publisher.sent_ns[numbers[-1] - 1]) / 1e9
    if lost_s > LOSS_AT_MOST_S:
        problems.append(f'{lost_s:.2f} s lost')
    return problems, lost_s


def _count(outcome: Outcome, problems: list[str], lost_s: float, where: str) -> None:
    outcome.injected += 1
    outcome.survived += not problems
    outcome.lost_s = max(outcome.lost_s, lost_s)
    outcome.problems += [f'{where}: {problem}' for problem in problems]
