"""The simulated task as a Gymnasium environment, with the observations and actions of a contract.

An action passes the same guard as on a robot, and is stepped as in lockstep over topics, so that
the same actions give the same motion in both.
"""

from __future__ import annotations

from typing import Any

import gymnasium
from gymnasium import spaces
from imitation_ros.frames.contract import Contract
from imitation_ros.sim.model import ArmModel, PANDA
from imitation_ros.sim.observer import Observer
from imitation_ros.sim.simulator import Simulator
from imitation_ros.sim.tasks import Task
from imitation_ros.sim.world import Camera
from imitation_ros.supervision.guard import Guard
from imitation_ros.types import Action, Array, Frame, Spec
import numpy as np


class ArmEnv(gymnasium.Env[dict[str, Any], dict[str, Any]]):
    """One task, tick by tick.

    The reward is 0 while the goal is reached and -1 otherwise, so that a return counts the ticks
    it took. An episode is terminated when the goal has been held (see `Task`) and truncated at
    the horizon; `info['success']` in the last tick is the episode's success.

    Attributes:
        contract: what the arrays mean.
        simulator: the simulation below.
        executed: the last action, as the guard let it pass.
    """

    def __init__(
        self,
        task: str | Task,
        contract: Contract,
        model: ArmModel = PANDA,
        camera: Camera | None = None,
        render_mode: str | None = None,
    ) -> None:
        """Builds the simulation.

        Raises:
            TaskError: an unknown task, or a contract that the simulation cannot serve.
        """
        self.contract = contract
        self.simulator = Simulator(task, contract, model, camera)
        self.render_mode = render_mode
        self.metadata = {'render_modes': ['rgb_array'], 'render_fps': round(contract.rate_hz)}
        self.observation_space = spaces.Dict(_spaces(contract.observation_specs))
        self.action_space = spaces.Dict(_spaces(contract.action_specs))
        self.executed: Action = {}
        self._observer = Observer(contract, self.simulator)
        self._guard = Guard(contract)
        self._tick_s = 1.0 / contract.rate_hz
        self._observation: dict[str, Array] = {}

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Array], dict[str, Any]]:
        """Starts the episode of `seed`, or one drawn from the environment's own generator."""
        super().reset(seed=seed)
        if seed is None:
            seed = int(self.np_random.integers(2**31))
        self.simulator.reset(seed)
        self._guard.reset(self._observer.measured())
        self._observation = self._observer.observe()
        return self._observation, self._info()

    def step(self, action: Action) -> tuple[dict[str, Array], float, bool, bool, dict[str, Any]]:
        """Executes an action for one tick.

        Raises:
            Refused: the guard does not let the action pass.
        """
        self.executed = self._guard.advance(action, self._tick_s, self._tick_s)
        self.simulator.command(self.executed)
        self.simulator.step()
        self._observation = self._observer.observe()
        reward = 0.0 if self.simulator.reached else -1.0
        finished, late = self.simulator.finished, self.simulator.out_of_time
        return self._observation, reward, finished, late and not finished, self._info()

    def frame(self) -> Frame:
        """What a policy sees now."""
        return Frame(self.simulator.time_ns, self._observation)

    def render(self) -> Array:
        """The camera's picture (height, width, 3) uint8."""
        return self.simulator.render()

    def close(self) -> None:
        """Frees the physics."""
        self.simulator.close()

    def _info(self) -> dict[str, Any]:
        simulator = self.simulator
        return {
            'success': simulator.success,
            'reached': simulator.reached,
            'holding_ticks': simulator.holding_ticks,
            'distance_m': simulator.distance_m,
        }


def _spaces(specs: dict[str, Spec]) -> dict[str, spaces.Space[Any]]:
    return {name: _space(spec) for name, spec in specs.items()}


def _space(spec: Spec) -> spaces.Space[Any]:
    if spec.discrete:
        return spaces.MultiDiscrete([len(spec.classes)])
    if spec.image:
        return spaces.Box(0, np.iinfo(spec.dtype).max, spec.shape, np.dtype(spec.dtype).type)
    low = -np.inf if spec.low is None else spec.low
    high = np.inf if spec.high is None else spec.high
    return spaces.Box(low, high, spec.shape, np.float64)
