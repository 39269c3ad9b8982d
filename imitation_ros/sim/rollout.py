"""One episode in the simulation, driven by an expert, a policy, or any function of a frame."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from imitation_ros.sim.env import ArmEnv
from imitation_ros.types import Action, Array, Episode, Frame
import numpy as np

Act = Callable[[Frame], Action]


@dataclass(frozen=True)
class Rollout:
    """What happened, T ticks long.

    Attributes:
        seed: of the episode's start.
        tick_ns: (T,) int64.
        observations: name → (T, *shape), what was seen before each action.
        actions: part → (T, n), what was asked for.
        executed: part → (T, n), what the guard let pass.
        rewards: (T,).
        success: whether the goal was held to the end.
    """

    seed: int
    tick_ns: Array
    observations: Mapping[str, Array]
    actions: Mapping[str, Array]
    executed: Mapping[str, Array]
    rewards: Array
    success: bool

    @property
    def ticks(self) -> int:
        """How long it took, with the ticks of staying at the goal."""
        return len(self.tick_ns)

    def to_episode(self) -> Episode:
        """The same as training data, labelled with what was asked for."""
        return Episode(
            self.tick_ns,
            self.observations,
            self.actions,
            segment=np.zeros(self.ticks, np.int32),
            outcome='success' if self.success else 'failure',
            metadata={'seed': self.seed},
        )


def roll_out(env: ArmEnv, act: Act, seed: int, ticks: int | None = None) -> Rollout:
    """Runs the episode of `seed` to its end, or for so many `ticks`.

    Raises:
        Refused: `act` asks for something that the guard does not let pass.
    """
    env.reset(seed=seed)
    frames: list[Frame] = []
    actions: list[Action] = []
    executed: list[Action] = []
    rewards: list[float] = []
    ended = False
    while not ended:
        frames.append(env.frame())
        actions.append(act(frames[-1]))
        _, reward, terminated, truncated, info = env.step(actions[-1])
        executed.append(env.executed)
        rewards.append(reward)
        ended = terminated or truncated or len(frames) == ticks
    return Rollout(
        seed,
        np.array([frame.tick_ns for frame in frames]),
        _stack([frame.observation for frame in frames]),
        _stack(actions),
        _stack(executed),
        np.array(rewards),
        bool(info['success']),
    )


def _stack(rows: list[Mapping[str, Array]]) -> dict[str, Array]:
    return {name: np.array([row[name] for row in rows]) for name in rows[0]}
