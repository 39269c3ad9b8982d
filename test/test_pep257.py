"""For a ROS build farm. ament_pep257's default is not PEP 257; ours is Google's."""

import pytest


def test_pep257():
    main = pytest.importorskip('ament_pep257.main').main
    rules = ['--convention', 'google', '--add-ignore', 'D100', 'D104', 'D105', 'D107']
    code = main(argv=[*rules, '--exclude', '.venv', 'test', '--', 'imitation_ros', 'launch'])
    assert code == 0
