"""What an episode says about itself: who did what, with which outcome; and its topics."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
import re
import zlib

from imitation_ros import __version__
from imitation_ros.errors import EpisodeError, one_of

OUTCOMES = ('success', 'failure', 'discarded', 'unknown', 'disk_full')
START_RECORD, END_RECORD = 'imitation_ros.episode', 'imitation_ros.outcome'
CONTRACT_ATTACHMENT = 'contract.yaml'
FORMAT = 1
"""Of an episode's records and notes; grows when an older reader would misread a newer one."""


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec='seconds')


@dataclass(frozen=True)
class EpisodeInfo:
    """Kept inside the bag, in two metadata records: one written at the start, one at the end.

    Attributes:
        task: what was to be done.
        operator: who or what demonstrated.
        seed: of the simulator's reset, None where there was none.
        lockstep: whether freshness was equality of stamps.
        fingerprint: of the contract it was recorded with, '' in a foreign bag.
        started: UTC, ISO 8601.
        version: of this package.
        outcome: one of `OUTCOMES`.
        truncated: whether the end is missing: the recording was cut off, then repaired.
        notes: whatever else is worth keeping, for people and for later analysis.
    """

    task: str = ''
    operator: str = ''
    seed: int | None = None
    lockstep: bool = False
    fingerprint: str = ''
    started: str = field(default_factory=_now)
    version: str = __version__
    outcome: str = 'unknown'
    truncated: bool = False
    notes: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_outcome(self.outcome)

    def start_record(self) -> dict[str, str]:
        """What is known when the recording starts."""
        record = {
            'format': str(FORMAT),
            'task': self.task,
            'operator': self.operator,
            'seed': '' if self.seed is None else str(self.seed),
            'lockstep': str(self.lockstep).lower(),
            'fingerprint': self.fingerprint,
            'started': self.started,
            'version': self.version,
        }
        return _with_crc(record | _as_notes(self.notes))

    def end_record(self, notes: Mapping[str, str]) -> dict[str, str]:
        """What is known when it ends; `notes` are those that came up on the way."""
        record = {'outcome': self.outcome, 'truncated': str(self.truncated).lower()}
        return _with_crc(record | _as_notes(notes))

    @classmethod
    def from_records(cls, records: Mapping[str, Mapping[str, str]]) -> EpisodeInfo:
        """Reads the metadata records of a bag; a foreign bag gives the defaults.

        Raises:
            EpisodeError: a record's checksum does not match what it says, or a newer version of
                this package wrote it.
        """
        known: dict[str, str] = {}
        for name in (START_RECORD, END_RECORD):
            if name in records and records[name] != _with_crc(records[name]):
                raise EpisodeError(f'metadata record {name!r} is damaged')
            known |= records.get(name, {})
        if known.get('format', '1') != str(FORMAT):
            found = known['format'][:20]
            raise EpisodeError(f'format {found!r}; valid: {FORMAT}, or a newer imitation_ros')
        return cls(
            task=known.get('task', ''),
            operator=known.get('operator', ''),
            seed=_seed(known.get('seed', '')),
            lockstep=known.get('lockstep') == 'true',
            fingerprint=known.get('fingerprint', ''),
            started=known.get('started', ''),
            version=known.get('version', ''),
            outcome=known.get('outcome', 'unknown'),
            truncated=known.get('truncated') == 'true',
            notes={key[5:]: value for key, value in known.items() if key.startswith('note.')},
        )


@dataclass(frozen=True)
class Topic:
    """One topic of a bag.

    Attributes:
        name: as it was on the graph, for example '/robot/joint_states'.
        type: for example 'sensor_msgs/msg/JointState'.
        definition: text of the type and of its parts ('ros2msg'), '' where the bag has none.
        contract_name: as the contract spells it, '' where the recorder did not say.
        offered_qos: YAML text, as rosbag2 writes it.
        type_hash: RIHS01 hash of the type, '' where it is unknown.
        messages: how many the bag holds.
    """

    name: str
    type: str
    definition: str
    contract_name: str = ''
    offered_qos: str = ''
    type_hash: str = ''
    messages: int = 0


def check_outcome(outcome: str) -> None:
    """Raises EpisodeError unless `outcome` is one of `OUTCOMES`."""
    if outcome not in OUTCOMES:
        raise EpisodeError(f'outcome {outcome!r}; {one_of(outcome, OUTCOMES)}')


def _seed(text: str) -> int | None:
    if text and not re.fullmatch(r'-?\d{1,20}', text):
        raise EpisodeError(f'seed {text[:20]!r}; valid: a whole number, or nothing')
    return int(text) if text else None


def _as_notes(notes: Mapping[str, str]) -> dict[str, str]:
    return {f'note.{key}': value for key, value in notes.items()}


def _with_crc(record: Mapping[str, str]) -> dict[str, str]:
    """The record with a checksum of its own: MCAP gives metadata none."""
    body = {key: value for key, value in record.items() if key != 'crc32'}
    text = '\0'.join(f'{key}\0{value}' for key, value in sorted(body.items()))
    return body | {'crc32': f'{zlib.crc32(text.encode()):08x}'}
