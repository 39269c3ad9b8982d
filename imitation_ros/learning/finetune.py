"""Imitation, then reinforcement: a cloned policy improved on a reward, beyond its teacher.

The actor begins as the clone. Its critic learns alone at first, from what the clone does and from
the demonstrations; then the actor follows the critic, and is pulled towards the demonstrated
actions, and elsewhere towards what the clone would do (TD3+BC: Fujimoto & Gu, A Minimalist
Approach to Offline Reinforcement Learning, NeurIPS 2021, eq. 3). The pull is let go as the actor
succeeds where the clone failed, and is back if it does not. A part of the pull stays: towards
demonstrations and the actor's own successes, where the critic finds what was done there better
than what the actor would do (Nair et al., Overcoming Exploration in Reinforcement Learning with
Demonstrations, ICRA 2018, eq. 5). Critics have normalized layers (Ball et al., Efficient Online
Reinforcement Learning with Offline Data, ICML 2023), see several steps ahead, and believe in no
value that the rewards cannot add up to.

The reward is the task's own, a learned one, or a mix. Alone, an adversarial reward is at its best
where the actor does as the expert; only with the task's own may the actor pass its teacher.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
import copy
from dataclasses import dataclass
from typing import Any

from imitation_ros.errors import ImitationError, RewardError
from imitation_ros.learning.irl.cloned import begin_as, check_clone, ClonedTD3Policy
from imitation_ros.learning.irl.export import export
from imitation_ros.learning.irl.flat_env import FlatEnv
from imitation_ros.learning.irl.layout import Layout
from imitation_ros.learning.irl.network import Batch, RewardConfig, RewardNetwork, Scales, tensors
from imitation_ros.learning.irl.reward import Reward
from imitation_ros.learning.irl.sim_tasks import SimTask
from imitation_ros.learning.irl.transitions import transitions
from imitation_ros.learning.irl.whitened import Whitened
from imitation_ros.learning.paid import Paid
from imitation_ros.learning.paid_buffer import PaidBuffer, Pay
from imitation_ros.policies.policy import Policy
from imitation_ros.sim.rollout import roll_out
import numpy as np
from stable_baselines3 import TD3
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.noise import NormalActionNoise, VectorizedActionNoise
from stable_baselines3.common.type_aliases import ReplayBufferSamples
from stable_baselines3.common.utils import polyak_update, update_learning_rate
from stable_baselines3.common.vec_env import DummyVecEnv
from stable_baselines3.td3.policies import Actor, TD3Policy
import torch
from torch import nn, Tensor
from torch.nn import functional

RECENT = 30
"""Episodes that the actor's present success is told from."""
AVERAGING = 0.001
"""Share of what is exported, the average of the last weights, that an actor's update replaces."""


@dataclass(frozen=True)
class FineTuneConfig:
    """How a clone is improved.

    Attributes:
        steps: of all simulators together.
        task_share: how much of the reward is the task's own; the rest is the learned one.
        warm_up: steps in which the clone acts and the critic alone learns.
        pull: weight of the pull towards demonstrations and clone, before it is let go.
        let_go: steps in which it is, where the actor always succeeds as often as the clone.
        kept: share of the pull that stays, towards what the critic finds better.
        learning_rate: of Adam, for actor and critic, at first.
        batch_size: of a gradient step; half of it is demonstrated.
        gamma: discount.
        ahead: steps whose rewards are seen before the rest is guessed.
        tau: how fast the targets follow.
        noise: deviation of the exploration, in half of an action's range, at first.
        floor: share of learning rate and noise that is left in the end; they fall evenly.
        critic: units of each of its layers.
        watch_every: steps between two calls of the watcher, which is also called at the end.
    """

    steps: int = 150_000
    task_share: float = 1.0
    warm_up: int = 3_000
    pull: float = 2.0
    let_go: int = 30_000
    kept: float = 0.5
    learning_rate: float = 3e-4
    batch_size: int = 128
    gamma: float = 0.99
    ahead: int = 5
    tau: float = 0.01
    noise: float = 0.1
    floor: float = 0.1
    critic: tuple[int, ...] = (256, 256)
    watch_every: int = 2_000

    def __post_init__(self) -> None:
        for name in ('steps', 'let_go', 'batch_size', 'ahead', 'watch_every'):
            if getattr(self, name) < 1:
                raise ImitationError(f'{name}: {getattr(self, name)}; valid: at least 1')
        for name in ('warm_up', 'pull', 'noise'):
            if getattr(self, name) < 0:
                raise ImitationError(f'{name}: {getattr(self, name)}; valid: at least 0')
        for name in ('task_share', 'kept', 'floor'):
            if not 0 <= getattr(self, name) <= 1:
                raise ImitationError(f'{name}: {getattr(self, name)}; valid: 0 to 1')
        if not 0 <= self.gamma < 1:
            raise ImitationError(f'gamma: {self.gamma}; valid: 0 to 1, without 1')
        if self.learning_rate <= 0:
            raise ImitationError(f'learning_rate: {self.learning_rate}; valid: above 0')


def paid_by(task: SimTask, seeds: Sequence[int]) -> Paid:
    """What the task pays its scripted expert, an episode a scene.

    Raises:
        ImitationError: no scene.
    """
    if not seeds:
        raise ImitationError('0 demonstrations; valid: at least 1')
    shown = [roll_out(task.env, task.expert, seed) for seed in seeds]
    steps = transitions([each.to_episode() for each in shown], task.contract)
    return Paid(steps, np.concatenate([each.rewards[:-1] for each in shown]))


@dataclass(frozen=True)
class Progress:
    """How it goes, for who watches.

    Attributes:
        steps: of all simulators so far.
        policy: the present one.
        success: of the last episodes while exploring.
        pull: what is left of it, 0..1.
    """

    steps: int
    policy: Policy
    success: float
    pull: float


def fine_tune(
    clone: Policy,
    simulators: Sequence[Callable[[], FlatEnv]],
    demonstrations: Paid,
    config: FineTuneConfig,
    seed: int,
    reward: Reward | None = None,
    watch: Callable[[Progress], None] = lambda progress: None,
) -> Policy:
    """Improves a clone by reinforcement learning.

    Args:
        clone: where it begins; of vectors, without history, chunks, members and deviations.
        simulators: what makes each of them; their rewards are the task's.
        demonstrations: of the task.
        config: the settings.
        seed: of critic, exploration and scenes.
        reward: the learned one; needed where `task_share` is below 1.
        watch: called every `watch_every` steps, and at the end.

    Raises:
        RewardError: a clone that no actor can begin as, the learned reward is missing, or no
            demonstration is paid.
    """
    check_clone(clone)
    _check_moves(clone)
    demonstrations = demonstrations.known
    if reward is None and config.task_share < 1:
        raise RewardError(f'task_share {config.task_share} needs a learned reward')
    layout = Layout(clone.contract)
    scales = RewardNetwork(RewardConfig(), Scales.fit(demonstrations.steps))
    env = DummyVecEnv(list(simulators))
    model = _PulledTD3(
        ClonedTD3Policy, env, clone, demonstrations, config,
        pay=lambda batch, paid: _mixed(config.task_share, reward, batch, paid),
        policy_kwargs={
            'net_arch': {'pi': list(clone.architecture.hidden), 'qf': list(config.critic)},
            'activation_fn': nn.Tanh,
            'normalized': True,
            'optimizer_kwargs': {'fused': True},
            'features_extractor_class': Whitened,
            'features_extractor_kwargs': {
                'mean': scales.state_mean,
                'whitening': scales.whitening / scales.state_std[:, None],
            },
        },
        seed=seed,
    )  # fmt: skip
    model.begin(clone, scales, demonstrations)

    def policy() -> Policy:
        return export(model.average, layout, scales)

    watched = _Watched(model, config, policy, watch)
    model.learn(config.steps * 2, callback=watched)
    watched.show()
    return policy()


def _check_moves(clone: Policy) -> None:
    """Makes sure that an action can be improved a little."""
    parts = clone.contract.action_specs
    if len(parts) == 1 and all(spec.discrete for spec in parts.values()):
        raise RewardError(
            f'actions.{next(iter(parts))}: discrete, and the only part; valid: a continuous one, '
            'since the actor of TD3 moves along the gradient of its critic'
        )


def _mixed(share: float, reward: Reward | None, batch: Batch, paid: Tensor) -> Tensor:
    """Rewards (B,) of steps for which the task paid `paid` (B,)."""
    if reward is None or share == 1:
        return paid
    learned = reward.calibration.apply(reward.raw(batch).numpy())
    return share * paid + (1 - share) * torch.from_numpy(np.asarray(learned, np.float32))


class _PulledTD3(TD3):
    """TD3 whose actor is pulled towards demonstrations and clone."""

    def __init__(
        self, policy: type[TD3Policy], env: DummyVecEnv, clone: Policy, demonstrations: Paid,
        config: FineTuneConfig, pay: Pay, **kwargs: Any,
    ) -> None:  # fmt: skip
        self._layout = Layout(clone.contract)
        super().__init__(
            policy, env, config.learning_rate, learning_starts=0, batch_size=config.batch_size,
            tau=config.tau, gamma=config.gamma, train_freq=1, gradient_steps=env.num_envs,
            replay_buffer_class=PaidBuffer, buffer_size=200_000,
            replay_buffer_kwargs={
                'demonstrations': demonstrations, 'layout': self._layout, 'pay': pay,
                'n_steps': config.ahead, 'gamma': config.gamma,
            },
            device='cpu', **kwargs,
        )  # fmt: skip
        self.config, self._simulators = config, env
        self._before: float | None = None
        self._moved = 0
        self.pull = 1.0
        self._fall()

    def begin(self, clone: Policy, scales: RewardNetwork, demonstrations: Paid) -> None:
        """Starts as the clone, which is also what it is pulled to."""
        begin_as(self.actor, clone, self._layout, scales)
        _fit_channels(self.actor, self._layout, tensors(demonstrations.steps)[0])
        self.actor_target.load_state_dict(self.actor.state_dict())
        self._clone, self.average = (
            copy.deepcopy(self.actor).requires_grad_(False) for _ in range(2)
        )

    @property
    def taken(self) -> int:
        """Steps of all simulators so far."""
        return sum(self._simulators.get_attr('steps'))

    @property
    def success(self) -> float:
        """Of the last episodes; 0 before there is one."""
        recent = [
            each for ones in self._simulators.get_attr('successes') for each in ones[-RECENT:]
        ]
        return float(np.mean(recent)) if recent else 0.0

    @property
    def _possible(self) -> tuple[float, float]:
        """The lowest and the highest value that rewards as so far can add up to."""
        buffer = self.replay_buffer
        assert isinstance(buffer, PaidBuffer)
        return buffer.lowest / (1 - self.gamma), buffer.highest / (1 - self.gamma)

    def train(self, gradient_steps: int, batch_size: int = 100) -> None:
        """TD3's, with the pull; the actor waits until the critic knows the clone."""
        assert self.replay_buffer is not None
        self._fall()
        warm = self.taken >= self.config.warm_up
        if warm:
            self._let_go()
        for _ in range(gradient_steps):
            self._n_updates += 1
            batch = self.replay_buffer.sample(batch_size)
            self._teach_critic(batch)
            if warm and self._n_updates % self.policy_delay == 0:
                self._teach_actor(batch)

    def _fall(self) -> None:
        """Of learning rate and noise, by the steps that are taken."""
        left = 1 - (1 - self.config.floor) * min(1.0, self.taken / self.config.steps)
        for optimizer in (self.actor.optimizer, self.critic.optimizer):
            update_learning_rate(optimizer, self.config.learning_rate * left)
        size = self._layout.action_size
        noise = NormalActionNoise(np.zeros(size), np.full(size, self.config.noise * left))
        self.action_noise = VectorizedActionNoise(noise, self._simulators.num_envs)

    def _let_go(self) -> None:
        """Of the pull, while the actor succeeds as often as the clone; takes it back while not."""
        taken, success = self.taken, self.success
        if self._before is None:
            self._before, self._moved = success, taken
        less = (taken - self._moved) / self.config.let_go
        self._moved = taken
        change = -less if success >= self._before else less
        self.pull = min(1.0, max(0.0, self.pull + change))

    def _teach_critic(self, batch: ReplayBufferSamples) -> None:
        assert batch.discounts is not None
        with torch.no_grad():
            noise = batch.actions.clone().normal_(0, self.target_policy_noise)
            noise = noise.clamp(-self.target_noise_clip, self.target_noise_clip)
            after = (self.actor_target(batch.next_observations) + noise).clamp(-1, 1)
            after = self._layout.decided(after)
            values = torch.cat(self.critic_target(batch.next_observations, after), 1)
            least = values.min(1, keepdim=True).values.clamp(*self._possible)
            target = batch.rewards + (1 - batch.dones) * batch.discounts * least
        found = self.critic(batch.observations, batch.actions)
        loss = torch.stack([functional.mse_loss(value, target) for value in found]).sum()
        self.critic.optimizer.zero_grad()
        loss.backward()
        self.critic.optimizer.step()
        polyak_update(self.critic.parameters(), self.critic_target.parameters(), self.tau)

    def _teach_actor(self, batch: ReplayBufferSamples) -> None:
        own = len(batch.actions) - len(batch.actions) // 2
        action = self.actor(batch.observations)
        value = self.critic.q1_forward(batch.observations, action)
        with torch.no_grad():
            towards = torch.cat([self._clone(batch.observations[:own]), batch.actions[own:]])
            better = self.critic.q1_forward(batch.observations, towards) > value
            better[:own] = False  # nothing of the clone stays
            strength = (self.config.kept * better).clamp(min=self.pull)
        pull = self.config.pull * (strength * (action - towards) ** 2).mean()
        loss = pull - value.mean() / value.abs().mean().detach()
        self.actor.optimizer.zero_grad()
        loss.backward()
        self.actor.optimizer.step()
        polyak_update(self.actor.parameters(), self.actor_target.parameters(), self.tau)
        polyak_update(self.actor.parameters(), self.average.parameters(), AVERAGING)


@torch.no_grad()
def _fit_channels(actor: Actor, layout: Layout, observation: Tensor) -> None:
    """Scales channels of discrete parts to 1 on average, which changes no decision.

    A clone's logits are some 20 apart: noise and gradients between -1 and 1 hardly get there, and
    a gripper that closed beside the cube stays closed.
    """
    *_, last, _ = actor.mu
    channels = actor.mu[:-1](actor.extract_features(observation, actor.features_extractor))
    for part, spec in layout.actions.items():
        if spec.discrete:
            rows = layout.slices[part]
            size = channels[:, rows].abs().mean()
            for parameter in last.parameters():
                parameter[rows] /= size


class _Watched(BaseCallback):
    """Ends after the steps, and shows the policy on the way."""

    def __init__(
        self,
        model: _PulledTD3,
        config: FineTuneConfig,
        policy: Callable[[], Policy],
        watch: Callable[[Progress], None],
    ) -> None:
        super().__init__()
        self._pulled, self._config = model, config
        self._policy, self._watch = policy, watch
        self._watched = 0

    def _on_step(self) -> bool:
        if self._pulled.taken - self._watched >= self._config.watch_every:
            self.show()
        return self._pulled.taken < self._config.steps

    def show(self) -> None:
        """Shows the policy, unless it is the one that was shown last."""
        pulled = self._pulled
        if self._watched < pulled.taken:
            self._watched = pulled.taken
            self._watch(Progress(pulled.taken, self._policy(), pulled.success, pulled.pull))
