"""A reward at 50 Hz while it is trained: share within a tick, and what the policy misses.

`supervisor` and `policy` run in real time before a robot that is where it was commanded, without
and with `reward_trainer` beside them, by turns. While it is there, one round of training follows
the other: a process starts, trains, and a new reward is swapped in. A reward is due when the
supervisor has said what was executed in a tick; one that never comes is late, too. A tick that the
policy misses is one that is not among those of its statuses. Demonstrations are recorded from
another policy. Times are those of the publishers.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
import os
from pathlib import Path
import tempfile
import threading
import time
from typing import Any

from imitation_ros.errors import GraphError
from imitation_ros.frames.contract import parse_contract
from imitation_ros.frames.status import Status, STATUS_TYPE
from imitation_ros.nodes._messages import message_class, RELIABLE
from imitation_ros.nodes.graph import Graph
from imitation_ros.policies.checkpoint import save_checkpoint
import numpy as np
import yaml

from bench.harness import at_least, at_most, options, Row
from bench.hot_reload import Robot, untrained_policy
from bench.policy_latency import CONTRACT
from bench.rows import say

RATE_HZ = 50
PERIOD_NS = round(1e9 / RATE_HZ)
WITHIN = 0.99
"""Share of the rewards that must come within a tick."""
MISSED = 0.005
"""Share of the policy's ticks that the trainer may cost."""
DEMONSTRATIONS, DEMONSTRATED_TICKS, ROLLOUT_TICKS = 3, 75, 100
FIRST_UPDATES, UPDATES = 100, 5_000
"""Of the round before the measurement, and of each round in it."""
SETTLED_TICKS = RATE_HZ
LATEST_S = 5.0
"""A reward that comes later than this after the last tick counts as one that never came."""
STREAMS = {
    'policy': 'policy/status',
    'supervisor': 'supervisor/decision',
    'reward': 'reward/status',
}


def main(argv: Sequence[str] | None = None) -> dict[str, Any]:
    """Measures with and without the trainer by turns."""
    pairs, ticks = (1, 200) if options(argv, __doc__).quick else (4, 60 * RATE_HZ)
    with tempfile.TemporaryDirectory(prefix='reward_live_') as name:
        folder = Path(name)
        document = yaml.safe_dump({**CONTRACT, 'rate_hz': RATE_HZ, 'command_hz': 2 * RATE_HZ})
        (folder / 'contract.yaml').write_text(document)
        contract = parse_contract(document)
        for seed, role in enumerate(('expert', 'actor')):
            save_checkpoint(folder / role, untrained_policy(contract, seed), {})
        with Graph() as graph:
            shared = {'contract': folder / 'contract.yaml'}
            graph.start('supervisor', shared)
            graph.start('policy', {**shared, 'checkpoint': folder / 'expert'})
            robot, watch = Robot(graph, contract), Watch(graph)
            graph.wait_ready()
            robot.drive()
            _demonstrate(graph, robot, shared, folder / 'shown')
            graph.set('policy', checkpoint=folder / 'actor')
            graph.call('policy/reload')
            trainer = {
                **shared, 'demonstrations': folder / 'shown', 'out': folder / 'reward',
                'longest_episode': ROLLOUT_TICKS, 'train_every_episodes': 1,
            }  # fmt: skip
            _learn(graph, watch, trainer)
            rows = []
            for pair in range(pairs):
                turns = (False, True)[:: 1 - 2 * (pair % 2)]
                measured = {
                    beside: _measure(graph, robot, watch, trainer if beside else None, ticks)
                    for beside in turns
                }
                rows.append({'pair': pair, 'without': measured[False], 'with': measured[True]})
                say(f'pair {pair + 1} of {pairs}: {rows[-1]}')
    return _result(rows)


def _result(rows: list[Row]) -> dict[str, Any]:
    beside = [row['with'] for row in rows]
    decisions = sum(row['decisions'] for row in beside)
    within = sum(row['within'] for row in beside) / decisions
    missed = {
        turn: sum(row[turn]['missed'] for row in rows) / sum(row[turn]['ticks'] for row in rows)
        for turn in ('without', 'with')
    }
    return {
        'bench': 'reward_live',
        'value': round(within, 5),
        'pass': {
            f'rewards within a tick >= {WITHIN}': at_least(round(within, 5), WITHIN),
            f'missed ticks, with - without <= {MISSED}': at_most(
                round(missed['with'] - missed['without'], 5), MISSED
            ),
        },
        'missed': {turn: round(share, 5) for turn, share in missed.items()},
        'p99_ms': max(row['p99_ms'] for row in beside),
        'rewards_due': decisions,
        'rows': rows,
    }


class Watch:
    """Notes which ticks are told of, and when.

    Attributes:
        version: of the reward in use.
        states: of the trainer → how often it said so, once a second.
    """

    def __init__(self, graph: Graph) -> None:
        self._lock, self.version, self._versions = threading.Lock(), 0, set[int]()
        self.states: Counter[str] = Counter()
        self._unrewarded: Counter[str] = Counter()
        self._times: dict[str, dict[int, int]] = {stream: {} for stream in STREAMS}
        status = message_class(STATUS_TYPE)
        graph.node.create_subscription(status, STREAMS['policy'], self._on_policy, RELIABLE)
        graph.node.create_subscription(status, STREAMS['supervisor'], self._on_decision, RELIABLE)
        graph.node.create_subscription(status, STREAMS['reward'], self._on_reward, RELIABLE)
        graph.listen('/diagnostics', STATUS_TYPE, self._on_diagnostics)

    def forget(self) -> None:
        """What was noted before does not count."""
        with self._lock:
            for times in self._times.values():
                times.clear()
            self._versions.clear()
            self._unrewarded.clear()
            self.states.clear()

    def row(self) -> Row:
        """What was seen since; waits for rewards that are under way."""
        with self._lock:
            policy, decided = dict(self._times['policy']), dict(self._times['supervisor'])
            rewarded = bool(self._times['reward'])
        if rewarded:
            self._wait_for_reward(max(decided))
        with self._lock:
            told, unrewarded = dict(self._times['reward']), dict(self._unrewarded)
        ticks = np.array(sorted(policy))
        gaps = np.maximum(np.rint(np.diff(ticks) / PERIOD_NS) - 1, 0)
        row = {'ticks': len(ticks) + int(gaps.sum()), 'missed': int(gaps.sum())}
        row['longest_gap_ticks'] = round(float(np.diff(ticks).max() / PERIOD_NS), 2)
        if not told:
            return row
        due = sorted(decided)
        delay_ms = np.array([(told.get(tick, np.inf) - decided[tick]) / 1e6 for tick in due])
        after_ms = [(told[tick] - tick - PERIOD_NS) / 1e6 for tick in due if tick in told]
        return {
            **row,
            'decisions': len(due),
            'swaps': len(self._versions) - 1,
            'training': round(self.states['training'] / max(1, self.states.total()), 3),
            'within': int((delay_ms <= PERIOD_NS / 1e6).sum()),
            'never': int(np.isinf(delay_ms).sum()),
            'unrewarded': unrewarded,
            'p50_ms': round(float(np.percentile(delay_ms, 50, method='lower')), 2),
            'p99_ms': round(float(np.percentile(delay_ms, 99, method='lower')), 2),
            'after_the_end_of_the_tick_ms': [
                round(float(each), 2) for each in np.percentile(after_ms, (50, 99))
            ],
        }

    def _wait_for_reward(self, tick_ns: int) -> None:
        """Until a reward of this tick or a later one is there, or none comes any more."""

        def told() -> bool:
            with self._lock:
                return max(self._times['reward']) >= tick_ns

        deadline = time.monotonic() + LATEST_S
        while not told() and time.monotonic() < deadline:
            time.sleep(0.01)

    def _on_policy(self, message: Any, info: Mapping[str, int]) -> None:
        self._note('policy', Status.decode(message), info)

    def _on_decision(self, message: Any, info: Mapping[str, int]) -> None:
        status = Status.decode(message)
        if status.values['mode'] == 'policy':
            self._note('supervisor', status, info)

    def _on_reward(self, message: Any, info: Mapping[str, int]) -> None:
        status = Status.decode(message)
        self.version = int(status.values['version'])
        self._versions.add(self.version)
        if status.sent:
            self._note('reward', status, info)
        else:
            self._unrewarded[status.reason] += 1

    def _on_diagnostics(self, message: Any) -> None:
        for status in message.status:
            if status.name == 'reward_trainer':
                self.states[{pair.key: pair.value for pair in status.values}['state']] += 1

    def _note(self, stream: str, status: Status, info: Mapping[str, int]) -> None:
        with self._lock:
            self._times[stream].setdefault(status.tick_ns, info['source_timestamp'])


def _demonstrate(graph: Graph, robot: Robot, shared: Mapping[str, Any], out: Path) -> None:
    graph.start('recorder', {**shared, 'out': out})
    graph.wait_ready()
    for _ in range(DEMONSTRATIONS):
        graph.call('recorder/start')
        robot.wait_for_ticks(DEMONSTRATED_TICKS)
        graph.call('recorder/success')
    graph.stop('recorder')


def _learn(graph: Graph, watch: Watch, trainer: Mapping[str, Any]) -> None:
    """Trains until a reward is in use."""
    graph.start('reward_trainer', {**trainer, 'updates': FIRST_UPDATES})
    graph.wait_ready()
    _wait_until(lambda: watch.version, 'reward')
    graph.stop('reward_trainer')


def _measure(
    graph: Graph, robot: Robot, watch: Watch, trainer: Mapping[str, Any] | None, ticks: int
) -> Row:
    """One turn, with the trainer beside the policy, or without it."""
    if trainer:
        graph.start('reward_trainer', {**trainer, 'updates': UPDATES})
        graph.wait_ready()
        watch.forget()
        _wait_until(lambda: watch.states['training'], 'training')
    robot.wait_for_ticks(SETTLED_TICKS)
    watch.forget()
    for _ in range(ticks // RATE_HZ):
        robot.wait_for_ticks(RATE_HZ)
    row = {**watch.row(), 'load_average': round(os.getloadavg()[0], 2)}
    if trainer:
        graph.stop('reward_trainer')
    return row


def _wait_until(holds: Callable[[], Any], what: str, timeout_s: float = 120.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not holds():
        if time.monotonic() > deadline:
            raise GraphError(f'no {what} within {timeout_s:.0f} s')
        time.sleep(0.1)
