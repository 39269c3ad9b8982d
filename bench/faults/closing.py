"""SIGTERM of a recorder with a large open episode: `ros2 launch` kills after 5 s."""

from __future__ import annotations

from multiprocessing.connection import Connection
import os
from pathlib import Path
import tempfile
import time
from typing import Any

from imitation_ros.episodes.reader import EpisodeReader
from imitation_ros.episodes.writer import RECORDING
from imitation_ros.errors import EpisodeError
from imitation_ros.nodes.graph import Graph
import yaml

from bench.faults.child import forks, join_domain
from bench.faults.recorder_process import CONTRACT, recorder

EPISODE_BYTES = {'short': 20_000_000, 'full': 1_000_000_000}
CLOSED_AT_MOST_S = 4.0
TYPE = 'std_msgs/msg/UInt8MultiArray'
MESSAGE_BYTES = 1 << 20


def closed_after_sigterm(graph: Graph, tier: str) -> tuple[list[str], dict[str, Any]]:
    """What is wrong with the episode or its end, and the figures; time counts in the long tier."""
    with tempfile.TemporaryDirectory(prefix='faults_') as folder:
        contract, data = Path(folder, 'large.yaml'), Path(folder, 'data')
        contract.write_text(yaml.safe_dump({**CONTRACT, 'record_too': ['large']}))
        context = forks()
        ours, theirs = context.Pipe()
        process = context.Process(target=_publish, args=(theirs, graph.domain_id))
        process.start()
        try:
            with recorder(graph, data, contract=contract) as one:
                ours.recv()
                episode = one.start_episode()
                ours.send('go')
                recording = episode.with_name(f'{episode.name}{RECORDING}')
                file, deadline = recording / f'{episode.name}_0.mcap', time.monotonic() + 300.0
                wanted = EPISODE_BYTES[tier]
                while file.stat().st_size < wanted and time.monotonic() < deadline:
                    time.sleep(0.05)
                took_s = one.end()
                code = one.process.exitcode
        finally:
            process.kill()
            process.join()
        files = list(episode.iterdir()) if episode.exists() else []
        size = sum(path.stat().st_size for path in files)
        problems = [*judged(episode, code), *([f'only {size} bytes'] if size < wanted else [])]
    if tier == 'full' and took_s > CLOSED_AT_MOST_S:
        problems.append(f'{took_s:.2f} s; at most {CLOSED_AT_MOST_S}')
    return problems, {
        'SIGTERM with an open episode of (bytes)': size,
        'closed, indexed and ended after (s)': round(took_s, 2),
    }


def judged(episode: Path, code: int | None) -> list[str]:
    """What is wrong with an episode whose recorder was told to end, and ended with a code."""
    problems = [] if code == 0 else [f'exit code {code}' if code is not None else 'does not end']
    try:
        reader = EpisodeReader(episode)  # refuses what has no index
        for _ in reader.messages():
            pass
    except EpisodeError as error:
        return [*problems, str(error)]
    return problems + (['marked as truncated'] if reader.info.truncated else [])


def _publish(pipe: Connection, domain_id: int) -> None:
    from imitation_ros.nodes._messages import message_class
    import rclpy

    join_domain(domain_id)
    rclpy.init()
    node = rclpy.create_node('large')
    publisher = node.create_publisher(message_class(TYPE), 'large', 5)
    message = message_class(TYPE)()
    pipe.send('ready')
    pipe.recv()
    while True:
        message.data = os.urandom(MESSAGE_BYTES)
        publisher.publish(message)
        time.sleep(0.005)
