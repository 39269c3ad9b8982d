"""Record over topics, clone, test: what the figures of behaviour cloning have in common.

Seeds are disjoint blocks: demonstrations below 100,000, validation from 500,000, tests from
1,000,000 on. Settings were chosen on validation scenes; a test block is looked at once.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
import statistics
import tempfile
import time
from typing import Any

from imitation_ros.cli.record import record_expert
from imitation_ros.episodes.training_set import TrainingSet
from imitation_ros.frames.contract import load_contract
from imitation_ros.learning.bc import BCConfig, train_bc
from imitation_ros.learning.evaluation import evaluate, EXPERT

from bench.harness import at_least
from bench.rows import Rows, say

DEMONSTRATION_BLOCK = 10_000
VALIDATION_SEED = 500_000
TEST_SEED = 1_000_000
TEST_BLOCK = 1_000


@dataclass(frozen=True)
class Cloning:
    """One cloning experiment.

    Attributes:
        task: simulated task.
        contract: name.
        demonstrations: recorded over topics for each training seed.
        config: of the cloning.
        training_seeds: each has demonstrations, weights and batches of its own.
        scenes: the same for every training seed.
        noise: DART, on the executed actions.
    """

    task: str
    contract: str
    demonstrations: int
    config: BCConfig
    training_seeds: int = 5
    scenes: int = 100
    noise: float = 0.0

    def smaller(self) -> Cloning:
        """What the tests run: everything happens, nothing is learned."""
        config = replace(self.config, epochs=3)
        return replace(self, demonstrations=2, config=config, training_seeds=1, scenes=4)

    def run_seed(self, seed: int, first_scene: int) -> dict[str, Any]:
        """Records, clones and tests for one training seed."""
        say(f'{self.task} through {self.contract}: training seed {seed}')
        scenes = range(first_scene, first_scene + self.scenes)
        with tempfile.TemporaryDirectory(prefix='imitation_ros_') as folder:
            data, checkpoint = Path(folder, 'data'), Path(folder, 'checkpoint')
            tries = record_expert(
                self.task, self.contract, data, self.demonstrations,
                DEMONSTRATION_BLOCK * seed, noise=self.noise,
            )  # fmt: skip
            training_set = TrainingSet.from_folder(data, load_contract(self.contract))
            began = time.process_time()
            _, record = train_bc(training_set, self.config, seed, checkpoint)
            train_cpu_s = time.process_time() - began
            frames = sum(map(len, training_set))
            result = evaluate(self.task, self.contract, checkpoint, scenes)
        return {
            'seed': seed,
            'success': result.success,
            'failed_scenes': [s for s, ok in zip(result.seeds, result.successes) if not ok],
            'demonstrations': self.demonstrations,
            'tries': len(tries),
            'frames': frames,
            'train_cpu_s': round(train_cpu_s, 1),
            'best_epoch': record.best_epoch,
        }


def parse(argv: Sequence[str] | None, description: str) -> argparse.Namespace:
    """The options of the cloning figures."""
    return parser_of(description).parse_args(argv)


def parser_of(description: str | None) -> argparse.ArgumentParser:
    """Of every figure of learning; one may add its own options."""
    parser = argparse.ArgumentParser(description=(description or '').partition('\n')[0])
    parser.add_argument('--quick', action='store_true', help='a small run, for the tests')
    parser.add_argument('--fresh', action='store_true', help='forget the rows of earlier runs')
    parser.add_argument('--test-block', type=int, default=0, help='another block of test scenes')
    parser.add_argument('--validation', action='store_true', help='validation seeds instead')
    return parser


def first_scene(options: argparse.Namespace) -> int:
    """Where the scenes start that the options ask for."""
    return VALIDATION_SEED if options.validation else TEST_SEED + TEST_BLOCK * options.test_block


def rows_name(name: str, options: argparse.Namespace) -> str:
    """Where the rows are kept: other scenes never replace those of the committed block."""
    if options.validation:
        return f'{name}_validation'
    return f'{name}_block{options.test_block}' if options.test_block else name


def clone_rows(name: str, cloning: Cloning, options: argparse.Namespace) -> list[dict[str, Any]]:
    """One row a training seed, those of earlier runs with the same settings included."""
    cloning = cloning.smaller() if options.quick else cloning
    start = first_scene(options)
    settings = {**asdict(cloning), 'first_scene': start}
    rows = Rows(rows_name(name, options), settings, options.quick, options.fresh)
    return [
        rows.get(seed, lambda seed=seed: cloning.run_seed(seed, start))
        for seed in range(cloning.training_seeds)
    ]


def clone_figure(
    name: str, cloning: Cloning, limit: float, argv: Sequence[str] | None, description: str
) -> dict[str, Any]:
    """Mean success over the training seeds, beside the expert's in the same scenes."""
    options = parse(argv, description)
    rows = clone_rows(name, cloning, options)
    scenes = range(first_scene(options), first_scene(options) + cloning.scenes)
    expert = 1.0 if options.quick else evaluate(
        cloning.task, cloning.contract, EXPERT, scenes
    ).success  # fmt: skip
    successes = [row['success'] for row in rows]
    value = statistics.mean(successes)
    return {
        'bench': name,
        'value': round(value, 4),
        'pass': {f'success >= {limit}': at_least(round(value, 4), limit)},
        'spread': [min(successes), max(successes)],
        'expert': expert,
        'first_scene': first_scene(options),
        'rows': rows,
    }
