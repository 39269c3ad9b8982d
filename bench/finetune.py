"""A clone of `pick_place` of about 60 %, fine-tuned on the task's own reward, beside its teacher.

Each training seed clones the scripted expert from several numbers of demonstrations and takes the
clone that is nearest 60 % on validation scenes. An evaluation is of what would be exported then,
not of the best so far; the first one is of the clone, in the same scenes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
import statistics
from typing import Any

from imitation_ros.episodes.training_set import TrainingSet
from imitation_ros.frames.contract import load_contract
from imitation_ros.learning.bc import BCConfig, train_bc
from imitation_ros.learning.finetune import fine_tune, FineTuneConfig, paid_by, Progress
from imitation_ros.learning.irl.sim_tasks import Score, SimTask
from imitation_ros.policies.policy import Policy, use_one_thread
from imitation_ros.sim.rollout import roll_out
import numpy as np

from bench.cloning import first_scene, parser_of, rows_name
from bench.harness import at_least, at_most, bootstrap_interval
from bench.rows import Rows, say

TASK, CONTRACT = 'pick_place', 'panda_twist'
SEEDS, VALIDATION_SEEDS = range(1, 6), range(51, 54)
SCENES_A_SEED, VALIDATION_SCENES = 1_000, range(500_000, 500_040)
CLONE, DIP, EARLY = 0.6, 0.1, 10_000
AT_LEAST = 0.95


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


def main(argv: Sequence[str] | None = None) -> dict[str, Any]:
    """Fine-tunes for each seed; the value is the mean success at the end."""
    parser = parser_of(__doc__)
    parser.add_argument('--seeds', type=int, default=None, help='only the first so many')
    options = parser.parse_args(argv)
    use_one_thread()
    setting = Setting()
    seeds = list(VALIDATION_SEEDS if options.validation else SEEDS)[: options.seeds]
    if options.quick:
        setting, seeds = _quick(setting), [50]
    first = first_scene(options)
    kept = Rows(
        rows_name('finetune', options), {**asdict(setting), 'first_scene': first},
        options.quick, options.fresh,
    )  # fmt: skip
    rows = [kept.get(str(seed), lambda seed=seed: _run(setting, seed, first)) for seed in seeds]
    success = statistics.mean(row['last']['success'] for row in rows)
    dip = max(
        row['curve'][0]['success'] - point['success']
        for row in rows
        for point in row['curve']
        if point['steps'] <= EARLY
    )
    faster = [row['last']['ticks'] - row['expert']['ticks'] for row in rows]
    low, high = bootstrap_interval(faster, np.mean)
    return {
        'bench': 'finetune',
        'value': round(success, 4),
        'pass': {
            f'success >= {AT_LEAST}': at_least(round(success, 4), AT_LEAST),
            f'below the clone in the first {EARLY} steps': at_most(round(dip, 4), DIP),
            "ticks beyond the expert's, upper end of the interval": at_most(high, 0.0),
        },
        'interval': [low, high],
        'spread': [min(row['last']['success'] for row in rows),
                   max(row['last']['success'] for row in rows)],
        'first_scene': first,
        'rows': rows,
    }  # fmt: skip


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


def _run(setting: Setting, seed: int, first: int) -> dict[str, Any]:
    contract = load_contract(CONTRACT)
    task = SimTask(TASK, contract, fixed_horizon=False)
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
    shown = paid_by(task, _scenes(seed, demonstrations))
    tuned = fine_tune(clone, [task.simulator], shown, setting.tuning, seed, watch=watch)
    return {
        'seed': seed,
        'demonstrations': demonstrations,
        'clone': asdict(before),
        'expert': asdict(task.score(task.expert, lambda: None, last_scenes)),
        'last': asdict(score(tuned, setting.last_scenes)),
        'curve': curve,
    }


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


def _scenes(seed: int, count: int) -> range:
    return range(SCENES_A_SEED * seed, SCENES_A_SEED * seed + count)
