"""A policy, a human and a gate in real time over topics."""

from __future__ import annotations

import os
import pty
import time

from imitation_ros.frames.status import Status, STATUS_TYPE
from imitation_ros.learning.meta.recorded import corrected_by, newest_episode
from imitation_ros.nodes._messages import message_class, new
from imitation_ros.nodes._params import ParameterError
from imitation_ros.nodes._streams import ActionStream
from imitation_ros.nodes.recorder import RecorderNode
from imitation_ros.nodes.supervisor import SupervisorNode
from imitation_ros.nodes.teleop_joy import TeleopJoyNode
from imitation_ros.nodes.teleop_keyboard import TeleopKeyboardNode
from imitation_ros.policies.checkpoint import load_checkpoint, save_checkpoint
import numpy as np
import pytest
import rclpy
from rclpy.parameter import Parameter
from sensor_msgs.msg import Joy
from test_supervisor import HOME, PANDA, Robot

from bench.policy_latency import save_untrained_policy


class Shared(Robot):
    """A robot with a policy that wants to stay, and a human whose device is `values`."""

    def __init__(self, ros, **parameters):
        super().__init__(ros, gate='human', **parameters)
        self.policy = ActionStream(ros.probe, PANDA, 'policy')
        self.diagnostics = ros.listen('/diagnostics', STATUS_TYPE)
        self.policy_values = {}
        self.policy_action = {'arm': HOME, 'gripper': np.array([0])}
        self.live()
        self.timers.append(ros.probe.create_timer(0.05, self.send_policy))
        ros.spin_until(self.both_live, what='both sources')

    def send_action(self, tick_ns=None):
        action = {'arm': self.target, 'gripper': np.array([1])}
        engaged = self.values['engaged'] == 'true'
        self.source.send(self.now_ns, action if engaged else None, '', lambda: self.values)

    def send_policy(self):
        self.policy.send(self.now_ns, self.policy_action, '', lambda: self.policy_values)

    def both_live(self):
        return not any(self.supervisor._mux.problems(time.monotonic_ns()).values())

    def told(self, text):
        """Whether the newest diagnostics say so."""
        status = self.diagnostics[-1].status[0] if self.diagnostics else None
        return status and text in status.message


def test_a_human_takes_over_and_gives_back_by_the_services(ros):
    robot = Shared(ros)
    robot.drive()
    robot.wait_for_mode('policy')
    assert ros.call('supervisor/take').success
    robot.wait_for_mode('expert')
    assert robot.decided[-1].values['gate'] == 'human'
    assert robot.decided[-1].values['labels'] == 'driven'
    first = next(d.tick_ns for d in robot.decided if d.values['mode'] == 'expert')
    assert ros.call('supervisor/discard_correction').success
    ros.spin_until(
        lambda: any(d.values.get('discarded') == str(first) for d in robot.decided),
        what='the decision that says so',
    )
    ros.spin_until(
        lambda: ros.call('supervisor/discard_correction').success, what='what came after it'
    )
    ros.spin_until(
        lambda: any(int(d.values.get('discarded', 0)) > first for d in robot.decided),
        what='the decision that says so',
    )
    assert ros.call('supervisor/give_back').success
    robot.wait_for_mode('policy')

    def refused():
        ros.call('supervisor/discard_correction')
        return not ros.call('supervisor/discard_correction').success

    ros.spin_until(refused, what='that there is nothing left to discard')


def test_the_last_decision_before_a_stop_still_says_whose_labels_count(ros):
    """What an engaged device said beside the policy in that tick became a label."""
    robot = Shared(ros)
    robot.drive()
    robot.wait_for_mode('policy')
    assert ros.call('supervisor/stop').success
    robot.wait_for_mode('stopped')
    driven = [each.values for each in robot.decided if each.values['mode'] == 'policy']
    assert {(each.get('gate'), each.get('labels')) for each in driven} == {('human', 'driven')}


def test_who_takes_over_before_resume_drives_alone(ros):
    """The policy drove until ~/take, so that a new task was taken for a correction of the old."""
    robot = Shared(ros)
    answer = ros.call('supervisor/take')
    assert (answer.success, answer.message) == (True, 'the human has taken over, from ~/resume on')
    robot.drive()
    robot.wait_for_mode('expert')
    assert ros.call('supervisor/stop').success
    robot.wait_for_mode('stopped')
    assert 'policy' not in {decision.values['mode'] for decision in robot.decided}
    robot.drive()
    robot.wait_for_mode('policy')
    assert ros.call('supervisor/stop').success
    (result,) = robot.supervisor.set_parameters([Parameter('gate', value='')])
    assert result.successful
    refused = ros.call('supervisor/take')
    assert (refused.success, refused.message) == (
        False,
        'no gate has authority; set gate and call ~/resume',
    )


def test_a_task_that_is_shown_from_the_first_tick_is_no_correction_of_the_last_one(ros, tmp_path):
    """~/take was refused before ~/resume: the adapted policy drove in every demonstration."""
    save_untrained_policy('panda_position', tmp_path / 'untrained')
    adapted, shown = tmp_path / 'adapted', tmp_path / 'shown'
    record = {'episodes': [str(shown)], 'showing': 1}
    digest = save_checkpoint(adapted, load_checkpoint(tmp_path / 'untrained'), record)
    robot = Shared(ros)
    robot.policy_values = {'checkpoint': digest}
    recorder = ros.start(RecorderNode, contract='panda_position', out=str(tmp_path / 'episodes'))
    others = [source for source in PANDA.sources if source.topic != 'joint_states']
    publishers = [(ros.publisher(source.topic, source.type), source) for source in others]
    ros.probe.create_timer(0.05, lambda: [p.publish(new(s.type)) for p, s in publishers])
    ros.spin_until(lambda: recorder.count_publishers('supervisor/decision'))

    def record_episode(*services):
        ros.spin_until(lambda: ros.call('recorder/start').success, what='the recorder')
        for service, mode in services:
            assert ros.call(f'supervisor/{service}').success
            robot.wait_for_mode(mode)
        ros.call('supervisor/stop')
        assert ros.call('recorder/success').success
        return corrected_by(newest_episode(tmp_path / 'episodes'), adapted, PANDA)

    new_task = record_episode(('take', 'stopped'), ('resume', 'expert'))
    assert new_task == ([], 0)
    correction = record_episode(('resume', 'policy'), ('take', 'expert'))
    assert correction == ([shown], 1)


def test_the_decision_says_what_a_gripper_was_told_last(ros):
    robot = Shared(ros)
    robot.drive()
    robot.wait_for_mode('policy')
    ros.spin_until(lambda: robot.decided[-1].values.get('class gripper') == 'open')
    robot.policy_action['gripper'] = np.array([1])
    ros.spin_until(lambda: robot.decided[-1].values['class gripper'] == 'close')
    assert ros.call('supervisor/stop').success
    robot.wait_for_mode('stopped')
    assert robot.decided[-1].values['class gripper'] == 'close'


def test_a_joystick_takes_over_where_the_policy_is_and_drops_nothing(ros):
    """Its dead-man was held all along: the arm went back, and the gripper opened."""
    robot = Robot(ros, stream='policy', gate='human')
    robot.live()
    pad = ros.publisher('joy', 'sensor_msgs/msg/Joy')
    held = Joy(axes=[0.0, 0.0], buttons=[0, 0, 0, 0, 1, 0, 0, 0])
    ros.probe.create_timer(0.05, lambda: pad.publish(held))
    said = ros.listen('teleop/status', STATUS_TYPE)
    axes = {'axes': (1, *[-1] * 6), 'scales': (1.0,) * 7}
    ros.start(TeleopJoyNode, contract='panda_position', **axes)
    ros.spin_until(
        lambda: said and Status.decode(said[-1]).values['engaged'] == 'true', what='the dead-man'
    )
    robot.drive()
    ros.spin_until(
        lambda: robot.arm and np.allclose(robot.arm[-1].data, robot.target, atol=1e-3),
        what='the policy to get there',
    )
    taken = len(robot.gripper)
    assert ros.call('supervisor/take').success
    robot.wait_for_mode('expert')
    seen = len(robot.arm)
    ros.spin_until(lambda: len(robot.arm) > seen + 30, what='some commands of the human')
    assert robot.decided[-1].values['mode'] == 'expert'
    assert all(message.data for message in robot.gripper[taken:])
    np.testing.assert_allclose(robot.arm[-1].data, robot.target, atol=0.02)
    assert Status.decode(said[-1]).values['motion'] == '0.00'


def test_a_key_takes_over_a_pause_holds_and_another_key_gives_back(ros):
    """The keyboard gave back after a second without a key, and took over by `g`."""
    keyboard, fd = pty.openpty()
    robot = Robot(ros, stream='policy', gate='human', takeover='engaged', stale_after_s=1.0)
    robot.live()
    slow = {'contract': 'panda_position', 'speed': 0.05}  # the policy will not be far away
    node = ros.start(lambda **kwargs: TeleopKeyboardNode(fd=fd, **kwargs), **slow)
    ros.spin_until(lambda: node.count_subscribers('teleop/status'))
    ros.spin_until(lambda: node.count_publishers('policy/status'))

    def press(key, mode):
        os.write(keyboard, key)
        robot.wait_for_mode(mode)

    ros.spin_until(lambda: ros.call('supervisor/resume').success, what='resume')
    robot.wait_for_mode('policy')
    press(b'w', 'expert')
    robot.wait_for_mode('hold')
    os.write(keyboard, b'g')
    ros.spin_for(1.0)
    assert robot.decided[-1].values['mode'] == 'hold'
    press(b'b', 'policy')
    press(b't', 'stopped')
    began = len(robot.decided)
    press(b'g', 'policy')
    assert 'expert' not in {each.values['mode'] for each in robot.decided[began:]}
    node.close()
    os.close(keyboard)
    os.close(fd)


def test_a_lease_takes_over_and_a_lost_device_leads_to_hold(ros):
    robot = Shared(ros, takeover='engaged')
    robot.values = {'engaged': 'false'}
    robot.drive()
    robot.wait_for_mode('policy')
    assert "takeover is 'engaged'" in ros.call('supervisor/take').message
    robot.values = {'engaged': 'true'}
    robot.wait_for_mode('expert')
    robot.values = {'engaged': 'false', 'lost': 'true'}
    robot.wait_for_mode('hold')
    ros.spin_until(lambda: robot.told('teleop: '), what='the reason on /diagnostics')
    robot.values = {'engaged': 'false'}
    ros.spin_for(0.3)
    assert robot.decided[-1].values['mode'] == 'hold', 'nobody has let go of it'
    answer = ros.call('supervisor/give_back')
    assert (answer.success, 'as soon as the device is let go of' in answer.message) == (True, True)
    robot.wait_for_mode('policy')
    robot.values = {'engaged': 'true'}
    robot.wait_for_mode('expert')
    robot.values = {'engaged': 'false'}
    robot.wait_for_mode('policy')


def test_a_policy_that_sends_nan_leads_to_hold_with_its_reason_on_diagnostics(ros):
    robot = Shared(ros)
    robot.drive()
    robot.wait_for_mode('policy')
    robot.policy_action = {'arm': np.full(7, np.nan), 'gripper': np.array([0])}
    robot.wait_for_mode('hold')
    ros.spin_until(lambda: robot.told('policy: refused: arm: not finite'), what='diagnostics')


@pytest.mark.parametrize('topic', ['arm/command', 'teleop/arm/command', 'policy/status'])
def test_a_second_publisher_is_a_fault_that_is_named_and_latches(ros, topic):
    robot = Shared(ros)
    robot.drive()
    robot.wait_for_mode('policy')
    node = ros.add(rclpy.create_node('intruder', context=ros.context))
    type = STATUS_TYPE if topic.endswith('status') else PANDA.actions['arm'].type
    publisher = node.create_publisher(message_class(type), topic, 10)
    robot.wait_for_mode('stopped')
    ros.spin_until(lambda: robot.told(f'/{topic} has more than one publisher'), what='diagnostics')
    assert 'intruder' in robot.diagnostics[-1].status[0].message
    assert robot.diagnostics[-1].status[0].level == b'\x02'
    answer = ros.call('supervisor/resume')
    assert not answer.success
    assert 'intruder' in answer.message
    node.destroy_publisher(publisher)
    ros.spin_for(0.3)
    assert robot.decided[-1].values['mode'] == 'stopped', 'it latches'
    robot.drive()
    robot.wait_for_mode('policy')


def test_a_bad_gate_is_refused_at_start_and_while_it_runs(ros):
    robot = Shared(ros)
    (result,) = robot.supervisor.set_parameters([Parameter('gate', value='humam')])
    assert not result.successful
    assert "did you mean 'human'" in result.reason
    with pytest.raises(ParameterError, match='telepathy'):
        ros.start(SupervisorNode, contract='x', takeover='telepathy')
    with pytest.raises(ParameterError, match="valid: takeover 'button' or 'moving'"):
        ros.start(SupervisorNode, contract='x', gate='shadow', takeover='engaged')


def test_a_gate_that_does_not_go_with_the_takeover_is_refused_at_resume(ros):
    robot = Shared(ros, takeover='engaged')
    (result,) = robot.supervisor.set_parameters([Parameter('gate', value='ensemble')])
    assert result.successful
    answer = ros.call('supervisor/resume')
    assert not answer.success
    assert "gate 'ensemble' with takeover 'engaged'" in answer.message
