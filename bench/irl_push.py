"""Success of `push` from 20 demonstrations by IRL, beside cloning, SQIL and constant rewards."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from imitation_ros.learning.irl.actor import ActorConfig
from imitation_ros.learning.irl.adversarial import AdversarialConfig
from imitation_ros.learning.irl.network import RewardConfig

from bench.gail_peer import GailSetting
from bench.irl_arm import arm_figure, Figure, Setting

FIGURE = Figure(
    'push',
    'panda_push',
    Setting(
        RewardConfig(learning_rate=3e-4, penalty=1.0, relative_positions=True),
        AdversarialConfig(
            ActorConfig(precision=2.0, normalized=True), 40_000, annealing=0.1, watch_every=2_500
        ),
    ),
    GailSetting(  # the best of its own search: `gail_search --task push`
        'sac', 20, 10_000, 40_000, watch_every=2_500, hidden=(256, 256), learning_rate=1e-3,
        gamma=0.95, tau=0.005, learning_starts=1_000, standardized=True, round_steps=10,
        reward_updates=10, reward_batch=128, reward_rate=1e-3, reward_hidden=(128, 128),
        reward_decay=0.01,
    ),
    at_least=0.70,
)  # fmt: skip


def main(argv: Sequence[str] | None = None) -> dict[str, Any]:
    """Learns with each reward for each seed; the value is the mean success of the learned one."""
    return arm_figure(FIGURE, argv, __doc__)
