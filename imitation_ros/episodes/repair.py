"""Recordings that a crash, a kill or a full disk cut off: found, salvaged and marked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, ExitStack
from dataclasses import dataclass, replace
import fcntl
from itertools import count
import json
from pathlib import Path
import shutil

from imitation_ros.episodes.accounting import account, Numbers
from imitation_ros.episodes.reader import EpisodeReader
from imitation_ros.episodes.rosbag2 import check_inside, mcap_name, METADATA, write_metadata
from imitation_ros.episodes.writer import (
    commit,
    DISK_FULL,
    EpisodeWriter,
    RECORDING,
    sync_folder,
)
from imitation_ros.errors import EpisodeError

REPAIRING, DAMAGED = '.repairing', '.damaged'


@dataclass(frozen=True)
class Repaired:
    """What became of a recording that was cut off.

    Attributes:
        episode: its folder now; None where it held no message that can be read.
        messages: how many were saved.
        lost_bytes: of the file that could not be read.
        kept: where the recording is now; None where it was removed, for nothing is in it beside
            what was saved and the end that a kill cuts off.
    """

    episode: Path | None
    messages: int
    lost_bytes: int
    kept: Path | None = None

    def __str__(self) -> str:
        lost = f'{self.lost_bytes} bytes'
        if self.episode is None and self.kept is None:
            return f'an empty recording was removed ({lost} of it unreadable)'
        if self.episode is None:
            return f'{self.kept} is damaged, and kept: no message in it can be read ({lost})'
        saved = f'{self.episode} was cut off: {self.messages} messages saved, {lost}'
        if self.kept is None:
            return f'{saved} at its end unreadable'
        return f'{saved} unreadable; it is damaged, and what it was is kept in {self.kept}'


def find_unfinished(dataset: str | Path) -> list[Path]:
    """The recordings in a dataset folder that were cut off; not those that still go on."""
    folders = sorted(Path(dataset).glob(f'*{RECORDING}'))
    return [folder for folder in folders if _is_folder(folder) and not _in_use(folder)]


def repair_dataset(dataset: str | Path) -> Iterator[Repaired]:
    """Repairs every recording in a dataset folder that was cut off."""
    for folder in find_unfinished(dataset):
        yield repair(folder)


def repair(recording: str | Path) -> Repaired:
    """Makes an episode of a `.recording` folder that was cut off.

    Every message that can be read is kept; the episode is marked `truncated`, its outcome is
    'unknown', or 'disk_full' where that is why it ended. Of a recording that had ended and lacks
    only its last step, the renaming, everything is kept as it is. One that is damaged otherwise
    than a kill does is kept beside what was saved of it, under the suffix `.damaged`.

    Raises:
        EpisodeError: it is still being written, the episode exists already, or the disk refuses.
    """
    recording = Path(recording).absolute()
    if not recording.name.endswith(RECORDING) or not _is_folder(recording):
        raise EpisodeError(f'{recording}: not a {RECORDING} folder')
    folder = recording.with_name(recording.name[: -len(RECORDING)])
    try:
        with _locked(recording):
            if not any(recording.glob('*.mcap')):
                return _remove_empty(recording)
            if folder.exists():
                return _remove_leftover(recording, folder)
            return _finish(recording, folder) or _salvage(recording, folder)
    except BlockingIOError:
        raise EpisodeError(f'{recording} is still being recorded, or being repaired') from None
    except OSError as error:
        raise EpisodeError(f'{recording}: cannot be repaired: {error.strerror}') from None


def _remove_empty(recording: Path) -> Repaired:
    """A kill or a full disk came before the file; raises OSError where something else is there."""
    (recording / DISK_FULL).unlink(missing_ok=True)
    recording.rmdir()
    return Repaired(None, 0, 0)


def _finish(recording: Path, folder: Path) -> Repaired | None:
    """Takes the last steps for a recording that is whole; None if it is not."""
    mcap = recording / mcap_name(folder)
    check_inside(mcap, recording)
    try:
        reader = EpisodeReader(mcap)
        for _ in reader.messages():
            pass
    except EpisodeError:
        return None
    write_metadata(recording, mcap.name, reader.topics.values(), *reader.span_ns)
    (recording / DISK_FULL).unlink(missing_ok=True)
    commit(recording, folder)
    return Repaired(folder, _messages(reader), 0)


def _salvage(recording: Path, folder: Path) -> Repaired:
    reader = EpisodeReader(recording, salvage=True)
    messages = _messages(reader)
    if not messages:
        return Repaired(None, 0, reader.lost_bytes, _clear(recording, folder, reader))
    copy = folder.with_name(folder.name + REPAIRING)
    shutil.rmtree(copy, ignore_errors=True)
    outcome = 'disk_full' if (recording / DISK_FULL).exists() else 'unknown'
    info = replace(reader.info, truncated=True, outcome=outcome)
    writer = EpisodeWriter(folder, info=info, suffix=REPAIRING)
    try:
        for name, content in reader.attachments.items():
            writer.attach(name, '', content)
        topics = {name: writer.copy_topic(topic) for name, topic in reader.topics.items()}
        numbers = {name: Numbers() for name in topics}
        for topic, data, log_ns, publish_ns, sequence in reader.messages():
            writer.write(topics[topic], data, log_ns, publish_ns, sequence)
            numbers[topic].add(sequence, None)
        writer.stop(outcome, _notes(reader, numbers))
    except BaseException:  # half a copy must not look like the whole, nor take the room
        writer.abandon()
        shutil.rmtree(copy, ignore_errors=True)
        raise
    return Repaired(folder, messages, reader.lost_bytes, _clear(recording, folder, reader))


def _clear(recording: Path, folder: Path, reader: EpisodeReader) -> Path | None:
    """Removes a recording that is saved; of one that is damaged, returns where it is kept."""
    if not reader.damaged:
        shutil.rmtree(recording)
        return None
    names = (f'{folder.name}{f".{number}" if number else ""}{DAMAGED}' for number in count())
    kept = next(path for path in map(folder.with_name, names) if not path.exists())
    (recording / METADATA).unlink(missing_ok=True)  # with it, it would pass for an episode
    recording.rename(kept)
    sync_folder(kept.parent)
    return kept


def _notes(reader: EpisodeReader, numbers: Mapping[str, Numbers]) -> dict[str, str]:
    """What the recorder could not say any more; the file does not say who published what."""
    counts = {
        reader.topics[name].contract_name or name: account(each, each.messages)
        for name, each in numbers.items()
    }
    return {
        'repair': f'{reader.lost_bytes} bytes could not be read',
        'traffic': json.dumps(counts),
    }


def _remove_leftover(recording: Path, folder: Path) -> Repaired:
    """The repair itself was cut off, after it had saved everything and before it cleaned up."""
    saved, left = EpisodeReader(folder), EpisodeReader(recording, salvage=True)
    same = saved.info.truncated and saved.info.started == left.info.started
    if not same or _messages(saved) != _messages(left):
        raise EpisodeError(f'{folder} exists; {recording} must be moved or renamed')
    kept = _clear(recording, folder, left)
    return Repaired(folder, _messages(saved), left.lost_bytes, kept)


def _messages(reader: EpisodeReader) -> int:
    return sum(topic.messages for topic in reader.topics.values())


def _is_folder(path: Path) -> bool:
    """Not a link: what a repair saves it removes."""
    return path.is_dir() and not path.is_symlink()


def _in_use(recording: Path) -> bool:
    try:
        with _locked(recording):
            return False
    except BlockingIOError:
        return True
    except OSError:  # it cannot be told; `repair` says why
        return False


@contextmanager
def _locked(recording: Path) -> Iterator[None]:
    """Holds the lock that a writer holds; raises BlockingIOError if somebody else does."""
    with ExitStack() as stack:
        for path in recording.glob('*.mcap'):
            # An exclusive lock over NFS asks for a file that is open for writing.
            file = stack.enter_context(open(path, 'r+b'))
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
