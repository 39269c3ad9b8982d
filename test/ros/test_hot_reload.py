"""The measurement of reloads, in short; its gap depends on who else uses the machine."""

from __future__ import annotations

import json

from bench import hot_reload
from bench.harness import plain


def test_each_good_checkpoint_is_taken_and_no_bad_one():
    result = json.loads(json.dumps(plain(hot_reload.main(['--quick'])), allow_nan=False))
    assert result['pass']['bad activations <= 0']['value'] == 0
    assert set(result['reloads']) == {'good', *hot_reload.BAD}
    assert all(row['right'] for row in result['rows'])
    assert result['value'] == max(result['gaps_in_ticks'].values()) >= 1
