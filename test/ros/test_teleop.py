from __future__ import annotations

import os
from pathlib import Path
import pty
import termios

from imitation_ros.frames.codecs import codec_for, set_stamp
from imitation_ros.frames.contract import load_contract
from imitation_ros.frames.status import Status, STATUS_TYPE
from imitation_ros.nodes._messages import new
from imitation_ros.nodes._params import ParameterError
from imitation_ros.nodes.supervisor import SupervisorNode
from imitation_ros.nodes.teleop_expert import TeleopExpertNode
from imitation_ros.nodes.teleop_joy import TeleopJoyNode
from imitation_ros.nodes.teleop_keyboard import TeleopKeyboardNode
from imitation_ros.nodes.teleop_leader import TeleopLeaderNode
from imitation_ros.sim.experts import make_expert
from imitation_ros.types import Frame
import numpy as np
import pytest
from sensor_msgs.msg import JointState, Joy
from std_srvs.srv import SetBool, Trigger

CONTRACTS = Path(__file__).parents[2] / 'config/contracts'
TWIST, POSITION, REACH = (
    load_contract(CONTRACTS / f'panda_{name}.yaml') for name in ('twist', 'position', 'reach')
)


class Teleop:
    """What a teleoperation node says."""

    def __init__(self, ros, contract):
        self.ros = ros
        self.arm = ros.listen('teleop/arm/command', contract.actions['arm'].type)
        self.gripper = ros.listen('teleop/gripper/command', 'std_msgs/msg/Bool')
        self._statuses = ros.listen('teleop/status', STATUS_TYPE)

    @property
    def status(self):
        return Status.decode(self._statuses[-1]) if self._statuses else None

    def wait_until_engaged(self, engaged=True):
        wanted = str(engaged).lower()

        def reached():
            return self.status is not None and self.status.values['engaged'] == wanted

        self.ros.spin_until(reached, what=f'engaged {wanted}')

    def moves(self):
        twist = self.arm[-1].twist.linear if self.arm else None
        return (twist.x, twist.y, twist.z) if twist else None


def serve(ros, name):
    """A Trigger service of the probe; returns the calls as they come in."""
    calls = []

    def answer(request, response):
        calls.append(name)
        response.success, response.message = True, 'done'
        return response

    ros.probe.create_service(Trigger, name, answer)
    return calls


@pytest.fixture
def terminal():
    """Our end and the node's end of a terminal."""
    ours, theirs = pty.openpty()
    yield ours, theirs
    os.close(ours)
    os.close(theirs)


def test_keys_become_actions_and_silence_is_not_engaged(terminal, ros):
    keyboard, fd = terminal
    teleop = Teleop(ros, TWIST)
    ros.start(
        lambda **kwargs: TeleopKeyboardNode(fd=fd, **kwargs),
        contract='panda_twist',
        held_s=0.2,
        engaged_s=0.4,
    )
    teleop.wait_until_engaged(False)
    assert (teleop.status.sent, teleop.status.reason) == (0, 'no key is pressed')
    os.write(keyboard, b'wq')
    teleop.wait_until_engaged()
    ros.spin_until(lambda: teleop.moves() == (0.2, 0.0, 0.2), what='the motion')
    assert teleop.status.values['fingerprint'] == TWIST.fingerprint
    ros.spin_until(lambda: teleop.moves() == (0.0, 0.0, 0.0), what='the stop')
    teleop.wait_until_engaged(False)
    os.write(keyboard, b' ')
    ros.spin_until(lambda: teleop.gripper and teleop.gripper[-1].data, what='the gripper')


def test_a_demonstration_can_be_recorded_with_nothing_but_the_keyboard(terminal, ros):
    keyboard, fd = terminal
    decisions = ros.listen('supervisor/decision', STATUS_TYPE)
    commands = ros.listen('arm/command', TWIST.actions['arm'].type)
    starts, successes = serve(ros, 'recorder/start'), serve(ros, 'recorder/success')
    ros.start(SupervisorNode, contract='panda_twist')
    node = ros.start(lambda **kwargs: TeleopKeyboardNode(fd=fd, **kwargs), contract='panda_twist')
    ros.spin_until(lambda: node.count_subscribers('teleop/status'))
    os.write(keyboard, b'r')
    ros.spin_until(lambda: starts, what='recorder/start')

    def drives():
        os.write(keyboard, b'w')
        return commands and commands[-1].twist.linear.x > 0.19

    ros.spin_until(lambda: ros.probe.count_publishers('teleop/status'))
    os.write(keyboard, b'g')
    ros.spin_until(drives, what='the arm to move')
    ros.spin_until(lambda: Status.decode(decisions[-1]).values['mode'] == 'expert')
    os.write(keyboard, b't\n')
    ros.spin_until(lambda: successes, what='recorder/success')
    ros.spin_until(lambda: Status.decode(decisions[-1]).values['mode'] == 'stopped')


def test_the_terminal_is_put_back_when_the_node_closes(terminal, ros):
    _, fd = terminal
    before = termios.tcgetattr(fd)
    node = ros.start(lambda **kwargs: TeleopKeyboardNode(fd=fd, **kwargs), contract='panda_twist')
    assert termios.tcgetattr(fd) != before
    node.close()
    assert termios.tcgetattr(fd) == before


def test_without_a_terminal_the_keyboard_is_refused(ros):
    read, write = os.pipe()
    node = ros.start(
        lambda **kwargs: TeleopKeyboardNode(fd=read, **kwargs),
        autostart=False,
        contract='panda_twist',
    )
    assert not node.autostart()
    os.close(read)
    os.close(write)


def test_the_joystick_drives_while_its_dead_man_button_is_held(ros):
    teleop = Teleop(ros, TWIST)
    stops, takes = serve(ros, 'supervisor/stop'), serve(ros, 'supervisor/take')
    pad = ros.publisher('joy', 'sensor_msgs/msg/Joy')
    node = ros.start(TeleopJoyNode, contract='panda_twist', timeout_s=0.3, take_button=2)
    ros.spin_until(lambda: pad.get_subscription_count() and node.count_publishers('joy'))
    teleop.wait_until_engaged(False)
    assert teleop.status.reason == 'nothing on joy'
    held = Joy(axes=[0.0, 1.0, 0.0, 0.0, -0.5], buttons=[0, 0, 0, 0, 1, 0, 0, 0])

    def moves():
        pad.publish(held)
        return teleop.moves() == (0.2, 0.0, -0.1)

    ros.spin_until(moves, what='the motion')
    pad.publish(Joy(axes=list(held.axes), buttons=[0, 0, 0, 0, 0, 0, 1, 0]))
    teleop.wait_until_engaged(False)
    ros.spin_until(lambda: stops, what='the stop button')
    pad.publish(Joy(axes=list(held.axes), buttons=[0, 0, 1, 0, 0, 0, 0, 0]))
    ros.spin_until(lambda: takes, what='the button that takes over')
    pad.publish(held)
    teleop.wait_until_engaged()
    ros.spin_until(lambda: teleop.status.reason == 'nothing on joy', what='silence')
    pad.publish(Joy(axes=[], buttons=[]))
    ros.spin_until(lambda: teleop.status.reason == 'nothing on joy')


@pytest.mark.parametrize(('ahead_s', 'reason'), [(-0.5, 's old'), (0.5, 's ahead')])
def test_a_joystick_whose_stamps_are_not_of_now_counts_as_let_go(ros, ahead_s, reason):
    """Its stamps were not looked at: what a queue had kept for half a second drove the robot."""
    teleop = Teleop(ros, TWIST)
    pad = ros.publisher('joy', 'sensor_msgs/msg/Joy')
    ros.start(TeleopJoyNode, contract='panda_twist')
    held = Joy(axes=[0.0, 1.0, 0.0, 0.0, -0.5], buttons=[0, 0, 0, 0, 1, 0, 0, 0])

    def send(ahead_s):
        now_ns = ros.probe.get_clock().now().nanoseconds
        set_stamp(held, now_ns + round(ahead_s * 1e9))
        pad.publish(held)

    def engaged():
        send(0.0)
        return teleop.status and teleop.status.values['engaged'] == 'true'

    def refused():
        send(ahead_s)
        return teleop.status.reason.startswith('joy is') and reason in teleop.status.reason

    ros.spin_until(engaged, what='engagement')
    ros.spin_until(refused, what='the reason')
    assert teleop.status.values['engaged'] == 'false'
    ros.spin_until(engaged, what='engagement again')


def test_a_leader_whose_stamps_are_old_is_let_go_of(ros):
    teleop = Teleop(ros, POSITION)
    leader = ros.publisher('leader/joint_states', 'sensor_msgs/msg/JointState')
    ros.start(TeleopLeaderNode, contract='panda_position')
    message = JointState(name=[f'panda_joint{index}' for index in range(1, 8)])
    message.position = list(POSITION.home['arm'])

    def old():
        set_stamp(message, ros.probe.get_clock().now().nanoseconds - 200_000_000)
        leader.publish(message)
        return teleop.status and teleop.status.reason.startswith('leader/joint_states is 0.2')

    ros.spin_until(old, what='the reason')


def test_axes_that_do_not_fit_the_contract_are_refused(ros):
    node = ros.start(TeleopJoyNode, autostart=False, contract='panda_position')
    assert not node.autostart()


def test_the_robot_follows_a_leader_once_it_is_engaged_and_near(ros):
    teleop = Teleop(ros, POSITION)
    leader = ros.publisher('leader/joint_states', 'sensor_msgs/msg/JointState')
    robot = ros.publisher('joint_states', 'sensor_msgs/msg/JointState')
    names = [f'panda_joint{index}' for index in range(1, 8)]
    at = {'leader': np.array(POSITION.home['arm']), 'robot': np.array(POSITION.home['arm'])}
    ros.start(TeleopLeaderNode, contract='panda_position')
    ros.probe.create_timer(
        0.02, lambda: leader.publish(JointState(name=names, position=at['leader'].tolist()))
    )
    ros.probe.create_timer(
        0.02, lambda: robot.publish(JointState(name=names, position=at['robot'].tolist()))
    )

    def engage(on=True):
        return ros.call('teleop_leader/engage', SetBool.Request(data=on), SetBool)

    ros.spin_until(lambda: teleop.status and 'not engaged' in teleop.status.reason)
    at['robot'] = at['robot'] + 0.5
    ros.spin_until(lambda: 'is 0.50 from the leader' in engage().message, what='the refusal')
    assert not engage().success
    at['robot'] = at['leader']
    ros.spin_until(lambda: engage().success, what='engagement')
    at['leader'] = at['leader'] + 0.1
    ros.spin_until(
        lambda: teleop.arm and np.allclose(teleop.arm[-1].data, at['leader']), what='following'
    )
    teleop.wait_until_engaged()
    assert engage(False).message == 'let go'
    teleop.wait_until_engaged(False)
    ros.spin_until(lambda: engage().success, what='engagement again')
    teleop.wait_until_engaged()
    at['leader'] = np.full(7, np.nan)
    ros.spin_until(lambda: "'panda_joint1' is nan" in teleop.status.reason, what='the reason')
    assert teleop.status.values['engaged'] == 'false'


def test_in_lockstep_the_expert_answers_each_whole_tick_with_its_label(ros):
    teleop = Teleop(ros, REACH)
    publishers = {
        source.topic: ros.publisher(source.topic, source.type) for source in REACH.sources
    }
    ros.start(TeleopExpertNode, contract='panda_reach', task='reach', lockstep=True)
    ros.spin_until(lambda: all(p.get_subscription_count() for p in publishers.values()))
    ros.spin_until(lambda: ros.probe.count_publishers('teleop/status'))
    state = np.random.default_rng(0).uniform(-0.3, 0.3, 13)
    expected = make_expert('reach', REACH)(Frame(1, {'state': state}))['arm']
    for tick in (1, 2):
        start = 0
        for source in REACH.sources:
            values = state[start : start + len(source.select)]
            start += len(source.select)
            message = codec_for(source.type).encode(new, source.select, values.tolist())
            set_stamp(message, tick * REACH.tick_period_ns)
            publishers[source.topic].publish(message)
        wanted = tick * REACH.tick_period_ns
        ros.spin_until(
            lambda wanted=wanted: teleop.status and teleop.status.tick_ns == wanted,
            what=f'tick {tick}',
        )
    ros.spin_until(lambda: len(teleop.arm) == 2)
    assert teleop.status.values['engaged'] == 'true'
    np.testing.assert_allclose(teleop.moves(), expected)


@pytest.mark.parametrize(
    ('node', 'parameters', 'message'),
    [
        (TeleopExpertNode, {}, 'contract is not set'),
        (TeleopExpertNode, {'contract': 'panda_reach', 'task': 'reech'}, "did you mean 'reach'"),
        (TeleopExpertNode, {'contract': 'panda_reach', 'task': 'reech/7'}, "did you mean 'reach'"),
        (TeleopExpertNode, {'contract': 'panda_reach', 'skill': 1.5}, 'skill'),
        (TeleopJoyNode, {}, 'contract is not set'),
        (TeleopLeaderNode, {}, 'contract is not set'),
        (TeleopKeyboardNode, {'contract': 'panda_twist', 'sped': 1.0}, "unknown parameter 'sped'"),
    ],
)
def test_a_bad_parameter_is_refused_at_start(ros, node, parameters, message):
    with pytest.raises(ParameterError, match=message):
        ros.start(node, **parameters)


def test_an_expert_that_cannot_see_what_it_needs_is_refused(ros):
    node = ros.start(TeleopExpertNode, autostart=False, contract='panda_reach', task='pick_place')
    assert not node.autostart()
