"""`finetune`: improve a cloned policy by reinforcement, beyond its demonstrations.

It begins as the clone, and learns in simulation from the task's own reward, from a learned one, or
from a mix. What is saved is the best of the trials, those of the clone included. With `--offline`
it learns from recorded episodes alone, and nothing is tried.
"""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path
from typing import Any, TYPE_CHECKING

from imitation_ros.cli._console import (
    add_task_arguments,
    as_seed,
    contract_of,
    print_json,
    print_table,
    progress,
)
from imitation_ros.errors import ImitationError, RewardError

if TYPE_CHECKING:
    from imitation_ros.frames.contract import Contract
    from imitation_ros.learning.finetune import Progress
    from imitation_ros.learning.irl.reward import Reward
    from imitation_ros.learning.irl.sim_tasks import Score, SimTask
    from imitation_ros.learning.paid import Paid, Pay
    from imitation_ros.policies.policy import Policy

DEMONSTRATION_SEED = 0
DEMONSTRATIONS = 20
TRIAL_SEED = 500_000
TRIALS = 30
"""Roll-outs by which the best is chosen."""
FRESH = 100
"""Roll-outs that it is told by."""
RECORDED = ('success', 'failure', 'unknown')
"""Outcomes of episodes that are learned from offline."""
OFFLINE_ALONE = ('task_reward_topic', 'updates')
STEPS = 150_000
"""Of a run in simulation."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options."""
    parser.add_argument('checkpoint', type=Path, help='of the clone')
    parser.add_argument(
        'data', type=Path, nargs='?',
        help='folder with recorded episodes; without one the scripted expert demonstrates',
    )  # fmt: skip
    add_task_arguments(parser)
    parser.add_argument('--out', type=Path, default=Path('checkpoints/finetuned'))
    parser.add_argument('--seed', type=as_seed, default=0, help='the same seed repeats the run')
    parser.add_argument(
        '--demonstrations', type=int, default=None,
        help=f'at most so many; default: {DEMONSTRATIONS}, offline all episodes',
    )  # fmt: skip
    parser.add_argument(
        '--steps', type=int, default=None, help=f'of the environment; default: {STEPS}'
    )
    parser.add_argument('--reward', type=Path, help='folder of a learned reward, of `irl`')
    parser.add_argument(
        '--task-share', type=float, default=None,
        help="of the task's own reward, 0 to 1; default: 1, with --reward 0.5",
    )  # fmt: skip
    parser.add_argument(
        '--offline', action='store_true',
        help='learn from the episodes in DATA alone, good and bad; no simulation',
    )  # fmt: skip
    parser.add_argument(
        '--task-reward-topic', metavar='TOPIC',
        help="offline: the task's reward, a recorded std_msgs/Float64; default: -1 a tick until "
        'the goal, as the outcomes say',
    )  # fmt: skip
    parser.add_argument(
        '--ticks-at-goal', type=int, default=None,
        help="at the end of a recorded success; default: the simulated task's",
    )  # fmt: skip
    parser.add_argument(
        '--updates', type=int, default=None, help='offline: of the critic; default: 2000'
    )
    parser.add_argument('--json', action='store_true', help='one JSON object on stdout')


def run(options: argparse.Namespace) -> int:
    """Improves the policy and says what came of it."""
    _check(options)
    return _run_offline(options) if options.offline else _run_in_simulation(options)


def _check(options: argparse.Namespace) -> None:
    for name in ('demonstrations', 'ticks_at_goal'):
        given = getattr(options, name)
        if given is not None and given < 1:
            raise ImitationError(f'{_option(name)}: {given}; valid: at least 1')
    if options.task_share is not None and not 0 <= options.task_share <= 1:
        raise ImitationError(f'--task-share: {options.task_share}; valid: 0 to 1')
    if options.task_share not in (None, 1) and options.reward is None:
        raise ImitationError(f'--task-share: {options.task_share}; valid: with --reward')
    if options.offline and options.data is None:
        raise ImitationError('--offline: no DATA; valid: a folder with recorded episodes')
    if options.offline and options.steps is not None:
        raise ImitationError('--steps: offline nothing is tried; valid: --updates')
    if options.ticks_at_goal is not None and (options.data is None or options.task_reward_topic):
        raise ImitationError(
            '--ticks-at-goal: no recorded success is paid by it; valid: with DATA, and without '
            '--task-reward-topic'
        )
    for name in OFFLINE_ALONE:
        if not options.offline and getattr(options, name) is not None:
            raise ImitationError(
                f'{_option(name)}: in simulation the task itself pays; valid: with --offline'
            )


def _option(name: str) -> str:
    return '--' + name.replace('_', '-')


def _run_in_simulation(options: argparse.Namespace) -> int:
    from imitation_ros.frames.contract import load_contract
    from imitation_ros.learning.finetune import fine_tune, FineTuneConfig
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
    reward = _reward(options, contract)
    share = options.task_share if options.task_share is not None else 0.5 if reward else 1.0
    steps = STEPS if options.steps is None else options.steps
    config = FineTuneConfig(steps=steps, task_share=share, watch_every=max(1, min(5_000, steps)))
    # At the goal a learned reward goes on paying, and may not have learned what an end is worth.
    task = SimTask(options.task, contract, fixed_horizon=reward is not None)
    shown = _demonstrations(options, task, contract)
    trial = SimTask(options.task, contract, fixed_horizon=False)
    tried: list[tuple[Score, Policy]] = []

    def try_out(policy: Policy) -> Score:
        tried.append((trial.score(policy.act, policy.reset, _scenes(TRIAL_SEED, TRIALS)), policy))
        return tried[-1][0]

    try_out(clone)
    with progress('steps', steps) as advance:

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


def _demonstrations(options: argparse.Namespace, task: SimTask, contract: Contract) -> Paid:
    """Those of the scripted expert, or recorded successes."""
    from imitation_ros.episodes.training_set import TrainingSet
    from imitation_ros.learning.finetune import paid_by
    from imitation_ros.learning.paid import by_outcome, paid_recorded

    count = options.demonstrations or DEMONSTRATIONS
    if options.data is None:
        return paid_by(task, _scenes(DEMONSTRATION_SEED, count))
    chosen = TrainingSet.from_folder(options.data, contract, count, outcomes=('success',))
    ticks_at_goal = options.ticks_at_goal or task.ticks_at_goal
    return paid_recorded(contract, chosen, by_outcome(ticks_at_goal))


def _reward(options: argparse.Namespace, contract: Contract) -> Reward | None:
    """The learned one, if one is given; raises RewardError if all that it says is 0."""
    from imitation_ros.learning.irl.reward import load_reward

    if options.reward is None:
        return None
    reward = load_reward(options.reward, contract)
    if not reward.calibration.tells_apart:
        raise RewardError(
            f'{options.reward}: random behaviour scores as high as the expert, or higher; valid: '
            'a reward that tells the two apart'
        )
    return reward


def _run_offline(options: argparse.Namespace) -> int:
    from imitation_ros.episodes.training_set import TrainingSet
    from imitation_ros.frames.contract import load_contract
    from imitation_ros.learning.offline import improve_offline, OfflineConfig
    from imitation_ros.policies.checkpoint import load_checkpoint
    from imitation_ros.policies.policy import use_one_thread

    use_one_thread()
    given = load_contract(options.contract) if options.contract else None
    clone = load_checkpoint(options.checkpoint, given)
    config = OfflineConfig()
    if options.updates is not None:
        config = dataclasses.replace(config, updates=options.updates)
    pay = _pay(options, clone.contract)
    episodes = TrainingSet.from_folder(
        options.data, clone.contract, options.demonstrations, RECORDED, label='executed'
    )
    with progress('updates', config.updates) as advance:
        _, record = improve_offline(
            clone, episodes, pay, config, options.seed, options.out,
            lambda updates: advance(completed=updates) if updates % 100 == 0 else None,
        )  # fmt: skip
    result = {
        'checkpoint': str(options.out),
        'episodes': len(episodes),
        'steps': record['steps'],
        'mean_reward': record['mean_reward'],
        'train_loss': record['cloning']['train_loss'][-1],
    }
    if options.json:
        print_json(result)
    else:
        print_table('improved offline, not tried', tuple(result), [tuple(result.values())])
    return 0


def _pay(options: argparse.Namespace, contract: Contract) -> Pay:
    """What recorded steps are worth, as the options say."""
    from imitation_ros.learning.paid import by_outcome, by_steps, by_topic, mixed
    from imitation_ros.sim.tasks import make_task

    simulated = make_task(options.task)
    ticks_at_goal = options.ticks_at_goal or simulated.hold_ticks + simulated.stay_ticks
    topic = options.task_reward_topic
    task = by_topic(topic) if topic else by_outcome(ticks_at_goal)
    reward = _reward(options, contract)
    if reward is None:
        return task
    learned = by_steps(reward.score_steps)
    return mixed(0.5 if options.task_share is None else options.task_share, task, learned)


def _scenes(first: int, count: int) -> range:
    return range(first, first + count)
