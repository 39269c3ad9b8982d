"""Codecs on plain objects: what is read, what is refused, and codecs of other packages."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace as Message

from hypothesis import given, settings
from hypothesis import strategies as st
from imitation_ros.errors import ContractError, MessageError
from imitation_ros.frames.codecs import codec_for, codecs, set_stamp, stamp_ns
from imitation_ros.frames.contract import parse_contract
import numpy as np
import pytest

JOINT_STATE = 'sensor_msgs/msg/JointState'
TRAJECTORY = 'trajectory_msgs/msg/JointTrajectory'


def joint_state(names, position=(), velocity=(), effort=()):
    return Message(name=names, position=position, velocity=velocity, effort=effort)


def trajectory(names, *points):
    return Message(joint_names=names, points=[Message(positions=point) for point in points])


@settings(deadline=None)
@given(st.permutations(['a', 'b', 'c', 'd']), st.sampled_from([list, np.array, tuple]))
def test_joints_are_read_by_name_whatever_their_order_on_the_wire(names, kind):
    numbers = {'a': 1.0, 'b': 2.0, 'c': 3.0, 'd': 4.0}
    decode = codec_for(JOINT_STATE).decoder(('position.c', 'velocity.a', 'position.b'))
    position = kind([numbers[name] for name in names])
    velocity = kind([-numbers[name] for name in names])
    vector = decode(joint_state(list(names), position, velocity))
    np.testing.assert_array_equal(vector, [3.0, -1.0, 2.0])
    assert vector.dtype == np.float64


def test_the_order_of_joints_may_change_from_message_to_message():
    decode = codec_for(JOINT_STATE).decoder(('position.a', 'position.b'))
    for names, position in ((['a', 'b'], [1, 2]), (['b', 'x', 'a'], [2, 9, 1])):
        np.testing.assert_array_equal(decode(joint_state(names, position)), [1, 2])


def test_a_joint_name_may_hold_dots():
    codec = codec_for(JOINT_STATE)
    assert codec.has_field('position.left.arm.joint_1')
    vector = codec.decoder(('position.left.arm.joint_1',))(joint_state(['left.arm.joint_1'], [7]))
    np.testing.assert_array_equal(vector, [7])


@pytest.mark.parametrize(
    ('message', 'says'),
    [
        (joint_state([], []), "no joint 'elbow' in the message; valid: none"),
        (joint_state(['elbov'], [1]), "no joint 'elbow'.*did you mean 'elbov'"),
        (joint_state(['elbow'], []), '1 joint names, but position: 0'),
        (joint_state(['elbow', 'wrist'], [1]), '2 joint names, but position: 1'),
        (joint_state(['elbow'], [1, 2]), '1 joint names, but position: 2'),
    ],
)
def test_a_joint_state_that_lacks_a_joint_or_a_number_is_refused(message, says):
    """Also where the joint asked for has a number: it may be that of another one."""
    with pytest.raises(MessageError, match=says):
        codec_for(JOINT_STATE).decoder(('position.elbow',))(message)


def test_arrays_that_nobody_asked_for_may_be_empty():
    decode = codec_for(JOINT_STATE).decoder(('velocity.a',))
    np.testing.assert_array_equal(decode(joint_state(['a'], [], [3.0])), [3.0])


@pytest.mark.parametrize(
    ('message', 'says'),
    [
        (trajectory(['a', 'b']), 'a trajectory without points'),
        (trajectory(['b'], [1.0]), "no joint 'a' in the message; .*valid: b"),
        (trajectory(['a', 'b'], [1.0]), '2 joint names, but 1 positions'),
        (trajectory(['a'], []), '1 joint names, but 0 positions'),
    ],
)
def test_a_trajectory_that_lacks_a_joint_or_a_number_is_refused(message, says):
    with pytest.raises(MessageError, match=says):
        codec_for(TRAJECTORY).decoder(('positions.a',))(message)


def test_a_trajectory_is_read_at_its_end():
    decode = codec_for(TRAJECTORY).decoder(('positions.b', 'positions.a'))
    vector = decode(trajectory(['a', 'b'], [0.0, 0.0], [1.0, 2.0]))
    np.testing.assert_array_equal(vector, [2.0, 1.0])


@pytest.mark.parametrize(
    ('type', 'field', 'message'),
    [
        ('std_msgs/msg/Float64MultiArray', 'data.3', Message(data=[1.0, 2.0])),
        ('sensor_msgs/msg/Joy', 'buttons.0', Message(axes=[1.0], buttons=[])),
    ],
)
def test_an_array_that_is_too_short_is_refused(type, field, message):
    with pytest.raises(MessageError, match=f"'{field}'.*selected, but the lengths are"):
        codec_for(type).decoder((field,))(message)


@pytest.mark.parametrize('field', ['data.', 'data.-1', 'data.01', 'data.٣', 'data.100000', 'x.0'])
def test_an_index_has_one_spelling(field):
    assert not codec_for('std_msgs/msg/Float64MultiArray').has_field(field)


def test_numbers_are_copied_out_of_the_message():
    """rclpy may reuse what it handed out, and a frame outlives its message."""
    data = np.array([1.0, 2.0])
    vector = codec_for('std_msgs/msg/Float64MultiArray').decoder(('data.0', 'data.1'))(
        Message(data=data)
    )
    data[:] = 9.0
    np.testing.assert_array_equal(vector, [1.0, 2.0])


def stamped(sec, nanosec):
    return Message(header=Message(stamp=Message(sec=sec, nanosec=nanosec)))


def test_stamps():
    assert stamp_ns(stamped(2, 5)) == 2_000_000_005
    assert stamp_ns(stamped(0, 0)) is None, 'ROS means: never set'
    assert stamp_ns(Message(data=1.0)) is None
    assert stamp_ns(stamped(-1, 0)) == stamp_ns(stamped(0xFFFFFFFF, 0)), 'live and from a bag'
    message = stamped(0, 0)
    set_stamp(message, 1_234_567_890_123_456_789)
    assert stamp_ns(message) == 1_234_567_890_123_456_789


def test_a_type_without_codec_is_refused_with_the_nearest():
    with pytest.raises(
        ContractError, match=r"at: no codec for 'x'; valid: geometry_msgs/msg/Pose"
    ):
        codec_for('x', 'at')


def test_the_types_that_the_package_promises_have_codecs():
    promised = {
        'geometry_msgs/msg/': 'Pose PoseStamped Twist TwistStamped Wrench WrenchStamped',
        'nav_msgs/msg/': 'Odometry',
        'sensor_msgs/msg/': 'JointState Imu Joy Image CompressedImage',
        'std_msgs/msg/': 'Float64 Float32 Int32 Bool Float64MultiArray Float32MultiArray',
        'trajectory_msgs/msg/': 'JointTrajectory',
    }
    assert set(codecs()) == {
        package + name for package, names in promised.items() for name in names.split()
    }


PLUGIN = """
from imitation_ros.frames.codecs import FieldCodec
CODEC = FieldCodec('gripper_msgs/msg/Width', 'width', encodes=True)
NUMBER = 5
"""


@pytest.fixture
def plugin(tmp_path, monkeypatch):
    """An installed package that brings codecs: one that works and three that do not."""
    (tmp_path / 'gripper_codecs.py').write_text(PLUGIN)
    (tmp_path / 'broken_codecs.py').write_text('raise OSError("no driver")')
    info = tmp_path / 'gripper_codecs-1.0.dist-info'
    info.mkdir()
    (info / 'METADATA').write_text('Metadata-Version: 2.1\nName: gripper-codecs\nVersion: 1.0\n')
    (info / 'entry_points.txt').write_text(
        '[imitation_ros.codecs]\n'
        'gripper_msgs.msg.Width = gripper_codecs:CODEC\n'
        'gripper_msgs.msg.Number = gripper_codecs:NUMBER\n'
        'gripper_msgs.msg.Gone = gripper_codecs:GONE\n'
        'gripper_msgs.msg.Broken = broken_codecs:CODEC\n'
    )
    monkeypatch.syspath_prepend(tmp_path)


@pytest.mark.usefixtures('plugin')
def test_another_package_brings_a_codec():
    codec = codec_for('gripper_msgs/msg/Width')
    np.testing.assert_array_equal(codec.decoder(('width',))(Message(width=0.04)), [0.04])
    contract = parse_contract(
        {
            'name': 'gripper',
            'rate_hz': 10,
            'command_hz': 10,
            'observations': {
                'width': {
                    'topic': 'width',
                    'type': 'gripper_msgs/msg/Width',
                    'select': ['width'],
                    'max_age_s': 1,
                }
            },
            'actions': {
                'width': {
                    'topic': 'command',
                    'type': 'gripper_msgs/msg/Width',
                    'select': ['width'],
                    'kind': 'position',
                    'units': 'm',
                    'feedback': ['width'],
                    'low': 0.0,
                    'high': 0.08,
                    'max_velocity': 0.1,
                    'max_acceleration': 1,
                }
            },
        }
    )
    assert contract.action_specs['width'].shape == (1,)


@pytest.mark.usefixtures('plugin')
@pytest.mark.parametrize(
    ('name', 'says'),
    [
        ('Broken', r"broken_codecs:CODEC cannot be loaded: OSError\('no driver'\)"),
        ('Gone', r'gripper_codecs:GONE cannot be loaded: AttributeError'),
        ('Number', 'gripper_codecs:NUMBER is no Codec'),
        ('Widht', "did you mean 'gripper_msgs/msg/Width'"),
    ],
)
def test_a_broken_codec_stops_only_those_who_name_it(name, says):
    with pytest.raises(ContractError, match=says):
        codec_for(f'gripper_msgs/msg/{name}')
    assert codec_for(JOINT_STATE).type == JOINT_STATE


def test_a_codec_is_frozen():
    with pytest.raises(AttributeError):
        codec_for(JOINT_STATE).type = 'x'
    assert replace(codec_for(JOINT_STATE)) == codec_for(JOINT_STATE)
