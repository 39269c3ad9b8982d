from __future__ import annotations

import os
from pathlib import Path
import pty
import select
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
from imitation_ros.nodes.teleop_relay import TeleopRelayNode
from imitation_ros.sim.experts import make_expert
from imitation_ros.types import Frame
import numpy as np
import pytest
from sensor_msgs.msg import JointState, Joy
from std_msgs.msg import Bool, Float64MultiArray
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

    def wait_for_ticks(self, count):
        end = len(self._statuses) + count
        self.ros.spin_until(lambda: len(self._statuses) >= end, what=f'{count} ticks')

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
    )
    teleop.wait_until_engaged(False)
    assert (teleop.status.sent, teleop.status.reason) == (0, 'no key that moves is pressed')
    os.write(keyboard, b'wq')
    teleop.wait_until_engaged()
    ros.spin_until(lambda: teleop.moves() == (0.2, 0.0, 0.2), what='the motion')
    assert teleop.status.values['fingerprint'] == TWIST.fingerprint
    teleop.wait_until_engaged(False)
    assert teleop.moves() == (0.2, 0.0, 0.2), 'nobody said to stand still'
    os.write(keyboard, b' ')
    ros.spin_until(lambda: teleop.gripper and teleop.gripper[-1].data, what='the gripper')


def test_with_a_policy_only_keys_that_move_engage_and_a_pause_is_no_letting_go(terminal, ros):
    """Any key took over for a second, standing still, and after it the policy drove on."""
    keyboard, fd = terminal
    teleop = Teleop(ros, TWIST)
    resumes, gives = serve(ros, 'supervisor/resume'), serve(ros, 'supervisor/give_back')
    for name in ('recorder/start', 'recorder/success'):
        serve(ros, name)
    decision = ros.publisher('supervisor/decision', STATUS_TYPE)
    said = {'mode': 'policy', 'source': 'policy'}
    ros.probe.create_timer(
        0.02, lambda: decision.publish(Status(1, 'supervisor', 2, '', said).encode(new))
    )
    ros.publisher('policy/status', STATUS_TYPE)
    node = ros.start(
        lambda **kwargs: TeleopKeyboardNode(fd=fd, **kwargs), contract='panda_twist', held_s=0.2
    )
    ros.spin_until(lambda: node.count_publishers('policy/status') and not node.idle)
    os.write(keyboard, b'hrg\n')
    ros.spin_until(lambda: resumes, what='resume')
    assert not teleop.arm
    os.write(keyboard, b'w')
    ros.spin_until(lambda: teleop.arm, what='an action')
    ros.spin_until(lambda: teleop.status.reason, what='a pause')
    ros.spin_for(1.5)
    assert (teleop.status.sent, teleop.status.values['engaged']) == (0, 'true')
    assert teleop.status.values['motion'] == '0.00', 'with takeover moving it gives back'
    assert all(message.twist.linear.x > 0 for message in teleop.arm)
    os.write(keyboard, b'b')
    ros.spin_until(lambda: gives, what='the service')
    teleop.wait_until_engaged(False)
    assert 'lost' not in teleop.status.values
    os.write(keyboard, b'w')
    teleop.wait_until_engaged()
    said.update(mode='stopped', source='')
    teleop.wait_until_engaged(False)


def test_the_keyboard_keeps_what_the_policy_holds(terminal, ros):
    """Its first key after a while opened the gripper."""
    keyboard, fd = terminal
    teleop = Teleop(ros, TWIST)
    decision = ros.publisher('supervisor/decision', STATUS_TYPE)
    ros.start(lambda **kwargs: TeleopKeyboardNode(fd=fd, **kwargs), contract='panda_twist')
    said = {'mode': 'policy', 'source': 'policy', 'class gripper': 'close'}

    def closed():
        decision.publish(Status(1, 'supervisor', 2, '', said).encode(new))
        os.write(keyboard, b'w')
        return teleop.gripper and teleop.gripper[-1].data

    ros.spin_until(closed, what='the class that was told')
    ros.spin_until(
        lambda: teleop.status and teleop.status.values.get('motion') == '1.00', what='the key'
    )


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


def test_a_stop_is_the_last_word_after_a_resume_that_waits(terminal, ros):
    """The resume waited two ticks and followed the stop: the robot moved."""
    keyboard, fd = terminal
    teleop = Teleop(ros, TWIST)
    stops, resumes = serve(ros, 'supervisor/stop'), serve(ros, 'supervisor/resume')
    ros.start(lambda **kwargs: TeleopKeyboardNode(fd=fd, **kwargs), contract='panda_twist')
    teleop.wait_for_ticks(1)
    os.write(keyboard, b'ggt')
    ros.spin_until(lambda: stops, what='the stop')
    teleop.wait_for_ticks(4)
    assert not resumes
    os.write(keyboard, b'tg')
    ros.spin_until(lambda: resumes, what='the resume')


@pytest.mark.parametrize('gives', [True, False])
def test_a_stop_comes_again_after_a_resume_that_was_not_answered_yet(terminal, ros, gives):
    """The supervisor may take them in any order."""
    _, fd = terminal
    teleop = Teleop(ros, TWIST)
    stops = serve(ros, 'supervisor/stop')

    def resume(request, response):
        node.ask('supervisor/stop')
        response.success = gives
        return response

    ros.probe.create_service(Trigger, 'supervisor/resume', resume)
    node = ros.start(lambda **kwargs: TeleopKeyboardNode(fd=fd, **kwargs), contract='panda_twist')
    teleop.wait_for_ticks(1)
    node.ask('supervisor/resume')
    ros.spin_until(lambda: len(stops) == 1 + gives, what='the stop')
    teleop.wait_for_ticks(4)
    assert len(stops) == 1 + gives


def test_what_was_asked_before_its_activation_does_not_follow_it(terminal, ros):
    """Each resume was asked for two ticks after it."""
    keyboard, fd = terminal
    teleop, resumes = Teleop(ros, TWIST), serve(ros, 'supervisor/resume')
    node = ros.start(
        lambda **kwargs: TeleopKeyboardNode(fd=fd, **kwargs),
        autostart=False,
        contract='panda_twist',
    )
    node.trigger_configure()
    os.write(keyboard, b'gg ')
    ros.spin_until(lambda: not select.select([fd], [], [], 0)[0], what='the keys are read')
    node.trigger_activate()
    teleop.wait_for_ticks(4)
    node.ask('supervisor/resume')
    node.trigger_deactivate()
    node.trigger_activate()
    teleop.wait_for_ticks(4)
    assert not resumes
    os.write(keyboard, b'w')
    ros.spin_until(lambda: teleop.gripper, what='an action')
    assert not teleop.gripper[0].data, 'nothing was switched'


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


@pytest.mark.parametrize('ahead_s', [-0.5, 0.5])
def test_a_joystick_whose_stamps_are_not_of_now_can_only_stop(ros, ahead_s):
    """Its buttons resumed and took over, though it counted as let go."""
    teleop = Teleop(ros, TWIST)
    names = ('stop', 'resume', 'take')
    stops, resumes, takes = (serve(ros, f'supervisor/{name}') for name in names)
    pad = ros.publisher('joy', 'sensor_msgs/msg/Joy')
    ros.start(TeleopJoyNode, contract='panda_twist', take_button=2)

    def send(buttons, ahead_s=0.0):
        message = Joy(axes=[0.0] * 5, buttons=buttons)
        now_ns = ros.probe.get_clock().now().nanoseconds
        set_stamp(message, now_ns + round(ahead_s * 1e9))
        pad.publish(message)

    def free():
        send([0] * 8)
        return teleop.status and teleop.status.reason == 'dead-man button is up'

    def engaged():
        send([0, 0, 0, 0, 1, 0, 0, 0])
        return teleop.status.values['engaged'] == 'true' and teleop.gripper

    ros.spin_until(free, what='the joystick is heard')
    send([0, 0, 0, 0, 0, 0, 1, 0], ahead_s)
    ros.spin_until(lambda: stops, what='the stop')
    send([1, 0, 1, 0, 0, 0, 1, 1], ahead_s)
    teleop.wait_for_ticks(4)
    assert not resumes + takes
    ros.spin_until(engaged, what='engagement')
    assert not teleop.gripper[-1].data, 'nothing was switched'


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
    ros.start(TeleopLeaderNode, contract='panda_position', timeout_s=2.0)
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
    told = "engaged; nobody has told gripper a class yet: it will be told 'open'"
    ros.spin_until(lambda: engage().message == told, what='engagement again')
    teleop.wait_until_engaged()
    at['leader'] = np.full(7, np.nan)
    ros.spin_until(lambda: "'panda_joint1' is nan" in teleop.status.reason, what='the reason')
    assert teleop.status.values['engaged'] == 'false'


def test_a_leader_that_lies_about_while_others_drive_says_nothing(ros):
    """It went on saying its pose, which became the label of wherever the policy was."""
    teleop = Teleop(ros, POSITION)
    leader = ros.publisher('leader/joint_states', 'sensor_msgs/msg/JointState')
    robot = ros.publisher('joint_states', 'sensor_msgs/msg/JointState')
    decision = ros.publisher('supervisor/decision', STATUS_TYPE)
    joints, home = [f'panda_joint{index}' for index in range(1, 8)], POSITION.home['arm']
    names = [*joints, 'finger']
    at = {'leader': np.array([*home, 1.0]), 'robot': np.array(home)}  # above 0: open
    said = {'mode': 'policy', 'source': 'policy', 'class gripper': 'close'}
    settings = {'gripper_joint': 'finger', 'timeout_s': 10.0}
    node = ros.start(TeleopLeaderNode, contract='panda_position', **settings)
    joints_of = {'leader': (leader, names), 'robot': (robot, joints)}

    def speak():
        for who, (publisher, of) in joints_of.items():
            publisher.publish(JointState(name=of, position=at[who].tolist()))
        stamp_ns = ros.probe.get_clock().now().nanoseconds
        decision.publish(Status(stamp_ns, 'supervisor', 2, '', said).encode(new))

    ros.probe.create_timer(0.02, speak)

    def engage():
        return ros.call('teleop_leader/engage', SetBool.Request(data=True), SetBool)

    ros.spin_until(lambda: node.count_publishers('supervisor/decision'))
    open_there = "gripper is at 'close', the leader's at 'open'"
    ros.spin_until(lambda: engage().message == open_there, what='the refusal')
    at['leader'][-1] = -1.0
    ros.spin_until(lambda: engage().success, what='engagement')
    teleop.wait_until_engaged()
    at['robot'] = at['robot'] + 0.5
    ros.spin_until(lambda: 'is 0.50 from the leader' in teleop.status.reason, what='far away')
    assert teleop.status.sent == 0
    assert teleop.status.values['engaged'] == 'true', 'nobody let go of it: no policy takes over'
    ros.spin_until(lambda: teleop.status.values.get('motion') == '0.00', what='that it rests')
    at['leader'][0] -= 0.5
    ros.spin_until(lambda: float(teleop.status.values['motion']) > 0.1, what='its motion')
    assert 'lost' not in teleop.status.values
    at['leader'][0] += 0.5
    at['robot'] = at['robot'] - 0.4
    ros.spin_until(lambda: teleop.status.sent, what='an action from near')
    assert 'motion' not in teleop.status.values, 'who stands still on purpose says where to be'
    at['leader'][-1] = 1.0
    ros.spin_until(lambda: teleop.status.reason == open_there, what='the gripper')
    said['labels'] = 'every'
    ros.spin_until(lambda: teleop.status.sent, what='what it would do')
    ros.spin_until(lambda: teleop.gripper and not teleop.gripper[-1].data, what='its label')
    at['robot'] = at['robot'] + 0.4
    ros.spin_until(lambda: not teleop.status.sent, what='far away again')
    said.update(mode='expert', source='teleop_leader')
    ros.spin_until(lambda: teleop.status.sent, what='who drives may run ahead')


class Foreign:
    """Teleoperation that knows nothing of us, and the robot, both at 50 Hz."""

    def __init__(self, ros):
        self.at, self.robot = np.array(POSITION.home['arm']), np.array(POSITION.home['arm'])
        self.says = {'arm', 'gripper', 'deadman'}
        self.held = True
        self._arm = ros.publisher('foreign/arm/command', 'std_msgs/msg/Float64MultiArray')
        self._gripper = ros.publisher('foreign/gripper/command', 'std_msgs/msg/Bool')
        self._deadman = ros.publisher('deadman', 'std_msgs/msg/Bool')
        self._feedback = ros.publisher('joint_states', 'sensor_msgs/msg/JointState')
        ros.probe.create_timer(0.02, self._say)

    def _say(self):
        names = [f'panda_joint{index}' for index in range(1, 8)]
        self._feedback.publish(JointState(name=names, position=self.robot.tolist()))
        if 'arm' in self.says:
            self._arm.publish(Float64MultiArray(data=self.at.tolist()))
        if 'gripper' in self.says:
            self._gripper.publish(Bool(data=True))
        if 'deadman' in self.says:
            self._deadman.publish(Bool(data=self.held))


@pytest.fixture
def patient(tmp_path):
    """The contract with limits for freshness that a busy machine keeps, and the relay's own."""
    text = (CONTRACTS / 'panda_position.yaml').read_text()
    (tmp_path / 'patient.yaml').write_text(text.replace('max_age_s: 0.1', 'max_age_s: 1.0'))
    return {'contract': str(tmp_path / 'patient.yaml'), 'timeout_s': 1.0}


def relayed(teleop, foreign):
    arm, gripper = teleop.arm, teleop.gripper
    return arm and gripper and np.allclose(arm[-1].data, foreign.at) and gripper[-1].data


def test_foreign_commands_are_relayed_once_a_person_says_so_and_silence_ends_it(ros, patient):
    """The design promised an adapter for them: without a status they have no authority."""
    teleop, foreign = Teleop(ros, POSITION), Foreign(ros)
    ros.start(TeleopRelayNode, **patient)

    def engage(on=True):
        return ros.call('teleop_relay/engage', SetBool.Request(data=on), SetBool)

    ros.spin_until(lambda: teleop.status and 'call ~/engage' in teleop.status.reason)
    assert (teleop.status.sent, teleop.status.values['engaged']) == (0, 'false')
    assert not teleop.arm
    foreign.robot = foreign.at + 0.5
    ros.spin_until(lambda: 'is 0.50 from foreign/arm/command' in engage().message, what='refusal')
    foreign.robot = foreign.at
    ros.spin_until(lambda: engage().success, what='engagement')
    foreign.at = foreign.at + 0.1
    ros.spin_until(lambda: relayed(teleop, foreign), what='the commands')
    teleop.wait_until_engaged()
    assert teleop.status.values['fingerprint'] == POSITION.fingerprint
    foreign.says -= {'gripper'}
    lost = 'foreign/gripper/command: the newest is'
    ros.spin_until(lambda: lost in teleop.status.reason, what='the loss')
    assert teleop.status.values['lost'] == 'true'
    seen = len(teleop.arm)
    foreign.says |= {'gripper'}
    ros.spin_until(lambda: 'call ~/engage' in teleop.status.reason, what='the gripper')
    assert teleop.status.values['lost'] == 'true'  # who comes back must say so
    assert len(teleop.arm) == seen
    ros.spin_until(lambda: engage().success, what='engagement again')
    teleop.wait_until_engaged()
    assert engage(False).message == 'let go'
    teleop.wait_until_engaged(False)
    assert 'lost' not in teleop.status.values
    foreign.at = np.full(7, np.nan)
    ros.spin_until(lambda: 'foreign/arm/command: not finite' in teleop.status.reason)


def test_a_dead_man_switch_engages_the_relay_while_it_is_held(ros, patient):
    teleop, foreign = Teleop(ros, POSITION), Foreign(ros)
    foreign.held = False
    ros.start(TeleopRelayNode, deadman='deadman', **patient)
    ros.spin_until(lambda: teleop.status and 'switch deadman is up' in teleop.status.reason)
    answer = ros.call('teleop_relay/engage', SetBool.Request(data=True), SetBool)
    assert (answer.success, 'deadman says who drives' in answer.message) == (False, True)
    foreign.robot, foreign.held = foreign.at + 0.5, True
    ros.spin_until(lambda: 'is 0.50 from' in teleop.status.reason, what='the refusal')
    foreign.robot = foreign.at
    ros.spin_until(lambda: relayed(teleop, foreign), what='the commands')
    foreign.says -= {'deadman'}
    ros.spin_until(lambda: teleop.status.reason == 'nothing on deadman', what='its silence')
    assert (teleop.status.values['engaged'], teleop.status.values['lost']) == ('false', 'true')
    foreign.says |= {'deadman'}
    teleop.wait_until_engaged()
    foreign.held = False
    teleop.wait_until_engaged(False)
    assert 'lost' not in teleop.status.values


def test_a_relay_that_is_engaged_while_others_drive_says_nothing_from_far_away(ros, patient):
    """Where a vendor's leader rested became the label of wherever the policy was."""
    teleop, foreign = Teleop(ros, POSITION), Foreign(ros)
    decision = ros.publisher('supervisor/decision', STATUS_TYPE)
    said = {'mode': 'policy', 'source': 'policy', 'labels': 'every'}
    ros.probe.create_timer(
        0.02, lambda: decision.publish(Status(1, 'supervisor', 2, '', said).encode(new))
    )
    ros.start(TeleopRelayNode, deadman='deadman', **patient)
    teleop.wait_until_engaged()
    foreign.robot = foreign.at + 0.5
    ros.spin_until(lambda: 'is 0.50 from' in teleop.status.reason, what='silence')
    assert (teleop.status.sent, teleop.status.values['engaged']) == (0, 'true')
    foreign.at = foreign.at - 0.5
    ros.spin_until(lambda: float(teleop.status.values['motion']) > 0.1, what='its motion')
    foreign.at = foreign.robot
    ros.spin_until(lambda: teleop.status.sent, what='commands from near')
    foreign.robot = foreign.at + 0.5
    ros.spin_until(lambda: not teleop.status.sent, what='silence again')
    said.update(mode='expert', source='teleop_relay')
    ros.spin_until(lambda: teleop.status.sent, what='who drives may run ahead')


def test_a_relay_does_not_open_what_a_policy_closed(ros, patient):
    """Its gripper's class was never compared: whoever took over dropped the cube."""
    teleop, _foreign = Teleop(ros, POSITION), Foreign(ros)
    decision = ros.publisher('supervisor/decision', STATUS_TYPE)
    said = {'mode': 'policy', 'source': 'policy', 'class gripper': 'open'}
    ros.probe.create_timer(
        0.02, lambda: decision.publish(Status(1, 'supervisor', 2, '', said).encode(new))
    )
    node = ros.start(TeleopRelayNode, **patient)
    ros.spin_until(lambda: teleop.status and node.executed == {'gripper': 0}, what='the class')

    def engage():
        return ros.call('teleop_relay/engage', SetBool.Request(data=True), SetBool)

    other = "gripper is at 'open', foreign/gripper/command at 'close'"
    ros.spin_until(lambda: other in engage().message, what='the refusal')
    said['class gripper'] = 'close'
    ros.spin_until(lambda: engage().success, what='engagement')
    ros.spin_until(lambda: teleop.status.sent, what='commands')
    said['class gripper'] = 'open'
    ros.spin_until(lambda: other in teleop.status.reason, what='silence')
    assert teleop.status.values['engaged'] == 'true'
    said.update(mode='expert', source='teleop_relay')
    ros.spin_until(lambda: teleop.status.sent, what='who drives says what the gripper does')


def test_a_joystick_with_a_broken_axis_can_only_stop(ros):
    """A pad with four axes, or one NaN, could not stop the robot."""
    stops, resumes = (serve(ros, f'supervisor/{name}') for name in ('stop', 'resume'))
    teleop, pad = Teleop(ros, TWIST), ros.publisher('joy', 'sensor_msgs/msg/Joy')
    ros.start(TeleopJoyNode, contract='panda_twist')

    def send(buttons):
        pad.publish(Joy(axes=[0.0, float('nan'), 0.0, 0.0, 0.0], buttons=buttons))

    def heard():
        send([0] * 8)
        pad.publish(Joy(axes=[0.0] * 5, buttons=[0] * 8))
        return teleop.status and teleop.status.reason == 'dead-man button is up'

    ros.spin_until(heard, what='the joystick')
    send([0] * 8)
    send([0, 0, 0, 0, 1, 0, 1, 1])
    ros.spin_until(lambda: stops, what='the stop')
    teleop.wait_for_ticks(4)
    assert not resumes
    assert teleop.status.values['engaged'] == 'false'


def test_a_latched_part_is_in_force_until_its_next_command(ros, patient):
    teleop, foreign = Teleop(ros, POSITION), Foreign(ros)
    foreign.says = {'arm'}
    ros.start(TeleopRelayNode, latched=['gripper'], **patient)
    ros.spin_until(
        lambda: teleop.status and teleop.status.reason == 'foreign/gripper/command: no message yet'
    )
    foreign.says = {'arm', 'gripper'}
    ros.spin_until(lambda: 'call ~/engage' in teleop.status.reason)
    foreign.says = {'arm'}
    ros.spin_for(1.2)  # longer than any command is fresh
    answer = ros.call('teleop_relay/engage', SetBool.Request(data=True), SetBool)
    assert answer.success, answer.message
    ros.spin_until(lambda: relayed(teleop, foreign), what='the commands')


def test_the_supervisor_obeys_a_relayed_topic(ros, patient):
    foreign = Foreign(ros)
    decisions = ros.listen('supervisor/decision', STATUS_TYPE)
    commands = ros.listen('arm/command', POSITION.actions['arm'].type)
    ros.start(
        SupervisorNode, contract=patient['contract'], tracking_delay_s=0.0, stale_after_s=1.0
    )
    ros.start(TeleopRelayNode, deadman='deadman', **patient)
    ros.spin_until(lambda: ros.call('supervisor/resume').success, what='resume')
    foreign.at = foreign.at + 0.1
    ros.spin_until(
        lambda: commands and np.allclose(commands[-1].data, foreign.at, atol=1e-3), what='motion'
    )
    drove = {
        (each.values['mode'], each.values['source']) for each in map(Status.decode, decisions)
    }
    assert ('expert', 'teleop_relay') in drove


@pytest.mark.parametrize(
    'parameters',
    [
        {'topics': ['a']},  # there are two parts
        {'topics': ['teleop/arm/command', 'foreign/gripper/command']},  # it would hear itself
        {'topics': ['foreign/arm/command', '/gripper/command']},  # or its own echo
        {'latched': ['arm']},
        {'latched': ['griper']},
    ],
)
def test_a_relay_that_would_make_something_up_refuses_to_start(ros, parameters):
    node = ros.start(TeleopRelayNode, autostart=False, contract='panda_position', **parameters)
    assert not node.autostart()


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
        (TeleopRelayNode, {}, 'contract is not set'),
        (TeleopKeyboardNode, {'contract': 'panda_twist', 'sped': 1.0}, "unknown parameter 'sped'"),
    ],
)
def test_a_bad_parameter_is_refused_at_start(ros, node, parameters, message):
    with pytest.raises(ParameterError, match=message):
        ros.start(node, **parameters)


def test_an_expert_that_cannot_see_what_it_needs_is_refused(ros):
    node = ros.start(TeleopExpertNode, autostart=False, contract='panda_reach', task='pick_place')
    assert not node.autostart()
