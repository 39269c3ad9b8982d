"""The rounds of a DAgger run on disk, each whole or not there.

    run.json            settings
    round_000/          the demonstrations, and the policy cloned from them
        round.json      what happened: labels, success, which policy drives from now on
        frames/         one safetensors file an episode: the labelled frames
        episodes/       what the collector recorded, if it records
        checkpoint/     the policy trained on the frames of all rounds so far
    round_001/ …
    rounds.png           success and intervention rate of each round over the labels

A round is made as `round_001.partial` and renamed when it is whole, so that a run that was killed
goes on after the last whole round. A partial round whose episodes are all there, which may have
cost a human's time, keeps them; any other is removed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
import json
import os
from pathlib import Path
import re
import shutil
from typing import Any

from imitation_ros.errors import EpisodeError, ImitationError
from imitation_ros.policies.model_folder import replace_file
from imitation_ros.policies.sealed import read_sealed, write_sealed
from imitation_ros.types import Array, Episode
from safetensors import SafetensorError
from safetensors.numpy import load, save

RUN, ROUND, COLLECTED = 'run.json', 'round.json', 'collected.json'
FRAMES, EPISODES, CHECKPOINT, PARTIAL = 'frames', 'episodes', 'checkpoint', '.partial'
FRAMES_SUFFIX = '.safetensors'
PLOT = 'rounds.png'
VERSION = r'version_(\d+)'


@dataclass(frozen=True)
class Round:
    """What happened in one round.

    Attributes:
        number: from 0, the demonstrations.
        labels: frames that the expert annotated in this round.
        label_total: of all rounds so far.
        episodes: rolled out.
        successes: of them.
        ticks: of them.
        expert_ticks: that the expert drove.
        switches: of control.
        driving_loss: held-out loss of the policy that drove the round; None if none drove.
        new_loss: held-out loss of the policy trained after it; None if nothing is held out.
        driving_success: of the policy that drove, in trials; None where there are none.
        new_success: of the new policy, in trials.
        accepted: whether the new policy drives from now on.
        reason: why, or why not.
        driving: the round whose checkpoint drives from now on; None if that of no round does.
        seconds: of wall time that the round took.
        left_out: reason → ticks that gave no labelled frame because of it.
        driven_by: SHA-256 of the policy that drove when this was decided; '' where it is not kept.
    """

    number: int
    labels: int
    label_total: int
    episodes: int
    successes: int
    ticks: int
    expert_ticks: int
    switches: int
    driving_loss: float | None
    new_loss: float | None
    driving_success: float | None
    new_success: float | None
    accepted: bool
    reason: str
    driving: int | None
    seconds: float
    left_out: Mapping[str, int] = field(default_factory=dict)
    driven_by: str = ''

    @property
    def success(self) -> float:
        """Share of the round's episodes that succeeded, whoever drove."""
        return self.successes / max(1, self.episodes)

    @property
    def intervention_rate(self) -> float:
        """Share of the round's ticks that the expert drove."""
        return self.expert_ticks / max(1, self.ticks)


class Rounds:
    """The folder of one run."""

    def __init__(self, folder: Path | str, settings: Mapping[str, Any]) -> None:
        """Opens the folder, or makes it.

        Args:
            folder: of the run alone.
            settings: what the rounds depend on, as plain data; a run is only gone on with if
                they are the same.

        Raises:
            ImitationError: the folder holds another run or something else, or is not writable.
        """
        self.folder = Path(folder).resolve()
        claim_folder(self.folder, settings, 'DAgger run')

    @property
    def done(self) -> list[Round]:
        """All whole rounds, in order.

        Raises:
            ImitationError: one is missing between others, or cannot be read.
        """
        rounds = []
        for number, there in enumerate(numbered(self.folder, r'round_(\d+)')):
            folder = self.round_folder(number)
            if there != number:
                name = self.round_folder(there).name
                raise ImitationError(f'{folder}: missing, {name} is not')
            rounds.append(_round(folder / ROUND))
        return rounds

    def round_folder(self, number: int) -> Path:
        """Of a whole round."""
        return self.folder / f'round_{number:03d}'

    def checkpoint(self, number: int) -> Path:
        """The policy trained after a whole round."""
        return self.round_folder(number) / CHECKPOINT

    def episodes(self, number: int) -> list[Episode]:
        """The labelled frames of a whole round."""
        return load_episodes(self.round_folder(number) / FRAMES)

    def partial(self, number: int) -> Path:
        """Where the next round is made; what lies there beside `COLLECTED` may be gone on with.

        For whoever works on the run alone: what else an interrupted round left is removed.
        """
        folder = self._partial(number)
        for partial in self.folder.glob(f'round_*{PARTIAL}'):
            if partial != folder or not (partial / COLLECTED).exists():
                shutil.rmtree(partial)
        folder.mkdir(exist_ok=True)
        return folder

    def commit(self, done: Round, parts: Sequence[str] = (FRAMES, CHECKPOINT)) -> None:
        """Makes the partial round whole.

        Args:
            done: what happened in it.
            parts: what else must be there.

        Raises:
            ImitationError: the disk refused, or somebody removed a part.
        """
        partial = self._partial(done.number)
        for part in parts:
            if not (partial / part).exists():
                raise ImitationError(f'{partial}: not committed: {part} is gone')
        try:
            write_json(partial / ROUND, asdict(done))
            # The note goes last: without it a partial round is removed with what was collected.
            folder = partial.rename(self.round_folder(done.number))
            (folder / COLLECTED).unlink(missing_ok=True)
            descriptor = os.open(self.folder, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        except OSError as error:
            raise ImitationError(f'{partial}: not committed: {error.strerror}') from None

    def _partial(self, number: int) -> Path:
        return self.folder / f'round_{number:03d}{PARTIAL}'


def numbered(folder: Path, name: str) -> list[int]:
    """The numbers in the names of what lies in a folder, in order; none if it is not there.

    Args:
        folder: that may hold something else, such as copies.
        name: regular expression of a whole name, whose group is the number.
    """
    there = os.listdir(folder) if folder.is_dir() else ()
    return sorted(int(match[1]) for each in there if (match := re.fullmatch(name, each)))


def newest_version(folder: Path) -> Path:
    """`version_<n>` with the greatest number in a folder; the folder itself if there is none."""
    numbers = numbered(folder, VERSION)
    return folder / f'version_{numbers[-1]}' if numbers else folder


def claim_folder(folder: Path, settings: Mapping[str, Any], kind: str) -> None:
    """Makes a folder a run's, or makes sure that it is.

    Args:
        folder: of the run alone.
        settings: what the run depends on, as plain data.
        kind: of run, for messages.

    Raises:
        ImitationError: it holds another run or something else, or is not writable.
    """
    settings, path = json.loads(json.dumps(settings)), folder / RUN
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if path.exists():
            _check_settings(path, settings)
        elif others := sorted(each.name for each in folder.iterdir()):
            raise ImitationError(
                f'{folder}: holds {others[0]!r} and is no {kind}; valid: a new folder'
            )
        else:
            write_json(path, settings)
    except OSError as error:
        raise ImitationError(f'{folder}: {error.strerror}') from None


def _check_settings(path: Path, settings: Mapping[str, Any]) -> None:
    kept = read_json(path)
    differing = sorted(
        key for key in kept.keys() | settings.keys() if kept.get(key) != settings.get(key)
    )
    if differing:
        raise ImitationError(
            f'{path}: a run with other settings ({", ".join(differing)}); '
            'valid: the same settings, or another folder'
        )


def save_episodes(folder: Path, episodes: Sequence[Episode]) -> None:
    """Writes episodes' arrays into a folder, one file each."""
    folder.mkdir(parents=True, exist_ok=True)
    for index, episode in enumerate(episodes):
        save_frames(folder / f'{index:04d}{FRAMES_SUFFIX}', episode)


def save_frames(path: Path, episode: Episode) -> None:
    """Writes an episode's arrays into a file, whole or not at all."""
    arrays = {'tick_ns': episode.tick_ns, 'segment': episode.segment}
    arrays |= {f'observations/{name}': each for name, each in episode.observations.items()}
    arrays |= {f'actions/{name}': each for name, each in episode.actions.items()}
    document = {
        'outcome': episode.outcome,
        'left_out': dict(episode.left_out),
        'metadata': dict(episode.metadata),
    }
    contiguous = {name: array.copy(order='C') for name, array in arrays.items()}
    write_sealed(path, save, contiguous, document)


def load_episodes(folder: Path) -> list[Episode]:
    """Reads what `save_episodes` wrote.

    Raises:
        EpisodeError: a file is damaged.
    """
    return [load_frames(path) for path in sorted(folder.glob(f'*{FRAMES_SUFFIX}'))]


def load_frames(path: Path) -> Episode:
    """Reads what `save_frames` wrote.

    Raises:
        EpisodeError: the file is missing or damaged.
    """
    groups: dict[str, dict[str, Array]] = {'observations': {}, 'actions': {}}
    try:
        content, document = read_sealed(path)
        arrays = load(content)
        for name in arrays:
            group, separator, key = name.partition('/')
            if separator:
                groups[group][key] = arrays[name]
        return Episode(
            arrays['tick_ns'],
            groups['observations'],
            groups['actions'],
            arrays['segment'],
            **document,
        )
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise EpisodeError(f'{path}: {type(error).__name__}: {error}') from None


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object.

    Raises:
        ImitationError: there is none.
    """
    try:
        document = json.loads(path.read_text())
    except (OSError, ValueError, RecursionError) as error:
        raise ImitationError(f'{path}: {error}; valid: a file that a run wrote') from None
    if not isinstance(document, dict):
        raise ImitationError(f'{path}: {type(document).__name__}; valid: a JSON object')
    return document


def write_json(path: Path, document: Mapping[str, Any]) -> None:
    """So that a kill leaves the old content or the new."""
    replace_file(path, (json.dumps(document, indent=1) + '\n').encode())


def _round(path: Path) -> Round:
    try:
        return Round(**read_json(path))
    except TypeError as error:
        raise ImitationError(f'{path}: {error}; valid: a file that a DAgger run wrote') from None
