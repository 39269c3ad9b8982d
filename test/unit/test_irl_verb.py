"""`irl` end to end, too short to learn anything, and what is left of it when it ends early."""

from __future__ import annotations

from dataclasses import asdict, replace
import json
from types import SimpleNamespace

from imitation_ros.cli import irl
from imitation_ros.cli.__main__ import main
from imitation_ros.episodes.training_set import TrainingSet
from imitation_ros.errors import RewardError
from imitation_ros.frames.codecs import set_stamp
from imitation_ros.frames.contract import load_contract
from imitation_ros.learning.bc import BCConfig, train_bc
from imitation_ros.learning.irl.actor import ActorConfig
from imitation_ros.learning.irl.adversarial import AdversarialConfig, Imitator
from imitation_ros.learning.irl.network import RewardConfig
from imitation_ros.learning.irl.reward import load_reward
from imitation_ros.learning.irl.sim_tasks import SimTask
from imitation_ros.learning.irl.trainer import RewardTrainer
from imitation_ros.policies.checkpoint import load_checkpoint, save_checkpoint
import pytest
from recorded_episodes import Bag, new, WALL_NS
import torch

from bench.irl_push import FIGURE


@pytest.fixture
def short(monkeypatch):
    monkeypatch.setattr(irl, 'TRIALS', 1)
    monkeypatch.setattr(irl, 'RANDOM_SEEDS', range(1))
    monkeypatch.setattr(irl, 'MAP_POINTS', 5)


def test_irl_writes_reward_checkpoint_and_pictures(short, tmp_path, capsys):
    out = tmp_path / 'irl'
    arguments = ['--sim', '--steps', '120', '--demonstrations', '3', '--relative-positions']
    arguments += ['--shaping']
    assert main(['irl', *arguments, '--out', str(out), '--json']) == 0
    result = json.loads(capsys.readouterr().out)
    assert {'separation', 'success', 'environment_steps'} <= set(result)
    assert result['environment_steps'] == 120
    contract = load_contract('panda_reach')
    reward = load_reward(result['reward'], contract)
    assert reward.version >= 1
    assert reward.config.relative_positions
    assert not record(out / 'reward')['config']['actor']['normalized']
    assert load_checkpoint(result['checkpoint'], contract)
    pictures = {path.name for path in out.glob('*.png')}
    assert pictures == {'alternation.png', 'reward_along.png', 'reward_map.png'}


@pytest.fixture
def task():
    return SimTask('reach', load_contract('panda_reach'))


def learn(task, out, steps=60, watch_every=20, advance=lambda *note, **completed: None, **reward):
    config = AdversarialConfig(ActorConfig(learning_starts=20), steps, watch_every=watch_every)
    shown = task.demonstrate(range(3))
    return irl.learn(task, shown, RewardConfig(**reward), config, 0, out, advance)


def record(folder):
    return json.loads((folder / 'reward.json').read_text())['training']


def test_a_kill_leaves_the_best_so_far(short, task, tmp_path):
    """Reward and checkpoint were written at the very end alone: Ctrl-C lost hours."""
    trials = []

    def interrupt(note='', completed=0):
        trials.append(completed)
        if len(trials) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        learn(task, tmp_path, advance=interrupt)
    assert load_checkpoint(tmp_path / 'checkpoint', task.contract)
    assert load_reward(tmp_path / 'reward', task.contract).version == 2
    assert record(tmp_path / 'reward')['stale'] == irl.NOT_ENDED
    assert record(tmp_path / 'reward')['environment_steps'] == 40
    again = RewardTrainer(task.demonstrate(range(3)), task.contract, RewardConfig())
    again.load(tmp_path / 'training.safetensors')
    assert again.version == 2


def test_a_run_that_ended_leaves_a_reward_that_is_not_stale(short, task, tmp_path):
    result = learn(task, tmp_path)
    assert [point['steps'] for point in result['curve']] == [20, 40, 60]
    assert all(-100 <= point['return'] < 0 for point in result['curve'])
    assert record(tmp_path / 'reward')['stale'] == ''


def test_diverging_training_keeps_the_last_good_reward_and_says_that_it_is_stale(
    short, task, tmp_path, monkeypatch
):
    """A loss that was not finite lost all that had been learned."""
    update = RewardTrainer.update

    def diverge(trainer, updates, log_density=None):
        if trainer.version == 2:
            with torch.no_grad():
                next(trainer.network.parameters()).fill_(torch.nan)
        update(trainer, updates, log_density)

    monkeypatch.setattr(RewardTrainer, 'update', diverge)
    with pytest.raises(RewardError, match=r'the loss is nan; .* kept: .*reward, stale, and'):
        learn(task, tmp_path)
    assert load_reward(tmp_path / 'reward', task.contract).version == 2
    assert 'the loss is nan' in record(tmp_path / 'reward')['stale']
    assert load_checkpoint(tmp_path / 'checkpoint', task.contract)


@pytest.mark.parametrize(
    ('arguments', 'says'),
    [
        (['--steps', '9'], '--steps: 9; valid with sac: at least 10'),
        (['--steps', '500', '--algorithm', 'ppo'], '--steps: 500; valid with ppo: at least 501'),
        (['--algorithm', 'ppo', '--careful'], '--careful with ppo; valid with sac alone'),
        (['--simulators', '0'], '--simulators: 0; valid: at least 1'),
        (['--demonstrations', '-1'], '--demonstrations: -1; valid: at least 1'),
    ],
)
def test_too_few_steps_are_refused_at_once(arguments, says, capsys):
    """They ended at the first trial, with 'none to compare with'."""
    assert main(['irl', '--sim', *arguments]) == 1
    assert says in capsys.readouterr().err


def test_the_demo_refuses_too_few_steps_at_once(capsys, tmp_path):
    assert main(['demo', '--irl-steps', '9', '--out', str(tmp_path / 'demo')]) == 1
    assert '--irl-steps of 10' in capsys.readouterr().err


def test_discrete_actions_are_learned_by_ppo_in_several_simulators(short, tmp_path, capsys):
    arguments = ['--contract', 'panda_keys', '--simulators', '2', '--steps', '502']
    where = ['--demonstrations', '3', '--out', str(tmp_path / 'irl'), '--json']
    assert main(['irl', '--sim', *arguments, *where]) == 0
    result = json.loads(capsys.readouterr().out)
    assert load_checkpoint(result['checkpoint'], load_contract('panda_keys'))


def test_a_careful_run_is_that_of_the_figure(short, tmp_path, capsys):
    arguments = ['--task', 'push', '--contract', 'panda_push', '--relative-positions', '--careful']
    where = ['--steps', '150', '--demonstrations', '3', '--out', str(tmp_path / 'irl'), '--json']
    assert main(['irl', '--sim', *arguments, *where]) == 0
    training = record(tmp_path / 'irl/reward')
    config = replace(FIGURE.setting.imitation, steps=150, watch_every=150)
    assert training['reward'] == json.loads(json.dumps(asdict(FIGURE.setting.reward)))
    assert training['config'] == json.loads(json.dumps(asdict(config)))


def test_an_actor_begins_as_a_checkpoint(short, task, tmp_path, capsys):
    shown = [task.episode(task.expert, seed) for seed in range(3)]
    config = BCConfig(hidden=(16,), epochs=2, validation_fraction=0.0)
    clone, _ = train_bc(TrainingSet.from_episodes(shown, task.contract), config, 0)
    save_checkpoint(tmp_path / 'clone', clone, {})
    given = ['--from', str(tmp_path / 'clone'), '--demonstrations', '3', '--steps', '30']
    assert main(['irl', '--sim', *given, '--out', str(tmp_path / 'irl'), '--json']) == 0
    result = json.loads(capsys.readouterr().out)
    document = json.loads((tmp_path / 'irl/checkpoint/policy.json').read_text())
    assert document['training']['config']['actor']['algorithm'] == 'td3'
    assert load_checkpoint(result['checkpoint']).architecture.hidden == (16,)
    assert main(['irl', '--sim', *given, '--algorithm', 'sac']) == 1
    assert 'sac ends in a tanh' in capsys.readouterr().err


def watched_bag(folder, episode, contract):
    """What cameras and trackers say of an episode that somebody else acted."""
    bag = Bag(folder, contract)
    for tick, state in enumerate(episode.observations['state']):
        now_ns = WALL_NS + tick * contract.tick_period_ns
        for topic, place in (('tool/pose', state[:3]), ('goal/pose', state[3:])):
            pose = new('geometry_msgs/msg/PoseStamped')
            set_stamp(pose, now_ns)
            at = pose.pose.position
            at.x, at.y, at.z = map(float, place)
            bag.send(topic, 'geometry_msgs/msg/PoseStamped', pose, now_ns + 1000, now_ns + 2000)
    return bag.writer.stop('success')


def test_it_learns_by_watching_recordings_without_actions(short, task, tmp_path, capsys):
    """Such episodes were dropped whole, since no tick had an action."""
    shown = tmp_path / 'shown'
    for seed in range(3):
        watched_bag(shown / f'{seed}', task.episode(task.expert, seed), task.contract)
    given = [str(shown), '--steps', '20', '--out', str(tmp_path / 'irl')]
    assert main(['irl', *given]) == 1
    assert 'no action for the tick' in capsys.readouterr().err
    assert main(['irl', *given, '--inputs', 'state_next', '--json']) == 0
    result = json.loads(capsys.readouterr().out)
    assert load_reward(result['reward'], task.contract).config.watches


def test_the_film_shows_a_failure(short, task, tmp_path, monkeypatch):
    """It showed the first policy in the first scene, which might succeed."""
    shown = {}

    def film(stem, env, reward, behaviours, seed):
        shown.update(names=list(behaviours), seed=seed)
        return stem

    monkeypatch.setattr('imitation_ros.cli._films.film_rewards', film)
    monkeypatch.setattr(irl, 'TRIALS', 2)
    learn(task, tmp_path / 'one')
    assert shown['names'] == ['demonstration', 'failure']
    assert irl.TRIAL_SEED <= shown['seed'] < irl.TRIAL_SEED + 2
    expert = task.expert
    monkeypatch.setattr(
        Imitator, 'policy', lambda _: SimpleNamespace(act=expert, reset=lambda: None)
    )
    monkeypatch.setattr('imitation_ros.policies.checkpoint.save_checkpoint', lambda *_: '')
    learn(task, tmp_path / 'two')
    assert shown['names'] == ['demonstration', 'random']


def test_demonstrations_come_from_a_folder_or_from_the_simulation(capsys):
    assert main(['irl']) == 1
    assert main(['irl', 'somewhere', '--sim']) == 1
    assert 'a folder with recorded episodes, or --sim' in capsys.readouterr().err
