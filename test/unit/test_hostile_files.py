"""Files made to do harm: what is bounded, what is refused, and that nothing is unpickled."""

from __future__ import annotations

import ast
from contextlib import suppress
import json
from pathlib import Path
import time

from imitation_ros.episodes.info import END_RECORD, EpisodeInfo, START_RECORD
from imitation_ros.episodes.reader import EpisodeReader
from imitation_ros.episodes.repair import find_unfinished, repair
from imitation_ros.errors import ContractError, EpisodeError
from imitation_ros.frames.strict_yaml import MAX_BYTES, MAX_DEPTH, read_yaml
import pytest
from recorded_episodes import record_lockstep

PACKAGE = Path(__file__).parents[2] / 'imitation_ros'
RUNS_CODE = {
    *('eval', 'exec', 'compile', '__import__', 'execfile'),
    *('pickle', 'cPickle', '_pickle', 'dill', 'cloudpickle', 'joblib', 'shelve', 'marshal'),
    *('jsonpickle', 'hickle', 'runpy'),
}
"""Names that run what a file says, as a bare call or as an import."""
LOADERS = {
    'torch': {'load', 'jit', 'hub', 'package', 'save'},
    'numpy': {'load', 'save', 'savez', 'fromfile', 'memmap'},
    'np': {'load', 'save', 'savez', 'fromfile', 'memmap'},
    'yaml': {'unsafe_load', 'full_load', 'unsafe_load_all', 'full_load_all', 'UnsafeLoader',
             'FullLoader', 'Loader', 'load_all', 'CLoader', 'load'},
}  # fmt: skip
"""Of libraries that unpickle: stable-baselines3's `save` and `load` are found by their calls."""
OUR_LOADER = '_StrictLoader'
SB3_CLASSES = {'PPO', 'SAC', 'TD3', 'DDPG', 'A2C', 'DQN', 'VecNormalize', 'BaseAlgorithm'}


def unpickling(source: str) -> list[str]:
    """Every way in `source` by which data can become code, with its line."""
    found, tree = [], ast.parse(source)
    strict = {  # yaml.load with our own loader, a child of SafeLoader
        id(node.func)
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and [ast.unparse(a) for a in node.args[1:]] == [OUR_LOADER]
    }
    for node in ast.walk(tree):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name.split('.')[0] for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            module = (node.module or '').split('.')[0]
            loaders = LOADERS.get(module, set())
            names = [module, *(alias.name for alias in node.names if alias.name in loaders)]
            names = [name for name in names if name in RUNS_CODE or name in loaders]
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            names = [node.func.id]
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            owner = node.value.id
            if node.attr in LOADERS.get(owner, ()) and id(node) not in strict:
                found.append(f'{node.lineno}: {owner}.{node.attr}')
            if owner in SB3_CLASSES and node.attr == 'load':
                found.append(f'{node.lineno}: {owner}.load')
        elif isinstance(node, ast.keyword) and node.arg == 'allow_pickle':
            found.append(f'{node.value.lineno}: allow_pickle')
        found += [
            f'{node.lineno}: {name}'
            for name in names
            if name in RUNS_CODE or isinstance(node, ast.ImportFrom)
        ]
    return found


@pytest.mark.parametrize('path', sorted(PACKAGE.rglob('*.py')), ids=lambda path: path.name)
def test_nothing_in_the_package_unpickles(path):
    assert unpickling(path.read_text()) == []


@pytest.mark.parametrize(
    'source',
    [
        'import pickle',
        'import pickle as p',
        'from joblib import load',
        'import torch\ntorch.load("x")',
        'from torch import load',
        'import numpy as np\nnp.load("x", allow_pickle=True)',
        'import yaml\nyaml.load(text, yaml.UnsafeLoader)',
        'from yaml import full_load',
        'eval("1")',
        'from stable_baselines3 import PPO\nPPO.load("x")',
    ],
)
def test_the_search_finds_what_unpickles(source):
    assert unpickling(source)


# YAML


@pytest.mark.parametrize(
    'text',
    [
        '[' * MAX_BYTES,
        '- a\n' * (MAX_BYTES // 4),
        '[' + '1,' * (MAX_BYTES // 2 - 2) + ']',
        '? a\n' * (MAX_BYTES // 4),
        '1:' * (MAX_BYTES // 2 - 1) + '1',
        '0x' + 'f' * (MAX_BYTES - 2),
        '[' + '1.0e5, ' * (MAX_BYTES // 8) + ']',
    ],
    ids=['deep', 'list', 'flow list', 'same keys', 'base 60', 'hexadecimal', 'numbers'],
)
def test_the_longest_yaml_is_read_or_refused_within_seconds(text):
    """256 KB were allowed; a list in brackets took 2.2 s and a number of base 60 three."""
    begin = time.process_time()
    with suppress(ContractError):
        read_yaml(text)
    assert time.process_time() - begin < 5.0  # half a second, where nothing else runs


def test_depth_is_bounded():
    assert read_yaml('[' * MAX_DEPTH + ']' * MAX_DEPTH)
    with pytest.raises(ContractError, match=f'line 1: nested deeper than {MAX_DEPTH}'):
        read_yaml('[' * (MAX_DEPTH + 1) + ']' * (MAX_DEPTH + 1))


# The metadata of bags


def bag_with(folder: Path, paths: str) -> Path:
    (folder / 'metadata.yaml').write_text(
        'rosbag2_bagfile_information:\n'
        f'  storage_identifier: mcap\n{paths}'
    )  # fmt: skip
    return folder


def test_an_alias_bomb_in_the_metadata_is_refused(tmp_path):
    """Nine levels of ten aliases made a text of gigabytes out of half a kilobyte."""
    levels = ''.join(
        f'  a{n}: &a{n} [{", ".join([f"*a{n - 1}"] * 10) if n else "lol"}]\n' for n in range(10)
    )
    with pytest.raises(EpisodeError, match=r'metadata\.yaml: .*alias'):
        EpisodeReader(bag_with(tmp_path, f'{levels}  relative_file_paths: *a9\n'))


@pytest.mark.parametrize('paths', ['[[a.mcap]]', '[1]', 'a.mcap', '{a.mcap: 1}', '[null]'])
def test_paths_must_be_names(tmp_path, paths):
    with pytest.raises(EpisodeError, match=r'metadata\.yaml: not the metadata of a bag'):
        EpisodeReader(bag_with(tmp_path, f'  relative_file_paths: {paths}\n'))


def test_a_link_that_leaves_the_folder_is_refused(tmp_path):
    outside = record_lockstep(tmp_path / 'outside', 2)
    bag = tmp_path / 'bag'
    bag.mkdir()
    (bag / 'x.mcap').symlink_to(outside / 'outside_0.mcap')
    bag_with(bag, '  relative_file_paths: [x.mcap]\n')
    with pytest.raises(EpisodeError, match=r'x\.mcap leads out of'):
        EpisodeReader(bag)


def test_a_link_in_an_own_episode_that_leaves_it_is_refused(tmp_path):
    folder = record_lockstep(tmp_path / 'e', 2)
    (folder / 'e_0.mcap').rename(tmp_path / 'elsewhere.mcap')
    (folder / 'e_0.mcap').symlink_to(tmp_path / 'elsewhere.mcap')
    with pytest.raises(EpisodeError, match=r'e_0\.mcap leads out of'):
        EpisodeReader(folder)


def test_an_episode_may_itself_be_a_link(tmp_path):
    folder = record_lockstep(tmp_path / 'e', 2)
    (tmp_path / 'set').mkdir()
    (tmp_path / 'set/e').symlink_to(folder)
    assert len(list(EpisodeReader(tmp_path / 'set/e').messages())) == 2 * 9


def test_a_repair_follows_no_link(tmp_path):
    """A link that is called `.recording` would have another data set repaired, and removed."""
    victim = record_lockstep(tmp_path / 'victim', 2).rename(tmp_path / 'victim.recording')
    data = tmp_path / 'data'
    data.mkdir()
    (data / 'e.recording').symlink_to(victim)
    assert find_unfinished(data) == []
    with pytest.raises(EpisodeError, match=r'e\.recording: not a \.recording folder'):
        repair(data / 'e.recording')
    assert (victim / 'victim_0.mcap').exists()


def test_a_recording_of_somebody_elses_file_is_left_alone(tmp_path):
    outside = record_lockstep(tmp_path / 'outside', 2)
    recording = tmp_path / 'data/e.recording'
    recording.mkdir(parents=True)
    (recording / 'e_0.mcap').symlink_to(outside / 'outside_0.mcap')
    with pytest.raises(EpisodeError, match=r'e_0\.mcap leads out of'):
        repair(recording)
    assert recording.exists()
    assert not (tmp_path / 'data/e').exists()


# What an episode says of itself, with a checksum that fits


@pytest.mark.parametrize('seed', ['x', '1.5', '9' * 5000, '-'])
def test_a_seed_that_is_no_number(seed):
    record = EpisodeInfo(seed=1).start_record()
    forged = {START_RECORD: _sealed(record | {'seed': seed})}
    with pytest.raises(EpisodeError, match='seed'):
        EpisodeInfo.from_records(forged)


def test_an_episode_of_a_newer_format_is_refused():
    record = EpisodeInfo().start_record()
    assert EpisodeInfo.from_records({START_RECORD: record}).outcome == 'unknown'
    with pytest.raises(EpisodeError, match="format '2'; valid: 1, or a newer imitation_ros"):
        EpisodeInfo.from_records({START_RECORD: _sealed(record | {'format': '2'})})


def test_an_outcome_that_is_none():
    forged = {END_RECORD: _sealed({'outcome': 'won'})}
    with pytest.raises(EpisodeError, match="outcome 'won'"):
        EpisodeInfo.from_records(forged)


def _sealed(record: dict[str, str]) -> dict[str, str]:
    from imitation_ros.episodes.info import _with_crc

    return _with_crc(record)


def test_damaged_qos_in_a_recording_does_not_stop_its_repair(tmp_path):
    """The text is YAML in the metadata of a channel; what cannot be read is left empty."""
    from imitation_ros.episodes.info import Topic
    from imitation_ros.episodes.rosbag2 import write_metadata

    for text in ('[', '*a', '{a: &b [*b]}', '!!python/object/apply:os.system [true]'):
        topic = Topic('/x', 'std_msgs/msg/Float64', '', offered_qos=text)
        write_metadata(tmp_path, 'x.mcap', [topic], 0, 1)
        assert 'offered_qos_profiles: []' in (tmp_path / 'metadata.yaml').read_text()


# Models


def test_a_document_as_long_as_a_disk_is_not_read(tmp_path):
    from imitation_ros.errors import CheckpointError
    from imitation_ros.policies.checkpoint import DOCUMENT, load_checkpoint
    from imitation_ros.policies.model_folder import MAX_DOCUMENT_BYTES

    with open(tmp_path / DOCUMENT, 'wb') as file:
        file.truncate(MAX_DOCUMENT_BYTES + 1)
    with pytest.raises(CheckpointError, match=f'bytes; valid: at most {MAX_DOCUMENT_BYTES}'):
        load_checkpoint(tmp_path)


@pytest.mark.parametrize('text', ['[' * 100_000, '{"a":' * 100_000, '"\\ud800"', '1' * 5000])
def test_a_document_that_cannot_be_parsed(tmp_path, text):
    from imitation_ros.errors import CheckpointError
    from imitation_ros.policies.checkpoint import DOCUMENT, load_checkpoint

    (tmp_path / DOCUMENT).write_text(text)
    with pytest.raises(CheckpointError):
        load_checkpoint(tmp_path)
    nested = json.dumps({'format': 1, 'sha256': ''})[:-1] + f', "a": {text}}}'
    (tmp_path / DOCUMENT).write_text(nested)
    with pytest.raises(CheckpointError):
        load_checkpoint(tmp_path)


def test_a_sealed_file_notices_every_changed_bit(tmp_path):
    """Of safetensors files with a flipped bit, a third loaded with other weights."""
    from imitation_ros.policies.sealed import read_sealed, write_sealed
    import numpy as np
    from safetensors.numpy import load, save

    path = tmp_path / 'x.safetensors'
    write_sealed(path, save, {'w': np.arange(6.0)}, {'a': [1, 'ü']})
    whole = path.read_bytes()
    content, document = read_sealed(path)
    assert (load(content)['w'].tolist(), document) == ([0, 1, 2, 3, 4, 5], {'a': [1, 'ü']})
    damaged = [whole[:size] for size in range(0, len(whole), 7)]
    for bit in range(8 * len(whole)):
        flipped = bytearray(whole)
        flipped[bit // 8] ^= 1 << bit % 8
        damaged.append(bytes(flipped))
    for content in [*damaged, whole + b'\0', whole + whole]:
        path.write_bytes(content)
        with pytest.raises(ValueError, match='damaged: '):
            read_sealed(path)


def test_a_clock_whose_definition_lies_is_refused(tmp_path):
    """Seconds that are a text were multiplied by a billion: a gigabyte out of one letter."""
    from imitation_ros.episodes.info import Topic
    from imitation_ros.episodes.tracks import read_clock
    from imitation_ros.episodes.writer import EpisodeWriter

    for definition in (
        'string sec\n',
        'Time clock\n===\nMSG: x/Time\nstring sec\nstring nanosec\n',
    ):
        folder = tmp_path / str(len(definition))
        with EpisodeWriter(folder) as writer:
            clock = Topic('/clock', 'rosgraph_msgs/msg/Clock', definition)
            text = b'\2\0\0\0x\0\0\0'
            writer.write(writer.copy_topic(clock), b'\0\1\0\0' + text + text, 1, 1, 1)
        with pytest.raises(EpisodeError, match='/clock'):
            read_clock(EpisodeReader(folder))
