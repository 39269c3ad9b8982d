"""How well scores tell the expert from the actor."""

from __future__ import annotations

import math

from imitation_ros.types import Array
import numpy as np


def auc(expert: Array, actor: Array) -> float:
    """Chance that a step of the expert scores above one of the actor; ties count half.

    The area under the ROC curve, as Mann and Whitney's U (Hanley & McNeil, Radiology 143, 1982).

    Args:
        expert: (N,) scores.
        actor: (M,) scores.
    """
    scores = np.concatenate([expert, actor])
    _, inverse, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - 0.5 * (counts - 1))[inverse]
    wins = ranks[: len(expert)].sum() - 0.5 * len(expert) * (len(expert) + 1)
    return float(wins / (len(expert) * len(actor)))


def auc_interval(expert: Array, actor: Array, z: float = 1.96) -> tuple[float, float]:
    """95 % interval of `auc` (Hanley & McNeil 1982, eq. 2), as if scores were independent."""
    area = auc(expert, actor)
    above, both = area / (2 - area), 2 * area * area / (1 + area)
    variance = area * (1 - area) + (len(expert) - 1) * (above - area * area)
    variance += (len(actor) - 1) * (both - area * area)
    half = z * math.sqrt(max(0.0, variance / (len(expert) * len(actor))))
    return max(0.0, area - half), min(1.0, area + half)


def episode_means(scores: Array, episode: Array) -> Array:
    """Mean score of each episode, (episodes,).

    Args:
        scores: (N,) of steps.
        episode: (N,) which episode they are of.
    """
    numbers, inverse = np.unique(episode, return_inverse=True)
    means: Array = np.bincount(inverse, scores, len(numbers)) / np.bincount(inverse)
    return means
