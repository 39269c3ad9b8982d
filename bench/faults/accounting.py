"""Accounting: messages published, written and lost, over a recorder that is stopped now and then.

A process of its own publishes bursts, best effort and reliable; one topic has two publishers,
another's is restarted, and the recorder is stopped by SIGSTOP, so that queues overflow. What each
publisher counted is held against the episode's metadata and against the file. Each message carries
its publisher's number inside, so that the loss is counted twice, by two ways. What the metadata
calls unknown although the middleware tells it is unexplained, all of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
import json
from multiprocessing.connection import Connection
import os
from pathlib import Path
import random
import signal
import tempfile
import time
from typing import Any

from imitation_ros.episodes.reader import EpisodeReader

from bench.faults.child import forks, join_domain
from bench.faults.outcome import Outcome
from bench.faults.recorder_process import published, Recorder, recorder

FLOATS = 'std_msgs/msg/Float64MultiArray'
TOPICS = ('reliable', 'best_effort', 'shared', 'restarted', 'shallow')
SEVERAL_PUBLISHERS = ('shared', 'restarted')
"""Of which nothing is known where rclpy does not say who published a message (Jazzy)."""
MESSAGES = {'short': 20_000, 'full': 1_000_000}
RATE_HZ = 2000
"""Of each publisher, in bursts."""
BURST = 100
LONGEST_STOP_S = 1.0
"""Half a second fills a queue. After several s, Fast DDS delivers nothing for half a minute."""


@dataclass
class Sent:
    """What one publisher counted.

    Attributes:
        topic: of it.
        publisher: its number, from 0 on.
        messages: from its first to its last.
    """

    topic: str
    publisher: int
    messages: int


def run(tier: str, seed: int) -> Outcome:
    """Publishes, stops the recorder now and then, and compares; see the module's text."""
    outcome, rng = Outcome('accounting'), random.Random(seed)
    with tempfile.TemporaryDirectory(prefix='faults_') as folder, published() as (graph, _):
        data = Path(folder, 'data')
        contract = _contract(data.parent)
        with recorder(graph, data, contract=contract) as one:
            context = forks()
            ours, theirs = context.Pipe()
            process = context.Process(target=_publish, args=(theirs, graph.domain_id))
            process.start()
            ours.recv()  # every publisher is there
            one.start_episode()
            ours.send(MESSAGES[tier])
            stops = _stop_now_and_then(one, ours, rng)
            ours.recv()
            ours.send('the last ones')  # so that what is lost now lies between two that come
            sent: list[Sent] = ours.recv()
            time.sleep(1.0)
            episode = EpisodeReader(one.call('success', 120.0).splitlines()[0])
            ours.send('end')
            process.join(20.0)
            process.kill()
        compare(episode, sent, outcome, tells_publishers())
    outcome.figures['stops'] = stops
    return outcome


def _contract(folder: Path) -> Path:
    import yaml

    from bench.faults.recorder_process import CONTRACT

    path = folder / 'accounting.yaml'
    path.write_text(yaml.safe_dump({**CONTRACT, 'record_too': list(TOPICS)}))
    return path


def _stop_now_and_then(one: Recorder, pipe: Connection, rng: random.Random) -> int:
    """Stops the recorder for a while, again and again, until everything is published."""
    stops = 0
    while not pipe.poll(rng.uniform(0.5, 3.0)):
        assert one.process.pid is not None
        os.kill(one.process.pid, signal.SIGSTOP)
        time.sleep(rng.uniform(0.1, LONGEST_STOP_S))
        os.kill(one.process.pid, signal.SIGCONT)
        stops += 1
    return stops


def _publish(pipe: Connection, domain_id: int) -> None:
    """Publishes so many messages in all, each with [its publisher, its number] inside."""
    from imitation_ros.nodes._messages import message_class
    import rclpy
    from rclpy.qos import QoSProfile, ReliabilityPolicy

    join_domain(domain_id)
    rclpy.init()
    node = rclpy.create_node('accounted')
    message = message_class(FLOATS)
    profiles = {
        'best_effort': QoSProfile(depth=100, reliability=ReliabilityPolicy.BEST_EFFORT),
        'shallow': QoSProfile(depth=1),
    }
    sent: list[Sent] = []
    publishers: list[Any] = []

    def offer(topic: str) -> None:
        profile = profiles.get(topic, QoSProfile(depth=1000))
        publishers.append(node.create_publisher(message, topic, profile))
        sent.append(Sent(topic, len(sent), 0))

    def send(count: int) -> int:
        going = [pair for pair in zip(sent, publishers) if pair[1] is not None]
        for one, publisher in going:
            for _ in range(count):
                one.messages += 1
                data = [float(one.publisher), float(one.messages)]
                publisher.publish(message(data=data))
        return count * len(going)

    for topic in (*TOPICS, 'shared'):
        offer(topic)
    pipe.send('ready')
    wanted, total = pipe.recv(), 0
    began = time.monotonic()
    while total < wanted:
        total += send(BURST)
        if total > wanted / 2 and not any(one.publisher == len(TOPICS) + 1 for one in sent):
            index = TOPICS.index('restarted')
            node.destroy_publisher(publishers[index])
            publishers[index] = None
            offer('restarted')
            while not publishers[-1].get_subscription_count():
                time.sleep(0.01)
        time.sleep(max(0.0, began + total / (RATE_HZ * len(sent)) - time.monotonic()))
    pipe.send('published')
    pipe.recv()
    for _ in range(10):
        time.sleep(0.1)
        send(1)
    pipe.send(sent)
    pipe.recv()
    node.destroy_node()
    rclpy.shutdown()


def tells_publishers() -> bool:
    """Whether this rclpy says who published a message."""
    import rclpy.subscription

    told = getattr(rclpy.subscription, 'MessageInfo', None)
    return 'publisher_gid' in getattr(told, '__annotations__', {})


def compare(
    episode: EpisodeReader, sent: Sequence[Sent], outcome: Outcome, publishers_told: bool = True
) -> None:
    """Holds metadata, file and publishers against each other; a row a topic.

    Args:
        episode: what was recorded.
        sent: what each publisher counted, all of it after the episode had begun.
        outcome: gets the counts and problems.
        publishers_told: whether nothing needs to be unknown.
    """
    counts = json.loads(episode.info.notes['traffic'])
    found: dict[str, dict[int, list[int]]] = {topic: {} for topic in TOPICS}
    for message in episode.messages([f'/{topic}' for topic in TOPICS]):
        publisher, number = (round(value) for value in episode.decode(message).data)
        found[message.topic[1:]].setdefault(publisher, []).append(number)
    unexplained, rows = 0, {}
    for topic in TOPICS:
        said, by_publisher = counts[topic], found[topic]
        total = sum(one.messages for one in sent if one.topic == topic)
        spanned = sum(n[-1] - n[0] + 1 for n in by_publisher.values())
        outcome.injected += total
        if any(numbers != sorted(set(numbers)) for numbers in by_publisher.values()):
            outcome.problems.append(f'{topic}: out of order, or twice')
        unknown = not publishers_told and topic in SEVERAL_PUBLISHERS
        differences = _differences(said, by_publisher, unknown)
        unexplained += min(total, sum(differences.values()))
        outcome.problems += [f'{topic}: {what} by {by}' for what, by in differences.items() if by]
        rows[topic] = {**said, 'before first and after last, by the publishers': total - spanned}
    outcome.survived = outcome.injected - unexplained
    outcome.figures |= {
        'unexplained difference': unexplained,
        'topics that may be unknown': 0 if publishers_told else len(SEVERAL_PUBLISHERS),
        'lost': sum(row['lost'] or 0 for row in rows.values()),
        'topics': rows,
    }


def _differences(
    said: Mapping[str, int | None], by_publisher: Mapping[int, list[int]], unknown: bool
) -> dict[str, int]:
    """By how many messages the metadata of a topic differs from what its messages say."""
    written = sum(len(numbers) for numbers in by_publisher.values())
    spanned = sum(numbers[-1] - numbers[0] + 1 for numbers in by_publisher.values())
    missed = sum(numbers[0] - 1 for numbers in by_publisher.values())
    truth = {'written': written}
    if not unknown:
        truth |= {'published': spanned, 'lost': spanned - written}
    # Who missed the first does not know whether it came before the episode.
    if not unknown and (said['lost_before_first'] is not None or not missed):
        truth['lost_before_first'] = missed
    differences = {}
    for what, right in truth.items():
        number = said[what]
        differences[what] = spanned if number is None else abs(number - right)
    return differences
