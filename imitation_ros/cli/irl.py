"""`irl`: learn a reward and a policy from demonstrations, in simulation.

The reward is trained to score the expert above the actor; the actor, from random weights, learns
by reinforcement on the reward; the two take turns until the actor does as the expert.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
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
from imitation_ros.errors import ImitationError

if TYPE_CHECKING:
    from imitation_ros.frames.contract import Contract
    from imitation_ros.learning.irl.adversarial import AdversarialConfig, Imitator
    from imitation_ros.learning.irl.reward import Reward
    from imitation_ros.learning.irl.sim_tasks import SimTask
    from imitation_ros.learning.irl.transitions import Transitions
    from imitation_ros.policies.policy import Policy
    from imitation_ros.sim.rollout import Act

DEMONSTRATION_SEED = 0
ACTOR_SEED = 100_000
RANDOM_SEEDS = range(200_000, 200_010)
"""Of the scenes with random behaviour, which is what scores 0."""
TRIAL_SEED = 500_000
TRIALS = 20
"""Roll-outs for a point of the curve."""
MAP_POINTS = 41


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options."""
    from imitation_ros.learning.irl.network import INPUTS, OBJECTIVES

    parser.add_argument('data', type=Path, nargs='?', help='folder with recorded episodes')
    add_task_arguments(parser)
    parser.set_defaults(task='reach')
    parser.add_argument('--sim', action='store_true',
                        help='the scripted expert demonstrates')  # fmt: skip
    parser.add_argument('--out', type=Path, default=Path('out/irl'), help='folder of the results')
    parser.add_argument('--seed', type=int, default=0, help='the same seed repeats the run')
    parser.add_argument('--demonstrations', type=int, default=20, help='at most so many')
    parser.add_argument('--steps', type=int, default=3_000, help='of the environment')
    parser.add_argument('--inputs', choices=INPUTS, default='state_action',
                        help='of the reward; without actions it watches')  # fmt: skip
    parser.add_argument('--objective', choices=OBJECTIVES, default='gail')
    parser.add_argument(
        '--shaping', action='store_true', help="AIRL's potential beside the reward"
    )
    parser.add_argument('--json', action='store_true', help='one JSON object on stdout')


def run(options: argparse.Namespace) -> int:
    """Learns, and writes reward, checkpoint and pictures."""
    from imitation_ros.frames.contract import load_contract
    from imitation_ros.learning.irl.network import RewardConfig
    from imitation_ros.learning.irl.sim_tasks import SimTask

    if (options.data is None) != options.sim:
        raise ImitationError('valid: a folder with recorded episodes, or --sim, and not both')
    contract = load_contract(contract_of(options))
    task = SimTask(options.task, contract, fixed_horizon=options.sim)
    if options.sim:
        seeds = range(DEMONSTRATION_SEED, DEMONSTRATION_SEED + options.demonstrations)
        demonstrations = task.demonstrate(seeds)
    else:
        demonstrations = recorded(options.data, contract, options.demonstrations)
    reward = RewardConfig(options.inputs, options.shaping, objective=options.objective)
    with progress('steps', options.steps) as advance:
        result = learn(
            task, demonstrations, reward, adversarial(options.steps), options.seed, options.out,
            advance,
        )  # fmt: skip
    if options.json:
        print_json(result)
    else:
        shown = ('separation', 'success', 'environment_steps', 'checkpoint', 'reward')
        print_table(f'IRL, {task.name}', shown, [[result[name] for name in shown]])
    return 0


def adversarial(steps: int) -> AdversarialConfig:
    """The settings that the figures were measured with."""
    from imitation_ros.learning.irl.adversarial import AdversarialConfig

    return AdversarialConfig(steps=steps, watch_every=max(1, min(500, steps)))


def recorded(folder: Path, contract: Contract, limit: int) -> Transitions:
    """The successes of a dataset folder; they ended because the goal had been held."""
    from imitation_ros.episodes.training_set import TrainingSet
    from imitation_ros.learning.irl.transitions import TERMINATED, transitions

    chosen = TrainingSet.from_folder(folder, contract, limit, outcomes=('success',))
    return transitions(
        (
            dataclasses.replace(episode, metadata={**episode.metadata, TERMINATED: True})
            for episode in chosen
        ),
        contract,
    )


def learn(
    task: SimTask,
    demonstrations: Transitions,
    reward_config: Any,
    config: AdversarialConfig,
    seed: int,
    out: Path,
    advance: Callable[..., None] = lambda *note, **completed: None,
) -> dict[str, Any]:
    """The whole run.

    Returns:
        'separation' of expert and actor at the end (1 is as far as random behaviour),
        'success' in fresh scenes of the policy that did best in the trials, the
        'environment_steps' until then, without those of the trials, the 'curve' of all three, and
        where 'checkpoint' and 'reward' are.

    Raises:
        ImitationError: nothing can be learned from the demonstrations, or `out` not be written.
    """
    from imitation_ros.learning.irl.adversarial import Imitator
    from imitation_ros.learning.irl.trainer import RewardTrainer
    from imitation_ros.policies.checkpoint import check_destination, save_checkpoint
    from imitation_ros.policies.policy import use_one_thread

    use_one_thread()
    check_destination(out / 'checkpoint')
    trainer = RewardTrainer(demonstrations, task.contract, reward_config, seed)
    trainer.set_random(task.act_randomly(RANDOM_SEEDS))
    imitator = Imitator([task.simulator], trainer, config, ACTOR_SEED + seed)
    trials = range(TRIAL_SEED, TRIAL_SEED + TRIALS)
    curve: list[dict[str, float]] = []
    policies: list[Policy] = []

    def watch(imitator: Imitator) -> None:
        policy = imitator.policy()
        policies.append(policy)
        trainer.promote()
        success = task.success(policy.act, policy.reset, trials)
        separation = trainer.health().separation
        curve.append({'steps': imitator.steps, 'separation': separation, 'success': success})
        advance(f'success {success:.0%}, separation {separation:.2f}', completed=imitator.steps)

    imitator.run(watch)
    trainer.promote()
    reward = trainer.reward()
    # An adversarial actor may get worse again: the one is kept that did best in the trials.
    best = max(range(len(curve)), key=lambda point: curve[point]['success'])
    policy = policies[best]
    fresh = range(trials.stop, trials.stop + 5 * TRIALS)
    record = {
        'method': 'irl',
        'reward': dataclasses.asdict(reward_config),
        'config': dataclasses.asdict(config),
        'seed': seed,
        'demonstrations': trainer.demonstrations.sha256,
    }
    reward.save(out / 'reward', record)
    save_checkpoint(out / 'checkpoint', policy, record)
    draw(out, task, reward, curve, policies[0])
    return {
        'separation': round(trainer.health().separation, 4),
        'success': task.success(policy.act, policy.reset, fresh),
        'environment_steps': int(curve[best]['steps']),
        'curve': curve,
        'checkpoint': str(out / 'checkpoint'),
        'reward': str(out / 'reward'),
    }


def draw(
    out: Path, task: SimTask, reward: Reward, curve: list[dict[str, float]], early: Policy
) -> list[Path]:
    """The pictures: the curves, the reward along episodes, over the workspace, and as a film."""
    from imitation_ros.cli._films import film_rewards
    from imitation_ros.learning.irl.workspace import reward_map
    from imitation_ros.report.reward_plots import (
        plot_alternation,
        plot_reward_along,
        plot_reward_map,
    )

    early.reset()
    episodes = {
        'demonstration': task.demonstrate([TRIAL_SEED]),
        'early policy': task.watch(early.act, [TRIAL_SEED]),
    }
    along = {name: reward.score_steps(steps) for name, steps in episodes.items()}
    paths = [
        plot_alternation(
            out / 'alternation.png',
            [int(point['steps']) for point in curve],
            [point['separation'] for point in curve],
            [point['success'] for point in curve],
        ),
        plot_reward_along(out / 'reward_along.png', along, task.contract.rate_hz),
    ]
    seen = reward_map(reward, episodes['demonstration'], MAP_POINTS)
    if seen:
        paths.append(plot_reward_map(out / 'reward_map.png', *seen))
    early.reset()
    behaviours: dict[str, Act] = {'demonstration': task.expert, 'early policy': early.act}
    paths.append(film_rewards(out / 'reward_film', task.env, reward, behaviours, TRIAL_SEED))
    return paths
