"""Demonstrations that were only watched: which actions were they?

An inverse dynamics model is learned from what the robot itself did, and names the action that
leads from a demonstrated state to the next; then the demonstrations are cloned (Torabi, Warnell &
Stone, Behavioral Cloning from Observation, IJCAI 2018, algorithm 1). The other way is a reward of
states and next states alone, `RewardConfig(inputs='state_next')` (the same, Generative Adversarial
Imitation from Observation, 2018).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from imitation_ros.errors import ImitationError, RewardError
from imitation_ros.frames.contract import Contract
from imitation_ros.learning.irl.layout import Layout
from imitation_ros.learning.irl.network import RewardConfig, RewardNetwork, Scales, tensors
from imitation_ros.learning.irl.transitions import check_finite, Transitions
from imitation_ros.policies.network import perceptron
from imitation_ros.types import Array, Episode
import numpy as np
import torch
from torch import nn


@dataclass(frozen=True)
class InverseConfig:
    """How the inverse dynamics model is fitted.

    Attributes:
        hidden: units of each layer.
        updates: of Adam.
        batch_size: steps in each.
        learning_rate: of Adam.
    """

    hidden: tuple[int, ...] = (64, 64)
    updates: int = 2_000
    batch_size: int = 128
    learning_rate: float = 1e-3

    def __post_init__(self) -> None:
        for name in ('updates', 'batch_size'):
            if getattr(self, name) < 1:
                raise ImitationError(f'{name}: {getattr(self, name)}; valid: at least 1')
        if not 0 < self.learning_rate < 1:
            raise ImitationError(f'learning_rate: {self.learning_rate}; valid: above 0, below 1')


DEFAULT = InverseConfig()


class InverseDynamics:
    """State and next state → the action between them."""

    def __init__(
        self, own: Transitions, contract: Contract, config: InverseConfig = DEFAULT, seed: int = 0
    ) -> None:
        """Fits the model by least squares.

        Args:
            own: what the robot did itself, with actions of its whole range.
            contract: of the steps.
            config: the settings.
            seed: of weights and batches.

        Raises:
            RewardError: no steps, or NaN in them.
        """
        if not len(own):
            raise RewardError('own steps: none; valid: a few hundred with varied actions')
        check_finite(own)
        self.layout = Layout(contract)
        alive = own.take(own.next_observation[:, -1] == 0)
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            # Borrows how a reward standardizes what it sees; its own layers are not used.
            self._scales = RewardNetwork(RewardConfig(inputs='state_next'), Scales.fit(alive))
            features = 2 * (self.layout.observation_size - 1)
            self._network = perceptron((features, *config.hidden, self.layout.action_size))
        inputs, targets = self._inputs(alive), torch.from_numpy(alive.action)
        optimizer = torch.optim.Adam(self._network.parameters(), config.learning_rate)
        rng = torch.Generator().manual_seed(seed)
        for _ in range(config.updates):
            rows = torch.randint(len(inputs), (config.batch_size,), generator=rng)
            loss = nn.functional.mse_loss(self._network(inputs[rows]), targets[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    @torch.no_grad()
    def infer(self, steps: Transitions) -> Array:
        """Actions (N, a) in the layout's units, discrete channels decided."""
        actions = self._network(self._inputs(steps)).clamp(-1.0, 1.0)
        return np.asarray(self.layout.decided(actions).numpy())

    def labelled(self, steps: Transitions) -> Transitions:
        """The steps with the inferred actions."""
        return replace(steps, action=self.infer(steps))

    def episodes(self, watched: Transitions) -> list[Episode]:
        """As training data for a clone: each step a frame, labelled with the inferred action."""
        actions = self.infer(watched)
        specs = self.layout.contract.observation_specs
        ends = np.cumsum([spec.shape[0] for spec in specs.values()])[:-1]
        period_ns = self.layout.contract.tick_period_ns
        episodes = []
        for number in watched.episodes:
            rows = (watched.episode == number) & (watched.observation[:, -1] == 0)
            states = np.split(watched.observation[rows, :-1].astype(np.float64), ends, axis=1)
            labels = [self.layout.unflatten(action) for action in actions[rows]]
            episodes.append(
                Episode(
                    (1 + np.arange(rows.sum())) * period_ns,
                    dict(zip(specs, states)),
                    {part: np.array([label[part] for label in labels]) for part in labels[0]},
                    np.zeros(rows.sum(), np.int32),
                )
            )
        return episodes

    def _inputs(self, steps: Transitions) -> torch.Tensor:
        features = self._scales.standardized(tensors(steps))
        size = self.layout.observation_size - 1
        change = features[:, size + 1 + self.layout.action_size :][:, :size]
        return torch.cat([features[:, :size], change], 1)
