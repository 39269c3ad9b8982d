"""A recorded episode → frames and labels, by the code that makes frames live.

Ticks are those that were recorded, so that a frame from the bag equals the one that the policy
saw: the supervisor's ticks, else those of teleoperation or policy, else, in a foreign bag, a
regular grid.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
import re

from imitation_ros.episodes.labels import LABELS, Labels
from imitation_ros.episodes.reader import EpisodeReader
from imitation_ros.episodes.tracks import read_tracks, Tracks
from imitation_ros.errors import EpisodeError, MessageError, one_of
from imitation_ros.frames.alignment import Aligner
from imitation_ros.frames.contract import Contract
from imitation_ros.types import Array, Episode, Frame, Gap, Spec
import numpy as np

DRIVING = ('expert', 'policy')
"""Modes of the supervisor in which a source has authority."""
LATE_TICKS = 8
"""In lockstep a tick's frame is made this many ticks later: a recorder may take the messages of
one tick in any order."""
MAX_TICKS = 1 << 22
"""Of a regular grid: two days at 20 Hz. One message with a wrong time would span decades."""
JITTER = 1.5
"""Ticks up to this many periods apart follow each other without a gap."""


@dataclass(frozen=True)
class Sample:
    """A tick with all that is needed of it, or why it is left out."""

    tick_ns: int
    frame: Frame | None
    labels: Mapping[str, Array]
    reason: str = ''

    def left_out(self, reason: str) -> Sample:
        """The same tick without its frame."""
        return Sample(self.tick_ns, None, {}, reason)


@dataclass(frozen=True)
class Aligned:
    """All ticks of an episode.

    Attributes:
        contract: what the frames hold.
        tracks: the streams they were made of.
        samples: the ticks in which somebody drove, in order.
        resting: the others.
    """

    contract: Contract
    tracks: Tracks
    samples: list[Sample]
    resting: list[Sample]


def load_episode(
    path: str | Path | EpisodeReader, contract: Contract | None = None, label: str = 'expert'
) -> Episode:
    """Reads a recorded episode as arrays.

    Args:
        path: a rosbag2 folder or `.mcap` file, or one that is open already.
        contract: what the frames hold; the episode's own if None.
        label: which action is the label of a frame. 'expert': what teleoperation gave for the
            tick, else what was executed while the expert was driving. 'executed': what was
            executed, whoever drove. See `Labels` for what is none. 'none': frames without actions,
            for learning by watching.

    Returns:
        The frames that could be made; `left_out` counts the others by reason. May be empty.

    Raises:
        EpisodeError: the bag is damaged, has no contract, or lacks a topic of the contract.
    """
    if label not in LABELS:
        raise EpisodeError(f'label {label!r}; {one_of(label, LABELS)}')
    reader = path if isinstance(path, EpisodeReader) else EpisodeReader(path)
    return _episode(reader, align_episode(reader, contract, label), label != 'none')


def align_episode(
    reader: EpisodeReader, contract: Contract | None = None, label: str = 'expert'
) -> Aligned:
    """All ticks of a recorded episode, with or without a label.

    Args:
        reader: of the episode.
        contract: what the frames hold; the episode's own if None.
        label: see `load_episode`.

    Raises:
        EpisodeError: as `load_episode`.
    """
    contract = contract or reader.contract
    if contract is None:
        raise EpisodeError(f'{reader.path}: no contract inside; give one')
    tracks = read_tracks(reader, contract)
    ticks, resting = _ticks(reader, contract, tracks)
    frames = _frames(reader, contract, tracks, ticks)
    labels = Labels(contract, tracks, label, reader.info.lockstep)
    samples = [_sample(labels, tick_ns, frame) for tick_ns, frame in zip(ticks, frames)]
    if label != 'none':
        samples = _with_next_observation(contract, samples)
    return Aligned(contract, tracks, samples, resting)


def frame_differences(frames: Iterable[Frame], episode: Episode) -> list[str]:
    """How live frames differ from those of the recorded episode, one line an entry.

    Frames that only one side has are no difference: a recorder starts later and stops earlier.
    """
    index = {int(tick_ns): at for at, tick_ns in enumerate(episode.tick_ns)}
    differences = []
    for frame in frames:
        at = index.get(frame.tick_ns)
        for name, live in frame.observation.items() if at is not None else ():
            recorded = episode.observations[name][at]
            if not np.array_equal(live, recorded):
                by = np.abs(np.subtract(live, recorded, dtype=float)).max()
                differences.append(f'tick {frame.tick_ns}: {name} differs by up to {by:.3g}')
    return differences


def _ticks(
    reader: EpisodeReader, contract: Contract, tracks: Tracks
) -> tuple[list[int], list[Sample]]:
    """The recorded ticks, increasing, and those in which nobody drove."""
    streams = tracks.streams
    statuses = next(
        (streams[name].statuses for name in ('executed', 'teleop', 'policy')
         if streams[name].logged_ns), None
    )  # fmt: skip
    if statuses is None:
        return _grid(reader, contract, tracks), []
    # A person who guides the arm by hand is in nobody's way only while the supervisor is stopped.
    guided = any(part.label == 'next_observation' for part in contract.actions.values())
    ticks: list[int] = []
    resting: list[Sample] = []
    rested_ns = 0
    for tick_ns, status in statuses.items():
        mode = status.values.get('mode', DRIVING[0])
        if ticks and tick_ns <= ticks[-1]:
            resting.append(Sample(tick_ns, None, {}, 'the time of the tick jumped back'))
        elif mode in DRIVING or guided:
            ticks.append(tick_ns)
        elif tick_ns - rested_ns >= contract.tick_period_ns:  # it may command at a higher rate
            reason = f'the supervisor was in mode {mode}'
            resting.append(Sample(tick_ns, None, {}, reason))
            rested_ns = tick_ns
    return ticks, resting


def _grid(reader: EpisodeReader, contract: Contract, tracks: Tracks) -> list[int]:
    start_ns, end_ns = (tracks.clock.ros_ns(time_ns) for time_ns in reader.span_ns)
    ticks = range(start_ns, end_ns, contract.tick_period_ns)
    if len(ticks) > MAX_TICKS:
        hours = (end_ns - start_ns) / 3.6e12
        raise EpisodeError(f'{reader.path}: the messages span {hours:.0f} hours')
    return list(ticks)


def _frames(
    reader: EpisodeReader, contract: Contract, tracks: Tracks, ticks: Sequence[int]
) -> Iterator[Frame | Gap]:
    """One frame or gap a tick, made when the messages up to it have come by."""
    lockstep = reader.info.lockstep
    aligner = Aligner(contract, lockstep)
    aligner.clock = tracks.clock
    names = {
        reader.topic(source.topic, source.type).name: source.topic for source in contract.sources
    }
    due = deque(zip(_due_ns(tracks, ticks, lockstep), ticks))
    for message in reader.messages(names.keys()):
        received_ns = tracks.clock.ros_ns(message.log_time_ns)
        now_ns = message.log_time_ns if lockstep else received_ns
        while due and due[0][0] < now_ns:
            yield aligner.frame(due.popleft()[1])
        try:
            decoded = reader.decode(message)
        except EpisodeError:
            continue  # live, the middleware drops it too
        aligner.add(names[message.topic], decoded, received_ns, message.publish_time_ns)
    for _, tick_ns in due:
        yield aligner.frame(tick_ns)


def _due_ns(tracks: Tracks, ticks: Sequence[int], lockstep: bool) -> Sequence[int]:
    """Until when messages may still belong to each tick: ROS time, in lockstep log time."""
    if not lockstep:
        return ticks
    logged_ns: dict[int, int] = {}
    for track in tracks.streams.values():
        logged_ns = track.logged_ns | logged_ns
    times = [logged_ns.get(tick_ns, 0) for tick_ns in ticks]
    never = 2**63
    return [*times[LATE_TICKS:], *([never] * min(LATE_TICKS, len(ticks)))]


def _sample(labels: Labels, tick_ns: int, frame: Frame | Gap) -> Sample:
    """The tick with its labels, or why it is left out."""
    if isinstance(frame, Gap):
        return Sample(tick_ns, None, {}, _kind_of_gap(frame.reason))
    try:
        return Sample(tick_ns, frame, labels.of(tick_ns))
    except MessageError as error:
        return Sample(tick_ns, None, {}, str(error))


def _with_next_observation(contract: Contract, samples: list[Sample]) -> list[Sample]:
    """Adds the labels that are what was measured one tick later."""
    places = {
        part: _feedback_places(contract, part)
        for part, action in contract.actions.items()
        if action.label == 'next_observation'
    }
    labelled = []
    for sample, following in zip(samples, [*samples[1:], None]):
        if not places or sample.frame is None:
            labelled.append(sample)
        elif not following or not following.frame or not _adjacent(contract, sample, following):
            labelled.append(sample.left_out('no next observation'))
        else:
            observation = following.frame.observation
            measured = {part: observation[name][at] for part, (name, at) in places.items()}
            labelled.append(replace(sample, labels={**sample.labels, **measured}))
    return labelled


def _feedback_places(contract: Contract, part: str) -> tuple[str, list[int]]:
    """The observation, and where in it, the measured state of an action part lies."""
    source = contract.feedback_source(part)
    assert source is not None  # the contract is checked for it
    wanted = [f'{source.topic}.{field}' for field in source.select]
    for name, spec in contract.observation_specs.items():
        if set(wanted) <= set(spec.fields):
            return name, [spec.fields.index(field) for field in wanted]
    raise AssertionError(f'{part}: its feedback is in no observation')


def _adjacent(contract: Contract, sample: Sample, following: Sample) -> bool:
    return following.tick_ns - sample.tick_ns <= JITTER * contract.tick_period_ns


def _episode(reader: EpisodeReader, aligned: Aligned, labelled: bool) -> Episode:
    contract, samples = aligned.contract, aligned.samples
    left_out = Counter(
        sample.reason for sample in (*aligned.resting, *samples) if sample.frame is None
    )
    kept = [sample for sample in samples if sample.frame]
    observations = {
        name: _stacked([s.frame.observation[name] for s in kept if s.frame], spec)
        for name, spec in contract.observation_specs.items()
    }
    actions = {
        part: _stacked([sample.labels[part] for sample in kept], spec)
        for part, spec in contract.action_specs.items()
        if labelled
    }
    info = asdict(reader.info)
    return Episode(
        np.array([sample.tick_ns for sample in kept], np.int64),
        observations,
        actions,
        _segments(contract, samples),
        info.pop('outcome'),
        dict(left_out),
        {'path': str(reader.path), **info},
    )


def _segments(contract: Contract, samples: list[Sample]) -> Array:
    """(T,) int32: the number grows wherever ticks are missing between two kept frames."""
    numbers: list[int] = []
    before: Sample | None = None
    for sample in samples:
        if sample.frame:
            follows = before is not None and _adjacent(contract, before, sample)
            numbers.append(numbers[-1] + (not follows) if numbers else 0)
        before = sample if sample.frame else None
    return np.array(numbers, np.int32)


def _stacked(arrays: list[Array], spec: Spec) -> Array:
    if not arrays:
        return np.zeros((0, *spec.shape), spec.dtype)
    return np.stack(arrays).astype(spec.dtype, copy=False)


def _kind_of_gap(reason: str) -> str:
    """The reason without its numbers, so that equal ones are counted together."""
    reason = re.sub(r'the newest is stamped [\d.]+ s ahead', 'stamped ahead', reason)
    return re.sub(r'the newest is -?[\d.]+ s old', 'stale', reason)
