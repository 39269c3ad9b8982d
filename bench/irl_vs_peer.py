"""Steps to 90 % of the expert on three tasks of others by adversarial imitation, and held.

`--peers` runs GAIL of the PyPI package `imitation` beside it (`gail_peer.py`), with the same
demonstrations, steps, gradient steps and scenes. Its settings are ours where it has such, and
provisional: they have not had the search that ours had.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
import statistics
from typing import Any

from imitation_ros.learning.irl.actor import ActorConfig
from imitation_ros.learning.irl.adversarial import AdversarialConfig
from imitation_ros.learning.irl.network import RewardConfig
from imitation_ros.policies.policy import use_one_thread

from bench.cloning import first_scene, parser_of, rows_name
from bench.gail_peer import gail_rows, GailSetting
from bench.harness import at_least, at_most
from bench.imitation_peer import add_options, Peer
from bench.irl_tasks import first_at, gym_task, run, SEEDS, VALIDATION_SEEDS
from bench.rows import Rows

LEVEL = 0.9
MEAN_LATER, WORST_LATER = 0.9, 0.8
NEVER = float('inf')


@dataclass(frozen=True)
class Setting:
    """One environment.

    Attributes:
        demonstrations: episodes.
        ticks: after which a demonstration is cut.
        at_most: steps to `LEVEL`.
        reward: how the reward is trained.
        imitation: how the actor and it take turns.
        scenes: that a policy is scored in.
    """

    demonstrations: int
    ticks: int
    at_most: int
    reward: RewardConfig
    imitation: AdversarialConfig
    scenes: int = 10


SETTINGS = {
    'Pendulum-v1': Setting(
        20, 10_000, 2_000, RewardConfig(learning_rate=1e-3, penalty=1.0, recent_steps=2_000),
        AdversarialConfig(
            ActorConfig(
                hidden=(64, 64), learning_rate=5e-4, learning_starts=100, gradient_steps=4
            ),
            15_000, annealing=0.005, annealed_by=2_000, watch_every=400,
        ),
    ),
    'PandaReach-v3': Setting(
        20, 50, 5_000, RewardConfig(learning_rate=1e-3, penalty=0.3),
        AdversarialConfig(
            ActorConfig(learning_starts=100), 15_000, annealing=0.02, annealed_by=5_000,
            watch_every=500,
        ),
    ),
    'CartPole-v1': Setting(
        10, 500, 20_000, RewardConfig(learning_rate=3e-4, penalty=1.0, gradient_norm=0.0),
        AdversarialConfig(
            ActorConfig('ppo', (64, 64), learning_rate=1e-3, batch_size=64, gamma=0.95,
                        rollout_steps=64, entropy=0.01, simulators=4),
            20_000, reward_updates=25, averaging=0.0, watch_every=1_000,
        ),
    ),
}  # fmt: skip
PEER_SETTINGS = {
    'Pendulum-v1': GailSetting(
        'sac', 20, 10_000, 15_000, watch_every=400, gradient_steps=4, reward_rate=1e-3,
        recent_steps=2_000,
    ),
    'CartPole-v1': GailSetting(
        'ppo', 10, 500, 20_000, watch_every=1_024, learning_rate=1e-3, batch_size=64, gamma=0.95,
        entropy=0.01, round_steps=256, reward_updates=25,
    ),
}  # fmt: skip


def main(argv: Sequence[str] | None = None) -> dict[str, Any]:
    """Runs every environment for each seed; the value is the worst median share of `at_most`."""
    parser = parser_of(__doc__)
    parser.add_argument('--seeds', type=int, default=None, help='only the first so many')
    parser.add_argument('--tasks', nargs='+', choices=SETTINGS, default=list(SETTINGS))
    add_options(parser)
    options = parser.parse_args(argv)
    use_one_thread()
    seeds = (VALIDATION_SEEDS if options.validation else SEEDS)[: options.seeds]
    seeds = seeds[:1] if options.quick else seeds
    first = first_scene(options)
    table, rows, conditions = [], [], {}
    for name in options.tasks:
        setting = quick(SETTINGS[name]) if options.quick else SETTINGS[name]
        kept = Rows(
            rows_name(f'irl_vs_peer_{name}', options),
            {**asdict(setting), 'first_scene': first}, options.quick, options.fresh,
        )  # fmt: skip
        runs = [
            kept.get(seed, lambda seed=seed, s=setting, n=name: _run(n, s, seed, first))
            for seed in seeds
        ]
        line = _line(name, setting, runs)
        table.append(line)
        rows += runs
        conditions |= _conditions(line, setting, held=name != 'CartPole-v1')
    return {
        'bench': 'irl_vs_peer',
        'value': max(line['steps'] / line['at_most'] for line in table),
        'pass': conditions,
        'table': table,
        'imitation': _peers(options, seeds, first),
        'first_scene': first,
        'rows': rows,
    }


def _peers(options: argparse.Namespace, seeds: Sequence[int], first: int) -> list[dict[str, Any]]:
    """A line of each task as in our table, with the rows; nothing without `--peers`."""
    table = []
    with Peer(options) as peer:
        for name in options.tasks if options.peers else ():
            setting, scenes = PEER_SETTINGS[name], range(first, first + SETTINGS[name].scenes)
            if options.quick:
                setting = replace(setting, steps=2 * setting.round_steps, watch_every=1)
            runs = gail_rows(peer, f'irl_vs_peer_{name}', name, setting, seeds, scenes)
            table.append({**_line(name, SETTINGS[name], runs), 'rows': runs})
    return table


def quick(setting: Setting) -> Setting:
    """Everything happens, nothing is learned."""
    actor = replace(setting.imitation.actor, learning_starts=20, rollout_steps=16)
    imitation = replace(
        setting.imitation, actor=actor, steps=150, watch_every=100, reward_updates=1
    )
    return replace(setting, demonstrations=2, imitation=imitation, scenes=1)


def _run(name: str, setting: Setting, seed: int, first: int) -> dict[str, Any]:
    task = gym_task(name, range(first, first + setting.scenes), setting.ticks)
    shown = task.demonstrate(range(1_000 * seed, 1_000 * seed + setting.demonstrations))
    return {'task': name, **run(task, shown, setting.reward, setting.imitation, seed)}


def _line(name: str, setting: Setting, runs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Steps to the level, and the evaluations after it."""
    reached = [first_at(each['curve'], LEVEL) for each in runs]
    later = [
        point['score']
        for each, steps in zip(runs, reached)
        for point in each['curve']
        if steps is None or point['steps'] > steps
    ]
    return {
        'task': name,
        'at_most': setting.at_most,
        'reached': reached,
        'steps': max(NEVER if steps is None else steps for steps in reached),
        'median_steps': statistics.median(NEVER if s is None else s for s in reached),
        'mean_later': round(statistics.mean(later), 4) if later else None,
        'worst_later': min(later, default=None),
        'share_later_below_worst': round(
            sum(score < WORST_LATER for score in later) / max(1, len(later)), 4
        ),
        'last': [each['curve'][-1]['score'] for each in runs],
    }


def _conditions(line: dict[str, Any], setting: Setting, held: bool) -> dict[str, Any]:
    name = line['task']
    found = {
        f'{name}: steps to {LEVEL:.0%} of the expert, worst seed': at_most(
            line['steps'], setting.at_most
        )
    }
    if held and line['mean_later'] is not None:
        found[f'{name}: mean of later evaluations'] = at_least(line['mean_later'], MEAN_LATER)
        found[f'{name}: worst later evaluation'] = at_least(line['worst_later'], WORST_LATER)
    return found
