"""The contract: which topics are observations, which are the action, at what rate, in what limits.

A contract is one YAML file, read by every part of the package (docs/contract.md). Here it is
parsed and checked, and nothing else: loading one runs no code that it names.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
import hashlib
import json
from math import ceil
import os
from pathlib import Path
import re
import reprlib
import sys
from typing import Any, Literal

from imitation_ros.errors import ContractError, one_of
from imitation_ros.frames.codecs import codec_for
from imitation_ros.frames.contract_checks import check, check_finite
from imitation_ros.frames.images import IMAGE_ARRAYS
from imitation_ros.frames.strict_yaml import MAX_BYTES, read_yaml
from imitation_ros.types import Spec
import numpy as np
from pydantic import BaseModel, Field, ValidationError

ABSOLUTE_KINDS = ('position', 'trajectory')
TICKS_IN_A_DECISION = 3
"""At most; a source may be two ticks late without being silent."""


class QoS(BaseModel, extra='forbid', frozen=True):
    """Quality of service of one topic, where the default (reliable, volatile, 10) is wrong."""

    reliability: Literal['reliable', 'best_effort'] = 'reliable'
    durability: Literal['volatile', 'transient_local'] = 'volatile'
    depth: int = Field(default=10, ge=1, le=10000)


class Source(BaseModel, extra='forbid', frozen=True):
    """One topic that an observation is taken from.

    Attributes:
        topic: relative name, so that namespaces and remaps work.
        type: for example 'sensor_msgs/msg/JointState'.
        select: fields in order, for example 'position.panda_joint1'; empty for images.
        resize: (height, width) of an image in the frame.
        encoding: of an image in the frame, whatever the camera's: 'rgb8', 'mono8', '16UC1' (mm).
        max_age_s: an older message is a gap, never repeated.
    """

    topic: str
    type: str
    select: tuple[str, ...] = ()
    resize: tuple[int, int] | None = None
    encoding: Literal['rgb8', 'mono8', '16UC1'] | None = None
    max_age_s: float = Field(..., gt=0)
    qos: QoS = QoS()


class ActionPart(BaseModel, extra='forbid', frozen=True):
    """One topic that the action goes to. Continuous parts always carry their limits.

    Attributes:
        topic: where the supervisor publishes it; sources use `policy/<topic>`, `teleop/<topic>`.
        kind: 'position' and 'trajectory' are absolute targets, 'velocity' a rate, 'delta'
            a relative motion (a Cartesian twist for a servo), 'discrete' one of `classes`.
        units: of every element, or one an element.
        joints: for joint-space types, in the policy's order.
        select: for other types, the fields in order.
        feedback: fields of an observation that measure what this part commands.
        low: (n,) lower limit of the command.
        high: (n,) upper limit.
        max_velocity: (n,) limit of an absolute target's rate, in units per second.
        max_acceleration: (n,) limit of the rate's change, in units per second.
        max_handover_error: how far the first target may be from the measured state.
        classes: names of a discrete part's values.
        values: per class, what is on the wire; the class's index where it is empty.
        on_stop: 'hold' repeats the last safe target, 'zero' sends zeros.
        frame_id: for stamped Cartesian types.
        constants: fields of the message that never change.
        label: 'next_observation' where a person guides the arm by hand and no command exists.
    """

    topic: str
    type: str
    kind: Literal['position', 'velocity', 'delta', 'trajectory', 'discrete']
    units: tuple[str, ...] = ()
    joints: tuple[str, ...] = ()
    select: tuple[str, ...] = ()
    feedback: tuple[str, ...] = ()
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()
    max_velocity: tuple[float, ...] = ()
    max_acceleration: tuple[float, ...] = ()
    max_handover_error: float = Field(default=0.2, gt=0)
    classes: tuple[str, ...] = ()
    values: tuple[tuple[float, ...], ...] = ()
    on_stop: Literal['hold', 'zero'] = 'hold'
    frame_id: str = ''
    constants: dict[str, float] = {}
    label: Literal['command', 'next_observation'] = 'command'
    qos: QoS = QoS(depth=1)

    @property
    def discrete(self) -> bool:
        """Whether the policy picks one of `classes`."""
        return self.kind == 'discrete'

    @property
    def absolute(self) -> bool:
        """Whether the command is a target that can be compared with the measured state."""
        return self.kind in ABSOLUTE_KINDS

    @property
    def wire_fields(self) -> tuple[str, ...]:
        """The message's fields that hold the vector, in order."""
        return self.select or codec_for(self.type).joint_fields(self.joints) or ('data',)

    @property
    def class_values(self) -> tuple[tuple[float, ...], ...]:
        """Per class, what is on the wire: `values`, or the class's index."""
        return self.values or tuple((float(index),) for index in range(len(self.classes)))

    @property
    def size(self) -> int:
        """Elements of the policy's vector: 1 for a discrete part."""
        return 1 if self.discrete else len(self.wire_fields)


class Contract(BaseModel, extra='forbid', frozen=True):
    """A checked contract; made by `load_contract` and `parse_contract`.

    Attributes:
        name: a label for people.
        rate_hz: the policy's rate: one frame, one label, one tick.
        command_hz: the supervisor interpolates between ticks at this rate.
        observations: name → its sources; a vector concatenates them in order.
        actions: part → where and how it is commanded.
        record_too: topics that are recorded but are in no frame.
        home: part → target of the supervisor's `home` service.
    """

    name: str
    rate_hz: float = Field(..., gt=0, le=1000)
    command_hz: float = Field(..., gt=0, le=2000)
    observations: dict[str, tuple[Source, ...]]
    actions: dict[str, ActionPart]
    record_too: tuple[str, ...] = ()
    home: dict[str, tuple[float, ...]] = {}

    @property
    def commands_in_a_decision(self) -> int:
        """How many commands one decision of the supervisor may speak of, each of all parts."""
        return TICKS_IN_A_DECISION * ceil(self.command_hz / self.rate_hz)

    @property
    def tick_period_ns(self) -> int:
        """Nanoseconds from one tick to the next."""
        return round(1e9 / self.rate_hz)

    @property
    def sources(self) -> tuple[Source, ...]:
        """Every observation source, in order."""
        return tuple(source for sources in self.observations.values() for source in sources)

    @property
    def observation_specs(self) -> dict[str, Spec]:
        """Observation name → what its array holds."""
        return {
            name: self._observation_spec(name, sources)
            for name, sources in self.observations.items()
        }

    @property
    def action_specs(self) -> dict[str, Spec]:
        """Action part → what its array holds."""
        return {name: self._action_spec(name, part) for name, part in self.actions.items()}

    def feedback_source(self, part: str) -> Source | None:
        """Where the measured state of an action part is read, or None if it has no feedback."""
        fields = self.actions[part].feedback
        for source in self.sources:
            if fields and set(fields) <= set(source.select):
                return Source(**{**dict(source), 'select': fields})
        return None

    @property
    def fingerprint(self) -> str:
        """SHA-256 (hex) over what a policy depends on: order, fields, units, rate, limits."""
        canonical = json.dumps(self._essence(), sort_keys=True, separators=(',', ':'))
        return hashlib.sha256(canonical.encode()).hexdigest()

    def differences(self, other: Contract) -> list[str]:
        """What makes the fingerprints differ, one line an entry: 'key: this, not that'."""
        mine, theirs = dict(_flatten(self._essence())), dict(_flatten(other._essence()))
        return [
            f'{key}: {mine.get(key, "absent")!r} here, {theirs.get(key, "absent")!r} there'
            for key in [*mine, *(key for key in theirs if key not in mine)]
            if mine.get(key, 'absent') != theirs.get(key, 'absent')
        ]

    def to_document(self) -> dict[str, Any]:
        """The contract as plain data; `parse_contract` takes it back."""
        document: dict[str, Any] = _plain(self)
        return document

    def _essence(self) -> dict[str, Any]:
        document = self.to_document()
        for key in ('name', 'command_hz', 'record_too', 'home'):
            document.pop(key)
        for sources in document['observations'].values():
            for source in sources:
                for key in ('max_age_s', 'qos'):
                    source.pop(key)
                if source['resize']:
                    source['encoding'] = source['encoding'] or 'rgb8'
        for name, part in document['actions'].items():
            for key in ('qos', 'feedback', 'max_handover_error', 'on_stop', 'constants', 'label'):
                part.pop(key)
            part['values'] = _plain(self.actions[name].class_values)
        # JSON objects have no order, but the order of the arrays is part of the meaning.
        document['order'] = {
            'observations': list(self.observations),
            'actions': list(self.actions),
        }
        return document

    @staticmethod
    def _observation_spec(name: str, sources: tuple[Source, ...]) -> Spec:
        codec = codec_for(sources[0].type)
        if codec.image:
            channels, dtype = IMAGE_ARRAYS[sources[0].encoding or 'rgb8']
            return Spec(name, (*(sources[0].resize or ()), channels), dtype)
        fields = tuple(f'{source.topic}.{field}' for source in sources for field in source.select)
        return Spec(name, (len(fields),), 'float64', fields)

    @staticmethod
    def _action_spec(name: str, part: ActionPart) -> Spec:
        if part.discrete:
            return Spec(name, (1,), 'int64', (name,), classes=part.classes)
        low, high = np.asarray(part.low, float), np.asarray(part.high, float)
        return Spec(name, (part.size,), 'float64', part.joints or part.wire_fields, low, high)


def load_contract(path: str | Path) -> Contract:
    """Reads and checks a contract file, or one of the package's own by its bare name.

    Raises:
        ContractError: no such file, not YAML, or not a valid contract.
    """
    path = _own_contracts().get(str(path), Path(path))
    try:
        if not path.is_file():  # a pipe or /dev/zero would never end
            valid = f'a file, or one of the own contracts: {", ".join(_own_contracts())}'
            raise ContractError(str(path), 'no such file', f'valid: {valid}')
        if path.stat().st_size > MAX_BYTES:
            raise ContractError(str(path), f'{path.stat().st_size} bytes', f'at most {MAX_BYTES}')
        text = path.read_text(encoding='utf-8')
    except (OSError, ValueError) as error:
        raise ContractError(str(path), f'cannot be read: {error}', 'valid: UTF-8 text') from None
    try:
        return parse_contract(text)
    except ContractError as error:
        raise ContractError(f'{path}: {error.where}', error.found, error.valid) from None


def parse_contract(text_or_document: str | Mapping[str, Any]) -> Contract:
    """Checks a contract given as YAML text or as plain data.

    Raises:
        ContractError: with the key's path, what was found and what would be valid.
    """
    document: Any = text_or_document
    if isinstance(document, str):
        document = read_yaml(document)
    if not isinstance(document, Mapping):
        found = 'nothing' if document is None else _shortened(document)
        raise ContractError('contract', f'found {found}', 'valid: a mapping')
    try:
        _check_plain(document)
    except RecursionError:
        raise ContractError('contract', 'nested too deeply') from None
    document = _with_lists(document)
    try:
        contract = Contract(**document)
    except ValidationError as error:
        raise _contract_error(error, document) from None
    for where, value in _flatten(contract.to_document()):
        check_finite(where, value)
    check(contract)
    return contract


def _own_contracts() -> dict[str, Path]:
    """Name → file of the contracts in `config/contracts`: of the checkout, else as installed."""
    prefixes = [*os.environ.get('AMENT_PREFIX_PATH', '').split(os.pathsep), sys.prefix]
    shares = [Path(prefix) / 'share/imitation_ros' for prefix in prefixes if prefix]
    for root in (Path(__file__).parents[2], *shares):
        files = sorted((root / 'config/contracts').glob('*.yaml'))
        if files:
            return {file.stem: file for file in files}
    return {}


_SURROGATE = re.compile('[\ud800-\udfff]')
"""Half of a character, which YAML and JSON can hold but no message and no file."""


def _check_plain(value: Any, where: str = '') -> None:
    """Refuses what pydantic would take for something else, such as yes for 1."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            if not isinstance(key, str) or not key or _SURROGATE.search(key):
                raise ContractError(where or 'contract', f'found the key {key!r}', 'valid: text')
            _check_plain(item, f'{where}.{key}' if where else key)
    elif isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            _check_plain(item, f'{where}[{index}]')
    elif isinstance(value, bool):
        raise ContractError(where, f'found {value}', 'nothing is true or false; quote a name')
    elif not isinstance(value, (str, int, float, type(None))):
        raise ContractError(where, f'found a {type(value).__name__}', 'valid: numbers and text')
    elif isinstance(value, int) and value.bit_length() > 63:
        raise ContractError(where, f'found {value.bit_length()} bits', 'valid: a number up to 63')
    elif isinstance(value, str) and _SURROGATE.search(value):
        raise ContractError(where, f'found {value!r}', 'valid: text')


def _with_lists(document: Mapping[str, Any]) -> dict[str, Any]:
    """Writes the short forms out: one source for a list of one, one unit or limit for all."""
    document = dict(document)
    observations = document.get('observations')
    if isinstance(observations, Mapping):
        document['observations'] = {
            name: [sources] if isinstance(sources, Mapping) else sources
            for name, sources in observations.items()
        }
    actions = document.get('actions')
    if isinstance(actions, Mapping):
        document['actions'] = {
            name: _part_with_lists(part) if isinstance(part, Mapping) else part
            for name, part in actions.items()
        }
    return document


def _part_with_lists(part: Mapping[str, Any]) -> dict[str, Any]:
    part = dict(part)
    named = part.get('joints') or part.get('select')
    size = len(named) if isinstance(named, (list, tuple)) else 1
    for key in ('units', 'low', 'high', 'max_velocity', 'max_acceleration'):
        if isinstance(part.get(key), (str, int, float)):
            part[key] = [part[key]] * size
    values = part.get('values')
    if isinstance(values, (list, tuple)):
        part['values'] = [[one] if isinstance(one, (int, float)) else one for one in values]
    return part


EXPECTED = {
    'tuple': 'a list',
    'dict': 'a mapping',
    'model': 'a mapping',
    'str': 'text',
    'float': 'a number',
    'int': 'a whole number',
}
"""Start of pydantic's error type → what would be valid."""


def _contract_error(error: ValidationError, document: Mapping[str, Any]) -> ContractError:
    """The first finding of pydantic as path, found, valid; unknown keys come before all others."""
    errors = error.errors()
    first = next((each for each in errors if 'extra' in each['type']), errors[0])
    keys, kind = first['loc'], first['type'].replace('type_error.', '')
    where = ''.join(f'[{key}]' if isinstance(key, int) else f'.{key}' for key in keys)[1:]
    if 'extra' in kind:
        return ContractError(where, 'unknown key', one_of(keys[-1], _model(keys).__annotations__))
    if 'missing' in kind:
        return ContractError(where, 'missing', 'it must be given')
    found: Any = document
    for key in keys:
        found = found[key]
    words = re.sub('^(Input should be|ensure this value is) ', '', first['msg'])
    valid = next((text for start, text in EXPECTED.items() if kind.startswith(start)), words)
    return ContractError(where, f'found {_shortened(found)}', f'valid: {valid}')


def _model(keys: tuple[int | str, ...]) -> type[BaseModel]:
    """Which part of a contract the last of `keys` belongs to."""
    if len(keys) == 1:
        return Contract
    if keys[-2] == 'qos' and len(keys) > 3:
        return QoS
    return Source if keys[0] == 'observations' else ActionPart


def _shortened(value: Any) -> str:
    short = reprlib.Repr()
    short.maxstring = 80
    return short.repr(value)


def _flatten(value: Any, path: str = '') -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _flatten(item, f'{path}.{key}' if path else str(key))
    elif isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            yield from _flatten(item, f'{path}[{index}]')
    else:
        yield path, value


def _plain(value: Any) -> Any:
    """Models and tuples as dicts and lists."""
    if isinstance(value, BaseModel):
        value = dict(value)
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, tuple) else value
