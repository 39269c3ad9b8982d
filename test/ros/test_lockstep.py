"""The whole loop over topics, in several processes: arm, supervisor, source, recorder."""

from __future__ import annotations

from collections import defaultdict
from contextlib import contextmanager
import hashlib
from pathlib import Path
import subprocess
import sys

from imitation_ros.episodes.align import frame_differences, load_episode
from imitation_ros.episodes.reader import EpisodeReader
from imitation_ros.errors import GraphError
from imitation_ros.frames.contract import load_contract
from imitation_ros.frames.status import Status
from imitation_ros.nodes._streams import FrameStream
from imitation_ros.nodes.session import LockstepSession
from imitation_ros.sim.env import ArmEnv
from imitation_ros.sim.experts import make_expert
from imitation_ros.sim.rollout import roll_out
from imitation_ros.types import Frame
import pytest

SEEDS = (3, 4)


@contextmanager
def busy_loops(count):
    loops = [subprocess.Popen([sys.executable, '-c', 'while True: pass']) for _ in range(count)]
    try:
        yield
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()


def record(ros, out, contract='panda_twist', task='pick_place', seeds=SEEDS):
    source = {'task': task}
    with LockstepSession(
        task, contract, {'teleop_expert': source}, out, domain_id=ros.domain_id
    ) as session:
        return [session.run(seed) for seed in seeds]


def payloads(path):
    """Topic → digest of all its payloads, in order; of the decisions, of what they say.

    The texts of a decision differ in length from tick to tick, and the middleware leaves in the
    gaps between them, which align the next number, what its buffer held before.
    """
    reader, digests = EpisodeReader(path), defaultdict(hashlib.sha256)
    for message in reader.messages():
        data = message.data
        if message.topic == '/supervisor/decision':
            data = repr(Status.decode(reader.decode(message))).encode()
        digests[message.topic].update(len(data).to_bytes(4, 'little') + data)
    return {topic: digest.hexdigest() for topic, digest in digests.items()}


def test_the_same_seed_gives_the_same_bytes_on_each_topic_whatever_the_load(ros, tmp_path):
    idle = record(ros, tmp_path / 'idle')
    with busy_loops(2):
        loaded = record(ros, tmp_path / 'loaded')
    for first, second in zip(idle, loaded):
        assert first.success
        assert payloads(first.path) == payloads(second.path)
        assert '/clock' in payloads(first.path)


@pytest.mark.parametrize(
    ('contract', 'task'),
    [('panda_position', 'pick_place'), ('panda_trajectory', 'push'), ('panda_keys', 'reach')],
)
def test_each_action_form_moves_the_arm_as_in_process(ros, tmp_path, contract, task):
    (result,) = record(ros, tmp_path, contract, task, seeds=SEEDS[:1])
    checked = load_contract(contract)
    env = ArmEnv(task, checked)
    rollout = roll_out(env, make_expert(task, checked), SEEDS[0])
    assert (result.success, result.ticks) == (rollout.success, rollout.ticks)
    episode = load_episode(result.path)
    recorded = episode.observations['state'][: rollout.ticks]
    assert (recorded == rollout.observations['state']).all()
    for part, actions in rollout.actions.items():
        assert (episode.actions[part][: rollout.ticks] == actions).all()


def test_live_frames_equal_the_frames_from_the_bag(ros, tmp_path):
    frames = []

    def keep(frame):
        if isinstance(frame, Frame):
            frames.append(frame)

    contract = load_contract('panda_twist')
    source = {'task': 'pick_place'}
    with LockstepSession(
        'pick_place', 'panda_twist', {'teleop_expert': source}, tmp_path, domain_id=ros.domain_id
    ) as session:
        FrameStream(session.graph.node, contract, lockstep=True, on_tick=keep)
        ros.spin_until(lambda: session.graph.call('sim_arm/reset') and frames, what='discovery')
        frames.clear()
        result = session.run(SEEDS[0])
        ros.spin_until(lambda: len(frames) >= result.ticks, what='all live frames')
    episode = load_episode(result.path)
    common = {frame.tick_ns for frame in frames} & set(episode.tick_ns.tolist())
    assert len(common) >= result.ticks - 1
    assert frame_differences(frames, episode) == []


def test_without_a_source_the_reset_says_who_is_missing_and_does_not_hang(ros):
    with LockstepSession(
        'reach', 'panda_reach', {'teleop_expert': {'task': 'reach'}}, domain_id=ros.domain_id
    ) as session:
        session.graph.stop('teleop_expert')
        with pytest.raises(GraphError, match='no answer from supervisor'):
            session.run(0)


def test_nodes_do_not_outlive_the_process_that_started_them(ros, tmp_path):
    """After a SIGKILL of the demo its supervisor met that of the next demo on the same topics."""
    script = (
        'import os, signal\n'
        'from imitation_ros.nodes.graph import Graph\n'
        f'graph = Graph(domain_id={ros.domain_id})\n'
        "graph.start('supervisor', {'contract': 'panda_reach'})\n"
        'graph.wait_ready()\n'
        "print(graph._processes['supervisor'].pid, flush=True)\n"
        'os.kill(os.getpid(), signal.SIGKILL)\n'
    )
    ended = subprocess.run(
        [sys.executable, '-c', script], stdout=subprocess.PIPE, text=True, timeout=60
    )
    node = Path('/proc') / ended.stdout.strip()
    ros.spin_until(lambda: not node.exists(), what='the end of the supervisor')


def test_a_node_that_dies_is_named_with_the_end_of_its_output(ros):
    with pytest.raises(GraphError, match=r'(?s)teleop_expert ended with exit code .*task'):
        LockstepSession(
            'reach', 'panda_reach', {'teleop_expert': {'task': 'juggle'}}, domain_id=ros.domain_id
        )
