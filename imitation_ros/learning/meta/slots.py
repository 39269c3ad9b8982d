"""Which fields of a contract's observations are positions of things of a kind.

An observation whose sources all select the same fields of the same type, such as the poses of four
cubes, is a set of slots. What a policy does about one of them it should do about each, wherever it
stands in the list; so networks see a slot relative to the one source that is alike but stands
alone: the tool. Everything is read off the contract.
"""

from __future__ import annotations

from dataclasses import dataclass

from imitation_ros.errors import ImitationError
from imitation_ros.frames.contract import Contract, Source
from imitation_ros.types import Array, Episode
import numpy as np


@dataclass(frozen=True)
class SlotSet:
    """Things of a kind.

    Attributes:
        name: of the observation.
        topics: of the things.
        fields: (K, d) where each thing's d numbers are in the state.
    """

    name: str
    topics: tuple[str, ...]
    fields: Array


@dataclass(frozen=True)
class StateLayout:
    """What the numbers of the state are: all vector observations, in the contract's order.

    Attributes:
        size: numbers in the state.
        robot: (r,) which of them belong to no slot.
        reference: (d,) which of them slots are seen relative to; empty if there are no slots.
        sets: of slots.
    """

    size: int
    robot: Array
    reference: Array
    sets: tuple[SlotSet, ...]

    @classmethod
    def of(cls, contract: Contract, slots: bool = True) -> StateLayout:
        """Read off a contract; without `slots` every number stands for itself.

        Raises:
            ImitationError: the contract has images, of which nothing is learned here.
        """
        images = [name for name, spec in contract.observation_specs.items() if spec.image]
        if images:
            raise ImitationError(f'observations.{images[0]}: an image; valid here: vectors')
        sources, start = [], 0  # (observation, source, its fields' places)
        for name, group in contract.observations.items():
            for source in group:
                stop = start + len(source.select)
                sources.append((name, source, np.arange(start, stop)))
                start = stop
        groups = {
            name: _kind(group[0])
            for name, group in contract.observations.items()
            if slots and len(group) > 1 and len(set(map(_kind, group))) == 1
        }
        alone = [(_kind(source), at) for name, source, at in sources if name not in groups]
        kinds = set(groups.values())
        reference = [at for kind, at in alone if kinds == {kind}]
        if len(reference) != 1:
            groups = {}
        sets = tuple(
            SlotSet(
                name,
                tuple(source.topic for source in contract.observations[name]),
                np.array([at for owner, _, at in sources if owner == name]),
            )
            for name in groups
        )
        robot = [at for name, _, at in sources if name not in groups]
        return cls(start, np.concatenate(robot), reference[0] if sets else np.array([], int), sets)


def states(episode: Episode, contract: Contract) -> Array:
    """The vector observations of an episode, side by side: (T, size) float64."""
    return np.concatenate([episode.observations[name] for name in contract.observations], 1)


def _kind(source: Source) -> tuple[str, tuple[str, ...]]:
    return source.type, source.select
