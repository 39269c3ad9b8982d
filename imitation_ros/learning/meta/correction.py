"""Trains an adapted policy on: what an expert's corrections of it are for.

A correction shows parts of a task, in states that the policy came to, and seldom which things are
meant. So the pointers stay as the demonstration told them, and the context and the weights move
a little, on the labels of the demonstration and of the corrections alike (DAgger: Ross, Gordon &
Bagnell, AISTATS 2011).
"""

from __future__ import annotations

from imitation_ros.learning.meta.decoder import Condition, Decoder
from imitation_ros.learning.meta.gradient import copy_of
from imitation_ros.learning.meta.shots import Labels
import torch

STEPS = 100
CONTEXT_RATE, WEIGHT_RATE = 1e-2, 3e-5


def corrected(decoder: Decoder, condition: Condition, labels: Labels) -> tuple[Decoder, Condition]:
    """The same policy once it has learned from all labels; what is given stays as it is."""
    decoder = copy_of(decoder)
    context = condition.context.detach().clone().requires_grad_()
    optimizer = torch.optim.Adam(
        [
            {'params': [context], 'lr': CONTEXT_RATE},
            {'params': list(decoder.parameters()), 'lr': WEIGHT_RATE},
        ]
    )
    for _ in range(STEPS):
        outputs = decoder(labels.state, Condition(condition.pointers, context))
        optimizer.zero_grad()
        decoder.loss(outputs, labels).backward()
        optimizer.step()
    return decoder, Condition(condition.pointers, context.detach())
