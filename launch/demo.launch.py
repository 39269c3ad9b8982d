"""The whole loop once, as `./run demo` does: record, clone, drive, measure, report.

The demo starts the arm, the supervisor, the source and the recorder itself, one set for each of
its stages, in lockstep; look on with any ROS tool meanwhile.
"""

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, ExecuteProcess
from launch.substitutions import LaunchConfiguration
from launch_ros.substitutions import ExecutableInPackage


def generate_launch_description():
    """Returns the one process that runs the demo."""
    program = ExecutableInPackage(package='imitation_ros', executable='imitation_ros')
    options = ['--out', LaunchConfiguration('out'), '--seed', LaunchConfiguration('seed')]
    return LaunchDescription(
        [
            DeclareLaunchArgument(
                'out', default_value='out/demo', description='Folder of the results.'
            ),
            DeclareLaunchArgument(
                'seed', default_value='0', description='The same seed repeats the demo.'
            ),
            ExecuteProcess(
                cmd=[program, 'demo', *options],
                output='screen',
                emulate_tty=True,
                sigterm_timeout='30',
            ),
        ]
    )
