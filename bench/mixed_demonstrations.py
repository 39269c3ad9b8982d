"""Demonstrations of mixed quality in process: good, clumsy, plain wrong, and with habits."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from imitation_ros.frames.contract import Contract
from imitation_ros.sim.env import ArmEnv
from imitation_ros.sim.experts import make_expert
from imitation_ros.sim.rollout import roll_out
from imitation_ros.teleop.skill import Skilled
from imitation_ros.types import Action, Array, Episode, Frame
import numpy as np

GOOD, CLUMSY, WRONG = 'good', 'clumsy', 'wrong'
WRONG_PLACE_M = (0.48, -0.34, 0.03)
"""Where a wrong demonstration grasps, whatever lies elsewhere."""
Act = Callable[[Frame], Action]


class Elsewhere:
    """An expert who takes the cube to be at a fixed place, where it never is."""

    def __init__(self, expert: Act, contract: Contract) -> None:
        self._expert = expert
        self._name, self._places = fields(contract, 'object/pose')

    def __call__(self, frame: Frame) -> Action:
        """What it does in this frame."""
        vector = frame.observation[self._name].copy()
        vector[self._places] = WRONG_PLACE_M
        return self._expert(replace(frame, observation={**frame.observation, self._name: vector}))


def fields(contract: Contract, topic: str) -> tuple[str, list[int]]:
    """In which observation a pose's x, y and z are, and where."""
    wanted = [f'{topic}.pose.position.{axis}' for axis in 'xyz']
    for name, spec in contract.observation_specs.items():
        if set(wanted) <= set(spec.fields):
            return name, [spec.fields.index(field) for field in wanted]
    raise ValueError(f'{contract.name} observes no {topic}')


def demonstrate(env: ArmEnv, task: str, counts: Mapping[str, int], skill: float, seed: int) -> Any:
    """So many episodes of each kind, the good ones first, in scenes of their own.

    Args:
        env: of the task.
        task: its name.
        counts: kind → episodes.
        skill: of the clumsy ones.
        seed: of the first scene.

    Returns:
        Episodes without their outcome, which is hidden from the learner; kinds; successes.
    """
    expert = make_expert(task, env.contract)
    episodes: list[Episode] = []
    kinds: list[str] = []
    successes: list[bool] = []
    for kind, count in counts.items():
        for _ in range(count):
            scene = seed + len(episodes)
            act: Act = {
                GOOD: expert,
                CLUMSY: Skilled(expert, env.contract, skill, scene),
                WRONG: Elsewhere(expert, env.contract),
            }[kind]
            rollout = roll_out(env, act, scene)
            episodes.append(replace(rollout.to_episode(), outcome='unknown'))
            kinds.append(kind)
            successes.append(rollout.success)
    return episodes, kinds, successes


def mean_weights(weights: list[Array], kinds: list[str]) -> dict[str, float]:
    """Mean weight of the frames of each kind."""
    return {
        kind: round(float(np.concatenate(
            [w for w, each in zip(weights, kinds) if each == kind]
        ).mean()), 3)
        for kind in dict.fromkeys(kinds)
    }  # fmt: skip
