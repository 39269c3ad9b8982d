"""The figure's script runs and prints what it should; its value is not a test."""

from __future__ import annotations

import json

from bench.sim_rate import main


def test_the_last_line_is_the_result(capsys):
    result = main(['--quick'])
    assert json.loads(capsys.readouterr().out.splitlines()[-1]) == result
    assert result['bench'] == 'sim_rate'
    assert len(result['rows']) == 3
    assert result['value'] > 0
