"""Success of unseen `reach` tasks from one demonstration: which ball, with an unseen tool tip."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bench.meta_tasks import meta_figure, Setting

SETTING = Setting('reach')


def main(argv: Sequence[str] | None = None) -> dict[str, Any]:
    """Trains all methods for each seed; the value is the mean success from one demonstration."""
    return meta_figure(SETTING, 0.90, argv, __doc__)
