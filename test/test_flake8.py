"""For a ROS build farm; elsewhere `./run test` calls ruff with the same rules."""

from pathlib import Path

import pytest


def test_flake8():
    main_with_errors = pytest.importorskip('ament_flake8.main').main_with_errors
    configuration = Path(__file__).parent / 'ament_flake8.ini'
    code, errors = main_with_errors(argv=['--config', str(configuration)])
    assert code == 0, '\n'.join(errors)
