"""Success of unseen `push` tasks from one demonstration: which cube, and to which pad."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bench.meta_tasks import meta_figure, Setting

SETTING = Setting('push')


def main(argv: Sequence[str] | None = None) -> dict[str, Any]:
    """Trains all methods for each seed; the value is the mean success from one demonstration."""
    return meta_figure(SETTING, 0.70, argv, __doc__)
