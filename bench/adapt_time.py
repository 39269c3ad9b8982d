"""Seconds from a recorded demonstration to a policy that drives, and ticks missed meanwhile.

The time in process is that of the whole adaptation: reading the bag, judging, adapting and
writing the checkpoint. Over topics the policy node is asked again and again, by ~/adapt, while it
drives the simulated arm in real time.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
import statistics
import tempfile
import time
from typing import Any

from imitation_ros.cli.record import record_expert
from imitation_ros.errors import GraphError
from imitation_ros.frames.contract import load_contract
from imitation_ros.frames.status import Status, STATUS_TYPE
from imitation_ros.learning.meta.family_data import make_tasks
from imitation_ros.learning.meta.meta_policy import load_meta_policy, MetaPolicy, Settings
from imitation_ros.learning.meta.meta_training import meta_train
from imitation_ros.learning.meta.recorded import adapt_recorded
from imitation_ros.learning.meta.training import MetaConfig
from imitation_ros.nodes.graph import Graph
from imitation_ros.policies.checkpoint import save_checkpoint
from imitation_ros.policies.policy import use_one_thread
from imitation_ros.sim.env import ArmEnv
from imitation_ros.sim.families import make_family
import numpy as np

from bench.harness import at_most, options
from bench.rows import say

FAMILY = 'reach'
UNSEEN = 1_000_000
AT_MOST_S = 2.0
MISSED_FROM = 1.5
"""Ticks between two of the policy's, from where on one is missed."""


def main(argv: Sequence[str] | None = None) -> dict[str, Any]:
    """Learns quickly, records one demonstration over topics, and adapts to it many times."""
    quick = options(argv, __doc__).quick
    tasks, steps, times = (20, 300, 3) if quick else (60, 1000, 20)
    use_one_thread()
    with tempfile.TemporaryDirectory(prefix='adapt_time_') as name:
        folder = Path(name)
        meta = learn(tasks, steps)
        meta.save(folder / 'meta', {})
        contract = make_family(FAMILY).contract
        task = f'{FAMILY}/{UNSEEN}'
        (recorded,) = record_expert(task, contract, folder / 'data', 1, UNSEEN)
        assert recorded.path is not None
        in_process = [_adapt(meta, recorded.path, folder / 'adapted') for _ in range(times)]
        live = _activate(folder, task, contract, recorded.path, times)
    value = round(max(*in_process, *live['seconds']), 3)
    return {
        'bench': 'adapt_time',
        'value': value,
        'pass': {
            f'adaptation <= {AT_MOST_S:g} s': at_most(value, AT_MOST_S),
            'missed ticks <= 0': at_most(live['missed'], 0),
        },
        'median_in_process_s': round(statistics.median(in_process), 4),
        'median_over_topics_s': round(statistics.median(live['seconds']), 4),
        'largest_gap_ticks': live['gap'],
        'largest_gap_ticks_without': live['gap_without'],
        'ticks': live['ticks'],
        'frames': recorded.ticks,
        'rows': [
            {'in_process_s': round(here, 4), 'over_topics_s': round(there, 4)}
            for here, there in zip(in_process, live['seconds'])
        ],
    }


def learn(tasks: int, steps: int) -> MetaPolicy:
    """A meta policy of the family; how good it is does not matter to the time."""
    family = make_family(FAMILY)
    contract = load_contract(family.contract)
    env = ArmEnv(family.draw(0), contract)
    made = make_tasks(env, [family.draw(seed) for seed in range(tasks + 2)], 0)
    env.close()
    config = MetaConfig(steps=steps, tasks=8)
    meta, curve = meta_train(made[2:], made[:2], contract, Settings(), config)
    say(f'loss {curve[-1]:.3f} after {steps} steps')
    return meta


def _adapt(meta: MetaPolicy, episode: Path, out: Path) -> float:
    start = time.perf_counter()
    adapt_recorded(meta, [episode], out)
    return time.perf_counter() - start


def _activate(folder: Path, task: str, contract: str, episode: Path, times: int) -> dict[str, Any]:
    """Adapts while the policy drives; what its ticks were like meanwhile."""
    ticks: list[int] = []
    period_ns = load_contract(contract).tick_period_ns
    with Graph() as graph:
        common = {'contract': contract}
        graph.start('sim_arm', {**common, 'task': task, 'seed': UNSEEN})
        graph.start('supervisor', {**common, 'use_sim_time': True})
        graph.start(
            'policy',
            {
                **common, 'checkpoint': start_from(folder), 'meta': folder / 'meta',
                'episode': episode, 'adapted': folder / 'live', 'use_sim_time': True,
            },
        )  # fmt: skip
        graph.listen(
            'policy/status', STATUS_TYPE,
            lambda message: ticks.append(Status.decode(message).tick_ns),
        )  # fmt: skip
        graph.wait_ready()
        graph.call('sim_arm/reset')
        _resume(graph)
        _wait(ticks, len(ticks) + 40)
        ticks.clear()
        _wait(ticks, 40)
        before = list(ticks)
        seconds = []
        for _ in range(times):
            start = time.perf_counter()
            graph.call('policy/adapt')
            seconds.append(time.perf_counter() - start)
            _wait(ticks, len(ticks) + 5)
        after = ticks[len(before) :]
    gaps = np.diff(after) / period_ns
    return {
        'seconds': seconds,
        'missed': int((np.round(gaps) - 1)[gaps >= MISSED_FROM].sum()),
        'gap': round(float(gaps.max()), 3),
        'gap_without': round(float(np.diff(before).max()) / period_ns, 3),
        'ticks': len(after),
    }


def start_from(folder: Path) -> Path:
    """A checkpoint of the meta policy before it has seen a demonstration."""
    policy = load_meta_policy(folder / 'meta').prior()
    save_checkpoint(folder / 'prior', policy, {'method': 'meta, before a demonstration'})
    return folder / 'prior'


def _resume(graph: Graph, timeout_s: float = 30.0) -> None:
    """Lets the policy drive as soon as it sees everything."""
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            graph.call('supervisor/resume')
            return
        except GraphError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)


def _wait(ticks: list[int], count: int, timeout_s: float = 60.0) -> None:
    deadline = time.monotonic() + timeout_s
    while len(ticks) < count:
        if time.monotonic() > deadline:
            raise TimeoutError('the policy has stopped')
        time.sleep(0.01)
