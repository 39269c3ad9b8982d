"""Each launch file under the real `launch`: its nodes get ready, and end cleanly."""

from __future__ import annotations

import sys

import pytest
from recorded_episodes import CONTRACT, record_lockstep

from bench.policy_latency import save_untrained_policy

pytest.importorskip('launch_ros.actions', reason='launch_ros is in no wheel; tested on ROS 2')

LAUNCH = """
import sys
from launch import LaunchDescription, LaunchService
from launch.actions import IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource
path, *arguments = sys.argv[1:]
include = IncludeLaunchDescription(
    PythonLaunchDescriptionSource(path),
    launch_arguments=[argument.split(':=', 1) for argument in arguments],
)
service = LaunchService()
service.include_launch_description(LaunchDescription([include]))
sys.exit(service.run())
"""
COMMON = ('sim_arm', 'supervisor')


@pytest.fixture
def launch(install_space, start):
    def run(name, *arguments):
        path = install_space.package / f'share/imitation_ros/launch/{name}.launch.py'
        return start(sys.executable, '-c', LAUNCH, str(path), *arguments)

    return run


@pytest.mark.parametrize(
    ('name', 'arguments', 'nodes'),
    [
        ('sim', (), COMMON),
        ('sim', ('task:=reach', 'contract:=panda_reach'), COMMON),
        ('record', ('out:=data', 'operator:=7'), (*COMMON, 'teleop_expert', 'recorder')),
        ('record', ('teleop:=joy', 'sim:=false'), ('supervisor', 'teleop_joy', 'recorder')),
        (
            'record',
            ('teleop:=leader', 'contract:=panda_position'),
            (*COMMON, 'teleop_leader', 'recorder'),
        ),
        ('record', ('teleop:=relay',), (*COMMON, 'teleop_relay', 'recorder')),
    ],
)
def test_nodes_get_ready_and_end_cleanly(launch, name, arguments, nodes):
    process = launch(name, *arguments)
    process.wait_for(*(f'{node} is ready' for node in nodes))
    process.interrupt()
    assert process.output.count('process has finished cleanly') == len(nodes), process.output


def test_dagger_brings_up_all_that_a_round_needs(launch, tmp_path):
    save_untrained_policy('panda_twist', tmp_path / 'checkpoint')
    process = launch(
        'dagger', f'checkpoint:={tmp_path}/checkpoint', 'contract:=panda_twist', 'sim:=true',
        'teleop:=expert', 'correct_above:=0.3', f'run:={tmp_path}/run', f'out:={tmp_path}/data',
    )  # fmt: skip
    nodes = (*COMMON, 'policy', 'teleop_expert', 'recorder', 'trainer')
    process.wait_for(*(f'{node} is ready' for node in nodes))
    process.interrupt()
    assert process.output.count('process has finished cleanly') == len(nodes), process.output


def test_irl_brings_up_all_that_a_reward_needs(launch, tmp_path):
    (tmp_path / 'robot.yaml').write_text(CONTRACT)
    save_untrained_policy(tmp_path / 'robot.yaml', tmp_path / 'checkpoint')
    for seed in range(3):
        record_lockstep(tmp_path / f'demonstrations/{seed}', 12, seed=seed)
    process = launch(
        'irl', f'checkpoint:={tmp_path}/checkpoint', f'contract:={tmp_path}/robot.yaml',
        f'demonstrations:={tmp_path}/demonstrations', f'run:={tmp_path}/run',
        f'out:={tmp_path}/data',
    )  # fmt: skip
    nodes = ('supervisor', 'policy', 'recorder', 'reward_trainer')
    process.wait_for(*(f'{node} is ready' for node in nodes))
    process.interrupt()
    assert process.output.count('process has finished cleanly') == len(nodes), process.output


def test_adapt_brings_up_all_that_one_demonstration_needs(launch, tmp_path):
    save_untrained_policy('panda_family_reach', tmp_path / 'prior')
    process = launch(
        'adapt', f'checkpoint:={tmp_path}/prior', f'meta:={tmp_path}/meta', 'task:=reach/1000000',
        'contract:=panda_family_reach', f'out:={tmp_path}/data', f'adapted:={tmp_path}/adapted',
    )  # fmt: skip
    nodes = (*COMMON, 'policy', 'teleop_expert', 'recorder')
    process.wait_for(*(f'{node} is ready' for node in nodes))
    process.interrupt()
    assert process.output.count('process has finished cleanly') == len(nodes), process.output


def test_a_policy_without_its_checkpoint_says_so_and_ends_alone(launch):
    process = launch('deploy', 'contract:=panda_twist', 'checkpoint:=nowhere', 'sim:=true')
    process.wait_for('nowhere/policy.json', 'process has died', *(f'{n} is ready' for n in COMMON))
    assert process.output.count('process has') == 1, process.output


def test_a_value_that_is_no_choice_is_refused_with_the_choices(launch):
    process = launch('record', 'teleop:=telepathy')
    process.wait_for("['expert', 'joy', 'leader', 'relay', 'none']")
