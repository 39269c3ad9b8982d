"""A contract is accepted and means what it says, or is refused with key, finding and remedy."""

from __future__ import annotations

from copy import deepcopy
import json
from pathlib import Path
import re

from imitation_ros.errors import ContractError
from imitation_ros.frames.contract import load_contract, parse_contract
import numpy as np
import pytest
import yaml

CONTRACTS = sorted((Path(__file__).parents[2] / 'config/contracts').glob('*.yaml'))
JOINTS = ['j1', 'j2', 'j3']
DOCUMENT = {
    'name': 'three_joints',
    'rate_hz': 20,
    'command_hz': 100,
    'observations': {
        'state': [
            {
                'topic': 'joint_states',
                'type': 'sensor_msgs/msg/JointState',
                'select': [f'position.{joint}' for joint in JOINTS],
                'max_age_s': 0.1,
            },
            {
                'topic': 'cube/pose',
                'type': 'geometry_msgs/msg/PoseStamped',
                'select': ['pose.position.x', 'pose.position.y'],
                'max_age_s': 0.1,
            },
        ],
        'wrist': [
            {
                'topic': 'wrist/image',
                'type': 'sensor_msgs/msg/Image',
                'resize': [48, 64],
                'max_age_s': 0.2,
            }
        ],
    },
    'actions': {
        'arm': {
            'topic': 'arm/command',
            'type': 'std_msgs/msg/Float64MultiArray',
            'kind': 'position',
            'units': 'rad',
            'joints': JOINTS,
            'feedback': [f'position.{joint}' for joint in JOINTS],
            'low': -2.0,
            'high': [1.0, 2.0, 3.0],
            'max_velocity': 2.0,
            'max_acceleration': 10.0,
        },
        'servo': {
            'topic': 'servo/twist',
            'type': 'geometry_msgs/msg/TwistStamped',
            'kind': 'delta',
            'units': ['m/s', 'rad/s'],
            'select': ['twist.linear.x', 'twist.angular.z'],
            'frame_id': 'base',
            'low': -0.4,
            'high': 0.4,
            'max_acceleration': 8.0,
            'on_stop': 'zero',
        },
        'gripper': {
            'topic': 'gripper/command',
            'type': 'std_msgs/msg/Bool',
            'kind': 'discrete',
            'classes': ['open', 'close'],
        },
    },
    'record_too': ['/tf'],
    'home': {'arm': [0.0, 0.5, -0.5]},
}
GONE = object()


def changed(path: str, value: object) -> dict:
    """The document with one value put at `path` ('actions.arm.low'), or taken away."""
    document = deepcopy(DOCUMENT)
    *parents, last = [int(key) if key.isdecimal() else key for key in path.split('/')]
    owner = document
    for key in parents:
        owner = owner[key]
    if value is GONE:
        del owner[last]
    else:
        owner[last] = value
    return document


STATE, IMAGE = 'observations/state/0', 'observations/wrist/0'
ARM, SERVO, GRIPPER = 'actions/arm', 'actions/servo', 'actions/gripper'
IMU = {'topic': 'imu', 'type': 'sensor_msgs/msg/Imu', 'select': ['orientation.x'], 'max_age_s': 1}
TRAJECTORY = 'trajectory_msgs/msg/JointTrajectory'
WRONG = [
    # path, value, then what the error must say: key path, finding, remedy
    ('rate_hz', GONE, 'rate_hz: missing'),
    ('rate_hz', 0, 'rate_hz: found 0; .*greater than 0'),
    ('rate_hz', 'fast', "rate_hz: found 'fast'; valid: a number"),
    ('rate_hz', True, 'rate_hz: found True; nothing is true or false'),
    ('rate_hz', 10**400, 'rate_hz: found 1329 bits; valid'),
    ('rate_hz', float('nan'), 'rate_hz: found nan'),
    ('name', '', "name: found ''; valid: text"),
    ('name', {'a': 1}, r"name: found \{'a': 1\}; valid: text"),
    ('command_hz', 10, r'command_hz: found 10.0; at least rate_hz \(20.0\)'),
    ('rate', 20, 'rate: unknown key; did you mean .rate_hz.. valid: name, rate_hz'),
    ('observations', {}, 'observations: found none; at least one'),
    ('actions', {}, 'actions: found none; at least one'),
    ('observations', ['state'], r"observations: found \['state'\]; valid: a mapping"),
    ('observations/state', 5, 'observations.state: found 5; valid: a list'),
    ('observations/state', [], 'observations.state: found no source; at least one'),
    ('observations/state/0', 'joint_states', r"state\[0\]: found 'joint_states'; valid: a map"),
    ('observations/a b', [IMU], "observations: found 'a b'; valid: a name"),
    ('actions/..', {}, r'actions\.\.\..*: missing'),
    (f'{STATE}/topic', GONE, r'observations.state\[0\].topic: missing'),
    (f'{STATE}/topic', 'joint states', r"state\[0\].topic: found 'joint states'; valid: a name"),
    (f'{STATE}/topick', 'x', r'state\[0\].topick: unknown key; did you mean .topic.'),
    (f'{STATE}/low', [0], r'state\[0\].low: unknown key; .*valid: topic, type, select'),
    (f'{STATE}/type', 'sensor_msgs/msg/JointStates', r"\[0\].type: no codec .*mean '.*JointS"),
    (f'{STATE}/type', 'sensor_msgs/msg/Imu', r"select\[0\]: no field 'position.j1'; valid: orie"),
    (f'{STATE}/select', GONE, r'state\[0\].select: found none; valid: position.<joint>'),
    (f'{STATE}/select', None, r'state\[0\].select: found None; '),
    (f'{STATE}/select', 'position.j1', r"select: found 'position.j1'; valid: a list"),
    (f'{STATE}/select/1', 'positions.j2', r"select\[1\]: no field 'positions.j2'; valid: posi"),
    (f'{STATE}/select/1', 'position.j1', r"select\[1\]: 'position.j1' twice; each once"),
    (f'{STATE}/max_age_s', GONE, r'state\[0\].max_age_s: missing'),
    (f'{STATE}/max_age_s', -1, r'state\[0\].max_age_s: found -1; .*greater than 0'),
    (f'{STATE}/resize', [4, 4], r'state\[0\].resize: found on a vector; only images'),
    (f'{STATE}/qos', 5, r'state\[0\].qos: found 5; valid: a mapping'),
    (f'{STATE}/qos', {'depth': 0}, r'state\[0\].qos.depth: found 0; .*greater than or equal to 1'),
    (f'{STATE}/qos', {'reliable': 1}, r'qos.reliable: unknown key; did you mean .reliability.'),
    (f'{STATE}/qos', {'reliability': 'yes'}, r"reliability: found 'yes'; .*reliable.*best_effort"),
    ('observations/state/1', {**IMU, 'topic': 'joint_states'},
     r'state\[1\].type: sensor_msgs/msg/Imu on joint_states; .*JointState, as in .*state\[0\]'),
    (f'{IMAGE}/resize', GONE, r'wrist\[0\].resize: missing; valid: \[height, width\]'),
    (f'{IMAGE}/resize', [0, 5], r'wrist\[0\].resize: found \[0, 5\]; valid: \[height, width\]'),
    (f'{IMAGE}/resize', [10**6, 10**6], r'wrist\[0\].resize: found .*; valid: \[height, width\]'),
    (f'{IMAGE}/resize', [96], r'wrist\[0\].resize'),
    (f'{IMAGE}/select', ['data'], r'wrist\[0\].select: found fields; an image has none'),
    (f'{IMAGE}/encoding', 'bgr8', r"wrist\[0\].encoding: found 'bgr8'; .*rgb8.*mono8.*16UC1"),
    ('observations/wrist', [DOCUMENT['observations']['wrist'][0], IMU],
     r'observations.wrist\[0\]: an image beside other sources'),
    (f'{ARM}/type', 'sensor_msgs/msg/Imu', 'arm.type: sensor_msgs/msg/Imu cannot be commanded'),
    (f'{ARM}/type', 'control_msgs/msg/JointJog', "arm.type: no codec for 'control_msgs/msg/Joint"),
    (f'{ARM}/topic', '/arm/command', "arm.topic: found '/arm/command'; valid: a relative name"),
    (f'{ARM}/topic', 'servo/twist', 'actions.servo.topic: servo/twist is also that of actions.a'),
    (f'{ARM}/topic', 'status', "arm.topic: found 'status'; it is taken"),
    (f'{ARM}/kind', 'torque', "arm.kind: found 'torque'; .*position.*velocity.*delta"),
    (f'{ARM}/kind', 'trajectory', 'arm.kind: trajectory of std_msgs/msg/Float64MultiArray; '),
    (f'{ARM}/type', TRAJECTORY, f'arm.kind: position of {TRAJECTORY}; JointTrajectory and'),
    (f'{ARM}/units', 'deg', r"arm.units\[0\]: 'deg' for position; .*valid: rad, m, 1"),
    (f'{ARM}/units', 'rad/s', r"arm.units\[0\]: 'rad/s' for position; did you mean 'rad'"),
    (f'{ARM}/units', ['rad', 'rad'], 'arm.units: found 2; one, or 3'),
    (f'{ARM}/units', GONE, 'arm.units: found none; one, or 3'),
    (f'{ARM}/joints', 7, 'arm.joints: found 7; valid: a list'),
    (f'{ARM}/joints', GONE, 'actions.arm: neither joints nor select; valid: data.<index>'),
    (f'{ARM}/joints', ['j1', 'j1', 'j3'], r"arm.joints\[1\]: 'j1' twice; each once"),
    (f'{ARM}/joints', ['j1', '', 'j3'], r"arm.joints\[1\]: found ''; valid: a name"),
    (f'{ARM}/select', ['data.0'], 'arm.select: found beside joints; either of the two'),
    (f'{ARM}/low', [-1, -1], 'arm.low: found 2; one, or 3'),
    (f'{ARM}/low', [-1, 2, -1], r'arm.low\[1\]: 2.0; below high \(2.0\)'),
    (f'{ARM}/low', float('-inf'), r'arm.low\[0\]: found -inf; valid: a finite number'),
    (f'{ARM}/high', float('nan'), r'arm.high\[0\]: found nan; valid: a finite number'),
    (f'{ARM}/max_velocity', GONE, 'arm.max_velocity: found none; one, or 3'),
    (f'{ARM}/max_acceleration', [1, 0, 1], r'arm.max_acceleration\[1\]: found 0.0; above 0'),
    (f'{ARM}/max_handover_error', 0, 'arm.max_handover_error: found 0; .*greater than 0'),
    (f'{ARM}/feedback', GONE, 'arm.feedback: missing; position needs a measured state'),
    (f'{ARM}/feedback', ['position.j1'], 'arm.feedback: found 1; 3'),
    (f'{ARM}/feedback/1', 'position.j4', "'position.j4' is not observed; all from one .*'posit"),
    (f'{ARM}/feedback/1', 'pose.position.x', 'arm.feedback: .*all from one observation source'),
    (f'{ARM}/feedback/1', 'position.j1', r"feedback\[1\]: 'position.j1' twice"),
    (f'{ARM}/feedback', ['position.j2', 'position.j1', 'position.j3'], 'the order of joints'),
    (f'{ARM}/on_stop', 'zero', "arm.on_stop: 'zero' for kind position; valid: hold; zeros would"),
    (f'{ARM}/frame_id', 'base', 'arm.frame_id: std_msgs/msg/Float64MultiArray has no header'),
    (f'{ARM}/classes', ['a', 'b'], 'arm.classes: found; a part of kind position has none'),
    (f'{ARM}/constants', {'data.1': 1}, 'arm.constants.data.1: is commanded too'),
    (f'{ARM}/constants', {'effort': 1}, 'arm.constants.effort: no such field; valid: data.<'),
    (f'{ARM}/constants', {'data.5': 'x'}, "arm.constants.data.5: found 'x'; valid: a number"),
    (f'{SERVO}/frame_id', GONE, 'servo.frame_id: missing; the frame that the numbers are in'),
    (f'{SERVO}/joints', ['j1'], 'servo.select: found beside joints'),
    (f'{SERVO}/select', GONE, 'actions.servo: no select; valid: twist.linear.x'),
    (f'{SERVO}/low', 0.1, r'servo.low\[0\]: 0.1 to 0.4; zero must be within'),
    (f'{SERVO}/max_velocity', 1, 'servo.max_velocity: found; a part of kind delta has low and'),
    (f'{SERVO}/label', 'next_observation', 'servo.label: next_observation for kind delta; valid'),
    (f'{GRIPPER}/classes', ['open'], 'gripper.classes: found 1; at least two'),
    (f'{GRIPPER}/classes', [True, 'x'], r'gripper.classes\[0\]: found True; .*quote a name'),
    (f'{GRIPPER}/classes', ['a', 'a'], r"gripper.classes\[1\]: 'a' twice"),
    (f'{GRIPPER}/classes', ['a', 'b', 'c'], r'gripper.values\[2\]: found 2.0; valid: whole, 0 to'),
    (f'{GRIPPER}/values', [0.5, 1], r'gripper.values\[0\]: found 0.5; valid: whole, 0 to 1'),
    (f'{GRIPPER}/values', [1], r'gripper.values: found 1; one a class \(2\)'),
    (f'{GRIPPER}/values', [1, 1], r'gripper.values\[1\]: found \[1.0\] twice'),
    (f'{GRIPPER}/values', [[0, 1], [1, 0]], r'gripper.values\[0\]: 2 numbers; 1'),
    (f'{GRIPPER}/units', 'm', 'gripper.units: found; a discrete part has none'),
    (f'{GRIPPER}/label', 'next_observation', 'gripper.label: found next_observation; valid: comm'),
    (f'{GRIPPER}/type', 'std_msgs/msg/Float64MultiArray', 'actions.gripper: neither joints nor'),
    (f'{GRIPPER}/kind', 'velocity', 'gripper.classes: found; a part of kind velocity has none'),
    ('record_too/0', 'tf static', r"record_too\[0\]: found 'tf static'; valid: a name"),
    ('home', {'leg': [0]}, 'home.leg: no such action part; .*valid: arm, servo, gripper'),
    ('home', {'gripper': [0]}, 'home.gripper: a part of kind discrete; position or trajectory'),
    ('home', {'arm': [0, 0]}, 'home.arm: 2 numbers; 3'),
    ('home', {'arm': [0, 2.5, 0]}, r'home.arm\[1\]: found 2.5; -2.0 to 2.0'),
]  # fmt: skip


@pytest.mark.parametrize(('path', 'value', 'says'), WRONG, ids=[row[2][:50] for row in WRONG])
def test_what_is_wrong_is_named_with_its_key(path, value, says):
    with pytest.raises(ContractError, match=says):
        parse_contract(changed(path, value))


WRONG_TEXT = [
    ('', 'contract: found nothing; valid: a mapping'),
    ('[1, 2]', r'contract: found \[1, 2\]; valid: a mapping'),
    ('just words', "contract: found 'just words'; valid: a mapping"),
    ('name: [', 'YAML, line 1: '),
    ('name: a\nname: b', "YAML, line 2: duplicate key 'name'; valid: each key once"),
    ('a: {b: 1, b: 2}', "YAML, line 1: duplicate key 'b'"),
    ('a: &x [1]\nb: *x', r'YAML, line 2: alias \*x; valid: write it out'),
    ('a: !!python/object/apply:os.system [ls]', 'YAML, line 1: tag tag:yaml.*os.system'),
    ('a: !!map [1]', 'YAML, line 1: tag'),
    ('<<: {a: 1}', 'YAML, line 1: .*merge'),
    ('1: 2', 'YAML, line 1: key 1; valid: text; quote it'),
    ('? [a]\n: 1', r"YAML, line 1: key \['a'\]"),
    ('a: 2026-99-99', "YAML, line 1: '2026-99-99': month must be"),
    ('rate_hz: ' + '9' * 5000, "YAML, line 1: '999.*; valid: quote it"),
    ('a: 2026-01-01', 'a: found a date; valid: numbers and text'),
    ('a: 1\n---\nb: 2', 'YAML, line 2: but found another document'),
    ('[' * 5000, 'YAML, line 1: nested deeper than 32 levels'),
    ('#' * (1 << 19), 'YAML: 524288 characters; at most'),
    ('a: \0', 'YAML: '),
]


@pytest.mark.parametrize(('text', 'says'), WRONG_TEXT, ids=[row[1][:40] for row in WRONG_TEXT])
def test_text_that_is_no_plain_document_is_refused(text, says):
    with pytest.raises(ContractError, match=says):
        parse_contract(text)


@pytest.mark.parametrize(
    ('document', 'says'),
    [
        ({1: 2}, 'contract: found the key 1; valid: text'),
        ({'name': {3: 4}}, 'name: found the key 3; valid: text'),
        ({'name': b'x'}, 'name: found a bytes; valid: numbers and text'),
        ({'name': {'a', 'b'}}, 'name: found a set'),
        (7, 'contract: found 7; valid: a mapping'),
    ],
)
def test_data_that_no_file_can_hold_is_refused(document, says):
    with pytest.raises(ContractError, match=says):
        parse_contract(document)


def test_a_document_that_holds_itself_is_refused():
    document = deepcopy(DOCUMENT)
    document['home'] = document
    with pytest.raises(ContractError, match='nested too deeply'):
        parse_contract(document)


def test_the_hint_of_an_unknown_key_comes_before_what_is_missing_because_of_it():
    document = changed(f'{STATE}/topic', GONE)
    document['observations']['state'][0]['topik'] = 'joint_states'
    with pytest.raises(
        ContractError, match=r"state\[0\].topik: unknown key; did you mean 'topic'"
    ):
        parse_contract(document)


@pytest.mark.parametrize('name', ['qos', 'observations', 'actions'])
def test_a_part_may_have_the_name_of_a_key(name):
    document = deepcopy(DOCUMENT)
    document['actions'][name] = {**document['actions']['gripper'], 'topic': 'x', 'unit': 'm'}
    with pytest.raises(ContractError, match=rf"actions.{name}.unit: unknown key; .*mean 'units'"):
        parse_contract(document)


def test_an_error_knows_its_parts_and_stays_short():
    with pytest.raises(ContractError) as caught:
        parse_contract(changed(f'{ARM}/joints', 'x' * 100_000))
    assert caught.value.where == 'actions.arm.joints'
    assert caught.value.valid == 'valid: a list'
    assert len(str(caught.value)) < 200


def test_a_joint_state_command_needs_the_same_joints_in_each_array():
    part = {**DOCUMENT['actions']['arm'], 'type': 'sensor_msgs/msg/JointState'}
    del part['joints']
    part |= {'select': ['position.j1', 'velocity.j2', 'position.j3']}
    with pytest.raises(ContractError, match=r'arm.select: found .*of the same joints in the same'):
        parse_contract(changed(ARM, part))
    part |= {'select': ['position.j1', 'position.j2', 'position.j3']}
    assert parse_contract(changed(ARM, part)).actions['arm'].size == 3


def test_a_whole_number_command_stays_in_what_the_type_can_hold():
    part = {
        'topic': 'fingers',
        'type': 'std_msgs/msg/Int32',
        'kind': 'velocity',
        'units': '1',
        'low': -1e12,
        'high': 1e12,
        'max_acceleration': 1,
    }
    with pytest.raises(ContractError, match=r'low\[0\]: .*within -2147483648 and 2147483647'):
        parse_contract(changed('actions/fingers', part))
    part |= {'low': -255, 'high': 255}
    assert parse_contract(changed('actions/fingers', part)).actions['fingers'].size == 1
    part |= {'low': 0, 'high': 1, 'type': 'std_msgs/msg/Bool'}
    with pytest.raises(ContractError, match=r'kind: velocity of std_msgs/msg/Bool; .*discrete'):
        parse_contract(changed('actions/fingers', part))


@pytest.mark.parametrize('seconds', [-1, 1e12])
def test_a_trajectory_ends_neither_in_the_past_nor_next_year(seconds):
    part = {**DOCUMENT['actions']['arm'], 'type': TRAJECTORY, 'kind': 'trajectory'}
    part['constants'] = {'time_from_start': seconds}
    with pytest.raises(ContractError, match=r'time_from_start: found .*valid: 0 to 3600 s'):
        parse_contract(changed(ARM, part))


@pytest.mark.parametrize('path', CONTRACTS, ids=[path.stem for path in CONTRACTS])
def test_own_contracts_load_by_path_and_by_name_and_survive_a_round_trip(path):
    contract = load_contract(path)
    assert load_contract(path.stem) == contract
    again = parse_contract(contract.to_document())
    assert again == contract
    assert again.fingerprint == contract.fingerprint
    assert contract.differences(again) == []


def test_a_round_trip_through_json_and_yaml_keeps_the_contract():
    contract = parse_contract(DOCUMENT)
    document = contract.to_document()
    assert parse_contract(json.loads(json.dumps(document))) == contract
    assert parse_contract(yaml.safe_dump(document)) == contract


def test_short_forms_mean_the_long_ones():
    contract = parse_contract(DOCUMENT)
    assert contract.actions['arm'].low == (-2.0, -2.0, -2.0)
    assert contract.actions['arm'].units == ('rad', 'rad', 'rad')
    short = deepcopy(DOCUMENT)
    short['observations']['wrist'] = short['observations']['wrist'][0]
    assert parse_contract(short) == contract


def test_numbers_that_yaml_takes_for_text_are_numbers():
    """YAML 1.1 wants a dot in 1e-1; nobody else does."""
    text = f'{CONTRACTS[0].read_text()}'
    assert 'max_age_s: 0.2' in text
    contract = parse_contract(text.replace('max_age_s: 0.2', 'max_age_s: 2e-1'))
    assert contract.sources[0].max_age_s == 0.2


def test_specs_say_what_the_arrays_hold():
    contract = parse_contract(DOCUMENT)
    state, wrist = contract.observation_specs['state'], contract.observation_specs['wrist']
    assert state.shape == (5,)
    assert state.fields[0] == 'joint_states.position.j1'
    assert state.fields[-1] == 'cube/pose.pose.position.y'
    assert (wrist.shape, wrist.dtype, wrist.image) == ((48, 64, 3), 'uint8', True)
    arm, gripper = contract.action_specs['arm'], contract.action_specs['gripper']
    assert (arm.shape, arm.fields, arm.dtype) == ((3,), ('j1', 'j2', 'j3'), 'float64')
    np.testing.assert_array_equal(arm.high, [1.0, 2.0, 3.0])
    assert (gripper.shape, gripper.dtype, gripper.classes) == ((1,), 'int64', ('open', 'close'))
    assert contract.tick_period_ns == 50_000_000


def test_feedback_is_read_in_the_order_of_the_command():
    """The observation may have the joints in another order than the command."""
    select = ['position.j3', 'position.j2', 'position.j1']
    contract = parse_contract(changed(f'{STATE}/select', select))
    source = contract.feedback_source('arm')
    assert source.topic == 'joint_states'
    assert source.select == ('position.j1', 'position.j2', 'position.j3')
    assert contract.feedback_source('gripper') is None


def test_a_contract_is_frozen():
    contract = parse_contract(DOCUMENT)
    with pytest.raises((TypeError, ValueError), match=r'rate_hz|frozen|immutable'):
        contract.rate_hz = 50


CHANGES = {
    'rate_hz': 25,
    f'{STATE}/topic': 'joints',
    f'{STATE}/select': ['position.j2', 'position.j1', 'position.j3'],
    f'{IMAGE}/resize': [64, 48],
    f'{IMAGE}/encoding': 'mono8',
    f'{ARM}/topic': 'arm/other',
    f'{ARM}/units': 'm',
    f'{ARM}/low': [-2.0, -2.0, -1.9],
    f'{ARM}/high': 3.0,
    f'{ARM}/max_velocity': 1.0,
    f'{ARM}/max_acceleration': 1.0,
    f'{SERVO}/kind': 'velocity',
    f'{SERVO}/frame_id': 'tool',
    f'{GRIPPER}/classes': ['close', 'open'],
    f'{GRIPPER}/values': [1, 0],
}


@pytest.mark.parametrize('path', CHANGES)
def test_what_a_policy_depends_on_changes_the_fingerprint_and_is_named(path):
    ours, theirs = parse_contract(DOCUMENT), parse_contract(changed(path, CHANGES[path]))
    assert ours.fingerprint != theirs.fingerprint
    differences = ours.differences(theirs)
    key = re.sub(r'/(\d+)', r'[\1]', path).replace('/', '.')
    assert differences
    assert all(line.startswith(key) for line in differences), differences
    assert differences[0].endswith(' there')


@pytest.mark.parametrize('key', ['observations', 'actions'])
def test_the_order_of_names_is_part_of_the_fingerprint(key):
    """A policy concatenates observations and splits its action in the order of the contract."""
    document = deepcopy(DOCUMENT)
    document[key] = dict(reversed(document[key].items()))
    ours, theirs = parse_contract(DOCUMENT), parse_contract(document)
    assert ours.fingerprint != theirs.fingerprint
    assert all(line.startswith(f'order.{key}[') for line in ours.differences(theirs))


def test_a_source_or_part_more_is_a_difference():
    without = changed(GRIPPER, GONE)
    differences = parse_contract(DOCUMENT).differences(parse_contract(without))
    assert "actions.gripper.kind: 'discrete' here, 'absent' there" in differences


@pytest.mark.parametrize(
    ('path', 'value'),
    [
        ('name', 'another'),
        ('command_hz', 250),
        ('record_too', []),
        ('home', {}),
        (f'{STATE}/max_age_s', 0.5),
        (f'{STATE}/qos', {'reliability': 'best_effort'}),
        (f'{IMAGE}/encoding', 'rgb8'),
        (f'{ARM}/max_handover_error', 0.1),
        (f'{ARM}/low', [-2, -2, -2]),
        (f'{ARM}/constants', {'data.3': 1}),
        (f'{ARM}/label', 'next_observation'),
        (f'{GRIPPER}/values', [0, 1]),
    ],
)
def test_what_a_policy_cannot_notice_leaves_the_fingerprint(path, value):
    ours, theirs = parse_contract(DOCUMENT), parse_contract(changed(path, value))
    assert ours.fingerprint == theirs.fingerprint
    assert ours.differences(theirs) == []


def test_the_fingerprint_is_the_same_on_every_machine_and_version():
    """Checkpoints and episodes carry it: another number here orphans all that exist."""
    assert parse_contract(DOCUMENT).fingerprint[:16] == 'ca53648f129e5664'


@pytest.mark.parametrize(
    ('make', 'says'),
    [
        (lambda path: None, r'c.yaml: no such file; .*own contracts: diff_drive, .*panda_twist'),
        (lambda path: path.mkdir(), 'c.yaml: no such file'),
        (lambda path: path.write_bytes(b'\xff\xfe\x00'), 'c.yaml: cannot be read: .*utf-8'),
        (lambda path: path.write_bytes(b'#' * (1 << 19)), 'c.yaml: 524288 bytes; at most 65536'),
        (lambda path: path.write_text('name: x\nname: y'), 'c.yaml: YAML, line 2: duplicate key'),
        (lambda path: path.write_text('{}'), 'c.yaml: .*: missing'),
    ],
)
def test_a_file_that_cannot_be_used_is_named(tmp_path, make, says):
    path = tmp_path / 'c.yaml'
    make(path)
    with pytest.raises(ContractError, match=says):
        load_contract(path)


@pytest.mark.parametrize('path', ['/dev/zero', 'a\0b', 'x' * 5000])
def test_a_path_that_is_no_file_is_refused_at_once(path):
    with pytest.raises(ContractError, match=r'no such file|cannot be read'):
        load_contract(path)
