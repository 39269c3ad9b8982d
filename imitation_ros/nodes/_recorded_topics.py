"""Which topics an episode consists of, subscribed as they are offered, and what is missing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from imitation_ros.errors import GraphError
from imitation_ros.frames.contract import Contract, QoS
from imitation_ros.frames.status import action_topic, STATUS_TOPICS, STATUS_TYPE
from imitation_ros.nodes._take import adapted_qos, Taker
from imitation_ros.nodes._traffic import Traffic
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy

DEPTH, IMAGE_DEPTH = 1000, 100
"""Messages that may wait for us: 2 s at 500 Hz, 3 s of a camera."""
SOURCES = ('policy', 'teleop')
RELIABLE = QoS()


@dataclass(frozen=True)
class RecordedTopic:
    """One topic to be recorded.

    Attributes:
        name: as the contract spells it.
        type: '' until somebody publishes it, for `record_too`.
        role: 'observation', 'executed', 'policy', 'teleop', 'clock' or 'record_too'.
        max_age_s: of an observation.
        qos: what it is subscribed with while nobody publishes it.
    """

    name: str
    type: str
    role: str
    max_age_s: float | None = None
    qos: QoS = RELIABLE


@dataclass(frozen=True)
class Offer:
    """How a topic is published: on the graph, by name, type, its hash and QoS."""

    name: str
    type: str
    type_hash: str
    qos: QoS


def recorded_topics(contract: Contract, simulated_time: bool) -> Iterator[RecordedTopic]:
    """What the contract, its action streams and simulated time ask for; some may come twice."""
    for source in contract.sources:
        yield RecordedTopic(source.topic, source.type, 'observation', source.max_age_s, source.qos)
    for stream, status in STATUS_TOPICS.items():
        for part in contract.actions.values():
            qos = part.qos if stream == 'executed' else RELIABLE
            yield RecordedTopic(action_topic(stream, part.topic), part.type, stream, qos=qos)
        yield RecordedTopic(status, STATUS_TYPE, stream)
    if simulated_time:
        yield RecordedTopic('/clock', 'rosgraph_msgs/msg/Clock', 'clock')
    for topic in contract.record_too:
        yield RecordedTopic(topic, '', 'record_too')


class RecordedTopics(Mapping[str, RecordedTopic]):
    """The topics of a contract, by name, and their subscriptions.

    Args:
        node: who subscribes.
        contract: names the topics.
        simulated_time: whether `/clock` is one of them.
        taker: gets the subscriptions.
    """

    def __init__(self, node: Node, contract: Contract, simulated_time: bool, taker: Taker) -> None:
        self._node, self._taker = node, taker
        self._by_name: dict[str, RecordedTopic] = {}
        self._unusable: dict[str, str] = {}
        known = set()
        for topic in recorded_topics(contract, simulated_time):
            resolved = node.resolve_topic_name(topic.name)
            if resolved not in known:
                known.add(resolved)
                self._by_name[topic.name] = topic
        self._needs_source = any(part.label == 'command' for part in contract.actions.values())

    def __getitem__(self, name: str) -> RecordedTopic:
        return self._by_name[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._by_name)

    def __len__(self) -> int:
        return len(self._by_name)

    def adapt(self, recording: bool) -> None:
        """Subscribes each topic as its publishers offer it.

        Args:
            recording: leave what works as it is: a change may cost messages.
        """
        for topic in self.values():
            offers = self._node.get_publishers_info_by_topic(self._resolved(topic))
            type = topic.type or (offers[0].topic_type if offers else '')
            if not type:
                continue
            profiles = [offer.qos_profile for offer in offers if offer.topic_type == type]
            wanted = adapted_qos(profiles, topic.qos, _depth(type))
            present = self._taker.qos(topic.name)
            if present is None or (
                not _same(present, wanted) and not (recording and _works(present, wanted))
            ):
                self._subscribe(topic.name, type, wanted)

    def renew_latched(self) -> None:
        """Subscribes latched topics anew, so that an episode holds what was said before it."""
        for name in self:
            qos = self._taker.qos(name)
            if qos is not None and qos.durability == DurabilityPolicy.TRANSIENT_LOCAL:
                self._subscribe(name, self._taker.type(name), qos)

    def _subscribe(self, name: str, type: str, qos: QoSProfile) -> None:
        try:
            self._taker.subscribe(name, type, qos)
            self._unusable.pop(name, None)
        except GraphError as error:  # of record_too: a type that is not installed here
            self._unusable[name] = str(error)

    def missing(self, traffic: Mapping[str, Traffic], lockstep: bool, now_ns: int) -> list[str]:
        """What an episode cannot begin without, in words; empty when all is there.

        Args:
            traffic: topic → what came in so far.
            lockstep: an observation needs to be there, however old it is.
            now_ns: wall time.
        """
        needed = ['observation', 'clock', *(['executed'] if self._needs_source else [])]
        missing = [
            f'{topic.role} {topic.name}: {problem}'
            for topic in self.values()
            if topic.role in needed
            and (problem := self._problem(topic, traffic[topic.name], lockstep, now_ns))
        ]
        if self._needs_source and not self._has_source():
            lacking = '; '.join(f'{s} lacks {", ".join(self._unmatched(s))}' for s in SOURCES)
            missing.append(f'no source of actions ({lacking})')
        return missing + [f'record_too {name}: {why}' for name, why in self._unusable.items()]

    def absent(self) -> list[str]:
        """The `record_too` topics that nobody publishes."""
        return [
            topic.name
            for topic in self.values()
            if topic.role == 'record_too' and not self._taker.publishers(topic.name)
        ]

    def takes_part(self, stream: str) -> bool:
        """Whether somebody publishes the status of a stream."""
        return self._taker.publishers(STATUS_TOPICS[stream]) > 0

    def offer(self, name: str) -> Offer | None:
        """How a topic is published now; None while its type is not known."""
        topic = self[name]
        resolved, type = self._resolved(topic), topic.type or self._taker.type(name)
        if not type:
            return None
        for info in self._node.get_publishers_info_by_topic(resolved):
            if info.topic_type == type:
                return Offer(
                    resolved, type, str(info.topic_type_hash), _contract_qos(info.qos_profile)
                )
        return Offer(resolved, type, '', topic.qos)

    def _problem(self, topic: RecordedTopic, traffic: Traffic, lockstep: bool, now_ns: int) -> str:
        if not self._taker.publishers(topic.name):
            return self._unmatched_reason(topic)
        if topic.role == 'executed':
            return ''
        if traffic.last_ns is None:
            return 'no message yet'
        age_s = traffic.age_ns(now_ns) / 1e9
        if topic.max_age_s is None or lockstep or abs(age_s) <= topic.max_age_s:
            return ''
        if age_s < 0.0:
            return f'the clock was set back, and none came since (by {-age_s:.2f} s)'
        return f'the newest message came {age_s:.2f} s ago (at most {topic.max_age_s} s)'

    def _unmatched_reason(self, topic: RecordedTopic) -> str:
        offers = self._node.get_publishers_info_by_topic(self._resolved(topic))
        others = {offer.topic_type for offer in offers} - {topic.type}
        if others:
            return f'published as {", ".join(sorted(others))}, not as {topic.type}'
        return f'no publisher of {topic.type}'

    def _has_source(self) -> bool:
        return any(not self._unmatched(stream) for stream in SOURCES)

    def _unmatched(self, stream: str) -> list[str]:
        return [
            topic.name
            for topic in self.values()
            if topic.role == stream and not self._taker.publishers(topic.name)
        ]

    def _resolved(self, topic: RecordedTopic) -> str:
        return str(self._node.resolve_topic_name(topic.name))


def _depth(type: str) -> int:
    return IMAGE_DEPTH if type.endswith('Image') else DEPTH


def _same(one: QoSProfile, other: QoSProfile) -> bool:
    return bool(one.reliability == other.reliability and one.durability == other.durability)


def _works(present: QoSProfile, strongest: QoSProfile) -> bool:
    """Whether a subscription asks for no more than the publishers can give."""
    reliable, latched = ReliabilityPolicy.RELIABLE, DurabilityPolicy.TRANSIENT_LOCAL
    too_reliable = present.reliability == reliable and strongest.reliability != reliable
    too_latched = present.durability == latched and strongest.durability != latched
    return not (too_reliable or too_latched)


def _contract_qos(profile: QoSProfile) -> QoS:
    latched = profile.durability == DurabilityPolicy.TRANSIENT_LOCAL
    reliable = profile.reliability == ReliabilityPolicy.RELIABLE
    return QoS(
        reliability='reliable' if reliable else 'best_effort',
        durability='transient_local' if latched else 'volatile',
        depth=min(10000, max(1, profile.depth)),  # discovery does not tell: 0
    )
