"""Checkpoints: what goes in comes out, and anything else is refused by name."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
import re

from imitation_ros.errors import CheckpointError
from imitation_ros.frames.contract import Contract, parse_contract
from imitation_ros.policies.checkpoint import load_checkpoint, read_record, save_checkpoint
from imitation_ros.policies.model_folder import digest
from imitation_ros.policies.network import Architecture, Network
from imitation_ros.policies.normalization import Normalization, Standard
from imitation_ros.policies.policy import Policy
from imitation_ros.types import Frame
import numpy as np
import pytest
from safetensors.torch import load_file, save_file
import torch

DOCUMENT = {
    'name': 'one_joint',
    'rate_hz': 20.0,
    'command_hz': 20.0,
    'observations': {
        'state': {
            'topic': 'joint_states',
            'type': 'sensor_msgs/msg/JointState',
            'select': ['position.elbow', 'velocity.elbow'],
            'max_age_s': 0.1,
        }
    },
    'actions': {
        'arm': {
            'topic': 'command',
            'type': 'std_msgs/msg/Float64MultiArray',
            'kind': 'velocity',
            'units': 'rad/s',
            'select': ['data.0'],
            'low': -1.0,
            'high': 1.0,
            'max_acceleration': 5.0,
        }
    },
}
RECORD = {'method': 'bc', 'seed': 3, 'data_hash': 'abc', 'train_loss': [0.5, 0.1 + 0.2]}


def make_contract(**changes: object) -> Contract:
    return parse_contract({**DOCUMENT, **changes})


def make_policy(seed: int = 0, hidden: tuple[int, ...] = (8,)) -> Policy:
    torch.manual_seed(seed)
    contract = make_contract()
    specs = contract.observation_specs, contract.action_specs
    architecture = Architecture(hidden=hidden, history=2)
    normalization = Normalization(
        {'state': Standard(np.array([0.1, 1 / 3]), np.array([0.7, 2.0]))},
        {'arm': Standard(np.array([0.2]), np.array([1e-9 + 0.3]))},
    )
    return Policy(
        contract, architecture, normalization, Network(*specs, architecture, normalization)
    )


def actions(policy: Policy) -> np.ndarray:
    frames = [Frame(k * 50_000_000, {'state': np.array([k, -k / 7])}) for k in range(5)]
    policy.reset()
    return np.array([policy.act(frame)['arm'] for frame in frames])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save_checkpoint(tmp_path / 'policy', make_policy(), RECORD)
    return tmp_path / 'policy'


def rewrite(folder: Path, change: dict[str, object]) -> None:
    """Changes the document as someone with an editor and the right digests would."""
    path = folder / 'policy.json'
    document = {**json.loads(path.read_text()), **change}
    document['sha256'] = digest(document)
    path.write_text(json.dumps(document))


def rewrite_weights(folder: Path, **change: torch.Tensor | None) -> None:
    path = folder / 'policy.safetensors'
    weights = {**load_file(path), **{key.replace('_', '.'): t for key, t in change.items()}}
    save_file({key: t for key, t in weights.items() if t is not None}, path)
    rewrite(folder, {'weights_sha256': hashlib.sha256(path.read_bytes()).hexdigest()})


def test_a_loaded_policy_acts_as_the_saved_one_to_the_last_bit(folder):
    loaded = load_checkpoint(folder, make_contract())
    np.testing.assert_array_equal(actions(loaded), actions(make_policy()))
    digest = hashlib.sha256((folder / 'policy.safetensors').read_bytes()).hexdigest()
    assert loaded.checkpoint == digest
    assert read_record(folder) == RECORD
    assert sorted(os.listdir(folder)) == ['policy.json', 'policy.safetensors']


def test_the_document_holds_the_contract_and_its_fingerprint(folder):
    document = json.loads((folder / 'policy.json').read_text())
    assert parse_contract(document['contract']) == make_contract()
    assert document['contract_fingerprint'] == make_contract().fingerprint
    assert load_checkpoint(folder).contract == make_contract()


def test_saving_the_same_policy_twice_gives_the_same_bytes(folder, tmp_path):
    save_checkpoint(tmp_path / 'again', make_policy(), RECORD)
    for name in ('policy.json', 'policy.safetensors'):
        assert (folder / name).read_bytes() == (tmp_path / 'again' / name).read_bytes()


def test_saving_replaces_the_checkpoint_and_leaves_nothing_beside_it(folder):
    save_checkpoint(folder, make_policy(seed=1), RECORD)
    np.testing.assert_array_equal(actions(load_checkpoint(folder)), actions(make_policy(seed=1)))
    assert os.listdir(folder.parent) == ['policy']


def test_a_kill_between_the_renames_leaves_the_old_checkpoint_loadable(folder, monkeypatch):
    def killed(path: Path, target: Path) -> None:
        raise KeyboardInterrupt

    rename = Path.rename
    monkeypatch.setattr(
        Path, 'rename', lambda path, to: (killed if '.new' in path.name else rename)(path, to)
    )
    with pytest.raises(KeyboardInterrupt):
        save_checkpoint(folder, make_policy(seed=1), RECORD)
    monkeypatch.undo()
    np.testing.assert_array_equal(actions(load_checkpoint(folder)), actions(make_policy()))
    save_checkpoint(folder, make_policy(seed=2), RECORD)
    np.testing.assert_array_equal(actions(load_checkpoint(folder)), actions(make_policy(seed=2)))


def test_a_folder_with_something_else_in_it_is_never_replaced(tmp_path):
    (tmp_path / 'thesis.tex').write_text('years of work')
    with pytest.raises(CheckpointError, match=r"holds 'thesis.tex', which is no part"):
        save_checkpoint(tmp_path, make_policy(), RECORD)
    assert (tmp_path / 'thesis.tex').exists()


def test_another_contract_is_refused_and_the_difference_named(folder):
    arm = {**DOCUMENT['actions']['arm'], 'high': 0.5}
    with pytest.raises(CheckpointError, match=r'actions\.arm\.high\[0\]: 1.0 here, 0.5 there'):
        load_checkpoint(folder, make_contract(actions={'arm': arm}))


def test_what_is_no_part_of_the_fingerprint_may_differ(folder):
    robot = make_contract(name='other_lab', command_hz=100.0)
    assert load_checkpoint(folder, robot).contract == robot


@pytest.mark.parametrize('name', ['policy.json', 'policy.safetensors'])
def test_every_flipped_bit_is_noticed(folder, name):
    path = folder / name
    content = path.read_bytes()
    for place in np.random.default_rng(0).integers(8 * len(content), size=200):
        flipped = bytearray(content)
        flipped[place // 8] ^= 1 << (place % 8)
        path.write_bytes(flipped)
        if name == 'policy.json' and reads_the_same(bytes(flipped), content):
            continue
        with pytest.raises(CheckpointError, match=re.escape(str(path))):
            load_checkpoint(folder)


def reads_the_same(flipped: bytes, content: bytes) -> bool:
    """Such as 1e-09 and 1E-09."""
    try:
        return bool(json.loads(flipped) == json.loads(content))
    except ValueError:
        return False


@pytest.mark.parametrize('name', ['policy.json', 'policy.safetensors'])
def test_a_missing_or_cut_off_file_is_named(folder, name):
    path = folder / name
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(CheckpointError, match=name):
        load_checkpoint(folder)
    path.unlink()
    with pytest.raises(CheckpointError, match=f'{name}: No such file'):
        load_checkpoint(folder)


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(CheckpointError, match=r'nowhere/policy\.json: No such file'):
        load_checkpoint(tmp_path / 'nowhere')


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        ({'format': 2}, 'format 2; valid: 1'),
        ({'normalization': {'observations': {}}}, r'normalization.observations.state: KeyError'),
        ({'architecture': {'hidden': [8], 'magic': 1}}, "unexpected keyword argument 'magic'"),
        ({'architecture': {'hidden': [1 << 40]}}, 'hidden: .* valid: units of each layer'),
        ({'contract': {'name': 'x'}}, 'rate_hz: missing'),
        ({'architecture': {'hidden': [65536] * 2}}, 'weights; valid: at most 268435456'),
        ({'architecture': {'hidden': [8], 'history': 1.5}}, 'TypeError'),
        ({'weights_sha256': 7}, r'no SHA-256 of policy\.safetensors'),
    ],
)
def test_a_document_that_cannot_be_is_refused_by_key(folder, change, message):
    rewrite(folder, change)
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(folder)


def test_a_training_record_that_is_none_is_named(folder):
    rewrite(folder, {'training': 3})
    with pytest.raises(CheckpointError, match=r'policy\.json: no training record'):
        read_record(folder)


def test_more_weights_than_the_architecture_asks_for_are_not_read(folder):
    """A file of 200 GB beside a small document would have been read into memory."""
    with open(folder / 'policy.safetensors', 'ab') as file:
        file.truncate(1 << 36)
    with pytest.raises(CheckpointError, match=r'policy\.safetensors: 68719476736 bytes; valid'):
        load_checkpoint(folder)


@pytest.mark.parametrize('std', [[0.0, 1.0], [float('nan'), 1.0], [1.0]])
def test_a_normalization_that_cannot_be_is_refused(folder, std):
    document = json.loads((folder / 'policy.json').read_text())
    document['normalization']['observations']['state']['std'] = std
    rewrite(folder, {'normalization': document['normalization']})
    with pytest.raises(CheckpointError, match=r'normalization\.observations\.state'):
        load_checkpoint(folder)


@pytest.mark.parametrize(
    ('weight', 'message'),
    [
        (torch.full((8,), torch.nan), 'perceptron.0.bias: holds NaN'),
        (torch.zeros(7), r'perceptron.0.bias: \(7,\) torch.float32; valid: \(8,\)'),
        (torch.zeros(8, dtype=torch.float64), 'torch.float64; valid'),
        (None, 'perceptron.0.bias: missing'),
    ],
    ids=['nan', 'shape', 'dtype', 'missing'],
)
def test_weights_that_do_not_fit_are_refused_by_name(folder, weight, message):
    rewrite_weights(folder, perceptron_0_bias=weight)
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(folder)


def test_weights_that_belong_to_nothing_are_refused_by_name(folder):
    rewrite_weights(folder, perceptron_9_bias=torch.zeros(1))
    with pytest.raises(CheckpointError, match=r'perceptron\.9\.bias: not of this architecture'):
        load_checkpoint(folder)
