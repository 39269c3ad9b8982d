"""The examples run; that of the gripper's action server is tried in test/ros."""

from __future__ import annotations

from pathlib import Path
import runpy

from imitation_ros.policies.checkpoint import load_checkpoint
import pytest

EXAMPLES = Path(__file__).parents[2] / 'examples'


def test_train_your_own_leaves_a_checkpoint_and_measures_it(tmp_path, capsys):
    pytest.importorskip('pybullet')
    pytest.importorskip('gymnasium')
    main = runpy.run_path(str(EXAMPLES / 'train_your_own.py'))['main']
    tiny = ['--demonstrations', '2', '--epochs', '2', '--scenes', '1']
    evaluation = main([*tiny, '--out', str(tmp_path / 'policy')])
    assert len(evaluation.successes) == 1
    assert load_checkpoint(tmp_path / 'policy').contract.name == 'panda_reach'
    assert 'of 1 new scenes' in capsys.readouterr().out
