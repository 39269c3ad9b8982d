"""The measurement of weighted cloning runs; what it comes to is no business of tests."""

from __future__ import annotations

from types import SimpleNamespace

from imitation_ros.frames.contract import load_contract
from imitation_ros.sim.env import ArmEnv
from imitation_ros.sim.experts import make_expert
from imitation_ros.sim.rollout import roll_out
import numpy as np
import pytest

from bench import weighted_bc
from bench.habits import habit_measures, Habits
from bench.mixed_demonstrations import demonstrate, fields


def test_a_quick_run_gives_both_parts():
    result = weighted_bc.main(['--quick'])
    assert set(result) >= {'bench', 'value', 'pass', 'interval', 'success', 'habits', 'rows'}
    assert set(result['success']) == set(weighted_bc.METHODS)
    assert all(set(condition) == {'value', 'limit', 'ok'} for condition in result['pass'].values())


def test_the_share_of_the_gap_is_a_ratio_of_means():
    rows = [
        {'all': 0.2, 'good': 1.0, 'weighted': 0.6},
        {'all': 0.6, 'good': 1.0, 'weighted': 1.0},
    ]
    share, interval = weighted_bc._share_of_gap(rows, 'weighted')
    assert share == pytest.approx(0.8 / 1.2, abs=1e-4)
    assert interval == [0.5, 1.0]


def test_habits_that_nobody_had_are_not_got_rid_of():
    """Where cloning all showed no habit, the condition held, whatever the weighted clone did."""
    clean = {'success': 1.0, 'idle': 0.1, 'detour': 0.0, 'wiggle': 0.1}
    odd = {'success': 1.0, 'idle': 0.5, 'detour': 0.5, 'wiggle': 0.5}
    none = weighted_bc._habit_conditions({'expert': clean, 'all': clean, 'weighted': clean})
    gone = weighted_bc._habit_conditions({'expert': clean, 'all': odd, 'weighted': clean})
    assert [each['ok'] for each in none.values()] == [True, False, False, False]
    assert all(each['ok'] for each in gone.values())


def test_habits_are_seen_in_demonstrations_that_succeed():
    contract = load_contract('panda_reach')
    env, expert = ArmEnv('reach', contract), make_expert('reach', contract)
    clean, odd = (
        roll_out(env, act, seed=4) for act in (expert, Habits(expert, contract))
    )  # fmt: skip
    env.close()
    assert clean.success
    assert odd.success
    expected, found = habit_measures(clean, contract), habit_measures(odd, contract)
    assert expected['idle'] == 0.0
    assert expected['wiggle'] < 0.01
    assert expected['detour'] == pytest.approx(0.0, abs=0.03)
    assert all(found[name] > expected[name] for name in expected)


def test_a_detour_from_beside_the_goal_is_as_long_as_it_is():
    """As a multiple of a way of nearly 0 it was thousands, and one scene made the mean."""
    contract = load_contract('panda_reach')
    (name, tool), (_, goal) = fields(contract, 'tool/pose'), fields(contract, 'goal/pose')
    away = np.array([0.0301, 0.1301, 0.2301, 0.1301, 0.0301, 0.0])
    state = np.zeros((len(away), contract.observation_specs[name].shape[0]))
    state[:, tool[0]], state[:, goal[0]] = away, 0.0
    velocity = np.tile([1.0, 0.0, 0.0], (len(away), 1))
    rollout = SimpleNamespace(observations={name: state}, actions={'arm': velocity})
    assert habit_measures(rollout, contract)['detour'] == pytest.approx(0.4, abs=0.001)


def test_wrong_demonstrations_fail_and_hide_it():
    contract = load_contract('panda_twist')
    env = ArmEnv('pick_place', contract)
    episodes, kinds, successes = demonstrate(env, 'pick_place', {'good': 1, 'wrong': 1}, 0.5, 7)
    env.close()
    assert (kinds, successes) == (['good', 'wrong'], [True, False])
    assert {episode.outcome for episode in episodes} == {'unknown'}
