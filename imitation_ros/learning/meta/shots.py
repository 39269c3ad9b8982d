"""Demonstrations as tensors: what a learner adapts to, and what its adaptation is tested on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from imitation_ros.frames.contract import Contract
from imitation_ros.learning.meta.slots import StateLayout, states
from imitation_ros.policies.normalization import Normalization
from imitation_ros.types import Array, Episode
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

FRAMES = 32
"""Of each demonstration, evenly spaced: what is enough to see what was meant."""


class Labels(NamedTuple):
    """Frames with the right action, of B tasks or of one.

    Attributes:
        state: (…, N, n) in the contract's units.
        targets: part → (…, N, k) standardized, or (…, N, 1) int64 if discrete.
    """

    state: Tensor
    targets: dict[str, Tensor]

    def of(self, frames: Tensor) -> Labels:
        """Some of the frames of one task, by number or by whether they are chosen."""
        return Labels(
            self.state[frames], {part: each[frames] for part, each in self.targets.items()}
        )


class Shots(NamedTuple):
    """E demonstrations of F frames each, of B tasks or of one.

    Attributes:
        state: (…, E, F, n) in the contract's units.
        motion: (…, E, F, d) what the slots' reference does until the next frame, m per tick.
        action: (…, E, F, a) standardized, discrete parts one-hot.
        labels: the same frames, E · F of them.
    """

    state: Tensor
    motion: Tensor
    action: Tensor
    labels: Labels


class Tensors:
    """Turns episodes of a contract into tensors."""

    def __init__(
        self, contract: Contract, layout: StateLayout, normalization: Normalization
    ) -> None:
        self._contract, self._layout, self._normalization = contract, layout, normalization
        self._specs = contract.action_specs

    def labels(self, episodes: Sequence[Episode]) -> Labels:
        """All frames of some episodes of one task."""
        state = np.concatenate([states(episode, self._contract) for episode in episodes])
        return Labels(_float(state), self._targets(episodes))

    def shots(
        self,
        episodes: Sequence[Episode],
        rng: np.random.Generator | None = None,
        frames: Sequence[Array] | None = None,
    ) -> Shots:
        """Some frames of each episode of one task, the first and the last among them.

        Args:
            episodes: demonstrations.
            rng: shifts the frames between at random.
            frames: of each episode those that may be looked at; all if None.
        """
        if frames is None:
            frames = [np.arange(len(episode)) for episode in episodes]
        picks = [each[_pick(len(each), rng)] for each in frames]
        state, motion, targets = [], [], []
        for episode, pick in zip(episodes, picks):
            whole = states(episode, self._contract)
            moved = np.diff(whole[:, self._layout.reference], axis=0, append=np.nan)
            moved[:-1][np.diff(episode.segment) != 0] = np.nan  # across a gap
            state.append(whole[pick])
            motion.append(np.nan_to_num(moved)[pick])
            targets.append({name: each[pick] for name, each in self._targets([episode]).items()})
        joined = {name: torch.cat([each[name] for each in targets]) for name in targets[0]}
        labels = Labels(_float(np.concatenate(state)), joined)
        action = torch.cat([self._seen(name, joined[name]) for name in joined], -1)
        return Shots(
            _float(np.array(state)),
            _float(np.array(motion)),
            action.reshape(len(episodes), FRAMES, -1),
            labels,
        )

    def _targets(self, episodes: Sequence[Episode]) -> dict[str, Tensor]:
        targets = {}
        for part, spec in self._specs.items():
            labels = np.concatenate([episode.actions[part] for episode in episodes])
            targets[part] = (
                torch.from_numpy(labels.astype(np.int64))
                if spec.discrete
                else _float(self._normalization.actions[part].apply(labels))
            )
        return targets

    def _seen(self, part: str, targets: Tensor) -> Tensor:
        spec = self._specs[part]
        if not spec.discrete:
            return targets
        return functional.one_hot(targets[..., 0], len(spec.classes)).float()


def stacked(shots: Sequence[Shots]) -> Shots:
    """Those of several tasks as one."""
    return Shots(
        torch.stack([each.state for each in shots]),
        torch.stack([each.motion for each in shots]),
        torch.stack([each.action for each in shots]),
        stacked_labels([each.labels for each in shots]),
    )


def stacked_labels(labels: Sequence[Labels]) -> Labels:
    """Those of several tasks as one."""
    return Labels(
        torch.stack([each.state for each in labels]),
        {part: torch.stack([each.targets[part] for each in labels]) for part in labels[0].targets},
    )


def _pick(length: int, rng: np.random.Generator | None) -> Array:
    places = np.linspace(0, length - 1, FRAMES)
    if rng is not None:
        places[1:-1] += rng.uniform(-0.5, 0.5, FRAMES - 2) * (length - 1) / (FRAMES - 1)
    return places.round().astype(int)


def _float(array: Array) -> Tensor:
    return torch.from_numpy(array.astype(np.float32))
