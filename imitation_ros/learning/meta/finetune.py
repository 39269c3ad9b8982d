"""The usual way, to compare with: clone all tasks at once, then train on the demonstration."""

from __future__ import annotations

from imitation_ros.learning.meta.decoder import Condition, Decoder
from imitation_ros.learning.meta.gradient import copy_of
from imitation_ros.learning.meta.learner import Learner
from imitation_ros.learning.meta.shots import Labels, Shots
import torch
from torch import Tensor


class FineTuned(Learner):
    """A clone of all tasks, which cannot tell them apart.

    Attributes:
        steps: of Adam on the demonstrations, all frames in each.
        rate: of learning.
    """

    def __init__(self, decoder: Decoder, steps: int = 100, rate: float = 1e-3) -> None:
        super().__init__(decoder)
        self.steps, self.rate = steps, rate

    def losses(self, support: Shots, query: Labels) -> Tensor:
        """Of the clone as it is: cloning knows nothing of adapting."""
        return self.decoder.loss(self.decoder(query.state, self._told(query)), query)

    def adapted(self, shots: Shots) -> tuple[Decoder, Condition]:
        """Trains a copy on."""
        decoder = copy_of(self.decoder)
        optimizer = torch.optim.Adam(decoder.parameters(), self.rate)
        for _ in range(self.steps):
            loss = decoder.loss(decoder(shots.labels.state, self.prior()), shots.labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        return decoder, self.prior()

    def prior(self) -> Condition:
        """Nothing; all slots alike where the decoder has any."""
        even = tuple(
            torch.full((len(slots.topics),), 1.0 / len(slots.topics))
            for slots in self.decoder.layout.sets
        )
        return Condition(even, torch.zeros(self.decoder.context))

    def _told(self, labels: Labels) -> Condition:
        """The prior for each of B tasks."""
        count = len(labels.state)
        prior = self.prior()
        return Condition(
            tuple(each.expand(count, -1) for each in prior.pointers),
            prior.context.expand(count, -1),
        )
