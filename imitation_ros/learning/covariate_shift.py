"""Covariate shift: a clone errs more on its own states than on the demonstrator's.

On demonstrations it never leaves the states it learned from. On its own, small errors lead to
states that no demonstration shows, where it errs more (Ross and Bagnell, Efficient Reductions for
Imitation Learning, AISTATS 2010). Here the distance of its action from the expert's is measured on
both, tick by tick.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from imitation_ros.frames.actions import action_distance
from imitation_ros.policies.policy import Policy
from imitation_ros.sim.env import ArmEnv
from imitation_ros.sim.rollout import roll_out
from imitation_ros.types import Action, Array, Episode, Frame, Spec
import numpy as np

Expert = Callable[[Frame], Action]


def on_own_states(
    policy: Policy, expert: Expert, env: ArmEnv, seeds: Sequence[int]
) -> tuple[Array, int]:
    """Lets the policy drive and asks the expert about each state that it comes to.

    Returns:
        (episodes, ticks) distances, NaN after an episode's end, and how many succeeded.
    """
    specs = env.contract.action_specs
    rows: list[list[float]] = []

    def act(frame: Frame) -> Action:
        action = policy.act(frame)
        rows[-1].append(action_distance(action, expert(frame), specs))
        return action

    successes = 0
    for seed in seeds:
        rows.append([])
        policy.reset()
        successes += roll_out(env, act, seed).success
    return _padded(rows), successes


def on_demonstrations(
    policy: Policy, episodes: Iterable[Episode], specs: Mapping[str, Spec]
) -> Array:
    """Asks the policy about each state of demonstrations that it was not fitted to.

    Returns:
        (episodes, ticks) distances from the demonstrated action, NaN after an episode's end.
    """
    rows = []
    for episode in episodes:
        policy.reset()
        rows.append(
            [
                action_distance(
                    policy.act(_frame(episode, index)),
                    {part: labels[index] for part, labels in episode.actions.items()},
                    specs,
                )
                for index in range(len(episode))
            ]
        )
    return _padded(rows)


def _frame(episode: Episode, index: int) -> Frame:
    arrays = episode.observations.items()
    return Frame(int(episode.tick_ns[index]), {name: array[index] for name, array in arrays})


def _padded(rows: list[list[float]]) -> Array:
    padded = np.full((len(rows), max(map(len, rows), default=0)), np.nan)
    for index, row in enumerate(rows):
        padded[index, : len(row)] = row
    return padded
