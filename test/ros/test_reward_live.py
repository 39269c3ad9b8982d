"""The measurement of the live reward, in short; how late it comes depends on the machine."""

from __future__ import annotations

import json

from bench import reward_live
from bench.harness import plain


def test_each_tick_has_its_reward_while_the_reward_is_trained():
    result = json.loads(json.dumps(plain(reward_live.main(['--quick'])), allow_nan=False))
    (row,) = result['rows']
    assert row['without']['ticks'] > 100
    assert 'decisions' not in row['without']
    assert row['with']['training'] > 0
    assert row['with']['never'] == 0
    assert result['rewards_due'] == row['with']['decisions'] > 100
    assert 0 < row['with']['p50_ms'] <= result['p99_ms']
    assert set(result['missed']) == {'without', 'with'}
