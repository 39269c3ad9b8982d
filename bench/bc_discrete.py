"""Discrete actions: CartPole from 5 episodes, the arm by key presses; 95 % of the expert."""

from __future__ import annotations

from collections.abc import Sequence
import statistics
from typing import Any

from imitation_ros.learning.bc import BCConfig
from imitation_ros.learning.evaluation import evaluate, EXPERT

from bench import bc_cartpole
from bench.cloning import clone_rows, Cloning, first_scene, parse
from bench.harness import at_least

AT_LEAST = 0.95
KEYS = Cloning('reach', 'panda_keys', demonstrations=50, config=BCConfig())


def main(argv: Sequence[str] | None = None) -> dict[str, Any]:
    """Runs both; the value is the smaller of the two shares of the expert."""
    options = parse(argv, __doc__ or '')
    cartpole = bc_cartpole.main(['--quick'] if options.quick else [])
    rows = clone_rows('bc_discrete', KEYS, options)
    start = first_scene(options)
    scenes = range(start, start + (4 if options.quick else KEYS.scenes))
    expert = evaluate(KEYS.task, KEYS.contract, EXPERT, scenes).success
    keys = statistics.mean(row['success'] for row in rows) / expert
    value = min(cartpole['value'], keys)
    return {
        'bench': 'bc_discrete',
        'value': round(value, 4),
        'pass': {
            f'{name}: share of the expert >= {AT_LEAST}': at_least(round(share, 4), AT_LEAST)
            for name, share in (('CartPole', cartpole['value']), ('key presses', keys))
        },
        'expert': {'key presses': expert},
        'rows': rows,
        'cartpole': cartpole,
    }  # fmt: skip
