"""Ticks per second of the lockstep loop over topics beside bare relays; at least 0.7 of them.

The loop is `sim_arm`, `teleop_expert` and `supervisor`, each in a process of its own, as `record`
runs them. Beside it, by turns, three bare processes (`bare_nodes.py`) send the same number of the
same messages on the same topics by the same executor, with the same service to start an episode;
their arm steps raw PyBullet (`RawLoop` of `sim_rate`: same substeps, motor targets and reads).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
import queue
import time
from typing import Any

from imitation_ros.errors import GraphError
from imitation_ros.frames.status import EPISODE_TOPIC, Status, STATUS_TYPE
from imitation_ros.nodes.graph import Graph
from imitation_ros.nodes.session import LockstepSession

from bench.bare_nodes import bare_nodes, NAMESPACE, wait_ready
from bench.harness import at_least, interleaved, median_ratio, options, Row

AT_LEAST = 0.7
TASK, CONTRACT = 'pick_place', 'panda_twist'
PATH = Path(__file__).parents[1] / 'config' / 'contracts' / f'{CONTRACT}.yaml'
EPISODE_TIMEOUT_S = 60.0


def main(argv: Sequence[str] | None = None) -> dict[str, Any]:
    """Runs the pairs."""
    quick = options(argv, __doc__).quick
    pairs, episodes = (2, 1) if quick else (10, 6)
    expert = {'teleop_expert': {'task': TASK}}
    with (
        LockstepSession(TASK, CONTRACT, expert) as session,
        Graph() as client,
        bare_nodes(['arm', 'source', 'supervisor'], PATH, client.domain_id) as processes,
    ):
        loop, relays = _loop(session, episodes), _relays(client, episodes)
        wait_ready(processes)
        loop(), relays()  # the first round wakes everything up
        rows = interleaved(loop, relays, pairs, 'ticks_per_s')
    value, interval = median_ratio(rows)
    return {
        'bench': 'lockstep_rate',
        'value': value,
        'pass': {f'ratio >= {AT_LEAST}': at_least(value, AT_LEAST)},
        'interval': interval,
        'rows': rows,
        'episodes_a_row': episodes,
        'compared': 'ticks/s of sim_arm, teleop_expert and supervisor over those of bare relays',
    }


def _loop(session: LockstepSession, episodes: int) -> Callable[[], Row]:
    def measure() -> Row:
        results = [session.run(seed) for seed in range(episodes)]
        return _rate(sum(r.ticks for r in results), sum(r.seconds for r in results))

    return measure


def _relays(client: Graph, episodes: int) -> Callable[[], Row]:
    ended: queue.Queue[Status] = queue.Queue()
    topic = f'{NAMESPACE}/{EPISODE_TOPIC}'
    client.listen(topic, STATUS_TYPE, lambda message: ended.put(Status.decode(message)))

    def measure() -> Row:
        ticks, began = 0, time.perf_counter()
        for _ in range(episodes):
            client.switch(f'{NAMESPACE}/sim_arm/pause', False)
            try:
                ticks += int(ended.get(timeout=EPISODE_TIMEOUT_S).values['ticks'])
            except queue.Empty:
                raise GraphError('the bare relays have lost a message') from None
        return _rate(ticks, time.perf_counter() - began)

    return measure


def _rate(ticks: int, seconds: float) -> Row:
    return {'ticks': ticks, 'ticks_per_s': round(ticks / seconds, 1)}
