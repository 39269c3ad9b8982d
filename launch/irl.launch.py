"""IRL: a policy drives, and a reward is learned from demonstrations and told while it goes on.

On a real robot, or (`sim:=true`) on the simulated arm. /supervisor/resume lets the policy drive,
/supervisor/stop ends its roll-out. /reward_trainer/train begins a round of the reward, as
`train_every_episodes` new roll-outs do; `ros2 topic echo /reward` shows it. What is put into the
folder `improved` is offered to the policy node: with `improve_updates` the trainer itself puts a
policy there after each promoted round, made by the offline method from what was recorded.
"""

from imitation_ros.nodes._launching import chosen, declare_config, node, value
from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument


def generate_launch_description():
    """Returns the nodes, each under its condition."""
    contract = {'contract': value('contract')}
    common = contract | {'use_sim_time': value('sim', bool)}
    task = {'task': value('task')}
    rounds = {
        'demonstrations': value('demonstrations'),
        'out': value('run'),
        'checkpoint': value('improved'),
        'improve_updates': value('improve_updates', int),
        'train_every_episodes': value('train_every_episodes', int),
    }
    return LaunchDescription(
        [
            DeclareLaunchArgument(
                'checkpoint', description='Folder of the policy to begin with, of ./run train.'
            ),
            DeclareLaunchArgument('contract', description='Own contract, or a path.'),
            DeclareLaunchArgument(
                'demonstrations', description="Folder of the expert's recorded episodes."
            ),
            DeclareLaunchArgument(
                'sim', default_value='false', description='Start the simulated arm.'
            ),
            DeclareLaunchArgument(
                'task', default_value='pick_place', description='What the robot is to do.'
            ),
            DeclareLaunchArgument(
                'out', default_value='episodes', description='Folder of recorded episodes.'
            ),
            DeclareLaunchArgument(
                'operator', default_value='', description='Name kept in each episode.'
            ),
            DeclareLaunchArgument(
                'run', default_value='reward', description='Folder of the reward and its rounds.'
            ),
            DeclareLaunchArgument(
                'improved',
                default_value='',
                description='Folder of a checkpoint that is offered whenever it changes.',
            ),
            DeclareLaunchArgument(
                'improve_updates',
                default_value='0',
                description='Of the offline method, after a promoted round; 0: it is not used.',
            ),
            DeclareLaunchArgument(
                'train_every_episodes',
                default_value='10',
                description='New roll-outs that start a round; 0: /reward_trainer/train alone.',
            ),
            declare_config(),
            node('sim_arm', contract | task, chosen('sim')),
            node('supervisor', common),
            node('policy', common | {'checkpoint': value('checkpoint')}),
            node('recorder', common | task | {'out': value('out'), 'operator': value('operator')}),
            node('reward_trainer', common | rounds),
        ]
    )
