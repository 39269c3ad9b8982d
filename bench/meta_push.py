"""Success of unseen `push` tasks from one demonstration: which cube, and to which pad."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from imitation_ros.learning.meta.training import MetaConfig

from bench.meta_tasks import meta_figure, Setting

LONG = MetaConfig(steps=5000, tasks=16, queries=128)
"""Pushing depends on the state more sharply than carrying does."""
SETTING = Setting(
    'push',
    tasks=200,
    training={
        'context': LONG,
        'gradient': MetaConfig(steps=1500, tasks=8),
        'finetune': LONG,
        'embedding': LONG,
    },
)


def main(argv: Sequence[str] | None = None) -> dict[str, Any]:
    """Trains all methods for each seed; the value is the mean success from one demonstration."""
    return meta_figure(SETTING, 0.70, argv, __doc__)
