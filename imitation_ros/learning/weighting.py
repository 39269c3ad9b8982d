"""Which frames to imitate: weights from a few episodes that are known to be good.

Xu, Zhan, Yin & Qin, Discriminator-Weighted Offline Imitation Learning from Suboptimal
Demonstrations, ICML 2022 (DWBC). A discriminator tells frames of the labelled episodes from the
unlabelled rest, which holds good frames too: positive-unlabelled learning (their equation 9). As
in their §3.2 it also sees how likely a clone finds the action, which generalizes over scenes
where state and action alone do not; clone and discriminator are fitted by turns. Unlike there,
the clone that is wanted is fitted afterwards by plain weighted cloning (`bc.train_bc`).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from imitation_ros.episodes.training_set import TrainingSet
from imitation_ros.errors import EpisodeError, ImitationError
from imitation_ros.learning.bc import BCConfig, train_bc
from imitation_ros.learning.windows import Windows
from imitation_ros.policies.network import Architecture, perceptron
from imitation_ros.policies.normalization import Normalization
from imitation_ros.policies.policy import Policy
from imitation_ros.types import Array, Episode
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

CLONE = BCConfig(hidden=(128, 128), epochs=20, validation_fraction=0.0)
"""What tells the discriminator how likely an action is."""
LIKELIHOOD_SCALE = 2.0
"""Of the standardized log-likelihood beside inputs of variance 1: the one that generalizes."""
LOSS_FLOOR = 1e-2
"""Added to a clone's loss before its logarithm is taken."""
EVIDENCE_FRAMES = 10
"""So many frames, which resemble each other, are one piece of evidence about their episode."""


class NoGoodEpisodesError(ImitationError):
    """No episode is labelled good."""


class NoUnlabelledEpisodesError(ImitationError):
    """Every episode is labelled good, so there is nothing to weigh."""


class NotFiniteError(EpisodeError):
    """An episode holds NaN or infinity."""


@dataclass(frozen=True)
class WeightingConfig:
    """How frames are weighed.

    Attributes:
        prior: share of all frames that is thought to be as good as the labelled ones, η.
        rounds: how often a clone and a new discriminator are fitted to the weights so far, the
            second with the likelihoods of the first; 0 looks at state and action alone.
        whole_episodes: whether all frames of an episode get one weight, for all evidence in it,
            since one person demonstrated it. Without, each frame is judged by itself, as habits
            need, which good episodes have.
        hidden: units of each hidden layer of the discriminator.
        steps: of its optimizer.
        batch_size: frames of either kind in a step.
        learning_rate: of AdamW.
        weight_decay: of AdamW.
        noise: standard deviation of what is added to its standardized inputs while it learns:
            few labelled scenes would be learned by heart.
    """

    prior: float = 0.3
    rounds: int = 3
    whole_episodes: bool = True
    hidden: tuple[int, ...] = (64, 64)
    steps: int = 500
    batch_size: int = 256
    learning_rate: float = 1e-3
    weight_decay: float = 0.3
    noise: float = 0.5

    def __post_init__(self) -> None:
        valid = {
            'prior': (0 < self.prior < 1, 'between 0 and 1'),
            'rounds': (self.rounds >= 0, 'at least 0'),
            'hidden': (self.hidden and min(self.hidden) >= 1, 'units of each layer'),
            'steps': (self.steps >= 1, 'at least 1'),
            'batch_size': (self.batch_size >= 1, 'at least 1'),
            'learning_rate': (0 < self.learning_rate < np.inf, 'above 0'),
            'weight_decay': (0 <= self.weight_decay < np.inf, 'at least 0'),
            'noise': (0 <= self.noise < np.inf, 'at least 0'),
        }
        for name, (holds, hint) in valid.items():
            if not holds:
                raise ImitationError(f'{name}: {getattr(self, name)!r}; valid: {hint}')


DEFAULT = WeightingConfig()
BY_FRAME = WeightingConfig(prior=0.05, rounds=5, whole_episodes=False, steps=1000, noise=0.4)
"""For right demonstrations with habits. Fewer frames are trusted than are good, so that the clone
whose likelihoods tell them apart is one of good frames above all."""


def weigh_frames(
    training_set: TrainingSet,
    good: Collection[int],
    config: WeightingConfig = DEFAULT,
    seed: int = 0,
) -> list[Array]:
    """How much to trust each frame, 0 to 1; frames of the labelled episodes get 1.

    Args:
        training_set: good episodes, and all the others.
        good: which of its episodes are labelled good.
        config: the settings.
        seed: same seed, data and settings: same weights.

    Returns:
        (T_i,) float64 for each episode, which `train_bc` takes as `frame_weights`.

    Raises:
        NoGoodEpisodesError: `good` is empty.
        NoUnlabelledEpisodesError: `good` holds all episodes.
        NotFiniteError: NaN or infinity in an episode.
        ImitationError: there is no such episode.
    """
    episodes = list(training_set)
    _check_labels(good, len(episodes))
    _check_finite(episodes)
    labelled = [np.full(len(each), float(index in good)) for index, each in enumerate(episodes)]
    inputs = _state_and_action(training_set)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        weights = _frame_weights(_fitted_logits(inputs, labelled, config), labelled, config)
        for _ in range(config.rounds):
            clone, _ = train_bc(training_set, CLONE, seed, frame_weights=weights)
            likelihood = LIKELIHOOD_SCALE * _log_likelihood(clone, episodes)
            logits = _fitted_logits(torch.cat([inputs, likelihood], 1), weights, config)
            weights = _frame_weights(logits, labelled, config)
    return weights


def pu_loss(good: Tensor, unlabelled: Tensor, prior: float) -> Tensor:
    """Positive-unlabelled logistic risk of logits (B,) and (B',).

    The unlabelled ones count as bad, less what the good ones among them add to that. The
    difference estimates a risk and is kept from going below 0, where it would reward learning
    frames by heart (Kiryo, Niu, du Plessis & Sugiyama, Positive-Unlabeled Learning with
    Non-Negative Risk Estimator, NIPS 2017, equation 6). At its minimum a logit is the log odds
    that a frame of the unlabelled distribution is good.
    """
    called_good = functional.softplus(-good).mean()
    called_bad = functional.softplus(unlabelled).mean() - prior * functional.softplus(good).mean()
    return prior * called_good + called_bad.clamp(min=0.0)


def _check_labels(good: Collection[int], episodes: int) -> None:
    if not good:
        raise NoGoodEpisodesError('no episode is labelled good; valid: at least one')
    for index in good:
        if not 0 <= index < episodes:
            raise ImitationError(f'good: no episode {index}; valid: 0 to {episodes - 1}')
    if len(set(good)) == episodes:
        raise NoUnlabelledEpisodesError(
            f'all {episodes} episodes are labelled good; valid: some that are not, '
            'or cloning without weights'
        )


def _check_finite(episodes: Sequence[Episode]) -> None:
    for index, episode in enumerate(episodes):
        for group in ('observations', 'actions'):
            for name, array in getattr(episode, group).items():
                if not np.isfinite(array).all():
                    where = episode.metadata.get('path', f'episode {index}')
                    raise NotFiniteError(
                        f'{where}: {group}.{name} holds NaN or infinity; valid: finite numbers'
                    )


def _state_and_action(training_set: TrainingSet) -> Tensor:
    """What the discriminator sees of each frame (T, n), standardized as for a policy.

    Images it knows only through the clone's likelihoods.
    """
    specs = training_set.contract.observation_specs, training_set.contract.action_specs
    normalization = Normalization.fit(training_set.statistics, *specs)
    windows = Windows(list(training_set), *specs, normalization, Architecture())
    frames = []
    for batch in windows.batches(torch.arange(len(windows)), 4096):
        parts = [batch.inputs.state[:, -1]]
        for part, spec in specs[1].items():
            target = batch.targets[part][:, 0]
            if spec.discrete:
                target = functional.one_hot(target[:, 0], len(spec.classes)).float() * 2 - 1
            parts.append(target)
        frames.append(torch.cat(parts, 1))
    return torch.cat(frames)


@torch.no_grad()
def _log_likelihood(clone: Policy, episodes: Sequence[Episode]) -> Tensor:
    """How likely the clone finds each demonstrated action (T, 1), of zero mean and variance 1."""
    specs = clone.contract.observation_specs, clone.contract.action_specs
    network = clone.network
    windows = Windows(episodes, *specs, clone.normalization, clone.architecture)
    losses = []
    for batch in windows.batches(torch.arange(len(windows)), 4096):
        outputs = network.by_part(network(batch.inputs))
        each = [head.loss(outputs[p], batch.targets[p])[:, 0] for p, head in network.heads.items()]
        losses.append(torch.stack(each).sum(0))
    likelihood = -torch.log(LOSS_FLOOR + torch.cat(losses))[:, None]
    return (likelihood - likelihood.mean()) / likelihood.std().clamp(min=1e-6)


def _fitted_logits(inputs: Tensor, trusted: Sequence[Array], config: WeightingConfig) -> Tensor:
    """Log odds (T,) that frames with these inputs (T, n) are good, by a discriminator fitted now.

    Good frames are drawn as often as they are trusted, which in the first round are the labelled
    ones alone. All frames are the unlabelled sample of what was recorded.
    """
    discriminator = perceptron((inputs.shape[1], *config.hidden, 1))
    optimizer = torch.optim.AdamW(
        discriminator.parameters(), config.learning_rate, weight_decay=config.weight_decay
    )
    trust = torch.from_numpy(np.concatenate(trusted))

    def logits_of(frames: Tensor) -> Tensor:
        drawn = inputs[frames]
        logits: Tensor = discriminator(drawn + config.noise * torch.randn_like(drawn))[:, 0]
        return logits

    for _ in range(config.steps):
        good = torch.multinomial(trust, config.batch_size, replacement=True)
        unlabelled = torch.randint(len(inputs), (config.batch_size,))
        loss = pu_loss(logits_of(good), logits_of(unlabelled), config.prior)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        logits: Tensor = discriminator(inputs)[:, 0]
    return logits


def _frame_weights(
    logits: Tensor, labelled: Sequence[Array], config: WeightingConfig
) -> list[Array]:
    """Probability (T_i,) that each frame, or its episode, is good; 1 where that is known."""
    ends = np.cumsum([len(each) for each in labelled])[:-1]
    weights = []
    for odds, known in zip(np.split(logits.double().numpy(), ends), labelled):
        # Of independent evidence log odds add up. Each piece brings the prior along, so that doubt
        # counts against an episode, the more the longer it is: with the prior counted once, single
        # wrong episodes were trusted whole.
        if config.whole_episodes:
            odds = np.full(len(odds), odds.sum() / EVIDENCE_FRAMES)
        weights.append(np.maximum(_sigmoid(odds), known))
    return weights


def _sigmoid(log_odds: Array) -> Array:
    probability: Array = 0.5 * (1.0 + np.tanh(0.5 * log_odds))
    return probability
