"""A gate at work: what it is shown of each tick, and that it is asked once about it."""

from __future__ import annotations

from collections.abc import Mapping

from imitation_ros.frames.contract import Contract
from imitation_ros.supervision.gates import Choice, GateConfig, make_gate, View
from imitation_ros.types import Action

EVERY, DRIVEN = 'every', 'driven'
"""About which ticks the expert is asked: what it says of others is no label."""


class Gating:
    """Asks one gate, tick by tick and episode by episode.

    Args:
        config: which gate, and its settings.
        contract: of the robot.

    Attributes:
        config: as given.
        labels: 'every' where the expert is asked about every tick, 'driven' where only what it
            drives is a label.
    """

    def __init__(self, config: GateConfig, contract: Contract) -> None:
        self.config = config
        self._gate = make_gate(config, contract.action_specs)
        self.labels = EVERY if self._gate.labels_every_tick else DRIVEN
        self._episode = -1
        self._asked: tuple[int, bool] | None = None
        self._choice = Choice('', '')

    def start(self) -> None:
        """A new episode begins."""
        self._episode += 1
        self._gate.start(self._episode)
        self._asked, self._choice = None, Choice('', '')

    def choose(
        self,
        tick_ns: int,
        actions: Mapping[str, Action | None],
        signals: Mapping[str, str],
        takeover: bool,
    ) -> Choice:
        """Who should drive. About the same tick again: the same choice.

        Args:
            tick_ns: the tick.
            actions: stream → what it would do, None where it has no action.
            signals: the policy's status values, of which 'uncertainty' and 'risk' count.
            takeover: whether a human asks for control; who does is heard within the tick.
        """
        if self._asked != (tick_ns, takeover):
            self._asked = tick_ns, takeover
            view = View(
                tick_ns,
                self._choice.stream,
                actions['policy'],
                actions['teleop'],
                _number(signals.get('uncertainty')),
                _number(signals.get('risk')),
                takeover,
            )
            self._choice = self._gate.choose(view)
        return self._choice


def _number(text: str | None) -> float | None:
    """What a policy says of itself; None where it says nothing, or nothing that is a number."""
    try:
        value = float(text) if text is not None else None
    except ValueError:
        return None
    return value if value is not None and value == value else None  # NaN is no number
