"""What docs/contract.md says is so: its example, its tables, its errors."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
import re

from imitation_ros.errors import ContractError
from imitation_ros.frames.codecs import codec_for, codecs
from imitation_ros.frames.contract import ActionPart, Contract, parse_contract, QoS, Source
from imitation_ros.frames.contract_checks import UNITS_OF_KIND
from pydantic import ValidationError
import pytest
import yaml

TEXT = (Path(__file__).parents[2] / 'docs/contract.md').read_text(encoding='utf-8')
STEPS = [yaml.safe_load(block) for block in re.findall(r'```yaml\n(.*?)```', TEXT, re.DOTALL)]
MODELS = {
    'The contract itself': Contract,
    'A source of an observation': Source,
    'A part of the action': ActionPart,
    'Quality of service': QoS,
}
SMALLEST = {
    Contract: {'name': 'x', 'rate_hz': 1, 'command_hz': 1, 'observations': {}, 'actions': {}},
    Source: {'topic': 'x', 'type': 'x', 'max_age_s': 1},
    ActionPart: {'topic': 'x', 'type': 'x', 'kind': 'delta'},
    QoS: {},
}


def table(heading):
    """The rows of the first table under a heading, without its head."""
    section = TEXT.partition(f'# {heading}\n')[2]
    lines = re.search(r'\|.*?(?=\n\n)', section, re.DOTALL).group().splitlines()
    return [[cell.strip() for cell in line.strip('|').split(' |')] for line in lines[2:]]


def merged(document, step):
    """A step of the example put over what came before it."""
    if not isinstance(document, dict) or not isinstance(step, dict):
        return step
    return {**document, **{key: merged(document.get(key), step[key]) for key in step}}


def example(steps):
    document = {}
    for step in STEPS[:steps]:
        document = merged(document, step)
    return document


@pytest.mark.parametrize('steps', range(1, len(STEPS) + 1))
def test_each_step_of_the_example_is_a_contract(steps):
    contract = parse_contract(example(steps))
    assert contract.name == 'my_arm'
    if steps == len(STEPS):
        assert set(contract.observations) == {'state', 'wrist'}
        assert set(contract.actions) == {'arm', 'gripper'}
        assert contract.home['arm'] == (0.0, 0.5, -0.5)


@pytest.mark.parametrize('heading', MODELS)
def test_the_table_has_every_key_with_its_default(heading):
    model = MODELS[heading]
    rows = {row[0].strip('`'): row[2].strip('`') for row in table(heading)}
    assert list(rows) == list(model.__annotations__)
    made = dict(model(**SMALLEST[model]))
    for key, default in rows.items():
        if default == 'required':
            without = {name: value for name, value in SMALLEST[model].items() if name != key}
            with pytest.raises(ValidationError, match=key):
                model(**without)
        elif key == 'qos':
            assert made[key] == QoS(**yaml.safe_load(default))
        else:
            value = yaml.safe_load(default) if default != 'none' else None
            assert (made[key] or None) == (tuple(value) or None if value == [] else value or None)


def test_the_table_of_types_has_every_codec_with_its_fields():
    rows = {type.strip('`'): (fields, command) for type, fields, command in table('Message types')}
    assert set(rows) == set(codecs())
    for type, (fields, command) in rows.items():
        codec = codec_for(type)
        assert f'valid: {fields}'.replace('\\<', '<') == codec.valid_fields
        assert command == ('yes' if codec.encodes else 'no')


def test_the_table_of_kinds_has_the_units():
    rows = {kind.strip('`'): units for kind, _, units in table('Kinds')}
    assert rows.pop('discrete') == 'none'
    assert rows == {kind: ', '.join(units) for kind, units in UNITS_OF_KIND.items()}


def changed(path, value):
    document = deepcopy(example(len(STEPS)))
    *parents, last = [int(key) if key.isdecimal() else key for key in path.split('.')]
    owner = document
    for key in parents:
        owner = owner[key]
    if value == '(left out)':
        del owner[last]
    else:
        owner[last] = yaml.safe_load(value)
    return document


@pytest.mark.parametrize(('you_write', 'and_get'), table('When it is refused'))
def test_the_errors_are_verbatim(you_write, and_get):
    path, _, value = you_write.strip('`').partition(': ')
    with pytest.raises(ContractError) as caught:
        parse_contract(changed(path, value))
    said = str(caught.value)
    if said.startswith('actions.arm.type'):
        said = said.partition(' geometry_msgs')[0] + ' …'
    assert said == and_get.strip('`')


def test_other_controllers_are_commanded_as_the_table_says():
    rows = table('A contract for your arm, step by step')
    assert len(rows) == 5
    for _, type, kinds, keys in rows:
        codec = codec_for(type.strip('`'))
        assert codec.encodes
        assert ('joints' in keys) == bool(codec.joint_fields(('any',)))
        assert ('frame_id' in keys) == codec.cartesian
        for kind in kinds.replace('`', '').split(', '):
            assert kind in UNITS_OF_KIND


def test_what_is_in_the_fingerprint_is_told():
    section = TEXT.partition('## The fingerprint')[2].partition('\n## ')[0]
    told = section.partition('- Not in it:')[2]
    document = parse_contract(example(len(STEPS))).to_document()
    document['actions']['arm']['constants'] = {'data.3': 1.0}
    contract = parse_contract(document)
    essence = {line.partition(':')[0] for line in contract.differences(_other(contract))}
    for model in (Contract, Source, ActionPart):
        for key in model.__annotations__:
            changes = any(re.search(rf'(^|\.){key}(\[|\.|$)', path) for path in essence)
            assert changes != (f'`{key}`' in told), key


def _other(contract):
    """A contract that differs in everything."""
    return Contract(
        name='other', rate_hz=1, command_hz=1, home={'arm': [1, 1, 1]}, record_too=['x'],
        observations={
            'state': [Source(topic='x', type='std_msgs/msg/Bool', select=['data'], max_age_s=9)],
            'wrist': [
                Source(topic='y', type='sensor_msgs/msg/Image', resize=[1, 1], encoding='mono8',
                       max_age_s=9)
            ],
        },
        actions={
            'arm': ActionPart(
                topic='x', type='x', kind='delta', units=['m'] * 3, joints=['x'] * 3,
                select=['y'] * 3, feedback=['z'] * 3, low=[-9] * 3, high=[9] * 3,
                max_velocity=[9] * 3, max_acceleration=[9] * 3, max_handover_error=9,
                classes=['a', 'b'], values=[[5], [6]], on_stop='zero', frame_id='x',
                constants={'x': 1}, label='next_observation',
            )
        },
    )  # fmt: skip
