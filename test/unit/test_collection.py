"""What test/conftest.py leaves out, on a machine that has less than this one."""

from __future__ import annotations

import os
from pathlib import Path
import subprocess
import sys

ROOT = Path(__file__).parents[2]
COLLECT = """
import sys
sys.modules.update(dict.fromkeys(sys.argv[1].split(',')))  # None: as if it were not installed
import pytest
sys.exit(pytest.main(['--collect-only', '-q', '-p', 'no:cacheprovider', *sys.argv[2:]]))
"""


def collect(without, folder='test', **environment):
    clean = {name: value for name, value in os.environ.items() if name != 'REQUIRE_ROS'}
    return subprocess.run(
        [sys.executable, '-c', COLLECT, without, folder],
        cwd=ROOT,
        env=clean | environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_without_the_extras_the_rest_is_still_collected():
    extras = 'rclpy,torch,safetensors,pybullet,gymnasium,matplotlib,imageio,mcap,rosbags'
    run = collect(extras)
    assert run.returncode == 0, run.stdout + run.stderr
    assert 'test/unit/test_layers.py::' in run.stdout
    assert 'test/unit/test_policies.py::' not in run.stdout


def test_where_ros_is_required_nothing_is_left_out_in_silence():
    run = collect('rclpy', 'test/unit/test_layers.py', REQUIRE_ROS='1')
    assert run.returncode == 4
    assert 'REQUIRE_ROS is set, but not installed: rclpy' in run.stderr
