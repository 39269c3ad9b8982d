"""What the figures of meta-imitation share: unseen tasks, baselines, and success by shots.

Tasks of training, validation and tests have seeds of their own, as scenes have, and half of the
tested tasks are from the region that is held out of training. What adapts sees demonstrations in
scenes that it is not tested in.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache
import statistics
import time
from typing import Any

from imitation_ros.frames.contract import Contract, load_contract
from imitation_ros.learning.meta.adaptation import adapt
from imitation_ros.learning.meta.family_data import demonstrate, make_tasks
from imitation_ros.learning.meta.meta_policy import MetaPolicy, Settings
from imitation_ros.learning.meta.meta_training import meta_train
from imitation_ros.learning.meta.training import MetaConfig, Task
from imitation_ros.policies.policy import use_one_thread
from imitation_ros.sim.env import ArmEnv
from imitation_ros.sim.experts import Fields
from imitation_ros.sim.families import Family, FamilyTask, make_family
from imitation_ros.sim.family_expert import FamilyExpert, XYZ
from imitation_ros.sim.rollout import Act, roll_out
from imitation_ros.types import Action, Episode, Frame
import numpy as np

from bench.cloning import first_scene, parser_of, rows_name
from bench.harness import at_least, bootstrap_interval
from bench.rows import Rows, say

SEED_BLOCK = 10_000
"""Of task seeds and of scenes a training seed."""
TASK_BLOCK = 20
"""Scenes of a tested task: demonstrations, then tests from the tenth on."""
OURS = 'context'
BASELINES = ('replay', 'final_pose', 'finetune', 'embedding')
"""`finetune` is the usual clone, which has a place in a list for each number. `embedding` is the
same method upon our decoder, which points at things: what is left of ours without an encoder."""
APPROACH_PER_S, FASTEST = 3.0, 0.35
"""How the final pose is gone to."""


@dataclass(frozen=True)
class Setting:
    """One experiment.

    Attributes:
        family: of tasks.
        tasks: that are trained on.
        demonstrations: of each.
        corrections: of each, pushed about.
        unseen: tasks by which the usual loss is found.
        training: of each method.
        methods: name → how it adapts.
        shots: numbers of demonstrations that are adapted to.
        tested: tasks of each of the two regions.
        scenes: of each tested task.
        seeds: trainings.
    """

    family: str
    tasks: int = 120
    demonstrations: int = 3
    corrections: int = 2
    unseen: int = 10
    training: dict[str, MetaConfig] = field(
        default_factory=lambda: {
            'context': MetaConfig(),
            'gradient': MetaConfig(steps=1000, tasks=8),
            'finetune': MetaConfig(),
            'embedding': MetaConfig(),
        }
    )
    methods: dict[str, Settings] = field(
        default_factory=lambda: {
            'context': Settings(),
            'gradient': Settings('gradient'),
            'finetune': Settings(
                'finetune', slots=False, inner_steps=100, inner_rate=1e-3, embedding_rate=0.1
            ),
            'embedding': Settings('finetune', inner_steps=300, embedding_rate=0.3),
        }
    )
    shots: tuple[int, ...] = (1, 2, 5)
    tested: int = 10
    scenes: int = 5
    seeds: int = 5

    def smaller(self) -> Setting:
        """Everything happens, nothing is learned."""
        tiny = MetaConfig(steps=2, tasks=2)
        return replace(
            self, tasks=3, demonstrations=2, corrections=1, unseen=1, tested=1, scenes=1,
            seeds=1, shots=(1, 2), training=dict.fromkeys(self.training, tiny),
        )  # fmt: skip


class Bench:
    """Trains and tests for one setting."""

    def __init__(self, setting: Setting, first: int) -> None:
        self.setting, self._first = setting, first
        self.family: Family = make_family(setting.family)
        self.contract: Contract = load_contract(self.family.contract)
        self.env = ArmEnv(self.family.draw(0), self.contract)
        self._data = lru_cache(maxsize=1)(self._make_data)

    def train(self, method: str, seed: int) -> tuple[MetaPolicy, float]:
        """A meta policy, and how long its training took (s, without the data)."""
        setting = self.setting
        tasks, unseen = self._data(seed)
        start = time.process_time()
        meta, _ = meta_train(
            tasks, unseen, self.contract, setting.methods[method], setting.training[method], seed
        )
        return meta, time.process_time() - start

    def run(self, method: str, seed: int) -> dict[str, Any]:
        """Success of a method for each number of demonstrations."""
        trained: dict[str, Any] = {}
        if method in self.setting.methods:
            meta, train_s = self.train(method, seed)
            trained = {'train_cpu_s': round(train_s, 1)}
            shots = self.setting.shots
        else:
            meta, shots = None, self.setting.shots[:1]  # type: ignore[assignment]
        success, adapt_s = {}, []
        for count in shots:
            outcomes: dict[str, list[bool]] = {'trained': [], 'held_out': []}
            for task, scene, region in self._tested():
                shown = [demonstrate(self.env, task, scene + k) for k in range(count)]
                start = time.perf_counter()
                make = self._actor(method, meta, task, shown)
                adapt_s.append(time.perf_counter() - start)
                outcomes[region] += self._outcomes(make, task, scene + TASK_BLOCK // 2)
            success[str(count)] = {
                **{region: _share(each) for region, each in outcomes.items()},
                'all': _share([*outcomes['trained'], *outcomes['held_out']]),
            }
        say(f'  {method} seed {seed}: {success}')
        return {
            'method': method, 'seed': seed, 'success': success,
            'adapt_s': round(statistics.median(adapt_s), 4), **trained,
        }  # fmt: skip

    def _make_data(self, seed: int) -> tuple[list[Task], list[Task]]:
        setting, first = self.setting, SEED_BLOCK * seed
        count = setting.tasks + setting.unseen
        tasks = [self.family.draw(first + index) for index in range(count)]
        made = make_tasks(self.env, tasks, first, setting.demonstrations, setting.corrections)
        return made[: setting.tasks], made[setting.tasks :]

    def _tested(self) -> list[tuple[FamilyTask, int, str]]:
        """Task, first scene and region."""
        regions = ('trained', 'held_out')
        return [
            (
                self.family.draw(self._first + index, region == 'held_out'),
                self._first + TASK_BLOCK * (2 * index + (region == 'held_out')),
                region,
            )
            for index in range(self.setting.tested)
            for region in regions
        ]

    def _actor(
        self, method: str, meta: MetaPolicy | None, task: FamilyTask, shown: Sequence[Episode]
    ) -> Callable[[], Act]:
        """Makes what drives in a scene."""
        if method == 'oracle':
            return lambda: FamilyExpert(task, self.contract)
        if method == 'replay':
            return lambda: replay(shown[0])
        if method == 'final_pose':
            return lambda: go_to_final_pose(shown[0], self.contract)
        assert meta is not None
        policy = adapt(meta, shown)

        def fresh() -> Act:
            policy.reset()
            return policy.act

        return fresh

    def _outcomes(self, make: Callable[[], Act], task: FamilyTask, first: int) -> list[bool]:
        self.env.simulator.ask(task)
        scenes = range(first, first + self.setting.scenes)
        return [roll_out(self.env, make(), scene).success for scene in scenes]


def replay(shown: Episode) -> Act:
    """The actions of a demonstration once more, and then its last one."""
    ticks = iter(range(len(shown)))

    def act(frame: Frame) -> Action:
        tick = next(ticks, len(shown) - 1)
        return {part: labels[tick] for part, labels in shown.actions.items()}

    return act


def go_to_final_pose(shown: Episode, contract: Contract) -> Act:
    """To where the demonstration's tool ended, with the gripper as it was there."""
    tool = Fields(contract)('tool/pose', XYZ)
    last = Frame(0, {name: array[-1] for name, array in shown.observations.items()})
    target = tool(last)

    def act(frame: Frame) -> Action:
        velocity = np.clip(APPROACH_PER_S * (target - tool(frame)), -FASTEST, FASTEST)
        action = {part: labels[-1] for part, labels in shown.actions.items()}
        return {**action, 'arm': velocity}

    return act


def meta_figure(
    setting: Setting,
    one_shot: float,
    argv: Sequence[str] | None,
    description: str | None,
    above: float | None = None,
    five_shots: float | None = None,
) -> dict[str, Any]:
    """Success on unseen tasks from each number of demonstrations, all methods side by side.

    Args:
        setting: of the experiment.
        one_shot: least success from one demonstration.
        argv: of the command line.
        description: of the measurement.
        above: by how much it must be better than the best baseline.
        five_shots: least success from the most demonstrations.
    """
    parser = parser_of(description)
    methods = [*setting.methods, 'replay', 'final_pose', 'oracle']
    parser.add_argument('--methods', nargs='+', choices=methods, default=methods)
    parser.add_argument('--seeds', type=int, default=None, help='only the first so many')
    options = parser.parse_args(argv)
    use_one_thread()
    setting = setting.smaller() if options.quick else setting
    first = first_scene(options)
    name = f'meta_{setting.family}'
    kept = {method: rows_of(setting, method, options) for method in options.methods}
    bench = Bench(setting, first)
    seeds = range(setting.seeds)[: options.seeds]
    rows = [
        kept[method].get(seed, lambda method=method, seed=seed: bench.run(method, seed))
        for seed in seeds
        for method in options.methods
        if method in setting.methods or seed == 0  # nothing is trained: all seeds are alike
    ]
    table = success_table(rows)
    fewest, most = str(setting.shots[0]), str(setting.shots[-1])
    ours = table.get(OURS, {})
    value = ours.get(fewest, {}).get('all', 0.0)
    held_out = ours.get(fewest, {}).get('held_out', 0.0)
    others = [table[each][fewest]['all'] for each in BASELINES if each in table]
    conditions = {
        f'success from one demonstration >= {one_shot}': at_least(value, one_shot),
        f'the same in the held-out region >= {one_shot}': at_least(held_out, one_shot),
    }
    if above is not None and others:
        gain = round(value - max(others), 4)
        conditions[f'above the best baseline >= {above}'] = at_least(gain, above)
    if five_shots is not None:
        best = ours.get(most, {}).get('all', 0.0)
        conditions[f'success from {most} demonstrations >= {five_shots}'] = at_least(
            best, five_shots
        )
    spread = [row['success'][fewest]['all'] for row in rows if row['method'] == OURS]
    return {
        'bench': name, 'value': value, 'pass': conditions, 'table': table, 'spread': spread,
        'interval': bootstrap_interval(spread, np.mean) if spread else None,
        'above': {
            method: round(value - each[fewest]['all'], 4)
            for method, each in table.items() if method != OURS
        },
        'first_scene': first, 'rows': rows,
    }  # fmt: skip


def rows_of(setting: Setting, method: str, options: argparse.Namespace) -> Rows:
    """Of one method: how another is set changes nothing about them."""
    own = replace(
        setting,
        methods={name: each for name, each in setting.methods.items() if name == method},
        training={name: each for name, each in setting.training.items() if name == method},
    )
    settings = {**asdict(own), 'first_scene': first_scene(options)}
    name = rows_name(f'meta_{setting.family}_{method}', options)
    return Rows(name, settings, options.quick, options.fresh)


def success_table(rows: Sequence[dict[str, Any]]) -> dict[str, dict[str, dict[str, float]]]:
    """Method → number of demonstrations → region → mean success over the training seeds."""
    table: dict[str, dict[str, dict[str, float]]] = {}
    for method in dict.fromkeys(row['method'] for row in rows):
        mine = [row['success'] for row in rows if row['method'] == method]
        table[method] = {
            count: {
                region: round(statistics.mean(each[count][region] for each in mine), 4)
                for region in mine[0][count]
            }
            for count in mine[0]
        }
    return table


def _share(outcomes: Sequence[bool]) -> float:
    return round(sum(outcomes) / len(outcomes), 4)
