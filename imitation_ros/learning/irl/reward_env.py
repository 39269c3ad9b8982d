"""Simulators in parallel that pay out a learned reward, and remember what was done in them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from imitation_ros.learning.irl.layout import Layout
from imitation_ros.learning.irl.network import Batch
from imitation_ros.learning.irl.transitions import concatenated, Transitions
from imitation_ros.types import Array
import numpy as np
from stable_baselines3.common.vec_env import VecEnv, VecEnvWrapper
import torch
from torch import Tensor

Pay = Callable[[Batch, Tensor], Tensor]
"""Steps, and which of them (B,) are demonstrated, → rewards (B,)."""


class RewardVecEnv(VecEnvWrapper):
    """Replaces the reward by the present one of `pay`.

    Attributes:
        pay: asked at each step.
        layout: of the simulators.
    """

    def __init__(self, venv: VecEnv, layout: Layout, pay: Pay) -> None:
        """Wraps simulators that are `FlatEnv`s."""
        super().__init__(venv)
        self.pay, self.layout = pay, layout
        self._fresh: list[Transitions] = []
        self._episode = np.arange(venv.num_envs)
        self._observation = np.zeros((venv.num_envs, layout.observation_size), np.float32)
        self._action: Array = np.zeros((venv.num_envs, layout.action_size), np.float32)

    def fresh(self) -> Transitions | None:
        """What was done since the last call; None if nothing was."""
        steps, self._fresh = self._fresh, []
        return concatenated(steps) if steps else None

    def reset(self) -> Any:
        """Starts an episode in each."""
        self._observation = np.asarray(self.venv.reset(), np.float32)
        return self._observation

    def step_async(self, actions: Array) -> None:
        """Hands the actions out."""
        self._action = flat_actions(actions, self.layout).numpy()
        self.venv.step_async(actions)

    def step_wait(self) -> Any:
        """One step of each."""
        observation, _, dones, infos = self.venv.step_wait()
        after = np.array(observation, np.float32)
        for index in np.flatnonzero(dones):
            after[index] = infos[index]['terminal_observation']
        steps = Transitions(self._observation, self._action, after, self._episode.copy())
        self._fresh.append(steps)
        batch = (
            torch.from_numpy(steps.observation),
            torch.from_numpy(steps.action),
            torch.from_numpy(steps.next_observation),
        )
        rewards = self.pay(batch, torch.zeros(len(steps), dtype=torch.bool)).numpy()
        self._episode[dones] += self.venv.num_envs
        self._observation = np.asarray(observation, np.float32)
        return observation, rewards, dones, infos


def flat_actions(actions: Array | Tensor, layout: Layout) -> Tensor:
    """An actor's actions as the reward sees them, (B, a): discrete ones decided.

    Args:
        actions: (B, a) in -1..1, or (B,) or (B, 1) class indices of the only part.
        layout: of the contract.
    """
    (first, *others) = layout.actions.values()
    given = torch.as_tensor(actions)
    if given.dtype.is_floating_point or others or not first.discrete:
        return layout.decided(given.float())
    (part,) = layout.actions
    return torch.from_numpy(layout.flatten({part: given.reshape(-1, 1).numpy()}))


def classes(flat: Tensor) -> Tensor:
    """Flat actions (B, a) of a single discrete part, back to class indices (B,)."""
    return flat.argmax(1) if flat.shape[1] > 1 else (flat[:, 0] > 0).long()
