"""Noise on the executed actions (DART) as a way to enrich few demonstrations, beside none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
import statistics
from typing import Any

from imitation_ros.learning.bc import BCConfig

from bench.cloning import Cloning, first_scene, parse, rows_name
from bench.harness import bootstrap_interval
from bench.rows import Rows

CLEAN = Cloning('pick_place', 'panda_twist', 20, BCConfig(), scenes=50)
NOISE = 0.2


def main(argv: Sequence[str] | None = None) -> dict[str, Any]:
    """Runs both for each training seed; the value is the mean difference in success."""
    options = parse(argv, __doc__ or '')
    clean = CLEAN.smaller() if options.quick else CLEAN
    start = first_scene(options)
    settings = {**asdict(clean), 'noise': NOISE, 'first_scene': start}
    rows = Rows(rows_name('dart', options), settings, options.quick, options.fresh)
    pairs = []
    for seed in range(clean.training_seeds):
        pair = {
            name: rows.get(f'{name} {seed}', lambda seed=seed, noise=noise: replace(
                clean, noise=noise
            ).run_seed(seed, start))
            for name, noise in (('clean', 0.0), ('noisy', NOISE))
        }  # fmt: skip
        pairs.append({'seed': seed, **pair})
    differences = [pair['noisy']['success'] - pair['clean']['success'] for pair in pairs]
    return {
        'bench': 'dart',
        'value': round(statistics.mean(differences), 4),
        'pass': {},
        'interval': bootstrap_interval(differences, statistic=_mean),
        'success': {
            name: statistics.mean(pair[name]['success'] for pair in pairs)
            for name in ('clean', 'noisy')
        },
        'rows': pairs,
    }


def _mean(samples: Any, axis: int) -> Any:
    return samples.mean(axis)
