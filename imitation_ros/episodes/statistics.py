"""Mean, spread and range of a training set, from one pass over its episodes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import reduce
from typing import Any

from imitation_ros.errors import EpisodeError
from imitation_ros.frames.contract import Contract
from imitation_ros.frames.images import thumbnails
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
    """Of every observation and every continuous action part.

    Attributes:
        observations: name → of its vectors, or of its images' thumbnails.
        actions: part → of its vectors.
        stood_still: name of an image → (n,) the furthest that the elements of all vector
            observations, in order, have moved while it stayed the same, bit by bit.
    """

    observations: Mapping[str, Moments]
    actions: Mapping[str, Moments]
    stood_still: Mapping[str, Array]

    @classmethod
    def of(cls, episode: Episode, contract: Contract) -> Statistics:
        """The statistics of an episode of at least one frame."""
        return cls(
            _moments(contract.observation_specs, episode.observations),
            _moments(contract.action_specs if episode.actions else {}, episode.actions),
            _stood_still(contract.observation_specs, episode.observations),
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
            {n: np.maximum(moved, other.stood_still[n]) for n, moved in self.stood_still.items()},
        )

    def to_document(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            'observations': {name: each.to_document() for name, each in self.observations.items()},
            'actions': {part: each.to_document() for part, each in self.actions.items()},
            'stood_still': {name: each.tolist() for name, each in self.stood_still.items()},
        }

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Statistics:
        """Takes back what `to_document` gave."""
        observations, actions = (
            {name: Moments.from_document(each) for name, each in document[group].items()}
            for group in ('observations', 'actions')
        )
        moved = {name: np.array(each, float) for name, each in document['stood_still'].items()}
        return cls(observations, actions, moved)


def _moments(specs: Mapping[str, Spec], arrays: Mapping[str, Array]) -> dict[str, Moments]:
    return {
        name: Moments.of(
            thumbnails(arrays[name]) if spec.image else np.asarray(arrays[name], np.float64)
        )
        for name, spec in specs.items()
        if not spec.discrete
    }


def _stood_still(specs: Mapping[str, Spec], arrays: Mapping[str, Array]) -> dict[str, Array]:
    vectors = np.hstack([
        np.empty((len(next(iter(arrays.values()))), 0)),
        *(arrays[name] for name, spec in specs.items() if not spec.image),
    ])  # fmt: skip
    return {name: _moved(arrays[name], vectors) for name, spec in specs.items() if spec.image}


def _moved(images: Array, vectors: Array) -> Array:
    """(n,) how far (T, n) vectors moved, at most, while the image was what it had been."""
    furthest, since = np.zeros(vectors.shape[1]), 0
    for tick in range(1, len(images)):
        if np.array_equal(images[tick], images[since]):
            furthest = np.maximum(furthest, np.abs(vectors[tick] - vectors[since]))
        else:
            since = tick
    return furthest
