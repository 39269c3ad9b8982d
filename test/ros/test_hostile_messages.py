"""What a broken or hostile peer sends ends no node."""

from __future__ import annotations

from diagnostic_msgs.msg import DiagnosticArray
from imitation_ros.nodes.sim_arm import SimArmNode
import pytest
from rcl_interfaces.msg import Parameter, ParameterValue
from rcl_interfaces.srv import GetParameters, SetParametersAtomically


@pytest.fixture
def arm(ros):
    node = ros.start(SimArmNode, task='reach', contract='panda_reach')
    ros.spin_until(lambda: ros.probe.count_publishers('joint_states'), what='the arm')
    return node


def test_an_acknowledgement_that_is_none(ros, arm):
    """It raised out of the executor."""
    acknowledgements = ros.publisher('recorder/ack', 'diagnostic_msgs/msg/DiagnosticArray')
    ros.spin_until(lambda: acknowledgements.get_subscription_count(), what='the arm listens')
    acknowledgements.publish(DiagnosticArray())
    states = ros.listen('joint_states', 'sensor_msgs/msg/JointState')
    ros.spin_until(lambda: len(states) > 20, what='the arm goes on')


def test_a_parameter_of_a_type_that_there_is_not(ros, arm):
    """rclpy's parameter service raised out of the executor: one request ended any node."""
    value = ParameterValue(type=255)
    request = SetParametersAtomically.Request(parameters=[Parameter(name='seed', value=value)])
    service = 'sim_arm/set_parameters_atomically'
    assert not ros.call(service, request, SetParametersAtomically).result.successful
    names = GetParameters.Request(names=['seed'])
    assert ros.call('sim_arm/get_parameters', names, GetParameters).values[0].integer_value == 0
