"""The reward against the actor: discriminator updates, their health, and a state on disk."""

from __future__ import annotations

from collections.abc import Callable
import copy
import dataclasses
from dataclasses import dataclass
import json
import math
from pathlib import Path
from typing import Any

from imitation_ros.errors import RewardError
from imitation_ros.frames.contract import Contract
from imitation_ros.learning.irl.layout import Layout
from imitation_ros.learning.irl.network import Batch, RewardConfig, RewardNetwork, tensors
from imitation_ros.learning.irl.objectives import gradient_penalty, logistic_loss, margin_loss
from imitation_ros.learning.irl.ranking import snippets_loss, Trajectories
from imitation_ros.learning.irl.reward import Calibration, Reward
from imitation_ros.learning.irl.separation import auc, auc_interval
from imitation_ros.learning.irl.steps import check_rollouts, Demonstrations, RecentSteps
from imitation_ros.learning.irl.trainer_state import grouped, read_state, write_state
from imitation_ros.learning.irl.transitions import check_finite, concatenated, Transitions
import numpy as np
import torch
from torch import Tensor

LogDensity = Callable[[Tensor, Tensor], Tensor]
"""Observation (B, o), action (B, a) → log π(a|s) (B,) of the actor."""
DENSITY_RANGE = (-20.0, 20.0)
"""A squashed Gaussian's density has no bounds at the limits of an action."""
SCRAMBLED_STEPS = 10_000
"""Of what stands for random behaviour, which is kept."""
DEFAULT = RewardConfig()


@dataclass(frozen=True)
class RewardHealth:
    """How a reward does, on episodes held out from its training where there are any.

    Attributes:
        updates: discriminator updates so far.
        expert: mean calibrated score per step of the demonstrations.
        actor: of the actor.
        separation: expert less actor; 1 is as far as random is from the expert, 0 is converged.
        accuracy: share of steps on the right side of the middle between the two means.
        auc: chance that a step of the expert scores above one of the actor.
        auc_interval: its 95 % interval, as if steps were independent.
        converged: whether the interval includes 0.5.
        expert_episodes: demonstrations.
        actor_episodes: of the actor, as far as they are remembered.
        held_out: of these, that were not trained against; 0: the numbers are of those that were.
    """

    updates: int
    expert: float
    actor: float
    separation: float
    accuracy: float
    auc: float
    auc_interval: tuple[float, float]
    converged: bool
    expert_episodes: int
    actor_episodes: int
    held_out: int = 0

    @property
    def above_random(self) -> bool:
        """Whether the expert scores above random behaviour; else all scores are 0."""
        return self.expert != 0


class RewardTrainer:
    """Trains a reward so that the expert scores above the actor.

    The last good network is kept apart: `reward` gives it, and diverging training goes back to it.

    Attributes:
        layout: of observations and actions.
        config: the settings.
        network: in training.
        updates: discriminator updates so far.
        version: how often a network was promoted to be the last good one.
        demonstrations: what it learns from.
    """

    def __init__(
        self,
        expert: Transitions,
        contract: Contract,
        config: RewardConfig = DEFAULT,
        seed: int = 0,
    ) -> None:
        """Starts with random weights, the same for the same seed.

        Raises:
            RewardError: the demonstrations are too few, empty, of another contract's layout, or
                hold NaN; the contract has images.
        """
        self.layout, self.config, self._seed = Layout(contract), config, seed
        check_finite(expert, actions=config.needs_actions)
        self.demonstrations = Demonstrations(
            expert, self.layout, config.held_out_every, config.watches
        )
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.network = RewardNetwork.fitted(config, self.layout, self.demonstrations.fitted)
        self._good = copy.deepcopy(self.network)
        self._optimizer = torch.optim.Adam(self.network.parameters(), config.learning_rate)
        self._recent = RecentSteps(config.recent_steps, config.held_out_every)
        self._random: Transitions | None = None
        self.updates = self.version = 0

    def add(self, rollouts: Transitions) -> None:
        """Takes what the actor did; episodes may come in pieces, under one number.

        Raises:
            RewardError: no step, NaN, another layout, or the demonstrations themselves.
        """
        check_rollouts(rollouts, self.layout, self.demonstrations, self.config.watches)
        self._recent.add(rollouts)

    @property
    def rollouts(self) -> Transitions:
        """What it is trained against: the actor's steps, as far as they are remembered.

        Raises:
            RewardError: there are none yet.
        """
        if not len(self._recent):
            raise RewardError('roll-outs: none yet; valid: add() them first')
        return self._recent.all()

    def set_random(self, rollouts: Transitions) -> None:
        """Takes random behaviour, which the calibration calls 0.

        Without any, `scrambled` steps stand for it, of all that is known when a network is
        promoted for the first time; they stay the same from then on.
        """
        check_rollouts(rollouts, self.layout, self.demonstrations, self.config.watches)
        self._random = rollouts

    def set_pace(self, share: float) -> None:
        """Learns from now on at this share of the learning rate."""
        for group in self._optimizer.param_groups:
            group['lr'] = share * self.config.learning_rate

    def train(self, updates: int, log_density: LogDensity | None = None) -> RewardHealth:
        """Does so many updates and promotes what came of them.

        Args:
            updates: of the discriminator.
            log_density: of the actor, which 'airl' needs.

        Raises:
            RewardError: there are no roll-outs, or the loss is not finite: the last good reward
                stays, and training goes on from it at the next call.
        """
        self.update(updates, log_density)
        self.promote()
        return self.health()

    def update(self, updates: int, log_density: LogDensity | None = None) -> None:
        """Does so many updates, and promotes nothing; raises as `train` does."""
        if not len(self._recent) or not len(self._recent.split(held_out=False)):
            raise RewardError('roll-outs: none to train against; valid: add() them first')
        if (self.config.objective == 'airl') != (log_density is not None):
            raise ValueError('log_density belongs to the objective airl')
        sides = self.demonstrations.fitted, self._recent.split(held_out=False)
        draws = [self._sampler(steps) for steps in sides]
        rng = torch.Generator().manual_seed(1_000_003 * self._seed + self.updates)
        for _ in range(updates):
            expert, actor = (draw(rng) for draw in draws)
            loss = self._loss(expert, actor, log_density, rng)
            if not math.isfinite(float(loss.detach())):
                self._go_back(float(loss.detach()))
            self._optimizer.zero_grad()
            loss.backward()
            self._optimizer.step()
            self.updates += 1

    def promote(self) -> None:
        """Makes the network in training the last good one.

        Raises:
            RewardError: a weight is not finite.
        """
        if not all(bool(each.isfinite().all()) for each in self.network.state_dict().values()):
            self._go_back(math.nan)
        self._good.load_state_dict(self.network.state_dict())
        self._random = self._random or self._made_up()
        self.version += 1

    def reward(self) -> Reward:
        """The last good reward, calibrated and frozen."""
        network = copy.deepcopy(self._good)
        raw = Reward(self.layout, self.config, network, Calibration(0.0, 1.0), self.version)
        return raw.calibrated(self._random or self._made_up(), self.demonstrations.held_out)

    def health(self) -> RewardHealth:
        """Of the last good reward.

        Raises:
            RewardError: there are no roll-outs.
        """
        if not len(self._recent):
            raise RewardError('roll-outs: none to compare with; valid: add() them first')
        reward, actor = self.reward(), self._recent.split(held_out=True)
        steps = actor if len(actor) else self._recent.split(held_out=False)
        # Raw ones: where random behaviour scores above the expert, all calibrated ones are 0.
        expert_scores, actor_scores = (
            reward.raw(tensors(each)).numpy().astype(np.float64)
            for each in (self.demonstrations.held_out, steps)
        )
        means = np.array([expert_scores.mean(), actor_scores.mean()])
        right = (expert_scores > means.mean()).mean() + (actor_scores <= means.mean()).mean()
        expert, mean = map(float, reward.calibration.apply(means))
        interval = auc_interval(expert_scores, actor_scores)
        return RewardHealth(
            self.updates, expert, mean, expert - mean, float(right) / 2,
            auc(expert_scores, actor_scores), interval, interval[0] <= 0.5 <= interval[1],
            len(self.demonstrations.fitted.episodes) + len(self.demonstrations.held_out.episodes),
            self._recent.episodes, len(actor.episodes),
        )  # fmt: skip

    def save(self, path: Path | str) -> None:
        """Writes all that the next update depends on, but the demonstrations.

        Raises:
            CheckpointError: the disk refused.
        """
        kept = {f'network.{name}': each for name, each in self.network.state_dict().items()}
        kept |= {f'good.{name}': each for name, each in self._good.state_dict().items()}
        for index, moments in self._optimizer.state_dict()['state'].items():
            kept |= {f'optimizer.{index}.{name}': each for name, each in moments.items()}
        recent = self._recent.all() if len(self._recent) else None
        for name, steps in {'recent': recent, 'random': self._random}.items():
            if steps is not None:
                kept |= {f'{name}.{key}': torch.from_numpy(each) for key, each in _arrays(steps)}
        progress = {'updates': self.updates, 'version': self.version}
        write_state(Path(path), kept, {**self._identity(), **progress})

    def load(self, path: Path | str) -> None:
        """Goes on from what `save` wrote.

        Raises:
            CheckpointError: the file is missing, damaged, or of a training with other settings,
                seed, contract or demonstrations.
        """
        groups, document = read_state(Path(path), self._identity())
        self.network.load_state_dict(groups['network'])
        self._good.load_state_dict(groups['good'])
        moments = grouped(groups.get('optimizer', {}))
        optimizer = self._optimizer.state_dict()
        state = {int(index): each for index, each in moments.items()}
        self._optimizer.load_state_dict({**optimizer, 'state': state})
        self._recent = RecentSteps(self.config.recent_steps, self.config.held_out_every)
        if 'recent' in groups:
            self._recent.add(_steps(groups['recent']))
        self._random = _steps(groups['random']) if 'random' in groups else None
        self.updates, self.version = document['updates'], document['version']

    def _sampler(self, steps: Transitions) -> Callable[[torch.Generator], Batch]:
        """What draws a batch of a side: steps, or snippets of its trajectories."""
        observation, action, after = tensors(steps)
        trajectories = Trajectories.of(steps) if self.config.objective == 'ranking' else None

        def draw(rng: torch.Generator) -> Batch:
            if trajectories:
                rows = trajectories.draw(rng)
            else:
                rows = torch.randint(len(observation), (self.config.batch_size,), generator=rng)
            return observation[rows], action[rows], after[rows]

        return draw

    def _loss(
        self, expert: Batch, actor: Batch, log_density: LogDensity | None, rng: torch.Generator
    ) -> Tensor:
        config = self.config
        features = [
            self.network.blurred(self.network.standardized(side), config.noise, rng)
            for side in (expert, actor)
        ]
        scores = [self.network.score(side) for side in features]
        if log_density is not None:
            scores = [
                score - log_density(side[0], side[1]).clamp(*DENSITY_RANGE) * (1 - side[0][:, -1])
                for score, side in zip(scores, (expert, actor))
            ]
        if config.objective == 'margin':
            loss = margin_loss(scores[0], scores[1], config.margin)
        elif config.objective == 'ranking':
            loss = snippets_loss(scores[0], scores[1])
        else:
            loss = logistic_loss(scores[0], scores[1])
        if config.regularization == 'gradient_penalty' and config.penalty:
            penalty = gradient_penalty(
                self.network, features[0], features[1], config.gradient_norm, rng
            )
            loss = loss + config.penalty * penalty
        return loss

    def _go_back(self, loss: float) -> None:
        self.network.load_state_dict(self._good.state_dict())
        self._optimizer = torch.optim.Adam(self.network.parameters(), self.config.learning_rate)
        raise RewardError(
            f'update {self.updates}: the loss is {loss}; the last good reward, version '
            f'{self.version}, is kept; valid: a learning_rate below {self.config.learning_rate}'
        )

    def _made_up(self) -> Transitions:
        recent = [self._recent.all()] if len(self._recent) else []
        return scrambled(concatenated([self.demonstrations.fitted, *recent]), self._seed)

    def _identity(self) -> dict[str, Any]:
        settings = json.loads(json.dumps(dataclasses.asdict(self.config)))
        return {
            'config': settings,
            'seed': self._seed,
            'contract_fingerprint': self.layout.contract.fingerprint,
            'demonstrations': self.demonstrations.sha256,
        }


def scrambled(steps: Transitions, seed: int) -> Transitions:
    """What stands for random behaviour where none was given: no sense, but nothing impossible.

    Each number of a state comes from a step of its own. Actions, and what a step changes, come
    whole from others, so that no state jumps further in a tick than one was seen to. Absorbing
    states are left out.

    Args:
        steps: that were seen.
        seed: of the drawing.
    """
    rng = np.random.default_rng(seed)
    steps = steps.take((steps.observation[:, -1] == 0) & (steps.next_observation[:, -1] == 0))
    change = steps.next_observation - steps.observation
    observation = rng.permuted(steps.observation, axis=0)
    made_up = dataclasses.replace(
        steps,
        observation=observation,
        action=rng.permutation(steps.action),
        next_observation=observation + rng.permutation(change),
    )
    return made_up.take(np.arange(min(len(made_up), SCRAMBLED_STEPS)))


def _arrays(steps: Transitions) -> list[tuple[str, Any]]:
    return [(each.name, getattr(steps, each.name)) for each in dataclasses.fields(steps)]


def _steps(kept: dict[str, Tensor]) -> Transitions:
    return Transitions(**{name: tensor.numpy() for name, tensor in kept.items()})
