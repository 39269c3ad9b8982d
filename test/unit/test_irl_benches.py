"""The measurements of learned rewards run; what they come to is no business of tests."""

from __future__ import annotations

from dataclasses import replace
import json

from imitation_ros.frames.contract import load_contract
from imitation_ros.learning.irl.sim_tasks import SimTask
from imitation_ros.learning.irl.trainer import RewardTrainer
from imitation_ros.sim.experts import make_expert
import numpy as np
import pytest

from bench import (
    finetune,
    gail_search,
    irl_ordering,
    irl_push,
    irl_reach,
    irl_reward,
    irl_vs_peer,
    reward_transfer,
    watching,
)
from bench.peers.driven import Driven
from bench.rows import RESULTS

BENCHES = [
    finetune,
    irl_ordering,
    irl_push,
    irl_reach,
    irl_reward,
    irl_vs_peer,
    reward_transfer,
    watching,
]


@pytest.mark.parametrize('bench', BENCHES)
def test_a_quick_run_gives_its_conditions(bench):
    some = ['--ways', 'ppo trajectory', 'shuffled'] if bench is irl_ordering else []
    result = bench.main(['--quick', *some])
    assert set(result) >= {'bench', 'value', 'pass', 'rows', 'first_scene'}
    assert result['rows']
    assert all(set(condition) == {'value', 'limit', 'ok'} for condition in result['pass'].values())


def look(expert, actor, interval):
    return {
        'steps': 100, 'expert': expert, 'actor': actor, 'interval': interval, 'auc': 0.9,
    }  # fmt: skip


def test_ordering_counts_until_two_looks_running_cannot_tell_expert_from_actor():
    apart, alike = (0.8, 1.0), (0.4, 0.7)
    looks = [
        look(1.0, 0.0, apart), look(0.0, 0.5, alike), look(1.0, 0.2, apart),
        look(0.3, 0.4, alike), look(0.5, 0.4, alike), look(0.1, 0.4, apart),
    ]  # fmt: skip
    assert irl_ordering.until_converged(looks, 2) == 3
    assert irl_ordering.until_converged(looks[:3], 2) == 3
    assert irl_ordering.until_converged(looks, 3) == len(looks)
    line = irl_ordering.summary([{'seed': 1, 'success': [0.0, 0.75], 'looks': looks}], 2)
    assert (line['looks'], line['rise']) == (3, 0.75)
    assert line['ordered'] == pytest.approx(2 / 3, abs=1e-4)
    assert line['gap'] == [-0.5, 1.0]
    assert line['converged_at'] == [100]


def test_the_other_arm_needs_another_policy():
    contract = load_contract('panda_reach')
    task = SimTask('reach', contract, make_env=reward_transfer.OtherArm)
    known, unknown = reward_transfer.expert_of_the_other_arm(), make_expert('reach', contract)
    assert task.success(known, lambda: None, [1, 2]) == 1.0
    assert task.success(unknown, lambda: None, [1, 2]) == 0.0


def test_the_control_learns_no_order():
    """Without the penalty, which makes every reward rise somewhere."""
    contract = load_contract('panda_reach')
    task = SimTask('reach', contract)
    shown, random, unseen = task.demonstrate([1, 2]), task.act_randomly([3]), task.demonstrate([4])
    gaps = []
    for make in (RewardTrainer, irl_ordering.ShuffledLabels):
        trainer = make(shown, contract, replace(irl_ordering.GAIL, penalty=0.0), 0)
        trainer.add(random)
        trainer.update(100)
        expert, actor = (irl_ordering.episode_scores(trainer, each) for each in (unseen, random))
        gaps.append(expert.mean() - actor.mean())
    assert gaps[0] > 5 * abs(gaps[1])


def test_disturbed_demonstrations_differ_in_their_actions_alone():
    shown = SimTask('reach', load_contract('panda_reach')).demonstrate([1])
    other = irl_reward.disturbed(shown, 0.3, seed=0)
    assert np.array_equal(other.next_observation, shown.next_observation)
    assert 0.05 < (other.action - shown.action).std() < 0.3
    assert not np.isin(other.episode, shown.episode).any()


@pytest.mark.parametrize(('task', 'figure'), [('reach', irl_reach), ('push', irl_push)])
def test_the_peer_runs_with_the_best_settings_of_its_search(task, figure):
    kept = json.loads((RESULTS / f'gail_search_{task}.json').read_text())['rows']
    tried = gail_search.drawn(task)
    assert sorted(map(int, kept)) == list(range(len(tried)))
    best = max(kept, key=lambda index: np.mean([p['score'] for p in kept[index]['curve']]))
    found = tried[int(best)]
    peer = replace(figure.FIGURE.peer, steps=found.steps, watch_every=found.watch_every)
    assert peer == found


def test_the_peer_is_shown_our_demonstrations():
    ours = SimTask('reach', load_contract('panda_reach')).demonstrate([7])
    driven = Driven('reach', iter([7]), ticks=10_000, fixed_horizon=True)
    states, ended = [driven.reset()[0]], False
    while not ended:
        (action,), _ = driven.ask(states[-1][None])
        state, _, terminated, truncated, _ = driven.step(action)
        states.append(state)
        ended = terminated or truncated
    assert not terminated
    assert np.allclose(states[: len(ours)], ours.observation[:, :-1], atol=1e-5)
