"""Imitation, then reinforcement: where it begins, and what it refuses."""

from __future__ import annotations

from dataclasses import replace
import json

from imitation_ros.cli import finetune
from imitation_ros.cli.__main__ import main
from imitation_ros.errors import ImitationError, RewardError
from imitation_ros.frames.contract import load_contract
from imitation_ros.learning import finetune as finetune_module
from imitation_ros.learning.finetune import fine_tune, FineTuneConfig, paid_by
from imitation_ros.learning.irl.cloned import Clamp
from imitation_ros.learning.irl.layout import Layout
from imitation_ros.learning.irl.network import RewardConfig, RewardNetwork
from imitation_ros.learning.irl.reward import blank_scales, Calibration, Reward
from imitation_ros.learning.irl.sim_tasks import SimTask
from imitation_ros.learning.paid import by_outcome, Paid, paid_recorded
from imitation_ros.policies.checkpoint import load_checkpoint, read_record, save_checkpoint
from imitation_ros.policies.network import Architecture, Network
from imitation_ros.policies.normalization import Normalization, Standard
from imitation_ros.policies.policy import Policy
from imitation_ros.sim.rollout import roll_out
from imitation_ros.types import Frame
import numpy as np
import pytest
from stable_baselines3.common.utils import update_learning_rate
import torch

CONTRACT = load_contract('panda_twist')


def make_clone(contract=CONTRACT, **architecture):
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    specs = contract.observation_specs, contract.action_specs

    def standard(spec, unit):
        return Standard(rng.normal(0, 0.1, spec.shape), rng.uniform(0.5, 2, spec.shape) * unit)

    normalization = Normalization(
        {name: standard(spec, 0.3) for name, spec in specs[0].items()},
        {part: standard(spec, 0.1) for part, spec in specs[1].items() if not spec.discrete},
    )
    chosen = Architecture(hidden=(32, 16), **architecture)
    return Policy(contract, chosen, normalization, Network(*specs, chosen, normalization))


@pytest.fixture(scope='module')
def task():
    return SimTask('pick_place', CONTRACT)


@pytest.fixture(scope='module')
def paid(task):
    steps = task.demonstrate(range(2))
    return Paid(steps, np.full(len(steps), -1.0))


CONFIG = FineTuneConfig(steps=40, warm_up=1_000, watch_every=20, critic=(16,))


def test_it_begins_as_the_clone_and_stays_it_while_the_critic_warms_up(task, paid):
    clone, seen = make_clone(), []
    tuned = fine_tune(clone, [task.simulator], paid, CONFIG, seed=0, watch=seen.append)
    assert [progress.steps for progress in seen] == [20, 40]
    fine_tune(clone, [task.simulator], paid, replace(CONFIG, steps=25), 0, watch=seen.append)
    assert [progress.steps for progress in seen[2:]] == [20, 25]  # what comes out is seen, too
    rng = np.random.default_rng(1)
    for tick in range(50):
        frame = Frame(
            tick, {'state': rng.normal(0.3, 0.3, CONTRACT.observation_specs['state'].shape)}
        )
        expected, found = clone.act(frame), tuned.act(frame)
        np.testing.assert_allclose(found['arm'], expected['arm'], atol=1e-4)
        assert found['gripper'] == expected['gripper']


def test_after_the_warm_up_the_actor_learns(task, paid):
    clone = make_clone()
    config = replace(CONFIG, steps=80, warm_up=10)
    tuned = fine_tune(clone, [task.simulator], paid, config, seed=0)
    frame = Frame(0, {'state': np.full(CONTRACT.observation_specs['state'].shape, 0.3)})
    assert np.abs(tuned.act(frame)['arm'] - clone.act(frame)['arm']).max() > 1e-4


def test_learning_rate_and_noise_fall_to_the_floor(task, paid, monkeypatch):
    rates, noises = [], []

    class Watched(finetune_module.NormalActionNoise):
        def __call__(self):
            noises.append(self._sigma.mean())
            return super().__call__()

    def update(optimizer, rate):
        rates.append(rate)
        update_learning_rate(optimizer, rate)

    monkeypatch.setattr(finetune_module, 'NormalActionNoise', Watched)
    monkeypatch.setattr(finetune_module, 'update_learning_rate', update)
    config = replace(CONFIG, noise=0.3, floor=0.2, learning_rate=1e-3)
    fine_tune(make_clone(), [task.simulator], paid, config, seed=0)
    left = 1 - 0.8 * np.arange(CONFIG.steps) / CONFIG.steps
    np.testing.assert_allclose(noises, 0.3 * left)
    np.testing.assert_allclose(rates[::2], 1e-3 * left)
    assert rates[::2] == rates[1::2]  # actor and critic


def test_the_same_seed_repeats_it(task, paid):
    config = replace(CONFIG, warm_up=10)
    frame = Frame(0, {'state': np.full(CONTRACT.observation_specs['state'].shape, 0.3)})
    first, again = (
        fine_tune(make_clone(), [task.simulator], paid, config, seed=3).act(frame)['arm']
        for _ in range(2)
    )
    np.testing.assert_array_equal(first, again)


def test_a_gripper_that_is_sure_keeps_its_decisions_and_can_learn_others(task, paid):
    """Its logits were 20 apart, and its channel counts between -1 and 1."""
    clone = make_clone()
    with torch.no_grad():
        clone.network.perceptron[-1].weight[-2:] *= 100
        clone.network.perceptron[-1].bias[-2:] *= 100

    def apart(policy):
        """The logits of the gripper (N,) in demonstrated states."""
        state = policy.normalization.observations['state'].apply(paid.steps.observation[:, :-1])
        logits = policy.network.perceptron(torch.from_numpy(state.astype(np.float32)))[:, -2:]
        return (logits[:, 1] - logits[:, 0]).detach()

    before = apart(clone)
    after = apart(fine_tune(clone, [task.simulator], paid, CONFIG, seed=0))
    assert before.abs().mean() > 10
    assert after.abs().mean() == pytest.approx(2.0, rel=0.01)
    torch.testing.assert_close(
        after / after.abs().max(), before / before.abs().max(), rtol=0, atol=1e-4
    )


@pytest.mark.parametrize('odd', [{'history': 2}, {'chunk': 2}, {'members': 2}])
def test_a_clone_that_no_actor_can_be_is_refused(task, paid, odd):
    (name,) = odd
    with pytest.raises(RewardError, match=f'the policy has {name} 2; valid: 1'):
        fine_tune(make_clone(**odd), [task.simulator], paid, CONFIG, seed=0)


def test_a_clone_of_a_discrete_part_alone_is_refused(paid):
    """It was not looked at, and ended in an assertion of stable-baselines3 about its spaces."""
    keys = load_contract('panda_keys')
    task = SimTask('reach', keys)
    with pytest.raises(
        RewardError, match=r'actions\.arm: discrete, and the only part; valid: a c'
    ):
        fine_tune(make_clone(keys), [task.simulator], paid, CONFIG, seed=0)


def test_without_demonstrations_it_does_not_begin(task, paid):
    with pytest.raises(ImitationError, match='0 demonstrations; valid: at least 1'):
        paid_by(task, [])
    nothing = Paid(paid.steps.take(np.zeros(0, int)), np.zeros(0))
    with pytest.raises(RewardError, match='no reward for any of 0 steps'):
        fine_tune(make_clone(), [task.simulator], nothing, CONFIG, seed=0)


class LearnedReward(Reward):
    """Never fitted; remembers how many steps it was asked about."""

    def __init__(self):
        layout, config = Layout(CONTRACT), RewardConfig()
        torch.manual_seed(1)
        network = RewardNetwork(config, blank_scales(layout))
        super().__init__(layout, config, network, Calibration(0.0, 0.1))
        self.asked = []

    def raw(self, batch):
        self.asked.append(len(batch[0]))
        return super().raw(batch)


def test_the_learned_reward_has_its_share(task, paid):
    frame = Frame(0, {'state': np.full(CONTRACT.observation_specs['state'].shape, 0.3)})

    def tuned(share, reward):
        config = replace(CONFIG, warm_up=10, task_share=share)
        policy = fine_tune(make_clone(), [task.simulator], paid, config, 0, reward)
        return policy.act(frame)['arm']

    reward = LearnedReward()
    alone = tuned(1.0, reward)
    assert reward.asked == []
    np.testing.assert_array_equal(alone, tuned(1.0, None))
    mix, learned = tuned(0.5, reward), tuned(0.0, reward)
    assert set(reward.asked) == {len(paid.steps), 1}  # all are paid, each of them once
    assert reward.asked.count(1) >= 70
    assert len({tuple(each) for each in (alone, mix, learned)}) == 3


def test_a_mix_needs_a_learned_reward(task, paid):
    with pytest.raises(RewardError, match=r'task_share 0\.5 needs a learned reward'):
        fine_tune(make_clone(), [task.simulator], paid, replace(CONFIG, task_share=0.5), seed=0)


@pytest.mark.parametrize(
    'wrong', [{'task_share': 2.0}, {'steps': 0}, {'pull': -1.0}, {'gamma': 1.0}]
)
def test_settings_are_checked(wrong):
    with pytest.raises(ImitationError, match=next(iter(wrong))):
        FineTuneConfig(**wrong)


def test_at_a_limit_the_gradient_leads_back_and_not_further_out():
    action = torch.tensor([-2.0, -2.0, 0.5, 2.0, 2.0], requires_grad=True)
    gradient = torch.tensor([1.0, -1.0, 1.0, 1.0, -1.0])
    Clamp()(action).backward(gradient)
    assert action.grad.tolist() == [0.0, -1.0, 1.0, 1.0, 0.0]


def test_recorded_successes_are_paid_as_in_the_simulation(task):
    ends = SimTask('pick_place', CONTRACT, fixed_horizon=False)
    rollouts = [roll_out(ends.env, ends.expert, seed) for seed in range(2)]
    episodes = [each.to_episode() for each in rollouts]
    found = paid_recorded(CONTRACT, episodes, by_outcome(task.ticks_at_goal))
    expected = np.concatenate([each.rewards[:-1] for each in rollouts])
    np.testing.assert_array_equal(found.rewards, expected)
    assert len(found.steps) == len(expected)


def test_the_verb_saves_the_best_of_the_trials_and_says_how_good_it_is(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(finetune, 'TRIALS', 1)
    monkeypatch.setattr(finetune, 'FRESH', 1)
    save_checkpoint(tmp_path / 'clone', make_clone(), {})
    arguments = ['--task', 'pick_place', '--steps', '20', '--demonstrations', '2', '--json']
    out = str(tmp_path / 'out')
    assert main(['finetune', str(tmp_path / 'clone'), *arguments, '--out', out]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said['expert']['success'] == 1.0
    assert 20 < said['expert']['ticks'] < said['clone']['ticks'] <= 140
    assert load_checkpoint(said['checkpoint'], CONTRACT)
    record = read_record(out)
    assert (record['method'], record['config']['steps']) == ('finetune', 20)


def test_the_verb_takes_a_learned_reward(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(finetune, 'TRIALS', 1)
    monkeypatch.setattr(finetune, 'FRESH', 1)
    save_checkpoint(tmp_path / 'clone', make_clone(), {})
    LearnedReward().save(tmp_path / 'reward')
    arguments = [
        '--steps',
        '20',
        '--demonstrations',
        '2',
        '--out',
        str(tmp_path / 'out'),
        '--json',
    ]
    reward = ['--reward', str(tmp_path / 'reward')]
    assert main(['finetune', str(tmp_path / 'clone'), *arguments, *reward]) == 0
    capsys.readouterr()
    assert read_record(tmp_path / 'out')['config']['task_share'] == 0.5
    missing = ['--reward', str(tmp_path / 'nothing')]
    assert main(['finetune', str(tmp_path / 'clone'), *arguments, *missing]) == 1
    assert 'nothing' in capsys.readouterr().err
