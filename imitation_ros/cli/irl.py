"""`irl`: learn a reward and a policy from demonstrations, in simulation.

The reward is trained to score the expert above the actor; the actor, from random weights or from a
cloned policy, learns by reinforcement on the reward; the two take turns until the actor does as
the expert. What is best so far is on the disk after each trial.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
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
    from imitation_ros.learning.irl.adversarial import AdversarialConfig, Imitator
    from imitation_ros.learning.irl.network import RewardConfig
    from imitation_ros.learning.irl.reward import Reward
    from imitation_ros.learning.irl.sim_tasks import SimTask
    from imitation_ros.learning.irl.transitions import Transitions
    from imitation_ros.policies.policy import Policy
    from imitation_ros.sim.rollout import Act

DEMONSTRATION_SEED = 0
ACTOR_SEED = 100_000
RANDOM_SEEDS = range(200_000, 200_010)
"""Of the scenes with random behaviour, which is what scores 0."""
REWARD_EVERY = 10
"""Steps between two turns of the reward; with fewer in all there is none to try."""
TRIAL_SEED = 500_000
TRIALS = 20
"""Roll-outs for a point of the curve."""
MAP_POINTS = 41
STATE = 'training.safetensors'
NOT_ENDED = 'the run has not ended'
"""Why a reward is stale whose run was killed."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options."""
    from imitation_ros.learning.irl.actor import ALGORITHMS
    from imitation_ros.learning.irl.network import INPUTS, OBJECTIVES

    parser.add_argument('data', type=Path, nargs='?', help='folder with recorded episodes')
    add_task_arguments(parser)
    parser.set_defaults(task='reach')
    parser.add_argument('--sim', action='store_true',
                        help='the scripted expert demonstrates')  # fmt: skip
    parser.add_argument('--out', type=Path, default=Path('out/irl'), help='folder of the results')
    parser.add_argument('--seed', type=as_seed, default=0, help='the same seed repeats the run')
    parser.add_argument('--demonstrations', type=int, default=20, help='at most so many')
    parser.add_argument('--steps', type=int, default=3_000, help='of the environment')
    parser.add_argument('--inputs', choices=INPUTS, default='state_action',
                        help='of the reward; without action it learns by watching')  # fmt: skip
    parser.add_argument(
        '--relative-positions', action='store_true',
        help='of the reward: x and y of positions count only relative to one another',
    )  # fmt: skip
    parser.add_argument(
        '--careful', action='store_true',
        help='finer noise, slower reward, falling rates: for contacts, in 40,000 steps (sac)',
    )  # fmt: skip
    parser.add_argument('--objective', choices=OBJECTIVES, default='gail')
    parser.add_argument(
        '--shaping', action='store_true', help="AIRL's potential beside the reward"
    )
    parser.add_argument(
        '--algorithm', choices=ALGORITHMS, default=None,
        help='of the actor; default: sac, with --from td3, where every action is discrete ppo',
    )  # fmt: skip
    parser.add_argument('--simulators', type=int, default=1, help='in parallel')
    parser.add_argument(
        '--from', dest='clone', type=Path, metavar='CHECKPOINT',
        help='cloned policy that the actor begins as, instead of random weights (td3, ppo)',
    )  # fmt: skip
    parser.add_argument('--json', action='store_true', help='one JSON object on stdout')


def run(options: argparse.Namespace) -> int:
    """Learns, and writes reward, checkpoint and pictures."""
    from imitation_ros.frames.contract import load_contract
    from imitation_ros.learning.irl.network import RewardConfig
    from imitation_ros.learning.irl.sim_tasks import SimTask
    from imitation_ros.policies.checkpoint import load_checkpoint

    if options.demonstrations < 1:
        raise ImitationError(f'--demonstrations: {options.demonstrations}; valid: at least 1')
    if (options.data is None) != options.sim:
        raise ImitationError('valid: a folder with recorded episodes, or --sim, and not both')
    contract = load_contract(contract_of(options))
    clone = load_checkpoint(options.clone, contract) if options.clone else None
    algorithm = options.algorithm or usual_algorithm(contract, clone)
    config = adversarial(options.steps, algorithm, options.simulators)
    reward = RewardConfig(
        options.inputs, options.shaping, objective=options.objective,
        relative_positions=options.relative_positions,
    )  # fmt: skip
    if options.shaping:
        reward = dataclasses.replace(reward, gamma=config.actor.gamma)
    if options.careful:
        reward, config = careful(reward, config)
    task = SimTask(options.task, contract, fixed_horizon=options.sim)
    if options.sim:
        seeds = range(DEMONSTRATION_SEED, DEMONSTRATION_SEED + options.demonstrations)
        shown = task.demonstrate(seeds)
        demonstrations = shown if reward.needs_actions else shown.without_actions()
    else:
        demonstrations = recorded(
            options.data, contract, options.demonstrations, reward.needs_actions
        )
    with progress('steps', options.steps) as advance:
        result = learn(
            task, demonstrations, reward, config, options.seed, options.out, advance, clone
        )
    if options.json:
        print_json(result)
    else:
        shown_names = ('separation', 'success', 'environment_steps', 'checkpoint', 'reward')
        print_table(f'IRL, {task.name}', shown_names, [[result[name] for name in shown_names]])
    return 0


def usual_algorithm(contract: Contract, clone: Policy | None) -> str:
    """What suits the actions, and where the actor begins."""
    if all(spec.discrete for spec in contract.action_specs.values()):
        return 'ppo'
    return 'sac' if clone is None else 'td3'


def careful(
    reward: RewardConfig, config: AdversarialConfig
) -> tuple[RewardConfig, AdversarialConfig]:
    """Both, as `irl_push` was measured with.

    Raises:
        ImitationError: another actor than SAC.
    """
    if config.actor.algorithm != 'sac':
        raise ImitationError(f'--careful with {config.actor.algorithm}; valid with sac alone')
    actor = dataclasses.replace(config.actor, precision=2.0, normalized=True)
    return (
        dataclasses.replace(reward, learning_rate=3e-4, penalty=1.0),
        dataclasses.replace(config, actor=actor, annealing=0.1),
    )


def adversarial(steps: int, algorithm: str = 'sac', simulators: int = 1) -> AdversarialConfig:
    """The settings that the figures were measured with.

    Raises:
        ImitationError: too few steps for the reward to have a turn before the first trial.
    """
    from imitation_ros.learning.irl.actor import ActorConfig
    from imitation_ros.learning.irl.adversarial import AdversarialConfig

    if simulators < 1:
        raise ImitationError(f'--simulators: {simulators}; valid: at least 1')
    trial_every = 500
    actor, turn, updates = ActorConfig(algorithm, simulators=simulators), REWARD_EVERY, 10
    if algorithm == 'ppo':
        # Fewer and larger turns, for which a trial waits.
        each = max(1, trial_every // simulators)
        actor = ActorConfig(
            algorithm, batch_size=100, rollout_steps=each, precision=2.0, simulators=simulators
        )
        updates, turn, trial_every = 50, each * simulators + 1, 2 * trial_every
    if steps < turn:
        raise ImitationError(
            f'--steps: {steps}; valid with {algorithm}: at least {turn}, the first turn of the '
            'reward'
        )
    return AdversarialConfig(
        actor, steps, REWARD_EVERY, updates, watch_every=min(trial_every, steps)
    )


def recorded(
    folder: Path, contract: Contract, limit: int, with_actions: bool = True
) -> Transitions:
    """The successes of a dataset folder; they ended because the goal had been held."""
    from imitation_ros.episodes.training_set import TrainingSet
    from imitation_ros.learning.irl.transitions import TERMINATED, transitions

    label = 'expert' if with_actions else 'none'
    chosen = TrainingSet.from_folder(folder, contract, limit, ('success',), label)
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
    reward_config: RewardConfig,
    config: AdversarialConfig,
    seed: int,
    out: Path,
    advance: Callable[..., None] = lambda *note, **completed: None,
    clone: Policy | None = None,
) -> dict[str, Any]:
    """The whole run.

    Returns:
        'separation' of expert and actor at the end (1 is as far as random behaviour),
        'success' in fresh scenes of the policy that did best in the trials, the
        'environment_steps' until then, without those of the trials, the 'curve' of all three and
        the return, and where 'checkpoint' and 'reward' are.

    Raises:
        ImitationError: nothing can be learned from the demonstrations, or `out` not be written;
            where training diverges, it says what is left of it.
    """
    from imitation_ros.learning.irl.adversarial import Imitator
    from imitation_ros.learning.irl.trainer import RewardTrainer
    from imitation_ros.policies.checkpoint import check_destination
    from imitation_ros.policies.policy import use_one_thread

    use_one_thread()
    check_destination(out / 'checkpoint')
    trainer = RewardTrainer(demonstrations, task.contract, reward_config, seed)
    trainer.set_random(task.act_randomly(RANDOM_SEEDS))
    simulators = [task.simulator] * config.actor.simulators
    imitator = Imitator(simulators, trainer, config, ACTOR_SEED + seed, clone=clone)
    record = {
        'method': 'irl',
        'reward': dataclasses.asdict(reward_config),
        'config': dataclasses.asdict(config),
        'seed': seed,
        'demonstrations': trainer.demonstrations.sha256,
        'parent': clone.checkpoint if clone else None,
    }
    trials = Trials(task, out, record, advance)
    try:
        imitator.run(trials.watch)
        trainer.promote()
    except RewardError as error:
        raise RewardError(f'{error}; {trials.left(imitator, str(error))}') from None
    trials.save_reward(imitator)
    draw(out, task, trainer.reward(), trials)
    fresh = range(TRIAL_SEED + TRIALS, TRIAL_SEED + 6 * TRIALS)
    policy = trials.best
    return {
        'separation': round(trainer.health().separation, 4),
        'success': task.success(policy.act, policy.reset, fresh),
        'environment_steps': int(trials.best_point['steps']),
        'curve': trials.curve,
        'checkpoint': str(out / 'checkpoint'),
        'reward': str(out / 'reward'),
    }


class Trials:
    """Tries the policy as it goes, and keeps on the disk what is good so far.

    An adversarial actor may get worse again: the policy is kept that did best, the first of equal
    ones.

    Attributes:
        curve: 'steps', 'separation', 'success' and 'return' of each trial.
        best: the policy that is kept.
        best_point: of the curve, where it was tried.
        failed: the first policy that failed in a scene, and the scene's seed; None if none did.
    """

    def __init__(
        self, task: SimTask, out: Path, record: dict[str, Any], advance: Callable[..., None]
    ) -> None:
        self._task, self._out, self._record, self._advance = task, out, record, advance
        self.curve: list[dict[str, float]] = []
        self.best: Policy
        self.best_point: dict[str, float] = {}
        self.failed: tuple[Policy, int] | None = None

    def watch(self, imitator: Imitator) -> None:
        """One trial."""
        from imitation_ros.policies.checkpoint import save_checkpoint

        policy, trainer = imitator.policy(), imitator.trainer
        trainer.promote()
        scenes = range(TRIAL_SEED, TRIAL_SEED + TRIALS)
        rollouts = self._task.roll_outs(policy.act, policy.reset, scenes)
        point = {
            'steps': imitator.steps,
            'separation': trainer.health().separation,
            'success': sum(each.success for each in rollouts) / len(rollouts),
            'return': sum(float(each.rewards.sum()) for each in rollouts) / len(rollouts),
        }
        self.curve.append(point)
        failures = [each.seed for each in rollouts if not each.success]
        if failures and self.failed is None:
            self.failed = policy, failures[0]
        if not self.best_point or point['success'] > self.best_point['success']:
            self.best, self.best_point = policy, point
            save_checkpoint(self._out / 'checkpoint', policy, self._record)
        self.save_reward(imitator, NOT_ENDED)
        trainer.save(self._out / STATE)
        note = f'success {point["success"]:.0%}, separation {point["separation"]:.2f}'
        self._advance(note, completed=imitator.steps)

    def save_reward(self, imitator: Imitator, stale: str = '') -> None:
        """Writes the last good reward, and why it is stale."""
        record = {**self._record, 'environment_steps': imitator.steps, 'stale': stale}
        imitator.trainer.reward().save(self._out / 'reward', record)

    def left(self, imitator: Imitator, why: str) -> str:
        """What is left of a run that broke off; the reward then says that it is stale."""
        if not self.curve:
            return 'nothing was kept, since it was before the first trial'
        self.save_reward(imitator, why)
        return (
            f'kept: {self._out / "reward"}, stale, and {self._out / "checkpoint"} of step '
            f'{self.best_point["steps"]:.0f}, with {self.best_point["success"]:.0%} success'
        )


def draw(out: Path, task: SimTask, reward: Reward, trials: Trials) -> list[Path]:
    """The pictures: the curves, the reward along episodes, over the workspace, and as a film."""
    from imitation_ros.cli._films import film_rewards
    from imitation_ros.learning.irl.workspace import reward_map
    from imitation_ros.report.reward_plots import (
        plot_alternation,
        plot_reward_along,
        plot_reward_map,
    )

    name, seed = ('failure', trials.failed[1]) if trials.failed else ('random', TRIAL_SEED)

    def failing() -> Act:
        if trials.failed is None:
            return task.random_act(RANDOM_SEEDS)
        trials.failed[0].reset()
        return trials.failed[0].act

    episodes = {'demonstration': task.demonstrate([seed]), name: task.watch(failing(), [seed])}
    along = {each: reward.score_steps(steps) for each, steps in episodes.items()}
    steps, separation, success, returns = (
        [point[key] for point in trials.curve]
        for key in ('steps', 'separation', 'success', 'return')
    )
    paths = [
        plot_alternation(
            out / 'alternation.png', list(map(int, steps)), separation, success, returns
        ),
        plot_reward_along(out / 'reward_along.png', along, task.contract.rate_hz),
    ]
    seen = reward_map(reward, episodes['demonstration'], MAP_POINTS)
    if seen:
        paths.append(plot_reward_map(out / 'reward_map.png', *seen))
    behaviours: dict[str, Act] = {'demonstration': task.expert, name: failing()}
    paths.append(film_rewards(out / 'reward_film', task.env, reward, behaviours, seed))
    return paths
