"""SIGTERM of a recorder with a gigabyte in its open episode: `ros2 launch` kills after 5 s."""

from __future__ import annotations

from multiprocessing.connection import Connection
import os
from pathlib import Path
import tempfile
import time
from typing import Any

from imitation_ros.episodes.reader import EpisodeReader
from imitation_ros.episodes.writer import RECORDING
from imitation_ros.nodes.graph import Graph
import yaml

from bench.faults.child import forks, join_domain
from bench.faults.recorder_process import CONTRACT, recorder

EPISODE_BYTES = 1_000_000_000
TYPE = 'std_msgs/msg/UInt8MultiArray'
MESSAGE_BYTES = 1 << 20


def closed_after_sigterm(graph: Graph, episode_bytes: int = EPISODE_BYTES) -> dict[str, Any]:
    """How long the recorder takes, and whether the episode is whole and indexed then."""
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
                while file.stat().st_size < episode_bytes and time.monotonic() < deadline:
                    time.sleep(0.05)
                took_s = one.end()
            info = EpisodeReader(episode).info
        finally:
            process.kill()
            process.join()
        size = sum(path.stat().st_size for path in episode.iterdir())
        return {
            'SIGTERM with an open episode of (bytes)': size,
            'closed, indexed and ended after (s)': round(took_s, 2),
            'truncated': info.truncated,
        }


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
