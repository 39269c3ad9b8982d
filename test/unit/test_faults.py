"""The scoreboard of faults: what it prints, writes and returns."""

from __future__ import annotations

import json

import pytest

from bench.faults import __main__ as command
from bench.faults.outcome import Outcome

GOOD = Outcome('good', injected=3, survived=3, lost_s=0.25)


@pytest.fixture
def score(monkeypatch, tmp_path):
    """Runs the command with these classes only; returns its exit code and what it wrote."""

    def run(outcomes, *options):
        modules = {
            name: type(name, (), {'run': staticmethod(run)}) for name, run in outcomes.items()
        }
        monkeypatch.setattr(command, 'classes', lambda: dict.fromkeys(outcomes, 'A class.'))
        monkeypatch.setattr(
            command, 'import_module', lambda name: modules[name.rpartition('.')[2]]
        )
        out = tmp_path / 'new/faults.json'
        code = command.main([*options, '--out', str(out)])
        return code, json.loads(out.read_text())

    return run


def test_what_holds_is_summed(score, capsys):
    seen = []

    def run(tier, seed):
        seen.append((tier, seed))
        return GOOD

    code, result = score({'one': run, 'two': run}, '--full', '--seed', '7')
    assert code == 0
    assert seen == [('full', 7)] * 2
    assert capsys.readouterr().out.splitlines()[-1] == (
        'faults injected 6 · survived 6 · data lost 0.2 s · illegal commands 0'
    )
    assert [row['class'] for row in result['classes']] == ['one', 'two']
    assert result['ok']
    assert {'cpu', 'load_average'} <= set(result['machine'])


def raises(tier, seed):
    raise OSError('no such disk')


BROKEN = {
    'one is not survived': lambda tier, seed: Outcome('x', injected=2, survived=1),
    'a command is illegal': lambda tier, seed: Outcome('x', 1, 1, illegal=1),
    'a bar is broken': lambda tier, seed: Outcome('x', 1, 1, problems=['120 ms']),
    'nothing is injected': lambda tier, seed: Outcome('x'),
    'it cannot be run': raises,
}


@pytest.mark.parametrize('case', BROKEN)
def test_a_broken_bar_is_the_exit_code(score, case, capsys):
    code, result = score({'good': lambda tier, seed: GOOD, 'bad': BROKEN[case]})
    assert code == 1
    assert not result['ok']
    good, bad, _ = capsys.readouterr().out.splitlines()
    assert 'holds' in good
    assert 'BROKEN' in bad


def test_an_unknown_class_is_refused_with_the_valid_ones(capsys):
    assert command.main(['guart']) == 2
    assert "did you mean 'guard'?" in capsys.readouterr().err


def test_every_class_says_what_it_injects():
    assert all(command.classes().values())
