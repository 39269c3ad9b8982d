from __future__ import annotations

from pathlib import Path
import runpy

import pytest
import setuptools

ROOT = Path(__file__).parents[2]


@pytest.fixture
def package(monkeypatch):
    """The keywords that setup.py gives to setuptools."""
    given = {}
    with monkeypatch.context() as patch:
        patch.chdir(ROOT)
        patch.setattr(setuptools, 'setup', lambda **keywords: given.update(keywords))
        runpy.run_path(str(ROOT / 'setup.py'))
    return given


@pytest.fixture
def entry_points(package):
    """The names that `ros2 run imitation_ros` knows."""
    return {script.split(' = ')[0] for script in package['entry_points']['console_scripts']}
