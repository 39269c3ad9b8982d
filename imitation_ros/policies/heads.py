"""What the last layer of a network means: one head for each action part.

Every loss is the negative log likelihood of the demonstrated action, so that the losses of the
parts of one action may be added (Bishop, Pattern Recognition and Machine Learning, 2006, §5.2).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
import math
from typing import Protocol

from imitation_ros.types import Array, Spec
import numpy as np
from torch import Tensor
from torch.nn import functional

LOG_STD = (-5.0, 2.0)
"""Where the logarithm of a standardized action's deviation may lie."""


class Head(Protocol):
    """One action part: `outputs` numbers of the network ⇄ a distribution over actions."""

    @property
    def outputs(self) -> int:
        """How many numbers of the network it takes, for one step of the chunk."""

    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        """Negative log likelihood (…) of `target` (…, n), given `output` (…, outputs)."""

    def mode(self, output: Array) -> Array:
        """The likeliest action (…, n), standardized, or (…, 1) class indices."""

    def agreed(self, outputs: Array) -> Array:
        """What an ensemble with outputs (members, …, outputs) does, (…, n)."""

    def disagreement(self, outputs: Array, unit: Array) -> float:
        """How little the members agree.

        The root mean square of their standard deviation in `unit` (outputs,), or the share of
        members that would choose another class.
        """


@dataclass(frozen=True)
class Deterministic:
    """L2: a Gaussian of variance ½ around the output, less its constant."""

    size: int

    @property
    def outputs(self) -> int:
        """One number an element."""
        return self.size

    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        """The squared error."""
        return functional.mse_loss(output, target, reduction='none').sum(-1)

    def mode(self, output: Array) -> Array:
        """The output itself."""
        return output

    def agreed(self, outputs: Array) -> Array:
        """The mean."""
        return _mean(self.mode(outputs))

    def disagreement(self, outputs: Array, unit: Array) -> float:
        """Of the outputs."""
        return _spread(self.mode(outputs), unit)


@dataclass(frozen=True)
class Gaussian:
    """A mean and a deviation for each element, both depending on the observation."""

    size: int

    @property
    def outputs(self) -> int:
        """The means, then the logarithms of the deviations."""
        return 2 * self.size

    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        """Negative log density."""
        mean, log_std = output[..., : self.size], output[..., self.size :].clamp(*LOG_STD)
        error = (target - mean) * (-log_std).exp()
        return (0.5 * error.square() + log_std).sum(-1) + 0.5 * self.size * math.log(2 * math.pi)

    def mode(self, output: Array) -> Array:
        """The mean."""
        return output[..., : self.size]

    def agreed(self, outputs: Array) -> Array:
        """The mean of the means."""
        return _mean(self.mode(outputs))

    def disagreement(self, outputs: Array, unit: Array) -> float:
        """Of the means."""
        return _spread(self.mode(outputs), unit)

    def std(self, output: Array) -> Array:
        """The deviation (…, size), standardized."""
        deviation: Array = np.exp(np.clip(output[..., self.size :], *LOG_STD))
        return deviation


@dataclass(frozen=True)
class Categorical:
    """One of some classes."""

    classes: int

    @property
    def outputs(self) -> int:
        """A logit a class."""
        return self.classes

    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        """Cross-entropy; `target` (…, 1) int64."""
        loss = functional.cross_entropy(
            output.reshape(-1, self.classes), target.reshape(-1), reduction='none'
        )
        return loss.reshape(output.shape[:-1])

    def mode(self, output: Array) -> Array:
        """The likeliest class."""
        classes: Array = np.argmax(output, -1, keepdims=True)
        return classes

    def agreed(self, outputs: Array) -> Array:
        """The class of the highest mean probability."""
        odds = np.exp(outputs - outputs.max(-1, keepdims=True))
        return self.mode(_mean(odds / odds.sum(-1, keepdims=True)))

    def disagreement(self, outputs: Array, unit: Array) -> float:
        """The share of members whose class is not the most frequent one."""
        votes = np.eye(self.classes)[self.mode(outputs)[..., 0]]  # (members, …, classes)
        return float(1.0 - _mean(votes).max(-1).mean())


def _mean(members: Array) -> Array:
    """Over the first axis."""
    mean: Array = members.mean(0)
    return mean


def _spread(members: Array, unit: Array) -> float:
    deviation = members.std(0) / unit[: members.shape[-1]]
    return float(np.sqrt(np.square(deviation).mean()))


CONTINUOUS_HEADS: dict[str, Callable[[int], Head]] = {
    'deterministic': Deterministic,
    'gaussian': Gaussian,
}


def make_head(kind: str, spec: Spec) -> Head:
    """The head of one part: categorical where it is discrete, else of the `kind` asked for."""
    if spec.discrete:
        return Categorical(len(spec.classes))
    return CONTINUOUS_HEADS[kind](spec.shape[0])
