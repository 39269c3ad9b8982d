"""The data that every part passes on: specifications, frames, episodes.

A frame is one tick of the policy's rate. Arrays are NumPy; every type is frozen. `Spec.check`
says whether an array is what the contract promises, an `Episode` checks its lengths.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[Any]
Observation: TypeAlias = Mapping[str, Array]
"""Observation name → array of the contract's shape."""
Action: TypeAlias = Mapping[str, Array]
"""Action part → (n,) float64, or (1,) int64 with the index of the class if it is discrete."""


@dataclass(frozen=True)
class Spec:
    """What one named array holds.

    Attributes:
        name: observation or action part.
        shape: of one frame, without time.
        dtype: NumPy name: 'float64', 'int64', 'uint8' or 'uint16'.
        fields: one name an element for vectors, empty for images.
        low: (n,) lower bound, or None where there is none.
        high: (n,) upper bound, or None.
        classes: names of the values of a discrete action, empty if it is continuous.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str = 'float64'
    fields: tuple[str, ...] = ()
    low: Array | None = None
    high: Array | None = None
    classes: tuple[str, ...] = ()

    @property
    def discrete(self) -> bool:
        """Whether it is an index into `classes`."""
        return bool(self.classes)

    @property
    def image(self) -> bool:
        """Whether it is an image: (height, width, channels)."""
        return len(self.shape) == 3

    def check(self, array: Array, where: str = '') -> Array:
        """Returns `array` in the dtype of the spec.

        Raises:
            ValueError: wrong shape, a non-finite number, or no such class.
        """
        array = np.asarray(array)
        label = where or self.name
        if array.shape != self.shape:
            raise ValueError(f'{label}: shape {array.shape}; valid: {self.shape}')
        if not np.isfinite(array).all():
            raise ValueError(f'{label}: not finite: {array.tolist()}')
        if self.discrete and not 0 <= int(array[0]) < len(self.classes):
            raise ValueError(
                f'{label}: class {int(array[0])}; valid: 0 to {len(self.classes) - 1}'
            )
        return array.astype(self.dtype, copy=False)


@dataclass(frozen=True)
class Frame:
    """What the policy sees at one tick.

    Attributes:
        tick_ns: the tick, in ROS time.
        observation: name → array.
    """

    tick_ns: int
    observation: Observation


@dataclass(frozen=True)
class Gap:
    """Why there is no frame at a tick: what is missing or stale."""

    tick_ns: int
    reason: str


@dataclass(frozen=True)
class Episode:
    """One roll-out as arrays, T frames long.

    Attributes:
        tick_ns: (T,) int64, increasing.
        observations: name → (T, *shape).
        actions: part → (T, n): the labels, what was the right thing to do in each frame.
        segment: (T,) int32. Frames with one number follow each other without a gap; a window
            (history, chunk) must not span two.
        outcome: 'success', 'failure', 'discarded', 'unknown' or 'disk_full'.
        left_out: reason → how many ticks gave no frame because of it.
        metadata: task, seed, operator, source path and whatever else was kept.
    """

    tick_ns: Array
    observations: Mapping[str, Array]
    actions: Mapping[str, Array]
    segment: Array
    outcome: str = 'unknown'
    left_out: Mapping[str, int] = field(default_factory=dict)
    metadata: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        arrays = {'segment': self.segment}
        arrays |= {f'observations.{name}': array for name, array in self.observations.items()}
        arrays |= {f'actions.{part}': array for part, array in self.actions.items()}
        for name, array in arrays.items():
            if len(array) != len(self):
                raise ValueError(f'{name} has {len(array)} frames, tick_ns has {len(self)}')

    def __len__(self) -> int:
        return len(self.tick_ns)
