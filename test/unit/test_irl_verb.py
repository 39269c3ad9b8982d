"""`irl` end to end, too short to learn anything."""

from __future__ import annotations

import json

from imitation_ros.cli import irl
from imitation_ros.cli.__main__ import main
from imitation_ros.frames.contract import load_contract
from imitation_ros.learning.irl.reward import load_reward
from imitation_ros.policies.checkpoint import load_checkpoint
import pytest


@pytest.fixture
def short(monkeypatch):
    monkeypatch.setattr(irl, 'TRIALS', 1)
    monkeypatch.setattr(irl, 'RANDOM_SEEDS', range(1))
    monkeypatch.setattr(irl, 'MAP_POINTS', 5)


def test_irl_writes_reward_checkpoint_and_pictures(short, tmp_path, capsys):
    out = tmp_path / 'irl'
    arguments = ['--sim', '--steps', '120', '--demonstrations', '3', '--out', str(out), '--json']
    assert main(['irl', *arguments]) == 0
    result = json.loads(capsys.readouterr().out)
    assert {'separation', 'success', 'environment_steps'} <= set(result)
    assert result['environment_steps'] == 120
    contract = load_contract('panda_reach')
    assert load_reward(result['reward'], contract).version >= 1
    assert load_checkpoint(result['checkpoint'], contract)
    pictures = {path.name for path in out.glob('*.png')}
    assert pictures == {'alternation.png', 'reward_along.png', 'reward_map.png'}


def test_demonstrations_come_from_a_folder_or_from_the_simulation(capsys):
    assert main(['irl']) == 1
    assert main(['irl', 'somewhere', '--sim']) == 1
    assert 'a folder with recorded episodes, or --sim' in capsys.readouterr().err
