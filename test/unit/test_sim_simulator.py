"""The simulator: repeatable, commanded in every form, and honest about success."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from imitation_ros.errors import TaskError
from imitation_ros.frames.contract import load_contract, parse_contract
from imitation_ros.sim.model import PANDA
from imitation_ros.sim.simulator import Simulator
from imitation_ros.sim.tasks import make_task, TASKS
import numpy as np
import pytest

CONTRACTS = Path(__file__).parents[2] / 'config' / 'contracts'
OPEN, CLOSE = np.array([0]), np.array([1])


@pytest.fixture
def make(request):
    """Makes simulators, and frees them."""
    made = []

    def make(task='pick_place', form='twist', **kwargs):
        made.append(Simulator(task, load_contract(CONTRACTS / f'panda_{form}.yaml'), **kwargs))
        return made[-1]

    yield make
    for simulator in made:
        simulator.close()


def numbers_of_a_run(simulator, seed, ticks=25):
    simulator.reset(seed)
    rng = np.random.default_rng(99)
    rows = [simulator.read()]
    for _ in range(ticks):
        velocity = rng.uniform(-0.3, 0.3, 3) - [0.0, 0.0, 0.2]
        simulator.command({'arm': velocity, 'gripper': rng.integers(0, 2, 1)})
        simulator.step()
        rows.append(simulator.read())
    return np.array(rows)


def test_a_seed_gives_the_same_bits_whatever_went_before(make):
    simulator = make()
    first = numbers_of_a_run(simulator, 5)
    other = numbers_of_a_run(simulator, 6)
    assert (numbers_of_a_run(simulator, 5) == first).all()
    assert (numbers_of_a_run(make(), 5) == first).all()
    assert (other[0] != first[0]).any()


@pytest.mark.parametrize('task', TASKS)
def test_seeds_draw_other_starts_within_the_workspace(task):
    layouts = [make_task(task).sample(np.random.default_rng(seed)) for seed in range(50)]
    for low, high, places in zip(
        [(0.3, -0.2, 0.1), (0.35, -0.5, 0.02), (0.35, -0.3, 0.02)],
        [(0.65, 0.2, 0.4), (0.65, 0.25, 0.02), (0.7, 0.3, 0.35)],
        zip(*layouts),
    ):
        assert len({tuple(place) for place in places}) == len(places)
        assert (np.array(places) >= low).all()
        assert (np.array(places) <= high).all()


def test_the_numbers_are_named(make):
    simulator = make()
    named = simulator.named()
    assert list(named) == ['joint_states', 'tool/pose', 'object/pose', 'goal/pose', 'success']
    assert named['joint_states']['position.panda_finger_joint1'] == pytest.approx(0.04)
    assert len(named['joint_states']) == 27
    layout = simulator.task.sample(np.random.default_rng(0))
    for topic, position in zip(('tool/pose', 'object/pose', 'goal/pose'), layout):
        found = [named[topic][f'pose.position.{axis}'] for axis in 'xyz']
        np.testing.assert_allclose(found, position, atol=2e-3)
    assert named['success'] == {'data': 0.0}


def test_a_tool_velocity_moves_the_tool_at_that_velocity(make):
    simulator = make()
    simulator.reset(0)
    start = simulator.tool
    for _ in range(10):
        simulator.command({'arm': np.array([0.1, 0.0, 0.1]), 'gripper': OPEN})
        simulator.step()
    np.testing.assert_allclose(simulator.tool - start, [0.05, 0.0, 0.05], atol=3e-3)


def test_a_tool_velocity_that_is_not_repeated_ends(make):
    simulator = make()
    simulator.reset(0)
    start = simulator.tool
    simulator.command({'arm': np.array([0.2, 0.0, 0.0]), 'gripper': OPEN})
    simulator.step(200)
    assert simulator.tool[0] - start[0] == pytest.approx(0.02, abs=3e-3)


def test_a_tool_velocity_stops_at_the_table(make):
    simulator = make()
    simulator.reset(0)
    for _ in range(60):
        simulator.command({'arm': np.array([0.0, 0.0, -0.4]), 'gripper': OPEN})
        simulator.step()
    assert simulator.tool[2] == pytest.approx(PANDA.workspace_low[2], abs=2e-3)


@pytest.mark.parametrize('form', ['position', 'trajectory'])
def test_joint_targets_are_reached_within_the_tick(make, form):
    simulator = make(form=form)
    simulator.reset(0)
    target = simulator.read()[:7] + np.linspace(-0.03, 0.03, 7)
    for _ in range(2):
        simulator.command({'arm': target, 'gripper': OPEN})
        simulator.step()
    np.testing.assert_allclose(simulator.read()[:7], target, atol=2e-3)


def test_joints_are_taken_by_name(make):
    document = load_contract(CONTRACTS / 'panda_position.yaml').to_document()
    arm = document['actions']['arm']
    for key in ('joints', 'feedback', 'low', 'high', 'max_velocity', 'units', 'max_acceleration'):
        arm[key] = arm[key][::-1]
    document['home'] = {}
    simulator = Simulator('reach', parse_contract(document))
    target = simulator.read()[:7] + np.linspace(-0.03, 0.03, 7)
    for _ in range(3):
        simulator.command({'arm': target[::-1]})
        simulator.step()
    np.testing.assert_allclose(simulator.read()[:7], target, atol=2e-3)
    simulator.close()


def test_physics_steps_one_by_one_make_the_same_tick(make):
    whole, steps = make(form='position'), make(form='position')
    target = whole.read()[:7] + 0.03
    for simulator in (whole, steps):
        simulator.command({'arm': target, 'gripper': CLOSE})
    whole.step()
    for _ in range(whole.substeps):
        steps.step(1)
    np.testing.assert_allclose(steps.read(), whole.read(), atol=1e-9)
    assert steps.time_ns == whole.time_ns == 50_000_000
    assert steps.ticks == 1


def test_the_fingers_move_as_one(make):
    simulator = make()
    simulator.command({'gripper': CLOSE})
    for _ in range(12):
        simulator.step()
    fingers = simulator.read()[7:9]
    np.testing.assert_allclose(fingers, 0.0, atol=1e-3)
    simulator.command({'gripper': OPEN})
    for _ in range(12):
        simulator.step()
    np.testing.assert_allclose(simulator.read()[7:9], 0.04, atol=1e-3)


@pytest.mark.parametrize('task', TASKS)
def test_success_is_held_and_not_touched_and_left(make, task):
    """The goal put where the moved thing rests is held; a goal that is left again is not."""
    simulator = make(task)
    moved = simulator.cube if simulator.task.moves_cube else simulator.tool
    simulator.task = replace(simulator.task, tolerance_m=1.0)
    for tick in range(1, 25):
        simulator.step()
        assert simulator.holding_ticks == tick
        assert simulator.success == (tick >= 10)
        assert simulator.named()['success']['data'] == simulator.success
        assert simulator.finished == (tick >= 20)
    simulator.task = replace(simulator.task, tolerance_m=1e-6)
    simulator.step()
    assert np.linalg.norm(moved - simulator.goal) > 1e-6
    assert (simulator.holding_ticks, simulator.success, simulator.finished) == (0, False, False)
    simulator.task = replace(simulator.task, tolerance_m=1.0)
    simulator.step()
    assert (simulator.holding_ticks, simulator.success) == (1, False)


def test_only_the_cube_counts_where_the_cube_is_to_be_moved(make):
    for task in ('push', 'pick_place'):
        here, there = np.zeros(3), np.ones(3)
        assert make_task(task).distance(tool=here, cube=there, goal=here) > 1
        assert make_task(task).distance(tool=there, cube=here, goal=here) == 0
    assert make_task('reach').distance(tool=np.zeros(3), cube=np.ones(3), goal=np.zeros(3)) == 0


def test_the_camera_sees_cube_and_goal(make):
    simulator = make()
    simulator.reset(1)
    picture = simulator.render().astype(int)
    assert picture.shape == (96, 96, 3)
    red, green, blue = np.moveaxis(picture, 2, 0)
    assert ((green > red + 30) & (green > blue + 30)).sum() > 3
    assert ((red > green + 60) & (red > blue + 60)).sum() > 3
    assert simulator.render(160, 120).shape == (120, 160, 3)
    intrinsics = simulator.camera.intrinsics(160, 120)
    assert (intrinsics[0, 2], intrinsics[1, 2]) == (80, 60)


def test_the_rate_of_the_contract_divides_into_whole_steps():
    document = load_contract(CONTRACTS / 'panda_reach.yaml').to_document()
    document['rate_hz'] = 30.0
    simulator = Simulator('reach', parse_contract(document))
    assert simulator.substeps * simulator.step_s == pytest.approx(1 / 30)
    simulator.step()
    assert simulator.time_ns == round(1e9 / 30)
    simulator.close()


def test_an_unknown_task_is_refused(make):
    with pytest.raises(TaskError, match="no task 'pick_plac'; did you mean 'pick_place'"):
        make('pick_plac')


@pytest.mark.parametrize(
    ('form', 'change', 'message'),
    [
        (
            'twist',
            {'frame_id': 'tool'},
            "actions.arm.frame_id: found 'tool'; valid: 'panda_link0'",
        ),
        ('twist', {'units': ['1', '1', '1']}, 'actions.arm.units: .*valid: m/s'),
        (
            'twist',
            {'select': ['twist.linear.x', 'twist.linear.y', 'twist.angular.z']},
            "actions.arm.select: 'twist.angular.z'; .*valid: twist.linear.x",
        ),
        (
            'position',
            {'joints': [f'panda_joint{index}' for index in (1, 2, 3, 4, 5, 6, 8)]},
            "actions.arm.joints: no 'panda_joint8'; did you mean 'panda_joint",
        ),
        (
            'position',
            {
                'kind': 'velocity',
                'units': ['rad/s'] * 7,
                'low': [-1.0] * 7,
                'high': [1.0] * 7,
                'max_velocity': [],
            },
            'actions.arm: .* of kind velocity moves nothing; valid: joints',
        ),
    ],
)
def test_an_action_that_the_arm_cannot_do_is_refused(form, change, message):
    document = load_contract(CONTRACTS / f'panda_{form}.yaml').to_document()
    document['actions']['arm'] |= change
    document['home'] = {}
    with pytest.raises(TaskError, match=message):
        Simulator('reach', parse_contract(document))
