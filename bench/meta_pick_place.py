"""Success of unseen `pick_place` tasks from one demonstration: which cube, and where to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bench.meta_tasks import meta_figure, Setting

SETTING = Setting('pick_place')


def main(argv: Sequence[str] | None = None) -> dict[str, Any]:
    """Trains all methods for each seed; the value is the mean success from one demonstration."""
    return meta_figure(SETTING, 0.70, argv, __doc__, above=0.20, five_shots=0.85)
