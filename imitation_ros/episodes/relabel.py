"""Relabelling: a recorded roll-out as a table, a row a tick: who did what, and what is a label.

The labels of a training set are those rows that are valid: both come from `align_episode`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from imitation_ros.episodes.align import align_episode
from imitation_ros.episodes.reader import EpisodeReader
from imitation_ros.episodes.tracks import Track
from imitation_ros.errors import MessageError
from imitation_ros.frames.actions import ActionCodec
from imitation_ros.frames.contract import Contract
from imitation_ros.types import Array
import numpy as np


@dataclass(frozen=True)
class Relabelling:
    """All ticks of a roll-out, T rows. Where the supervisor rested, a row for each tick period.

    Attributes:
        tick_ns: (T,) int64.
        mode: (T,) text, of the supervisor; '' where the bag does not say.
        source: (T,) text, the node whose action was executed; '' for none.
        checkpoint: (T,) text, SHA-256 of the policy that drove; '' where none did, or none says.
        executed: part → (T, n) float64, in the contract's units, of a discrete part the number of
            the class; NaN where there was none.
        policy: likewise, what the policy proposed.
        expert: likewise, what the expert said by a device that somebody held.
        valid: (T,) bool, whether the row is a frame with a label.
        reason: (T,) text, why it is none; '' where it is.
        outcome: of the episode.
    """

    tick_ns: Array
    mode: Array
    source: Array
    checkpoint: Array
    executed: Mapping[str, Array]
    policy: Mapping[str, Array]
    expert: Mapping[str, Array]
    valid: Array
    reason: Array
    outcome: str

    def __len__(self) -> int:
        return len(self.tick_ns)

    @property
    def left_out(self) -> dict[str, int]:
        """Reason → how many ticks are no labels because of it."""
        return dict(Counter(self.reason[~self.valid].tolist()))

    @property
    def corrections(self) -> list[int]:
        """How many ticks the expert drove each time it did, in turn."""
        runs = groupby(self.mode.tolist())
        return [len(list(run)) for mode, run in runs if mode == 'expert']


def relabel(
    path: str | Path | EpisodeReader, contract: Contract | None = None, label: str = 'expert'
) -> Relabelling:
    """Reads a recorded episode as a table.

    Args:
        path: a rosbag2 folder or `.mcap` file, or one that is open already.
        contract: what the frames hold; the episode's own if None.
        label: which action is the label of a frame; see `load_episode`.

    Raises:
        EpisodeError: as `load_episode`.
    """
    reader = path if isinstance(path, EpisodeReader) else EpisodeReader(path)
    aligned = align_episode(reader, contract, label)
    rows = sorted([*aligned.samples, *aligned.resting], key=lambda sample: sample.tick_ns)
    ticks = [sample.tick_ns for sample in rows]
    within_ns = 0 if reader.info.lockstep else aligned.contract.tick_period_ns
    streams = aligned.tracks.streams
    decisions = [streams['executed'].statuses.get(tick_ns) for tick_ns in ticks]
    decided = [decision.values if decision else {} for decision in decisions]
    modes = [values.get('mode', '') for values in decided]
    said = {
        name: _actions(track, aligned.contract, ticks, within_ns)
        for name, track in streams.items()
    }
    return Relabelling(
        tick_ns=np.array(ticks, np.int64),
        mode=np.array(modes, np.str_),
        source=np.array([values.get('source', '') for values in decided], np.str_),
        checkpoint=np.array(_checkpoints(streams['policy'], modes, ticks), np.str_),
        executed=said['executed'],
        policy=said['policy'],
        expert=said['teleop'],
        valid=np.array([sample.frame is not None for sample in rows], np.bool_),
        reason=np.array([sample.reason for sample in rows], np.str_),
        outcome=reader.info.outcome,
    )


def _checkpoints(policy: Track, modes: Sequence[str], ticks: Sequence[int]) -> list[str]:
    """Tick by tick, which policy drove; a decision is for the tick of the action that it takes."""
    statuses = [policy.statuses.get(tick_ns) for tick_ns in ticks]
    return [
        status.values.get('checkpoint', '') if mode == 'policy' and status else ''
        for mode, status in zip(modes, statuses)
    ]


def _actions(
    track: Track, contract: Contract, ticks: Sequence[int], within_ns: int
) -> dict[str, Array]:
    """Part → (T, n) float64 of one stream."""
    actions = {}
    for name, part in contract.actions.items():
        codec, rows = ActionCodec(part), np.full((len(ticks), part.size), np.nan)
        for row, tick_ns in zip(rows, ticks):
            message = None
            if not track.idle(tick_ns, within_ns):
                message = track.find(name, tick_ns, within_ns)
            if message is not None:
                with suppress(MessageError):  # no action, and the reason says so
                    row[:] = codec.decode(message)
        actions[name] = rows
    return actions
