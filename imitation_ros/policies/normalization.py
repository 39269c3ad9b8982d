"""Observations and actions in units of their own spread, as networks want them.

The statistics come from the training set and travel with the policy.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from imitation_ros.types import Array, Spec
import numpy as np

STD_FLOOR = 1e-2
"""In the observation's unit (rad, m …): less spread is noise and must not be blown up."""
ACTION_STD_FLOOR = 1e-2
"""Of half the range that the contract allows a command."""
PIXELS = {'uint8': (127.5, 64.0), 'uint16': (1000.0, 500.0)}
"""Mean and deviation taken for images: of 8-bit values, and of depths in mm over a table."""


class Moments(Protocol):
    """Mean and standard deviation (n,) over a training set."""

    @property
    def mean(self) -> Array:
        """(n,)."""

    @property
    def std(self) -> Array:
        """(n,)."""


class Statistics(Protocol):
    """What is known of a training set's vectors and continuous action parts."""

    @property
    def observations(self) -> Mapping[str, Moments]:
        """By name."""

    @property
    def actions(self) -> Mapping[str, Moments]:
        """By part."""


@dataclass(frozen=True)
class Standard:
    """How one array becomes zero mean, unit variance.

    Attributes:
        mean: (n,) float64; one a channel for images.
        std: (n,) float64, positive.
    """

    mean: Array
    std: Array

    def apply(self, array: Array) -> Array:
        """Physical units → standardized."""
        standardized: Array = (array - self.mean) / self.std
        return standardized

    def invert(self, array: Array) -> Array:
        """Standardized → physical units."""
        physical: Array = array * self.std + self.mean
        return physical


@dataclass(frozen=True)
class Normalization:
    """The statistics of every array of a contract.

    Attributes:
        observations: name → its `Standard`.
        actions: continuous part → its `Standard`.
    """

    observations: Mapping[str, Standard]
    actions: Mapping[str, Standard]

    @classmethod
    def fit(
        cls,
        statistics: Statistics,
        observations: Mapping[str, Spec],
        actions: Mapping[str, Spec],
    ) -> Normalization:
        """From the training set's statistics, with floors under the deviations."""
        return cls(
            {
                name: _pixels(spec)
                if spec.image
                else _standard(statistics.observations[name], STD_FLOOR)
                for name, spec in observations.items()
            },
            {
                part: _standard(statistics.actions[part], _floor(spec))
                for part, spec in actions.items()
                if not spec.discrete
            },
        )

    def to_document(self) -> dict[str, Any]:
        """Plain data for JSON; exact, since Python writes floats so that they read back equal."""
        return {
            group: {
                name: {'mean': standard.mean.tolist(), 'std': standard.std.tolist()}
                for name, standard in standards.items()
            }
            for group, standards in vars(self).items()
        }

    @classmethod
    def from_document(
        cls,
        document: Mapping[str, Any],
        observations: Mapping[str, Spec],
        actions: Mapping[str, Spec],
    ) -> Normalization:
        """Takes back what `to_document` gave.

        Raises:
            ValueError: an entry is missing, has the wrong length, or a number that cannot be.
        """
        continuous = {part: spec for part, spec in actions.items() if not spec.discrete}
        return cls(
            _standards(document, 'observations', observations),
            _standards(document, 'actions', continuous),
        )


def _standard(moments: Moments, floor: Array | float) -> Standard:
    return Standard(moments.mean, np.maximum(moments.std, floor))


def _pixels(spec: Spec) -> Standard:
    mean, std = PIXELS[spec.dtype]
    channels = spec.shape[-1]
    return Standard(np.full(channels, mean), np.full(channels, std))


def _floor(spec: Spec) -> Array | float:
    if spec.low is None or spec.high is None:
        return STD_FLOOR
    floor: Array = ACTION_STD_FLOOR * (spec.high - spec.low) / 2
    return floor


def _standards(
    document: Mapping[str, Any], group: str, specs: Mapping[str, Spec]
) -> dict[str, Standard]:
    standards = {}
    for name, spec in specs.items():
        where = f'normalization.{group}.{name}'
        try:
            entry = document[group][name]
            mean, std = (np.array(entry[key], np.float64) for key in ('mean', 'std'))
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise ValueError(f'{where}: {type(error).__name__} {error}') from None
        if not mean.shape == std.shape == (spec.shape[-1],):
            raise ValueError(f'{where}: {mean.size} and {std.size} numbers, not {spec.shape[-1]}')
        if not (np.isfinite(mean).all() and np.isfinite(std).all() and (std > 0).all()):
            raise ValueError(f'{where}: mean {mean.tolist()}, std {std.tolist()}')
        standards[name] = Standard(mean, std)
    return standards
