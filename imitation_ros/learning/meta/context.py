"""Reads a demonstration: no gradient step is needed to adapt.

An encoder looks at what happens to each thing, and points at those that are meant; from how the
tool and these things move it draws a short context, such as how far from a place an object was
left. The encoder is trained with the policy, so that what it tells is what the policy needs
(conditional neural processes, Garnelo et al., ICML 2018; task embeddings, James, Bloesch &
Davison, Task-Embedded Control Networks, CoRL 2018). All slots of a set share its weights, as in
Deep Sets (Zaheer et al., NIPS 2017): which slot a thing has tells nothing.
"""

from __future__ import annotations

from imitation_ros.learning.meta.decoder import Condition, Decoder, SLOT_SCALE
from imitation_ros.learning.meta.learner import Learner
from imitation_ros.learning.meta.shots import Labels, Shots
import numpy as np
import torch
from torch import nn, Tensor

WIDTH = 64
NEAR_M = 0.01
"""Added to a distance before its logarithm is taken."""
MOTION_SCALE = 0.01
"""Of what the tool does in one tick (m)."""
NO_SHOT = 0.1
"""Share of the training tasks that get no demonstration: they teach what to do without one."""


class Context(Learner):
    """The encoder and the policy that it conditions."""

    def __init__(self, decoder: Decoder) -> None:
        super().__init__(decoder)
        layout = decoder.layout
        width, sets = len(layout.reference), len(layout.sets)
        actions = sum(
            len(spec.classes) or spec.shape[0] for spec in decoder.contract.action_specs.values()
        )
        robot = len(layout.robot) + actions + width + 1
        self.slots = nn.ModuleList(
            Pooled(robot + 2 * width + 2 + width * index) for index in range(sets)
        )
        self.points = nn.ModuleList(nn.Linear(2 * WIDTH, 1) for _ in range(sets))
        pairs = sets * (sets - 1) // 2
        self.whole = Pooled(robot + width * (sets + pairs))
        self.tell = nn.Linear(WIDTH, decoder.context)
        self.unknown = nn.Parameter(torch.zeros(decoder.context))

    def losses(self, support: Shots, query: Labels, tasks: Tensor) -> Tensor:
        """After reading; some tasks go without, so that the prior is learned too."""
        condition = self.read(support)
        nothing = torch.rand(len(query.state)) < NO_SHOT
        prior = self.prior()
        condition = Condition(
            tuple(
                torch.where(nothing[:, None], even, pointer)
                for even, pointer in zip(prior.pointers, condition.pointers)
            ),
            torch.where(nothing[:, None], prior.context, condition.context),
        )
        return self.decoder.loss(self.decoder(query.state, condition), query)

    @torch.no_grad()
    def adapted(self, shots: Shots) -> tuple[Decoder, Condition]:
        """Reads, and takes each pointer at its word."""
        condition = self.read(shots)
        sure = tuple(
            nn.functional.one_hot(pointer.argmax(-1), pointer.shape[-1]).float()
            for pointer in condition.pointers
        )
        return self.decoder, Condition(sure, condition.context)

    @torch.no_grad()
    def told(self, shots: Shots) -> Condition:
        """As read, doubts included."""
        return self.read(shots)

    def prior(self) -> Condition:
        """All slots alike, and a context of its own."""
        even = tuple(
            torch.full((len(slots.topics),), 1.0 / len(slots.topics))
            for slots in self.decoder.layout.sets
        )
        return Condition(even, self.unknown)

    def read(self, shots: Shots) -> Condition:
        """The condition (…) that demonstrations (…, E, F) tell."""
        layout = self.decoder.layout
        robot = self._robot(shots)  # (…, E, F, r)
        tool = shots.state[..., torch.from_numpy(layout.reference)]
        pointers: list[Tensor] = []
        chosen: list[Tensor] = []  # (…, E, F, d) each
        for slots, pool, point in zip(layout.sets, self.slots, self.points):
            things = shots.state[..., torch.from_numpy(slots.fields)]  # (…, E, F, K, d)
            features = [
                (things - tool.unsqueeze(-2)) / SLOT_SCALE,
                (things - things[..., :1, :, :]) / SLOT_SCALE,
                _nearness(things - tool.unsqueeze(-2)),
                _nearness(things - things[..., :1, :, :]),
                *((things - each.unsqueeze(-2)) / SLOT_SCALE for each in chosen),
                robot.unsqueeze(-2).expand(*things.shape[:-1], -1),
            ]
            pooled = pool(torch.cat(features, -1).transpose(-2, -3))  # (…, E, K, WIDTH)
            pooled = pooled.mean(-3)  # over demonstrations
            others = pooled.mean(-2, keepdim=True).expand_as(pooled)
            logits = point(torch.cat([pooled, others], -1))[..., 0]
            pointers.append(logits.softmax(-1))
            weights = pointers[-1][..., None, None, :, None]
            chosen.append((things * weights).sum(-2))
        seen = [(each - tool) / SLOT_SCALE for each in chosen]
        seen += [
            (first - second) / SLOT_SCALE
            for index, first in enumerate(chosen)
            for second in chosen[index + 1 :]
        ]
        context = self.tell(self.whole(torch.cat([robot, *seen], -1)).mean(-2))
        return Condition(tuple(pointers), context)

    def _robot(self, shots: Shots) -> Tensor:
        """What is seen of the robot itself (…, E, F, r), with the time of the demonstration."""
        decoder = self.decoder
        size = len(decoder.layout.robot)
        robot = shots.state @ decoder.base[:size].T + decoder.shift[:size]
        time = torch.linspace(-1, 1, robot.shape[-2]).expand(robot.shape[:-1])
        parts = [robot, shots.action, shots.motion / MOTION_SCALE, time.unsqueeze(-1)]
        return torch.cat(parts, -1)


class Pooled(nn.Module):
    """Features of frames → features of the whole, by attention over the frames."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Linear(inputs, WIDTH), nn.Tanh(), nn.Linear(WIDTH, WIDTH), nn.Tanh()
        )
        self.score = nn.Linear(WIDTH, 1)
        self.value = nn.Linear(WIDTH + inputs, WIDTH)

    def forward(self, frames: Tensor) -> Tensor:
        """(…, F, inputs) → (…, WIDTH)."""
        body = self.body(frames)
        attention = self.score(body).softmax(-2)
        value = self.value(torch.cat([body, frames], -1))
        pooled: Tensor = (attention * value).sum(-2)
        return pooled


def _nearness(vector: Tensor) -> Tensor:
    """The logarithm of a length (…, d) → (…, 1), fine where it is small."""
    length = (vector.square().sum(-1, keepdim=True) + 1e-10).sqrt()
    return (length + NEAR_M).log() - float(np.log(SLOT_SCALE))
