"""The scripted experts: they succeed from everywhere, and remember nothing."""

from __future__ import annotations

from pathlib import Path

from imitation_ros.errors import TaskError
from imitation_ros.frames.contract import load_contract, parse_contract
from imitation_ros.sim.env import ArmEnv
from imitation_ros.sim.experts import make_expert
from imitation_ros.sim.rollout import roll_out
from imitation_ros.types import Frame
import numpy as np
import pytest

CONTRACTS = Path(__file__).parents[2] / 'config' / 'contracts'
FORMS = ['twist', 'position', 'trajectory']
PAIRS = [
    *((task, form) for task in ('reach', 'push', 'pick_place') for form in FORMS),
    ('reach', 'reach'),
    ('reach', 'keys'),
]
RANDOM_TICKS = 20


def load(form):
    return load_contract(CONTRACTS / f'panda_{form}.yaml')


@pytest.fixture(params=PAIRS, ids='-'.join)
def pair(request):
    """An environment and its expert."""
    task, form = request.param
    env = ArmEnv(task, load(form))
    yield env, make_expert(task, env.contract)
    env.close()


def succeeds_after_random_ticks(env, expert, seed):
    """Whether it still succeeds within the task's horizon, counted from there."""
    env.reset(seed=seed)
    env.action_space.seed(seed)
    for _ in range(RANDOM_TICKS):
        env.step(env.action_space.sample())
    for _ in range(env.simulator.task.horizon):
        _, _, terminated, _, info = env.step(expert(env.frame()))
        if terminated:
            break
    return info['success']


def test_it_succeeds_on_a_few_seeds(pair):
    env, expert = pair
    assert all(roll_out(env, expert, seed).success for seed in range(4))
    assert all(succeeds_after_random_ticks(env, expert, seed) for seed in range(4))


@pytest.mark.expensive
def test_it_succeeds_from_98_of_100_resets(pair):
    env, expert = pair
    assert sum(roll_out(env, expert, seed).success for seed in range(100)) >= 98


@pytest.mark.expensive
def test_it_succeeds_from_90_of_100_states_of_random_ticks(pair):
    env, expert = pair
    seeds = range(1000, 1100)
    assert sum(succeeds_after_random_ticks(env, expert, seed) for seed in seeds) >= 90


def test_the_order_of_the_queries_does_not_matter(pair):
    env, expert = pair
    rollout = roll_out(env, expert, seed=0)
    order = np.random.default_rng(0).permutation(rollout.ticks)
    fresh = make_expert(env.simulator.task.name, env.contract)
    for tick in order:
        observation = {name: rows[tick] for name, rows in rollout.observations.items()}
        label = fresh(Frame(0, observation))
        for part, rows in rollout.actions.items():
            assert (label[part] == rows[tick]).all()


def test_its_labels_fit_the_contract_and_the_guard_leaves_them(pair):
    env, expert = pair
    rollout = roll_out(env, expert, seed=1)
    for part, spec in env.contract.action_specs.items():
        for label in rollout.actions[part]:
            assert spec.check(label).dtype == spec.dtype
        np.testing.assert_allclose(rollout.executed[part], rollout.actions[part], atol=0.01)


def test_it_stays_at_the_goal():
    env = ArmEnv('reach', load('reach'))
    rollout = roll_out(env, make_expert('reach', env.contract), seed=0)
    held = env.simulator.task.hold_ticks + env.simulator.task.stay_ticks
    assert rollout.rewards[-held:].tolist() == [0.0] * held
    assert rollout.rewards[-held - 1] == -1.0
    env.close()


def test_a_field_that_it_needs_is_named():
    document = load('twist').to_document()
    document['observations']['state'] = document['observations']['state'][:2]
    contract = parse_contract(document)
    with pytest.raises(TaskError, match=r'needs goal/pose\.pose\.position\.x'):
        make_expert('reach', contract)


def test_picking_needs_a_gripper():
    document = load('twist').to_document()
    del document['actions']['gripper']
    with pytest.raises(TaskError, match='pick_place needs a part with the classes open and close'):
        make_expert('pick_place', parse_contract(document))


def test_an_unknown_task_is_refused():
    with pytest.raises(TaskError, match="no task 'stack'; valid: reach, push, pick_place"):
        make_expert('stack', load('twist'))


def test_an_arm_of_another_kind_is_refused():
    with pytest.raises(TaskError, match='needs tool/pose'):
        make_expert('reach', load_contract(CONTRACTS / 'diff_drive.yaml'))
