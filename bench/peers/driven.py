"""Our tasks as `imitation` wants them: a flat environment, an expert on arrays, a score.

Runs in the environment of that package, with older versions of Gymnasium and NumPy than ours.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import gymnasium
from gymnasium import spaces
from imitation_ros.frames.contract import Contract, load_contract, parse_contract
from imitation_ros.sim.env import ArmEnv
from imitation_ros.sim.experts import make_expert
from imitation_ros.sim.rollout import roll_out
from imitation_ros.sim.tasks import make_task
from imitation_ros.types import Action, Array, Frame
import numpy as np

from bench.gym_tasks import GymCollector, TASKS

ARM = {'reach': 'panda_reach', 'push': 'panda_push', 'pick_place': 'panda_twist'}
"""Task of the arm → contract."""
Act = Callable[[Frame], Action]


class Vectors:
    """A contract's action as one vector in [-1, 1], or as a class if it has nothing but one.

    The peer's policy has one distribution for all of its output: beside continuous parts, a part
    of two classes is a number, of which the sign counts.
    """

    def __init__(self, contract: Contract) -> None:
        self._specs = contract.action_specs
        sizes = [1 if spec.discrete else spec.shape[0] for spec in self._specs.values()]
        self._cuts = np.cumsum(sizes)[:-1]
        (first, *others) = self._specs.values()
        self.single_class = first.discrete and not others
        self.space: spaces.Space[Any] = (
            spaces.Discrete(len(first.classes))
            if self.single_class
            else spaces.Box(-1.0, 1.0, (sum(sizes),), np.float32)
        )

    def pack(self, action: Action) -> Array:
        """The peer's form of an action."""
        if self.single_class:
            (chosen,) = action.values()
            return chosen[0]
        return np.concatenate([self._scaled(part, action[part]) for part in self._specs])

    def unpack(self, vector: Array) -> Action:
        """The action back."""
        if self.single_class:
            return {part: np.array([int(vector)]) for part in self._specs}
        pieces = np.split(np.asarray(vector, float), self._cuts)
        return {part: self._real(part, piece) for part, piece in zip(self._specs, pieces)}

    def _scaled(self, part: str, values: Array) -> Array:
        spec = self._specs[part]
        if spec.discrete:
            return 2.0 * values - 1.0
        return 2.0 * (values - spec.low) / (spec.high - spec.low) - 1.0

    def _real(self, part: str, values: Array) -> Array:
        spec = self._specs[part]
        if spec.discrete:
            return (values > 0).astype(np.int64)
        return spec.low + 0.5 * (np.clip(values, -1, 1) + 1.0) * (spec.high - spec.low)


class Driven(gymnasium.Env[Array, Any]):
    """A task on flat arrays; each reset begins the next of its scenes.

    Attributes:
        ticks: after which an episode is cut; may be changed.
    """

    def __init__(
        self, task: str, scenes: Iterator[int], ticks: int, fixed_horizon: bool = False
    ) -> None:
        self._scenes, self.ticks = scenes, ticks
        self._env: gymnasium.Env[Any, Any]
        if task in ARM:
            contract = load_contract(ARM[task])
            self._env, self.expert = arm(task, fixed_horizon), make_expert(task, contract)
        else:
            contract = parse_contract(TASKS[task].contract)
            self._env, self.expert = TASKS[task].make(), TASKS[task].expert
        self._task, self.vectors = task, Vectors(contract)
        self.action_space = self.vectors.space
        shape = contract.observation_specs['state'].shape
        self.observation_space = spaces.Box(-np.inf, np.inf, shape, np.float32)
        self._elapsed = 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Array, dict[str, Any]]:
        """The next scene, whatever the seed."""
        self._elapsed = 0
        observation, _ = self._env.reset(seed=next(self._scenes))
        return self._flat(observation), {}

    def step(self, action: Any) -> tuple[Array, float, bool, bool, dict[str, Any]]:
        """One tick."""
        self._elapsed += 1
        wanted = self.vectors.unpack(action)
        (values, *_) = wanted.values()
        command = values.astype(np.float32) if not self.vectors.single_class else int(values[0])
        observation, reward, terminated, truncated, _ = self._env.step(
            wanted if self._task in ARM else command
        )
        truncated |= self._elapsed >= self.ticks
        return self._flat(observation), float(reward), terminated, truncated, {}

    def ask(self, observations: Array, *_: Any) -> tuple[Array, None]:
        """The expert's actions (n, …) in some states, as `imitation` asks for them."""
        frames = [Frame(0, {'state': state.astype(np.float64)}) for state in observations]
        return np.array([self.vectors.pack(self.expert(frame)) for frame in frames]), None

    def _flat(self, observation: Any) -> Array:
        state = observation['state'] if self._task in ARM else observation
        return np.asarray(state, np.float32)


def arm(task: str, fixed_horizon: bool) -> ArmEnv:
    """The simulated arm; with a fixed horizon an episode goes on at the goal."""
    found = make_task(task)
    stay_ticks = found.horizon if fixed_horizon else found.stay_ticks
    return ArmEnv(replace(found, stay_ticks=stay_ticks), load_contract(ARM[task]))


def scorer(task: str, scenes: range, fixed_horizon: bool = False) -> Callable[[Act], float]:
    """As our own policies are scored: 0 as random actions, 1 as the expert; success of the arm."""
    if task in ARM:
        env = arm(task, fixed_horizon)
        return lambda act: sum(roll_out(env, act, seed).success for seed in scenes) / len(scenes)
    collector = GymCollector(TASKS[task], 0)
    best = collector.score(TASKS[task].expert, scenes, lambda: None)
    worst = collector.random_score(scenes)
    return lambda act: (collector.score(act, scenes, lambda: None) - worst) / (best - worst)
