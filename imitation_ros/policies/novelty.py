"""Novelty: whether a policy is shown something that its training data had nothing of.

A range test, one feature at a time: how far a vector is beyond everything that was seen in
training, in deviations; of an image, how far its thumbnail is. It notices an offset or a scale
that takes a joint out of its range, a camera that is covered or in the place of another, not what
stays within the ranges, and no combination of features that are each usual. And a camera that is
frozen: its image stays the same, bit by bit, while the robot moves further than it ever did in
training under the same image.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from imitation_ros.frames.images import thumbnails
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


class Seen(Protocol):
    """What is needed of a training set's statistics."""

    @property
    def observations(self) -> Mapping[str, Range]:
        """Name → of its vectors, or of its images' thumbnails."""

    @property
    def stood_still(self) -> Mapping[str, Array]:
        """Name of an image → (n,) the furthest that the vectors moved while it was the same."""


@dataclass(frozen=True)
class Novelty:
    """What a training set has covered.

    Attributes:
        vectors: names of the vector observations, in order.
        images: names of the others.
        low: (n,) smallest of all their elements, one after the other, images behind.
        high: (n,) largest.
        scale: (n,) their deviations.
        stood_still: image → (v,) the furthest that the vectors' elements moved under it.
    """

    vectors: tuple[str, ...]
    images: tuple[str, ...]
    low: Array
    high: Array
    scale: Array
    stood_still: Mapping[str, Array]

    @classmethod
    def fit(
        cls, seen: Seen, standards: Mapping[str, Standard], specs: Mapping[str, Spec]
    ) -> Novelty:
        """Of a training set."""
        vectors, images = _names(specs)
        ranges = [seen.observations[name] for name in (*vectors, *images)]
        return cls(
            vectors,
            images,
            _joined([each.low for each in ranges]),
            _joined([each.high for each in ranges]),
            _scale(standards, specs),
            {name: seen.stood_still[name] for name in images},
        )

    def of(self, observation: Observation) -> float:
        """How far the element that is furthest out is beyond training, in deviations."""
        features = [observation[name] for name in self.vectors]
        features += [thumbnails(observation[name][None])[0] for name in self.images]
        found = features[0] if len(features) == 1 else _joined(features)
        if not found.size:
            return 0.0
        beyond = np.maximum(self.low - found, found - self.high) / self.scale
        return max(0.0, float(beyond.max()))

    def of_motion(self, image: str, moved: Array) -> float:
        """How much further the vectors (v,) moved under one image than in training."""
        if not moved.size:
            return 0.0
        beyond = (np.abs(moved) - self.stood_still[image]) / self.scale[: moved.size]
        return max(0.0, float(beyond.max()))

    def to_document(self) -> dict[str, Any]:
        """Plain data for JSON; the deviations are those of the normalization."""
        still = {name: moved.tolist() for name, moved in self.stood_still.items()}
        return {'low': self.low.tolist(), 'high': self.high.tolist(), 'stood_still': still}

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
        vectors, images = _names(specs)
        scale = _scale(standards, specs)
        try:
            low, high = (np.array(document[key], np.float64) for key in ('low', 'high'))
            still = {name: np.array(document['stood_still'][name], float) for name in images}
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f'novelty: {type(error).__name__} {error}') from None
        if not low.shape == high.shape == scale.shape:
            raise ValueError(f'novelty: {low.size} and {high.size} numbers, not {scale.size}')
        if not (np.isfinite(low).all() and np.isfinite(high).all() and (low <= high).all()):
            raise ValueError(f'novelty: low {low.tolist()}, high {high.tolist()}')
        size = sum(specs[name].shape[0] for name in vectors)
        for name, moved in still.items():
            if moved.shape != (size,) or not np.isfinite(moved).all() or (moved < 0).any():
                raise ValueError(f'novelty: stood_still: {name}: {moved.tolist()}, not {size}')
        return cls(vectors, images, low, high, scale, still)


class Freeze:
    """Follows how far the robot has moved since each image was another.

    Args:
        novelty: what was usual in training.
    """

    def __init__(self, novelty: Novelty) -> None:
        self._novelty = novelty
        self._since: dict[str, tuple[Array, Array]] = {}

    def of(self, observation: Observation) -> float:
        """The novelty of that, of the image that is worst; asked once a tick or more often."""
        if not self._novelty.images:
            return 0.0
        vector = _joined([observation[name] for name in self._novelty.vectors])
        worst = 0.0
        for name in self._novelty.images:
            image, start = self._since.get(name, (None, vector))
            if image is None or not np.array_equal(image, observation[name]):
                self._since[name] = observation[name], vector
            else:
                worst = max(worst, self._novelty.of_motion(name, vector - start))
        return worst


def _names(specs: Mapping[str, Spec]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Of vectors and of images."""
    vectors, images = (
        tuple(name for name, spec in specs.items() if spec.image is image)
        for image in (False, True)
    )
    return vectors, images


def _scale(standards: Mapping[str, Standard], specs: Mapping[str, Spec]) -> Array:
    vectors, images = _names(specs)
    blank = {name: np.zeros((1, *specs[name].shape)) for name in images}
    cells = {name: thumbnails(blank[name]).size // specs[name].shape[-1] for name in images}
    return _joined([
        *(standards[name].std for name in vectors),
        *(np.tile(standards[name].std, cells[name]) for name in images),
    ])  # fmt: skip


def _joined(arrays: list[Array]) -> Array:
    return np.concatenate([np.empty(0), *arrays])
