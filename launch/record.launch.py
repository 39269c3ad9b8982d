"""Teleoperation, supervisor and recorder, on the simulated arm or (`sim:=false`) on a real robot.

Begin an episode by `ros2 service call /recorder/start std_srvs/srv/Trigger` and let the person
drive by /supervisor/resume; end it by /recorder/success, /recorder/failure or /recorder/discard.
The keyboard needs a terminal of its own: `teleop:=none`, and beside it `ros2 run imitation_ros
teleop_keyboard --ros-args -p contract:=panda_twist -p use_sim_time:=true`.
"""

from imitation_ros.nodes._launching import chosen, declare_config, node, value
from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument


def generate_launch_description():
    """Returns the nodes, each under its condition."""
    contract = {'contract': value('contract')}
    common = contract | {'use_sim_time': value('sim', bool)}
    task = {'task': value('task')}
    return LaunchDescription(
        [
            DeclareLaunchArgument(
                'contract', default_value='panda_twist', description='Own contract, or a path.'
            ),
            DeclareLaunchArgument(
                'task', default_value='pick_place', description='What is demonstrated.'
            ),
            DeclareLaunchArgument(
                'sim', default_value='true', description='Start the simulated arm.'
            ),
            DeclareLaunchArgument(
                'teleop',
                default_value='expert',
                choices=['expert', 'joy', 'leader', 'relay', 'none'],
                description='Who demonstrates; the expert is a script for the simulated arm.',
            ),
            DeclareLaunchArgument(
                'out', default_value='episodes', description='Folder of the data set.'
            ),
            DeclareLaunchArgument(
                'operator', default_value='', description='Name kept in each episode.'
            ),
            declare_config(),
            node('sim_arm', contract | task, chosen('sim')),
            node('supervisor', common),
            node('teleop_expert', common | task, chosen('teleop', 'expert')),
            node('teleop_joy', common, chosen('teleop', 'joy')),
            node('teleop_leader', common, chosen('teleop', 'leader')),
            node('teleop_relay', common, chosen('teleop', 'relay')),
            node('recorder', common | task | {'out': value('out'), 'operator': value('operator')}),
        ]
    )
