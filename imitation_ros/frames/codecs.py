"""One message ⇄ one vector, for each message type that a contract may name.

A codec reads messages by attribute alone, so an rclpy message, a record decoded from a bag (lists
and bytes where rclpy has arrays) and a plain object all go the same way. Types from other
packages join through the entry point group 'imitation_ros.codecs': name = the type with dots
for slashes, value = a `Codec` object.
"""

from __future__ import annotations

from array import array as NumberArray
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import entry_points
from operator import attrgetter
import re
from typing import Any, ClassVar

from imitation_ros.errors import ContractError, MessageError, one_of
from imitation_ros.types import Array
import numpy as np

Decoder = Callable[[Any], Array]
MessageFactory = Callable[[str], Any]
"""Makes an empty message of a type: `new('std_msgs/msg/Bool')`."""

XYZ, XYZW = ('x', 'y', 'z'), ('x', 'y', 'z', 'w')


def stamp_ns(message: Any) -> int | None:
    """The header's stamp, or None where there is no header or it was never set (0, 0)."""
    header = getattr(message, 'header', None)
    if header is None:
        return None
    stamp = header.stamp
    # A bag's decoder reads the seconds unsigned, so a negative stamp must not differ live.
    return ((stamp.sec & 0xFFFFFFFF) * 1_000_000_000 + stamp.nanosec) or None


def set_stamp(message: Any, stamp: int) -> None:
    """Writes `stamp` (ns) into the message's header."""
    message.header.stamp.sec, message.header.stamp.nanosec = divmod(stamp, 1_000_000_000)


@dataclass(frozen=True)
class Codec:
    """How one message type becomes a vector and back.

    Attributes:
        type: for example 'sensor_msgs/msg/JointState'.
        encodes: whether it can be commanded.
        stamped: whether it carries a header.
        whole: lowest and highest number, where the type holds whole numbers only.
    """

    type: str
    encodes: bool = True
    stamped: bool = False
    whole: tuple[int, int] | None = None
    image: ClassVar[bool] = False

    @property
    def valid_fields(self) -> str:
        """For error messages: which fields can be selected."""
        raise NotImplementedError

    def has_field(self, field: str) -> bool:
        """Whether `field` can be selected."""
        raise NotImplementedError

    def has_constant(self, field: str) -> bool:
        """Whether `field` can be set to a constant when encoding."""
        return self.has_field(field)

    def joint_fields(self, joints: tuple[str, ...]) -> tuple[str, ...]:
        """The fields that hold `joints`, empty for types that have no joints."""
        return ()

    @property
    def cartesian(self) -> bool:
        """Whether a command means nothing without the header's `frame_id`."""
        return False

    def can_command(self, fields: tuple[str, ...]) -> bool:
        """Whether a message can hold just these fields, each of them valid."""
        return True

    def decoder(self, fields: tuple[str, ...]) -> Decoder:
        """Returns a function from a message to a float64 vector of `fields`, in order.

        The function raises `MessageError` where the message lacks one of them.
        """
        raise NotImplementedError

    def encode(self, new: MessageFactory, fields: tuple[str, ...], values: Sequence[float]) -> Any:
        """Returns a message with `fields` set to `values`."""
        raise NotImplementedError


class FieldCodec(Codec):
    """Types whose numbers have fixed paths, such as 'pose.position.x'."""

    def __init__(
        self,
        type: str,
        *paths: str,
        encodes: bool = True,
        stamped: bool = False,
        whole: tuple[int, int] | None = None,
    ):
        super().__init__(type, encodes, stamped, whole)
        object.__setattr__(self, 'paths', paths)

    paths: tuple[str, ...]

    @property
    def valid_fields(self) -> str:
        """For error messages: which fields can be selected."""
        return f'valid: {", ".join(self.paths)}'

    def has_field(self, field: str) -> bool:
        """Whether `field` is one of the type's paths."""
        return field in self.paths

    @property
    def cartesian(self) -> bool:
        """All types of this kind that can be commanded and have a header are."""
        return self.stamped and self.encodes

    def decoder(self, fields: tuple[str, ...]) -> Decoder:
        """Reads the paths one by one."""
        get = attrgetter(*fields)
        if len(fields) == 1:
            return lambda message: np.array((get(message),), float)
        return lambda message: np.array(get(message), float)

    def encode(self, new: MessageFactory, fields: tuple[str, ...], values: Sequence[float]) -> Any:
        """Sets the paths one by one, in the Python type that the message has there."""
        message = new(self.type)
        for field, value in zip(fields, values):
            *parents, leaf = field.split('.')
            owner = attrgetter('.'.join(parents))(message) if parents else message
            setattr(owner, leaf, type(getattr(owner, leaf))(round(value) if self.whole else value))
        return message


class JointStateCodec(Codec):
    """JointState, by joint name: the order on the wire may be any, and may change."""

    FIELD = re.compile(r'(position|velocity|effort)\.(.+)')

    @property
    def valid_fields(self) -> str:
        """For error messages: which fields can be selected."""
        return 'valid: position.<joint>, velocity.<joint>, effort.<joint>'

    def has_field(self, field: str) -> bool:
        """Whether `field` names a joint's position, velocity or effort."""
        return self.FIELD.fullmatch(field) is not None

    def joint_fields(self, joints: tuple[str, ...]) -> tuple[str, ...]:
        """As a command, the joints' positions."""
        return tuple(f'position.{joint}' for joint in joints)

    def can_command(self, fields: tuple[str, ...]) -> bool:
        """Whether each array that is named has all joints, in one order."""
        joints: dict[str, list[str]] = {}
        for array, _, joint in (field.partition('.') for field in fields):
            joints.setdefault(array, []).append(joint)
        return len(set(map(tuple, joints.values()))) == 1

    def decoder(self, fields: tuple[str, ...]) -> Decoder:
        """Looks the joints up once for each order of names that it meets."""
        wanted = [field.split('.', 1) for field in fields]

        @lru_cache(maxsize=16)
        def places(names: tuple[str, ...]) -> list[int]:
            for _, joint in wanted:
                if joint not in names:
                    raise MessageError(
                        f'no joint {joint!r} in the message; {one_of(joint, names)}'
                    )
            return [used.index(array) * len(names) + names.index(joint) for array, joint in wanted]

        used = tuple(dict.fromkeys(array for array, _ in wanted))

        def decode(message: Any) -> Array:
            names, every = tuple(message.name), []
            for array in used:
                numbers = getattr(message, array)
                if len(numbers) != len(names):
                    raise MessageError(f'{len(names)} joint names, but {array}: {len(numbers)}')
                every.extend(numbers)
            return np.array([every[place] for place in places(names)], float)

        return decode

    def encode(self, new: MessageFactory, fields: tuple[str, ...], values: Sequence[float]) -> Any:
        """Joint names in order of their first field, and the arrays that are named."""
        message = new(self.type)
        arrays: dict[str, list[float]] = {}
        for field, value in zip(fields, values):
            arrays.setdefault(field.partition('.')[0], []).append(float(value))
        message.name = list(dict.fromkeys(field.partition('.')[2] for field in fields))
        for array, numbers in arrays.items():
            setattr(message, array, numbers)
        return message


class ArrayCodec(Codec):
    """Types of unnamed arrays: 'data.0' of a MultiArray, 'axes.1' and 'buttons.0' of Joy."""

    def __init__(self, type: str, *arrays: str, encodes: bool = True, stamped: bool = False):
        super().__init__(type, encodes, stamped)
        object.__setattr__(self, 'arrays', arrays)
        object.__setattr__(self, 'zero', NumberArray('f' if 'Float32' in type else 'd', [0.0]))

    arrays: tuple[str, ...]
    zero: NumberArray[float]
    INDEX = re.compile('0|[1-9][0-9]{0,4}')

    @property
    def valid_fields(self) -> str:
        """For error messages: which fields can be selected."""
        return 'valid: ' + ', '.join(f'{array}.<index>' for array in self.arrays)

    def has_field(self, field: str) -> bool:
        """Whether `field` is an array of the type and an index."""
        array, _, index = field.partition('.')
        return array in self.arrays and self.INDEX.fullmatch(index) is not None

    def joint_fields(self, joints: tuple[str, ...]) -> tuple[str, ...]:
        """The joints lie in the array in the contract's order."""
        return tuple(f'data.{index}' for index in range(len(joints) * ('data' in self.arrays)))

    def decoder(self, fields: tuple[str, ...]) -> Decoder:
        """Reads by index."""
        places = [(array, int(index)) for array, index in (f.split('.') for f in fields)]

        def decode(message: Any) -> Array:
            try:
                return np.array([getattr(message, array)[i] for array, i in places], float)
            except IndexError:
                lengths = {array: len(getattr(message, array)) for array in self.arrays}
                raise MessageError(f'{fields} selected, but the lengths are {lengths}') from None

        return decode

    def encode(self, new: MessageFactory, fields: tuple[str, ...], values: Sequence[float]) -> Any:
        """An array just long enough; elements that no field names are 0."""
        message, places = new(self.type), _indices(fields)
        data = self.zero * (1 + max(places))
        for place, value in zip(places, values):
            data[place] = value
        message.data = data  # a list would be looked through number by number
        return message


@lru_cache(maxsize=64)
def _indices(fields: tuple[str, ...]) -> tuple[int, ...]:
    return tuple(int(field.split('.')[1]) for field in fields)


class JointTrajectoryCodec(Codec):
    """JointTrajectory of one point; `constants: {time_from_start: s}` says when to be there."""

    FIELD = re.compile(r'positions\.(.+)')

    @property
    def valid_fields(self) -> str:
        """For error messages: which fields can be selected."""
        return 'valid: positions.<joint>; constants: time_from_start'

    def has_field(self, field: str) -> bool:
        """Whether `field` names a joint's position."""
        return self.FIELD.fullmatch(field) is not None

    def has_constant(self, field: str) -> bool:
        """Only the time of the point."""
        return field == 'time_from_start'

    def joint_fields(self, joints: tuple[str, ...]) -> tuple[str, ...]:
        """The joints' positions."""
        return tuple(f'positions.{joint}' for joint in joints)

    def decoder(self, fields: tuple[str, ...]) -> Decoder:
        """Reads the last point, by joint name."""
        joints = [field.split('.', 1)[1] for field in fields]

        def decode(message: Any) -> Array:
            if not message.points:
                raise MessageError('a trajectory without points')
            names, positions = list(message.joint_names), message.points[-1].positions
            for joint in joints:
                if joint not in names:
                    raise MessageError(
                        f'no joint {joint!r} in the message; {one_of(joint, names)}'
                    )
            if len(positions) != len(names):
                raise MessageError(f'{len(names)} joint names, but {len(positions)} positions')
            return np.array([positions[names.index(joint)] for joint in joints], float)

        return decode

    def encode(self, new: MessageFactory, fields: tuple[str, ...], values: Sequence[float]) -> Any:
        """One point; the header's stamp stays 0, which a controller reads as 'now'."""
        message, point = new(self.type), new('trajectory_msgs/msg/JointTrajectoryPoint')
        at = dict(zip(fields, values))
        duration_ns = round(at.pop('time_from_start', 0.0) * 1e9)
        duration = point.time_from_start
        duration.sec, duration.nanosec = divmod(duration_ns, 1_000_000_000)
        message.joint_names = [field.split('.', 1)[1] for field in at]
        point.positions = [float(value) for value in at.values()]
        message.points = [point]
        return message


def codec_for(type: str, where: str = 'type') -> Codec:
    """The codec of a message type: ours, else one that another package brings.

    Raises:
        ContractError: there is none; `where` is the key's path for the message.
    """
    codec = codecs().get(type)
    return codec if codec is not None else _plugged(type, where)


@lru_cache
def _plugged(type: str, where: str) -> Codec:
    """Loads one entry point; a broken one stops only those who name its type."""
    entries = {
        entry.name.replace('.', '/'): entry for entry in entry_points(group='imitation_ros.codecs')
    }
    if type not in entries:
        raise ContractError(where, f'no codec for {type!r}', one_of(type, [*codecs(), *entries]))
    try:
        codec = entries[type].load()
    except Exception as error:  # whatever a foreign package raises
        found = f'the codec {entries[type].value} cannot be loaded: {error!r}'
        raise ContractError(where, found, 'repair or remove its package') from error
    if not isinstance(codec, Codec):
        raise ContractError(where, f'{entries[type].value} is no Codec', 'a Codec object')
    return codec


@lru_cache(maxsize=1)
def codecs() -> dict[str, Codec]:
    """Message type → codec, of those that the package brings."""
    from imitation_ros.frames.images import CompressedImageCodec, ImageCodec

    own: list[Codec] = [
        *_geometry('Pose', 'pose', _under('position', XYZ) + _under('orientation', XYZW)),
        *_geometry('Twist', 'twist', _under('linear', XYZ) + _under('angular', XYZ)),
        *_geometry('Wrench', 'wrench', _under('force', XYZ) + _under('torque', XYZ)),
        FieldCodec(
            'nav_msgs/msg/Odometry',
            *_under('pose.pose.position', XYZ), *_under('pose.pose.orientation', XYZW),
            *_under('twist.twist.linear', XYZ), *_under('twist.twist.angular', XYZ),
            encodes=False, stamped=True,
        ),
        FieldCodec(
            'sensor_msgs/msg/Imu',
            *_under('orientation', XYZW), *_under('angular_velocity', XYZ),
            *_under('linear_acceleration', XYZ),
            encodes=False, stamped=True,
        ),
        JointStateCodec('sensor_msgs/msg/JointState', stamped=True),
        JointTrajectoryCodec('trajectory_msgs/msg/JointTrajectory', stamped=True),
        ArrayCodec('sensor_msgs/msg/Joy', 'axes', 'buttons', encodes=False, stamped=True),
        ArrayCodec('std_msgs/msg/Float64MultiArray', 'data'),
        ArrayCodec('std_msgs/msg/Float32MultiArray', 'data'),
        FieldCodec('std_msgs/msg/Float64', 'data'),
        FieldCodec('std_msgs/msg/Float32', 'data'),
        FieldCodec('std_msgs/msg/Int32', 'data', whole=(-(1 << 31), (1 << 31) - 1)),
        FieldCodec('std_msgs/msg/Bool', 'data', whole=(0, 1)),
        ImageCodec('sensor_msgs/msg/Image', encodes=False, stamped=True),
        CompressedImageCodec('sensor_msgs/msg/CompressedImage', encodes=False, stamped=True),
    ]  # fmt: skip
    return {codec.type: codec for codec in own}


def _geometry(name: str, member: str, paths: tuple[str, ...]) -> list[Codec]:
    return [
        FieldCodec(f'geometry_msgs/msg/{name}', *paths),
        FieldCodec(f'geometry_msgs/msg/{name}Stamped', *_under(member, paths), stamped=True),
    ]


def _under(parent: str, leaves: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(f'{parent}.{leaf}' for leaf in leaves)
