"""Takeover: how a human says 'I drive now', and gives control back.

Whoever took over and falls silent keeps it, and the robot holds: control goes back by saying so,
never by a lost connection. A device that was lost, or whose node was started anew, gives nothing
back by what it says then: its human asks for control again, and lets go of it.
"""

from __future__ import annotations

from imitation_ros.errors import ImitationError, one_of
from imitation_ros.frames.contract import Contract
from imitation_ros.supervision.gates import GateConfig, GATES
from imitation_ros.supervision.watch import Watch
from imitation_ros.types import Action, Array
import numpy as np

BUTTON, ENGAGED, MOVING = 'button', 'engaged', 'moving'
TAKEOVERS = (BUTTON, ENGAGED, MOVING)


def unfit(how: str, gate: GateConfig) -> str:
    """Why a human cannot take over this way from that gate, or ''."""
    if how != ENGAGED or not GATES[gate.gate].labels_every_tick:
        return ''
    return (
        f"gate '{gate.gate}' with takeover '{ENGAGED}': an engaged device would always drive, and "
        f"what one that is not says is no label; valid: takeover '{BUTTON}' or '{MOVING}'"
    )


class Takeover:
    """Follows one human.

    Args:
        how: 'button': `press` says it; 'engaged': as long as the device is engaged (a dead-man
            button, a lease); 'moving': as long as the device is moved, and `idle_s` longer.
        contract: tells which parts of an action rest at zero, and the ranges.
        threshold: motion that counts: what the device says of itself, since one that follows the
            robot gives other actions without being moved; else that of its actions, as a fraction
            of half the range of an element.
        idle_s: of 'moving'. A class of a gripper that the robot was told within that time is no
            motion of a device that follows what it is told.

    Attributes:
        how: as given.
    """

    def __init__(
        self, how: str, contract: Contract, threshold: float = 0.05, idle_s: float = 1.0
    ) -> None:
        if how not in TAKEOVERS:
            raise ImitationError(f'takeover: {how!r}; {one_of(how, TAKEOVERS)}')
        self.how, self._threshold, self._idle_ns = how, threshold, round(idle_s * 1e9)
        self._resting = {  # where a device that is let go comes to rest, if that is always there
            name: np.zeros(part.size)
            for name, part in contract.actions.items()
            if not part.absolute and not part.discrete
        }
        self._scales = {
            name: (np.array(part.high) - np.array(part.low)) / 2
            for name, part in contract.actions.items()
            if not part.discrete
        }
        self._kept = [  # classes that stay in force, as a gripper's: a device may follow them
            name
            for name, part in contract.actions.items()
            if part.discrete and part.on_stop == 'hold'
        ]
        self._executed: dict[str, Array] = {}  # what of those the robot was told last
        self._told_ns: dict[tuple[str, int], int] = {}  # part and class → when it was told that
        self.press(False)

    def press(self, on: bool) -> None:
        """The human takes over, or gives back, by a button."""
        self._on = on
        self._by = ''  # node that was heard all the time since its human asked for control
        self._reference: dict[str, Array] | None = None
        self._heard_ns = self._moved_ns = 0

    def sent(self, command: Action, now_ns: int) -> None:
        """Takes what the robot is told at a steady time: to say the same is nobody's motion."""
        for name in self._kept:
            if name in command:
                self._executed[name] = command[name]
                self._told_ns[name, int(command[name][0])] = now_ns

    def asked(self, watch: Watch, silent: bool = False) -> bool:
        """Whether a human asks for control now, given what their device said last.

        Args:
            watch: of the device.
            silent: whether that is too old to be said of now.
        """
        if self.how == BUTTON:
            return self._on
        engaged = watch.values.get('engaged') == 'true'
        if silent or (watch.lost and not engaged):
            self._by = ''
        elif self.how == ENGAGED:
            self._hear(watch.source, engaged, not engaged)
        elif watch.received_ns != self._heard_ns:
            self._heard_ns = watch.received_ns
            moved = engaged and self._moved(watch) > self._threshold
            self._moved_ns = watch.received_ns if moved else self._moved_ns
            idle = watch.received_ns - self._moved_ns > self._idle_ns
            self._hear(watch.source, moved, idle or not engaged)
        return self._on

    def _hear(self, source: str, asks: bool, lets_go: bool) -> None:
        """Only who was heard all the time since they asked can let go: others never had it."""
        if asks:
            self._on, self._by = True, source
        elif lets_go and source == self._by:
            self._on = False

    def _moved(self, watch: Watch) -> float:
        """How far the device is moved, as it says, or by its actions since it rested."""
        if watch.motion is not None:
            return watch.motion
        if watch.action is None:
            self._reference = None
            return 0.0
        if self._reference is None:  # the first word shows where the device rests
            self._reference = {**watch.action, **self._resting}
        for name, executed in self._executed.items():
            if watch.action[name] == executed:  # it follows the robot, and rests there
                self._reference[name] = executed
        moved = self._distance(watch.action, self._reference, watch.received_ns)
        if moved > self._threshold:
            self._reference = {**watch.action, **self._resting}
        return moved

    def _distance(self, action: Action, reference: Action, now_ns: int) -> float:
        """Of the element that moved most; another class counts as 1, but none that is an echo."""
        echoes = {key for key, told in self._told_ns.items() if now_ns - told <= self._idle_ns}
        return max(
            (
                float(np.abs((action[name] - value) / self._scales.get(name, 1)).max())
                for name, value in reference.items()
                if (name, int(action[name][0])) not in echoes
            ),
            default=0.0,
        )
