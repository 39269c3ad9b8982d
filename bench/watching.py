"""Success of `reach` from 20 demonstrations without actions, beside BCO and cloning with them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
import statistics
from typing import Any

from imitation_ros.episodes.training_set import TrainingSet
from imitation_ros.frames.contract import load_contract
from imitation_ros.learning.bc import BCConfig, train_bc
from imitation_ros.learning.irl.actor import ActorConfig
from imitation_ros.learning.irl.adversarial import AdversarialConfig
from imitation_ros.learning.irl.network import RewardConfig
from imitation_ros.learning.irl.sim_tasks import SimTask
from imitation_ros.learning.irl.watching import InverseConfig, InverseDynamics
from imitation_ros.policies.policy import use_one_thread
from imitation_ros.sim.experts import make_expert
from imitation_ros.types import Episode

from bench.cloning import first_scene, parser_of, rows_name
from bench.harness import at_least
from bench.irl_tasks import arm_task, run, SCENES_A_SEED, SEEDS, VALIDATION_SEEDS
from bench.rows import Rows, say

AT_LEAST = 0.9
LEARNED, BCO, CLONING = 'learned', 'bco', 'cloning_with_actions'
OWN_SCENES = 500
"""Of a seed's block: where the robot tries random actions for the inverse dynamics."""


@dataclass(frozen=True)
class Setting:
    """One experiment.

    Attributes:
        demonstrations: episodes, with a fixed horizon.
        reward: how the reward is trained.
        imitation: how the actor and it take turns.
        inverse: how BCO's inverse dynamics are fitted.
        own_episodes: of random actions, that they are fitted to; as many steps as IRL gets.
        cloning: of BCO's inferred actions, and of the true ones.
        scenes: that a policy is tested in.
    """

    demonstrations: int = 20
    reward: RewardConfig = field(
        default_factory=lambda: RewardConfig('state_next', learning_rate=1e-3, penalty=0.3)
    )
    imitation: AdversarialConfig = field(
        default_factory=lambda: AdversarialConfig(
            ActorConfig(learning_starts=100), 2_000, annealing=0.1, watch_every=1_000
        )
    )
    inverse: InverseConfig = field(default_factory=InverseConfig)
    own_episodes: int = 20
    cloning: BCConfig = field(default_factory=BCConfig)
    scenes: int = 50


def main(argv: Sequence[str] | None = None) -> dict[str, Any]:
    """Learns in each way for each seed; the value is the mean success of the learned reward."""
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
        rows_name('watching', options), {**asdict(setting), 'first_scene': first},
        options.quick, options.fresh,
    )  # fmt: skip
    ways = {LEARNED: _learn, BCO: _name_actions, CLONING: _clone}
    rows = [
        kept.get(f'{name} {seed}', lambda way=way, seed=seed: way(setting, seed, first))
        for name, way in ways.items()
        for seed in seeds
    ]
    success = {
        name: [row['success'] for row in rows if row['way'] == name] for name in ways
    }  # fmt: skip
    means = {name: round(statistics.mean(each), 4) for name, each in success.items()}
    return {
        'bench': 'watching',
        'value': means[LEARNED],
        'pass': {f'success >= {AT_LEAST}': at_least(means[LEARNED], AT_LEAST)},
        'means': means,
        'success': success,
        'steps': setting.imitation.steps,
        'first_scene': first,
        'rows': rows,
    }


def quick(setting: Setting) -> Setting:
    """Everything happens, nothing is learned."""
    actor = replace(setting.imitation.actor, learning_starts=20)
    imitation = replace(setting.imitation, actor=actor, steps=60, watch_every=30)
    return replace(
        setting, demonstrations=2, imitation=imitation, inverse=InverseConfig(updates=20),
        own_episodes=1, cloning=replace(setting.cloning, epochs=2), scenes=2,
    )  # fmt: skip


def _learn(setting: Setting, seed: int, first: int) -> dict[str, Any]:
    """By a reward of states and next states; the demonstrations hold no action."""
    task = arm_task('reach', 'panda_reach', range(first, first + setting.scenes))
    shown = task.demonstrate(_shown_scenes(setting, seed)).without_actions()
    row = run(task, shown, setting.reward, setting.imitation, seed)
    return {'way': LEARNED, 'success': row['curve'][-1]['score'], **row}


def _name_actions(setting: Setting, seed: int, first: int) -> dict[str, Any]:
    """By cloning the actions that an inverse dynamics model names (BCO)."""
    contract = load_contract('panda_reach')
    task = SimTask('reach', contract)
    shown = task.demonstrate(_shown_scenes(setting, seed))
    start = SCENES_A_SEED * seed + OWN_SCENES
    own = task.act_randomly(range(start, start + setting.own_episodes))
    model = InverseDynamics(own, contract, setting.inverse, seed)
    watched = shown.without_actions()
    row = _cloned(setting, task, model.episodes(watched), seed, first)
    error = abs(model.infer(watched) - shown.action).mean()
    return {'way': BCO, 'own_steps': len(own), 'action_error': round(float(error), 4), **row}


def _clone(setting: Setting, seed: int, first: int) -> dict[str, Any]:
    """What there is to lose: cloning with the true actions."""
    contract = load_contract('panda_reach')
    task, expert = SimTask('reach', contract), make_expert('reach', contract)
    episodes = [task.episode(expert, scene) for scene in _shown_scenes(setting, seed)]
    return {'way': CLONING, **_cloned(setting, task, episodes, seed, first)}


def _cloned(
    setting: Setting, task: SimTask, episodes: Sequence[Episode], seed: int, first: int
) -> dict[str, Any]:
    training_set = TrainingSet.from_episodes(episodes, task.contract)
    policy, _ = train_bc(training_set, setting.cloning, seed)
    scenes = range(first, first + setting.scenes)
    success = round(task.success(policy.act, policy.reset, scenes), 4)
    say(f'  cloned, seed {seed}: {success}')
    return {'seed': seed, 'success': success}


def _shown_scenes(setting: Setting, seed: int) -> range:
    return range(SCENES_A_SEED * seed, SCENES_A_SEED * seed + setting.demonstrations)
