"""`./run train … --good …`: weights, the picture beside the checkpoint, and what is refused."""

from __future__ import annotations

import json

from imitation_ros.cli.__main__ import main
from imitation_ros.policies.checkpoint import load_checkpoint, read_record
import pytest
from recorded_episodes import record_lockstep

QUICK = ['--hidden', '4', '--epochs', '1', '--json']


@pytest.fixture
def data(tmp_path):
    """Three episodes, one of them a failure."""
    for number in range(3):
        outcome = 'failure' if number == 2 else 'success'
        folder = tmp_path / f'data/episode_{number:06d}'
        record_lockstep(folder, 12, seed=number, outcome=outcome)
    return tmp_path / 'data'


def test_a_good_episode_gives_weights_and_a_picture(data, tmp_path, capsys):
    out = tmp_path / 'checkpoint'
    told = ['train', str(data), '--out', str(out), *QUICK]
    assert main([*told, '--good', 'episode_000001', '--habits']) == 0
    result = json.loads(capsys.readouterr().out)
    assert result['episodes'] == 3  # the weights decide, the failure is read too
    assert 0 < result['mean_weight'] <= 1
    picture = tmp_path / 'checkpoint.weights.png'
    assert result['picture'] == str(picture)
    assert picture.read_bytes().startswith(b'\x89PNG')
    assert len(read_record(out)['frame_weights']) == 64
    load_checkpoint(out)
    assert main([*told, '--good', str(data / 'episode_000001'), '--habits']) == 0
    assert json.loads(capsys.readouterr().out)['mean_weight'] == result['mean_weight']
    assert main(told) == 0
    assert json.loads(capsys.readouterr().out)['episodes'] == 2
    assert read_record(out)['frame_weights'] == ''


def test_a_folder_of_good_episodes_joins_the_data(data, tmp_path, capsys):
    record_lockstep(tmp_path / 'best/episode_000000', 12, seed=7)
    told = ['train', str(data), '--out', str(tmp_path / 'checkpoint'), *QUICK]
    # Of the same name as an episode of the data, which is not meant.
    assert main([*told, '--good', str(tmp_path / 'best/episode_000000')]) == 0
    assert json.loads(capsys.readouterr().out)['episodes'] == 4
    assert main([*told, '--good', str(tmp_path / 'best')]) == 0
    assert json.loads(capsys.readouterr().out)['episodes'] == 4


def test_an_unknown_episode_is_refused_with_the_valid_ones(data, tmp_path, capsys):
    told = ['train', str(data), '--out', str(tmp_path / 'checkpoint'), *QUICK]
    assert main([*told, '--good', 'episode_00001']) == 1
    error = capsys.readouterr().err
    assert "did you mean 'episode_000001'?" in error
    assert main([*told, '--good', *(f'episode_{number:06d}' for number in range(3))]) == 1
    assert 'all 3 episodes are labelled good' in capsys.readouterr().err
