"""Reads episodes: our own and any rosbag2 folder of MCAP files."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import replace
import heapq
from operator import attrgetter
from pathlib import Path
from typing import Any, NamedTuple

from imitation_ros.episodes.info import (
    CONTRACT_ATTACHMENT,
    END_RECORD,
    EpisodeInfo,
    START_RECORD,
    Topic,
)
from imitation_ros.episodes.mcap_file import McapFile
from imitation_ros.episodes.mcap_records import Schema
from imitation_ros.episodes.rosbag2 import check_inside, mcap_files, mcap_name, METADATA
from imitation_ros.errors import ContractError, EpisodeError, one_of
from imitation_ros.frames.contract import Contract, parse_contract
from mcap.records import Schema as McapSchema
from mcap_ros2.decoder import DecoderFactory


class Message(NamedTuple):
    """One recorded message.

    Attributes:
        topic: name in the bag.
        data: CDR.
        log_time_ns: when it was received, wall time.
        publish_time_ns: when it was published, wall time.
        sequence: number that its publisher gave it; 0 if unknown.
    """

    topic: str
    data: bytes
    log_time_ns: int
    publish_time_ns: int
    sequence: int


class EpisodeReader:
    """One episode, opened and checked; its messages are read when they are asked for.

    Args:
        path: a rosbag2 folder, or an `.mcap` file.
        salvage: read what can be read of a recording that was cut off.

    Attributes:
        path: as given.
        info: who recorded what, with which outcome; defaults for a foreign bag.
        topics: name → type, definition, QoS and number of messages.
        attachments: name → content.
        lost_bytes: that could not be read; 0 without `salvage`.
        damaged: whether more is wrong than the missing end that a kill explains; False without
            `salvage`.

    Raises:
        EpisodeError: no bag, damaged, cut off, or beyond the limits of `mcap_file`.
    """

    def __init__(self, path: str | Path, salvage: bool = False) -> None:
        self.path = Path(path)
        self._files = _open(self.path, salvage)
        self.attachments = {k: v for file in self._files for k, v in file.attachments.items()}
        self.lost_bytes = sum(file.lost_bytes for file in self._files)
        self.damaged = any(file.damaged for file in self._files)
        records = {k: v for file in self._files for k, v in file.metadata.items()}
        try:
            self.info = EpisodeInfo.from_records(records)
        except EpisodeError as error:
            if not salvage:
                raise EpisodeError(f'{self.path}: {error}') from None
            self.info, self.damaged = EpisodeInfo(started=''), True
        self.topics: dict[str, Topic] = {}
        for file in self._files:
            for number in file.channels:
                self._add_topic(file, number)
        # Nothing else tells a flipped bit in the name of a record.
        if salvage and any(topic.messages for topic in self.topics.values()):
            self.damaged |= not {START_RECORD} <= records.keys() <= {START_RECORD, END_RECORD}
        self._decoders: dict[str, Any] = {}

    @property
    def files(self) -> list[Path]:
        """The MCAP files of the bag."""
        return [file.path for file in self._files]

    @property
    def contract(self) -> Contract | None:
        """What the episode was recorded for; None in a foreign bag.

        Raises:
            EpisodeError: the contract inside is not valid here.
        """
        text = self.attachments.get(CONTRACT_ATTACHMENT)
        if text is None:
            return None
        try:
            return parse_contract(text.decode())
        except (ContractError, UnicodeDecodeError) as error:
            raise EpisodeError(f'{self.path}: the contract inside: {error}') from None

    @property
    def span_ns(self) -> tuple[int, int]:
        """Log times of the first and the last message; zeros without any."""
        spans = [file.span_ns for file in self._files if file.span_ns] or [(0, 0)]
        return min(start for start, _ in spans), max(end for _, end in spans)

    def find_topic(self, contract_name: str) -> Topic | None:
        """The topic that a contract calls `contract_name`, or None.

        It is the one of which the recorder said so, else the one of that name, else, in a foreign
        bag, the only one whose name ends so, in whatever namespace.
        """
        topics = list(self.topics.values())
        name = contract_name.lstrip('/')
        foreign = [topic for topic in topics if not topic.contract_name]
        for candidates in (
            [topic for topic in topics if topic.contract_name.lstrip('/') == name],
            [topic for topic in topics if topic.name.lstrip('/') == name],
            [topic for topic in foreign if topic.name.endswith(f'/{name}')],
        ):
            if len(candidates) == 1:
                return candidates[0]
        return None

    def topic(self, contract_name: str, type: str) -> Topic:
        """The topic that a contract calls `contract_name`.

        Raises:
            EpisodeError: there is none, or it has another type.
        """
        topic = self.find_topic(contract_name)
        if topic is None:
            names = one_of(contract_name, self.topics)
            raise EpisodeError(f'{self.path}: no topic {contract_name!r}; {names}')
        if topic.type != type:
            raise EpisodeError(
                f'{self.path}: {topic.name} holds {topic.type}; the contract says {type}'
            )
        return topic

    def messages(self, topics: Collection[str] | None = None) -> Iterator[Message]:
        """All messages, or those of some topics, by log time.

        Raises:
            EpisodeError: the bag is damaged where it is read.
        """
        streams = (self._file_messages(file, topics) for file in self._files)
        return heapq.merge(*streams, key=attrgetter('log_time_ns'))

    def decode(self, message: Message) -> Any:
        """The message as an object with the fields of its type.

        Raises:
            EpisodeError: the bytes do not fit the definition that the bag holds.
        """
        topic = self.topics[message.topic]
        try:
            if topic.name not in self._decoders:
                schema = McapSchema(1, topic.definition.encode(), 'ros2msg', topic.type)
                self._decoders[topic.name] = DecoderFactory().decoder_for('cdr', schema)
            return self._decoders[topic.name](message.data)
        except Exception as error:  # the decoder lets any kind through
            raise EpisodeError(
                f'{self.path}: {topic.name}: {len(message.data)} bytes are not a {topic.type}: '
                f'{type(error).__name__}: {error}'
            ) from None

    def _file_messages(self, file: McapFile, topics: Collection[str] | None) -> Iterator[Message]:
        names = {
            number: channel.topic
            for number, channel in file.channels.items()
            if topics is None or channel.topic in topics
        }
        for raw in file.messages(None if topics is None else names.keys()):
            yield Message(
                names[raw.channel_id],
                raw.data,
                raw.log_time_ns,
                raw.publish_time_ns,
                raw.sequence,
            )

    def _add_topic(self, file: McapFile, number: int) -> None:
        channel = file.channels[number]
        schema = file.schemas.get(channel.schema_id, Schema('', '', b''))
        metadata = dict(channel.metadata)
        topic = Topic(
            channel.topic,
            schema.name,
            schema.data.decode(errors='replace') if schema.encoding == 'ros2msg' else '',
            metadata.get('contract_name', ''),
            metadata.get('offered_qos_profiles', ''),
            metadata.get('topic_type_hash', ''),
            (file.counts or {}).get(number, 0),
        )
        known = self.topics.setdefault(topic.name, replace(topic, messages=0))
        if (known.type, known.definition) != (topic.type, topic.definition):
            raise EpisodeError(f'{self.path}: {topic.name} has two types')
        self.topics[topic.name] = replace(known, messages=known.messages + topic.messages)


def _open(path: Path, salvage: bool) -> list[McapFile]:
    if path.suffix == '.mcap':
        return [McapFile(path, salvage)]
    if salvage and (paths := sorted(path.glob('*.mcap'))):
        return [_file(path, name, salvage) for name in paths]
    own = path / mcap_name(path)
    if own.exists() and (path / METADATA).exists():
        file = _file(path, own)
        if START_RECORD in file.metadata:  # ours is one file: no need to parse slow YAML
            return [file]
    return [_file(path, name) for name in mcap_files(path)]


def _file(folder: Path, path: Path, salvage: bool = False) -> McapFile:
    check_inside(path, folder)
    return McapFile(path, salvage)
