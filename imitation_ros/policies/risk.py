"""How likely it is that the expert would act differently, guessed without asking the expert.

The safety classifier of SafeDAgger: Zhang & Cho, Query-Efficient Imitation Learning for
End-to-End Simulated Driving, AAAI 2017, §3.1. It sees what the policy's perceptron sees.
"""

from __future__ import annotations

from imitation_ros.policies.network import perceptron
from torch import nn, Tensor

HIDDEN = (64, 64)


class Risk(nn.Module):
    """A classifier beside a policy.

    Attributes:
        threshold: `action_distance` from which on actions count as different.
    """

    def __init__(self, features: int, threshold: float) -> None:
        super().__init__()
        self.threshold = threshold
        self.perceptron = perceptron((features, *HIDDEN, 1))

    def forward(self, features: Tensor) -> Tensor:
        """(B, features) → logits (B,)."""
        logits: Tensor = self.perceptron(features)[:, 0]
        return logits
