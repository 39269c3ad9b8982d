"""Novelty: whether a policy is shown something that its training data had nothing of.

A range test, one feature at a time: how far a vector is beyond everything that was seen in
training, in deviations. It notices an offset or a scale that takes a joint out of its range, not
one that stays within it, and no combination of features that are each usual.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from imitation_ros.policies.normalization import Standard
from imitation_ros.types import Array, Observation, Spec
import numpy as np


class Range(Protocol):
    """Smallest and largest (n,) of a training set."""

    @property
    def low(self) -> Array:
        """(n,)."""

    @property
    def high(self) -> Array:
        """(n,)."""


@dataclass(frozen=True)
class Novelty:
    """What a training set has covered.

    Attributes:
        names: of the vector observations, in order.
        low: (n,) smallest of all their elements, one after the other.
        high: (n,) largest.
        scale: (n,) their deviations.
    """

    names: tuple[str, ...]
    low: Array
    high: Array
    scale: Array

    @classmethod
    def fit(
        cls,
        ranges: Mapping[str, Range],
        standards: Mapping[str, Standard],
        specs: Mapping[str, Spec],
    ) -> Novelty:
        """Of the vectors among the observations."""
        names = tuple(name for name, spec in specs.items() if not spec.image)
        return cls(
            names,
            _joined([ranges[name].low for name in names]),
            _joined([ranges[name].high for name in names]),
            _joined([standards[name].std for name in names]),
        )

    def of(self, observation: Observation) -> float:
        """How far the element that is furthest out is beyond training, in deviations."""
        vectors = [observation[name] for name in self.names]
        vector = vectors[0] if len(vectors) == 1 else _joined(vectors)
        if not vector.size:
            return 0.0
        beyond = np.maximum(self.low - vector, vector - self.high) / self.scale
        return max(0.0, float(beyond.max()))

    def to_document(self) -> dict[str, Any]:
        """Plain data for JSON; the deviations are those of the normalization."""
        return {'low': self.low.tolist(), 'high': self.high.tolist()}

    @classmethod
    def from_document(
        cls,
        document: Mapping[str, Any],
        standards: Mapping[str, Standard],
        specs: Mapping[str, Spec],
    ) -> Novelty:
        """Takes back what `to_document` gave.

        Raises:
            ValueError: an entry is missing, has the wrong length, or a number that cannot be.
        """
        names = tuple(name for name, spec in specs.items() if not spec.image)
        scale = _joined([standards[name].std for name in names])
        try:
            low, high = (np.array(document[key], np.float64) for key in ('low', 'high'))
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f'novelty: {type(error).__name__} {error}') from None
        if not low.shape == high.shape == scale.shape:
            raise ValueError(f'novelty: {low.size} and {high.size} numbers, not {scale.size}')
        if not (np.isfinite(low).all() and np.isfinite(high).all() and (low <= high).all()):
            raise ValueError(f'novelty: low {low.tolist()}, high {high.tolist()}')
        return cls(names, low, high, scale)


def _joined(arrays: list[Array]) -> Array:
    return np.concatenate([np.empty(0), *arrays])
