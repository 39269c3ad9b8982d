"""Labels until a policy does as well as the expert: CartPole, Pendulum, and the arm's reach.

With `--peers`, DAgger of the PyPI package `imitation` learns the same from the same experts, in
the same scenes, and is counted alike (`imitation_peer.py`).
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
import statistics
import tempfile
from typing import Any

from imitation_ros.frames.contract import load_contract
from imitation_ros.learning.bc import BCConfig
from imitation_ros.learning.dagger import Collector, dagger, DaggerConfig
from imitation_ros.learning.evaluation import evaluate
from imitation_ros.learning.rounds import Round
from imitation_ros.learning.sim_collector import SimCollector
from imitation_ros.policies.checkpoint import load_checkpoint
from imitation_ros.policies.policy import use_one_thread
from imitation_ros.supervision.gates import GateConfig

from bench.cloning import first_scene, parser_of, rows_name
from bench.gym_tasks import GymCollector, TASKS
from bench.harness import at_most
from bench.imitation_peer import add_options, Peer, PeerSetting
from bench.rows import Rows, say

TARGET = 0.95
SEEDS = range(1, 6)
VALIDATION_SEEDS = range(51, 56)
SCENES = 20
TRAINING = BCConfig(
    hidden=(64, 64), epochs=30, batch_size=128, weight_decay=0.1, validation_fraction=0.0
)


@dataclass(frozen=True)
class Setting:
    """One task.

    Attributes:
        config: of DAgger.
        at_most: labels, half of what DAgger of the PyPI library `imitation` was found to need.
        demonstrated_ticks: after which a demonstration is cut.
        ticks: after which an episode of a later round is cut; None at its end.
    """

    config: DaggerConfig
    at_most: int
    demonstrated_ticks: int = 1_000
    ticks: int | None = None


BASE = DaggerConfig(
    gate=GateConfig('human', discrepancy=0.5),
    training=TRAINING,
    initial_episodes=1,
    episodes=1,
    rounds=30,
    held_out_every=0,
)
SETTINGS = {
    'CartPole-v1': Setting(BASE, 500, demonstrated_ticks=15, ticks=15),
    'Pendulum-v1': Setting(BASE, 600, demonstrated_ticks=100),
    # The expert's first action in many scenes, then corrections until the two agree.
    'reach': Setting(
        replace(
            BASE,
            gate=GateConfig('human', discrepancy=0.2, release=1.0),
            training=replace(TRAINING, weight_decay=1.0),
            initial_episodes=16,
        ),
        100,
        demonstrated_ticks=1,
        ticks=20,
    ),
}
PEER_SETTINGS = {
    'CartPole-v1': PeerSetting(demonstrated_ticks=15, ticks=15, batch_size=8, normalize=False),
    'Pendulum-v1': PeerSetting(ticks=200, batch_size=64),
    'reach': PeerSetting(
        initial_episodes=16, demonstrated_ticks=1, ticks=5, batch_size=16, weight_decay=3.0
    ),
}
SHARE_OF_PEER = 0.5


def main(argv: Sequence[str] | None = None) -> dict[str, Any]:
    """Runs every task for each training seed; the value is the worst share of what is allowed."""
    options = _options(argv)
    use_one_thread()
    seeds = list(VALIDATION_SEEDS if options.validation else SEEDS)[: options.seeds]
    chosen = {name: SETTINGS[name] for name in options.tasks}
    scenes = SCENES
    if options.quick:
        training = replace(TRAINING, epochs=1, steps_per_epoch=1)
        config = replace(BASE, training=training, rounds=1)
        chosen = {name: replace(each, config=config) for name, each in chosen.items()}
        seeds, scenes = [50], 1
    first = first_scene(options)
    table, rows = [], []
    for name, setting in chosen.items():
        kept = Rows(
            rows_name(f'dagger_gym_{name}', options),
            {**asdict(setting), 'scenes': scenes, 'first_scene': first, 'target': TARGET},
            options.quick,
            options.fresh,
        )  # fmt: skip
        runs = [
            kept.get(
                seed,
                lambda seed=seed, name=name, setting=setting: _run(
                    name, setting, seed, range(first, first + scenes)
                ),
            )
            for seed in seeds
        ]
        table.append({**_line(name, runs), 'at_most': setting.at_most})
        rows += runs
        say(str(table[-1]))
    peers, peer_rows = _peers(options, seeds, range(first, first + scenes))
    return {
        'bench': 'dagger_gym',
        'value': round(max(line['labels'] / line['at_most'] for line in table), 4),
        'pass': {
            **{
                f'{line["task"]}: labels to {TARGET:.0%} of the expert': at_most(
                    _to_target(line), line['at_most']
                )
                for line in table
            },
            **{
                f"{line['task']}: at most half of imitation's labels": at_most(
                    _to_target(line), SHARE_OF_PEER * peers[line['task']]['labels']
                )
                for line in table
                if peers
            },
        },
        'table': table,
        'imitation': list(peers.values()),
        'first_scene': first,
        'rows': rows,
        'imitation_rows': peer_rows,
    }


def _peers(
    options: argparse.Namespace, seeds: Sequence[int], scenes: range
) -> tuple[dict[str, dict[str, Any]], list[dict[str, Any]]]:
    """Of each task a line as in our table, and the rows; nothing without `--peers`.

    A run that ended before the target counts with the labels that it had spent, in its favour.
    """
    lines, rows = {}, []
    with Peer(options) as peer:
        for name in options.tasks if options.peers else ():
            setting = PEER_SETTINGS[name]
            if options.quick:
                setting = replace(setting, batches=2, rounds=1)
            runs = peer.rows(f'dagger_gym_{name}', name, setting, seeds, scenes, TARGET)
            lines[name] = _line(name, runs)
            rows += runs
            say(f'imitation: {lines[name]}')
    return lines, rows


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = parser_of(__doc__)
    parser.add_argument('--seeds', type=int, default=None, help='only the first so many')
    add_options(parser)
    parser.add_argument('--tasks', nargs='+', choices=SETTINGS, default=list(SETTINGS))
    return parser.parse_args(argv)


def _run(name: str, setting: Setting, seed: int, scenes: range) -> dict[str, Any]:
    """One run: labels and score after every round."""
    collector, score = _task(name, setting, scenes)
    rounds: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix='imitation_ros_') as folder:

        def test(done: Round) -> None:
            checkpoint = Path(folder, 'run', f'round_{done.driving:03d}', 'checkpoint')
            rounds.append({'labels': done.label_total, 'score': round(score(checkpoint), 4)})

        config = setting.config
        while len(rounds) <= config.rounds and not _twice_good(rounds):
            dagger(collector, replace(config, rounds=len(rounds)), Path(folder, 'run'), seed, test)
    reached = _twice_good(rounds)
    labels = rounds[-2 if reached else -1]['labels']
    row = {'task': name, 'seed': seed, 'reached': reached, 'labels': labels, 'rounds': rounds}
    say(str(row))
    return row


def _twice_good(rounds: Sequence[dict[str, Any]]) -> bool:
    """Whether the last two evaluations met the target; the labels are those of the first."""
    return len(rounds) > 1 and all(each['score'] >= TARGET for each in rounds[-2:])


def _task(name: str, setting: Setting, scenes: range) -> tuple[Collector, Callable[[Path], float]]:
    """Collector, and the score of a checkpoint: 0 as random actions, 1 as the expert."""
    if name == 'reach':
        contract = load_contract('panda_reach')
        arm = SimCollector('reach', contract, setting.demonstrated_ticks, setting.ticks)
        return arm, lambda path: evaluate('reach', 'panda_reach', path, scenes, workers=1).success
    collector = GymCollector(TASKS[name], setting.demonstrated_ticks, setting.ticks)
    best = collector.score(TASKS[name].expert, scenes, lambda: None)
    worst = collector.random_score(scenes)

    def score(checkpoint: Path) -> float:
        policy = load_checkpoint(checkpoint, collector.contract)
        return (collector.score(policy.act, scenes, policy.reset) - worst) / (best - worst)

    return collector, score


def _line(name: str, runs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Over the training seeds."""
    labels = [run['labels'] for run in runs]
    return {
        'task': name,
        'labels': round(statistics.mean(labels), 1),
        'spread': [min(labels), max(labels)],
        'always_reached': all(run['reached'] for run in runs),
    }


def _to_target(line: dict[str, Any]) -> float:
    return line['labels'] if line['always_reached'] else float('inf')
