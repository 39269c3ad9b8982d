"""DAgger: a policy drives, a person corrects it, and it is trained again while the robot goes on.

On a real robot, or (`sim:=true`) on the simulated arm. Begin an episode by /recorder/start and
/supervisor/resume; take over by the device's dead-man button, or as `takeover` says; end it by
/recorder/success or /recorder/failure.
/trainer/train begins a round, as `labels_per_round` new labels do. The keyboard needs a terminal
of its own: `teleop:=none`, and beside it `ros2 run imitation_ros teleop_keyboard --ros-args
-p contract:=panda_twist -p use_sim_time:=true`. A key that moves takes over there, the robot holds
while none is pressed, and `b` gives control back.
"""

from imitation_ros.nodes._launching import chosen, declare_config, node, value
from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument


def generate_launch_description():
    """Returns the nodes, each under its condition."""
    contract = {'contract': value('contract')}
    common = contract | {'use_sim_time': value('sim', bool)}
    task = {'task': value('task')}
    gate = {'gate': value('gate')}
    takeover = {'takeover': value('takeover')}
    corrects = {'correct_above': value('correct_above', float)}
    rounds = {
        'episodes': value('out'),
        'out': value('run'),
        'labels_per_round': value('labels_per_round', int),
        'checkpoint': value('checkpoint'),
        'demonstrations': value('demonstrations'),
    }
    return LaunchDescription(
        [
            DeclareLaunchArgument(
                'checkpoint', description='Folder of the policy to begin with, of ./run train.'
            ),
            DeclareLaunchArgument(
                'demonstrations',
                default_value='',
                description='Data set that it was trained on, which every round learns from, too; '
                'empty: it lies in `out`.',
            ),
            DeclareLaunchArgument('contract', description='Own contract, or a path.'),
            DeclareLaunchArgument(
                'sim', default_value='false', description='Start the simulated arm.'
            ),
            DeclareLaunchArgument(
                'task', default_value='pick_place', description='What the robot is to do.'
            ),
            DeclareLaunchArgument(
                'gate', default_value='human', description='Who chooses who drives.'
            ),
            DeclareLaunchArgument(
                'takeover',
                default_value='engaged',
                choices=['engaged', 'button', 'moving'],
                description='How a person takes over: as long as the device is engaged (the '
                'keyboard from a key that moves until the key b), by '
                '/supervisor/take and /supervisor/give_back, or by moving the device. The gates '
                'beta, shadow and ensemble need one of the latter two. '
                'The script of teleop:=expert is always engaged, unless correct_above is set.',
            ),
            DeclareLaunchArgument(
                'correct_above',
                default_value='0.0',
                description="teleop:=expert takes over where the policy's action is so far from "
                'its own, such as 0.3; for gate:=human.',
            ),
            DeclareLaunchArgument(
                'teleop',
                default_value='joy',
                choices=['expert', 'joy', 'leader', 'relay', 'none'],
                description='Who corrects; the expert is a script for the simulated arm.',
            ),
            DeclareLaunchArgument(
                'out', default_value='episodes', description='Folder of recorded episodes.'
            ),
            DeclareLaunchArgument(
                'operator', default_value='', description='Name kept in each episode.'
            ),
            DeclareLaunchArgument(
                'run', default_value='dagger', description='Folder of the rounds.'
            ),
            DeclareLaunchArgument(
                'labels_per_round',
                default_value='0',
                description='New labels that start a round; 0: /trainer/train alone does.',
            ),
            declare_config(),
            node('sim_arm', contract | task, chosen('sim')),
            node('supervisor', common | gate | takeover),
            node('policy', common | {'checkpoint': value('checkpoint')}),
            node('teleop_expert', common | task | corrects, chosen('teleop', 'expert')),
            node('teleop_joy', common, chosen('teleop', 'joy')),
            node('teleop_leader', common, chosen('teleop', 'leader')),
            node('teleop_relay', common, chosen('teleop', 'relay')),
            node('recorder', common | task | {'out': value('out'), 'operator': value('operator')}),
            node('trainer', common | gate | rounds),
        ]
    )
