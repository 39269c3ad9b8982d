"""What all ways to adapt have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod

from imitation_ros.learning.meta.decoder import Condition, Decoder
from imitation_ros.learning.meta.shots import Labels, Shots
from torch import nn, Tensor


class Learner(nn.Module, ABC):
    """Learned from many tasks; becomes the policy of one by its demonstrations.

    Attributes:
        decoder: the policy that still has to be told which task it is.
    """

    def __init__(self, decoder: Decoder) -> None:
        super().__init__()
        self.decoder = decoder

    @abstractmethod
    def losses(self, support: Shots, query: Labels, tasks: Tensor) -> Tensor:
        """(B,): how well `query` is predicted after adaptation to `support`, of B tasks.

        Args:
            support: demonstrations.
            query: frames to predict.
            tasks: (B,) numbers of the training tasks that these are of.
        """

    @abstractmethod
    def adapted(self, shots: Shots) -> tuple[Decoder, Condition]:
        """The policy of one task; this learner stays as it is."""

    def told(self, shots: Shots) -> Condition:
        """The condition of one task, with how sure the pointers are."""
        return self.adapted(shots)[1]

    @abstractmethod
    def prior(self) -> Condition:
        """What it takes the task to be before it has seen a demonstration."""
