"""The measurements' command line and what they share; their figures are no business of tests."""

from __future__ import annotations

import json

from imitation_ros.errors import ImitationError
import numpy as np
import pytest

from bench import __main__ as command
from bench.harness import at_least, at_most, bootstrap_interval, interleaved, median_ratio, plain

NAMES = {
    'bc_discrete', 'bc_pick_place', 'bc_reach', 'bc_throughput', 'handover', 'lockstep_rate',
    'policy_latency', 'recorder_rate', 'reward_live', 'sim_rate', 'takeover',
}  # fmt: skip

RESULT = {'bench': 'sample', 'value': 0.5, 'pass': {'ratio >= 1': at_least(0.5, 1.0)}, 'rows': []}


@pytest.fixture
def sample(monkeypatch):
    """Makes a function the only measurement, `sample`."""

    def install(main):
        module = type('sample', (), {'main': staticmethod(main)})
        monkeypatch.setattr(command, 'measurements', lambda: {'sample': 'A sample.'})
        monkeypatch.setattr(command, 'import_module', lambda name: module)

    return install


def test_the_list_names_every_measurement_in_a_line(capsys):
    assert command.main([]) == 0
    listed = capsys.readouterr().out
    assert set(command.measurements()) >= NAMES
    assert all(f'  {name} ' in listed for name in NAMES)
    assert all(line for line in command.measurements().values())


def test_an_unknown_name_is_refused_with_the_valid_ones(capsys):
    assert command.main(['sim_rat']) == 2
    error = capsys.readouterr().err
    assert "did you mean 'sim_rate'?" in error
    assert all(name in error for name in NAMES)


def test_stdout_holds_the_result_alone(sample, capsys):
    def main(argv):
        print('progress', argv)
        return {**RESULT, 'numbers': np.arange(2), 'missing': float('nan')}

    sample(main)
    assert command.main(['sample', '--quick']) == 0
    out, error = capsys.readouterr()
    (line,) = out.splitlines()
    result = json.loads(line)
    assert result['numbers'] == [0, 1]
    assert result['missing'] is None
    assert {'cpu', 'cores', 'load_average', 'python'} <= set(result['machine'])
    assert "progress ['--quick']" in error


def test_a_condition_that_fails_is_said_and_is_no_error(sample, capsys):
    sample(lambda argv: RESULT)
    assert command.main(['sample']) == 0
    assert 'ratio >= 1: 0.5 DOES NOT HOLD' in capsys.readouterr().err


def test_what_could_not_be_measured_is_an_error(sample, capsys):
    def main(argv):
        raise ImitationError('the arm has gone')

    sample(main)
    assert command.main(['sample']) == 1
    assert capsys.readouterr() == ('', 'bench sample: the arm has gone\n')


def test_pairs_take_turns_in_going_first():
    order = []

    def measure(name, rate):
        return lambda: order.append(name) or {'rate': rate}

    rows = interleaved(measure('ours', 2.0), measure('bare', 4.0), pairs=3, key='rate')
    assert order == ['ours', 'bare', 'bare', 'ours', 'ours', 'bare']
    assert [row['ratio'] for row in rows] == [0.5] * 3
    assert rows[1] == {'pair': 1, 'ours': {'rate': 2.0}, 'reference': {'rate': 4.0}, 'ratio': 0.5}


def test_the_bootstrap_covers_the_median_about_as_often_as_it_says():
    rng = np.random.default_rng(1)
    intervals = [bootstrap_interval(rng.normal(1.0, 0.2, 21), draws=400) for _ in range(300)]
    covered = np.mean([low <= 1.0 <= high for low, high in intervals])
    assert 0.9 <= covered <= 0.99


def test_the_bootstrap_is_the_same_at_every_call():
    rows = [{'ratio': ratio} for ratio in (0.9, 1.0, 1.3)]
    assert median_ratio(rows) == median_ratio(rows)
    assert median_ratio(rows)[0] == 1.0
    assert bootstrap_interval([2.0, 2.0]) == [2.0, 2.0]


def test_conditions_carry_value_limit_and_verdict():
    assert at_least(0.7, 0.7) == {'value': 0.7, 'limit': 0.7, 'ok': True}
    assert at_most(1.3, 1.25) == {'value': 1.3, 'limit': 1.25, 'ok': False}


def test_everything_becomes_plain_json():
    value = {1: (np.float32(0.5), np.int64(2), np.bool_(True), [float('inf')])}
    assert plain(value) == {'1': [0.5, 2, True, [None]]}
