"""A gate over topics: arm, policy, expert and supervisor, each in a process of its own."""

from __future__ import annotations

from imitation_ros.episodes.reader import EpisodeReader
from imitation_ros.episodes.tracks import read_tracks
from imitation_ros.frames.actions import ActionCodec
from imitation_ros.frames.contract import load_contract
from imitation_ros.learning.sim_collector import SimCollector
from imitation_ros.nodes.collector import TopicsCollector
from imitation_ros.nodes.session import LockstepSession
from imitation_ros.supervision.gates import GateConfig
from imitation_ros.supervision.guard import Guard
import numpy as np
from test_lockstep import payloads

from bench.policy_latency import save_untrained_policy

REACH = load_contract('panda_reach')
GATE = {'gate': 'beta', 'beta': 0.5, 'beta_per_tick': True, 'gate_seed': 3}


def record(ros, checkpoint, out, seeds):
    sources = {'policy': {'checkpoint': checkpoint}, 'teleop_expert': {'task': 'reach'}}
    with LockstepSession(
        'reach', 'panda_reach', sources, out, GATE, domain_id=ros.domain_id
    ) as session:
        return [session.run(seed).path for seed in seeds]


def driven(path):
    """Tick → mode, what each stream wanted and what was executed, where somebody drove."""
    streams = read_tracks(EpisodeReader(path), REACH).streams
    decode = ActionCodec(REACH.actions['arm']).decode

    def arm(stream, tick):
        found = streams[stream].find('arm', tick, 0)
        return None if found is None else decode(found)

    return {
        tick: (status, {stream: arm(stream, tick) for stream in streams})
        for tick, status in streams['executed'].statuses.items()
        if status.values['mode'] in ('policy', 'expert')
    }


def test_the_gate_chooses_each_tick_and_the_chosen_action_is_executed(ros, tmp_path):
    save_untrained_policy('panda_reach', tmp_path / 'checkpoint')
    paths = record(ros, tmp_path / 'checkpoint', tmp_path / 'first', (3, 4))
    for path in paths:
        ticks = driven(path)
        modes = [status.values['mode'] for status, _ in ticks.values()]
        assert 0.2 < np.mean([mode == 'expert' for mode in modes]) < 0.8
        guard = Guard(REACH)
        guard.reset({})
        for status, actions in ticks.values():
            expert = status.values['mode'] == 'expert'
            assert status.values['source'] == ('teleop_expert' if expert else 'policy')
            assert (status.values['gate'], status.values['labels']) == ('beta', 'every')
            chosen = {'arm': actions['teleop' if expert else 'policy']}
            sent = guard.advance(chosen, 0.05, 0.05)['arm']
            np.testing.assert_array_equal(actions['executed'], sent)
            assert actions['teleop'] is not None, 'each tick is labelled'
    again = record(ros, tmp_path / 'checkpoint', tmp_path / 'second', (3, 4))
    for first, second in zip(paths, again):
        assert payloads(first) == payloads(second)


def test_a_simulated_human_corrects_over_topics_as_in_process(ros, tmp_path, monkeypatch):
    monkeypatch.setenv('ROS_DOMAIN_ID', str(ros.domain_id))
    save_untrained_policy('panda_reach', tmp_path / 'checkpoint')
    gate = GateConfig('human', discrepancy=0.45, release=0.8)
    collectors = SimCollector('reach', REACH), TopicsCollector('reach', 'panda_reach')
    in_process, over_topics = (
        each.collect(tmp_path / 'checkpoint', gate, (3, 4), tmp_path / 'out')
        for each in collectors
    )
    for one, other in zip(in_process, over_topics):
        assert 0 < one.expert_ticks < one.ticks
        assert one.switches > 1
        assert (one.success, one.switches) == (other.success, other.switches)
        assert other.ticks == one.ticks + 1, 'over topics the tick at the goal is one more'
        same = len(one.episode)
        np.testing.assert_array_equal(
            other.episode.actions['arm'][:same], one.episode.actions['arm']
        )
