"""`./run meta train` and `./run meta adapt`, too short to learn anything."""

from __future__ import annotations

import json

from imitation_ros.cli import meta
from imitation_ros.cli.__main__ import main
from imitation_ros.policies.checkpoint import load_checkpoint, read_record
import pytest
from recorded_episodes import contract, record_lockstep


@pytest.fixture
def tasks(tmp_path):
    """A folder with three tasks of two episodes each."""
    for task in range(3):
        for number in range(2):
            folder = tmp_path / f'tasks/task_{task}/episode_{number:06d}'
            record_lockstep(folder, 24, seed=2 * task + number)
    return tmp_path / 'tasks'


def told(out):
    return json.loads(out)


def test_from_recorded_tasks_to_a_checkpoint_of_an_unseen_one(tasks, tmp_path, capsys):
    parent, out = tmp_path / 'meta', tmp_path / 'adapted'
    assert (
        main(['meta', 'train', str(tasks), '--steps', '60', '--out', str(parent), '--json']) == 0
    )
    assert told(capsys.readouterr().out)['tasks'] == 2
    shown = tasks / 'task_2/episode_000001'
    arguments = ['--parent', str(parent), '--out', str(out), '--json']
    assert main(['meta', 'adapt', str(shown), *arguments]) == 0
    result = told(capsys.readouterr().out)
    assert result['loss_after'] < result['loss_before']
    assert load_checkpoint(out, contract())
    assert load_checkpoint(tmp_path / 'meta_prior', contract())
    assert read_record(out)['demonstrations'] == ['episode_000001']


def test_the_family_of_the_simulation(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(meta, 'UNSEEN', 1)
    arguments = ['--family', 'reach', '--tasks', '2', '--steps', '2', '--json']
    assert main(['meta', 'train', *arguments, '--out', str(tmp_path / 'meta')]) == 0
    assert told(capsys.readouterr().out)['tasks'] == 2


@pytest.mark.parametrize(
    ('options', 'says'),
    [
        (('--seed', '50'), 'seed 50: its tasks, from 500000 on, are not for training'),
        (('--seed', '100'), 'valid: 0 to 49, those below 500000'),
        (('--tasks', '1991'), '1991 tasks; valid: 2 to 1990, before they reach'),
        (('--tasks', '-10'), '-10 tasks; valid: 2 to 1990'),
        (('--steps', '0'), '--steps: 0; valid: at least 1'),
    ],
)
def test_the_tasks_of_validation_and_tests_are_never_trained_on(options, says, tmp_path, capsys):
    """Seed 50 trained on the tasks of validation, seed 100 on the one that is the default."""
    train = ['meta', 'train', '--family', 'reach', '--out', str(tmp_path / 'meta')]
    assert main([*train, *options]) == 1
    assert says in capsys.readouterr().err
    assert not (tmp_path / 'meta').exists()


def test_what_cannot_be_adapted_to_is_named(tasks, tmp_path, capsys):
    assert main(['meta', 'train', str(tasks), '--family', 'reach']) == 1
    assert 'a folder with recorded tasks, or --family' in capsys.readouterr().err
    parent = tmp_path / 'meta'
    assert main(['meta', 'train', str(tasks), '--steps', '2', '--out', str(parent)]) == 0
    short, other = tmp_path / 'short', tmp_path / 'other'
    record_lockstep(short, 9)
    record_lockstep(other, 24, contract=contract(replaced={'rate_hz: 20': 'rate_hz: 10'}))
    adapt = ['meta', 'adapt', '--parent', str(parent), '--out', str(tmp_path / 'adapted')]
    assert main([*adapt, str(short)]) == 1
    assert 'short: too short: 9 frames' in capsys.readouterr().err
    assert main([*adapt, str(other)]) == 1
    assert 'another contract' in capsys.readouterr().err
    assert not (tmp_path / 'adapted').exists()


def test_what_is_odd_about_a_demonstration_is_told(tasks, tmp_path, capsys):
    parent, out = tmp_path / 'meta', tmp_path / 'adapted'
    assert main(['meta', 'train', str(tasks), '--steps', '60', '--out', str(parent)]) == 0
    adapt = ['meta', 'adapt', '--parent', str(parent), '--out', str(out), '--json']
    record_lockstep(tmp_path / 'failed', 24, outcome='failure', seed=5)
    capsys.readouterr()
    assert main([*adapt, str(tmp_path / 'failed')]) == 0
    shown = capsys.readouterr()
    assert told(shown.out)['warnings'] == ['failed: its outcome is failure']
    assert 'warning: failed: its outcome is failure' in shown.err
    record_lockstep(tmp_path / 'far', 24, seed=400)
    assert main([*adapt, str(tmp_path / 'far')]) == 0
    warnings = told(capsys.readouterr().out)['warnings']
    assert [each.startswith('far: far from the family: width.data ') for each in warnings] == [
        True, False,
    ]  # fmt: skip
    assert warnings[1].startswith('far from the family: held-out frames')


def test_a_demonstration_from_which_nothing_is_learned_is_refused(tasks, tmp_path, capsys):
    parent, out = tmp_path / 'meta', tmp_path / 'adapted'
    assert main(['meta', 'train', str(tasks), '--steps', '60', '--out', str(parent)]) == 0
    record_lockstep(tmp_path / 'far', 24, seed=90)
    adapt = ['meta', 'adapt', '--parent', str(parent), '--out', str(out)]
    assert main([*adapt, str(tmp_path / 'far')]) == 1
    said = capsys.readouterr().err
    assert 'refused: adaptation made things worse' in said
    assert 'far: far from the family: width.data' in said  # which may be why
    assert not out.exists()


def test_a_task_of_a_family_is_a_task_like_any_other(capsys):
    arguments = ['--episodes', '2', '--workers', '1', '--json']
    assert main(['evaluate', 'expert', '--task', 'reach/7', *arguments]) == 0
    result = told(capsys.readouterr().out)
    assert (result['task'], result['success']) == ('reach/7', 1.0)
    for wrong in ('pull/7', 'reach/x', 'pull'):
        with pytest.raises(SystemExit):
            main(['evaluate', 'expert', '--task', wrong])
        assert (
            'valid: reach, push, pick_place, or one of them with /SEED' in capsys.readouterr().err
        )
