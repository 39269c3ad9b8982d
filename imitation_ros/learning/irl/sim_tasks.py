"""The simulated arm's tasks as inverse reinforcement learning sets them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from imitation_ros.frames.contract import Contract
from imitation_ros.learning.irl.flat_env import FlatEnv
from imitation_ros.learning.irl.layout import Layout
from imitation_ros.learning.irl.transitions import TERMINATED, Transitions, transitions
from imitation_ros.sim.env import ArmEnv
from imitation_ros.sim.experts import make_expert
from imitation_ros.sim.rollout import Act, roll_out, Rollout
from imitation_ros.sim.tasks import make_task, Task
from imitation_ros.types import Action, Episode, Frame
import numpy as np


@dataclass(frozen=True)
class Score:
    """How well a task was done, over some scenes.

    Attributes:
        success: share of them in which the goal was held to the end.
        ticks: until the goal was held, on average; the horizon where it was not.
    """

    success: float
    ticks: float


class SimTask:
    """A task, with a fixed horizon or with the end that it has on a robot.

    With a fixed horizon an episode goes on at the goal, so that a reward cannot be earned by
    ending, or by not ending, it. Else it terminates once the goal has been held.

    Attributes:
        name: of the task.
        contract: of observations and actions.
        env: for roll-outs.
        expert: the scripted one.
        ticks_at_goal: at the end of a success, where the horizon is not fixed.
    """

    def __init__(
        self,
        name: str,
        contract: Contract,
        fixed_horizon: bool = True,
        make_env: Callable[[Task, Contract], ArmEnv] = ArmEnv,
    ) -> None:
        """Builds the simulation.

        Args:
            name: of the task.
            contract: of observations and actions.
            fixed_horizon: whether an episode goes on at the goal.
            make_env: the arm, or one that moves otherwise.

        Raises:
            TaskError: an unknown task, or a contract that simulation or expert cannot serve.
            RewardError: a contract with images, or with actions without limits.
        """
        self.name, self.contract = name, contract
        self._layout, self.expert = Layout(contract), make_expert(name, contract)
        task = make_task(name)
        self._task = replace(task, stay_ticks=task.horizon) if fixed_horizon else task
        self.ticks_at_goal = task.hold_ticks + task.stay_ticks
        self._fixed_horizon = fixed_horizon
        self._make_env = make_env
        self.env = make_env(self._task, contract)

    def simulator(self) -> FlatEnv:
        """Another simulation of it, for an actor."""
        return FlatEnv(self._make_env(self._task, self.contract), self._layout)

    def demonstrate(self, seeds: Sequence[int]) -> Transitions:
        """What the scripted expert does, an episode a scene."""
        return self.watch(self.expert, seeds)

    def act_randomly(self, seeds: Sequence[int]) -> Transitions:
        """What even chances do, an episode a scene."""
        return self.watch(self.random_act(seeds), seeds)

    def random_act(self, seeds: Sequence[int]) -> Act:
        """Even chances, other ones for other seeds."""
        rng = np.random.default_rng(tuple(seeds))

        def act(frame: Frame) -> Action:
            return self._layout.unflatten(rng.uniform(-1, 1, self._layout.action_size))

        return act

    def watch(self, act: Act, seeds: Sequence[int]) -> Transitions:
        """Steps of one episode a scene, numbered by the scenes' order."""
        return transitions([self.episode(act, seed) for seed in seeds], self.contract)

    def episode(self, act: Act, seed: int) -> Episode:
        """One, with whether the task ended it."""
        rollout = roll_out(self.env, act, seed)
        episode = rollout.to_episode()
        ended = self.terminated(rollout)
        return replace(episode, metadata={**episode.metadata, TERMINATED: ended})

    def terminated(self, rollout: Rollout) -> bool:
        """Whether the task ended a roll-out, and not its horizon."""
        return not self._fixed_horizon and rollout.ticks < self._task.horizon

    def success(self, act: Act, reset: Callable[[], None], seeds: Sequence[int]) -> float:
        """Share of scenes in which the goal is held to the end."""
        rollouts = self.roll_outs(act, reset, seeds)
        return sum(each.success for each in rollouts) / len(rollouts)

    def roll_outs(
        self, act: Act, reset: Callable[[], None], seeds: Sequence[int]
    ) -> list[Rollout]:
        """One a scene, each begun by a reset."""
        rollouts = []
        for seed in seeds:
            reset()
            rollouts.append(roll_out(self.env, act, seed))
        return rollouts

    def score(self, act: Act, reset: Callable[[], None], seeds: Sequence[int]) -> Score:
        """Success and ticks, where the task ends an episode."""
        found: list[tuple[bool, int]] = []
        for rollout in self.roll_outs(act, reset, seeds):
            needed = rollout.ticks - self._task.stay_ticks
            found.append((rollout.success, needed if rollout.success else self._task.horizon))
        successes, ticks = zip(*found)
        return Score(sum(successes) / len(found), sum(ticks) / len(found))
