"""How a learned reward scores behaviour that it has not seen: near misses, clones, random.

The reward that the actor climbs is smooth. The one that judges is fitted afterwards, sharp, to
all that the actor has done and to the demonstrated states with disturbed actions: without those
it tells where an expert has been better than what it did there (counter-examples as in Florence
et al., Implicit Behavioral Cloning, CoRL 2021, eq. 2).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import product
import statistics
from typing import Any

from imitation_ros.episodes.training_set import TrainingSet
from imitation_ros.frames.contract import Contract, load_contract
from imitation_ros.learning.bc import BCConfig, train_bc
from imitation_ros.learning.irl.actor import ActorConfig
from imitation_ros.learning.irl.adversarial import AdversarialConfig, Imitator
from imitation_ros.learning.irl.network import RewardConfig
from imitation_ros.learning.irl.separation import auc, episode_means
from imitation_ros.learning.irl.sim_tasks import SimTask
from imitation_ros.learning.irl.trainer import RewardTrainer
from imitation_ros.learning.irl.transitions import concatenated, Transitions, transitions
from imitation_ros.policies.policy import use_one_thread
from imitation_ros.sim.experts import make_expert
from imitation_ros.sim.rollout import Act
from imitation_ros.types import Action, Array, Episode, Frame
import numpy as np

from bench.cloning import first_scene, parser_of, rows_name
from bench.harness import at_least
from bench.irl_tasks import progress_correlation, SCENES_A_SEED, SEEDS, VALIDATION_SEEDS
from bench.rows import Rows, say

LIMITS = {'near_miss': 0.9, 'clone': 0.9, 'random': 0.99}
KINDS = (*LIMITS, 'clone_failures')
"""Of the last, for what it says: a clone's successes can look just as the expert's."""
MISS_M = (0.04, 0.07)
"""How far beside the goal a near miss stops; within 0.03 m it would be a success."""
CLONE_SUCCESS = (0.5, 0.9)
DISTURBED = 1_000_000
"""Number of the first episode with disturbed actions, above those of the actor."""
UNUSED = 500
"""From this of a seed's scenes on, the reward has seen none: the clones' demonstrations."""


@dataclass(frozen=True)
class Setting:
    """One experiment.

    Attributes:
        demonstrations: episodes.
        reward: how the reward is trained that the actor climbs.
        imitation: the actor that it is trained against.
        judge: how the reward is trained that is looked at.
        judge_updates: of it.
        disturbance: largest deviation of disturbed actions, in half of an action's range.
        cloning: of the imperfect clones.
        clones_from: demonstrations of a clone; those that succeed as often as they should count.
        clones_epochs: over them, of a clone.
        scenes: of each kind of behaviour.
    """

    demonstrations: int = 100
    reward: RewardConfig = field(
        default_factory=lambda: RewardConfig(learning_rate=1e-3, penalty=0.3)
    )
    imitation: AdversarialConfig = field(
        default_factory=lambda: AdversarialConfig(ActorConfig(learning_starts=100), 1_500)
    )
    judge: RewardConfig = field(
        default_factory=lambda: RewardConfig(learning_rate=1e-3, penalty=0.01)
    )
    judge_updates: int = 4_000
    disturbance: float = 0.3
    cloning: BCConfig = field(
        default_factory=lambda: BCConfig(hidden=(64, 64), batch_size=128, validation_fraction=0.0)
    )
    clones_from: tuple[int, ...] = (2, 3, 4, 5, 6, 8)
    clones_epochs: tuple[int, ...] = (5, 10, 20, 40)
    scenes: int = 20


def main(argv: Sequence[str] | None = None) -> dict[str, Any]:
    """Learns for each seed; the value is the worst mean AUC of what a reward has not seen."""
    parser = parser_of(__doc__)
    parser.add_argument('--seeds', type=int, default=None, help='only the first so many')
    options = parser.parse_args(argv)
    use_one_thread()
    setting = Setting()
    seeds = (VALIDATION_SEEDS if options.validation else SEEDS)[: options.seeds]
    if options.quick:
        setting, seeds = quick(setting), seeds[:1]
    first = first_scene(options)
    kept = Rows(
        rows_name('irl_reward', options), {**asdict(setting), 'first_scene': first},
        options.quick, options.fresh,
    )  # fmt: skip
    rows = [kept.get(seed, lambda seed=seed: _run(setting, seed, first)) for seed in seeds]
    found = {name: [row['auc'][name] for row in rows if name in row['auc']] for name in KINDS}
    means = {name: round(statistics.mean(each), 4) for name, each in found.items() if each}
    return {
        'bench': 'irl_reward',
        'value': min(means[name] for name in ('near_miss', 'clone') if name in means),
        'pass': {
            f'AUC against {name}': at_least(means.get(name, 0.0), limit)
            for name, limit in LIMITS.items()
        },
        'means': means,
        'clones': [row['clones'] for row in rows],
        'progress_correlation': round(
            statistics.mean(row['progress_correlation'] for row in rows), 4
        ),
        'first_scene': first,
        'rows': rows,
    }


def quick(setting: Setting) -> Setting:
    """Everything happens, nothing is learned."""
    actor = replace(setting.imitation.actor, learning_starts=20)
    imitation = replace(setting.imitation, actor=actor, steps=150, watch_every=100)
    return replace(
        setting,
        imitation=imitation,
        demonstrations=3,
        judge_updates=20,
        clones_from=(2,),
        clones_epochs=(2,),
        scenes=2,
    )


def _run(setting: Setting, seed: int, first: int) -> dict[str, Any]:
    """Trains a reward, then scores behaviour that it has not seen, all in the same scenes."""
    contract = load_contract('panda_reach')
    task, expert = SimTask('reach', contract), make_expert('reach', contract)
    start = SCENES_A_SEED * seed
    shown = task.demonstrate(range(start, start + setting.demonstrations))
    trainer = RewardTrainer(shown, contract, setting.reward, seed)
    Imitator([task.simulator], trainer, setting.imitation, seed).run()
    judge = RewardTrainer(shown, contract, setting.judge, seed)
    judge.add(trainer.rollouts)
    judge.add(disturbed(shown, setting.disturbance, seed))
    judge.train(setting.judge_updates)
    reward = judge.reward()

    scenes = range(first, first + setting.scenes)
    beside = _beside(expert, contract, np.random.default_rng(seed))
    kinds = {'near_miss': task.watch(beside, scenes), 'random': task.act_randomly(scenes)}
    clones = _clones(setting, contract, task, seed, scenes)
    if clones:
        tried = [episode for episodes in clones.values() for episode in episodes]
        failed = [episode for episode in tried if episode.outcome == 'failure']
        kinds['clone'] = transitions(tried, contract)
        kinds['clone_failures'] = transitions(failed, contract)
    best = task.demonstrate(scenes)
    everything = concatenated([best, *(kinds[name] for name in ('near_miss', 'random'))])
    means = {name: _episodes(reward.score_steps(each), each) for name, each in kinds.items()}
    good = _episodes(reward.score_steps(best), best)
    row = {
        'seed': seed,
        'auc': {name: round(auc(good, each), 4) for name, each in means.items()},
        'score': {name: round(float(each.mean()), 4) for name, each in means.items()},
        'expert_score': round(float(good.mean()), 4),
        'clones': [
            {'demonstrations': few, 'epochs': epochs, 'success': _success(episodes)}
            for (few, epochs), episodes in clones.items()
        ],
        'progress_correlation': round(
            progress_correlation(reward.score_steps(everything), everything), 4
        ),
    }
    say(str(row))
    return row


def disturbed(steps: Transitions, deviation: float, seed: int) -> Transitions:
    """The same states with other actions, as episodes of their own.

    Args:
        steps: demonstrated.
        deviation: largest of the normal noise; each step's is drawn anew, from 0.
        seed: of the noise.
    """
    rng = np.random.default_rng(seed)
    noise = rng.normal(size=steps.action.shape) * rng.uniform(0, deviation, (len(steps), 1))
    action = (steps.action + noise).astype(np.float32)
    return replace(steps, action=action, episode=steps.episode + DISTURBED)


def _clones(
    setting: Setting, contract: Contract, task: SimTask, seed: int, scenes: range
) -> dict[tuple[int, int], list[Episode]]:
    """What each imperfect clone does: demonstrations and epochs that it had → its episodes."""
    start, clones = SCENES_A_SEED * seed + UNUSED, {}
    for few, epochs in product(setting.clones_from, setting.clones_epochs):
        shown = [task.episode(task.expert, start + each) for each in range(few)]
        config = replace(setting.cloning, epochs=epochs)
        clone, _ = train_bc(TrainingSet.from_episodes(shown, contract), config, seed)
        tried = []
        for scene in scenes:
            clone.reset()
            tried.append(task.episode(clone.act, scene))
        if CLONE_SUCCESS[0] <= _success(tried) <= CLONE_SUCCESS[1]:
            clones[few, epochs] = tried
    return clones


def _success(episodes: Sequence[Episode]) -> float:
    return statistics.mean(episode.outcome == 'success' for episode in episodes)


def _beside(expert: Act, contract: Contract, rng: np.random.Generator) -> Act:
    """The expert on its way to a place a little beside the goal, another one in each scene."""
    fields = contract.observation_specs['state'].fields
    goal = [at for at, name in enumerate(fields) if name.startswith('goal')]
    last, offset = [np.zeros(len(goal))], [np.zeros(len(goal))]

    def act(frame: Frame) -> Action:
        state = frame.observation['state'].copy()
        if not np.array_equal(state[goal], last[0]):
            last[0], direction = state[goal].copy(), rng.normal(size=len(goal))
            offset[0] = direction / np.linalg.norm(direction) * rng.uniform(*MISS_M)
        state[goal] += offset[0]
        return expert(Frame(frame.tick_ns, {'state': state}))

    return act


def _episodes(scores: Array, steps: Transitions) -> Array:
    return episode_means(scores, steps.episode)
