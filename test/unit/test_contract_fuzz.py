"""Whatever is in a contract file: a contract, or a ContractError, and nothing else."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path

from hypothesis import example, given, settings
from hypothesis import strategies as st
from imitation_ros.errors import ContractError
from imitation_ros.frames.actions import ActionCodec
from imitation_ros.frames.alignment import Aligner, feedback_decoders
from imitation_ros.frames.contract import Contract, load_contract, parse_contract
import yaml

FILES = sorted((Path(__file__).parents[2] / 'config/contracts').glob('*.yaml'))
DOCUMENTS = [load_contract(path).to_document() for path in FILES]
KEYS = sorted(
    {*Contract.__annotations__, 'topic', 'type', 'select', 'kind', 'units', 'qos', 'low'}
)
WORDS = st.sampled_from(
    (
        *('', 'a', 'position', 'delta', 'rad', 'nan', '1e3', 'data.0', 'data', 'hold', 'linear.x'),
        *('std_msgs/msg/Bool', 'sensor_msgs/msg/Image', 'sensor_msgs/msg/Joy', 'joint_states'),
    )
)
SCALARS = (
    st.none() | st.booleans() | st.integers() | st.floats() | WORDS | st.text(max_size=5)
    | st.binary(max_size=3) | st.dates()
)  # fmt: skip
NAMES = st.sampled_from(KEYS) | st.text(max_size=3)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(NAMES | st.integers(), inner, max_size=3)
        | st.tuples(inner)
    ),
    max_leaves=8,
)  # fmt: skip


def places(value, path=()):
    """Every path into a document."""
    yield path
    if isinstance(value, (dict, list)):
        for key in value if isinstance(value, dict) else range(len(value)):
            yield from places(value[key], (*path, key))


@st.composite
def mutated(draw):
    """One of the package's contracts with up to three values replaced, removed or added."""
    document = deepcopy(draw(st.sampled_from(DOCUMENTS)))
    for _ in range(draw(st.integers(1, 3))):
        *parents, last = draw(st.sampled_from([path for path in places(document) if path]))
        owner = document
        for key in parents:
            owner = owner[key]
        action = draw(st.sampled_from(['replace', 'remove', 'add']))
        if action == 'replace':
            owner[last] = draw(VALUES)
        elif action == 'remove':
            del owner[last]
        elif isinstance(owner, dict):
            owner[draw(NAMES)] = draw(VALUES)
        else:
            owner.append(draw(VALUES))
    return document


def parsed(document):
    """The contract, or the error."""
    try:
        return parse_contract(document)
    except ContractError as error:
        return error


def check(document):
    """What is refused says where and why; what is accepted can be used by all that take one."""
    contract = parsed(document)
    if isinstance(contract, ContractError):
        assert contract.where
        assert contract.found
        assert len(str(contract)) < 3000
        return
    assert parse_contract(contract.to_document()) == contract
    assert len(contract.fingerprint) == 64
    assert contract.observation_specs.keys() == contract.observations.keys()
    for name, part in contract.actions.items():
        assert contract.action_specs[name].shape == (part.size,)
        ActionCodec(part)
    Aligner(contract)
    feedback_decoders(contract)


@settings(max_examples=300, deadline=None)
@given(mutated())
def test_a_mutated_document(document):
    check(document)


@settings(max_examples=100, deadline=None)
@given(VALUES)
def test_any_data(value):
    check(value if isinstance(value, (dict, str)) else {'name': value})


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(FILES), st.data())
def test_a_file_with_some_characters_changed(path, data):
    text = path.read_text()
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(text)))
        end = start + data.draw(st.integers(0, 6))
        snippet = st.text('[]{}:,-&*!|>\'"#%@`? \n\t0', max_size=4) | st.text(max_size=2)
        text = text[:start] + data.draw(snippet) + text[end:]
    check(text)


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=60))
@example('a: 0b_')
@example('a: !!timestamp x')
@example('a: 0x_')
@example('a: 1:99999999999999999999')
@example('!!set {a, b}')
@example('a: !!binary "="')
@example('"\\ud800": 1')
@example('=: 1')
def test_any_text(text):
    check(text)


@settings(max_examples=60, deadline=None)
@given(mutated())
def test_a_mutated_document_written_as_yaml(document):
    check(yaml.dump(document))
