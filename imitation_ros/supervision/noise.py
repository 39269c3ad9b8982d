"""Noise on executed actions while the label stays clean.

DART (Laskey et al. 2017, "DART: Noise Injection for Robust Imitation Learning"): an expert who is
disturbed while demonstrating visits, and shows the way back from, the states that a slightly
wrong policy gets into.
"""

from __future__ import annotations

from imitation_ros.frames.contract import ActionPart, Contract
from imitation_ros.types import Action, Array
import numpy as np


class ActionNoise:
    """Adds Gaussian noise to the continuous parts of an action.

    Args:
        contract: gives the scale: the largest motion of one tick for absolute parts, the largest
            value for velocities and deltas.
        level: standard deviation as a fraction of that scale; 0 adds nothing.
        seed: with the tick, determines the noise, whatever happened before.
    """

    def __init__(self, contract: Contract, level: float, seed: int) -> None:
        self._level, self._seed = level, seed
        self._scales = {
            name: _scale(part, contract.rate_hz)
            for name, part in contract.actions.items()
            if not part.discrete
        }

    def __call__(self, action: Action, tick_ns: int) -> Action:
        """The action to execute at a tick."""
        if not self._level:
            return action
        rng = np.random.default_rng((self._seed, tick_ns))
        noisy = dict(action)
        for name, scale in self._scales.items():
            noisy[name] = action[name] + rng.normal(0.0, self._level * scale)
        return noisy


def _scale(part: ActionPart, rate_hz: float) -> Array:
    if part.absolute:
        return np.array(part.max_velocity) / rate_hz
    return np.maximum(np.abs(part.low), np.abs(part.high))
