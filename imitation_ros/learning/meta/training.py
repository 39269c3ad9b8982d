"""Learns to adapt: on each of many tasks, adapt to some demonstrations and be tested on others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
import math

from imitation_ros.errors import ImitationError
from imitation_ros.learning.meta.learner import Learner
from imitation_ros.learning.meta.shots import (
    Labels,
    Shots,
    stacked,
    stacked_labels,
    Tensors,
)
from imitation_ros.types import Episode
import numpy as np
import torch
from torch import Tensor

Progress = Callable[[int, float], None]
"""Called after some steps with their number and the mean loss."""
TOLD_EVERY = 50
VIEWS = 4
"""How often the frames of a demonstration are picked anew."""


@dataclass(frozen=True)
class MetaConfig:
    """How a learner is trained.

    Attributes:
        steps: of the outer optimizer.
        tasks: in a step.
        queries: frames of each task that an adaptation is tested on.
        shots: at most so many demonstrations are adapted to, one in half of the steps.
        learning_rate: at the start; it falls to 0 along a cosine.
        weight_decay: of AdamW.
    """

    steps: int = 2500
    tasks: int = 24
    queries: int = 48
    shots: int = 5
    learning_rate: float = 2e-3
    weight_decay: float = 1e-3


@dataclass(frozen=True)
class Task:
    """Episodes of one task.

    Attributes:
        demonstrations: by the expert alone.
        corrections: where the expert had to show the way back; at least one.
    """

    demonstrations: Sequence[Episode]
    corrections: Sequence[Episode]


class Sampler:
    """Draws what a step of training sees."""

    def __init__(self, tasks: Sequence[Task], tensors: Tensors, config: MetaConfig) -> None:
        if len(tasks) < 2 or any(len(task.demonstrations) < 2 for task in tasks):
            raise ImitationError('tasks: valid: at least 2, each with at least 2 demonstrations')
        self._config = config
        rng = np.random.default_rng(0)
        self._shots = [
            [[tensors.shots([each], rng) for _ in range(VIEWS)] for each in task.demonstrations]
            for task in tasks
        ]
        # Frames of one scene test what was learned from the others.
        self._queries = [
            [tensors.labels([each]) for each in (*task.demonstrations, *task.corrections)]
            for task in tasks
        ]

    def draw(self, rng: np.random.Generator) -> tuple[Shots, Labels, Tensor]:
        """Demonstrations and test frames of some tasks, and the numbers of these."""
        config = self._config
        most = min(config.shots, min(len(each) for each in self._shots) - 1)
        count = 1 if rng.uniform() < 0.5 else int(rng.integers(1, most + 1))
        support, query = [], []
        size = min(config.tasks, len(self._shots))
        tasks = rng.choice(len(self._shots), size, replace=False)
        for task in tasks:
            order = rng.permutation(len(self._shots[task]))
            views = [self._shots[task][each][rng.integers(VIEWS)] for each in order[:count]]
            support.append(_joined(views))
            others = [*order[count:], *range(len(order), len(self._queries[task]))]
            query.append(self._frames([self._queries[task][each] for each in others], rng))
        return stacked(support), stacked_labels(query), torch.from_numpy(tasks)

    def _frames(self, labels: Sequence[Labels], rng: np.random.Generator) -> Labels:
        ends = np.cumsum([len(each.state) for each in labels])
        parts: list[Labels] = []
        drawn = np.sort(rng.integers(ends[-1], size=self._config.queries))
        for each, start, end in zip(labels, [0, *ends[:-1]], ends):
            mine = torch.from_numpy(drawn[(drawn >= start) & (drawn < end)] - start)
            targets = {part: target[mine] for part, target in each.targets.items()}
            parts.append(Labels(each.state[mine], targets))
        return Labels(
            torch.cat([each.state for each in parts]),
            {part: torch.cat([each.targets[part] for each in parts]) for part in parts[0].targets},
        )


def train(
    learner: Learner,
    sampler: Sampler,
    config: MetaConfig,
    seed: int = 0,
    progress: Progress | None = None,
) -> list[float]:
    """Trains a learner in place; returns the mean loss of each `TOLD_EVERY` steps.

    Raises:
        ImitationError: the loss is not finite.
    """
    rng = np.random.default_rng(seed)
    optimizer = torch.optim.AdamW(
        learner.parameters(), config.learning_rate, weight_decay=config.weight_decay
    )
    falling = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, config.steps)
    curve: list[float] = []
    recent: list[float] = []
    for step in range(1, config.steps + 1):
        loss = learner.losses(*sampler.draw(rng)).mean()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(learner.parameters(), 1.0)
        optimizer.step()
        falling.step()
        recent.append(float(loss.detach()))
        if step % TOLD_EVERY == 0 or step == config.steps:
            curve.append(float(np.mean(recent)))
            recent.clear()
            if not math.isfinite(curve[-1]):
                raise ImitationError(f'step {step}: the loss is {curve[-1]}')
            if progress:
                progress(step, curve[-1])
    return curve


def _joined(shots: Sequence[Shots]) -> Shots:
    """Demonstrations of one task."""
    return Shots(
        torch.cat([each.state for each in shots]),
        torch.cat([each.motion for each in shots]),
        torch.cat([each.action for each in shots]),
        Labels(
            torch.cat([each.labels.state for each in shots]),
            {
                part: torch.cat([each.labels.targets[part] for each in shots])
                for part in shots[0].labels.targets
            },
        ),
    )
