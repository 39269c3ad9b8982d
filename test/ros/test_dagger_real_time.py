"""A round of DAgger in real time, each node a process: what `dagger.launch.py` brings up."""

from __future__ import annotations

import time

from imitation_ros.errors import GraphError
from imitation_ros.frames.status import Status, STATUS_TOPICS, STATUS_TYPE
from imitation_ros.learning.rounds import read_json
from imitation_ros.nodes._messages import LATCHED
from imitation_ros.nodes.graph import Graph
from imitation_ros.policies.checkpoint import read_digest
import pytest

from bench.policy_latency import save_untrained_policy

CORRECTED_TICKS = 30
LIMIT_S = 300.0
"""Of each step. A training yields to all else: seconds on an idle machine, minutes on another."""


def wait_for(what, condition):
    deadline = time.monotonic() + LIMIT_S
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail(f'not within {LIMIT_S} s: {what}')
        time.sleep(0.05)  # the graph's client spins on a thread of its own


def corrected_in(decisions):
    """How many ticks the expert drove; there may be several commands to one."""
    return len({each.tick_ns for each in list(decisions) if each.values['mode'] == 'expert'})


def said_in(message):
    return message.status[0].values


def succeeds(graph, service):
    try:
        return graph.call(service)
    except GraphError:
        return ''


@pytest.mark.timeout(900)
def test_a_takeover_is_recorded_trained_on_and_the_new_policy_drives(ros, tmp_path):
    first, data, run = (tmp_path / name for name in ('first', 'data', 'run'))
    save_untrained_policy('panda_reach', first)
    common = {'contract': 'panda_reach', 'use_sim_time': True}
    decided, drives, told = [], [], []
    with Graph(tmp_path / 'logs', ros.domain_id) as graph:
        graph.listen(
            STATUS_TOPICS['executed'], STATUS_TYPE,
            lambda message: decided.append(Status.decode(message)),
        )  # fmt: skip
        graph.listen(
            'policy/checkpoint', 'std_msgs/msg/String', lambda each: drives.append(each.data),
            LATCHED,
        )  # fmt: skip
        graph.listen(
            'trainer/status', STATUS_TYPE,
            lambda message: told.append({each.key: each.value for each in said_in(message)}),
            LATCHED,
        )  # fmt: skip
        graph.start('sim_arm', {'contract': 'panda_reach', 'task': 'reach'})
        graph.start('supervisor', {**common, 'gate': 'human', 'takeover': 'engaged'})
        graph.start('policy', {**common, 'checkpoint': first})
        graph.start('teleop_expert', {**common, 'task': 'reach', 'correct_above': 0.3})
        graph.start('recorder', {**common, 'task': 'reach', 'out': data})
        graph.start('trainer', {**common, 'episodes': data, 'out': run, 'checkpoint': first,
                                'labels_per_round': 10, 'epochs': 1})  # fmt: skip
        graph.wait_ready(LIMIT_S)
        wait_for('a recording', lambda: succeeds(graph, 'recorder/start'))
        wait_for('authority', lambda: succeeds(graph, 'supervisor/resume'))
        wait_for('a takeover', lambda: corrected_in(decided) >= CORRECTED_TICKS)
        graph.call('recorder/success')
        wait_for('the new policy', lambda: 'round_000' in drives[-1])
        wait_for('its name', lambda: told[-1].get('driving round') == '0')
    digest = read_digest(run / 'round_000/checkpoint')
    assert drives == [
        f'{first} ({read_digest(first)})', f'{run}/round_000/checkpoint ({digest})'
    ]  # fmt: skip
    done = read_json(run / 'round_000/round.json')
    assert 10 <= done['labels'] <= done['expert_ticks'] < done['ticks'] + 1
    assert done['driving_loss'] > 0, 'it was compared with the first'
    assert done['accepted']
