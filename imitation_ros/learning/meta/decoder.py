"""A policy for all tasks of a family that still has to be told which.

It is told by a condition: for each set of slots how much each slot is meant, and a short vector
for all else. Given a condition, the things that are meant are a linear function of the state, so
that the conditioned policy folds into an ordinary perceptron, which the policy node drives as any
other.
"""

from __future__ import annotations

from functools import reduce
from typing import NamedTuple

from imitation_ros.frames.contract import Contract
from imitation_ros.learning.meta.shots import Labels
from imitation_ros.learning.meta.slots import StateLayout
from imitation_ros.policies.heads import make_head
from imitation_ros.policies.network import Architecture, Network, perceptron
from imitation_ros.policies.normalization import Normalization
from imitation_ros.policies.policy import Policy
from imitation_ros.types import Array
import numpy as np
import torch
from torch import nn, Tensor

SLOT_SCALE = 0.1
"""Positions relative to the tool are seen in this unit (m)."""


class Condition(NamedTuple):
    """Which task it is, of B tasks or of one.

    Attributes:
        pointers: for each set of slots (…, K), how much each is meant; their sum is 1.
        context: (…, c).
    """

    pointers: tuple[Tensor, ...]
    context: Tensor


class Decoder(nn.Module):
    """State and condition → outputs of the heads.

    Attributes:
        heads: part → head.
        context: numbers of a condition beside its pointers.
    """

    base: Tensor
    shift: Tensor

    def __init__(
        self,
        contract: Contract,
        layout: StateLayout,
        normalization: Normalization,
        hidden: tuple[int, ...],
        context: int,
    ) -> None:
        super().__init__()
        self.contract, self.normalization, self.context = contract, normalization, context
        self.layout = layout
        self.hidden = hidden
        self.heads = {
            part: make_head('deterministic', spec) for part, spec in contract.action_specs.items()
        }
        self._look(layout)
        outputs = sum(head.outputs for head in self.heads.values())
        self.perceptron = perceptron((len(self.base) + context, *hidden, outputs))

    def _look(self, layout: StateLayout) -> None:
        """What the perceptron sees is (base + Σ weight · chosen) state + shift."""
        names = list(self.contract.observations)
        standards = [self.normalization.observations[name] for name in names]
        self._mean = np.concatenate([standard.mean for standard in standards])
        self._std = np.concatenate([standard.std for standard in standards])
        robot, width = len(layout.robot), len(layout.reference)
        size = robot + width * len(layout.sets)
        base, shift = np.zeros((size, layout.size)), np.zeros(size)
        base[np.arange(robot), layout.robot] = 1.0 / self._std[layout.robot]
        shift[:robot] = -(self._mean / self._std)[layout.robot]
        for index, slots in enumerate(layout.sets):
            rows = robot + index * width + np.arange(width)
            base[rows, layout.reference] = -1.0 / SLOT_SCALE
            chosen = np.zeros((len(slots.topics), size, layout.size))
            for slot, fields in enumerate(slots.fields):
                chosen[slot, rows, fields] = 1.0 / SLOT_SCALE
            self.register_buffer(f'chosen_{index}', _tensor(chosen), persistent=False)
        self.register_buffer('base', _tensor(base), persistent=False)
        self.register_buffer('shift', _tensor(shift), persistent=False)

    def view(self, pointers: tuple[Tensor, ...]) -> Tensor:
        """The matrix (…, size, n) from the state to what is seen of it."""
        view = self.base
        for index, weights in enumerate(pointers):
            chosen = getattr(self, f'chosen_{index}')  # (K, size, n)
            view = view + torch.tensordot(weights, chosen, dims=([-1], [0]))
        return view

    def forward(self, state: Tensor, condition: Condition) -> Tensor:
        """States (…, N, n) of the tasks of a condition (…) → outputs (…, N, outputs)."""
        seen = state @ self.view(condition.pointers).transpose(-1, -2) + self.shift
        context = condition.context.unsqueeze(-2).expand(*seen.shape[:-1], -1)
        outputs: Tensor = self.perceptron(torch.cat([seen, context], -1))
        return outputs

    def loss(self, outputs: Tensor, labels: Labels) -> Tensor:
        """Mean negative log likelihood (…) of labels (…, N)."""
        sizes = [head.outputs for head in self.heads.values()]
        parts = zip(self.heads.items(), torch.split(outputs, sizes, -1))
        losses = [head.loss(output, labels.targets[part]) for (part, head), output in parts]
        return reduce(torch.add, losses).mean(-1)

    @torch.no_grad()
    def policy(self, condition: Condition) -> Policy:
        """The policy of one task, folded."""
        architecture = Architecture(hidden=self.hidden)
        specs = self.contract.observation_specs, self.contract.action_specs
        network = Network(*specs, architecture, self.normalization)
        network.perceptron[1:].load_state_dict(self.perceptron[1:].state_dict())
        first = self.perceptron[0]
        assert isinstance(first, nn.Linear)
        view = self.view(condition.pointers).double()
        seen, told = first.weight.double().split([len(self.base), self.context], 1)
        mean, std = torch.from_numpy(self._mean), torch.from_numpy(self._std)
        bias = first.bias.double() + seen @ (view @ mean + self.shift.double())
        folded = nn.Linear(len(std), self.hidden[0])
        folded.weight.copy_(seen @ view * std)
        folded.bias.copy_(bias + told @ condition.context.double())
        network.perceptron[0] = folded
        return Policy(self.contract, architecture, self.normalization, network)


def _tensor(array: Array) -> Tensor:
    return torch.from_numpy(array.astype(np.float32))
