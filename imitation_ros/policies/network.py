"""The network: vectors and images of the last frames → outputs of the heads for the next actions.

A perceptron over the standardized vectors of `history` frames, with the features of each camera
image joined to them. What it predicts is a chunk of actions (Zhao et al., Learning Fine-Grained
Bimanual Manipulation with Low-Cost Hardware, RSS 2023). Several perceptrons make an ensemble,
whose members share the image features; where they disagree, the policy is unsure
(Lakshminarayanan, Pritzel & Blundell, Simple and Scalable Predictive Uncertainty Estimation using
Deep Ensembles, NIPS 2017).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

from imitation_ros.errors import ImitationError, one_of
from imitation_ros.policies.heads import CONTINUOUS_HEADS, make_head
from imitation_ros.policies.normalization import Normalization, Standard
from imitation_ros.types import Spec
import torch
from torch import nn, Tensor

KEYPOINTS = 32
MAX_WEIGHTS = 1 << 28
"""A gigabyte of them. A document of a few bytes must not ask for all memory."""


@dataclass(frozen=True)
class Architecture:
    """What a network looks like, beside the contract's shapes.

    Attributes:
        head: of continuous parts: 'deterministic' or 'gaussian'.
        hidden: units of each hidden layer.
        history: frames seen, the newest included.
        chunk: actions predicted at once, the first for the newest frame.
        execute: actions of a chunk that are carried out before the next is predicted.
        members: perceptrons that are trained side by side, each from weights of its own.
    """

    head: str = 'deterministic'
    hidden: tuple[int, ...] = (256, 256)
    history: int = 1
    chunk: int = 1
    execute: int = 1
    members: int = 1

    def __post_init__(self) -> None:
        if self.head not in CONTINUOUS_HEADS:
            raise ImitationError(f'head: {self.head!r}; {one_of(self.head, CONTINUOUS_HEADS)}')
        for name in ('history', 'chunk', 'execute'):
            if not 1 <= getattr(self, name) <= 1000:
                raise ImitationError(f'{name}: {getattr(self, name)}; valid: 1 to 1000')
        if not self.hidden or not all(1 <= units <= 65536 for units in self.hidden):
            raise ImitationError(f'hidden: {self.hidden}; valid: units of each layer, 1 to 65536')
        if self.execute > self.chunk:
            raise ImitationError(f'execute: {self.execute}; valid: 1 to chunk ({self.chunk})')
        if not 1 <= self.members <= 100:
            raise ImitationError(f'members: {self.members}; valid: 1 to 100')


class Inputs(NamedTuple):
    """What the network sees: B samples of h frames.

    Attributes:
        state: (B, h, n) float32, the vector observations, standardized, in the contract's order.
        images: name → (B, h, height, width, channels), as they came.
    """

    state: Tensor
    images: dict[str, Tensor]


class Network(nn.Module):
    """See the module's text. Shapes come from the contract's specs."""

    def __init__(
        self,
        observations: Mapping[str, Spec],
        actions: Mapping[str, Spec],
        architecture: Architecture,
        normalization: Normalization,
    ) -> None:
        super().__init__()
        self.heads = {part: make_head(architecture.head, spec) for part, spec in actions.items()}
        self.chunk = architecture.chunk
        self.image_names = [name for name, spec in observations.items() if spec.image]
        self.encoders = nn.ModuleList(
            ImageEncoder(normalization.observations[name]) for name in self.image_names
        )
        fields = sum(spec.shape[0] for spec in observations.values() if not spec.image)
        features = fields + 2 * KEYPOINTS * len(self.encoders)
        outputs = sum(head.outputs for head in self.heads.values())
        self.features = architecture.history * features
        self.perceptron = perceptron(
            (self.features, *architecture.hidden, self.chunk * outputs), architecture.members
        )

    def forward(self, inputs: Inputs) -> Tensor:
        """Returns the heads' outputs (B, chunk, outputs), of an ensemble (members, B, …)."""
        outputs: Tensor = self.perceptron(self.encode(inputs))
        return outputs.unflatten(-1, (self.chunk, -1))

    def encode(self, inputs: Inputs) -> Tensor:
        """What the perceptron sees (B, features): the vectors, then what is seen in images."""
        features = [inputs.state.flatten(1)]
        for name, encoder in zip(self.image_names, self.encoders):
            images = inputs.images[name]  # (B, h, height, width, channels)
            features.append(encoder(images.flatten(0, 1)).reshape(len(images), -1))
        return torch.cat(features, 1) if features[1:] else features[0]

    def by_part(self, outputs: Tensor) -> dict[str, Tensor]:
        """Splits outputs (…, outputs) among the heads of the action parts."""
        sizes = [head.outputs for head in self.heads.values()]
        return dict(zip(self.heads, torch.split(outputs, sizes, -1)))


class ImageEncoder(nn.Module):
    """Convolutions that learn where to look: features are the mean image coordinates of 32 maps.

    Spatial softmax: Levine, Finn, Darrell & Abbeel, End-to-End Training of Deep Visuomotor
    Policies, JMLR 2016. Works for every image size.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, standard: Standard) -> None:
        super().__init__()
        channels = len(standard.mean)
        for name, value in vars(standard).items():
            buffer = torch.tensor(value, dtype=torch.float32).reshape(channels, 1, 1)
            self.register_buffer(name, buffer, persistent=False)
        self.convolutions = nn.Sequential(
            nn.Conv2d(channels, KEYPOINTS, 5, stride=2, padding=2), nn.ReLU(),
            nn.Conv2d(KEYPOINTS, KEYPOINTS, 3, stride=2, padding=1), nn.ReLU(),
            nn.Conv2d(KEYPOINTS, KEYPOINTS, 3, padding=1),
        )  # fmt: skip

    def forward(self, images: Tensor) -> Tensor:
        """(B, height, width, channels) of any dtype → (B, 64): x and y of each map."""
        pixels = (images.permute(0, 3, 1, 2).float() - self.mean) / self.std
        maps = self.convolutions(pixels)  # (B, maps, rows, columns)
        attention = maps.flatten(2).softmax(2).unflatten(2, maps.shape[2:])
        y, x = (torch.linspace(-1, 1, size, device=maps.device) for size in maps.shape[2:])
        return torch.cat([attention.sum(2) @ x, attention.sum(3) @ y], 1)


class ParallelLinear(nn.Module):
    """The linear layers of all members, as one product."""

    def __init__(self, members: int, inputs: int, outputs: int) -> None:
        super().__init__()
        bound = inputs**-0.5  # as torch.nn.Linear starts
        self.weight = nn.Parameter(torch.empty(members, inputs, outputs).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(members, outputs).uniform_(-bound, bound))

    def forward(self, features: Tensor) -> Tensor:
        """(B, inputs), or (members, B, inputs) → (members, B, outputs)."""
        return features @ self.weight + self.bias[:, None]


def perceptron(sizes: Sequence[int], members: int = 1) -> nn.Sequential:
    """Linear layers of these sizes with tanh between them; of several members, in parallel.

    Smooth units, since a few demonstrations leave most of the space between them: with rectifiers,
    `reach` from 10 demonstrations fails more often than not.

    Raises:
        ImitationError: too many weights.
    """
    weights = members * sum(inputs * outputs for inputs, outputs in pairwise(sizes))
    if weights > MAX_WEIGHTS:
        raise ImitationError(
            f'layers of {tuple(sizes)} units: {weights} weights; valid: at most {MAX_WEIGHTS}'
        )
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(sizes):
        one = members == 1
        linear = nn.Linear(inputs, outputs) if one else ParallelLinear(members, inputs, outputs)
        layers += [linear, nn.Tanh()]
    return nn.Sequential(*layers[:-1])
