"""Each codec on real messages, live and as a bag gives them back: the same arrays from both.

rclpy has `array.array` where the MCAP decoder has lists, and lists where it has bytes.
"""

from __future__ import annotations

from copy import deepcopy
from functools import cache
import io

from hypothesis import given, settings
from hypothesis import strategies as st
from imitation_ros.episodes.definitions import message_definition
from imitation_ros.errors import MessageError
from imitation_ros.frames.actions import ActionCodec
from imitation_ros.frames.alignment import Aligner, feedback_decoders
from imitation_ros.frames.codecs import codec_for, codecs, stamp_ns
from imitation_ros.frames.contract import parse_contract
from imitation_ros.frames.status import Status, STATUS_TYPE
from imitation_ros.nodes._messages import new
from imitation_ros.types import Frame
from mcap.records import Schema
from mcap_ros2.decoder import DecoderFactory
import numpy as np
from PIL import Image as Picture
import pytest
from rclpy.serialization import deserialize_message, serialize_message
from rosbags.typesys import get_typestore, Stores

TYPES = get_typestore(Stores.ROS2_KILTED)
VECTORS = [
    # type, a few fields; every field that is listed gets a number of its own
    ('geometry_msgs/msg/Pose', ('orientation.w', 'position.x', 'position.z')),
    ('geometry_msgs/msg/PoseStamped', ('pose.position.y', 'pose.orientation.x')),
    ('geometry_msgs/msg/Twist', ('linear.x', 'angular.z')),
    ('geometry_msgs/msg/TwistStamped', ('twist.angular.z', 'twist.linear.x')),
    ('geometry_msgs/msg/Wrench', ('force.x', 'torque.z')),
    ('geometry_msgs/msg/WrenchStamped', ('wrench.torque.x', 'wrench.force.z')),
    ('nav_msgs/msg/Odometry', ('twist.twist.linear.x', 'pose.pose.orientation.w')),
    ('sensor_msgs/msg/Imu', ('linear_acceleration.z', 'orientation.w', 'angular_velocity.x')),
    ('sensor_msgs/msg/Joy', ('axes.1', 'buttons.2', 'axes.0')),
    ('sensor_msgs/msg/JointState', ('position.b', 'velocity.a', 'effort.c', 'position.a')),
    ('std_msgs/msg/Float64MultiArray', ('data.2', 'data.0')),
    ('std_msgs/msg/Float32MultiArray', ('data.0', 'data.1')),
    ('std_msgs/msg/Float64', ('data',)),
    ('std_msgs/msg/Float32', ('data',)),
    ('std_msgs/msg/Int32', ('data',)),
    ('std_msgs/msg/Bool', ('data',)),
    ('trajectory_msgs/msg/JointTrajectory', ('positions.b', 'positions.a')),
]


def type_of(message):
    module, _, _ = type(message).__module__.rpartition('.')
    return f'{module.replace(".", "/")}/{type(message).__name__}'


@cache
def bag_decoder(name):
    schema = Schema(data=message_definition(name).encode(), encoding='ros2msg', id=1, name=name)
    return DecoderFactory().decoder_for('cdr', schema)


def from_bag(message):
    """The message as the reader of an episode hands it out."""
    return bag_decoder(type_of(message))(serialize_message(message))


def from_rosbags(message):
    """The same, by way of bytes that the independent library `rosbags` wrote."""
    name = type_of(message)
    return bag_decoder(name)(bytes(TYPES.serialize_cdr(_plain(message), name)))


def _plain(value):
    """An rclpy message as one of the classes of `rosbags`."""
    if hasattr(value, 'get_fields_and_field_types'):
        fields = {
            field: _plain(getattr(value, field)) for field in value.get_fields_and_field_types()
        }
        return TYPES.types[type_of(value)](**fields)
    if isinstance(value, list) and value and not isinstance(value[0], str):
        return [_plain(each) for each in value]
    if isinstance(value, bytes):
        return value[0]
    return value if isinstance(value, (str, bool, int, float, list)) else np.array(value)


def transported(message):
    """As it comes out of the middleware."""
    return deserialize_message(serialize_message(message), type(message))


DECODED = pytest.mark.parametrize('decoded', [transported, from_bag, from_rosbags])


def filled(name):
    """A message with all that a codec could read from it, in an order of its own."""
    message = new(name)
    if name.endswith('JointState'):
        message.name = ['c', 'a', 'b']
        message.position, message.velocity = [3.0, 1.0, 2.0], [13.0, 11.0, 12.0]
        message.effort = [23.0, 21.0, 22.0]
    elif name.endswith('JointTrajectory'):
        message.joint_names = ['b', 'a']
        message.points = [new('trajectory_msgs/msg/JointTrajectoryPoint') for _ in range(2)]
        message.points[1].positions = [2.5, 1.5]
    elif name.endswith('Joy'):
        message.axes, message.buttons = [0.5, -1.0], [0, 0, 1]
    elif name.endswith('MultiArray'):
        message.data = [0.5, 1.5, 2.5]
    elif name.endswith('Bool'):
        message.data = True
    elif name.endswith('Int32'):
        message.data = -7
    else:
        for index, path in enumerate(codec_for(name).paths):
            *parents, leaf = path.split('.')
            owner = message
            for parent in parents:
                owner = getattr(owner, parent)
            setattr(owner, leaf, index + 0.5)
    return message


def expected(name, field):
    """What `filled` put there."""
    special = {
        'position.a': 1, 'position.b': 2, 'velocity.a': 11, 'effort.c': 23, 'positions.a': 1.5,
        'positions.b': 2.5, 'axes.0': 0.5, 'axes.1': -1, 'buttons.2': 1,
        'data.0': 0.5, 'data.1': 1.5, 'data.2': 2.5,
    }  # fmt: skip
    if name.endswith('Bool'):
        return 1.0
    if name.endswith('Int32'):
        return -7.0
    return special[field] if field in special else codec_for(name).paths.index(field) + 0.5


@DECODED
@pytest.mark.parametrize(('name', 'fields'), VECTORS, ids=[row[0] for row in VECTORS])
def test_the_selected_fields_in_their_order(name, fields, decoded):
    vector = codec_for(name).decoder(fields)(decoded(filled(name)))
    np.testing.assert_array_equal(vector, [expected(name, field) for field in fields])
    assert vector.dtype == np.float64


def test_every_codec_is_tried():
    images = {'sensor_msgs/msg/Image', 'sensor_msgs/msg/CompressedImage'}
    assert {name for name, _ in VECTORS} | images == set(codecs())


@pytest.mark.parametrize('name', [name for name, codec in codecs().items() if not codec.image])
def test_codecs_know_which_types_have_a_header(name):
    assert codec_for(name).stamped == hasattr(new(name), 'header')


@DECODED
def test_stamps_and_frame(decoded):
    message = filled('geometry_msgs/msg/PoseStamped')
    message.header.stamp.sec, message.header.stamp.nanosec = 12, 345
    assert stamp_ns(decoded(message)) == 12_000_000_345
    assert stamp_ns(decoded(filled('std_msgs/msg/Float64'))) is None


def test_a_stamp_below_zero_means_the_same_live_and_from_a_bag():
    message = filled('geometry_msgs/msg/PoseStamped')
    message.header.stamp.sec = -5
    assert stamp_ns(message) == stamp_ns(from_bag(message))


@DECODED
@pytest.mark.parametrize(
    ('name', 'field', 'empty'),
    [
        ('sensor_msgs/msg/JointState', 'position.a', {'position': []}),
        ('sensor_msgs/msg/JointState', 'position.a', {'name': ['x', 'y', 'z']}),
        ('trajectory_msgs/msg/JointTrajectory', 'positions.a', {'points': []}),
        ('trajectory_msgs/msg/JointTrajectory', 'positions.a', {'joint_names': ['a']}),
        ('std_msgs/msg/Float64MultiArray', 'data.0', {'data': []}),
        ('sensor_msgs/msg/Joy', 'buttons.0', {'buttons': []}),
    ],
)
def test_a_message_without_the_field_is_refused(name, field, empty, decoded):
    message = filled(name)
    for attribute, value in empty.items():
        setattr(message, attribute, value)
    with pytest.raises(MessageError):
        codec_for(name).decoder((field,))(decoded(message))


PIXELS = np.random.default_rng(0).integers(0, 256, (4, 6, 3), np.uint8)
DEPTH = np.random.default_rng(1).integers(0, 65536, (4, 6), np.uint16)


def image(pixels, encoding, padding, bigendian=0):
    message = new('sensor_msgs/msg/Image')
    message.height, message.width = pixels.shape[:2]
    message.encoding, message.is_bigendian = encoding, bigendian
    rows = np.ascontiguousarray(pixels).view(np.uint8).reshape(len(pixels), -1)
    message.data = np.pad(rows, ((0, 0), (0, padding))).tobytes()
    message.step = rows.shape[1] + padding
    return message


def picture(pixels, format):
    message, stream = new('sensor_msgs/msg/CompressedImage'), io.BytesIO()
    Picture.fromarray(pixels).save(stream, format)
    message.format, message.data = format, stream.getvalue()
    return message


CAMERAS = {
    'rgb8': (image(PIXELS, 'rgb8', 5), 'rgb8', PIXELS),
    'bgr8': (image(PIXELS[:, :, ::-1], 'bgr8', 0), 'rgb8', PIXELS),
    'rgba8': (image(np.dstack([PIXELS, PIXELS[:, :, 0]]), 'rgba8', 3), 'rgb8', PIXELS),
    'mono8': (image(PIXELS[:, :, 0], 'mono8', 1), 'mono8', PIXELS[:, :, :1]),
    'little': (image(DEPTH, '16UC1', 4), '16UC1', DEPTH[:, :, None]),
    'big': (image(DEPTH.astype('>u2'), '16UC1', 1, bigendian=1), '16UC1', DEPTH[:, :, None]),
    'png': (picture(PIXELS, 'png'), 'rgb8', PIXELS),
    'png16': (picture(DEPTH, 'png'), '16UC1', DEPTH[:, :, None]),
}


@DECODED
@pytest.mark.parametrize('camera', CAMERAS)
def test_images(camera, decoded):
    message, encoding, pixels = CAMERAS[camera]
    decode = codec_for(type_of(message)).image_decoder((4, 6), encoding)
    np.testing.assert_array_equal(decode(decoded(message)), pixels)


def test_a_jpeg_is_the_same_picture_live_and_from_a_bag():
    message = picture(PIXELS, 'jpeg')
    decode = codec_for(type_of(message)).image_decoder((3, 3), 'mono8')
    np.testing.assert_array_equal(decode(message), decode(from_bag(message)))


JOINTS = ['b', 'a', 'c']
LIMITS = {'low': -9, 'high': 9, 'max_acceleration': 9}
FEEDBACK = {'feedback': [f'position.{joint}' for joint in JOINTS], 'max_velocity': 9}
PARTS = {
    'positions': {
        'type': 'std_msgs/msg/Float64MultiArray', 'kind': 'position', 'units': 'rad',
        'joints': JOINTS, **FEEDBACK, **LIMITS,
    },
    'single': {
        'type': 'std_msgs/msg/Float32MultiArray', 'kind': 'velocity', 'units': 'rad/s',
        'select': ['data.2', 'data.0', 'data.1'], 'constants': {'data.4': 0.5}, **LIMITS,
    },
    'joint_state': {
        'type': 'sensor_msgs/msg/JointState', 'kind': 'position', 'units': 'rad',
        'joints': JOINTS, **FEEDBACK, **LIMITS,
    },
    'joint_speeds': {
        'type': 'sensor_msgs/msg/JointState', 'kind': 'velocity', 'units': 'rad/s',
        'select': [f'velocity.{joint}' for joint in JOINTS], **LIMITS,
    },
    'trajectory': {
        'type': 'trajectory_msgs/msg/JointTrajectory', 'kind': 'trajectory', 'units': 'rad',
        'joints': JOINTS, 'constants': {'time_from_start': 1.29}, **FEEDBACK, **LIMITS,
    },
    'twist': {
        'type': 'geometry_msgs/msg/Twist', 'kind': 'velocity', 'units': ['m/s', 'rad/s', 'm/s'],
        'select': ['linear.x', 'angular.z', 'linear.y'], 'constants': {'linear.z': -1}, **LIMITS,
    },
    'servo': {
        'type': 'geometry_msgs/msg/TwistStamped', 'kind': 'delta', 'units': 'm/s',
        'select': ['twist.linear.x', 'twist.linear.y', 'twist.linear.z'], 'frame_id': 'base',
        **LIMITS,
    },
    'pose': {
        'type': 'geometry_msgs/msg/PoseStamped', 'kind': 'position', 'units': 'm',
        'select': ['pose.position.x', 'pose.position.y', 'pose.position.z'], 'frame_id': 'base',
        'constants': {'pose.orientation.x': 1, 'pose.orientation.w': 0}, **FEEDBACK, **LIMITS,
    },
    'wrench': {
        'type': 'geometry_msgs/msg/WrenchStamped', 'kind': 'delta', 'units': '1',
        'select': ['wrench.force.x', 'wrench.force.y', 'wrench.torque.z'], 'frame_id': 'tool',
        **LIMITS,
    },
}  # fmt: skip
CHOICES = {
    'bool': {'type': 'std_msgs/msg/Bool', 'classes': ['open', 'close']},
    'inverted': {'type': 'std_msgs/msg/Bool', 'classes': ['open', 'close'], 'values': [1, 0]},
    'width': {'type': 'std_msgs/msg/Float32', 'classes': ['wide', 'shut'], 'values': [0.08, 0]},
    'number': {'type': 'std_msgs/msg/Int32', 'classes': ['a', 'b', 'c'], 'values': [-5, 0, 200]},
    'keys': {
        'type': 'geometry_msgs/msg/TwistStamped', 'classes': ['stay', 'left', 'right'],
        'select': ['twist.linear.y', 'twist.angular.z'], 'frame_id': 'base',
        'values': [[0, 0], [0.2, 0.1], [-0.2, 0.1]],
    },
    'gripper': {
        'type': 'trajectory_msgs/msg/JointTrajectory', 'classes': ['open', 'close'],
        'joints': ['finger'], 'values': [0.04, 0], 'constants': {'time_from_start': 0.5},
    },
}  # fmt: skip


def contract_of(part, observations=None):
    state = {
        'topic': 'joint_states', 'type': 'sensor_msgs/msg/JointState', 'max_age_s': 0.1,
        'select': ['position.a', 'position.b', 'position.c'],
    }  # fmt: skip
    return parse_contract(
        {
            'name': 'test', 'rate_hz': 20, 'command_hz': 20,
            'observations': observations or {'state': state},
            'actions': {'part': {'topic': 'command', **part}},
        }
    )  # fmt: skip


@DECODED
@pytest.mark.parametrize('name', PARTS)
def test_a_command_comes_back_as_it_was_given(name, decoded):
    part = contract_of(PARTS[name]).actions['part']
    codec, vector = ActionCodec(part), np.array([1.5, -2.25, 3.0])
    message = codec.encode(vector, 7_000_000_009, new)
    assert type_of(message) == part.type
    np.testing.assert_array_equal(codec.decode(decoded(message)), vector)


@DECODED
@pytest.mark.parametrize('name', CHOICES)
def test_a_class_comes_back_as_it_was_given(name, decoded):
    part = contract_of({'kind': 'discrete', **CHOICES[name]}).actions['part']
    codec = ActionCodec(part)
    for index in range(len(part.classes)):
        message = decoded(codec.encode(np.array([index]), 0, new))
        assert codec.decode(message).tolist() == [index]
        assert codec.decode(message).dtype == np.int64


def test_a_class_is_on_the_wire_what_the_contract_says():
    def sent(name, index):
        part = contract_of({'kind': 'discrete', **CHOICES[name]}).actions['part']
        return ActionCodec(part).encode(np.array([index]), 0, new)

    assert [sent('bool', 0).data, sent('bool', 1).data] == [False, True]
    assert [sent('inverted', 0).data, sent('inverted', 1).data] == [True, False]
    assert sent('number', 2).data == 200
    assert sent('keys', 2).twist.linear.y == -0.2
    assert sent('gripper', 0).points[0].positions.tolist() == [0.04]


def test_a_whole_number_is_rounded_not_cut():
    part = {'type': 'std_msgs/msg/Int32', 'kind': 'velocity', 'units': '1', **LIMITS}
    codec = ActionCodec(contract_of(part).actions['part'])
    assert codec.encode(np.array([2.9999]), 0, new).data == 3
    assert codec.encode(np.array([-2.6]), 0, new).data == -3


@DECODED
def test_a_class_that_is_not_a_number_is_none(decoded):
    part = contract_of({'kind': 'discrete', **CHOICES['width']}).actions['part']
    message = new(part.type)
    message.data = float('nan')
    with pytest.raises(MessageError, match='not finite'):
        ActionCodec(part).decode(decoded(message))


def test_constants_frame_and_stamp_are_in_the_message():
    def sent(name):
        part = contract_of(PARTS[name]).actions['part']
        return ActionCodec(part).encode(np.array([1.0, 2.0, 3.0]), 7_000_000_009, new)

    assert sent('single').data.tolist() == [2.0, 3.0, 1.0, 0.0, 0.5]
    assert sent('twist').linear.z == -1
    pose = sent('pose')
    assert (pose.pose.orientation.x, pose.pose.orientation.w) == (1, 0)
    assert pose.header.frame_id == 'base'
    assert stamp_ns(pose) == 7_000_000_009
    speeds = sent('joint_speeds')
    assert (speeds.name, speeds.velocity.tolist()) == (JOINTS, [1.0, 2.0, 3.0])
    assert not speeds.position


def test_a_trajectory_starts_now_and_ends_in_time():
    """A start time in the past would make the controller drop the point."""
    part = contract_of(PARTS['trajectory']).actions['part']
    message = ActionCodec(part).encode(np.array([1.0, 2.0, 3.0]), 7_000_000_009, new)
    assert stamp_ns(message) is None
    duration = message.points[0].time_from_start
    assert (duration.sec, duration.nanosec) == (1, 290_000_000)
    part = contract_of({'kind': 'discrete', **CHOICES['gripper']}).actions['part']
    assert stamp_ns(ActionCodec(part).encode(np.array([0]), 7, new)) is None


@settings(max_examples=50, deadline=None)
@given(st.permutations(['a', 'b', 'c', 'x', 'y']), st.lists(st.floats(), min_size=5, max_size=5))
def test_a_joint_state_reads_alike_live_and_from_a_bag(names, numbers):
    message = new('sensor_msgs/msg/JointState')
    message.name, message.position = list(names), numbers
    decode = codec_for('sensor_msgs/msg/JointState').decoder(('position.a', 'position.c'))
    live = decode(transported(message))
    np.testing.assert_array_equal(live, decode(from_bag(message)))
    np.testing.assert_array_equal(live, [numbers[names.index('a')], numbers[names.index('c')]])


@DECODED
def test_a_status_survives_the_way(decoded):
    status = Status(5_000_000_007, 'policy', 2, 'why', {'checkpoint': 'abc', 'fingerprint': 'f'})
    message = status.encode(new)
    assert type_of(message) == STATUS_TYPE
    assert Status.decode(decoded(message)) == status


def test_a_frame_is_the_same_live_and_from_a_bag():
    observations = {
        'state': [
            {'topic': 'joint_states', 'type': 'sensor_msgs/msg/JointState', 'max_age_s': 1,
             'select': ['position.b', 'position.a', 'position.c']},
            {'topic': 'imu', 'type': 'sensor_msgs/msg/Imu', 'max_age_s': 1,
             'select': ['orientation.w']},
            {'topic': 'stick', 'type': 'std_msgs/msg/Float32MultiArray', 'max_age_s': 1,
             'select': ['data.1']},
        ],
        'camera': {'topic': 'image', 'type': 'sensor_msgs/msg/Image', 'max_age_s': 1,
                   'resize': [2, 3]},
    }  # fmt: skip
    contract = contract_of(PARTS['positions'], observations)
    messages = {source.topic: filled(source.type) for source in contract.sources[:3]}
    messages['image'] = deepcopy(CAMERAS['bgr8'][0])
    live, bag = Aligner(contract), Aligner(contract)
    for topic, message in messages.items():
        if hasattr(message, 'header'):
            message.header.stamp.sec = 3
        for aligner, decoded in ((live, transported), (bag, from_bag)):
            aligner.add(topic, decoded(message), 3_100_000_000, 3_050_000_000)
    one, other = live.frame(3_200_000_000), bag.frame(3_200_000_000)
    assert isinstance(one, Frame)
    for name, array in one.observation.items():
        np.testing.assert_array_equal(array, other.observation[name])
        assert array.dtype == other.observation[name].dtype
    topic, feedback = feedback_decoders(contract)['part']
    np.testing.assert_array_equal(feedback(from_bag(messages[topic])), [2, 1, 3])
