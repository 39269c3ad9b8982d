"""A reward of whole trajectories, learned by ranking them.

Of two episodes the one whose steps score more on average should be the better one: the expert's
above the actor's, or a success above a failure where only outcomes are known (Brown et al.,
Extrapolating Beyond Suboptimal Demonstrations via Inverse Reinforcement Learning from
Observations, ICML 2019, eq. 1, where the scores are added up: see `snippets_loss`).
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
import math

from imitation_ros.errors import RewardError
from imitation_ros.frames.contract import Contract
from imitation_ros.learning.irl.layout import Layout
from imitation_ros.learning.irl.network import Batch, RewardConfig, RewardNetwork, tensors
from imitation_ros.learning.irl.objectives import ranking_loss
from imitation_ros.learning.irl.reward import Calibration, Reward
from imitation_ros.learning.irl.steps import check_layout, FEWEST_STEPS
from imitation_ros.learning.irl.transitions import check_finite, Transitions
import numpy as np
import torch
from torch import Tensor

PAIRS = 16
"""Of trajectories, in an update."""
SNIPPET = 25
"""Steps that are drawn of each: as many of all, or long episodes would win by length."""
SCORE_DECAY = 1e-3
"""Weight of the scores' squares, which keeps them from growing without end."""
DEFAULT = RewardConfig()


@dataclass(frozen=True)
class Trajectories:
    """Where the steps of each are.

    Attributes:
        order: (N,) rows, those of a trajectory together.
        start: (E,) of each in `order`.
        count: (E,) its steps.
    """

    order: Tensor
    start: Tensor
    count: Tensor

    @classmethod
    def of(cls, steps: Transitions) -> Trajectories:
        """Those of the episodes."""
        order = np.argsort(steps.episode, kind='stable')
        _, start, count = np.unique(steps.episode[order], return_index=True, return_counts=True)
        return cls(torch.from_numpy(order), torch.from_numpy(start), torch.from_numpy(count))

    def draw(self, rng: torch.Generator) -> Tensor:
        """Rows of `PAIRS` snippets, one after the other, (PAIRS * SNIPPET,)."""
        chosen = torch.randint(len(self.start), (PAIRS, 1), generator=rng)
        share = torch.rand(PAIRS, SNIPPET, generator=rng, dtype=torch.float64)
        within = (share * self.count[chosen]).long()
        return self.order[self.start[chosen] + within].ravel()


def snippets_loss(better: Tensor, worse: Tensor) -> Tensor:
    """Bradley and Terry's loss of as many snippets of both.

    A trajectory counts by its mean score: its sum would be sure of the order, and teach nothing
    more, once the steps differ by a little.

    Args:
        better: (PAIRS * SNIPPET,) scores of drawn steps.
        worse: the same of the other side.
    """
    means = [scores.reshape(-1, SNIPPET).mean(1) for scores in (better, worse)]
    decay = means[0].square().mean() + means[1].square().mean()
    return ranking_loss(means[0], means[1]) + SCORE_DECAY * decay


class TrajectoryRanker:
    """Trains a reward by pairs of trajectories, the better and the worse.

    Attributes:
        network: in training.
        updates: so far.
    """

    def __init__(
        self,
        better: Transitions,
        contract: Contract,
        config: RewardConfig = DEFAULT,
        seed: int = 0,
    ) -> None:
        """Starts with random weights.

        Args:
            better: the expert's episodes, or the successes; each is a trajectory.
            contract: of the steps.
            config: which inputs, and how fast; its objective is not looked at.
            seed: of weights and pairs.

        Raises:
            RewardError: too few steps, NaN in them, or another contract's layout.
        """
        self.layout, self.config, self._seed = Layout(contract), config, seed
        self._better = better
        self._check(better, 'better')
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.network = RewardNetwork.fitted(config, self.layout, better)
        self._optimizer = torch.optim.Adam(self.network.parameters(), config.learning_rate)
        self.updates = 0

    def update(self, worse: Transitions, updates: int) -> float:
        """Does so many updates; returns the mean loss.

        Args:
            worse: the actor's episodes, or the failures.
            updates: of Adam, over `PAIRS` each.

        Raises:
            RewardError: too few steps, NaN in them, or the loss is not finite.
        """
        self._check(worse, 'worse')
        rng = torch.Generator().manual_seed(1_000_003 * self._seed + self.updates)
        sides = [(tensors(steps), Trajectories.of(steps)) for steps in (self._better, worse)]
        losses = []
        good = copy.deepcopy(self.network.state_dict())
        for _ in range(updates):
            better, worst = (
                self.network(_rows(batch, trajectories.draw(rng))) for batch, trajectories in sides
            )
            loss = snippets_loss(better, worst)
            losses.append(float(loss.detach()))
            if not math.isfinite(losses[-1]):
                self.network.load_state_dict(good)
                raise RewardError(
                    f'update {self.updates}: the loss is {losses[-1]}; the last reward is kept; '
                    f'valid: a learning_rate below {self.config.learning_rate}'
                )
            self._optimizer.zero_grad()
            loss.backward()
            self._optimizer.step()
            self.updates += 1
        return sum(losses) / len(losses)

    def reward(self, random: Transitions, expert: Transitions) -> Reward:
        """Frozen, and calibrated so that these score 0 and 1."""
        network = copy.deepcopy(self.network)
        raw = Reward(self.layout, self.config, network, Calibration(0.0, 1.0))
        return raw.calibrated(random, expert)

    def _check(self, steps: Transitions, where: str) -> None:
        if len(steps) < FEWEST_STEPS:
            raise RewardError(f'{where}: {len(steps)} steps; valid: at least {FEWEST_STEPS}')
        check_layout(steps, self.layout, where)
        check_finite(steps, actions=not self.config.watches)


def _rows(batch: Batch, index: Tensor) -> Batch:
    return batch[0][index], batch[1][index], batch[2][index]
