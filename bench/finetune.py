"""A clone of `pick_place` of about 60 %, fine-tuned by reinforcement, beside its teacher.

What is asked for is asked on the task's own reward. On a learned one alone, whose best behaviour
is the expert's, the same is printed: it is trained to tell the demonstrations from what the clone
does, then frozen, and its episodes go on at the goal.

Each training seed clones the scripted expert from several numbers of demonstrations and takes the
clone that is nearest 60 % on validation scenes. An evaluation is of what would be exported then,
not of the best so far; the first one is of the clone, in the same scenes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
import statistics
from typing import Any

from imitation_ros.episodes.training_set import TrainingSet
from imitation_ros.frames.contract import load_contract
from imitation_ros.learning.bc import BCConfig, train_bc
from imitation_ros.learning.finetune import fine_tune, FineTuneConfig, paid_by, Progress
from imitation_ros.learning.irl.network import RewardConfig
from imitation_ros.learning.irl.reward import Reward
from imitation_ros.learning.irl.sim_tasks import Score, SimTask
from imitation_ros.learning.irl.trainer import RewardTrainer
from imitation_ros.policies.policy import Policy, use_one_thread
from imitation_ros.sim.rollout import roll_out
import numpy as np

from bench.cloning import first_scene, parser_of, rows_name
from bench.harness import at_least, at_most, bootstrap_interval
from bench.rows import Rows, say

PICK_PLACE, CONTRACT = 'pick_place', 'panda_twist'
SEEDS, VALIDATION_SEEDS = range(1, 6), range(51, 54)
SCENES_A_SEED, VALIDATION_SCENES = 1_000, range(500_000, 500_040)
CLONE, DIP, EARLY = 0.6, 0.1, 10_000
AT_LEAST = 0.95
TASK, LEARNED = 'task', 'learned'
CLONE_SCENE, RANDOM_SCENE = 500, 900
"""Of a seed's block: the first in which the clone is watched, and chance, for a learned reward."""


@dataclass(frozen=True)
class Setting:
    """One experiment.

    Attributes:
        demonstrations: numbers of them to clone; what is fine-tuned sees as many.
        cloning: how.
        tuning: how the clone is improved.
        early_every: steps between two evaluations in the first 10,000.
        later_every: after them.
        scenes: of an evaluation.
        last_scenes: of the last one, and of clone and expert.
    """

    demonstrations: tuple[int, ...] = (12, 14, 16, 18, 20)
    cloning: BCConfig = field(default_factory=BCConfig)
    tuning: FineTuneConfig = field(default_factory=lambda: FineTuneConfig(watch_every=2_500))
    early_every: int = 2_500
    later_every: int = 10_000
    scenes: int = 50
    last_scenes: int = 100


@dataclass(frozen=True)
class RewardSetting:
    """How a reward is learned before the clone is improved on it.

    Attributes:
        config: how it is trained.
        watched: episodes of the clone, that it is trained against.
        random: episodes of chance, which score 0.
        updates: of the discriminator.
    """

    config: RewardConfig = field(
        default_factory=lambda: RewardConfig(learning_rate=3e-4, penalty=1.0)
    )
    watched: int = 100
    random: int = 10
    updates: int = 3_000


REWARDS: dict[str, tuple[Setting, RewardSetting | None]] = {
    TASK: (Setting(), None),
    LEARNED: (
        Setting(tuning=FineTuneConfig(task_share=0.0, watch_every=2_500)),
        RewardSetting(),
    ),
}


def main(argv: Sequence[str] | None = None) -> dict[str, Any]:
    """Fine-tunes for each seed; the value is the mean success at the end, on the first."""
    parser = parser_of(__doc__)
    parser.add_argument('--seeds', type=int, default=None, help='only the first so many')
    parser.add_argument(
        '--rewards',
        nargs='+',
        choices=REWARDS,
        default=list(REWARDS),
        help='that are learned from',
    )
    options = parser.parse_args(argv)
    use_one_thread()
    seeds = list(VALIDATION_SEEDS if options.validation else SEEDS)[: options.seeds]
    seeds = [50] if options.quick else seeds
    first = first_scene(options)
    rows: dict[str, list[dict[str, Any]]] = {}
    for name in options.rewards:
        setting, learned = REWARDS[name]
        if options.quick:
            setting, learned = _quick(setting), learned and _quick_reward(learned)
        settings = {**asdict(setting), **({'learned': asdict(learned)} if learned else {})}
        kept = Rows(
            rows_name('finetune' if learned is None else 'finetune_learned', options),
            {**settings, 'first_scene': first}, options.quick, options.fresh,
        )  # fmt: skip
        rows[name] = [
            kept.get(seed, partial(_run, setting, learned, seed, first)) for seed in seeds
        ]
    found = {name: _found(each) for name, each in rows.items()}
    conditions = {}
    if asked := found.get(TASK):
        conditions = {
            f'success >= {AT_LEAST}': at_least(asked['success'], AT_LEAST),
            f'below the clone in the first {EARLY} steps': at_most(asked['dip'], DIP),
            "ticks beyond the expert's, upper end of the interval": at_most(
                asked['ticks_beyond'][1], 0.0
            ),
        }
    return {
        'bench': 'finetune',
        'value': found[options.rewards[0]]['success'],
        'pass': conditions,
        'found': found,
        'first_scene': first,
        'rows': [{'reward': name, **row} for name, each in rows.items() for row in each],
    }


def _found(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """What the runs on one reward come to."""
    success = [row['last']['success'] for row in rows]
    beyond = [row['last']['ticks'] - row['expert']['ticks'] for row in rows]
    return {
        'success': round(statistics.mean(success), 4),
        'spread': [min(success), max(success)],
        'clone': round(statistics.mean(row['clone']['success'] for row in rows), 4),
        'dip': round(
            max(
                row['curve'][0]['success'] - point['success']
                for row in rows
                for point in row['curve']
                if point['steps'] <= EARLY
            ),
            4,
        ),
        'ticks_beyond': bootstrap_interval(beyond, np.mean),
    }


def _quick(setting: Setting) -> Setting:
    """Everything happens, nothing is learned."""
    return replace(
        setting,
        demonstrations=(2,),
        cloning=replace(setting.cloning, epochs=2),
        tuning=replace(setting.tuning, steps=60, warm_up=20, watch_every=20),
        early_every=20,
        scenes=1,
        last_scenes=1,
    )


def _quick_reward(learned: RewardSetting) -> RewardSetting:
    return replace(learned, watched=2, random=1, updates=5)


def _run(setting: Setting, learned: RewardSetting | None, seed: int, first: int) -> dict[str, Any]:
    contract = load_contract(CONTRACT)
    task = SimTask(PICK_PLACE, contract, fixed_horizon=False)
    demonstrations, clone = _clone(setting, seed, task)
    curve: list[dict[str, float]] = []

    def score(policy: Policy, count: int) -> Score:
        return task.score(policy.act, policy.reset, range(first, first + count))

    def watch(now: Progress) -> None:
        due = now.steps <= EARLY or now.steps % setting.later_every < setting.early_every
        if due:
            found = score(now.policy, setting.scenes)
            curve.append({'steps': now.steps, **asdict(found), 'pull': round(now.pull, 3)})
            say(f'  finetune seed {seed}: {curve[-1]}')

    watch(Progress(0, clone, 0.0, 1.0))
    last_scenes = range(first, first + setting.last_scenes)
    before = score(clone, setting.last_scenes)
    say(f'  finetune seed {seed}: clone of {demonstrations} demonstrations: {before}')
    practised, reward = task, None
    if learned is not None:  # at the goal a learned reward goes on paying
        practised = SimTask(PICK_PLACE, contract)
        reward = _learn(learned, practised, clone, demonstrations, seed)
    shown = paid_by(practised, _scenes(seed, demonstrations))
    tuned = fine_tune(clone, [practised.simulator], shown, setting.tuning, seed, reward, watch)
    return {
        'seed': seed,
        'demonstrations': demonstrations,
        'clone': asdict(before),
        'expert': asdict(task.score(task.expert, lambda: None, last_scenes)),
        'last': asdict(score(tuned, setting.last_scenes)),
        'curve': curve,
    }


def _learn(
    learned: RewardSetting, task: SimTask, clone: Policy, demonstrations: int, seed: int
) -> Reward:
    """A reward that tells the demonstrations from what the clone does."""
    shown = task.demonstrate(_scenes(seed, demonstrations))
    trainer = RewardTrainer(shown, task.contract, learned.config, seed)
    trainer.set_random(task.act_randomly(_scenes(seed, learned.random, RANDOM_SCENE)))
    trainer.add(task.watch(clone.act, _scenes(seed, learned.watched, CLONE_SCENE)))
    say(f'  finetune seed {seed}: {trainer.train(learned.updates)}')
    return trainer.reward()


def _clone(setting: Setting, seed: int, task: SimTask) -> tuple[int, Policy]:
    """The clone that is nearest 60 % on validation scenes, and of how many demonstrations."""
    found: list[tuple[float, int, Policy]] = []
    scenes = VALIDATION_SCENES[: setting.scenes]
    for count in setting.demonstrations:
        rollouts = [roll_out(task.env, task.expert, each) for each in _scenes(seed, count)]
        episodes = TrainingSet.from_episodes([r.to_episode() for r in rollouts], task.contract)
        policy, _ = train_bc(episodes, setting.cloning, seed)
        success = task.score(policy.act, policy.reset, scenes).success
        say(f'  finetune seed {seed}: {count} demonstrations: {success:.1%}')
        found.append((abs(success - CLONE), count, policy))
    _, count, policy = min(found, key=lambda each: each[:2])
    return count, policy


def _scenes(seed: int, count: int, first: int = 0) -> range:
    """So many of a training seed's block, from `first` on."""
    return range(SCENES_A_SEED * seed + first, SCENES_A_SEED * seed + first + count)
