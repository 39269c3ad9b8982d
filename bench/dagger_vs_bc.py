"""DAgger beside cloning: same observations, labels and gradient steps, nominal and disturbed."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
import statistics
import tempfile
from typing import Any

from imitation_ros.episodes.training_set import TrainingSet
from imitation_ros.frames.contract import load_contract
from imitation_ros.learning.bc import BCConfig, train_bc
from imitation_ros.learning.dagger import dagger, DaggerConfig
from imitation_ros.learning.sim_collector import SimCollector
from imitation_ros.policies.checkpoint import load_checkpoint
from imitation_ros.policies.policy import Policy, use_one_thread
from imitation_ros.sim.experts import make_expert
from imitation_ros.sim.rollout import roll_out
from imitation_ros.supervision.gates import GateConfig
from imitation_ros.types import Episode
import numpy as np

from bench.cloning import first_scene, parser_of, rows_name
from bench.disturbances import evaluate_disturbed
from bench.harness import at_most, bootstrap_interval
from bench.rows import Rows, say

TASK, CONTRACT, PUSHED_PART = 'pick_place', 'panda_twist', 'arm'
TRAINING = BCConfig(epochs=60, validation_fraction=0.0)
CONFIG = DaggerConfig(
    gate=GateConfig('human', discrepancy=0.5),
    training=TRAINING,
    initial_episodes=10,
    episodes=5,
    rounds=4,
    held_out_every=0,  # as many frames to fit to as cloning has, so as many gradient steps
)
COMPARED = (1, 2, 4)
"""Rounds after which cloning gets as many labels."""
SEEDS = range(1, 9)
VALIDATION_SEEDS = range(51, 54)
SCENES = 40
CLONED_FROM = 5_000
"""Scenes of demonstrations beyond DAgger's first ones, in the seed's block."""
MANY_LABELS = 2_500
"""About 50 demonstrations: what cloning comes to with several times the labels."""
PLATEAU = 0.85
SIGNIFICANCE = 0.01


def main(argv: Sequence[str] | None = None) -> dict[str, Any]:
    """Runs both for each training seed; the value is the p-value on the disturbed task."""
    options = _options(argv)
    use_one_thread()
    config, compared, scenes, many_labels = CONFIG, COMPARED, SCENES, MANY_LABELS
    seeds = VALIDATION_SEEDS if options.validation else SEEDS
    if options.quick:
        training = replace(TRAINING, epochs=1)
        config = replace(CONFIG, training=training, initial_episodes=2, episodes=1, rounds=1)
        compared, seeds, scenes, many_labels = (1,), range(50, 51), 1, 100
    first = first_scene(options)
    settings = {
        'dagger': asdict(config), 'compared': compared, 'many_labels': many_labels,
        'scenes': scenes, 'first_scene': first, 'task': TASK, 'contract': CONTRACT,
    }  # fmt: skip
    rows = Rows(rows_name('dagger_vs_bc', options), settings, options.quick, options.fresh)
    pairs = [
        rows.get(
            seed,
            lambda seed=seed: _run_seed(
                seed, config, compared, range(first, first + scenes), many_labels
            ),
        )
        for seed in list(seeds)[: options.seeds]
    ]
    return _result(pairs, first)


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = parser_of(__doc__)
    parser.add_argument('--seeds', type=int, default=None, help='only the first so many')
    return parser.parse_args(argv)


def _run_seed(
    seed: int, config: DaggerConfig, compared: Sequence[int], scenes: range, many_labels: int
) -> dict[str, Any]:
    """One pair: success of both after each of the compared rounds."""
    say(f'dagger_vs_bc: training seed {seed}')
    collector = SimCollector(TASK, load_contract(CONTRACT))
    counts: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix='imitation_ros_') as folder:
        result = dagger(collector, config, Path(folder, 'run'), seed)
        for number in compared:
            labels = result.rounds[number].label_total
            dagger_policy = load_checkpoint(Path(folder, 'run', f'round_{number:03d}/checkpoint'))
            cloned, record = train_bc(
                _demonstrations(collector, seed, labels, config), config.training, seed
            )
            assert record.frames == labels
            counts.append(
                {
                    'labels': labels,
                    'dagger': _success(collector, dagger_policy, scenes),
                    'cloning': _success(collector, cloned, scenes),
                }
            )
            say(f'  {counts[-1]}')
    many, _ = train_bc(
        _demonstrations(collector, seed, many_labels, config), config.training, seed
    )
    plateau = _success(collector, many, scenes)
    say(f'  cloning from {many_labels} labels: {plateau}')
    collector.env.close()
    return {'seed': seed, 'rounds': list(compared), 'counts': counts, 'plateau': plateau}


def _demonstrations(
    collector: SimCollector, seed: int, labels: int, config: DaggerConfig
) -> TrainingSet:
    """Exactly so many labels; those of round 0 come first, the last episode is cut."""
    expert = make_expert(TASK, collector.contract)
    first, scene = 10_000 * seed, 0
    episodes: list[Episode] = []
    while labels:
        number = scene if scene < config.initial_episodes else scene + CLONED_FROM
        episode = roll_out(collector.env, expert, first + number).to_episode()
        episodes.append(_cut(episode, labels))
        labels -= len(episodes[-1])
        scene += 1
    return TrainingSet.from_episodes(episodes, collector.contract)


def _cut(episode: Episode, frames: int) -> Episode:
    return replace(
        episode,
        tick_ns=episode.tick_ns[:frames],
        segment=episode.segment[:frames],
        observations={name: each[:frames] for name, each in episode.observations.items()},
        actions={name: each[:frames] for name, each in episode.actions.items()},
    )


def _success(collector: SimCollector, policy: Policy, scenes: range) -> dict[str, float]:
    """In the same scenes, left alone and disturbed."""
    nominal = []
    for scene in scenes:
        policy.reset()
        nominal.append(roll_out(collector.env, policy.act, scene).success)
    disturbed = evaluate_disturbed(collector.env, policy.act, policy.reset, PUSHED_PART, scenes)
    return {'nominal': statistics.mean(nominal), 'disturbed': disturbed.success}


def _result(pairs: Sequence[dict[str, Any]], first: int) -> dict[str, Any]:
    table = [
        _comparison(pairs, index, condition)
        for index in range(len(pairs[0]['counts']))
        for condition in ('nominal', 'disturbed')
    ]
    for line in table:
        say(str(line))
    last = table[-1]
    plateau = {
        condition: round(statistics.mean(pair['plateau'][condition] for pair in pairs), 4)
        for condition in ('nominal', 'disturbed')
    }
    say(f'cloning from {MANY_LABELS} labels: {plateau}')
    return {
        'bench': 'dagger_vs_bc',
        'value': last['p'],
        'pass': {
            f'cloning from {MANY_LABELS} labels, disturbed, at most {PLATEAU}': at_most(
                plateau['disturbed'], PLATEAU
            ),
            f'DAgger better, disturbed: p < {SIGNIFICANCE}': at_most(
                last['p'] if last['difference'] > 0 else 1.0, SIGNIFICANCE
            ),
        },
        'task': f'{TASK} through {CONTRACT}, pushed and with a moved cube',
        'table': table,
        'plateau': plateau,
        'first_scene': first,
        'rows': list(pairs),
    }


def _comparison(pairs: Sequence[dict[str, Any]], index: int, condition: str) -> dict[str, Any]:
    """Over training seeds, which are the units of the test."""
    counts = [pair['counts'][index] for pair in pairs]
    ours, clones = ([each[who][condition] for each in counts] for who in ('dagger', 'cloning'))
    differences = [our - clone for our, clone in zip(ours, clones)]
    return {
        'condition': condition,
        'labels': round(statistics.mean(each['labels'] for each in counts)),
        'dagger': round(statistics.mean(ours), 4),
        'cloning': round(statistics.mean(clones), 4),
        'difference': round(statistics.mean(differences), 4),
        'interval': bootstrap_interval(differences, np.mean),
        'p': round(sign_flip_p(differences), 5),
    }


def sign_flip_p(differences: Sequence[float]) -> float:
    """Two-sided p-value of paired differences, by all changes of sign (Fisher 1935, §21).

    Exact; of n pairs at least 2 / 2**n.
    """
    values = np.array(differences)
    bits = np.arange(2 ** len(values))[:, None] >> np.arange(len(values)) & 1
    sums = np.abs((1 - 2 * bits) @ values)
    return float(np.mean(sums >= abs(values.sum()) - 1e-9))
