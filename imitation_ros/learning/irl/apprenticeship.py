"""Linear feature matching: the small reward whose weights a person can read.

A reward w·φ(s), with ‖w‖ ≤ 1. The expert is known by its feature expectations μ, the discounted
sum of φ over an episode; whoever matches them does as well under any such reward (Abbeel & Ng,
Apprenticeship Learning via Inverse Reinforcement Learning, ICML 2004).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from imitation_ros.errors import RewardError
from imitation_ros.types import Array
import numpy as np

Solve = Callable[[Array], Array]
"""Weights w (k,) → feature expectations (k,) of the best policy under w·φ."""


@dataclass(frozen=True)
class LinearReward:
    """What feature matching found.

    Attributes:
        weights: (k,) of the last reward.
        margin: ‖μ_E - μ̄‖ after each iteration: by how much the expert still is better.
        mixture: (policies,) chance of each policy found, in order; together they match μ_E.
    """

    weights: Array
    margin: tuple[float, ...]
    mixture: Array

    def score(self, features: Array) -> Array:
        """Reward of states with features (N, k), (N,)."""
        scores: Array = features @ self.weights
        return scores


def feature_expectations(features: Sequence[Array], gamma: float) -> Array:
    """μ (k,): the discounted sums of features (T, k), averaged over episodes.

    Raises:
        RewardError: no episode, one without a step, or a number that is none.
    """
    if not features or not all(len(episode) for episode in features):
        raise RewardError('features: no episode, or one without a step; valid: at least one step')
    sums = [gamma ** np.arange(len(episode)) @ episode for episode in features]
    mean: Array = np.mean(sums, axis=0)
    if not np.isfinite(mean).all():
        raise RewardError('features: NaN or infinity; valid: finite numbers')
    return mean


def match_features(
    expert: Array, start: Array, solve: Solve, tolerance: float = 1e-3, iterations: int = 50
) -> LinearReward:
    """The projection algorithm (Abbeel & Ng 2004, §3.1).

    Args:
        expert: μ_E (k,).
        start: μ (k,) of any first policy.
        solve: reinforcement learning, exact or not.
        tolerance: of the margin, at which it ends.
        iterations: at most.

    Raises:
        RewardError: the first policy's features are the expert's.
    """
    projected = np.asarray(start, np.float64)
    weights = expert - projected
    margins = [float(np.linalg.norm(weights))]
    if margins[0] <= tolerance:
        raise RewardError(
            "start: its features are the expert's; valid: a policy that does otherwise"
        )
    mixture = np.ones(1)
    while margins[-1] > tolerance and len(margins) <= iterations:
        weights = expert - projected
        found = solve(weights / np.linalg.norm(weights))
        step = found - projected
        length = float(step @ step)
        share = float(np.clip(step @ (expert - projected) / length, 0.0, 1.0)) if length else 0.0
        if share == 0.0:
            break
        projected = projected + share * step
        mixture = np.append((1 - share) * mixture, share)
        margins.append(float(np.linalg.norm(expert - projected)))
    return LinearReward(weights / np.linalg.norm(weights), tuple(margins), mixture)
