"""Keys → deflections, switches and requests.

A terminal tells of key presses, never of releases: a key counts as held for `held_s` after its
last press or repeat.
"""

from __future__ import annotations

from imitation_ros.teleop.requests import GIVE_BACK, RESUME, STOP, TAKE
from imitation_ros.types import Array
import numpy as np

PAIRS = ('ws', 'ad', 'qe', 'ik', 'jl', 'uo', 'nm')
"""Element → the key that moves it up, and the one that moves it down."""

REQUESTS = {
    'g': RESUME,
    't': STOP,
    'c': TAKE,
    'b': GIVE_BACK,
    'y': 'supervisor/discard_correction',
    'z': 'sim_arm/reset',
    'r': 'recorder/start',
    '\n': 'recorder/success',
    '\r': 'recorder/success',
    '\x7f': 'recorder/failure',
    '\b': 'recorder/failure',
    'x': 'recorder/discard',
}
"""Key → the service that it calls."""

SWITCH, HELP = ' ', 'h'


class Keyboard:
    """What the operator wants, from the keys that were pressed.

    Args:
        size: elements that can be moved.
        held_s: longer than the delay before the terminal repeats a held key.
    """

    def __init__(self, size: int, held_s: float = 0.5) -> None:
        self._held_ns = round(held_s * 1e9)
        self._keys = {
            key: (element, sign)
            for element, pair in enumerate(PAIRS[:size])
            for key, sign in zip(pair, (1.0, -1.0))
        }
        self._size = size
        self._pressed: dict[str, int] = {}
        self._resumed_ns: int | None = None

    def press(self, key: str, now_ns: int) -> str | None:
        """Takes a key; returns 'switch', 'help', the service that it asks for, or None."""
        key = key.lower()
        if key in self._keys:
            element, sign = self._keys[key]
            opposite = PAIRS[element][1 if sign > 0 else 0]
            self._pressed.pop(opposite, None)
            self._pressed[key] = now_ns
            return None
        request = {SWITCH: 'switch', HELP: 'help'}.get(key) or REQUESTS.get(key)
        if request == RESUME:
            self._resumed_ns = now_ns
        elif request in (STOP, GIVE_BACK):
            self._pressed.clear()
            self._resumed_ns = None
        return request

    def deflection(self, now_ns: int) -> Array:
        """The deflection (size,) of the keys that are held now."""
        vector = np.zeros(self._size)
        for key, pressed_ns in self._pressed.items():
            if now_ns - pressed_ns < self._held_ns:
                element, sign = self._keys[key]
                vector[element] = sign
        return vector

    def resumes(self, now_ns: int) -> bool:
        """Whether authority was asked for just now."""
        return self._resumed_ns is not None and now_ns - self._resumed_ns < self._held_ns

    def help(self) -> str:
        """The keys, for people."""
        moves = ', '.join(f'{pair[0]}/{pair[1]}' for pair in PAIRS[: self._size])
        return (
            f'move {moves} · space gripper · g resume · t stop\n'
            'c take control of a policy · b give it back · y forget the correction\n'
            'r start recording · enter success · backspace failure · x discard · h help\n'
            'z new scene of the simulated arm, after t'
        )
