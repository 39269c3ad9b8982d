"""The actor: stable-baselines3's SAC, TD3 or PPO, with layers that the policy node can run.

Observations are whitened by the demonstrations. Units of the actor are tanh, so that it can
be exported exactly (see `export`); those of the critic are rectifiers, as usual.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
import math
from typing import Any

from gymnasium import spaces
from imitation_ros.errors import ImitationError, one_of, RewardError
from imitation_ros.learning.irl.cloned import begin_as, check_clone, ClonedTD3Policy
from imitation_ros.learning.irl.critics import RectifiedCritics
from imitation_ros.learning.irl.network import RewardNetwork
from imitation_ros.learning.irl.replay import DemonstrationReplayBuffer
from imitation_ros.learning.irl.reward_env import RewardVecEnv
from imitation_ros.learning.irl.transitions import Transitions
from imitation_ros.learning.irl.whitened import Whitened
from imitation_ros.policies.policy import Policy
import numpy as np
from stable_baselines3 import PPO, SAC, TD3
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.noise import NormalActionNoise
from stable_baselines3.sac.policies import SACPolicy
from stable_baselines3.td3.policies import TD3Policy
from torch import nn
from torch.optim import Optimizer

ALGORITHMS = ('sac', 'td3', 'ppo')
USUAL_ENTROPY = {'sac': 1.0, 'td3': 1.0, 'ppo': 0.01}
"""TD3 has no use for it. With a bonus of 1, PPO would be paid for noise alone."""
CRITIC_FIRST = 1_000
"""Steps in which an actor that began as a clone acts, and its critic alone learns. What follows a
critic of random weights forgets at once: a clone of 100 % fell to 20 %, with this to 70 % (one
seed of `reach`)."""
EXPLORATION = 0.1
"""Deviation of TD3's noise, in half of an action's range."""


@dataclass(frozen=True)
class ActorConfig:
    """How the actor learns from a reward.

    Attributes:
        algorithm: 'sac', 'td3' (both off-policy) or 'ppo' (on-policy, discrete actions too).
        hidden: units of each layer, of actor and critic.
        learning_rate: of Adam.
        batch_size: of a gradient step; off-policy, half of it is demonstrated.
        gamma: discount.
        tau: how fast the target critics follow.
        learning_starts: steps of random actions before anything is learned, off-policy; none
            where the actor begins as a clone.
        gradient_steps: for each step of a simulator, off-policy.
        rollout_steps: of each simulator between two updates, on-policy.
        epochs: over these, on-policy.
        entropy: weight of the entropy bonus, beside advantages of deviation 1 for PPO; SAC starts
            from it and finds its own. None takes the algorithm's usual one.
        precision: of exploration: SAC's entropy is held at so much below 0 for each channel, and
            PPO begins with noise of deviation exp(1 - precision), in half of an action's range.
        simulators: in parallel.
        normalized: whether the critics' layers are, off-policy (see `RectifiedCritics`).
    """

    algorithm: str = 'sac'
    hidden: tuple[int, ...] = (128, 128)
    learning_rate: float = 1e-3
    batch_size: int = 256
    gamma: float = 0.97
    tau: float = 0.01
    learning_starts: int = 100
    gradient_steps: int = 1
    rollout_steps: int = 256
    epochs: int = 10
    entropy: float | None = None
    precision: float = 1.0
    simulators: int = 1
    normalized: bool = False

    def __post_init__(self) -> None:
        if self.algorithm not in ALGORITHMS:
            hint = one_of(self.algorithm, ALGORITHMS)
            raise ImitationError(f'algorithm: {self.algorithm!r}; {hint}')
        if self.entropy is None:  # named in every record
            object.__setattr__(self, 'entropy', USUAL_ENTROPY[self.algorithm])
        if not 0 < self.learning_rate < math.inf:
            raise ImitationError(f'learning_rate: {self.learning_rate}; valid: above 0')
        if not 0 < self.gamma < 1:
            raise ImitationError(f'gamma: {self.gamma}; valid: 0 to 1, neither of them')
        for name in ('batch_size', 'gradient_steps', 'rollout_steps', 'epochs', 'simulators'):
            if getattr(self, name) < 1:
                raise ImitationError(f'{name}: {getattr(self, name)}; valid: at least 1')


class _SACPolicy(RectifiedCritics, SACPolicy):
    pass


class _TD3Policy(RectifiedCritics, TD3Policy):
    pass


class _ClonedTD3(TD3):
    """Its actor waits until the critic knows the clone."""

    def _update_learning_rate(self, optimizers: list[Optimizer] | Optimizer) -> None:
        super()._update_learning_rate(optimizers)
        if self.num_timesteps < CRITIC_FIRST:
            for group in self.actor.optimizer.param_groups:
                group['lr'] = 0.0


def make_actor(
    config: ActorConfig,
    env: RewardVecEnv,
    scales: RewardNetwork,
    demonstrations: Transitions | None,
    seed: int,
    pace: Callable[[], float] = lambda: 1.0,
    clone: Policy | None = None,
) -> BaseAlgorithm:
    """An actor with random weights, or with those of a clone.

    Args:
        config: the settings.
        env: the simulators; their reward is that of each batch too.
        scales: how observations are whitened.
        demonstrations: half of each batch off-policy; None for none.
        seed: of weights and exploration.
        pace: share of the learning rate at present.
        clone: what it begins as, with as many units; None for random weights.

    Raises:
        RewardError: the algorithm cannot choose such actions, or not begin as the clone.
    """
    discrete = isinstance(env.action_space, spaces.Discrete)
    if discrete and config.algorithm != 'ppo':
        raise RewardError(f'algorithm: {config.algorithm} chooses no classes; valid: ppo')
    hidden = list(config.hidden)
    if clone is not None:
        check_clone(clone)
        hidden = list(clone.architecture.hidden)
    policy: dict[str, Any] = {
        'net_arch': {'pi': hidden, 'qf': list(config.hidden), 'vf': list(config.hidden)},
        'activation_fn': nn.Tanh,
        'optimizer_kwargs': {'fused': True},
        'features_extractor_class': Whitened,
        'features_extractor_kwargs': {
            'mean': scales.state_mean,
            'whitening': scales.whitening / scales.state_std[:, None],
        },
    }
    shared: dict[str, Any] = {
        'learning_rate': lambda _: config.learning_rate * pace(),
        'gamma': config.gamma,
        'policy_kwargs': policy,
        'batch_size': config.batch_size,
        'seed': seed,
        'device': 'cpu',
    }
    if config.algorithm == 'ppo':
        policy['log_std_init'] = 1.0 - config.precision
        model = PPO(
            'MlpPolicy', env, n_steps=config.rollout_steps, n_epochs=config.epochs,
            ent_coef=config.entropy or 0.0, **shared,
        )  # fmt: skip
        if clone is not None:
            begin_as(model.policy, clone, env.layout, scales)
        return model
    policy['normalized'] = config.normalized
    buffer = {'layout': env.layout, 'demonstrations': demonstrations, 'pay': env.pay}
    off_policy: dict[str, Any] = {
        'tau': config.tau,
        'learning_starts': config.learning_starts if clone is None else 0,
        'gradient_steps': config.gradient_steps * env.num_envs,
        'train_freq': 1,
        'buffer_size': 200_000,
        'replay_buffer_class': DemonstrationReplayBuffer,
        'replay_buffer_kwargs': buffer,
    }
    if config.algorithm == 'sac':
        if clone is not None:
            raise RewardError(
                'algorithm: sac ends in a tanh, and a clone in none; valid to begin as one: '
                'td3, ppo'
            )
        entropy = -config.precision * env.layout.action_size
        return SAC(
            _SACPolicy, env, ent_coef=f'auto_{config.entropy}', target_entropy=entropy,
            **off_policy, **shared,
        )  # fmt: skip
    size = env.layout.action_size
    noise = NormalActionNoise(np.zeros(size), np.full(size, EXPLORATION))
    if clone is None:
        return TD3(_TD3Policy, env, action_noise=noise, **off_policy, **shared)
    begun = _ClonedTD3(ClonedTD3Policy, env, action_noise=noise, **off_policy, **shared)
    for actor in (begun.actor, begun.actor_target):
        begin_as(actor, clone, env.layout, scales)
    return begun
