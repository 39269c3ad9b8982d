"""Films of the arm: a policy in new scenes, and behaviours side by side with their reward."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any, TYPE_CHECKING

from imitation_ros.report.film import add_caption, write_film
from imitation_ros.types import Action, Array, Frame
import numpy as np

if TYPE_CHECKING:
    from imitation_ros.learning.irl.reward import Reward
    from imitation_ros.policies.policy import Policy
    from imitation_ros.sim.env import ArmEnv

SIZE = (320, 240)
EVERY = 2
"""Every other tick is a picture: 10 Hz of the usual 20."""
Note = Callable[[Frame, Action, Frame], str]
"""A tick's frame, its action and the next frame → what the caption says."""


def film_policy(
    stem: Path,
    env: ArmEnv,
    policy: Policy,
    seeds: Sequence[int],
    advance: Callable[..., Any] = lambda note: None,
) -> Path:
    """The policy in each scene, one after the other; the GIF."""
    pictures = []
    for seed in seeds:
        policy.reset()
        scene, success = _scene(env, policy.act, seed)
        text = f'scene {seed}: {"success" if success else "failure"}'
        pictures += [add_caption(picture, text) for picture in scene]
        advance(text)
    return write_film(stem, pictures, env.contract.rate_hz / EVERY)[0]


def film_rewards(
    stem: Path,
    env: ArmEnv,
    reward: Reward,
    behaviours: Mapping[str, Callable[[Frame], Action]],
    seed: int,
) -> Path:
    """Behaviours in one scene side by side, with the learned reward of each tick; the GIF."""

    def note(name: str) -> Note:
        return lambda frame, action, after: (
            f'{name}: {reward.score_frame(frame.observation, action, after.observation):+.2f}'
        )

    scenes = [_scene(env, act, seed, note(name))[0] for name, act in behaviours.items()]
    last = [scene[-1] for scene in scenes]  # the shorter one stands still at its end
    pictures = [
        np.hstack([last[side] if picture is None else picture for side, picture in enumerate(row)])
        for row in zip_longest(*scenes)
    ]
    return write_film(stem, pictures, env.contract.rate_hz / EVERY)[0]


def _scene(
    env: ArmEnv, act: Callable[[Frame], Action], seed: int, note: Note | None = None
) -> tuple[list[Array], bool]:
    """Pictures (H, W, 3) of an episode, and whether it succeeded."""
    env.reset(seed=seed)
    pictures: list[Array] = []
    ticks, ended, info = 0, False, {'success': False}
    while not ended:
        picture = env.simulator.render(*SIZE) if ticks % EVERY == 0 else None
        frame = env.frame()
        action = act(frame)
        _, _, terminated, truncated, info = env.step(action)
        if picture is not None:
            text = note(frame, action, env.frame()) if note else ''
            pictures.append(add_caption(picture, text) if text else picture)
        ticks, ended = ticks + 1, terminated or truncated
    return pictures, bool(info['success'])
