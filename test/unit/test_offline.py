"""Reinforcement from recorded episodes alone: what it begins with, gives, and refuses."""

from __future__ import annotations

from dataclasses import replace
import json

from imitation_ros.cli.__main__ import main
from imitation_ros.episodes.training_set import TrainingSet
from imitation_ros.errors import ImitationError, RewardError
from imitation_ros.frames.contract import load_contract
from imitation_ros.learning.bc import BCConfig, train_bc
from imitation_ros.learning.irl.layout import Layout
from imitation_ros.learning.irl.network import RewardConfig, RewardNetwork
from imitation_ros.learning.irl.reward import blank_scales, Calibration, Reward
from imitation_ros.learning.offline import improve_offline, OfflineConfig
from imitation_ros.learning.paid import by_outcome, by_steps
from imitation_ros.policies.checkpoint import load_checkpoint, read_record, save_checkpoint
from imitation_ros.policies.policy import use_one_thread
from imitation_ros.types import Episode, Frame
import numpy as np
import pytest
from recorded_episodes import contract, record_lockstep

ROBOT, KEYS = contract(), load_contract('panda_keys')
QUICK = OfflineConfig(
    updates=100, learning_rate=1e-2, batch_size=64, tau=0.05, hidden=(16,), epochs=4,
    cloning_rate=1e-2,
)  # fmt: skip
TICKS = 30


def episode(number, robot=ROBOT):
    """Actions of even chances in states of even chances."""
    rng = np.random.default_rng(number)
    observations = {
        name: rng.normal(0, 1, (TICKS, *spec.shape))
        for name, spec in robot.observation_specs.items()
    }
    actions = {
        part: rng.integers(len(spec.classes), size=(TICKS, 1))
        if spec.discrete
        else rng.uniform(-1, 1, (TICKS, *spec.shape))
        for part, spec in robot.action_specs.items()
    }
    ticks = np.arange(TICKS) * robot.tick_period_ns
    return Episode(ticks, observations, actions, np.zeros(TICKS, np.int32), 'failure')


def recorded(robot=ROBOT, count=20):
    return TrainingSet.from_episodes([episode(each, robot) for each in range(count)], robot)


def make_clone(robot=ROBOT, **architecture):
    config = BCConfig(hidden=(16,), epochs=1, steps_per_epoch=5, **architecture)
    return train_bc(recorded(robot, 2), config)[0]


def mean_action(policy, robot=ROBOT):
    """Of the first part, in states of even chances."""
    actions = []
    for tick, state in enumerate(episode(1_000, robot).observations['state']):
        policy.reset()
        actions.append(policy.act(Frame(tick, {'state': state}))[next(iter(robot.action_specs))])
    return np.mean(actions, 0)


def to_the_right(steps):
    """Pays for the first element of the action."""
    return steps.action[:, 0]


def test_it_follows_the_actions_that_were_paid_for():
    clone = make_clone()
    policy, record = improve_offline(clone, recorded(), by_steps(to_the_right), QUICK)
    other, _ = improve_offline(clone, recorded(), by_steps(lambda s: -to_the_right(s)), QUICK)
    right, left = mean_action(policy)[0], mean_action(other)[0]
    assert right > 0.2
    assert left < -0.2
    assert abs(mean_action(policy)[1]) < 0.2  # which nobody paid for
    assert record['method'] == 'iql'
    assert record['steps'] == 20 * (TICKS - 1)


@pytest.mark.parametrize(
    'architecture', [{'history': 2, 'chunk': 3}, {'members': 2}, {'head': 'gaussian'}]
)
def test_a_clone_of_any_architecture_is_improved(architecture):
    clone = make_clone(**architecture)
    policy, _ = improve_offline(clone, recorded(), by_steps(to_the_right), QUICK)
    assert policy.architecture == clone.architecture
    assert mean_action(policy)[0] > mean_action(clone)[0]


def test_discrete_actions_alone_are_no_obstacle():
    clone = make_clone(KEYS)
    pays = by_steps(lambda steps: steps.action[:, 3])  # the channel of a class
    policy, _ = improve_offline(clone, recorded(KEYS), pays, QUICK)
    state = {'state': np.zeros(6)}
    assert policy.act(Frame(0, state))['arm'].tolist() == [3]


def test_it_begins_as_the_clone():
    """With a rate of almost 0 it is the clone still, in the clone's own normalization."""
    clone = make_clone()
    config = replace(QUICK, cloning_rate=1e-12, epochs=1)
    policy, _ = improve_offline(clone, recorded(), by_steps(to_the_right), config)
    frame = Frame(0, {'state': np.array([0.3, -0.2, 0.1])})
    np.testing.assert_allclose(policy.act(frame)['arm'], clone.act(frame)['arm'], atol=1e-5)


def test_frames_that_nobody_knows_the_worth_of_teach_nothing():
    def half(steps):
        return np.where(steps.action[:, 0] > 0, steps.action[:, 1], np.nan)

    policy, record = improve_offline(make_clone(), recorded(), by_steps(half), QUICK)
    assert 0 < record['steps'] < 20 * (TICKS - 1)
    assert mean_action(policy)[0] > 0.2


def test_the_same_seed_repeats_it():
    frame = Frame(0, {'state': np.array([0.3, -0.2, 0.1])})
    config = replace(QUICK, updates=10, epochs=1)
    first, again, other = (
        improve_offline(make_clone(), recorded(), by_steps(to_the_right), config, seed)[0]
        for seed in (3, 3, 4)
    )
    np.testing.assert_array_equal(first.act(frame)['arm'], again.act(frame)['arm'])
    assert np.abs(first.act(frame)['arm'] - other.act(frame)['arm']).max() > 0


def test_steps_that_nobody_is_paid_for_or_with_nan_are_refused(tmp_path):
    clone, unknown = make_clone(), replace(episode(0), outcome='unknown')
    episodes = TrainingSet.from_episodes([unknown, unknown], ROBOT)
    with pytest.raises(RewardError, match='no reward for any of 58 steps'):
        improve_offline(clone, episodes, by_outcome(1), QUICK, out=tmp_path / 'out')
    broken = episode(0)
    broken.observations['state'][3, 1] = np.nan
    episodes = TrainingSet.from_episodes([broken], ROBOT)
    with pytest.raises(RewardError, match='NaN or infinity in 1 of 29 steps'):
        improve_offline(clone, episodes, by_outcome(1), QUICK, out=tmp_path / 'out')
    assert not (tmp_path / 'out').exists()


@pytest.mark.parametrize('wrong', [{'updates': 0}, {'expectile': 1.0}, {'gamma': 1.0}])
def test_settings_are_checked(wrong):
    with pytest.raises(ImitationError, match=next(iter(wrong))):
        OfflineConfig(**wrong)


# The verb.


@pytest.fixture
def data(tmp_path):
    """Three recorded episodes of which one failed, and a clone."""
    for number, outcome in enumerate(('success', 'failure', 'success')):
        record_lockstep(tmp_path / f'data/episode_{number}', 12, outcome, seed=number)
    save_checkpoint(tmp_path / 'clone', make_clone(), {})
    return tmp_path


@pytest.fixture(autouse=True)
def _short(monkeypatch):
    use_one_thread()
    default = replace(QUICK, epochs=1)
    monkeypatch.setattr('imitation_ros.learning.offline.OfflineConfig', lambda: default)


def finetune(data, *options):
    paths = [str(data / 'clone'), str(data / 'data'), '--offline', '--out', str(data / 'out')]
    return main(['finetune', *paths, '--updates', '20', '--json', *options])


def test_the_verb_saves_a_checkpoint_with_its_record(data, capsys):
    assert finetune(data, '--ticks-at-goal', '3') == 0
    said = json.loads(capsys.readouterr().out)
    assert (said['episodes'], said['steps']) == (3, 33)
    assert said['mean_reward'] == pytest.approx((11 + 9 + 9) / -33)
    record = read_record(said['checkpoint'])
    assert (record['method'], record['config']['updates']) == ('iql', 20)
    assert record['parent'] == load_checkpoint(data / 'clone').checkpoint
    policy = load_checkpoint(said['checkpoint'], ROBOT)
    assert np.isfinite(policy.act(Frame(0, {'state': np.zeros(3)}))['arm']).all()


def test_the_verb_takes_a_recorded_topic_or_a_learned_reward(data, capsys):
    assert finetune(data, '--task-reward-topic', 'width') == 0  # any number does
    assert json.loads(capsys.readouterr().out)['mean_reward'] == pytest.approx(1.006)
    layout = Layout(ROBOT)
    network = RewardNetwork(RewardConfig(), blank_scales(layout))
    reward = Reward(layout, RewardConfig(), network, Calibration(-1e6 - 0.5, -1e6 + 0.5))
    reward.save(data / 'reward')
    assert finetune(data, '--reward', str(data / 'reward'), '--task-share', '0') == 0
    assert json.loads(capsys.readouterr().out)['mean_reward'] == pytest.approx(1e6, rel=0.01)


@pytest.mark.parametrize(
    ('options', 'said'),
    [
        (['--offline'], '--offline: no DATA; valid: a folder with recorded episodes'),
        (['--task-reward-topic', 'x'], '--task-reward-topic: in simulation the task itself pays'),
        (['--updates', '3'], '--updates: in simulation the task itself pays'),
        (['--demonstrations', '0'], '--demonstrations: 0; valid: at least 1'),
        (['--task-share', '2'], '--task-share: 2.0; valid: 0 to 1'),
        (['--task-share', '0'], '--task-share: 0.0; valid: with --reward'),
        (['data', '--offline', '--steps', '3'], '--steps: offline nothing is tried'),
        (['--ticks-at-goal', '3'], '--ticks-at-goal: no recorded success is paid by it'),
        (
            ['data', '--offline', '--ticks-at-goal', '3', '--task-reward-topic', 'x'],
            '--ticks-at-goal: no recorded success is paid by it',
        ),
    ],
)
def test_the_verb_refuses_what_makes_no_sense(data, capsys, options, said):
    """`--demonstrations 0` ended in a traceback of NumPy, which had nothing to concatenate."""
    assert main(['finetune', str(data / 'clone'), *options]) == 1
    assert said in ' '.join(capsys.readouterr().err.split())


def test_the_verb_refuses_a_reward_of_which_all_is_zero(data, capsys):
    layout = Layout(ROBOT)
    network = RewardNetwork(RewardConfig(), blank_scales(layout))
    Reward(layout, RewardConfig(), network, Calibration(1.0, 0.5)).save(data / 'reward')
    assert finetune(data, '--reward', str(data / 'reward')) == 1
    assert 'random behaviour scores as high as the expert' in capsys.readouterr().err


@pytest.mark.parametrize('seed', ['-1', str(2**31), '1.5'])
def test_a_seed_that_no_generator_takes_is_refused_at_once(data, capsys, seed):
    with pytest.raises(SystemExit):
        finetune(data, '--seed', seed)
    assert f"'{seed}'; valid: 0 to {2**31 - 1}" in capsys.readouterr().err


def test_the_verb_names_a_topic_that_was_not_recorded(data, capsys):
    assert finetune(data, '--task-reward-topic', '/task_reward') == 1
    assert "no topic '/task_reward'" in ' '.join(capsys.readouterr().err.split())
