"""Mean, spread and range of a training set, from one pass over its episodes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import reduce
from typing import Any

from imitation_ros.errors import EpisodeError
from imitation_ros.frames.contract import Contract
from imitation_ros.types import Array, Episode, Spec
import numpy as np


@dataclass(frozen=True)
class Moments:
    """Statistics of (T, n) vectors, which can be merged with those of more vectors.

    Merging follows Chan, Golub and LeVeque (1979), which loses no precision to large means.

    Attributes:
        count: T.
        mean: (n,).
        squares: (n,) sum of squared distances from the mean.
        low: (n,) smallest.
        high: (n,) largest.
    """

    count: int
    mean: Array
    squares: Array
    low: Array
    high: Array

    @property
    def std(self) -> Array:
        """(n,) standard deviation of the vectors themselves (divided by T)."""
        std: Array = np.sqrt(self.squares / self.count)
        return std

    @classmethod
    def of(cls, vectors: Array) -> Moments:
        """The statistics of (T, n) vectors, T at least 1."""
        mean = vectors.mean(0)
        squares = np.square(vectors - mean).sum(0)
        return cls(len(vectors), mean, squares, vectors.min(0), vectors.max(0))

    def merged(self, other: Moments) -> Moments:
        """The statistics of both sets of vectors together."""
        count = self.count + other.count
        step = other.mean - self.mean
        return Moments(
            count,
            self.mean + step * (other.count / count),
            self.squares + other.squares + np.square(step) * (self.count * other.count / count),
            np.minimum(self.low, other.low),
            np.maximum(self.high, other.high),
        )

    def to_document(self) -> dict[str, Any]:
        """Plain data; exact, since Python writes floats so that they read back equal."""
        return {key: np.asarray(value).tolist() for key, value in vars(self).items()}

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Moments:
        """Takes back what `to_document` gave."""
        arrays = {key: np.array(value, float) for key, value in document.items() if key != 'count'}
        return cls(document['count'], **arrays)


@dataclass(frozen=True)
class Statistics:
    """Of every vector observation and every continuous action part."""

    observations: Mapping[str, Moments]
    actions: Mapping[str, Moments]

    @classmethod
    def of(cls, episode: Episode, contract: Contract) -> Statistics:
        """The statistics of an episode of at least one frame."""
        return cls(
            _moments(contract.observation_specs, episode.observations),
            _moments(contract.action_specs, episode.actions),
        )

    @classmethod
    def merged(cls, statistics: Iterable[Statistics]) -> Statistics:
        """The statistics of all episodes together.

        Raises:
            EpisodeError: there are none.
        """
        parts = list(statistics)
        if not parts:
            raise EpisodeError('no episode to take statistics from')
        return reduce(cls._both, parts)

    def _both(self, other: Statistics) -> Statistics:
        return Statistics(
            {name: m.merged(other.observations[name]) for name, m in self.observations.items()},
            {part: m.merged(other.actions[part]) for part, m in self.actions.items()},
        )

    def to_document(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            group: {name: moments.to_document() for name, moments in of_group.items()}
            for group, of_group in vars(self).items()
        }

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Statistics:
        """Takes back what `to_document` gave."""
        return cls(**{
            group: {name: Moments.from_document(each) for name, each in of_group.items()}
            for group, of_group in document.items()
        })  # fmt: skip


def _moments(specs: Mapping[str, Spec], arrays: Mapping[str, Array]) -> dict[str, Moments]:
    return {
        name: Moments.of(np.asarray(arrays[name], np.float64))
        for name, spec in specs.items()
        if not spec.image and not spec.discrete
    }
