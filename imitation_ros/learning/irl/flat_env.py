"""A simulated task as stable-baselines3 takes it: flat observations, flat or discrete actions."""

from __future__ import annotations

from typing import Any

import gymnasium
from gymnasium import spaces
from imitation_ros.errors import RewardError
from imitation_ros.learning.irl.layout import Layout
from imitation_ros.learning.irl.transitions import absorbing
from imitation_ros.supervision.guard import Refused
from imitation_ros.types import Array
import numpy as np

ABSORBING = 'absorbing'
"""Key of `info`: the step was taken in the absorbing state, and none in the simulation."""


class FlatEnv(gymnasium.Env[Array, Any]):
    """An environment of a contract, such as `ArmEnv`, laid out by a `Layout`.

    It never terminates. Where the task does, one more step follows, from the absorbing state to
    itself, and there the episode is cut, so that an actor goes on valuing it for ever
    (Kostrikov et al., Discriminator-Actor-Critic, ICLR 2019, §4.2).

    Attributes:
        layout: of its vectors.
        steps: taken in the simulation.
        successes: of the episodes that have ended, in order.
    """

    def __init__(self, env: gymnasium.Env[Any, Any], layout: Layout) -> None:
        """Wraps an environment with observations and actions by name."""
        self.layout, self._env = layout, env
        self.observation_space = spaces.Box(-np.inf, np.inf, (layout.observation_size,))
        specs = list(layout.actions.values())
        alone = len(specs) == 1 and specs[0].discrete
        self.action_space = (
            spaces.Discrete(len(specs[0].classes))
            if alone
            else spaces.Box(-1.0, 1.0, (layout.action_size,))
        )
        self.steps = 0
        self.successes: list[bool] = []
        self._ended = False

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Array, dict[str, Any]]:
        """Starts an episode; see the wrapped environment."""
        super().reset(seed=seed)
        observation, info = self._env.reset(seed=seed, options=options)
        self._ended = False
        return self.layout.observe(observation), info

    def step(self, action: Any) -> tuple[Array, float, bool, bool, dict[str, Any]]:
        """One step of the simulation, or the one in the absorbing state.

        Raises:
            RewardError: the action is not finite, or the guard does not let it pass.
        """
        if self._ended:
            end = absorbing(self.layout.observation_size)
            return end, 0.0, False, True, {ABSORBING: True, 'success': self.successes[-1]}
        if not np.isfinite(action).all():
            raise RewardError(f'the action is not finite: {np.asarray(action).tolist()}')
        try:
            observation, reward, terminated, truncated, info = self._env.step(self._action(action))
        except Refused as refused:
            raise RewardError(f'the simulation refuses the action: {refused.reason}') from None
        self.steps += 1
        if terminated or truncated:
            self.successes.append(bool(info.get('success', not terminated)))
        self._ended = terminated
        flat = self.layout.observe(observation)
        if terminated:
            flat = absorbing(self.layout.observation_size)
        return flat, float(reward), False, truncated and not terminated, info

    def close(self) -> None:
        """Closes the wrapped environment."""
        self._env.close()

    def _action(self, action: Any) -> Any:
        if isinstance(self.action_space, spaces.Discrete):
            (part,) = self.layout.actions
            return {part: np.array([int(action)])}
        return self.layout.unflatten(action)
