"""An expert who is not so good: slower, and shaky. For data of mixed quality."""

from __future__ import annotations

from collections.abc import Callable

from imitation_ros.frames.contract import Contract
from imitation_ros.supervision.noise import ActionNoise
from imitation_ros.types import Action, Array, Frame
import numpy as np

SLOWEST = 0.4
"""Speed at skill 0, of the expert's."""
SHAKIEST = 0.5
"""Standard deviation at skill 0, of the largest motion of one tick."""


class Skilled:
    """An expert with a skill between 0 and 1; with 1 it is the expert itself.

    The noise depends on seed and tick alone, so the expert stays without memory.
    """

    def __init__(
        self,
        expert: Callable[[Frame], Action],
        contract: Contract,
        skill: float = 1.0,
        seed: int = 0,
    ) -> None:
        self._expert, self._skill, self._seed = expert, skill, seed
        self._contract = contract
        self._noise = ActionNoise(contract, SHAKIEST * (1 - skill), seed)
        self._speed = SLOWEST + (1 - SLOWEST) * skill
        self._measured = {
            name: _reader(contract, name)
            for name, part in contract.actions.items()
            if part.absolute
        }

    def __call__(self, frame: Frame) -> Action:
        """What the operator does in this frame."""
        action = self._expert(frame)
        if self._skill >= 1.0:
            return action
        slow = {name: self._slowed(name, action[name], frame) for name in action}
        shaky = dict(self._noise(slow, frame.tick_ns))
        for name, part in self._contract.actions.items():
            if not part.discrete:
                shaky[name] = np.clip(shaky[name], part.low, part.high)
            elif part.values:  # classes that are motions, unlike a gripper's
                shaky[name] = self._slip(shaky[name], len(part.classes), frame.tick_ns)
        return shaky

    def _slowed(self, name: str, vector: Array, frame: Frame) -> Array:
        if self._contract.actions[name].discrete:
            return vector
        origin = self._measured[name](frame) if name in self._measured else 0.0
        return np.asarray(origin + (vector - origin) * self._speed)

    def _slip(self, vector: Array, classes: int, tick_ns: int) -> Array:
        rng = np.random.default_rng((self._seed, tick_ns, classes))
        wrong = rng.random() < SHAKIEST * (1 - self._skill)
        return rng.integers(classes, size=1) if wrong else vector


def _reader(contract: Contract, part: str) -> Callable[[Frame], Array]:
    """Reads the measured state of an action part from a frame."""
    source = contract.feedback_source(part)
    if source is None:
        raise ValueError(f'{part} has no feedback')
    wanted = [f'{source.topic}.{field}' for field in source.select]
    for name, spec in contract.observation_specs.items():
        if set(wanted) <= set(spec.fields):
            places = [spec.fields.index(field) for field in wanted]
            return lambda frame: np.asarray(frame.observation[name][places])
    raise ValueError(f'{part}: its feedback is in no observation')
