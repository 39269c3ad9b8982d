"""What `colcon build` installs, started as `ros2 run` would."""

from __future__ import annotations

from pathlib import Path
import subprocess
import sys

ROOT = Path(__file__).parents[2]


def test_a_node_starts_from_the_install_space_and_stops_by_ctrl_c(install_space, start):
    share = install_space.package / 'share/imitation_ros/config'
    node = start(
        *(install_space.executable('sim_arm'), '--ros-args'),
        *('--params-file', str(share / 'sim_arm.yaml'), '-p', 'contract:=panda_reach'),
        *('-p', 'task:=reach'),
    )
    node.wait_for('sim_arm is ready')
    assert node.interrupt() == 0, node.output


def test_the_command_line_starts_from_the_install_space(install_space):
    command = [install_space.executable('imitation_ros'), '--help']
    run = subprocess.run(
        command, env=install_space.environment, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    assert 'demo' in run.stdout


def test_code_and_contracts_are_those_of_the_install_space(install_space, tmp_path):
    program = (
        'import imitation_ros; from imitation_ros.frames.contract import load_contract;'
        'print(imitation_ros.__file__, load_contract("panda_twist").name)'
    )
    out = subprocess.run(
        [sys.executable, '-c', program],
        env=install_space.environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert out.startswith(str(install_space.package))
    assert out.split()[-1] == 'panda_twist'


def test_everything_of_config_and_launch_is_installed(install_space):
    share = install_space.package / 'share/imitation_ros'
    for folder in ('config', 'config/contracts', 'config/controllers', 'launch'):
        for path in (ROOT / folder).glob('*.*'):
            assert (share / folder / path.name).read_bytes() == path.read_bytes()
    index = install_space.package / 'share/ament_index/resource_index/packages/imitation_ros'
    assert index.is_file()
    assert (share / 'package.xml').is_file()
