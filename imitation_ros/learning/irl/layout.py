"""A contract's observations and actions as flat vectors, as reward networks and actors see them.

An observation is the contract's vectors, one after the other, and a last element that is 1 in the
absorbing state after an episode's terminal and 0 elsewhere (Kostrikov et al., Discriminator-Actor-
Critic, ICLR 2019, §4.2). An action is scaled to -1..1 of its limits; a discrete part is a channel
for each class of which the largest counts, or a single one with its sign for two classes.
"""

from __future__ import annotations

from collections.abc import Mapping

from imitation_ros.errors import RewardError
from imitation_ros.frames.contract import Contract
from imitation_ros.types import Action, Array, Observation, Spec
import numpy as np
import torch
from torch import Tensor

JOINTS = 'sensor_msgs/msg/JointState'
"""Whose positions are none in space, even of a joint called x."""


class Layout:
    """Where the elements of a contract lie in the flat vectors.

    Attributes:
        contract: of the frames.
        observation_size: o, the absorbing indicator included.
        action_size: a.
        actions: part → its spec.
        slices: part → its elements of the flat action.
    """

    def __init__(self, contract: Contract) -> None:
        """Lays them out.

        Raises:
            RewardError: an image, or a continuous action without limits.
        """
        self.contract = contract
        self.actions = contract.action_specs
        self._observations = contract.observation_specs
        for name, spec in self._observations.items():
            if spec.image:
                raise RewardError(
                    f'observations.{name}: an image; valid: vectors, which rewards are learned of'
                )
        for part, spec in self.actions.items():
            if not spec.discrete and (spec.low is None or spec.high is None):
                raise RewardError(f'actions.{part}: no limits; valid: low and high')
        self.observation_size = 1 + sum(spec.shape[0] for spec in self._observations.values())
        sizes = [_channels(spec) for spec in self.actions.values()]
        ends = np.cumsum(sizes).tolist()
        self.slices = {
            part: slice(end - size, end) for part, size, end in zip(self.actions, sizes, ends)
        }
        self.action_size = ends[-1]

    def centering(self) -> Array:
        """What takes positions from where they all lie: state @ centering, (o - 1, o - 1).

        Of the x of each observed pose its mean over all of them is taken away, and so of y;
        heights and all else stay.

        Raises:
            RewardError: fewer than two poses are observed.
        """
        matrix = np.eye(self.observation_size - 1)
        paths = [
            (source.type, field)
            for sources in self.contract.observations.values()
            for source in sources
            for field in source.select
        ]
        for axis in ('x', 'y'):
            at = [
                index
                for index, (kind, field) in enumerate(paths)
                if f'.{field}'.endswith(f'.position.{axis}') and kind != JOINTS
            ]
            if len(at) < 2:
                raise RewardError(
                    f'observations: {len(at)} positions {axis}; valid where they count relative '
                    f'to one another: at least 2, such as pose.position.{axis}'
                )
            matrix[np.ix_(at, at)] -= 1 / len(at)
        return matrix

    def observe(self, observation: Observation, absorbing: bool = False) -> Array:
        """Name → (…, n), flat (…, o) float32."""
        vectors = [np.asarray(observation[name], np.float32) for name in self._observations]
        flags = np.full((*vectors[0].shape[:-1], 1), float(absorbing), np.float32)
        return np.concatenate([*vectors, flags], -1)

    def flatten(self, action: Mapping[str, Array]) -> Array:
        """Part → (…, n), flat (…, a) float32."""
        return np.concatenate(
            [_flat(np.asarray(action[part]), spec) for part, spec in self.actions.items()], -1
        ).astype(np.float32)

    def unflatten(self, flat: Array) -> Action:
        """Flat (a,), back to part → (n,): what the contract sends."""
        return {
            part: _physical(flat[self.slices[part]], self.actions[part]) for part in self.slices
        }

    def decided(self, flat: Tensor) -> Tensor:
        """(…, a) as it is executed: channels of discrete parts say -1 or 1, as an expert's do."""
        if not any(spec.discrete for spec in self.actions.values()):
            return flat
        parts = []
        for part, spec in self.actions.items():
            channels = flat[..., self.slices[part]]
            if spec.discrete and channels.shape[-1] == 1:
                channels = torch.where(channels > 0, 1.0, -1.0)
            elif spec.discrete:
                largest = channels.argmax(-1)
                channels = 2 * torch.nn.functional.one_hot(largest, channels.shape[-1]) - 1.0
            parts.append(channels)
        return torch.cat(parts, -1)


def _channels(spec: Spec) -> int:
    if not spec.discrete:
        return spec.shape[0]
    return 1 if len(spec.classes) == 2 else len(spec.classes)


def _flat(array: Array, spec: Spec) -> Array:
    if not spec.discrete:
        low, high = _limits(spec)
        scaled: Array = 2.0 * (array - low) / (high - low) - 1.0
        return scaled
    if len(spec.classes) == 2:
        return 2.0 * array - 1.0
    marked: Array = 2.0 * np.eye(len(spec.classes))[array[..., 0].astype(int)] - 1.0
    return marked


def _physical(flat: Array, spec: Spec) -> Array:
    if not spec.discrete:
        low, high = _limits(spec)
        physical: Array = low + 0.5 * (np.clip(flat, -1.0, 1.0) + 1.0) * (high - low)
        return physical.astype(np.float64)
    return np.array([int(flat[0] > 0) if len(flat) == 1 else int(np.argmax(flat))])


def _limits(spec: Spec) -> tuple[Array, Array]:
    assert spec.low is not None, spec.name
    assert spec.high is not None, spec.name
    return spec.low, spec.high
