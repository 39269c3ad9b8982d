"""A replay buffer of what an actor did, and of what is to be done again.

Half of each batch is demonstrated (Ball et al., Efficient Online Reinforcement Learning with
Offline Data, ICML 2023), or of the actor's own episodes that succeeded, which show what to do in
states that nobody demonstrated (Oh et al., Self-Imitation Learning, ICML 2018).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from imitation_ros.learning.irl.layout import Layout
from imitation_ros.learning.irl.network import Batch, tensors
from imitation_ros.learning.irl.reward_env import flat_actions
from imitation_ros.learning.paid import Paid
from imitation_ros.types import Array
import numpy as np
from stable_baselines3.common.buffers import NStepReplayBuffer
from stable_baselines3.common.type_aliases import ReplayBufferSamples
from stable_baselines3.common.vec_env import VecNormalize
import torch
from torch import Tensor

Pay = Callable[[Batch, Tensor], Tensor]
"""Steps, and what the task paid for them (B,), → what they are worth (B,)."""
CUT = 'TimeLimit.truncated'
"""Key of `info`: the last step before a cut, after which the task would go on."""


class PaidBuffer(NStepReplayBuffer):
    """Own steps, then as many that are to be done again, with what the next few are worth.

    Of both it keeps as many as it was told; the oldest are forgotten, demonstrations first.
    Actions are kept as they are executed: a discrete part says -1 or 1.

    Attributes:
        lowest: what a step was worth so far, at least.
        highest: at most.
    """

    def __init__(
        self, *args: Any, demonstrations: Paid, layout: Layout, pay: Pay, **kwargs: Any
    ) -> None:
        """Takes what `NStepReplayBuffer` takes, demonstrations, and what steps are worth."""
        super().__init__(*args, **kwargs)
        self._again = NStepReplayBuffer(*args, **{**kwargs, 'n_envs': 1})
        self._layout, self._pay = layout, pay
        self._under_way: list[list[tuple[Any, ...]]] = [[] for _ in range(self.n_envs)]
        self.lowest, self.highest = np.inf, -np.inf
        observation, action, after = (
            each.numpy()[:, None] for each in tensors(demonstrations.steps)
        )
        worth = self._worth(observation, action, after, demonstrations.rewards)[:, None]
        goes_on = (after[:-1] == observation[1:]).all((1, 2))
        cut = np.append(~goes_on, True)[:, None]
        infos = [[{CUT: bool(each)}] for each in cut]
        for step in zip(observation, after, action, worth, cut, infos):
            self._again.add(*step)

    def add(
        self, obs: Array, next_obs: Array, action: Array, reward: Array, done: Array,
        infos: list[dict[str, Any]],
    ) -> None:  # fmt: skip
        """Keeps a step of each simulator, and a success also as what is to be done again."""
        action = flat_actions(action, self._layout).numpy()
        reward = self._worth(obs, action, next_obs, reward)
        super().add(obs, next_obs, action, reward, done, infos)
        for index, steps in enumerate(self._under_way):
            one = slice(index, index + 1)
            steps.append(tuple(x[one] for x in (obs, next_obs, action, reward, done, infos)))
            if done[index]:
                if infos[index].get('success'):
                    for step in steps:
                        self._again.add(*step)
                steps.clear()

    def sample(self, batch_size: int, env: VecNormalize | None = None) -> ReplayBufferSamples:
        """Of both."""
        again = self._again.sample(batch_size // 2, env)
        own = super().sample(batch_size - batch_size // 2, env)
        return ReplayBufferSamples(*map(torch.cat, zip(own, again)))  # type: ignore[arg-type]

    def _worth(self, observation: Array, action: Array, after: Array, paid: Array) -> Array:
        first, acted, then, pays = (
            torch.from_numpy(np.asarray(rows, np.float32).reshape(len(paid), -1))
            for rows in (observation, action, after, paid)
        )
        worth: Array = self._pay((first, acted, then), pays[:, 0]).numpy()
        self.lowest = min(self.lowest, float(worth.min()))
        self.highest = max(self.highest, float(worth.max()))
        return worth
