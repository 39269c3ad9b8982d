"""The figure's script runs and prints what it should; its value is not a test."""

from __future__ import annotations

from bench.sim_rate import main


def test_it_measures():
    result = main(['--quick'])
    assert result['bench'] == 'sim_rate'
    assert len(result['rows']) == 3
    assert result['value'] > 0
