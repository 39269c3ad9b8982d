"""`pick_place` by DAgger over topics: 95 % within 2,500 labels from 20 demonstrations.

Each training seed runs DAgger through the real nodes in lockstep: the expert demonstrates, then
policy and expert drive by turns, tick by tick, while the expert labels every state. `from none`
begins without demonstrations, with β_i = 0.5^i, so that the expert drives all of round 0; each
frame that it annotates counts. The last policy is tested in process, where episodes go as they do
over topics. Settings were chosen in process on validation scenes.

With `--peers`, DAgger of the PyPI package `imitation` learns from 20 demonstrations in process,
with the same environment, expert, scenes, beta (drawn each tick), episodes and network, and at
least as many gradient updates a round.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
import statistics
import tempfile
from typing import Any

from imitation_ros.cli.dagger import run_rounds, training
from imitation_ros.learning.dagger import DaggerConfig
from imitation_ros.learning.evaluation import evaluate, wilson_interval
from imitation_ros.nodes.collector import TopicsCollector
from imitation_ros.supervision.gates import GateConfig

from bench.cloning import first_scene, parser_of, rows_name
from bench.harness import at_least, at_most
from bench.imitation_peer import add_options, Peer, PeerSetting
from bench.rows import Rows, say

TASK, CONTRACT = 'pick_place', 'panda_twist'
SUCCESS = 0.95
LABELS = {'20 demonstrations': 2500, 'from none': 3500}
SEEDS, SCENES = 5, 100
PEER_SEEDS, VALIDATION_SEEDS = range(5), range(51, 53)
CONFIGS = {
    '20 demonstrations': DaggerConfig(
        GateConfig('beta', beta=0.5, beta_per_tick=True),
        training(epochs=150),
        initial_episodes=20,
        episodes=6,
        rounds=4,
        held_out_every=0,
    ),
    'from none': DaggerConfig(
        GateConfig('beta', beta=0.5, beta_schedule='exponential', beta_per_tick=True),
        training(epochs=150),
        initial_episodes=19,
        episodes=19,
        rounds=2,
        held_out_every=0,
    ),
}
START = '20 demonstrations'
PEER_SETTING = PeerSetting(
    beta=('constant', 0.5),
    initial_episodes=CONFIGS[START].initial_episodes,
    episodes=CONFIGS[START].episodes,
    rounds=CONFIGS[START].rounds,
    max_labels=100_000,
    batches=8_400,  # ours: 150 epochs of 50 to 56 steps
    batch_size=256,
    hidden=(256, 256),
    weight_decay=0.1,
)
"""The weight decay was chosen on validation seeds and scenes."""


def main(argv: Sequence[str] | None = None) -> dict[str, Any]:
    """One row a training seed and start; the value is the success from 20 demonstrations."""
    parser = parser_of(__doc__)
    add_options(parser)
    options = parser.parse_args(argv)
    start, seeds = first_scene(options), 1 if options.quick else SEEDS
    configs = {name: _smaller(c) if options.quick else c for name, c in CONFIGS.items()}
    settings = {name: asdict(config) for name, config in configs.items()}
    kept = Rows(
        rows_name('dagger_pick_place', options),
        {**settings, 'first_scene': start, 'scenes': SCENES},
        options.quick,
        options.fresh,
    )
    rows = {
        name: [
            kept.get(f'{name} {seed}', lambda c=config, n=name, s=seed: _run(n, c, s, options))
            for seed in range(seeds)
        ]
        for name, config in configs.items()
    }
    conditions = {}
    for name, own in rows.items():
        success = statistics.mean(row['success'] for row in own)
        conditions[f'{name}: success >= {SUCCESS}'] = at_least(round(success, 4), SUCCESS)
        labels = max(row['labels'] for row in own)
        conditions[f'{name}: labels <= {LABELS[name]}'] = at_most(labels, LABELS[name])
    pooled = [row['success'] for row in rows['20 demonstrations']]
    trials = len(pooled) * _scenes(options)
    return {
        'bench': 'dagger_pick_place',
        'value': round(statistics.mean(pooled), 4),
        'pass': conditions,
        'interval': wilson_interval(round(sum(pooled) * _scenes(options)), trials),
        'spread': [min(pooled), max(pooled)],
        'first_scene': start,
        'rows': rows,
        'imitation': _peer(options) if options.peers else None,
    }


def _peer(options: argparse.Namespace) -> dict[str, Any]:
    """Success and labels of `imitation`, with the training seeds of ours."""
    setting, seeds = PEER_SETTING, VALIDATION_SEEDS if options.validation else PEER_SEEDS
    if options.quick:
        setting, seeds = replace(setting, batches=2, rounds=1), seeds[:1]
    scenes = range(first_scene(options), first_scene(options) + _scenes(options))
    with Peer(options) as peer:
        rows = peer.rows('dagger_pick_place', TASK, setting, seeds, scenes, None)
    successes = [row['rounds'][-1]['score'] for row in rows]
    return {
        'success': round(statistics.mean(successes), 4),
        'spread': [min(successes), max(successes)],
        'labels': max(row['labels'] for row in rows),
        'rows': rows,
    }


def _smaller(config: DaggerConfig) -> DaggerConfig:
    """What the tests run: everything happens, nothing is learned."""
    return replace(
        config, training=training(epochs=3), initial_episodes=2, episodes=1, rounds=1
    )  # fmt: skip


def _scenes(options: argparse.Namespace) -> int:
    return 2 if options.quick else SCENES


def _run(
    name: str, config: DaggerConfig, seed: int, options: argparse.Namespace
) -> dict[str, Any]:
    say(f'{TASK} {name}: training seed {seed}')
    scenes = range(first_scene(options), first_scene(options) + _scenes(options))
    with tempfile.TemporaryDirectory(prefix='imitation_ros_') as folder:
        logs, run = Path(folder, 'logs'), Path(folder, 'run')
        collector = TopicsCollector(TASK, CONTRACT, logs)
        result = run_rounds(
            TASK, CONTRACT, collector, config, run, seed, advance=lambda note, **_: say(note)
        )
        tested = evaluate(TASK, CONTRACT, result.checkpoint, scenes)
    return {
        'seed': seed,
        'success': tested.success,
        'labels': result.labels,
        'rounds': [[each.label_total, round(each.success, 3)] for each in result.rounds],
        'failed_scenes': [s for s, ok in zip(tested.seeds, tested.successes) if not ok],
    }
