"""The episode that is being recorded."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
import json
from pathlib import Path

from imitation_ros.episodes.repair import repair
from imitation_ros.episodes.writer import EpisodeWriter, RECORDING
from imitation_ros.errors import EpisodeError
from imitation_ros.nodes._recorded_topics import Offer
from imitation_ros.nodes._take import Taken
from imitation_ros.nodes._traffic import Traffic


class Recording:
    """Puts messages into an episode, announcing a topic with its first one at the latest.

    Args:
        writer: of the episode.
        topics: what is to be recorded.
        offer: says how a topic is published, None while its type is not known.

    Raises:
        EpisodeError: a topic cannot be recorded; nothing is left of the episode.
    """

    def __init__(
        self, writer: EpisodeWriter, topics: list[str], offer: Callable[[str], Offer | None]
    ) -> None:
        self._writer, self._offer = writer, offer
        self._numbers: dict[str, int] = {}
        self._written: Counter[str] = Counter()
        try:
            for topic in topics:
                if offer(topic) is not None:
                    self._announce(topic)
        except EpisodeError:
            writer.discard()
            raise

    @property
    def folder(self) -> Path:
        """Of the episode when it is done."""
        return self._writer.folder

    @property
    def broken(self) -> bool:
        """Whether nothing more can be written."""
        return self._writer.error is not None

    def write(self, taken: Taken) -> None:
        """Writes one message.

        Raises:
            EpisodeError: it cannot be written.
        """
        number = self._numbers.get(taken.topic) or self._announce(taken.topic)
        self._writer.write(
            number, taken.data, taken.received_ns, taken.source_ns, taken.sequence or 0
        )
        self._written[taken.topic] += 1

    def written(self, topic: str) -> int:
        """How many messages of a topic the file took."""
        return self._written[topic]

    def check(self) -> None:
        """Raises EpisodeError if the disk is about to be full, or refused what was written."""
        for error in (self._writer.error, self._writer.low_space):
            if error is not None:
                raise error

    def stop(self, outcome: str, counts: Mapping[str, Mapping[str, object]]) -> Path:
        """Commits the episode with the counts of its topics.

        Raises:
            EpisodeError: it cannot be written; `salvage` then keeps what can be kept.
        """
        return self._writer.stop(outcome, {'traffic': json.dumps(counts)})

    def salvage(self, counts: Mapping[str, Mapping[str, object]]) -> str:
        """Makes what was written before a failure readable; says where it is."""
        try:
            if self._writer.error is None:
                self.stop('disk_full' if self._writer.low_space else 'unknown', counts)
            elif not self.folder.exists():
                repaired = repair(self.folder.with_name(self.folder.name + RECORDING))
                if repaired.kept or not repaired.episode:
                    return str(repaired)
        except EpisodeError as error:
            return f'what came before is repaired at the next start ({error})'
        return f'what came before is in {self.folder}'

    def _announce(self, name: str) -> int:
        offer = self._offer(name)
        if offer is None:
            raise ValueError(f'{name}: a message of a topic that is not subscribed')
        self._numbers[name] = self._writer.add_topic(
            offer.name, offer.type, offer.qos, offer.type_hash, name
        )
        return self._numbers[name]


def in_words(traffic: Mapping[str, Traffic]) -> str:
    """How many messages came in, and how many are missing."""
    lost = {name: topic.lost for name, topic in traffic.items() if topic.lost and topic.messages}
    unknown = [name for name, topic in traffic.items() if topic.lost is None]
    words = [f'messages: {sum(topic.messages for topic in traffic.values())}']
    words += [f'lost on {name}: {count}' for name, count in lost.items()]
    words += [f'lost on {name}: unknown' for name in unknown]
    return ', '.join(words)
