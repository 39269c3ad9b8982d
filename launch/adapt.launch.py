"""One demonstration of a new task, and the policy does it: record, adapt, drive.

On the simulated arm, or (`sim:=false`) on a real robot. Begin with the checkpoint and the meta
policy of `./run meta train`. To show a task: /recorder/start, /supervisor/take and then
/supervisor/resume, so that the policy does not drive at all, and at its end /recorder/success and
/supervisor/stop. Then /policy/adapt, whose answer says what was understood; /supervisor/resume
lets the policy drive the new task, and /policy/rollback undoes it. To correct it there:
/supervisor/take while it drives, and /policy/adapt again. `./run meta train --family pick_place`
learns the family of the default task, which is one that it has not seen.
"""

from imitation_ros.nodes._launching import chosen, declare_config, node, value
from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument


def generate_launch_description():
    """Returns the nodes, each under its condition."""
    contract = {'contract': value('contract')}
    common = contract | {'use_sim_time': value('sim', bool)}
    task = {'task': value('task')}
    policy = {
        'checkpoint': value('checkpoint'),
        'meta': value('meta'),
        'episode': value('out'),
        'adapted': value('adapted'),
    }
    return LaunchDescription(
        [
            DeclareLaunchArgument(
                'checkpoint',
                default_value='checkpoints/meta_prior',
                description='Folder of the policy to begin with.',
            ),
            DeclareLaunchArgument(
                'meta',
                default_value='checkpoints/meta',
                description='Folder of the meta policy, of ./run meta train.',
            ),
            DeclareLaunchArgument(
                'contract',
                default_value='panda_family_pick_place',
                description='Own contract, or a path.',
            ),
            DeclareLaunchArgument(
                'sim', default_value='true', description='Start the simulated arm.'
            ),
            DeclareLaunchArgument(
                'task',
                default_value='pick_place/1000000',
                description='What the robot is to do: FAMILY/SEED of the simulated arm.',
            ),
            DeclareLaunchArgument(
                'teleop',
                default_value='expert',
                choices=['expert', 'joy', 'leader', 'relay', 'none'],
                description='Who demonstrates; the expert is a script for the simulated arm.',
            ),
            DeclareLaunchArgument(
                'out',
                default_value='episodes',
                description='Folder of recorded episodes; the newest is adapted to.',
            ),
            DeclareLaunchArgument(
                'operator', default_value='', description='Name kept in each episode.'
            ),
            DeclareLaunchArgument(
                'adapted',
                default_value='checkpoints/adapted',
                description='Folder of the adapted checkpoints.',
            ),
            declare_config(),
            node('sim_arm', contract | task, chosen('sim')),
            node('supervisor', common | {'gate': 'human', 'takeover': 'button'}),
            node('policy', common | policy),
            node('teleop_expert', common | task, chosen('teleop', 'expert')),
            node('teleop_joy', common, chosen('teleop', 'joy')),
            node('teleop_leader', common, chosen('teleop', 'leader')),
            node('teleop_relay', common, chosen('teleop', 'relay')),
            node('recorder', common | task | {'out': value('out'), 'operator': value('operator')}),
        ]
    )
