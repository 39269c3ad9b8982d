"""The alternation: the actor acts, the reward learns to tell it from the expert, the actor learns.

Ho & Ermon, Generative Adversarial Imitation Learning, NIPS 2016, algorithm 1; off-policy as in
Kostrikov et al., Discriminator-Actor-Critic, ICLR 2019, algorithm 1. The policy that comes of it
is, off-policy, the average of the actor's weights over its last updates: an adversarial actor
circles around its fixed point, and the average lies nearer to it (Yazıcı et al., The Unusual
Effectiveness of Averaging in GAN Training, ICLR 2019). PPO's updates are too few to average over.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
import copy
from dataclasses import dataclass, field

from imitation_ros.errors import ImitationError, RewardError
from imitation_ros.learning.irl.actor import ActorConfig, make_actor
from imitation_ros.learning.irl.export import AnyActor, export
from imitation_ros.learning.irl.flat_env import FlatEnv
from imitation_ros.learning.irl.network import Batch
from imitation_ros.learning.irl.reward_env import classes, Pay, RewardVecEnv
from imitation_ros.learning.irl.trainer import RewardTrainer
from imitation_ros.policies.policy import Policy
from stable_baselines3 import PPO, SAC
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.distributions import SquashedDiagGaussianDistribution
from stable_baselines3.common.vec_env import DummyVecEnv
import torch
from torch import Tensor

OWN, DEMONSTRATED = 0.0, 1.0


@dataclass(frozen=True)
class AdversarialConfig:
    """How reward and actor take turns.

    Attributes:
        actor: how it learns.
        steps: of all simulators together.
        reward_every: steps between two turns of the reward; on-policy, its turns are the actor's.
        reward_updates: of the discriminator in a turn.
        averaging: share of the average that an off-policy actor's step leaves; 0 takes the last
            weights, as PPO always does.
        demonstrations_in_buffer: whether half of each batch off-policy is demonstrated; never
            where they were only watched, since nobody knows their actions.
        annealing: share of both learning rates that is left at the end, falling linearly.
        annealed_by: steps after which it is reached; 0: at the end.
        watch_every: steps between two calls of the watcher.
    """

    actor: ActorConfig = field(default_factory=ActorConfig)
    steps: int = 5_000
    reward_every: int = 10
    reward_updates: int = 10
    averaging: float = 0.995
    demonstrations_in_buffer: bool = True
    annealing: float = 1.0
    annealed_by: int = 0
    watch_every: int = 500

    def __post_init__(self) -> None:
        for name in ('steps', 'reward_every', 'watch_every'):
            if getattr(self, name) < 1:
                raise ImitationError(f'{name}: {getattr(self, name)}; valid: at least 1')
        if self.annealed_by < 0:
            raise ImitationError(f'annealed_by: {self.annealed_by}; valid: at least 0')
        if not 0 < self.annealing <= 1:
            raise ImitationError(f'annealing: {self.annealing}; valid: above 0, at most 1')
        if not 0 <= self.averaging < 1:
            raise ImitationError(f'averaging: {self.averaging}; valid: 0 to 1, less than 1')


class Imitator:
    """An actor, its simulators, and the reward that it is after.

    Attributes:
        trainer: of the reward.
        model: of stable-baselines3.
        env: the simulators.
        steps: of all of them so far.
    """

    def __init__(
        self,
        simulators: Sequence[Callable[[], FlatEnv]],
        trainer: RewardTrainer,
        config: AdversarialConfig,
        seed: int,
        pay: Pay | None = None,
        clone: Policy | None = None,
    ) -> None:
        """Starts with a random actor, or with a cloned one.

        Args:
            simulators: what makes each of them.
            trainer: with the demonstrations.
            config: the settings.
            seed: of weights, exploration and scenes.
            pay: rewards other than the present ones of the trainer, which then learns nothing.
            clone: policy that the actor begins as; None for random weights.

        Raises:
            RewardError: an actor that cannot choose such actions, that 'airl' cannot ask, that
                cannot begin as the clone, or that discounts otherwise than the shaping.
        """
        self.trainer, self._config = trainer, config
        self._learns = pay is None
        if self._learns and trainer.config.objective == 'airl' and config.actor.algorithm == 'td3':
            raise RewardError(
                'algorithm: td3 has no density of actions, which the objective airl asks for; '
                'valid: sac, ppo'
            )
        if self._learns and trainer.config.shaping and trainer.config.gamma != config.actor.gamma:
            raise RewardError(
                f'gamma: {trainer.config.gamma} of the reward, {config.actor.gamma} of the actor; '
                'valid: the same, or shaping changes what is best to do'
            )
        self.steps = 0
        self.env = RewardVecEnv(DummyVecEnv(list(simulators)), trainer.layout, pay or self._pay)
        fitted = trainer.demonstrations.fitted
        shown = config.demonstrations_in_buffer and not fitted.watched
        self.model: BaseAlgorithm = make_actor(
            config.actor, self.env, trainer.network, fitted if shown else None, seed, self._pace,
            clone,
        )  # fmt: skip
        self._on_policy = isinstance(self.model, PPO)
        self._average: AnyActor = copy.deepcopy(self._actor)

    def run(self, watch: Callable[[Imitator], None] = lambda imitator: None) -> Policy:
        """Learns for all the steps; `watch` is called every `watch_every`, and at the end.

        Raises:
            RewardError: the reward cannot be learned, or its training or the actor's diverges.
        """
        # An absorbing step is none of the simulation's, so that a few more are allowed for.
        turns = _Turns(self, watch)
        try:
            self.model.learn(self._config.steps * 2, callback=turns, progress_bar=False)
        except (RewardError, ValueError):  # torch refuses to draw actions from NaN
            if all(bool(each.isfinite().all()) for each in self._actor.parameters()):
                raise
            raise RewardError(
                f"step {self.steps}: the actor's weights are not finite; valid: a learning_rate "
                f'below {self._config.actor.learning_rate}'
            ) from None
        self.average()
        if turns.watched < self.steps:
            watch(self)
        return self.policy()

    def policy(self) -> Policy:
        """What the actor, off-policy the averaged one, finds best, as a policy of this package."""
        actor = self._actor if self._on_policy else self._average
        return export(actor, self.trainer.layout, self.trainer.network)

    @property
    def _actor(self) -> AnyActor:
        actor: AnyActor = self.model.policy if isinstance(self.model, PPO) else self.model.actor  # type: ignore[attr-defined]
        return actor

    @torch.no_grad()
    def _pay(self, batch: Batch, demonstrated: Tensor) -> Tensor:
        rewards: Tensor = self.trainer.network(batch)
        return rewards

    def _pace(self) -> float:
        """Share of the learning rates at present."""
        done = min(1.0, self.steps / (self._config.annealed_by or self._config.steps))
        return 1.0 - done * (1.0 - self._config.annealing)

    def _log_density(self, observation: Tensor, action: Tensor) -> Tensor:
        """Log π(a|s) of the actor, for AIRL."""
        with torch.no_grad():
            if isinstance(self.model, SAC):
                mean, log_std, _ = self.model.actor.get_action_dist_params(observation)
                gaussian = self.model.actor.action_dist
                assert isinstance(gaussian, SquashedDiagGaussianDistribution)
                density: Tensor = gaussian.proba_distribution(mean, log_std).log_prob(action)
                return density
            assert isinstance(self.model, PPO)
            continuous = bool(self.model.action_space.shape)
            chosen = action if continuous else classes(action)
            return self.model.policy.evaluate_actions(observation, chosen)[1]

    def teach(self) -> None:
        """The reward's turn: it takes what was done since its last one."""
        fresh = self.env.fresh()
        if fresh is None or not self._learns:
            return
        self.trainer.add(fresh)
        airl = self.trainer.config.objective == 'airl'
        density = self._log_density if airl else None
        self.trainer.set_pace(self._pace())
        self.trainer.update(self._config.reward_updates, density)

    def average(self) -> None:
        """Moves the average towards the present actor."""
        share = 1.0 - self._config.averaging
        with torch.no_grad():
            for mean, now in zip(self._average.parameters(), self._actor.parameters()):
                mean.lerp_(now, share)


class _Turns(BaseCallback):
    """Whose turn it is.

    Attributes:
        watched: steps at the last call of the watcher.
    """

    def __init__(self, imitator: Imitator, watch: Callable[[Imitator], None]) -> None:
        super().__init__()
        self._imitator, self._watch = imitator, watch
        self._config = imitator._config
        self._on_policy = isinstance(imitator.model, PPO)
        self.watched = self._taught = 0

    def _on_step(self) -> bool:
        imitator, config = self._imitator, self._config
        imitator.steps = sum(imitator.env.get_attr('steps'))
        if not self._on_policy:
            if imitator.steps - self._taught >= config.reward_every:
                imitator.teach()
                self._taught = imitator.steps
            imitator.average()
        if imitator.steps - self.watched >= config.watch_every:
            self.watched = imitator.steps
            self._watch(imitator)
        return imitator.steps < config.steps

    def _on_rollout_end(self) -> None:
        if self._on_policy:
            self._imitator.teach()
