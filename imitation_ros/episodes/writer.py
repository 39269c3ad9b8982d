"""Records an episode: raw messages in, a rosbag2 folder out.

While it records, the folder's name ends in `.recording`. What was written is handed to the kernel
at most 100 ms later, so a `kill -9` costs no more than that, and put on the disk about each second
by a thread of its own, so a power cut costs little more. `stop` commits: index, `metadata.yaml`,
fsync, rename. A `.recording` folder that nobody holds locked was cut off; `repair` salvages it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
import fcntl
import os
from pathlib import Path
import re
import shutil
from threading import Event, Lock, Thread
import time
from types import TracebackType
from typing import BinaryIO

from imitation_ros import __version__
from imitation_ros.episodes.definitions import message_definition
from imitation_ros.episodes.info import (
    check_outcome,
    CONTRACT_ATTACHMENT,
    END_RECORD,
    EpisodeInfo,
    START_RECORD,
    Topic,
)
from imitation_ros.episodes.mcap_records import MAX_MESSAGE_BYTES
from imitation_ros.episodes.rosbag2 import mcap_name, offered_qos, write_metadata
from imitation_ros.errors import EpisodeError
from imitation_ros.frames.contract import Contract, QoS
from mcap.writer import CompressionType, Writer
import yaml

RECORDING = '.recording'
DISK_FULL = 'disk_full'
"""Empty file in a `.recording` folder, and the outcome of what is saved of it: why it ended."""
FLUSH_PERIOD_S = 0.1
SYNC_PERIOD_S = 1.0
CHUNK_BYTES = 1 << 20
MIN_FREE_BYTES = 1 << 30


class EpisodeWriter:
    """Writes one episode; safe to call from several threads.

    Used as a context, it keeps what was recorded, with the outcome 'unknown', where nobody called
    `stop` or `discard`.

    Args:
        folder: of the episode when it is done; must not exist yet.
        contract: what it is recorded for, None for none.
        info: task, operator, seed, notes.
        suffix: of the folder's name while it is being written.
        min_free_bytes: less on the disk shows in `low_space`; 0 for no limit.

    Attributes:
        folder: as given, absolute.
        error: what went wrong when writing, None while all is well. A full disk shows here even
            while no message comes, for the thread that flushes meets it.
        low_space: says that less than `min_free_bytes` are free, None as long as they are; there
            is room to stop.

    Raises:
        EpisodeError: the folder exists or cannot be made.
    """

    def __init__(
        self,
        folder: str | Path,
        contract: Contract | None = None,
        info: EpisodeInfo | None = None,
        suffix: str = RECORDING,
        min_free_bytes: int = 0,
    ) -> None:
        self.folder = Path(folder).absolute()
        self.error: EpisodeError | None = None
        self.low_space: EpisodeError | None = None
        self._min_free_bytes = min_free_bytes
        self._info = info or EpisodeInfo()
        if contract:
            self._info = replace(self._info, fingerprint=contract.fingerprint)
        self._working_folder = self.folder.with_name(self.folder.name + suffix)
        self._topics: list[Topic] = []
        self._messages: list[int] = []  # a topic
        self._schemas: dict[str, int] = {}
        self._first_ns, self._last_ns = 2**63, 0
        self._flushed_at = time.monotonic()
        self._unflushed = False
        self._lock = Lock()
        self._closed = Event()
        self._file = _create(self.folder, self._working_folder)
        self._mcap = Writer(
            self._file,
            chunk_size=CHUNK_BYTES,
            compression=CompressionType.ZSTD,
            enable_data_crcs=True,
        )
        with self._writing():
            self._mcap.start('ros2', f'imitation_ros {__version__}')
            self._mcap.add_metadata(START_RECORD, self._info.start_record())
        if contract:
            text = yaml.safe_dump(contract.to_document(), sort_keys=False)
            self.attach(CONTRACT_ATTACHMENT, 'application/yaml', text.encode())
        # A descriptor of its own: a copy would share the lock, and outlive the file.
        descriptor = os.open(self._working_folder / mcap_name(self.folder), os.O_RDONLY)
        Thread(target=self._keep_flushed, name='flush', daemon=True).start()
        Thread(target=self._keep_synced, args=(descriptor,), name='sync', daemon=True).start()

    def add_topic(
        self,
        name: str,
        type: str,
        qos: QoS | None = None,
        type_hash: str = '',
        contract_name: str = '',
    ) -> int:
        """Announces a topic; returns the number that `write` takes.

        Args:
            name: as it is on the graph, for example '/joint_states'.
            type: for example 'sensor_msgs/msg/JointState'.
            qos: what its publishers offer.
            type_hash: RIHS01 hash of the type, where it is known.
            contract_name: as the contract spells it; `name` without its leading slash if empty.

        Raises:
            EpisodeError: the definition of the type is not installed.
        """
        return self.copy_topic(
            Topic(
                name,
                type,
                message_definition(type),
                contract_name or name.lstrip('/'),
                offered_qos(qos or QoS()),
                type_hash,
            )
        )

    def copy_topic(self, topic: Topic) -> int:
        """Announces a topic with a definition that is at hand, for example from another bag."""
        metadata = {
            'offered_qos_profiles': topic.offered_qos,
            'topic_type_hash': topic.type_hash,
            'contract_name': topic.contract_name,
        }
        with self._writing():
            if topic.type not in self._schemas:
                self._schemas[topic.type] = self._mcap.register_schema(
                    topic.type, 'ros2msg', topic.definition.encode()
                )
            self._mcap.register_channel(topic.name, 'cdr', self._schemas[topic.type], metadata)
            self._topics.append(topic)
            self._messages.append(0)
        return len(self._topics)

    def attach(self, name: str, media_type: str, data: bytes) -> None:
        """Puts a small file into the bag."""
        with self._writing():
            self._mcap.add_attachment(0, 0, name, media_type, data)
            self._mcap.flush()

    def write(
        self, topic: int, data: bytes, log_time_ns: int, publish_time_ns: int, sequence: int = 0
    ) -> None:
        """Writes one message.

        Args:
            topic: number that `add_topic` gave.
            data: CDR, as it came.
            log_time_ns: when it was received, wall time.
            publish_time_ns: when it was published (the middleware's source timestamp), wall time.
            sequence: number that its publisher gave it, from 1 on; 0 where it is not known.

        Raises:
            EpisodeError: it cannot be written (now or before), or is too long to be read back.
        """
        if len(data) > MAX_MESSAGE_BYTES:
            name = self._topics[topic - 1].name
            raise EpisodeError(
                f'{self.folder}: {name}: a message of {len(data)} bytes; '
                f'at most {MAX_MESSAGE_BYTES}'
            )
        with self._writing():
            self._mcap.add_message(
                topic, log_time_ns, data, publish_time_ns, sequence & 0xFFFFFFFF
            )
            self._messages[topic - 1] += 1
            self._first_ns = min(self._first_ns, log_time_ns)
            self._last_ns = max(self._last_ns, log_time_ns)
            self._unflushed = True
            self._flush_if_due()

    def stop(self, outcome: str = 'unknown', notes: Mapping[str, str] | None = None) -> Path:
        """Commits the episode; returns its folder.

        Args:
            outcome: 'success', 'failure', 'discarded', 'unknown' or 'disk_full'.
            notes: what else came up while recording.

        Raises:
            EpisodeError: no such outcome, or it cannot be written. What was written so far
                remains in the `.recording` folder.
        """
        check_outcome(outcome)
        ending = replace(self._info, outcome=outcome).end_record(notes or {})
        with self._writing():
            self._mcap.flush()
            self._mcap.add_metadata(END_RECORD, ending)
            self._mcap.finish()
            self._file.flush()
            os.fsync(self._file.fileno())
            topics = [
                replace(topic, messages=count)
                for topic, count in zip(self._topics, self._messages)
            ]
            name = mcap_name(self.folder)
            first_ns = min(self._first_ns, self._last_ns)
            write_metadata(self._working_folder, name, topics, first_ns, self._last_ns)
            commit(self._working_folder, self.folder)
            self._close()
        return self.folder

    def discard(self, keep: bool = False) -> None:
        """Ends an episode that is not wanted: removed, or with `keep` there as 'discarded'."""
        folder = self.stop('discarded')
        if not keep:
            shutil.rmtree(folder)

    def abandon(self) -> None:
        """Stops as a kill would: what was written stays in the folder with the suffix."""
        with self._lock:
            self._close()

    def __enter__(self) -> EpisodeWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if not self._closed.is_set():
            self.stop()

    def _flush_if_due(self) -> None:
        now = time.monotonic()
        if self._unflushed and now - self._flushed_at >= FLUSH_PERIOD_S:
            self._mcap.flush()
            self._flushed_at, self._unflushed = now, False

    def _keep_flushed(self) -> None:
        """Hands the kernel what `write` has not; runs in a thread until the end."""
        while not self._closed.wait(FLUSH_PERIOD_S):
            with suppress(EpisodeError, ValueError):  # kept in `error`; or closed meanwhile
                with self._writing():
                    self._flush_if_due()

    def _keep_synced(self, descriptor: int) -> None:
        """Waits for the disk about each second; runs in a thread of its own until the end."""
        while not self._closed.wait(SYNC_PERIOD_S):
            self._look_for_space()
            with suppress(EpisodeError, ValueError):
                self._sync(descriptor)
        os.close(descriptor)

    def _look_for_space(self) -> None:
        try:
            check_free_space(self._working_folder, self._min_free_bytes)
        except (EpisodeError, OSError) as error:
            self.low_space = self.low_space or EpisodeError(str(error))

    def _sync(self, descriptor: int) -> None:
        """Waits for the disk, outside of the lock: writing goes on meanwhile."""
        try:
            os.fsync(descriptor)
        except OSError as error:
            with self._writing():
                raise error

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Holds the lock; an I/O error in the block ends the recording and is told ever after."""
        with self._lock:
            if self.error:
                raise self.error
            if self._closed.is_set():
                raise ValueError(f'{self.folder}: the episode is closed')
            try:
                yield
            except OSError as error:
                reason = error.strerror or str(error)
                self.error = EpisodeError(f'{self._working_folder}: cannot be written: {reason}')
                self._close()
                if error.errno is not None:  # else it is our own: the name is taken
                    with suppress(OSError):  # an empty file needs no room, as a rule
                        (self._working_folder / DISK_FULL).touch()
                raise self.error from None
            except BaseException:
                # An exception out of a signal handler may have left half a message behind.
                self.error = EpisodeError(f'{self._working_folder}: interrupted while writing')
                self._close()
                raise

    def _close(self) -> None:
        self._closed.set()
        with suppress(OSError):
            self._file.close()


def commit(working_folder: Path, folder: Path) -> None:
    """Gives a finished episode its name, in one step that a power cut cannot halve.

    Raises:
        FileExistsError: the name is taken.
    """
    sync_folder(working_folder)
    if folder.exists():
        raise FileExistsError(None, f'{folder} exists')
    working_folder.rename(folder)
    sync_folder(folder.parent)


def next_episode_folder(dataset: str | Path) -> Path:
    """The name after the last one in a dataset folder: 'episode_000042'."""
    numbers = [
        int(match[1])
        for path in Path(dataset).glob('episode_*')
        if (match := re.match(r'episode_(\d{1,9})(\.|$)', path.name))
    ]
    return Path(dataset) / f'episode_{max(numbers, default=-1) + 1:06d}'


def check_free_space(folder: str | Path, minimum_bytes: int = MIN_FREE_BYTES) -> int:
    """Returns how many bytes are free where `folder` is or would be.

    Raises:
        EpisodeError: fewer than `minimum_bytes`.
    """
    path = Path(folder).absolute()
    while not path.exists():
        path = path.parent
    free = shutil.disk_usage(path).free
    if free < minimum_bytes:
        raise EpisodeError(
            f'{folder}: {free / 1e9:.2f} GB free on the disk; at least {minimum_bytes / 1e9:.2f}'
        )
    return free


def _create(folder: Path, working_folder: Path) -> BinaryIO:
    """Makes the working folder and its MCAP file, which stays locked while it is open."""
    if folder.exists():
        raise EpisodeError(f'{folder} exists; an episode is never overwritten')
    if working_folder.exists():
        raise EpisodeError(f'{working_folder} exists: being recorded, or cut off')
    try:
        working_folder.mkdir(parents=True)
        file = open(working_folder / mcap_name(folder), 'xb')  # noqa: SIM115
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        sync_folder(working_folder)  # or a power cut leaves the synced file without a name
        sync_folder(folder.parent)
    except OSError as error:
        raise EpisodeError(f'{working_folder}: cannot be made: {error.strerror}') from None
    return file


def sync_folder(folder: Path) -> None:
    """Waits until the names in a folder are on the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
