"""Tracking: whether the robot follows what it is told.

A robot that something else has stopped (a pause, a protective stop) stays behind, and would jump
when it is released to wherever its commands have got to. A healthy one lags: it is where it was
told to be a moment ago. So it is compared with all commands of that moment, and a distance from
the nearest of them is an error.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping

from imitation_ros.frames.contract import Contract
from imitation_ros.types import Action, Array
import numpy as np


class Tracking:
    """Compares the measured state of absolute parts with the commands of the last moment.

    Args:
        contract: of the robot; `max_handover_error` of a part is how far it may be away.
        delay_s: how far a healthy robot lags behind; 0: nothing is compared.
    """

    def __init__(self, contract: Contract, delay_s: float) -> None:
        self._limits = {
            name: part.max_handover_error
            for name, part in contract.actions.items()
            if part.absolute and delay_s > 0.0
        }
        kept = max(2, round(delay_s * contract.command_hz))
        self._sent: dict[str, deque[Array]] = {name: deque(maxlen=kept) for name in self._limits}

    def start(self, measured: Mapping[str, Array]) -> None:
        """Begins anew where the robot is."""
        for name, sent in self._sent.items():
            sent.clear()
            sent.append(measured[name])

    def sent(self, action: Action) -> None:
        """Takes what the robot was told."""
        for name, sent in self._sent.items():
            if name in action:
                sent.append(action[name])

    def problem(self, measured: Mapping[str, Array]) -> str:
        """Why the robot does not follow, or ''."""
        for name, limit in self._limits.items():
            if not self._sent[name] or name not in measured:
                continue
            low, high = np.min(self._sent[name], axis=0), np.max(self._sent[name], axis=0)
            beyond = np.maximum(low - measured[name], measured[name] - high)
            error, index = float(beyond.max()), int(beyond.argmax())
            if not error <= limit:
                return (
                    f'{name} does not follow: element {index} is {error:.3g} away from its '
                    f'commands (max_handover_error {limit:.3g})'
                )
        return ''
