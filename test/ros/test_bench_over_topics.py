"""The measurements over topics, in short: they run to the end and say what they measured."""

from __future__ import annotations

import json

import pytest

from bench import lockstep_rate, policy_latency
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
