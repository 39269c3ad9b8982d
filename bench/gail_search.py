"""Settings of GAIL of `imitation` for `irl_reach` and `irl_push`: its own search.

Settings are drawn from `CHOICES`; each learns once, with a validation seed, and is tried in
validation scenes. The best is that of the highest success on average over its run, and is what
`irl_reach` and `irl_push` run beside ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
import statistics
from typing import Any

import numpy as np

from bench.cloning import parser_of, rows_name, VALIDATION_SEED
from bench.gail_peer import GAIL, GailSetting
from bench.imitation_peer import add_options, Peer
from bench.irl_arm import SCENES
from bench.irl_tasks import VALIDATION_SEEDS
from bench.rows import Rows, say

TRIALS = 14
"""Of a task: as many as ours had for `push`."""
STEPS = {'reach': 5_000, 'push': 20_000}
"""Of the environment, as in our own search."""
POINTS = 10
"""Of a run's curve."""
CHOICES: dict[str, tuple[Any, ...]] = {
    'hidden': ((128, 128), (256, 256)),
    'learning_rate': (3e-4, 1e-3),
    'gamma': (0.95, 0.97, 0.99),
    'tau': (0.005, 0.01),
    'learning_starts': (100, 1_000),
    'precision': (1.0, 2.0),
    'standardized': (False, True),
    'round_steps': (10, 50, 250),
    'reward_updates': (1, 4, 10),
    'reward_batch': (128, 256),
    'reward_rate': (3e-5, 1e-4, 3e-4, 1e-3),
    'reward_hidden': ((32, 32), (64, 64), (128, 128)),
    'reward_decay': (0.0, 1e-3, 1e-2),
}


def main(argv: Sequence[str] | None = None) -> dict[str, Any]:
    """Tries each setting once; the value is the best one's mean success over its run."""
    parser = parser_of(__doc__)
    parser.add_argument('--task', choices=STEPS, default='reach')
    add_options(parser)
    options = parser.parse_args(argv)
    task, seed = options.task, VALIDATION_SEEDS[0]
    first, scenes = VALIDATION_SEED, 2 if options.quick else SCENES
    settings = drawn(task)[: 1 if options.quick else None]
    if options.quick:
        settings = [replace(each, steps=20, watch_every=10, round_steps=10) for each in settings]
    kept = Rows(
        rows_name(f'gail_search_{task}', options),
        {'settings': [asdict(each) for each in settings], 'seed': seed, 'scenes': scenes},
        options.quick, options.fresh,
    )  # fmt: skip
    rows = []
    with Peer(options) as peer:
        for index, setting in enumerate(settings):
            asked = {
                'task': task, 'setting': asdict(setting), 'seed': seed,
                'first_scene': first, 'last_scene': first + scenes,
            }  # fmt: skip
            row = kept.get(index, lambda asked=asked: peer.run(GAIL, asked))
            mean = statistics.mean(point['score'] for point in row['curve'])
            rows.append({'setting': asdict(setting), 'mean': round(mean, 4), **row})
            say(f'  {task}, trial {index}: {rows[-1]["mean"]}')
    best = max(rows, key=lambda row: row['mean'])
    return {
        'bench': 'gail_search',
        'value': best['mean'],
        'pass': {},
        'best': best['setting'],
        'rows': rows,
    }


def drawn(task: str) -> list[GailSetting]:
    """The settings of a task, the same at every call; the first is like ours for `reach`."""
    rng = np.random.default_rng(0)
    steps = STEPS[task]
    usual = GailSetting(
        'sac', 20, 10_000, steps, steps // POINTS, hidden=(128, 128), learning_rate=1e-3,
        reward_rate=1e-3,
    )  # fmt: skip
    others = (
        replace(
            usual,
            **{name: values[rng.integers(len(values))] for name, values in CHOICES.items()},
        )
        for _ in range(TRIALS - 1)
    )
    return [usual, *others]
