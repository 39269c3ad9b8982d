"""The bench of the recorder, in short: it runs, and nothing is lost in 3 s."""

from __future__ import annotations

from bench.recorder_rate import main


def test_quick():
    result = main(['--quick'])
    assert result['value'] == 0, result
    assert len(result['rows']) == 10
