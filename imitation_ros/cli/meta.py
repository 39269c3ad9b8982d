"""`meta`: learn from many tasks how to learn the next one, then adapt to one demonstration.

`meta train` learns from a family of tasks, in simulation or from a folder that holds a folder of
recorded episodes for each task. `meta adapt EPISODE` makes a checkpoint of what one recorded
episode (or several) shows, and says whether it was enough.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
import time
from typing import Any, TYPE_CHECKING

from imitation_ros.cli._console import as_seed, console, print_json, print_table, progress, TASKS
from imitation_ros.errors import ImitationError

if TYPE_CHECKING:
    from imitation_ros.frames.contract import Contract
    from imitation_ros.learning.meta.training import Task

UNSEEN = 10
"""Tasks that are not learned from; they tell how well one adapts to the family."""
SEED_BLOCK = 10_000
"""Of task seeds and scenes, for each seed of a training."""
TRAINING_SEEDS = 50
"""Seeds of a training; from 50 blocks on lie the tasks for validation, and later for tests."""
SCENES_A_TASK = 5
"""As `make_tasks` draws them; all must lie in the block."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options."""
    steps = parser.add_subparsers(title='steps', metavar='STEP', dest='step', required=True)
    train = steps.add_parser('train', help='learn from a family of tasks how to learn the next')
    train.add_argument(
        'data', type=Path, nargs='?', help='folder with a folder of episodes for each task'
    )
    train.add_argument('--family', choices=TASKS, help='of the simulation, without DATA')
    train.add_argument('--method', choices=('context', 'gradient', 'finetune'), default='context')
    train.add_argument('--tasks', type=int, default=150, help='to learn from (simulation)')
    train.add_argument('--steps', type=int, default=None, help='of the optimizer')
    train.add_argument('--seed', type=as_seed, default=0)
    train.add_argument('--out', type=Path, default=Path('checkpoints/meta'))
    adapt = steps.add_parser('adapt', help='a checkpoint of the task that an episode shows')
    adapt.add_argument('episodes', type=Path, nargs='+', metavar='EPISODE')
    adapt.add_argument('--parent', type=Path, default=Path('checkpoints/meta'))
    adapt.add_argument(
        '--corrects', type=Path, metavar='CHECKPOINT', help='adapted policy that drove in EPISODE'
    )
    adapt.add_argument('--out', type=Path, default=Path('checkpoints/shown'))
    for step in (train, adapt):
        step.add_argument('--json', action='store_true', help='one JSON object on stdout')


def run(options: argparse.Namespace) -> int:
    """Trains or adapts."""
    result = _train(options) if options.step == 'train' else _adapt(options)
    if options.json:
        print_json(result)
    else:
        shown = {key: value for key, value in result.items() if not isinstance(value, list)}
        print_table(f'meta {options.step}', tuple(shown), [tuple(shown.values())])
    return 0


def _train(options: argparse.Namespace) -> dict[str, Any]:
    from imitation_ros.learning.meta.meta_policy import check_meta_destination, Settings
    from imitation_ros.learning.meta.meta_training import meta_train
    from imitation_ros.learning.meta.training import MetaConfig
    from imitation_ros.policies.checkpoint import check_destination, save_checkpoint
    from imitation_ros.policies.policy import use_one_thread

    if (options.data is None) == (options.family is None):
        raise ImitationError('valid: a folder with recorded tasks, or --family, and not both')
    steps = MetaConfig().steps if options.steps is None else options.steps
    if steps < 1:
        raise ImitationError(f'--steps: {steps}; valid: at least 1')
    settings = Settings(options.method)
    if options.method == 'finetune':  # as it was measured: the embedding is found, weights stay
        settings = replace(settings, inner_steps=300, embedding_rate=0.3)
    if options.family:
        check_seeds(options.tasks, options.seed)
    use_one_thread()
    check_meta_destination(options.out)
    check_destination(options.out.with_name(f'{options.out.name}_prior'))
    tasks, unseen, contract, source = _tasks(options)
    with progress('steps', steps) as advance:
        meta, curve = meta_train(
            tasks, unseen, contract, settings, MetaConfig(steps=steps), options.seed,
            lambda step, loss: advance(f'loss {loss:.3f}', completed=step),
        )  # fmt: skip
    record = {
        'method': options.method, 'source': source, 'seed': options.seed,
        'tasks': len(tasks), 'steps': steps, 'train_loss': curve,
    }  # fmt: skip
    meta.save(options.out, record)
    prior = options.out.with_name(f'{options.out.name}_prior')
    save_checkpoint(prior, meta.prior(), {'method': 'meta, before a demonstration'})
    return {
        'meta': str(options.out), 'prior': str(prior), 'tasks': len(tasks),
        'loss': round(curve[-1], 4), 'usual_loss': round(meta.familiar.loss, 4),
    }  # fmt: skip


def _tasks(options: argparse.Namespace) -> tuple[list[Task], list[Task], Contract, str]:
    """To learn from, to judge by, their contract, and where they come from."""
    from imitation_ros.learning.meta.meta_training import recorded_tasks

    if options.data:
        made, contract, source = recorded_tasks(options.data)
        unseen = max(1, len(made) // UNSEEN)
        return made[unseen:], made[:unseen], contract, source
    source = f'{options.family}, tasks from {SEED_BLOCK * options.seed}'
    return *simulated_tasks(options.family, options.tasks, options.seed), source


def simulated_tasks(
    name: str, count: int, seed: int, title: str = 'tasks'
) -> tuple[list[Task], list[Task], Contract]:
    """Tasks of a family to learn from and to judge by, demonstrated in process; their contract.

    Raises:
        ImitationError: they would be among the tasks that are kept for validation and tests.
    """
    from imitation_ros.frames.contract import load_contract
    from imitation_ros.learning.meta.family_data import make_tasks
    from imitation_ros.sim.env import ArmEnv
    from imitation_ros.sim.families import make_family

    check_seeds(count, seed)
    family, first = make_family(name), SEED_BLOCK * seed
    contract = load_contract(family.contract)
    drawn = [family.draw(first + index) for index in range(count + UNSEEN)]
    env = ArmEnv(drawn[0], contract)
    with progress(title, len(drawn)) as advance:
        made = make_tasks(env, drawn, first, progress=lambda done: advance(completed=done))
    env.close()
    return made[:-UNSEEN], made[-UNSEEN:], contract


def check_seeds(count: int, seed: int) -> None:
    """Nothing may be trained on a task or scene by which it is judged later.

    Raises:
        ImitationError: so many tasks of a seed, or the seed itself, cannot be learned from.
    """
    if not 0 <= seed < TRAINING_SEEDS:
        raise ImitationError(
            f'seed {seed}: its tasks, from {SEED_BLOCK * seed} on, are not for training; '
            f'valid: 0 to {TRAINING_SEEDS - 1}, those below {SEED_BLOCK * TRAINING_SEEDS}'
        )
    most = SEED_BLOCK // SCENES_A_TASK - UNSEEN
    if not 2 <= count <= most:
        raise ImitationError(
            f'{count} tasks; valid: 2 to {most}, before they reach into the next seed'
        )


def _adapt(options: argparse.Namespace) -> dict[str, Any]:
    from imitation_ros.learning.meta.meta_policy import load_meta_policy
    from imitation_ros.learning.meta.recorded import adapt_recorded, corrected_by
    from imitation_ros.policies.policy import use_one_thread

    use_one_thread()
    parent = load_meta_policy(options.parent)
    start = time.perf_counter()
    before: list[Path] = []
    showing = 0
    if options.corrects and len(options.episodes) > 1:
        raise ImitationError(
            f'--corrects: {len(options.episodes)} episodes; valid: one correction at a time'
        )
    if options.corrects:
        before, showing = corrected_by(options.episodes[0], options.corrects, parent.contract)
        if not before:
            raise ImitationError(
                f'{options.episodes[0]}: no correction of {options.corrects}, which did not drive '
                'in it, or was shown by it'
            )
    verdict = adapt_recorded(parent, [*before, *options.episodes], options.out, showing)
    seconds = time.perf_counter() - start
    for warning in verdict.warnings:
        console.print(f'warning: {warning}', markup=False, soft_wrap=True)
    return {
        'checkpoint': str(options.out), 'meant': verdict.meant,
        'loss_before': round(verdict.before, 4), 'loss_after': round(verdict.after, 4),
        'usual_loss': round(verdict.usual, 4), 'adaptation_s': round(seconds, 3),
        'warnings': list(verdict.warnings),
    }  # fmt: skip
