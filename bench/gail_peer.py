"""GAIL of the PyPI package `imitation` beside ours: its settings, and its rows.

Its environment is that of `imitation_peer`. It gets our environments, demonstrations, scenes and
score, as many gradient steps for each step of the environment, and rewards that are recomputed
when a step is learned from, which it can do off-policy but does not by itself.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from bench.imitation_peer import Peer

GAIL = 'bench.peers.imitation_gail'
"""What runs in the peer's environment."""


@dataclass(frozen=True)
class GailSetting:
    """How it learns one task.

    Attributes:
        algorithm: 'sac' or 'ppo', of stable-baselines3.
        demonstrations: episodes.
        ticks: after which a demonstration is cut.
        fixed_horizon: whether an episode of the arm goes on at the goal.
        steps: of the environment.
        watch_every: steps between two scores; a multiple of a round's.
        hidden: units of each layer, of actor and critic.
        learning_rate: of actor and critic.
        batch_size: of a gradient step.
        gamma: discount.
        tau: how fast SAC's target critics follow.
        learning_starts: steps of random actions before SAC learns.
        gradient_steps: of SAC for each step.
        epochs: of PPO over a round's steps.
        entropy: PPO's bonus; SAC finds its own.
        precision: of SAC's exploration: its entropy is held at so much below 0 for each channel.
        standardized: whether actor and critic see states by the demonstrations' mean and
            deviation; the reward always sees them by their running ones.
        round_steps: between two turns of the discriminator; of PPO, its roll-out.
        reward_updates: of the discriminator in a turn.
        reward_batch: of the expert and of the actor, each.
        reward_rate: learning rate of the discriminator.
        reward_hidden: units of each of its layers.
        reward_decay: of its weights.
        recent_steps: of the actor, that the discriminator draws from.
    """

    algorithm: str
    demonstrations: int
    ticks: int
    steps: int
    watch_every: int
    fixed_horizon: bool = True
    hidden: tuple[int, ...] = (64, 64)
    learning_rate: float = 5e-4
    batch_size: int = 256
    gamma: float = 0.97
    tau: float = 0.01
    learning_starts: int = 100
    gradient_steps: int = 1
    epochs: int = 10
    entropy: float = 0.0
    precision: float = 1.0
    standardized: bool = False
    round_steps: int = 10
    reward_updates: int = 10
    reward_batch: int = 128
    reward_rate: float = 3e-4
    reward_hidden: tuple[int, ...] = (64, 64)
    reward_decay: float = 0.0
    recent_steps: int = 100_000


def gail_rows(
    peer: Peer,
    name: str,
    task: str,
    setting: GailSetting,
    seeds: Iterable[int],
    scenes: range,
) -> list[dict[str, Any]]:
    """One row a training seed, kept as `NAME_imitation`.

    Args:
        peer: runs it.
        name: of the measurement.
        task: of Gymnasium, or the arm's.
        setting: how it learns.
        seeds: of the training.
        scenes: of the score.
    """
    asked = {
        'task': task, 'setting': asdict(setting),
        'first_scene': scenes.start, 'last_scene': scenes.stop,
    }  # fmt: skip
    return peer.kept_rows(name, GAIL, asked, seeds)
