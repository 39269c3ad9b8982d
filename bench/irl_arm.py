"""What `irl_reach` and `irl_push` share: a learned reward, beside cloning and fixed rewards.

`--peers` runs GAIL of the PyPI package `imitation` beside it (`gail_peer.py`), with the same
demonstrations, gradient steps and scenes.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
import statistics
from typing import Any

from imitation_ros.episodes.training_set import TrainingSet
from imitation_ros.frames.contract import load_contract
from imitation_ros.learning.bc import BCConfig, train_bc
from imitation_ros.learning.irl.adversarial import AdversarialConfig
from imitation_ros.learning.irl.network import RewardConfig
from imitation_ros.learning.irl.sim_tasks import SimTask
from imitation_ros.policies.policy import use_one_thread
from imitation_ros.sim.experts import make_expert

from bench.cloning import first_scene, parser_of, rows_name
from bench.gail_peer import gail_rows, GailSetting
from bench.harness import at_least, at_most
from bench.imitation_peer import add_options, Peer
from bench.irl_tasks import (
    arm_task,
    first_at,
    held_from,
    payments,
    run,
    SEEDS,
    VALIDATION_SEEDS,
)
from bench.rows import Rows, say

SHARE_OF_PEER = 0.5
"""Of the peer's median steps to that success."""
SCENES_A_SEED, SCENES = 1_000, 50
CLONING = 'cloning'
NEVER = float('inf')


@dataclass(frozen=True)
class Setting:
    """One experiment.

    Attributes:
        demonstrations: episodes, with a fixed horizon.
        reward: how the reward is trained.
        imitation: how the actor and it take turns.
        cloning: the clone beside it.
        scenes: that a policy is tested in.
        fixed_horizon: whether an episode goes on at the goal; else it terminates there.
    """

    reward: RewardConfig
    imitation: AdversarialConfig
    demonstrations: int = 20
    cloning: BCConfig = field(default_factory=BCConfig)
    scenes: int = SCENES
    fixed_horizon: bool = True


@dataclass(frozen=True)
class Figure:
    """One of the arm's tasks, and what is asked of it.

    Attributes:
        task: of the arm.
        contract: of observations and actions.
        setting: how it is learned.
        peer: how GAIL of `imitation` learns it.
        at_least: success.
    """

    task: str
    contract: str
    setting: Setting
    peer: GailSetting
    at_least: float


def arm_figure(figure: Figure, argv: Sequence[str] | None, doc: str | None) -> dict[str, Any]:
    """Learns with each reward for each seed; the value is the mean success of the learned one."""
    parser = parser_of(doc)
    parser.add_argument('--seeds', type=int, default=None, help='only the first so many')
    parser.add_argument('--ends', action='store_true', help='episodes terminate at the goal')
    parser.add_argument(
        '--methods', nargs='+', choices=[*payments(), CLONING], default=[*payments(), CLONING]
    )
    add_options(parser)
    options = parser.parse_args(argv)
    use_one_thread()
    setting = replace(figure.setting, fixed_horizon=not options.ends)
    seeds = (VALIDATION_SEEDS if options.validation else SEEDS)[: options.seeds]
    if options.quick:
        setting, seeds = quick(setting), seeds[:1]
    first = first_scene(options)
    name = f'irl_{figure.task}' + ('_ends' if options.ends else '')
    kept = Rows(
        rows_name(name, options), {**asdict(setting), 'first_scene': first},
        options.quick, options.fresh,
    )  # fmt: skip
    rows = {
        method: [
            kept.get(
                f'{method} {seed}',
                lambda method=method, seed=seed: _run(figure, setting, method, seed, first),
            )
            for seed in seeds
        ]
        for method in options.methods
    }
    success = {
        method: [row['curve'][-1]['score'] for row in runs] for method, runs in rows.items()
    }
    means = {method: round(statistics.mean(scores), 4) for method, scores in success.items()}
    value = means.get('learned', 0.0)
    constants = [means[each] for each in ('plus_one', 'minus_one') if each in means]
    conditions = {f'success >= {figure.at_least}': at_least(value, figure.at_least)}
    if constants:
        conditions['above constant rewards'] = at_least(value - max(constants), 0.05)
    reached = [first_at(row['curve'], figure.at_least) for row in rows.get('learned', [])]
    peers = _peers(figure, setting, name, options, seeds, first)
    peers_reached = [first_at(row['curve'], figure.at_least) for row in peers]
    if peers and reached:
        share = _median(reached, NEVER) / _median(peers_reached, figure.peer.steps)
        conditions[f'share of the steps of imitation <= {SHARE_OF_PEER}'] = at_most(
            round(share, 4), SHARE_OF_PEER
        )
    return {
        'bench': name,
        'value': value,
        'pass': conditions,
        'means': means,
        'success': success,
        'first_at': reached,
        'imitation_first_at': peers_reached,
        'imitation_success': [row['curve'][-1]['score'] for row in peers],
        'held_from': [held_from(row['curve'], figure.at_least) for row in rows.get('learned', [])],
        'steps': setting.imitation.steps,
        'first_scene': first,
        'rows': [row for runs in rows.values() for row in runs],
        'imitation_rows': peers,
    }


def _median(reached: Sequence[int | None], never: float) -> float:
    """Steps, where those that never got there count as so many."""
    return statistics.median(never if steps is None else steps for steps in reached)


def _peers(
    figure: Figure,
    setting: Setting,
    name: str,
    options: argparse.Namespace,
    seeds: Sequence[int],
    first: int,
) -> list[dict[str, Any]]:
    """A row a seed; none without `--peers`."""
    if not options.peers:
        return []
    asked = replace(figure.peer, fixed_horizon=setting.fixed_horizon)
    if options.quick:
        asked = replace(asked, steps=20, watch_every=10)
    scenes = range(first, first + setting.scenes)
    with Peer(options) as peer:
        return gail_rows(peer, name, figure.task, asked, seeds, scenes)


def quick(setting: Setting) -> Setting:
    """Everything happens, nothing is learned."""
    actor = replace(setting.imitation.actor, learning_starts=20)
    imitation = replace(setting.imitation, actor=actor, steps=150, watch_every=100)
    cloning = replace(setting.cloning, epochs=2)
    return replace(setting, demonstrations=3, imitation=imitation, cloning=cloning, scenes=2)


def _run(figure: Figure, setting: Setting, method: str, seed: int, first: int) -> dict[str, Any]:
    scenes = range(first, first + setting.scenes)
    task = arm_task(figure.task, figure.contract, scenes, setting.fixed_horizon)
    seeds = range(SCENES_A_SEED * seed, SCENES_A_SEED * seed + setting.demonstrations)
    if method != CLONING:
        shown = task.demonstrate(seeds)
        return run(task, shown, setting.reward, setting.imitation, seed, method)
    contract = load_contract(figure.contract)
    sim = SimTask(figure.task, contract, setting.fixed_horizon)
    expert = make_expert(figure.task, contract)
    episodes = TrainingSet.from_episodes([sim.episode(expert, each) for each in seeds], contract)
    policy, _ = train_bc(episodes, setting.cloning, seed)
    score = task.score(policy)
    say(f'  cloning seed {seed}: {score}')
    return {'seed': seed, 'payment': CLONING, 'curve': [{'steps': 0, 'score': score}]}
