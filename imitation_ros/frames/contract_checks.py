"""What one key of a contract alone cannot tell: whether the keys fit each other.

Each function raises `ContractError` at the first thing that does not hold.
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING

from imitation_ros.errors import ContractError, one_of
from imitation_ros.frames.codecs import Codec, codec_for, JointTrajectoryCodec
from imitation_ros.frames.images import MAX_PIXELS
from imitation_ros.frames.status import action_topic, STATUS_TOPICS

if TYPE_CHECKING:
    from imitation_ros.frames.contract import ActionPart, Contract, Source

UNITS_OF_KIND = {
    'position': ('rad', 'm', '1'),
    'trajectory': ('rad', 'm'),
    'velocity': ('rad/s', 'm/s', '1'),
    'delta': ('m/s', 'rad/s', 'm', 'rad', '1'),
}
NAME = re.compile(r'[A-Za-z_][A-Za-z0-9_]*')
TOPIC = re.compile(rf'/?{NAME.pattern}(/{NAME.pattern})*')


def check(contract: Contract) -> None:
    """Checks a contract whose keys and types are right."""
    if not contract.name:
        raise ContractError('name', "found ''", 'valid: text')
    if contract.command_hz < contract.rate_hz:
        raise ContractError(
            'command_hz', f'found {contract.command_hz}', f'at least rate_hz ({contract.rate_hz})'
        )
    for key, names in (('observations', contract.observations), ('actions', contract.actions)):
        if not names:
            raise ContractError(key, 'found none', 'at least one is needed')
        for name in names:
            if not NAME.fullmatch(name):
                raise ContractError(key, f'found {name!r}', 'valid: a name like arm or camera_1')
    for name, sources in contract.observations.items():
        _check_observation(f'observations.{name}', sources)
    for name, part in contract.actions.items():
        _check_action(f'actions.{name}', part)
        _check_feedback(f'actions.{name}', part, contract, name)
    _check_topics(contract)
    for name, target in contract.home.items():
        _check_home(contract, name, target)


def check_finite(where: str, value: object) -> None:
    """Checks that a number is one."""
    if isinstance(value, float) and not math.isfinite(value):
        raise ContractError(where, f'found {value}', 'valid: a finite number')


def _check_observation(where: str, sources: tuple[Source, ...]) -> None:
    if not sources:
        raise ContractError(where, 'found no source', 'at least one is needed')
    for index, source in enumerate(sources):
        at = f'{where}[{index}]'
        codec = codec_for(source.type, f'{at}.type')
        if not codec.image:
            _check_vector(at, source, codec)
        elif len(sources) > 1:
            raise ContractError(at, 'an image beside other sources', 'one image a name')
        else:
            _check_image(at, source)


def _check_vector(where: str, source: Source, codec: Codec) -> None:
    for key in ('resize', 'encoding'):
        if getattr(source, key) is not None:
            raise ContractError(f'{where}.{key}', 'found on a vector', 'only images have it')
    if not source.select:
        raise ContractError(f'{where}.select', 'found none', codec.valid_fields)
    _check_fields(f'{where}.select', source.select, codec)


def _check_image(where: str, source: Source) -> None:
    if source.select:
        raise ContractError(f'{where}.select', 'found fields', 'an image has none')
    size = source.resize
    if not size or min(size) < 1 or size[0] * size[1] > MAX_PIXELS:
        found = 'missing' if size is None else f'found {list(size)}'
        raise ContractError(f'{where}.resize', found, 'valid: [height, width] in pixels')


def _check_fields(where: str, fields: tuple[str, ...], codec: Codec) -> None:
    for index, field in enumerate(fields):
        if not codec.has_field(field):
            raise ContractError(f'{where}[{index}]', f'no field {field!r}', codec.valid_fields)
    _check_once(where, fields)


def _check_once(where: str, names: tuple[str, ...]) -> None:
    for index, name in enumerate(names):
        if not name:
            raise ContractError(f'{where}[{index}]', "found ''", 'valid: a name')
        if name in names[:index]:
            raise ContractError(f'{where}[{index}]', f'{name!r} twice', 'each once')


def _check_topics(contract: Contract) -> None:
    types: dict[str, tuple[str, str]] = {}  # topic → its type, and where that was said
    for name, sources in contract.observations.items():
        for index, source in enumerate(sources):
            where = f'observations.{name}[{index}]'
            _check_topic(f'{where}.topic', source.topic)
            known, before = types.setdefault(source.topic, (source.type, where))
            if known != source.type:
                raise ContractError(f'{where}.type', f'{source.type} on {source.topic}',
                                    f'{known}, as in {before}')  # fmt: skip
    parts: dict[str, str] = {}
    for name, part in contract.actions.items():
        where = f'actions.{name}.topic'
        _check_topic(where, part.topic)
        if part.topic.startswith('/'):
            valid = 'valid: a relative name, since sources publish on policy/<topic>'
            raise ContractError(where, f'found {part.topic!r}', valid)
        if part.topic in parts:
            valid = 'one topic an action part'
            raise ContractError(where, f'{part.topic} is also that of {parts[part.topic]}', valid)
        if any(
            action_topic(stream, part.topic) == topic for stream, topic in STATUS_TOPICS.items()
        ):
            raise ContractError(where, f'found {part.topic!r}', 'it is taken by a status')
        parts[part.topic] = f'actions.{name}'
    for index, topic in enumerate(contract.record_too):
        _check_topic(f'record_too[{index}]', topic)


def _check_topic(where: str, topic: str) -> None:
    if not TOPIC.fullmatch(topic):
        raise ContractError(where, f'found {topic!r}', 'valid: a name like arm/joint_states')


def _check_action(where: str, part: ActionPart) -> None:
    codec = codec_for(part.type, f'{where}.type')
    if not codec.encodes:
        raise ContractError(f'{where}.type', f'{part.type} cannot be commanded', 'only observed')
    _check_wire_fields(where, part, codec)
    for field, value in part.constants.items():
        at = f'{where}.constants.{field}'
        if not codec.has_constant(field):
            raise ContractError(at, 'no such field', codec.valid_fields)
        if field in part.wire_fields:
            raise ContractError(at, 'is commanded too', 'either of the two')
        if field == 'time_from_start' and not 0 <= value <= 3600:
            raise ContractError(at, f'found {value}', 'valid: 0 to 3600 s')
    together = (part.kind == 'trajectory') == isinstance(codec, JointTrajectoryCodec)
    if not together and not part.discrete:
        valid = 'JointTrajectory and kind: trajectory need each other'
        raise ContractError(f'{where}.kind', f'{part.kind} of {part.type}', valid)
    if part.frame_id and not codec.stamped:
        raise ContractError(f'{where}.frame_id', f'{part.type} has no header', 'leave it out')
    if not part.frame_id and codec.cartesian:
        raise ContractError(f'{where}.frame_id', 'missing', 'the frame that the numbers are in')
    (_check_discrete if part.discrete else _check_continuous)(where, part, codec)


def _check_wire_fields(where: str, part: ActionPart, codec: Codec) -> None:
    if part.joints and part.select:
        raise ContractError(f'{where}.select', 'found beside joints', 'either of the two')
    if part.joints:
        if not codec.joint_fields(part.joints):
            raise ContractError(f'{where}.joints', f'{part.type} has no joints', 'valid: select')
        _check_once(f'{where}.joints', part.joints)
    elif not part.select and not codec.has_field('data'):
        found = 'neither joints nor select' if codec.joint_fields(('any',)) else 'no select'
        raise ContractError(where, found, codec.valid_fields)
    _check_fields(f'{where}.{"joints" if part.joints else "select"}', part.wire_fields, codec)
    if not codec.can_command((*part.wire_fields, *part.constants)):
        valid = 'position, velocity or effort of the same joints in the same order'
        raise ContractError(f'{where}.select', f'found {list(part.wire_fields)}', valid)


def _check_discrete(where: str, part: ActionPart, codec: Codec) -> None:
    for key in ('units', 'low', 'high', 'max_velocity', 'max_acceleration', 'feedback'):
        if getattr(part, key):
            raise ContractError(f'{where}.{key}', 'found', 'a discrete part has none')
    if part.label != 'command':
        raise ContractError(f'{where}.label', f'found {part.label}', 'valid: command')
    if len(part.classes) < 2:
        raise ContractError(f'{where}.classes', f'found {len(part.classes)}', 'at least two')
    _check_once(f'{where}.classes', part.classes)
    width = len(part.wire_fields)
    if not part.values and width > 1:
        raise ContractError(f'{where}.values', 'missing', f'{width} numbers a class')
    if part.values and len(part.values) != len(part.classes):
        raise ContractError(
            f'{where}.values', f'found {len(part.values)}', f'one a class ({len(part.classes)})'
        )
    values = part.class_values
    for index, value in enumerate(values):
        at = f'{where}.values[{index}]'
        if len(value) != width:
            raise ContractError(at, f'{len(value)} numbers', f'{width}')
        if value in values[:index]:
            raise ContractError(at, f'found {list(value)} twice', 'each class its own')
        for number in value:
            if codec.whole and (number % 1 or not codec.whole[0] <= number <= codec.whole[1]):
                low, high = codec.whole
                raise ContractError(at, f'found {number}', f'valid: whole, {low} to {high}')
    if part.on_stop == 'zero' and not any(not any(value) for value in values):
        raise ContractError(f'{where}.on_stop', "found 'zero', but no class has zeros", 'hold')


def _check_continuous(where: str, part: ActionPart, codec: Codec) -> None:
    for key in ('classes', 'values'):
        if getattr(part, key):
            raise ContractError(f'{where}.{key}', 'found', f'a part of kind {part.kind} has none')
    limits = ['low', 'high', 'max_acceleration'] + ['max_velocity'] * part.absolute
    for key in ('units', *limits):
        if len(getattr(part, key)) != part.size:
            found = len(getattr(part, key)) or 'none'
            raise ContractError(f'{where}.{key}', f'found {found}', f'one, or {part.size}')
    if part.max_velocity and not part.absolute:
        valid = f'a part of kind {part.kind} has low and high instead'
        raise ContractError(f'{where}.max_velocity', 'found', valid)
    for index, unit in enumerate(part.units):
        if unit not in UNITS_OF_KIND[part.kind]:
            valid = one_of(unit, UNITS_OF_KIND[part.kind])
            raise ContractError(f'{where}.units[{index}]', f'{unit!r} for {part.kind}', valid)
    for index, (low, high) in enumerate(zip(part.low, part.high)):
        if not low < high:
            raise ContractError(f'{where}.low[{index}]', f'{low}', f'below high ({high})')
        if not part.absolute and not low <= 0 <= high:
            raise ContractError(f'{where}.low[{index}]', f'{low} to {high}', 'zero must be within')
        if codec.whole and not codec.whole[0] <= low < high <= codec.whole[1]:
            valid = f'within {codec.whole[0]} and {codec.whole[1]}, which {part.type} can hold'
            raise ContractError(f'{where}.low[{index}]', f'{low} to {high}', valid)
    for key in limits[2:]:
        for index, limit in enumerate(getattr(part, key)):
            if limit <= 0:
                raise ContractError(f'{where}.{key}[{index}]', f'found {limit}', 'above 0')
    if codec.whole == (0, 1):
        raise ContractError(f'{where}.kind', f'{part.kind} of {part.type}', 'valid: discrete')
    if part.on_stop == 'zero' and part.absolute:
        valid = 'valid: hold; zeros would be a posture to move to'
        raise ContractError(f'{where}.on_stop', f"'zero' for kind {part.kind}", valid)


def _check_feedback(where: str, part: ActionPart, contract: Contract, name: str) -> None:
    at, fields = f'{where}.feedback', part.feedback
    if part.label == 'next_observation':
        if part.kind == 'delta':
            valid = 'valid: command; a measured state is no change'
            raise ContractError(f'{where}.label', 'next_observation for kind delta', valid)
        if not fields:
            raise ContractError(at, 'missing', 'next_observation is read from it')
    if part.absolute and not fields:
        raise ContractError(at, 'missing', f'{part.kind} needs a measured state')
    if not fields:
        return
    if len(fields) != part.size:
        raise ContractError(at, f'found {len(fields)}', f'{part.size}')
    _check_once(at, fields)
    if contract.feedback_source(name) is None:
        observed = [field for source in contract.sources for field in source.select]
        lost = next((field for field in fields if field not in observed), fields[0])
        valid = 'all from one observation source; ' + one_of(lost, observed)
        raise ContractError(at, f'{lost!r} is not observed', valid)
    measured = tuple(field.partition('.')[2] for field in fields)
    if set(measured) == set(part.joints) and measured != part.joints:
        raise ContractError(at, f'the order {list(measured)}', 'the order of joints')


def _check_home(contract: Contract, name: str, target: tuple[float, ...]) -> None:
    where = f'home.{name}'
    if name not in contract.actions:
        raise ContractError(where, 'no such action part', one_of(name, contract.actions))
    part = contract.actions[name]
    if not part.absolute:
        raise ContractError(where, f'a part of kind {part.kind}', 'position or trajectory')
    if len(target) != part.size:
        raise ContractError(where, f'{len(target)} numbers', f'{part.size}')
    for index, (value, low, high) in enumerate(zip(target, part.low, part.high)):
        if not low <= value <= high:
            raise ContractError(f'{where}[{index}]', f'found {value}', f'{low} to {high}')
