"""Tasks that are not ours: Gymnasium's CartPole and Pendulum, and PandaReach of panda-gym.

Each with its contract, an expert without memory, a collector for DAgger and a score.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
import statistics
from typing import Any

import gymnasium
from imitation_ros.errors import ImitationError
from imitation_ros.frames.contract import parse_contract
from imitation_ros.learning.dagger import Collected
from imitation_ros.learning.sim_collector import Hands, human_at
from imitation_ros.policies.checkpoint import load_checkpoint
from imitation_ros.sim.rollout import Rollout
from imitation_ros.supervision.gates import GateConfig, make_gate
from imitation_ros.types import Action, Array, Frame
import numpy as np

from bench.bc_cartpole import CONTRACT as CART_POLE
from bench.bc_cartpole import expert as balance

PENDULUM = """
name: pendulum
rate_hz: 20
command_hz: 20
observations:
  state:
    topic: pendulum/state  # cosine and sine of the angle, angular velocity
    type: std_msgs/msg/Float64MultiArray
    select: [data.0, data.1, data.2]
    max_age_s: 0.05
actions:
  torque:
    topic: pendulum/torque
    type: std_msgs/msg/Float64MultiArray
    kind: velocity
    units: rad/s
    select: [data.0]
    low: -2.0
    high: 2.0
    max_acceleration: 1000.0
"""
PANDA_REACH = """
name: panda_gym_reach
rate_hz: 25
command_hz: 25
observations:
  state:
    topic: panda/state  # position and velocity of the gripper, position of the goal
    type: std_msgs/msg/Float64MultiArray
    select: [data.0, data.1, data.2, data.3, data.4, data.5, data.6, data.7, data.8]
    max_age_s: 0.04
actions:
  gripper:
    topic: panda/velocity
    type: std_msgs/msg/Float64MultiArray
    kind: velocity
    units: m/s
    select: [data.0, data.1, data.2]
    low: -1.0
    high: 1.0
    max_acceleration: 1000.0
"""
APPROACH = 10.0
"""Of PandaReach's expert: action for each metre to the goal."""
GRAVITY_ENERGY = 5.0
"""Of the pendulum at rest upright: m g l / 2."""
HOLD, SWING = 0.5, 1.0
"""Angles (rad) up to which it is held, and from which on energy is pumped."""

Act = Callable[[Frame], Action]


def swing_up(frame: Frame) -> Action:
    """Pumps energy until the pendulum is nearly upright, and holds it there; without memory.

    Åström & Furuta, Swinging up a pendulum by energy control, Automatica 36 (2000).
    """
    cosine, sine, speed = frame.observation['state']
    angle = np.arctan2(sine, cosine)
    energy = speed**2 / 6 + GRAVITY_ENERGY * cosine
    swing = 2.0 * np.tanh((GRAVITY_ENERGY - energy) * speed)
    hold = np.clip(-10.0 * angle - 3.0 * speed, -2.0, 2.0)
    share = np.clip((abs(angle) - HOLD) / (SWING - HOLD), 0.0, 1.0)
    return {'torque': np.array([hold + share**2 * (3.0 - 2.0 * share) * (swing - hold)])}


def approach(frame: Frame) -> Action:
    """Straight to the goal, and stays there."""
    state = frame.observation['state']
    return {'gripper': np.clip(APPROACH * (state[6:9] - state[:3]), -1.0, 1.0)}


class FlatGoal(gymnasium.Wrapper[Any, Any, Any, Any]):
    """An environment with a goal, whose state ends with it; an episode goes on at the goal."""

    def reset(self, **options: Any) -> Any:
        """The first state."""
        seen, info = self.env.reset(**options)
        return self._flat(seen), info

    def step(self, action: Any) -> Any:
        """One tick."""
        seen, reward, _, truncated, info = self.env.step(action)
        return self._flat(seen), reward, False, truncated, info

    def _flat(self, seen: Any) -> Array:
        return np.concatenate([seen['observation'], seen['desired_goal']])


def panda_reach() -> gymnasium.Env[Any, Any]:
    """PandaReach-v3 of the PyPI package panda-gym.

    Raises:
        ImitationError: it is not installed.
    """
    try:
        import panda_gym  # noqa: F401, it registers its environments
    except ImportError:
        raise ImitationError(
            'PandaReach-v3 needs the package panda-gym; valid: once ./run test, which installs it'
        ) from None
    return FlatGoal(gymnasium.make('PandaReach-v3'))


@dataclass(frozen=True)
class GymTask:
    """An environment of Gymnasium.

    Attributes:
        make: the environment.
        contract: text; one observation 'state'.
        expert: from a frame to an action, without memory.
    """

    make: Callable[[], gymnasium.Env[Any, Any]]
    contract: str
    expert: Act


TASKS = {
    'CartPole-v1': GymTask(partial(gymnasium.make, 'CartPole-v1'), CART_POLE, balance),
    'Pendulum-v1': GymTask(partial(gymnasium.make, 'Pendulum-v1'), PENDULUM, swing_up),
    'PandaReach-v3': GymTask(panda_reach, PANDA_REACH, approach),
}


class GymCollector:
    """Implements `dagger.Collector` for an environment of Gymnasium.

    Attributes:
        task: name of its contract.
        contract: of the policies.
    """

    def __init__(self, task: GymTask, demonstrated_ticks: int, ticks: int | None = None) -> None:
        """Demonstrations, and other episodes, are cut after so many ticks."""
        self.contract = parse_contract(task.contract)
        self.task = self.contract.name
        self._task, self._demonstrated_ticks, self._ticks = task, demonstrated_ticks, ticks
        self._env = task.make()

    def collect(
        self, checkpoint: Path | None, gate: GateConfig, seeds: Sequence[int], out: Path
    ) -> list[Collected]:
        """Rolls out one episode for each seed; records nothing."""
        if checkpoint is None:
            return [self._demonstrate(seed) for seed in seeds]
        policy = load_checkpoint(checkpoint, self.contract)
        chooser = make_gate(gate, self.contract.action_specs)
        collected = []
        for episode, seed in enumerate(seeds):
            policy.reset()
            chooser.start(episode)
            hands = Hands(policy, self._task.expert, chooser, human_at(gate, self.contract))
            rollout = self.roll_out(hands.act, seed, self._ticks)
            collected.append(hands.collected(rollout, self.contract))
        return collected

    def score(self, act: Act, seeds: Sequence[int], reset: Callable[[], None]) -> float:
        """Mean return."""
        returns = []
        for seed in seeds:
            reset()
            returns.append(float(self.roll_out(act, seed).rewards.sum()))
        return statistics.mean(returns)

    def random_score(self, seeds: Sequence[int]) -> float:
        """Mean return of actions drawn evenly."""
        (part, spec), *_ = self.contract.action_specs.items()
        rng = np.random.default_rng(0)

        def act(frame: Frame) -> Action:
            if spec.low is None or spec.high is None:
                return {part: rng.integers(len(spec.classes), size=1)}
            return {part: rng.uniform(spec.low, spec.high)}

        return self.score(act, seeds, lambda: None)

    def _demonstrate(self, seed: int) -> Collected:
        rollout = self.roll_out(self._task.expert, seed, self._demonstrated_ticks)
        ticks = rollout.ticks
        return Collected(rollout.to_episode(), seed, True, ticks, ticks, ticks, 0)

    def roll_out(self, act: Act, seed: int, ticks: int | None = None) -> Rollout:
        """One episode, or its first ticks; a success if it was not terminated."""
        state, _ = self._env.reset(seed=seed)
        states: list[Array] = []
        actions: list[Array] = []
        rewards: list[float] = []
        (part, spec), *_ = self.contract.action_specs.items()
        terminated = truncated = False
        while not (terminated or truncated or len(states) == ticks):
            states.append(state.astype(np.float64))
            frame = Frame(len(states) * self.contract.tick_period_ns, {'state': states[-1]})
            actions.append(act(frame)[part])
            command = int(actions[-1][0]) if spec.discrete else actions[-1].astype(np.float32)
            state, reward, terminated, truncated, _ = self._env.step(command)
            rewards.append(float(reward))
        stamps = (1 + np.arange(len(states))) * self.contract.tick_period_ns
        labels = {part: np.array(actions)}
        return Rollout(
            seed, stamps, {'state': np.array(states)}, labels, labels, np.array(rewards),
            not terminated,
        )  # fmt: skip
