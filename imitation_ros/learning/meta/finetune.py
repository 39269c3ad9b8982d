"""The usual way, to compare with: clone all tasks at once, then train on the demonstration.

The clone is told which of the training tasks it is: each has an embedding that is learned with the
weights, as in a multi-task policy. For an unseen task the embedding is found by gradient descent
on the demonstration, from the same start for all, and the weights are trained on with it unless
their rate is 0 (the embedding alone: DeepSDF's auto-decoder, Park et al., CVPR 2019, for which
nothing learns to adapt either). The embedding is a condition, so that the clone sees things as the
other learners do.
"""

from __future__ import annotations

from imitation_ros.learning.meta.decoder import Condition, Decoder
from imitation_ros.learning.meta.gradient import copy_of
from imitation_ros.learning.meta.learner import Learner
from imitation_ros.learning.meta.shots import Labels, Shots
import torch
from torch import nn, Tensor

FASTER = 10.0
"""An embedding is learned so many times faster than the weights."""
SPREAD = 0.01
"""Deviation of the embeddings' contexts at the start."""


class FineTuned(Learner):
    """A clone of all tasks with an embedding of each.

    Attributes:
        steps: of Adam on the demonstrations, all frames in each.
        rate: of learning the weights; 0 leaves them as they are.
        embedding_rate: of learning the embedding.
    """

    def __init__(
        self,
        decoder: Decoder,
        tasks: int,
        steps: int = 300,
        rate: float = 0.0,
        embedding_rate: float = 0.1,
    ) -> None:
        super().__init__(decoder)
        self.steps, self.rate, self.embedding_rate = steps, rate, embedding_rate
        self.logits = nn.ParameterList(
            torch.zeros(tasks, len(slots.topics)) for slots in decoder.layout.sets
        )
        self.contexts = nn.Parameter(SPREAD * torch.randn(tasks, decoder.context))

    def losses(self, support: Shots, query: Labels, tasks: Tensor) -> Tensor:
        """Of the clone that is told the task: cloning knows nothing of adapting."""
        logits = [FASTER * each[tasks] for each in self.logits]
        told = _condition(logits, FASTER * self.contexts[tasks])
        return self.decoder.loss(self.decoder(query.state, told), query)

    def adapted(self, shots: Shots) -> tuple[Decoder, Condition]:
        """Trains a copy on, and takes each pointer at its word."""
        decoder, told = self._trained(shots)
        sure = tuple(
            nn.functional.one_hot(pointer.argmax(-1), pointer.shape[-1]).float()
            for pointer in told.pointers
        )
        return decoder, Condition(sure, told.context)

    def told(self, shots: Shots) -> Condition:
        """As found, doubts included."""
        return self._trained(shots)[1]

    @torch.no_grad()
    def prior(self) -> Condition:
        """All slots alike, and the mean of the contexts."""
        even = [torch.zeros(each.shape[1]) for each in self.logits]
        return _condition(even, FASTER * self.contexts.mean(0))

    def _trained(self, shots: Shots) -> tuple[Decoder, Condition]:
        """Finds the embedding, and trains a copy of the weights on."""
        decoder = copy_of(self.decoder)
        logits = [torch.zeros(each.shape[1], requires_grad=True) for each in self.logits]
        context = self.prior().context.requires_grad_()
        groups = [{'params': [*logits, context], 'lr': self.embedding_rate}]
        if self.rate:
            groups.append({'params': list(decoder.parameters()), 'lr': self.rate})
        optimizer = torch.optim.Adam(groups)
        for _ in range(self.steps):
            outputs = decoder(shots.labels.state, _condition(logits, context))
            optimizer.zero_grad()
            decoder.loss(outputs, shots.labels).backward()
            optimizer.step()
        return decoder, _condition([each.detach() for each in logits], context.detach())


def _condition(logits: list[Tensor], context: Tensor) -> Condition:
    return Condition(tuple(each.softmax(-1) for each in logits), context)
