"""What actor and critic see first: observations whitened by the demonstrations."""

from __future__ import annotations

from gymnasium import spaces
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
import torch
from torch import nn, Tensor


class Whitened(BaseFeaturesExtractor):
    """Observations whitened by the demonstrations, as the reward sees them."""

    mean: Tensor
    whitening: Tensor

    def __init__(self, observation_space: spaces.Box, mean: Tensor, whitening: Tensor) -> None:
        super().__init__(observation_space, observation_space.shape[0])
        self.register_buffer('mean', nn.functional.pad(mean, (0, 1)))
        self.register_buffer('whitening', torch.block_diag(whitening, torch.ones(1, 1)))

    def forward(self, observation: Tensor) -> Tensor:
        """(B, o) → (B, o); the absorbing indicator as it is."""
        return (observation - self.mean) @ self.whitening
