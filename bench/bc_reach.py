"""Success of reach cloned from 10 demonstrations recorded over topics; at least 98 %."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from imitation_ros.learning.bc import BCConfig

from bench.cloning import clone_figure, Cloning

CLONING = Cloning('reach', 'panda_reach', demonstrations=10, config=BCConfig())


def main(argv: Sequence[str] | None = None) -> dict[str, Any]:
    """Runs the five training seeds."""
    return clone_figure('bc_reach', CLONING, 0.98, argv, __doc__ or '')
