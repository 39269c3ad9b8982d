"""The policy's action ⇄ the command messages of a contract."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from imitation_ros.errors import MessageError
from imitation_ros.frames.codecs import (
    codec_for,
    JointTrajectoryCodec,
    MessageFactory,
    set_stamp,
)
from imitation_ros.frames.contract import ActionPart
from imitation_ros.types import Action, Array, Spec
import numpy as np


class ActionCodec:
    """One action part ⇄ its message."""

    def __init__(self, part: ActionPart) -> None:
        self._part = part
        self._codec = codec_for(part.type)
        self._decode = self._codec.decoder(part.wire_fields)
        self._fields = (*part.wire_fields, *part.constants)
        self._constants = tuple(part.constants.values())
        self._values = np.array(part.class_values, float)  # (classes, fields)

    def encode(self, vector: Array, stamp_ns: int, new: MessageFactory) -> Any:
        """Returns the message that commands `vector`, which must fit the part's spec.

        The stamp is left 0 for JointTrajectory, where it would mean a start time.
        """
        part = self._part
        values = self._values[int(vector[0])] if part.discrete else vector
        numbers = (*values.tolist(), *self._constants)
        message = self._codec.encode(new, self._fields, numbers)
        if self._codec.stamped:
            message.header.frame_id = part.frame_id
            if not isinstance(self._codec, JointTrajectoryCodec):
                set_stamp(message, stamp_ns)
        return message

    def decode(self, message: Any) -> Array:
        """Returns the part's vector; for a discrete part the class nearest to what was sent.

        Raises:
            MessageError: the message lacks a field, or no class is near to NaN.
        """
        vector = self._decode(message)
        if not self._part.discrete:
            return vector
        if not np.isfinite(vector).all():
            raise MessageError(f'not finite: {vector.tolist()}')
        nearest: Array = np.square(self._values - vector).sum(1).argmin(keepdims=True)
        return nearest.astype(np.int64)


def action_distance(action: Action, expert: Action, specs: Mapping[str, Spec]) -> float:
    """Euclidean distance of two actions.

    Continuous elements count in units of half their range, each wrong class as 1.
    """
    squares = 0.0
    for name, spec in specs.items():
        if spec.low is None or spec.high is None:
            squares += float(action[name][0] != expert[name][0])
        else:
            error = (action[name] - expert[name]) / ((spec.high - spec.low) / 2)
            squares += float(error @ error)
    return float(np.sqrt(squares))
