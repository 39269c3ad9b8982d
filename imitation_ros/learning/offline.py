"""Reinforcement from recorded episodes alone: no simulator, no robot, nothing new is tried.

Implicit Q-learning (Kostrikov, Nair & Levine, Offline Reinforcement Learning with Implicit
Q-Learning, ICLR 2022). A critic learns what the recorded actions were worth (their eq. 6), a value
what the better ones of them are in each state (eq. 5, an expectile); neither is ever asked about
an action that nobody took. Then the clone is cloned on, each frame weighed by how much better its
action was than what is usual there (eq. 7): plain weighted cloning, for every architecture that
`bc` knows.

So it recombines what was recorded, and cannot do what nobody ever did. Nothing tells on the way
whether the robot does better, so that critic and policy learn for a fixed number of updates.
Held-out episodes do not help to choose: their weights are the critic's, too, and on a few of them
so noisy that the first epoch looks best.
"""

from __future__ import annotations

from collections.abc import Callable
import copy
from dataclasses import asdict, dataclass
import math
from pathlib import Path
from typing import Any

from imitation_ros.episodes.training_set import TrainingSet
from imitation_ros.errors import ImitationError
from imitation_ros.learning.bc import BCConfig, train_bc
from imitation_ros.learning.irl.network import RewardConfig, RewardNetwork, Scales, tensors
from imitation_ros.learning.paid import Paid, paid_recorded, Pay, steps_of
from imitation_ros.policies.checkpoint import check_destination, save_checkpoint
from imitation_ros.policies.network import perceptron
from imitation_ros.policies.policy import Policy
from imitation_ros.types import Array
import numpy as np
import torch
from torch import nn, Tensor
from torch.nn import functional

METHOD = 'iql'
"""In the record of what it trained."""
DEVIATION_FLOOR = 1e-6
"""Of rewards and advantages: where all are the same, all frames count alike."""


@dataclass(frozen=True)
class OfflineConfig:
    """How a clone is improved.

    Attributes:
        updates: of critic and value.
        gamma: discount.
        expectile: of the values that a state's actions have; 0.5 is their mean, near 1 their best.
        temperature: how sharply frames are weighed, per standard deviation of the advantages.
        most: weight that a frame may have, where one that is as usual has 1.
        learning_rate: of Adam, for critic and value.
        batch_size: of an update.
        tau: how fast the critic's target follows.
        hidden: units of each of its layers.
        epochs: of cloning afterwards.
        cloning_rate: of its learning.
    """

    updates: int = 2_000
    gamma: float = 0.98
    expectile: float = 0.8
    temperature: float = 3.0
    most: float = 100.0
    learning_rate: float = 1e-3
    batch_size: int = 256
    tau: float = 0.005
    hidden: tuple[int, ...] = (128, 128)
    epochs: int = 40
    cloning_rate: float = 1e-3

    def __post_init__(self) -> None:
        valid = {
            'updates': (self.updates >= 1, 'at least 1'),
            'gamma': (0 <= self.gamma < 1, '0 to 1, less than 1'),
            'expectile': (0 < self.expectile < 1, 'between 0 and 1'),
            'temperature': (0 <= self.temperature < math.inf, 'at least 0'),
            'most': (1 <= self.most < math.inf, 'at least 1'),
            'learning_rate': (0 < self.learning_rate < math.inf, 'above 0'),
            'batch_size': (self.batch_size >= 1, 'at least 1'),
            'tau': (0 < self.tau <= 1, 'above 0, at most 1'),
            'hidden': (self.hidden and min(self.hidden) >= 1, 'units of each layer'),
            'epochs': (self.epochs >= 1, 'at least 1'),
            'cloning_rate': (0 < self.cloning_rate < math.inf, 'above 0'),
        }
        for name, (holds, hint) in valid.items():
            if not holds:
                raise ImitationError(f'{name}: {getattr(self, name)!r}; valid: {hint}')


DEFAULT = OfflineConfig()


def improve_offline(
    clone: Policy,
    episodes: TrainingSet,
    pay: Pay,
    config: OfflineConfig = DEFAULT,
    seed: int = 0,
    out: Path | None = None,
    progress: Callable[[int], None] = lambda updates: None,
) -> tuple[Policy, dict[str, Any]]:
    """Improves a clone from recorded episodes.

    Args:
        clone: where it begins; of vectors and of any architecture.
        episodes: demonstrations and roll-outs, good and bad, with what was executed as actions.
        pay: what their steps are worth; only differences between rewards count.
        config: the settings.
        seed: of weights and batches.
        out: folder of the checkpoint.
        progress: told about each update of the critic.

    Returns:
        The policy, and the record of its training.

    Raises:
        RewardError: nobody knows what a step is worth, NaN, or the contract has images.
        ImitationError: training diverges, or what `train_bc` raises.
    """
    if out:
        check_destination(out)
    paid = paid_recorded(clone.contract, episodes, pay)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        advantages = _advantages(paid, config, progress)
    weights = _weights(advantages, config)
    cloning = BCConfig(
        **asdict(clone.architecture), epochs=config.epochs, patience=config.epochs,
        learning_rate=config.cloning_rate, validation_fraction=0.0,
    )  # fmt: skip
    policy, cloned = train_bc(
        episodes, cloning, seed, start=clone, frame_weights=_by_frame(episodes, weights)
    )
    record = {
        'method': METHOD, 'config': {**asdict(config), 'hidden': list(config.hidden)},
        'seed': seed, 'parent': clone.checkpoint, 'steps': int(np.isfinite(paid.rewards).sum()),
        'mean_reward': float(paid.known.rewards.mean()), 'cloning': asdict(cloned),
    }  # fmt: skip
    if out:
        save_checkpoint(out, policy, record)
    return policy, record


def _advantages(paid: Paid, config: OfflineConfig, progress: Callable[[int], None]) -> Array:
    """How much better each step (N,) was than what is usual there; NaN where nobody knows."""
    known = paid.known
    scales = RewardNetwork(RewardConfig(), Scales.fit(known.steps))
    before, after, acted = _features(scales, known)
    rewards = torch.from_numpy(known.rewards.astype(np.float32))
    rewards = (rewards - rewards.mean()) / rewards.std(correction=0).clamp(min=DEVIATION_FLOOR)
    critic = _Critic(before.shape[1], acted.shape[1], config)
    for update in range(1, config.updates + 1):
        rows = torch.randint(len(rewards), (config.batch_size,))
        loss = critic.update(before[rows], acted[rows], rewards[rows], after[rows])
        progress(update)
    if not math.isfinite(loss):
        raise ImitationError(
            f'the loss of the critic is {loss}; valid: a learning_rate below '
            f'{config.learning_rate}'
        )
    advantages = np.full(len(paid.rewards), np.nan)
    advantages[np.isfinite(paid.rewards)] = critic.advantage(before, acted).double().numpy()
    return advantages


def _features(scales: RewardNetwork, paid: Paid) -> tuple[Tensor, Tensor, Tensor]:
    """States (N, o), next states (N, o), and actions (N, a), as a reward network sees them."""
    observation, action, following = tensors(paid.steps)
    states, actions = observation.shape[1], action.shape[1]
    with torch.no_grad():
        now = scales.standardized((observation, action, following))
        then = scales.standardized((following, action, following))
    return now[:, :states], then[:, :states], now[:, states : states + actions]


class _Critic(nn.Module):
    """Twin critics, their slow targets, and the value of a state."""

    def __init__(self, states: int, actions: int, config: OfflineConfig) -> None:
        super().__init__()
        self._config = config
        self.worth = perceptron((states + actions, *config.hidden, 1), members=2)
        self.value = perceptron((states, *config.hidden, 1))
        self._optimizer = torch.optim.Adam(self.parameters(), config.learning_rate, fused=True)
        self._target = copy.deepcopy(self.worth).requires_grad_(False)

    def update(self, state: Tensor, action: Tensor, reward: Tensor, after: Tensor) -> float:
        """One step of the optimizer; returns the loss.

        A value is the mean of the rewards to come, so that it is as large as one of them.
        """
        gamma, pair = self._config.gamma, torch.cat([state, action], 1)
        with torch.no_grad():
            goal = (1 - gamma) * reward + gamma * self.value(after)[:, 0]
            least = self._target(pair).amin(0)[:, 0]
        above = least - self.value(state)[:, 0]
        expectile = torch.where(above > 0, self._config.expectile, 1 - self._config.expectile)
        worth = self.worth(pair)[..., 0]
        loss = (expectile * above**2).mean() + functional.mse_loss(worth, goal.expand_as(worth))
        self._optimizer.zero_grad()
        loss.backward()
        self._optimizer.step()
        with torch.no_grad():
            for slow, fast in zip(self._target.parameters(), self.worth.parameters()):
                slow.lerp_(fast, self._config.tau)
        return float(loss.detach())

    @torch.no_grad()
    def advantage(self, state: Tensor, action: Tensor) -> Tensor:
        """(N,) of actions."""
        least = self.worth(torch.cat([state, action], 1)).amin(0)
        advantage: Tensor = (least - self.value(state))[:, 0]
        return advantage


def _weights(advantages: Array, config: OfflineConfig) -> Array:
    """How much steps (N,) count; 0 where nobody knows what they were worth."""
    deviation = max(float(np.nanstd(advantages)), DEVIATION_FLOOR)
    exponent = np.minimum(config.temperature * advantages / deviation, math.log(config.most))
    return np.nan_to_num(np.exp(exponent), nan=0.0)


def _by_frame(episodes: TrainingSet, weights: Array) -> list[Array]:
    """(T_i,) for each episode; a frame that no other follows counts for nothing."""
    starts = [steps_of(episode) for episode in episodes]
    flat = np.zeros(sum(map(len, starts)))
    flat[np.concatenate(starts)] = weights
    return np.split(flat, np.cumsum([len(each) for each in starts])[:-1])
