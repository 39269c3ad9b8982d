"""Families of tasks: nobody is told the task, and what is kept apart stays apart."""

from __future__ import annotations

from imitation_ros.errors import TaskError
from imitation_ros.frames.contract import load_contract
from imitation_ros.sim.env import ArmEnv
from imitation_ros.sim.families import FAMILIES, find_task, make_family
from imitation_ros.sim.family_expert import FamilyExpert, find_expert
from imitation_ros.sim.rollout import roll_out
from imitation_ros.sim.tasks import make_task
import numpy as np
import pytest

TRAINING, VALIDATION, TEST = range(200), range(500_000, 500_200), range(1_000_000, 1_000_200)


@pytest.fixture(params=FAMILIES)
def family(request):
    return make_family(request.param)


@pytest.fixture
def env(family):
    made = ArmEnv(family.draw(0), load_contract(family.contract))
    yield made
    made.close()


def test_a_scene_of_two_tasks_looks_the_same(family, env):
    tasks = [family.draw(seed, held_out) for seed in range(6) for held_out in (False, True)]
    seen = []
    for task in tasks:
        env.simulator.ask(task)
        seen.append(env.reset(seed=7)[0])
    assert len({(task.target, task.place, task.offset) for task in tasks}) == len(tasks)
    for observation in seen[1:]:
        assert observation.keys() == seen[0].keys()
        assert all(np.array_equal(observation[name], seen[0][name]) for name in observation)


def test_the_contract_tells_no_goal_and_no_success(family, env):
    fields = [field for spec in env.contract.observation_specs.values() for field in spec.fields]
    things = {item.name for item in family.items}
    assert {field.split('/')[0] for field in fields} - things <= {
        'tool', 'joint_states.position.panda_finger_joint1'
    }  # fmt: skip
    places = [item.name for item in family.items]
    shown = [source.topic for name in ('objects', 'places')
             for source in env.contract.observations.get(name, ())]  # fmt: skip
    assert shown == [f'{name}/pose' for name in places]  # a colour keeps its slot


def test_slots_do_not_tell_by_where_their_things_lie(family):
    positions = [list(family.scene(np.random.default_rng(seed)).values()) for seed in range(400)]
    means = np.mean(positions, 0)[: len(family.objects)]
    spread = np.std(positions, 0)[: len(family.objects)]
    assert (np.abs(means - means.mean(0)) < 0.25 * spread.max(0) + 1e-9).all()


def test_held_out_tasks_are_like_no_training_task(family):
    trained = [family.draw(seed) for seed in (*TRAINING, *VALIDATION, *TEST)]
    held_out = [family.draw(seed, held_out=True) for seed in TEST]
    assert max(task.offset[0] for task in trained) < min(task.offset[0] for task in held_out)
    if family.places:
        pairs = [{(task.target, task.place) for task in tasks} for tasks in (trained, held_out)]
        assert not pairs[0] & pairs[1]
        assert len(pairs[0] | pairs[1]) == 16
    assert len({task.offset for task in trained}) == len(trained)
    assert family.draw(3) == family.draw(3)


def test_the_expert_solves_both_regions(family, env):
    for seed in range(6):
        task = family.draw(seed, held_out=bool(seed % 2))
        env.simulator.ask(task)
        assert roll_out(env, FamilyExpert(task, env.contract), seed).success


def test_only_tasks_among_the_same_things_can_be_asked_for(env):
    with pytest.raises(TaskError, match='reach: needs other items; valid: red'):
        env.simulator.ask(make_task('reach'))


def test_an_unknown_family_is_refused():
    with pytest.raises(TaskError, match=r"no family 'pull'; .*valid: reach, push, pick_place"):
        make_family('pull')


def test_a_task_of_a_family_has_a_name():
    assert find_task('push/7') == make_family('push').draw(7)
    assert find_task('push') == make_task('push')
    for name, message in {
        'push/x': 'FAMILY/SEED',
        'pull/7': 'no family',
        'pull': 'no task',
    }.items():
        with pytest.raises(TaskError, match=message):
            find_task(name)
    contract = load_contract('panda_family_push')
    assert isinstance(find_expert('push/7', contract), FamilyExpert)
    assert not isinstance(find_expert('reach', load_contract('panda_reach')), FamilyExpert)
