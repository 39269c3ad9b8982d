"""What the figures of inverse reinforcement learning share: tasks, expert, random, one run.

Settings were chosen on validation seeds (50 and above) and validation scenes. A return is
normalized, so that random behaviour is 0 and the expert 1; that of `reach` is its success.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
import time
from typing import Any

import gymnasium
from imitation_ros.frames.contract import Contract, load_contract
from imitation_ros.learning.irl.adversarial import AdversarialConfig, Imitator
from imitation_ros.learning.irl.flat_env import FlatEnv
from imitation_ros.learning.irl.layout import Layout
from imitation_ros.learning.irl.network import Batch, RewardConfig
from imitation_ros.learning.irl.reward_env import Pay
from imitation_ros.learning.irl.sim_tasks import SimTask
from imitation_ros.learning.irl.trainer import RewardTrainer
from imitation_ros.learning.irl.transitions import TERMINATED, Transitions, transitions
from imitation_ros.policies.policy import Policy
from imitation_ros.types import Action, Array, Episode, Frame
import numpy as np
import torch
from torch import Tensor

from bench.gym_tasks import GymCollector, TASKS
from bench.rows import say

SEEDS = (1, 2, 3, 4, 5)
VALIDATION_SEEDS = (50, 51, 52)
SCENES_A_SEED = 1_000


@dataclass
class Task:
    """A task for imitation.

    Attributes:
        contract: of its observations and actions.
        simulator: makes another simulation of it.
        demonstrate: seeds of scenes → the expert's steps.
        watch: a policy, seeds of scenes → its steps.
        score: a policy → its normalized return.
    """

    contract: Contract
    simulator: Callable[[], FlatEnv]
    demonstrate: Callable[[Sequence[int]], Transitions]
    watch: Callable[[Policy, Sequence[int]], Transitions]
    score: Callable[[Policy], float]


class NamedArrays(gymnasium.Wrapper[Any, Any, Any, Any]):
    """An environment of Gymnasium, through a contract with one observation and one action."""

    def __init__(self, env: gymnasium.Env[Any, Any], contract: Contract) -> None:
        super().__init__(env)
        (self._observation,) = contract.observation_specs
        ((self._part, self._action),) = contract.action_specs.items()

    def reset(self, **options: Any) -> Any:
        """The first state, by name."""
        state, info = self.env.reset(**options)
        return {self._observation: state}, info

    def step(self, action: Action) -> Any:
        """One tick."""
        given = action[self._part]
        state, *rest = self.env.step(
            int(given[0]) if self._action.discrete else given.astype('float32')
        )
        return {self._observation: state}, *rest


def gym_task(name: str, scenes: Sequence[int], ticks: int = 10_000) -> Task:
    """One of `gym_tasks.TASKS`; demonstrations end after `ticks`."""
    task = TASKS[name]
    collector = GymCollector(task, ticks)
    contract = collector.contract
    layout = Layout(contract)
    expert = collector.score(task.expert, scenes, lambda: None)
    random = collector.random_score(scenes)

    def episode(act: Callable[[Frame], Action], seed: int) -> Episode:
        rollout = collector.roll_out(act, seed, ticks)
        return replace(rollout.to_episode(), metadata={TERMINATED: not rollout.success})

    def watch(policy: Policy, seeds: Sequence[int]) -> Transitions:
        return transitions([episode(policy.act, seed) for seed in seeds], contract)

    def score(policy: Policy) -> float:
        mean = collector.score(policy.act, scenes, policy.reset)
        return (mean - random) / (expert - random)

    return Task(
        contract,
        lambda: FlatEnv(NamedArrays(task.make(), contract), layout),
        lambda seeds: transitions([episode(task.expert, seed) for seed in seeds], contract),
        watch,
        score,
    )


def arm_task(
    name: str, contract_name: str, scenes: Sequence[int], fixed_horizon: bool = True
) -> Task:
    """The simulated arm; scores are success."""
    contract = load_contract(contract_name)
    task = SimTask(name, contract, fixed_horizon)
    return Task(
        contract,
        task.simulator,
        task.demonstrate,
        lambda policy, seeds: task.watch(policy.act, seeds),
        lambda policy: task.success(policy.act, policy.reset, scenes),
    )


def payments() -> dict[str, Pay | None]:
    """The learned reward, and what it must beat."""

    def constant(value: float) -> Pay:
        return lambda batch, demonstrated: torch.full((len(demonstrated),), value)

    def sqil(batch: Batch, demonstrated: Tensor) -> Tensor:
        return demonstrated.float()

    return {'learned': None, 'sqil': sqil, 'plus_one': constant(1.0), 'minus_one': constant(-1.0)}


def run(
    task: Task,
    demonstrations: Transitions,
    reward: RewardConfig,
    config: AdversarialConfig,
    seed: int,
    payment: str = 'learned',
    watch: Callable[[Imitator], dict[str, Any]] = lambda imitator: {},
) -> dict[str, Any]:
    """One run: a curve with a point every `watch_every` steps, and what `watch` adds to each."""
    trainer = RewardTrainer(demonstrations, task.contract, reward, seed)
    simulators = [task.simulator] * config.actor.simulators
    imitator = Imitator(simulators, trainer, config, seed, payments()[payment])
    curve: list[dict[str, Any]] = []
    busy_s = [0.0]
    began = [time.process_time()]

    def look(imitator: Imitator) -> None:
        busy_s[0] += time.process_time() - began[0]
        point = {
            'steps': imitator.steps,
            'score': round(task.score(imitator.policy()), 4),
            'cpu_s': round(busy_s[0], 1),
            **watch(imitator),
        }
        curve.append(point)
        say(f'  {payment} seed {seed}: {point}')
        began[0] = time.process_time()

    imitator.run(look)
    return {'seed': seed, 'payment': payment, 'curve': curve}


def first_at(curve: Sequence[dict[str, Any]], level: float) -> int | None:
    """Steps at the first point that reaches a level; None if none does."""
    return next((point['steps'] for point in curve if point['score'] >= level), None)


def held_from(curve: Sequence[dict[str, Any]], level: float) -> int | None:
    """Steps at the first point from which on all reach a level; None if the last does not."""
    reached = None
    for point in reversed(curve):
        if point['score'] < level:
            break
        reached = point['steps']
    return reached


def progress_correlation(scores: Array, reach: Transitions) -> float:
    """Rank correlation of a reward with how near the tool is to the goal, in steps of `reach`."""
    distance = np.linalg.norm(reach.observation[:, :3] - reach.observation[:, 3:6], axis=1)
    ranks = [np.argsort(np.argsort(values)) for values in (scores, -distance)]
    return float(np.corrcoef(*ranks)[0, 1])
