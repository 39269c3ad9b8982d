"""In process and over topics, a policy is measured alike; and the verbs say what is wrong."""

from __future__ import annotations

import json
import os
import subprocess
import sys

from imitation_ros.cli.evaluate import evaluate_over_topics
from imitation_ros.episodes.training_set import TrainingSet
from imitation_ros.frames.contract import load_contract
from imitation_ros.learning.bc import BCConfig, train_bc
from imitation_ros.learning.evaluation import evaluate
from imitation_ros.sim.env import ArmEnv
from imitation_ros.sim.experts import make_expert
from imitation_ros.sim.rollout import roll_out
import pytest

SCENES = range(700_000, 700_006)


@pytest.fixture(scope='module')
def checkpoint(tmp_path_factory):
    """A middling policy, so that the two ways have successes and failures to agree on."""
    contract = load_contract('panda_reach')
    env, expert = ArmEnv('reach', contract), make_expert('reach', contract)
    episodes = [roll_out(env, expert, seed).to_episode() for seed in range(4)]
    folder = tmp_path_factory.mktemp('policy') / 'checkpoint'
    config = BCConfig(epochs=40, validation_fraction=0)
    train_bc(TrainingSet.from_episodes(episodes, contract), config, 0, folder)
    return folder


def verb(ros, *arguments):
    return subprocess.run(
        [sys.executable, '-m', 'imitation_ros.cli', *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, 'ROS_DOMAIN_ID': str(ros.domain_id)},
    )


def test_scene_by_scene_topics_and_process_agree(ros, checkpoint, monkeypatch):
    monkeypatch.setenv('ROS_DOMAIN_ID', str(ros.domain_id))
    in_process = evaluate('reach', 'panda_reach', checkpoint, SCENES, workers=1)
    over_topics = evaluate_over_topics('reach', 'panda_reach', checkpoint, SCENES)
    assert over_topics == in_process


def test_record_inspect_train_replay_as_a_user_calls_them(ros, tmp_path):
    data, policy = tmp_path / 'data', tmp_path / 'policy'
    common = ('--task', 'reach', '--json')
    recorded = verb(ros, 'record', *common, '--episodes', 2, '--out', data)
    assert recorded.returncode == 0, recorded.stderr
    assert json.loads(recorded.stdout) == {'episodes': 2, 'out': str(data), 'success': 2}
    inspected = json.loads(verb(ros, 'inspect', data, '--json').stdout)
    assert [report['verdict'] for report in inspected['episodes']] == ['good', 'good']
    trained = verb(ros, 'train', data, '--epochs', 2, '--out', policy, '--json')
    assert json.loads(trained.stdout)['episodes'] == 2
    replayed = json.loads(verb(ros, 'replay', data / 'episode_000001', '--json').stdout)
    assert replayed['largest_difference'] == 0.0
    assert replayed['replayed_outcome'] == replayed['recorded_outcome'] == 'success'
    refused = verb(ros, 'evaluate', policy, '--contract', 'panda_keys', *common)
    assert refused.returncode == 1
    assert 'actions.arm.kind' in refused.stderr


@pytest.mark.parametrize(
    ('arguments', 'says'),
    [
        (('inspect', 'nowhere'), 'nowhere'),
        (('train', 'nowhere'), 'nowhere'),
        (('evaluate', 'nowhere', '--task', 'reach'), 'nowhere'),
        (('record', '--contract', 'panda_twits'), 'panda_twist'),
        (('record', '--task', 'reach', '--contract', 'ur5e'), 'ur5e|arm'),
        (('record', '--teleop', 'keyboard'), 'needs a terminal'),
        (('replay', 'nowhere'), 'nowhere'),
        (('demo', '--episodes', '1'), '--episodes of at least 2'),
    ],
)
def test_a_wrong_call_ends_with_an_error_that_names_it(ros, arguments, says, tmp_path):
    result = verb(ros, *arguments)
    assert result.returncode == 1
    assert any(word in result.stderr for word in says.split('|')), result.stderr
    assert 'Traceback' not in result.stderr


def test_the_demo_does_not_clear_a_folder_that_is_not_its_own(ros, tmp_path):
    (tmp_path / 'thesis.txt').write_text('years of work')
    result = verb(ros, 'demo', '--out', tmp_path)
    assert result.returncode == 1
    assert 'not empty' in result.stderr
    assert (tmp_path / 'thesis.txt').exists()
