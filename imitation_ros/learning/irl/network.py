"""The reward network: a step of an episode → how much it looks like the expert's.

f(s, a, s') = g(…), or with potential shaping g(…) + γ h(s') - h(s), where g of the state alone is
the reward that is disentangled from the dynamics (Fu, Luo & Levine, Learning Robust Rewards with
Adversarial Inverse Reinforcement Learning, ICLR 2018, eq. 4).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
import math

from imitation_ros.errors import ImitationError, one_of
from imitation_ros.learning.irl.layout import Layout
from imitation_ros.learning.irl.transitions import Transitions
from imitation_ros.policies.network import MAX_WEIGHTS
from imitation_ros.policies.normalization import Standard, STD_FLOOR
from imitation_ros.types import Array
import numpy as np
import torch
from torch import nn, Tensor

INPUTS = ('state', 'state_action', 'state_next', 'state_action_next')
OBJECTIVES = ('gail', 'airl', 'margin', 'ranking')
REGULARIZATIONS = ('gradient_penalty', 'spectral')
CHANGE_STD_FLOOR = 1e-4
"""Of what one tick changes, in the observation's unit."""
VARIANCE_FLOOR = 1e-2
"""Of a direction in standardized states: none is stretched more than tenfold."""
ACTION_STD_FLOOR = 0.1
"""Of half an action's range: an expert that never uses it must not make it a giveaway."""
CLIP = 10.0
"""Standard deviations beyond which a state is just far away."""

Batch = tuple[Tensor, Tensor, Tensor]
"""Observation (B, o), action (B, a) and next observation (B, o), in the layout's units."""


@dataclass(frozen=True)
class RewardConfig:
    """What a reward looks at, and how it is trained.

    Attributes:
        inputs: 'state', 'state_action', 'state_next' (for watching) or 'state_action_next'.
        relative_positions: x and y of observed positions count only relative to one another, so
            that where a scene lies gives no expert away; see `Layout.centering`.
        shaping: adds the potential γ h(s') - h(s), which never changes what is best to do.
        gamma: discount of the potential.
        hidden: units of each layer.
        objective: 'gail' (logistic), 'airl' (logistic against the actor's density), 'margin', or
            'ranking' (whole trajectories, by the means of their steps' scores).
        margin: by which the expert shall score above the actor, for 'margin'.
        regularization: 'gradient_penalty' on interpolates, or 'spectral' normalization.
        penalty: weight of the gradient penalty.
        gradient_norm: that the penalty pulls to: 1 as in WGAN-GP, or 0.
        noise: on the actions of both sides while training, in their standard deviations, so that
            the exactness of a noiseless expert does not give it away.
        learning_rate: of Adam.
        batch_size: of the expert and of the actor, each; 'ranking' draws snippets of its own.
        recent_steps: of the actor, that the reward is trained against.
        held_out_every: one of so many episodes, of each side, is kept for the held-out AUC.
    """

    inputs: str = 'state_action'
    shaping: bool = False
    gamma: float = 0.99
    hidden: tuple[int, ...] = (64, 64)
    objective: str = 'gail'
    margin: float = 1.0
    regularization: str = 'gradient_penalty'
    penalty: float = 0.3
    gradient_norm: float = 1.0
    noise: float = 0.0
    learning_rate: float = 1e-3
    batch_size: int = 128
    recent_steps: int = 100_000
    held_out_every: int = 10
    relative_positions: bool = False

    def __post_init__(self) -> None:
        for name, valid in (
            ('inputs', INPUTS), ('objective', OBJECTIVES), ('regularization', REGULARIZATIONS),
        ):  # fmt: skip
            if getattr(self, name) not in valid:
                raise ImitationError(
                    f'{name}: {getattr(self, name)!r}; {one_of(getattr(self, name), valid)}'
                )
        if not self.hidden or not all(1 <= units <= 65536 for units in self.hidden):
            raise ImitationError(f'hidden: {self.hidden}; valid: units of each layer, 1 to 65536')
        if sum(inputs * outputs for inputs, outputs in pairwise(self.hidden)) > MAX_WEIGHTS:
            raise ImitationError(f'hidden: {self.hidden}; valid: at most {MAX_WEIGHTS} weights')
        ranges = {
            'gamma': (0 <= self.gamma < 1, '0 to 1, less than 1'),
            'margin': (0 < self.margin < math.inf, 'above 0'),
            'penalty': (0 <= self.penalty < math.inf, 'at least 0'),
            'noise': (0 <= self.noise < math.inf, 'at least 0'),
            'gradient_norm': (0 <= self.gradient_norm < math.inf, 'at least 0'),
            'learning_rate': (0 < self.learning_rate < math.inf, 'above 0'),
            'batch_size': (self.batch_size >= 1, 'at least 1'),
            'recent_steps': (self.recent_steps >= 1, 'at least 1'),
            'held_out_every': (self.held_out_every >= 2, 'at least 2'),
        }
        for name, (holds, hint) in ranges.items():
            if not holds:
                raise ImitationError(f'{name}: {getattr(self, name)!r}; valid: {hint}')

    @property
    def watches(self) -> bool:
        """Whether it does without actions."""
        return 'action' not in self.inputs

    @property
    def needs_actions(self) -> bool:
        """Of the demonstrations: 'airl' asks how likely the actor finds them, whatever it sees."""
        return not self.watches or self.objective == 'airl'


@dataclass(frozen=True)
class Scales:
    """How a step's numbers are standardized, from the demonstrations.

    States are whitened too: a hand that is 2 cm from its goal is as far away as the whole table
    where each coordinate is scaled on its own, and the demonstrations say which is meant.

    Attributes:
        state: of the observation without its absorbing indicator, (o - 1,).
        whitening: (o - 1, o - 1), symmetric: standardized states → states without correlation.
        relative: (o - 1, o - 1): the same of states whose positions count relative to one
            another; None where they do not.
        change: of what a step changes in it, (o - 1,).
        action: (a,); zero mean and unit deviation where nobody saw actions.
    """

    state: Standard
    whitening: Array
    change: Standard
    action: Standard
    relative: Array | None = None

    @classmethod
    def fit(cls, expert: Transitions, centering: Array | None = None) -> Scales:
        """From what comes before the absorbing state; `centering` is of `Layout`."""
        alive = expert.observation[:, -1] == 0
        stays = alive & (expert.next_observation[:, -1] == 0)
        change = (expert.next_observation - expert.observation)[stays, :-1]
        action = np.nan_to_num(expert.action[alive])
        states = expert.observation[alive, :-1]
        state = _standard(states, STD_FLOOR)
        return cls(
            state,
            _whitening(state.apply(states.astype(np.float64))),
            _standard(change, CHANGE_STD_FLOOR),
            _standard(action, ACTION_STD_FLOOR),
            None if centering is None else _relative(states, state, centering),
        )


class RewardNetwork(nn.Module):
    """See the module's text. Absorbing states show their indicator alone, and no action."""

    scale_names = ('state', 'change', 'action')
    state_mean: Tensor
    state_std: Tensor
    whitening: Tensor
    relative: Tensor
    change_mean: Tensor
    change_std: Tensor
    action_mean: Tensor
    action_std: Tensor

    def __init__(self, config: RewardConfig, scales: Scales) -> None:
        super().__init__()
        self._inputs, self._gamma = config.inputs, config.gamma
        self._relative = config.relative_positions
        for name in self.scale_names:
            standard: Standard = getattr(scales, name)
            self.register_buffer(f'{name}_mean', torch.tensor(standard.mean, dtype=torch.float32))
            self.register_buffer(f'{name}_std', torch.tensor(standard.std, dtype=torch.float32))
        states, actions = len(scales.state.mean) + 1, len(scales.action.mean)
        self.register_buffer('whitening', torch.tensor(scales.whitening, dtype=torch.float32))
        if self._relative:
            self.register_buffer('relative', torch.tensor(scales.relative, dtype=torch.float32))
        sizes = {'state': states, 'action': actions, 'next': states}
        features = sum(sizes[name] for name in config.inputs.split('_'))
        spectral = config.regularization == 'spectral'
        self.g = _scorer((features, *config.hidden, 1), spectral)
        self.h = _scorer((states, *config.hidden, 1), spectral) if config.shaping else None

    @classmethod
    def fitted(cls, config: RewardConfig, layout: Layout, expert: Transitions) -> RewardNetwork:
        """One of random weights, whose inputs are standardized by the expert's steps.

        Raises:
            RewardError: positions shall be relative, and fewer than two are observed.
        """
        centering = layout.centering() if config.relative_positions else None
        return cls(config, Scales.fit(expert, centering))

    def forward(self, batch: Batch) -> Tensor:
        """Scores f (B,); the higher, the more like the expert."""
        return self.score(self.standardized(batch))

    def standardized(self, batch: Batch) -> Tensor:
        """What the layers see, (B, state | action | change | next state)."""
        observation, action, after = batch
        absorbed, ended = observation[:, -1:], after[:, -1:]
        change = (after - observation)[:, :-1]
        parts = [
            self._whitened(observation[:, :-1]) * (1 - absorbed),
            absorbed,
            _standardized(action, self.action_mean, self.action_std) * (1 - absorbed),
            _standardized(change, self.change_mean, self.change_std) * (1 - ended),
            self._whitened(after[:, :-1]) * (1 - ended),
            ended,
        ]
        return torch.cat(parts, 1)

    def _whitened(self, state: Tensor) -> Tensor:
        whitening = self.relative if self._relative else self.whitening
        return _standardized(state, self.state_mean, self.state_std) @ whitening

    def blurred(self, features: Tensor, noise: float, rng: torch.Generator) -> Tensor:
        """Standardized steps with noise on their actions.

        Instance noise: Sønderby et al., Amortised MAP Inference for Image Super-resolution,
        ICLR 2017, §3.2; it lets the supports of expert and actor overlap.
        """
        start, size = len(self.state_mean) + 1, len(self.action_mean)
        drawn = noise * torch.randn(len(features), size, generator=rng)
        return features + nn.functional.pad(drawn, (start, features.shape[1] - start - size))

    def score(self, features: Tensor) -> Tensor:
        """The same from standardized steps; what a gradient penalty differentiates."""
        fields = len(self.state_mean)
        sizes = [fields, 1, len(self.action_mean), fields, fields, 1]
        state, absorbed, action, change, after, ended = torch.split(features, sizes, 1)
        shown = {'state': (state, absorbed), 'action': (action,), 'next': (change, ended)}
        seen = [part for name in self._inputs.split('_') for part in shown[name]]
        score: Tensor = self.g(torch.cat(seen, 1))[:, 0]
        if self.h is not None:
            now, then = torch.cat([state, absorbed], 1), torch.cat([after, ended], 1)
            score = score + self._gamma * self.h(then)[:, 0] - self.h(now)[:, 0]
        return score


def tensors(steps: Transitions) -> Batch:
    """As the network takes them; actions that nobody saw as zeros."""
    return (
        torch.from_numpy(np.asarray(steps.observation, np.float32)),
        torch.from_numpy(np.nan_to_num(steps.action).astype(np.float32)),
        torch.from_numpy(np.asarray(steps.next_observation, np.float32)),
    )


def _standard(rows: Array, floor: float) -> Standard:
    rows = rows.astype(np.float64)
    return Standard(rows.mean(0), np.maximum(rows.std(0), floor))


def _whitening(rows: Array) -> Array:
    """From standardized states (N, n), so that their axes turn as little as can be (ZCA)."""
    variances, axes = np.linalg.eigh(rows.T @ rows / len(rows))
    whitening: Array = (axes / np.sqrt(np.maximum(variances, VARIANCE_FLOOR))) @ axes.T
    return whitening


def _relative(states: Array, standard: Standard, centering: Array) -> Array:
    """Of raw states (N, n): what takes standardized ones to centred ones without correlation."""
    centred = _standard(states @ centering, STD_FLOOR)
    whitening = _whitening(centred.apply(states.astype(np.float64) @ centering))
    matrix: Array = standard.std[:, None] * centering / centred.std @ whitening
    return matrix


def _standardized(values: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    return ((values - mean) / std).clamp(-CLIP, CLIP)


def _scorer(sizes: Sequence[int], spectral: bool) -> nn.Sequential:
    """Linear layers with units between them that are smooth, as a gradient penalty needs it."""
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(sizes):
        linear = nn.Linear(inputs, outputs)
        if spectral:
            nn.utils.parametrizations.spectral_norm(linear)
        layers += [linear, nn.SiLU()]
    return nn.Sequential(*layers[:-1])
