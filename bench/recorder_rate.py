"""Messages lost by the recorder: 10 topics at 500 Hz for a minute, over real topics.

Two processes publish, the recorder node runs in its own, and beside it, on the same messages, a
bare raw subscriber: the same wait-set loop, which only counts. What each publisher counted is held
against the file, topic by topic, from the first message in the file on: gaps in the numbers, and
the tail. The recorder's memory is sampled; its growth is from the first tenth after a warm-up to
the last tenth.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
import json
import multiprocessing
from multiprocessing.connection import Connection
import os
from pathlib import Path
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from typing import Any

from imitation_ros.episodes.reader import EpisodeReader
from imitation_ros.frames.status import STATUS_TYPE
import yaml

from bench.harness import at_least, at_most

RATE_HZ = 500
PUBLISHERS = 2
RATE_AT_LEAST = 0.99
GROWTH_AT_MOST_MB = 5.0
DEPTH = 1000
"""Messages that a publisher keeps for a reader that was held up: 2 s on a busy machine."""
TAIL_S = 1.0
"""How long the last messages may take from the publishers to the recorder."""
JOINTS, FLOATS = 'sensor_msgs/msg/JointState', 'std_msgs/msg/Float64MultiArray'
SENSORS = [f'sensor_{index}' for index in range(6)]
TOPICS = {
    **dict.fromkeys(SENSORS, JOINTS),
    **dict.fromkeys(('command', 'teleop/command'), FLOATS),
    **dict.fromkeys(('supervisor/decision', 'teleop/status'), STATUS_TYPE),
}
NAMES = [f'joint_{index}' for index in range(7)]
CONTRACT = {
    'name': 'recorder_rate',
    'rate_hz': RATE_HZ,
    'command_hz': RATE_HZ,
    'observations': {
        topic: {
            'topic': topic,
            'type': JOINTS,
            'select': [f'position.{name}' for name in NAMES],
            'max_age_s': 1.0,
        }
        for topic in SENSORS
    },
    'actions': {
        'arm': {
            'topic': 'command', 'type': FLOATS, 'kind': 'velocity', 'units': 'rad/s',
            'joints': NAMES, 'low': -1.0, 'high': 1.0, 'max_acceleration': 1.0,
        }
    },
}  # fmt: skip


def main(argv: list[str] | None = None) -> dict[str, Any]:
    """Records for a minute and prints the result as its last line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--quick', action='store_true', help='for 3 s, for the tests')
    duration_s = 3.0 if parser.parse_args(argv).quick else 60.0
    from imitation_ros.nodes._domain import Domain

    domain = Domain()
    os.environ['ROS_DOMAIN_ID'] = str(domain.id)
    namespace = f'/recorder_rate_{os.getpid()}'  # no matter who else is in this domain
    with tempfile.TemporaryDirectory(prefix='recorder_rate_') as folder:
        run = _run(Path(folder), namespace, duration_s)
    rows, counted = run.pop('rows'), run.pop('counted')
    lost = sum(row['gaps'] + row['tail'] for row in rows)
    slowest = min(row['published_hz'] for row in rows)
    written = sum(row['written'] for row in rows)
    unnoticed = sum(row['gaps'] for row in rows) - sum(row['gaps_noticed'] for row in rows)
    conditions = {
        'messages lost': at_most(lost, 0),
        'gaps unnoticed while recording': at_most(unnoticed, 0),
        'published (Hz)': at_least(slowest, RATE_AT_LEAST * RATE_HZ),
        'memory growth (MB)': at_most(run['memory_growth_mb'], GROWTH_AT_MOST_MB),
    }
    return {
        'bench': 'recorder_rate',
        'value': lost,
        'pass': conditions,
        'rows': rows,
        'messages_written': written,
        'cpu_s_per_million': round(run['recorder_cpu_s'] / written * 1e6, 1),
        'bare_cpu_s_per_million': round(counted['cpu_s'] / counted['messages'] * 1e6, 1),
        **run,
    }


def _run(folder: Path, namespace: str, duration_s: float) -> dict[str, Any]:
    """Publishes, counts and records for a while; returns what each of them saw."""
    from imitation_ros.nodes.graph import Graph

    shares = [list(TOPICS)[index::PUBLISHERS] for index in range(PUBLISHERS)]
    with (
        Graph(folder / 'logs') as graph,
        _recorder(folder, namespace) as process,
        _workers(namespace, shares) as pipes,
    ):
        counter, *publishers = pipes
        graph.call(f'{namespace}/recorder/start', timeout_s=90.0)
        for pipe in pipes:
            pipe.send('begin')
        cpu_s, memory_mb = _cpu_s(process.pid), []
        end = time.monotonic() + duration_s
        while time.monotonic() < end:
            memory_mb.append(_memory_mb(process.pid))
            time.sleep(0.1)
        cpu_s = _cpu_s(process.pid) - cpu_s
        published: dict[str, Any] = {}
        for pipe in publishers:
            pipe.send('end')
            published |= pipe.recv()
        time.sleep(TAIL_S)
        episode = graph.call(f'{namespace}/recorder/success', timeout_s=60.0).splitlines()[0]
        counter.send('end')
        counted = counter.recv()
    return {
        'rows': _rows(EpisodeReader(episode), published),
        'counted': counted,
        'recorder_cpu_s': round(cpu_s, 2),
        'memory_growth_mb': _growth_mb(memory_mb),
        'memory_mb': round(statistics.median(memory_mb), 1),
        'seconds': duration_s,
        'publishers': PUBLISHERS,
    }


def _rows(episode: EpisodeReader, published: dict[str, Any]) -> list[dict[str, Any]]:
    """A row a topic: from the first message in the file, what is missing between and after."""
    numbers: dict[str, list[int]] = {topic: [] for topic in TOPICS}
    for message in episode.messages():
        numbers[episode.topics[message.topic].contract_name].append(message.sequence)
    noticed = json.loads(episode.info.notes['traffic'])
    return [
        {
            'topic': topic,
            'published_hz': published[topic]['rate_hz'],
            'published': published[topic]['count'] - first + 1,
            'written': len(written),
            'gaps': written[-1] - first + 1 - len(written),
            'gaps_noticed': noticed[topic]['lost'],
            'tail': published[topic]['count'] - written[-1],
        }
        for topic, written in numbers.items()
        for first in written[:1]
    ]


def _growth_mb(memory_mb: list[float]) -> float:
    """From the first tenth after a warm-up of a quarter to the last tenth."""
    tenth = max(1, len(memory_mb) // 10)
    start = len(memory_mb) // 4
    before = statistics.median(memory_mb[start : start + tenth])
    return round(statistics.median(memory_mb[-tenth:]) - before, 2)


@contextmanager
def _recorder(folder: Path, namespace: str) -> Iterator[subprocess.Popen[bytes]]:
    """The node in a process of its own."""
    contract = folder / 'contract.yaml'
    contract.write_text(yaml.safe_dump(CONTRACT))
    parameters = {'contract': contract, 'out': folder / 'data', 'start_timeout_s': 60.0}
    given = [part for key, value in parameters.items() for part in ('-p', f'{key}:={value}')]
    module = 'imitation_ros.nodes.recorder'
    command = [sys.executable, '-m', module, '--ros-args', '-r', f'__ns:={namespace}', *given]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        try:
            yield process
        finally:
            process.terminate()


@contextmanager
def _workers(namespace: str, shares: list[list[str]]) -> Iterator[list[Connection]]:
    """A process that counts and one that publishes for each share of the topics."""
    spawn = multiprocessing.get_context('spawn')
    pipes, processes = [], []
    for topics in (None, *shares):
        ours, theirs = spawn.Pipe()
        work = partial(_count, theirs) if topics is None else partial(_publish, theirs, topics)
        processes.append(spawn.Process(target=work, args=(namespace,), daemon=True))
        processes[-1].start()
        pipes.append(ours)
    try:
        yield pipes
    finally:
        for pipe in pipes:
            pipe.close()
        for process in processes:
            process.join(5.0)


def _publish(pipe: Connection, topics: list[str], namespace: str) -> None:
    """Publishes each topic at `RATE_HZ` until told to end; what comes late is made up for."""
    from imitation_ros.nodes._messages import message_class
    import rclpy

    rclpy.init()
    node = rclpy.create_node(f'publisher_{os.getpid()}', namespace=namespace)

    publishers = [
        (
            node.create_publisher(message_class(TOPICS[topic]), topic, DEPTH),
            _message(TOPICS[topic]),
        )
        for topic in topics
    ]
    count = counted_from = 0
    start = began = time.perf_counter()
    while True:
        if pipe.poll():
            if pipe.recv() == 'end':
                break
            counted_from, began = count, time.perf_counter()
        for publisher, message in publishers:
            publisher.publish(message)
        count += 1
        time.sleep(max(0.0, start + count / RATE_HZ - time.perf_counter()))
    rate_hz = round((count - counted_from) / (time.perf_counter() - began), 2)
    pipe.send({topic: {'count': count, 'rate_hz': rate_hz} for topic in topics})
    pipe.poll(30.0)  # until the other side ends: the last messages may still be on their way


def _message(type: str) -> Any:
    from imitation_ros.frames.status import Status
    from imitation_ros.nodes._messages import message_class, new

    if type == STATUS_TYPE:
        return Status(1, 'bench', 1, values={'fingerprint': '0' * 64}).encode(new)
    if type == FLOATS:
        return message_class(FLOATS)(data=[0.1] * len(NAMES))
    numbers = [0.1] * len(NAMES)
    return message_class(JOINTS)(name=NAMES, position=numbers, velocity=numbers, effort=numbers)


def _count(pipe: Connection, namespace: str) -> None:
    """Takes the same messages with the same loop, and only counts them."""
    from imitation_ros.nodes._take import Taker
    import rclpy
    from rclpy.qos import QoSProfile

    rclpy.init()
    node = rclpy.create_node('counter', namespace=namespace)
    messages = 0

    def count(taken: Any) -> None:
        nonlocal messages
        messages += 1

    taker = Taker(node, count)
    for topic, type in TOPICS.items():
        taker.subscribe(topic, type, QoSProfile(depth=DEPTH))
    pipe.recv()
    before, cpu_s = messages, time.process_time()
    pipe.recv()
    pipe.send({'messages': messages - before, 'cpu_s': time.process_time() - cpu_s})
    taker.close()


def _cpu_s(pid: int) -> float:
    fields = Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf('SC_CLK_TCK')


def _memory_mb(pid: int) -> float:
    pages = int(Path(f'/proc/{pid}/statm').read_text().split()[1])
    return pages * resource.getpagesize() / 1e6


if __name__ == '__main__':
    main()
