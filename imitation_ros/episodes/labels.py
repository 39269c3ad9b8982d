"""Which action is the label of a tick, and which ticks have none.

Derived from what was recorded, so that it can be derived again by other rules. No label is what
the robot did while control changed hands, what a device says that nobody holds or, beside a
driving policy, moves, what an expert says beside it where the gate does not ask for that, and a
correction that the operator discarded.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from imitation_ros.episodes.tracks import Tracks
from imitation_ros.errors import MessageError
from imitation_ros.frames.actions import ActionCodec
from imitation_ros.frames.contract import Contract
from imitation_ros.types import Array
import numpy as np

LABELS = ('expert', 'executed', 'none')


class Labels:
    """Finds the label of a tick.

    Args:
        contract: with the parts of an action.
        tracks: of the episode.
        label: 'expert', 'executed' or 'none', see `load_episode`.
        lockstep: whether a label must be the tick's own.
    """

    def __init__(self, contract: Contract, tracks: Tracks, label: str, lockstep: bool) -> None:
        self._teleop, self._executed = tracks.streams['teleop'], tracks.streams['executed']
        self._expert = label == 'expert'
        self._within_ns = 0 if lockstep else contract.tick_period_ns
        self._discarded = tracks.discarded
        self._codecs = {
            name: ActionCodec(part)
            for name, part in contract.actions.items()
            if part.label == 'command' and label != 'none'
        }

    def of(self, tick_ns: int) -> dict[str, Array]:
        """Part → label; parts whose label is the next observation are not among them.

        Raises:
            MessageError: the tick has no label; says why.
        """
        if any(first <= tick_ns <= last for first, last in self._discarded):
            raise MessageError('the operator discarded the correction')
        labels = {}
        for name, codec in self._codecs.items():
            try:
                labels[name] = codec.decode(self._message(name, tick_ns))
            except MessageError as error:
                raise MessageError(f'{name}: {error}') from None
            if not np.isfinite(labels[name]).all():
                raise MessageError(f'{name}: the action is not finite')
        return labels

    def _message(self, part: str, tick_ns: int) -> Any:
        """The message that holds the label; raises MessageError where there is none."""
        if self._expert:
            decision = self._executed.statuses.get(tick_ns)
            decided = decision.values if decision else {}
            policy_drove = decided.get('mode') == 'policy'
            # Where the expert drove, a tick is its own: what is lost is not lent by the next one.
            its_own = decided.get('mode') == 'expert' and self._teleop.statuses
            within_ns = 0 if its_own else self._within_ns
            if policy_drove and decided.get('labels') == 'driven':
                raise MessageError(
                    'the policy drove, and its gate takes labels of the expert only'
                )
            if self._teleop.idle(tick_ns, within_ns):
                raise MessageError('nobody held the device')
            if policy_drove and _still(self._teleop.said(tick_ns, within_ns)):
                raise MessageError('the policy drove, and nobody moved the device')
            message = self._teleop.find(part, tick_ns, within_ns)
            if message is not None:
                return message
            if policy_drove:
                raise MessageError('the policy drove and no expert said what to do')
        message = self._executed.find(part, tick_ns, self._within_ns)
        if message is None:
            raise MessageError('no action for the tick')
        return message


def _still(said: Mapping[str, str]) -> bool:
    """Whether a device that follows the robot says that nobody moves it."""
    return said.get('motion', '') != '' and not said['motion'].strip('0.')
