"""A replay buffer with the demonstrations in it, whose rewards are those of now.

Half of each batch is demonstrated (Reddy, Dragan & Levine, SQIL, ICLR 2020, algorithm 1), and
what a step is worth is asked when it is learned from, not when it was taken (Kostrikov et al.,
Discriminator-Actor-Critic, ICLR 2019, algorithm 1).
"""

from __future__ import annotations

from typing import Any

from imitation_ros.learning.irl.layout import Layout
from imitation_ros.learning.irl.network import Batch, tensors
from imitation_ros.learning.irl.reward_env import flat_actions, Pay
from imitation_ros.learning.irl.transitions import Transitions
import numpy as np
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.type_aliases import ReplayBufferSamples
from stable_baselines3.common.vec_env import VecNormalize
import torch


class DemonstrationReplayBuffer(ReplayBuffer):
    """See the module's text; without demonstrations, all of a batch is the actor's own."""

    def __init__(
        self, *args: Any, layout: Layout, demonstrations: Transitions | None, pay: Pay,
        **kwargs: Any,
    ) -> None:  # fmt: skip
        """Takes what `ReplayBuffer` takes, the demonstrations, and what steps are worth."""
        super().__init__(*args, **kwargs)
        self._layout, self._pay = layout, pay
        self._shown: Batch | None = tensors(demonstrations) if demonstrations else None

    def sample(self, batch_size: int, env: VecNormalize | None = None) -> ReplayBufferSamples:
        """Own steps, then demonstrated ones, as many of each."""
        shown = 0 if self._shown is None else batch_size // 2
        own = super().sample(batch_size - shown, env)
        observation, action, after = own.observations, own.actions, own.next_observations
        dones = own.dones
        if self._shown is not None:
            rows = torch.from_numpy(np.random.randint(len(self._shown[0]), size=shown))
            drawn = [part[rows] for part in self._shown]
            observation = torch.cat([observation, drawn[0]])
            action = torch.cat([action, drawn[1]])
            after = torch.cat([after, drawn[2]])
            dones = torch.cat([dones, torch.zeros(shown, 1)])  # they stop, they do not terminate
        demonstrated = torch.arange(len(observation)) >= len(observation) - shown
        batch = observation, flat_actions(action, self._layout), after
        rewards = self._pay(batch, demonstrated)[:, None]
        return ReplayBufferSamples(observation, action, after, dones, rewards)
