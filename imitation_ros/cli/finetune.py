"""`finetune`: improve a cloned policy by reinforcement, beyond its demonstrations.

It begins as the clone, and learns in simulation from the task's own reward, from a learned one, or
from a mix. What is saved is the best of the trials, those of the clone included.
"""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path
from typing import Any, TYPE_CHECKING

from imitation_ros.cli._console import (
    add_task_arguments,
    contract_of,
    print_json,
    print_table,
    progress,
)

if TYPE_CHECKING:
    from imitation_ros.learning.finetune import Progress
    from imitation_ros.learning.irl.sim_tasks import Score
    from imitation_ros.policies.policy import Policy

DEMONSTRATION_SEED = 0
TRIAL_SEED = 500_000
TRIALS = 30
"""Roll-outs by which the best is chosen."""
FRESH = 100
"""Roll-outs that it is told by."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options."""
    parser.add_argument('checkpoint', type=Path, help='of the clone')
    parser.add_argument(
        'data', type=Path, nargs='?',
        help='folder with recorded episodes; without one the scripted expert demonstrates',
    )  # fmt: skip
    add_task_arguments(parser)
    parser.add_argument('--out', type=Path, default=Path('checkpoints/finetuned'))
    parser.add_argument('--seed', type=int, default=0, help='the same seed repeats the run')
    parser.add_argument('--demonstrations', type=int, default=20, help='at most so many')
    parser.add_argument('--steps', type=int, default=50_000, help='of the environment')
    parser.add_argument('--reward', type=Path, help='folder of a learned reward, of `irl`')
    parser.add_argument(
        '--task-share', type=float, default=None,
        help="of the task's own reward, 0 to 1; default: 1, with --reward 0.5",
    )  # fmt: skip
    parser.add_argument('--json', action='store_true', help='one JSON object on stdout')


def run(options: argparse.Namespace) -> int:
    """Improves the policy and says what came of it."""
    from imitation_ros.episodes.training_set import TrainingSet
    from imitation_ros.frames.contract import load_contract
    from imitation_ros.learning.finetune import fine_tune, FineTuneConfig, paid_by, paid_recorded
    from imitation_ros.learning.irl.reward import load_reward
    from imitation_ros.learning.irl.sim_tasks import SimTask
    from imitation_ros.policies.checkpoint import (
        check_destination,
        load_checkpoint,
        save_checkpoint,
    )
    from imitation_ros.policies.policy import use_one_thread

    use_one_thread()
    check_destination(options.out)
    contract = load_contract(contract_of(options))
    clone = load_checkpoint(options.checkpoint, contract)
    reward = load_reward(options.reward, contract) if options.reward else None
    share = options.task_share if options.task_share is not None else 0.5 if reward else 1.0
    config = FineTuneConfig(
        steps=options.steps, task_share=share, watch_every=max(1, min(5_000, options.steps))
    )
    task = SimTask(options.task, contract)
    if options.data is None:
        seeds = range(DEMONSTRATION_SEED, DEMONSTRATION_SEED + options.demonstrations)
        shown = paid_by(task, seeds)
    else:
        chosen = TrainingSet.from_folder(
            options.data, contract, options.demonstrations, outcomes=('success',)
        )
        shown = paid_recorded(task, chosen)
    trial = SimTask(options.task, contract, fixed_horizon=False)
    tried: list[tuple[Score, Policy]] = []

    def try_out(policy: Policy) -> Score:
        tried.append((trial.score(policy.act, policy.reset, _scenes(TRIAL_SEED, TRIALS)), policy))
        return tried[-1][0]

    try_out(clone)
    with progress('steps', options.steps) as advance:

        def watch(now: Progress) -> None:
            score = try_out(now.policy)
            advance(f'success {score.success:.0%}, pull {now.pull:.2f}', completed=now.steps)

        fine_tune(clone, [task.simulator], shown, config, options.seed, reward, watch)
    _, best = max(tried, key=lambda each: (each[0].success, -each[0].ticks))
    save_checkpoint(
        options.out,
        best,
        {
            'method': 'finetune',
            'config': dataclasses.asdict(config),
            'seed': options.seed,
            'parent': clone.checkpoint,
        },
    )
    fresh = _scenes(TRIAL_SEED + TRIALS, FRESH)
    scores = {
        'expert': trial.score(trial.expert, lambda: None, fresh),
        'clone': trial.score(clone.act, clone.reset, fresh),
        'fine-tuned': trial.score(best.act, best.reset, fresh),
    }
    result: dict[str, Any] = {who: dataclasses.asdict(score) for who, score in scores.items()}
    result |= {'checkpoint': str(options.out), 'changed': best is not clone}
    if options.json:
        print_json(result)
        return 0
    rows = [(who, f'{each.success:.1%}', f'{each.ticks:.1f}') for who, each in scores.items()]
    print_table(f'{options.task}, {FRESH} fresh scenes', ('who', 'success', 'ticks'), rows)
    return 0


def _scenes(first: int, count: int) -> range:
    return range(first, first + count)
