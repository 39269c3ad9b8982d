"""Success of pick_place cloned from 50 demonstrations recorded over topics; at least 90 %."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from imitation_ros.learning.bc import BCConfig

from bench.cloning import clone_figure, Cloning

CLONING = Cloning('pick_place', 'panda_twist', demonstrations=50, config=BCConfig())


def main(argv: Sequence[str] | None = None) -> dict[str, Any]:
    """Runs the five training seeds."""
    return clone_figure('bc_pick_place', CLONING, 0.9, argv, __doc__ or '')
