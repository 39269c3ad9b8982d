"""The measurements over topics, in short: they run to the end and say what they measured."""

from __future__ import annotations

import json

from imitation_ros.supervision.authority import Mode
from imitation_ros.supervision.mux import Command
import numpy as np
import pytest

from bench import handover, lockstep_rate, policy_latency, takeover
from bench.harness import plain


@pytest.mark.parametrize('bench', [lockstep_rate, policy_latency])
def test_quick(bench):
    result = json.loads(json.dumps(plain(bench.main(['--quick'])), allow_nan=False))
    assert result['bench'] == bench.__name__.removeprefix('bench.')
    low, high = result['interval']
    assert 0 < low <= result['value'] <= high
    assert [row['pair'] for row in result['rows']] == [0, 1]
    (condition,) = result['pass'].values()
    assert condition['value'] == result['value']


def test_the_takeover_is_measured_idle_and_loaded():
    result = json.loads(json.dumps(plain(takeover.main(['--quick'])), allow_nan=False))
    assert [row['load'] for row in result['rows']] == ['idle', 'two busy loops']
    for row in result['rows']:
        assert row['trials'] == 10
        assert 0 < row['p50_ticks'] <= row['p99_ticks'] <= row['max_ticks']
    assert result['value'] == result['rows'][0]['max_ticks']


def test_handovers_stay_within_the_limits_and_use_them():
    result = json.loads(json.dumps(plain(handover.main(['--quick'])), allow_nan=False))
    assert result['value'] == 0
    assert all(condition['ok'] for condition in result['pass'].values())
    for row in result['rows']:
        assert row['handovers'] == 20
        assert 0.9 < row['largest_acceleration'] <= 1 + handover.TOLERANCE
        assert {'expert', 'policy', 'hold', 'stopped'} <= {
            mode for mode, commands in row['modes'].items() if commands
        }


def test_a_command_that_jumps_is_a_violation():
    contract = handover.load_contract('panda_position')
    judge, measured = handover.Judge(contract), {'arm': np.zeros(7)}

    def see(position):
        action = {'arm': np.full(7, position)}
        judge.see(Command(0, action, Mode.EXPERT, 'human', ''), measured)
        return judge.violations

    slow = 15.0 / 100**2
    assert [see(0.0), see(slow), see(2 * slow)] == [0, 0, 0]
    assert see(4.1 * slow) == 1
