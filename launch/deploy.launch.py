"""A learned policy behind the supervisor, on a real robot or (`sim:=true`) on the simulated arm.

Nothing moves before `ros2 service call /supervisor/resume std_srvs/srv/Trigger`, and
/supervisor/stop ends it.
"""

from imitation_ros.nodes._launching import chosen, declare_config, node, value
from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument


def generate_launch_description():
    """Returns the nodes, each under its condition."""
    contract = {'contract': value('contract')}
    task = {'task': value('task')}
    common = contract | {'use_sim_time': value('sim', bool)}
    return LaunchDescription(
        [
            DeclareLaunchArgument('checkpoint', description='Folder of the learned policy.'),
            DeclareLaunchArgument('contract', description='Own contract, or a path.'),
            DeclareLaunchArgument(
                'sim', default_value='false', description='Start the simulated arm.'
            ),
            DeclareLaunchArgument(
                'task', default_value='pick_place', description='What the robot is to do.'
            ),
            DeclareLaunchArgument(
                'record', default_value='false', description='Have a recorder ready, too.'
            ),
            DeclareLaunchArgument(
                'out', default_value='episodes', description='Folder of recorded episodes.'
            ),
            declare_config(),
            node('sim_arm', contract | task, chosen('sim')),
            node('supervisor', common),
            node('policy', common | {'checkpoint': value('checkpoint')}),
            node('recorder', common | task | {'out': value('out')}, chosen('record')),
        ]
    )
