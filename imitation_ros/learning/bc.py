"""Behaviour cloning: learn the demonstrator's action as a function of the observation.

Supervised learning on trajectories (Pomerleau, ALVINN: An Autonomous Land Vehicle in a Neural
Network, NIPS 1989). Every frame of the demonstrations is a sample; the network is fitted by
maximum likelihood of the demonstrated actions, and the weights are kept that did best on
demonstrations held out from the fit (Bishop, Pattern Recognition and Machine Learning, 2006, §5.2
and §5.5.2). A chunk of actions may be predicted at once, which shortens the horizon over which
errors add up (Zhao et al., Learning Fine-Grained Bimanual Manipulation, RSS 2023).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
import copy
import dataclasses
from dataclasses import dataclass
from functools import reduce
import hashlib
import math
from pathlib import Path
from typing import Any

import imitation_ros
from imitation_ros.episodes.training_set import TrainingSet
from imitation_ros.errors import ImitationError
from imitation_ros.frames.contract import Contract
from imitation_ros.learning.training_state import State, StateFile
from imitation_ros.learning.windows import Batch, Windows
from imitation_ros.policies.checkpoint import check_destination, save_checkpoint
from imitation_ros.policies.network import Architecture, Network
from imitation_ros.policies.normalization import Normalization
from imitation_ros.policies.novelty import Novelty
from imitation_ros.policies.policy import Policy
from imitation_ros.types import Array
import numpy as np
import torch
from torch import nn, Tensor

Progress = Callable[[int, float, 'float | None'], None]
"""Called after each epoch with its number (from 1), training loss and validation loss."""
EVALUATION_BATCH = 4096
CURVES = ('best_epoch', 'train_loss', 'validation_loss')


@dataclass(frozen=True)
class BCConfig:
    """How a policy is cloned.

    Attributes:
        head: of continuous action parts: 'deterministic' (L2) or 'gaussian'.
        hidden: units of each hidden layer.
        history: frames that the policy sees, the newest included.
        chunk: actions predicted at once.
        execute: actions of a chunk that are carried out before the next is predicted.
        members: networks of an ensemble, which tells by its disagreement where it is unsure.
        epochs: at most.
        steps_per_epoch: at least: an epoch is as many whole passes over the data as it takes, so
            that a small set is learned from as long as a large one.
        batch_size: samples a step.
        learning_rate: of AdamW.
        weight_decay: of AdamW: how strongly large weights are shrunk, which keeps the policy
            smooth between few demonstrations.
        validation_fraction: of the episodes, held out for early stopping; 0 trains on all.
        patience: epochs without a better validation loss after which training ends.
        device: 'cpu' or 'cuda'.
        threads: of the CPU. Part of the settings, since sums in another order round differently.
        save_every_s: how often the state is kept, for a resume after a kill.
    """

    head: str = 'deterministic'
    hidden: tuple[int, ...] = (256, 256)
    history: int = 1
    chunk: int = 1
    execute: int = 1
    members: int = 1
    epochs: int = 200
    steps_per_epoch: int = 50
    batch_size: int = 256
    learning_rate: float = 1e-3
    weight_decay: float = 0.3
    validation_fraction: float = 0.1
    patience: int = 50
    device: str = 'cpu'
    threads: int = 1
    save_every_s: float = 10.0

    def __post_init__(self) -> None:
        valid = {
            'epochs': (self.epochs >= 1, 'at least 1'),
            'steps_per_epoch': (self.steps_per_epoch >= 1, 'at least 1'),
            'batch_size': (self.batch_size >= 1, 'at least 1'),
            'learning_rate': (0 < self.learning_rate < math.inf, 'above 0'),
            'weight_decay': (0 <= self.weight_decay < math.inf, 'at least 0'),
            'validation_fraction': (0 <= self.validation_fraction < 1, '0 to 1, less than 1'),
            'patience': (self.patience >= 1, 'at least 1'),
            'device': (self.device in ('cpu', 'cuda'), 'cpu, cuda'),
            'threads': (self.threads >= 1, 'at least 1'),
            'save_every_s': (self.save_every_s >= 0, 'at least 0'),
        }
        for name, (holds, hint) in valid.items():
            if not holds:
                raise ImitationError(f'{name}: {getattr(self, name)!r}; valid: {hint}')
        _ = self.architecture  # checks its own settings

    @property
    def architecture(self) -> Architecture:
        """What the policy is made of."""
        names = [field.name for field in dataclasses.fields(Architecture)]
        return Architecture(**{name: getattr(self, name) for name in names})


DEFAULT = BCConfig()


@dataclass(frozen=True)
class TrainingRecord:
    """What happened in a training; kept in the checkpoint.

    Attributes:
        method: 'bc'.
        config: the settings, as plain data.
        seed: of weights, batches and split.
        data_hash: of the training set.
        episodes: of which the policy was fitted to.
        validation_episodes: held out.
        frames: of the episodes that it was fitted to.
        start: SHA-256 of the weights that it started from, empty if from random ones.
        frame_weights: SHA-256 of the frames' weights, empty if all counted alike.
        mean_frame_weight: over all frames, before they were scaled to a mean of 1.
        best_epoch: whose weights were kept, from 1.
        train_loss: per epoch, negative log likelihood.
        validation_loss: per epoch, empty if none was held out.
        versions: of this package and of torch.
    """

    method: str
    config: dict[str, Any]
    seed: int
    data_hash: str
    episodes: int
    validation_episodes: int
    frames: int
    start: str
    frame_weights: str
    mean_frame_weight: float
    best_epoch: int
    train_loss: list[float]
    validation_loss: list[float]
    versions: dict[str, str]


def train_bc(
    training_set: TrainingSet,
    config: BCConfig = DEFAULT,
    seed: int = 0,
    out: Path | None = None,
    progress: Progress | None = None,
    start: Policy | None = None,
    frame_weights: Sequence[Array] | None = None,
) -> tuple[Policy, TrainingRecord]:
    """Clones the demonstrations of a training set.

    With `out`, a training that was killed goes on where it stood when it is called again with the
    same data, settings and seed, and ends with the same weights.

    Args:
        training_set: the demonstrations.
        config: the settings.
        seed: same seed, data, settings and machine: same weights.
        out: folder of the checkpoint.
        progress: told about each epoch.
        start: policy of the same architecture whose weights and normalization it starts from;
            else from random ones.
        frame_weights: (T_i,) for each episode, how much each frame counts in the loss, 0 or more
            (`weighting.weigh_frames`); they are scaled to a mean of 1. Without them all count
            alike.

    Raises:
        EpisodeError: no frames, or NaN in them.
        CheckpointError: `out` cannot be written, or its state not be resumed.
        ImitationError: no such device, the loss is not finite, `start` is of another
            architecture or contract, or weights that do not fit the frames.
    """
    out = out and Path(out).resolve()
    if out:
        check_destination(out)
    _check_device(config.device)
    contract, architecture = training_set.contract, config.architecture
    specs = contract.observation_specs, contract.action_specs
    rng = np.random.default_rng(seed)
    fitted, validated = training_set.split_indices(config.validation_fraction, rng)
    fitted_set = training_set.subset(fitted)
    train, held_out = list(fitted_set), list(training_set.subset(validated))
    weights = FrameWeights(training_set, frame_weights)
    if start:
        _check_start(start, architecture, contract)
        normalization = start.normalization
    else:
        normalization = Normalization.fit(fitted_set.statistics, *specs)
    identity = {
        'config': _plain(config), 'seed': seed, 'data_hash': training_set.hash,
        'contract_fingerprint': contract.fingerprint, 'start': start.checkpoint if start else '',
        **({'frame_weights': weights.hash} if weights.hash else {}),
    }  # fmt: skip
    state_file = StateFile(out, identity, config.save_every_s)
    with _reproducible(config.threads, seed):
        common = (*specs, normalization, architecture, config.device)
        windows = Windows(train, *common, weights.of(fitted))
        validation = Windows(held_out, *common, weights.of(validated)) if held_out else None
        network = Network(*specs, architecture, normalization).to(config.device)
        if start:
            network.load_state_dict(start.network.state_dict())
        learner = Learner(network, config, seed)
        state_file.resume(learner)
        while not learner.finished:
            losses = learner.run_epoch(windows, validation)
            state_file.keep(learner)
            if progress:
                progress(learner.epoch, *losses)
    novelty = Novelty.fit(
        fitted_set.statistics, normalization.observations, contract.observation_specs
    )
    policy = Policy(contract, architecture, normalization, learner.best, novelty=novelty)
    record = TrainingRecord(
        method='bc',
        config=_plain(config),
        seed=seed,
        data_hash=training_set.hash,
        episodes=len(train),
        validation_episodes=len(held_out),
        frames=len(windows),
        start=start.checkpoint if start else '',
        frame_weights=weights.hash,
        mean_frame_weight=weights.mean,
        best_epoch=learner.best_epoch,
        train_loss=learner.train_loss,
        validation_loss=learner.validation_loss,
        versions={'imitation_ros': imitation_ros.__version__, 'torch': torch.__version__},
    )
    if out:
        save_checkpoint(out, policy, dataclasses.asdict(record))
        state_file.remove()
    return policy, record


class FrameWeights:
    """How much each frame of a training set counts, scaled to a mean of 1.

    Attributes:
        hash: SHA-256 of the weights as given, empty if there are none.
        mean: of the weights as given, over all frames; 1 if there are none.
    """

    def __init__(self, training_set: TrainingSet, weights: Sequence[Array] | None) -> None:
        """Checks them.

        Raises:
            ImitationError: not one for each frame, one that is negative or not finite, or only 0.
        """
        self.hash, self.mean = '', 1.0
        self._scaled: list[Array] | None = None
        if weights is None:
            return
        shapes, valid = [each.shape for each in weights], [(len(each),) for each in training_set]
        if shapes != valid:
            raise ImitationError(f'frame_weights: shapes {shapes}; valid: {valid}')
        joined = np.concatenate(weights).astype(np.float64)
        if not (np.isfinite(joined).all() and (joined >= 0).all() and joined.any()):
            raise ImitationError(
                'frame_weights: NaN, infinite, negative, or all 0; valid: 0 or more, some above 0'
            )
        self.hash = hashlib.sha256(joined.tobytes()).hexdigest()
        self.mean = float(joined.mean())
        self._scaled = [each / self.mean for each in weights]

    def of(self, episodes: Sequence[int]) -> list[Array] | None:
        """Those of some episodes, or None if all frames count alike."""
        return None if self._scaled is None else [self._scaled[index] for index in episodes]


class Learner:
    """The fit itself: stochastic gradient descent with early stopping.

    Attributes:
        best: the network with the weights of the best epoch so far.
        best_epoch: its number, from 1.
        train_loss: one an epoch.
        validation_loss: one an epoch, empty without held-out episodes.
    """

    def __init__(self, network: Network, config: BCConfig, seed: int) -> None:
        self._config, self._seed = config, seed
        self._network = network
        self.best = copy.deepcopy(network)
        self._networks = nn.ModuleDict({'network': network, 'best': self.best})
        self._optimizer = torch.optim.AdamW(
            network.parameters(),
            config.learning_rate,
            weight_decay=config.weight_decay,
            fused=True,
        )
        self._draws: Tensor | None = None
        self.best_epoch = 0
        self.train_loss: list[float] = []
        self.validation_loss: list[float] = []

    @property
    def epoch(self) -> int:
        """How many are done."""
        return len(self.train_loss)

    @property
    def finished(self) -> bool:
        """Whether all epochs are done, or the last `patience` of them brought nothing."""
        waited = self.epoch - self.best_epoch
        return self.epoch >= self._config.epochs or waited >= self._config.patience

    def run_epoch(
        self, windows: Windows, validation: Windows | None
    ) -> tuple[float, float | None]:
        """Sees every sample, once or more; returns the mean training and validation loss.

        Raises:
            ImitationError: the loss is not finite.
        """
        if self._config.members > 1 and self._draws is None:
            self._draws = bootstrap(self._config.members, len(windows), self._seed).to(
                self._config.device
            )
        losses = torch.stack([self._step(batch) for batch in self._batches(windows)])
        self.train_loss.append(float(losses.mean()))
        if not math.isfinite(self.train_loss[-1]):
            raise ImitationError(
                f'epoch {self.epoch}: the loss is {self.train_loss[-1]}; '
                f'valid: a learning_rate below {self._config.learning_rate}'
            )
        if validation:
            self.validation_loss.append(mean_loss(self._network, validation))
        last = self.validation_loss[-1] if validation else None
        if last is None or last == min(self.validation_loss):
            self.best.load_state_dict(self._network.state_dict())
            self.best_epoch = self.epoch
        return self.train_loss[-1], last

    def _batches(self, windows: Windows) -> Iterator[Batch]:
        """Whole passes over the data, each in an order of its own."""
        rng = np.random.default_rng((self._seed, self.epoch))
        steps_per_pass = math.ceil(len(windows) / self._config.batch_size)
        for _ in range(math.ceil(self._config.steps_per_epoch / steps_per_pass)):
            order = torch.from_numpy(rng.permutation(len(windows)))
            yield from windows.batches(order, self._config.batch_size, self._draws)

    def _step(self, batch: Batch) -> Tensor:
        loss = negative_log_likelihood(self._network, batch)
        self._optimizer.zero_grad()
        loss.backward()
        self._optimizer.step()
        return loss.detach()

    def state(self) -> State:
        """All that the next epoch depends on; its batches depend on its number."""
        tensors = dict(self._networks.state_dict())
        for index, moments in self._optimizer.state_dict()['state'].items():
            tensors |= {f'optimizer.{index}.{key}': value for key, value in moments.items()}
        return tensors, {name: getattr(self, name) for name in CURVES}

    def restore(self, tensors: Mapping[str, Tensor], document: Mapping[str, Any]) -> None:
        """Goes back to what `state` gave."""
        weights: dict[str, Tensor] = {}
        moments: dict[int, dict[str, Tensor]] = defaultdict(dict)
        for name, tensor in tensors.items():
            group, index, key = name.split('.', 2)
            if group == 'optimizer':
                moments[int(index)][key] = tensor
            else:
                weights[name] = tensor
        self._networks.load_state_dict(weights)
        optimizer = self._optimizer.state_dict()
        self._optimizer.load_state_dict({**optimizer, 'state': dict(moments)})
        for name in CURVES:
            setattr(self, name, document[name])


def negative_log_likelihood(network: Network, batch: Batch) -> Tensor:
    """Mean over the labels of a batch, each the sum over its action parts.

    Of an ensemble the mean over its members, which is a sum of what each of them has to learn.
    """
    outputs = network.by_part(network(batch.inputs))
    losses = []  # (B, chunk) each, of an ensemble (members, B, chunk)
    for part, head in network.heads.items():
        target = batch.targets[part]
        losses.append(head.loss(outputs[part], target.expand(*outputs[part].shape[:-1], -1)))
    loss = reduce(torch.add, losses)
    if loss.ndim == 2:
        return loss.flatten() @ batch.weight.flatten()
    return (loss * batch.weight).sum() / len(loss)


def bootstrap(members: int, frames: int, seed: int) -> Tensor:
    """How often each frame is in the sample that a member learns from, (members, frames).

    Poisson(1), the limit of drawing with replacement (Oza & Russell, Online Bagging and Boosting,
    AISTATS 2001).
    """
    drawn = np.random.default_rng((seed, members)).poisson(1.0, (members, frames))
    return torch.from_numpy(drawn.astype(np.float32))


@torch.no_grad()
def mean_loss(network: Network, windows: Windows) -> float:
    """Negative log likelihood of all samples."""
    batches = windows.batches(torch.arange(len(windows)), EVALUATION_BATCH)
    losses = [negative_log_likelihood(network, batch) * len(batch.weight) for batch in batches]
    return float(sum(losses)) / len(windows)


def _check_device(device: str) -> None:
    if device == 'cuda' and not torch.cuda.is_available():
        raise ImitationError("device: 'cuda'; valid here: 'cpu' (torch finds no GPU)")


def _check_start(start: Policy, architecture: Architecture, contract: Contract) -> None:
    if start.architecture != architecture:
        raise ImitationError(f'start: {start.architecture}; valid: {architecture}')
    if differences := start.contract.differences(contract):
        raise ImitationError(f'start: made for another contract: {differences[0]}')


@contextmanager
def _reproducible(threads: int, seed: int) -> Iterator[None]:
    """Fixes whatever weights depend on, and afterwards leaves torch as it was."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        deterministic = torch.backends.cudnn.flags(enabled=True, deterministic=True)
        with torch.random.fork_rng(), deterministic:
            torch.manual_seed(seed)
            yield
    finally:
        torch.set_num_threads(before)


def _plain(config: BCConfig) -> dict[str, Any]:
    """As JSON gives it back."""
    return {**dataclasses.asdict(config), 'hidden': list(config.hidden)}
