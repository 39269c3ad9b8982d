"""A policy, a human and a gate in real time over topics."""

from __future__ import annotations

import time

from imitation_ros.frames.status import STATUS_TYPE
from imitation_ros.nodes._messages import message_class
from imitation_ros.nodes._params import ParameterError
from imitation_ros.nodes._streams import ActionStream
from imitation_ros.nodes.supervisor import SupervisorNode
import numpy as np
import pytest
import rclpy
from rclpy.parameter import Parameter
from test_supervisor import HOME, PANDA, Robot


class Shared(Robot):
    """A robot with a policy that wants to stay, and a human whose device is `values`."""

    def __init__(self, ros, **parameters):
        super().__init__(ros, gate='human', **parameters)
        self.policy = ActionStream(ros.probe, PANDA, 'policy')
        self.diagnostics = ros.listen('/diagnostics', STATUS_TYPE)
        self.policy_action = {'arm': HOME, 'gripper': np.array([0])}
        self.live()
        self.timers.append(ros.probe.create_timer(0.05, self.send_policy))
        ros.spin_until(self.both_live, what='both sources')

    def send_action(self, tick_ns=None):
        action = {'arm': self.target, 'gripper': np.array([1])}
        engaged = self.values['engaged'] == 'true'
        self.source.send(self.now_ns, action if engaged else None, '', lambda: self.values)

    def send_policy(self):
        self.policy.send(self.now_ns, self.policy_action)

    def both_live(self):
        return not any(self.supervisor._mux.problems(time.monotonic_ns()).values())

    def told(self, text):
        """Whether the newest diagnostics say so."""
        status = self.diagnostics[-1].status[0] if self.diagnostics else None
        return status and text in status.message


def test_a_human_takes_over_and_gives_back_by_the_services(ros):
    robot = Shared(ros)
    refused = ros.call('supervisor/take')
    assert (refused.success, refused.message) == (
        False,
        'no gate has authority; set gate and call ~/resume',
    )
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
    assert not ros.call('supervisor/discard_correction').success
    assert ros.call('supervisor/give_back').success
    robot.wait_for_mode('policy')


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
