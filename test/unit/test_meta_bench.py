"""The figures of meta-imitation run, and their baselines do as they are called."""

from __future__ import annotations

from imitation_ros.frames.contract import load_contract
from imitation_ros.learning.meta.family_data import correct, demonstrate
from imitation_ros.sim.env import ArmEnv
from imitation_ros.sim.families import make_family
from imitation_ros.sim.family_expert import FamilyExpert
from imitation_ros.sim.rollout import roll_out
from imitation_ros.types import Frame
import numpy as np
import pytest

from bench import meta_pick_place, meta_push, meta_reach
from bench.meta_tasks import Bench, go_to_final_pose, replay

SCENE = 1_000_000


@pytest.fixture(scope='module')
def env():
    family = make_family('pick_place')
    made = ArmEnv(family.draw(0), load_contract(family.contract))
    yield made
    made.close()


def test_a_quick_run_has_all_methods():
    result = meta_reach.main(['--quick'])
    assert set(result['table']) == {
        'context', 'gradient', 'finetune', 'embedding', 'replay', 'final_pose', 'oracle'
    }  # fmt: skip
    assert set(result['table']['context']) == {'1', '2'}
    assert result['table']['oracle']['1']['all'] == 1.0
    assert all(set(condition) == {'value', 'limit', 'ok'} for condition in result['pass'].values())


@pytest.mark.parametrize('bench', [meta_pick_place, meta_push, meta_reach])
def test_nothing_is_tested_in_a_scene_that_was_shown_or_trained_on(bench):
    setting = bench.SETTING
    tested = Bench(setting, SCENE)._tested()
    shown = {scene + k for _, scene, _ in tested for k in range(max(setting.shots))}
    scenes = {scene + 10 + k for _, scene, _ in tested for k in range(setting.scenes)}
    assert not shown & scenes
    assert len(scenes) == 2 * setting.tested * setting.scenes
    assert min(shown) == SCENE
    trained = setting.seeds * 10_000
    assert setting.tasks + setting.unseen <= 10_000
    per_task = setting.demonstrations + setting.corrections
    assert (setting.tasks + setting.unseen) * per_task <= 10_000
    assert trained < 500_000


def test_baselines_work_where_nothing_has_moved(env):
    task = make_family('pick_place').draw(4)
    shown = demonstrate(env, task, SCENE)
    assert roll_out(env, replay(shown), SCENE).success
    assert not roll_out(env, replay(shown), SCENE + 1).success
    rollout = roll_out(env, go_to_final_pose(shown, env.contract), SCENE + 1)
    last = [rollout.observations['robot'][-1, 1:], shown.observations['robot'][-1, 1:]]
    np.testing.assert_allclose(*last, atol=0.02)


def test_corrections_are_labelled_by_the_expert_and_leave_its_way(env):
    task = make_family('pick_place').draw(4)
    calm, pushed = demonstrate(env, task, 3), correct(env, task, 3)
    expert = FamilyExpert(task, env.contract)
    for tick in range(0, len(pushed), 7):
        seen = {name: array[tick] for name, array in pushed.observations.items()}
        wanted = expert(Frame(0, seen))
        assert all(np.array_equal(wanted[part], pushed.actions[part][tick]) for part in wanted)
    ticks = min(len(calm), len(pushed))
    tools = [each.observations['robot'][:ticks, 1:] for each in (calm, pushed)]
    assert np.abs(tools[0] - tools[1]).max() > 0.02
