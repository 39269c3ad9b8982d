"""Gradient steps on the demonstration, from a start and at rates that were learned for it.

MIL: Finn, Yu, Zhang, Abbeel & Levine, One-Shot Visual Imitation Learning via Meta-Learning, CoRL
2017; that is MAML (Finn, Abbeel & Levine, ICML 2017) over the loss of cloning. With `first_order`
second derivatives are left out (FOMAML, there §5.2). The rates of the inner steps are learned, one
for each step and tensor (Meta-SGD, Li et al. 2017; per-layer rates as in MAML++, Antoniou et al.,
ICLR 2019). What is adapted are the weights, the context (MIL's bias transformation, §4.3) and, if
the policy has slots, the logits of its pointers.
"""

from __future__ import annotations

from collections.abc import Mapping

from imitation_ros.learning.meta.decoder import Condition, Decoder
from imitation_ros.learning.meta.learner import Learner
from imitation_ros.learning.meta.shots import Labels, Shots
import torch
from torch import nn, Tensor
from torch.func import functional_call, grad, vmap

RATES = {'decoder': 0.03, 'context': 0.3, 'logits': 3.0}
"""Rates of the inner steps before training; logits move far, weights little."""
Parameters = Mapping[str, Tensor]


class Gradient(Learner):
    """The start, and the rates of the steps from there."""

    def __init__(self, decoder: Decoder, steps: int = 3, first_order: bool = False) -> None:
        super().__init__(decoder)
        self.steps, self.first_order = steps, first_order
        self.context = nn.Parameter(torch.zeros(decoder.context))
        self.logits = nn.ParameterList(
            torch.zeros(len(slots.topics)) for slots in decoder.layout.sets
        )
        self.rates = nn.ParameterDict(
            {_key(name): torch.full((steps,), RATES[name.split('.')[0]]) for name in self._start()}
        )

    def losses(self, support: Shots, query: Labels, tasks: Tensor) -> Tensor:
        """After the inner steps, of all tasks side by side."""
        start = self._start()

        def loss(shown: Labels, asked: Labels) -> Tensor:
            return self._loss(self._descend(start, shown), asked)

        losses: Tensor = vmap(loss)(support.labels, query)
        return losses

    def adapted(self, shots: Shots) -> tuple[Decoder, Condition]:
        """Takes the inner steps, on a copy."""
        found = {name: each.detach() for name, each in self._start().items()}
        found = {name: each.detach() for name, each in self._descend(found, shots.labels).items()}
        decoder = copy_of(self.decoder)
        weights = {
            name.removeprefix('decoder.'): each
            for name, each in found.items()
            if name.startswith('decoder.')
        }
        decoder.load_state_dict(weights)
        return decoder, self._condition(found)

    def prior(self) -> Condition:
        """The start."""
        return self._condition(self._start())

    def _start(self) -> dict[str, Tensor]:
        start: dict[str, Tensor] = {}
        start |= {f'decoder.{name}': each for name, each in self.decoder.named_parameters()}
        start |= {f'logits.{index}': each for index, each in enumerate(self.logits)}
        return start | {'context': self.context}

    def _descend(self, start: Parameters, shown: Labels) -> Parameters:
        present = dict(start)
        for step in range(self.steps):
            slopes = grad(self._loss)(present, shown)
            if self.first_order:
                slopes = {name: slope.detach() for name, slope in slopes.items()}
            present = {
                name: each - self.rates[_key(name)][step] * slopes[name]
                for name, each in present.items()
            }
        return present

    def _loss(self, parameters: Parameters, labels: Labels) -> Tensor:
        weights = {
            name.removeprefix('decoder.'): each
            for name, each in parameters.items()
            if name.startswith('decoder.')
        }
        inputs = labels.state, self._condition(parameters)
        return self.decoder.loss(functional_call(self.decoder, weights, inputs), labels)

    def _condition(self, parameters: Parameters) -> Condition:
        logits = [parameters[f'logits.{index}'] for index in range(len(self.logits))]
        return Condition(tuple(each.softmax(-1) for each in logits), parameters['context'])


def copy_of(decoder: Decoder) -> Decoder:
    """The same, with weights of its own."""
    copied = Decoder(
        decoder.contract, decoder.layout, decoder.normalization, decoder.hidden, decoder.context
    )
    copied.load_state_dict(decoder.state_dict())
    return copied


def _key(name: str) -> str:
    return name.replace('.', '_')
