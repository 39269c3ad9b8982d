"""`./run dagger --sim`: rounds from the command line, and what it says of them."""

from __future__ import annotations

import json

from imitation_ros.cli.__main__ import main
from imitation_ros.cli.dagger import unasked
from imitation_ros.learning.rounds import Round
import pytest

SMALL = (
    'dagger', '--sim', '--task', 'reach', '--initial', '2', '--rounds', '1', '--episodes', '1',
    '--epochs', '1',
)  # fmt: skip


def test_rounds_end_with_a_checkpoint_and_a_picture_and_are_gone_on_with(tmp_path, capsys):
    command = [*SMALL, '--out', str(tmp_path / 'run'), '--json']
    assert main(command) == 0
    first = json.loads(capsys.readouterr().out)
    assert [each['number'] for each in first['rounds']] == [0, 1]
    assert (tmp_path / 'run/rounds.png').exists()
    assert main(command) == 0
    assert json.loads(capsys.readouterr().out) == first, 'all rounds were there'


@pytest.mark.parametrize(
    ('given', 'says'),
    [
        (['dagger', '--sim', '--seed', '50'], '--seed: 50: its scenes are kept for trials'),
        (['dagger', '--sim', '--trials', '-5'], '--trials: -5; valid: at least 0'),
        (['evaluate', 'expert', '--episodes', '-5'], '--episodes: -5; valid: at least 1'),
        (['evaluate', 'expert', '--workers', '-1'], '--workers: -1; valid: at least 1'),
        (['evaluate', 'expert', '--topics', '--workers', '2'], '--workers: over topics'),
        (['record', '--teleop', 'keyboard', '--noise', '0.1'], '--noise, --json: of the scripted'),
        (['train', 'data', '--habits'], '--habits: no good episodes to tell them by'),
    ],
)
def test_options_that_make_no_sense_are_refused(given, says, tmp_path, capsys):
    assert main(given) == 1
    assert says in ' '.join(capsys.readouterr().err.split())


def finished(number, labels, successes):
    return Round(
        number, labels, labels, 4, successes, 400, labels, 0, None, None, None, None, True, '',
        number, 1.0,
    )  # fmt: skip


@pytest.mark.parametrize(
    ('gate', 'setting'), [('human', 'lower --discrepancy'), ('thrifty', 'raise --budget')]
)
def test_a_round_that_failed_and_asked_nothing_says_what_to_change(gate, setting):
    rounds = [finished(0, 400, 4), finished(1, 0, 1), finished(2, 0, 4), finished(3, 9, 3)]
    (line,) = unasked(rounds, gate)
    assert line == f'round 1: 3 episodes failed and the expert was not asked once: {setting}'


def test_a_gate_that_asks_about_every_tick_never_asks_too_little():
    assert unasked([finished(1, 0, 0)], 'beta') == []
