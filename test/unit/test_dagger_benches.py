"""The DAgger measurements run; what they come to is no business of tests."""

from __future__ import annotations

from pathlib import Path

from imitation_ros.frames.contract import load_contract, parse_contract
from imitation_ros.sim.env import ArmEnv
from imitation_ros.supervision.gates import GateConfig
import numpy as np
import pytest

from bench import dagger_gym, dagger_labels, dagger_vs_bc
from bench.disturbances import Disturbance, PUSHED_TICKS
from bench.gym_tasks import GymCollector, TASKS
from bench.peers.driven import Driven, scorer, Vectors


@pytest.mark.parametrize('bench', [dagger_gym, dagger_labels, dagger_vs_bc])
def test_a_quick_run_gives_a_table(bench):
    result = bench.main(['--quick'])
    assert set(result) >= {'bench', 'value', 'pass', 'rows', 'table', 'first_scene'}
    assert result['table']
    assert all(set(condition) == {'value', 'limit', 'ok'} for condition in result['pass'].values())


def test_the_target_must_be_met_in_two_evaluations_running():
    rounds = [
        {'labels': 10, 'ticks': 10, 'expert_ticks': 10 * (k == 0), 'switches': 1, 'success': s}
        for k, s in enumerate([0.2, 0.96, 0.9, 0.97, 1.0])
    ]
    row = dagger_labels._until_target('human', rounds, 0.05)
    assert (row['reached'], row['rounds_needed'], row['extra_labels']) == (True, 3, 30)
    assert (row['initial_labels'], row['expert_share'], row['switches']) == (10, 0.0, 3)
    assert row['attention_s'] == pytest.approx(1.5)  # 30 ticks of watching
    assert dagger_labels._until_target('safe', rounds, 0.05)['attention_s'] == 0.0
    assert not dagger_labels._until_target('human', rounds[:3], 0.05)['reached']


def test_the_sign_flip_test_is_exact():
    assert dagger_vs_bc.sign_flip_p([0.1] * 8) == 2 / 2**8
    assert dagger_vs_bc.sign_flip_p([0.1, -0.1]) == 1.0
    assert dagger_vs_bc.sign_flip_p([3.0, 1.0, 1.0]) == 2 / 8
    assert dagger_vs_bc.sign_flip_p([0.0, 0.0]) == 1.0


def test_a_disturbance_pushes_once_moves_the_cube_once_and_repeats():
    env = ArmEnv('pick_place', load_contract('panda_twist'))
    calm = {'arm': np.zeros(3), 'gripper': np.array([0])}
    histories = []
    for _ in range(2):
        env.reset(seed=3)
        disturbance, pushed, cubes = Disturbance(env, 'arm', 3), [], []
        for _ in range(60):
            action = disturbance.applied(calm)
            pushed.append(bool(np.any(action['arm'])))
            env.step(action)
            cubes.append(env.simulator.cube.copy())
        histories.append((pushed, np.array(cubes)))
    env.close()
    (pushed, cubes), (again, cubes_again) = histories
    assert pushed == again
    assert np.array_equal(cubes, cubes_again)
    assert sum(pushed) == PUSHED_TICKS
    assert sum(np.diff(np.flatnonzero(pushed)) != 1) == 0
    assert np.linalg.norm((cubes[-1] - cubes[0])[:2]) == pytest.approx(0.05, abs=1e-3)


@pytest.mark.parametrize('name', TASKS)
def test_the_experts_of_gymnasiums_tasks_are_far_better_than_chance(name):
    collector = GymCollector(TASKS[name], demonstrated_ticks=30)
    seeds = range(5)
    best = collector.score(TASKS[name].expert, seeds, lambda: None)
    good = {'CartPole-v1': 499, 'Pendulum-v1': -200, 'PandaReach-v3': -3}
    bad = {'CartPole-v1': 60, 'Pendulum-v1': -800, 'PandaReach-v3': -40}
    assert best > good[name]
    assert collector.random_score(seeds) < bad[name]


def test_a_demonstration_is_cut_and_counted():
    collector = GymCollector(TASKS['CartPole-v1'], demonstrated_ticks=30)
    (collected,) = collector.collect(None, GateConfig('human'), [3], Path('unused'))
    assert (collected.labels, len(collected.episode), collected.switches) == (30, 30, 0)


def test_actions_come_back_from_the_vectors_of_the_peer():
    vectors = Vectors(load_contract('panda_twist'))
    action = {'arm': np.array([-0.4, 0.1, 0.4]), 'gripper': np.array([1])}
    back = vectors.unpack(vectors.pack(action))
    assert vectors.space.shape == (4,)
    assert np.allclose(back['arm'], action['arm'])
    assert back['gripper'] == 1
    balance = Vectors(parse_contract(TASKS['CartPole-v1'].contract))
    assert balance.unpack(balance.pack({'push': np.array([1])})) == {'push': np.array([1])}


@pytest.mark.parametrize('task', ['CartPole-v1', 'Pendulum-v1', 'reach'])
def test_the_peers_environment_is_ours_scene_by_scene_and_cut(task):
    driven = Driven(task, iter([7, 8]), ticks=5)
    state, _ = driven.reset(seed=0)
    assert state in driven.observation_space
    steps, ended = 0, False
    while not ended:
        (action,), _ = driven.ask(state[None])
        state, _, terminated, truncated, _ = driven.step(action)
        ended, steps = terminated or truncated, steps + 1
    assert steps == 5
    first, _ = driven.reset()
    again, _ = Driven(task, iter([8]), ticks=5).reset()
    assert np.array_equal(first, again)


def test_the_peer_is_scored_like_ours():
    score = scorer('CartPole-v1', range(2))
    assert score(TASKS['CartPole-v1'].expert) == 1.0
