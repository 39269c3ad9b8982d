"""The simulated arm and its supervisor, in real time; a source of actions is started beside them.

For example, in another terminal, `ros2 run imitation_ros teleop_keyboard --ros-args
-p contract:=panda_twist -p use_sim_time:=true`. Until /supervisor/resume is called nothing moves.
"""

from imitation_ros.nodes._launching import declare_config, node, value
from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument


def generate_launch_description():
    """Returns the nodes `sim_arm` and `supervisor`."""
    contract = {'contract': value('contract')}
    return LaunchDescription(
        [
            DeclareLaunchArgument(
                'contract', default_value='panda_twist', description='Own contract, or a path.'
            ),
            DeclareLaunchArgument(
                'task', default_value='pick_place', description='reach, push or pick_place.'
            ),
            DeclareLaunchArgument(
                'gui', default_value='false', description="Show the simulator's window."
            ),
            declare_config(),
            node('sim_arm', contract | {'task': value('task'), 'gui': value('gui', bool)}),
            node('supervisor', contract | {'use_sim_time': True}),
        ]
    )
