"""The Gymnasium environment over a contract."""

from __future__ import annotations

from pathlib import Path
import warnings

from gymnasium.utils.env_checker import check_env
from imitation_ros.errors import TaskError
from imitation_ros.frames.contract import load_contract, parse_contract
from imitation_ros.sim.env import ArmEnv
from imitation_ros.sim.experts import make_expert
from imitation_ros.sim.rollout import roll_out
from imitation_ros.supervision.guard import Refused
import numpy as np
import pytest

CONTRACTS = Path(__file__).parents[2] / 'config' / 'contracts'
FORMS = ['twist', 'position', 'trajectory', 'reach', 'keys']
IMAGE = {
    'topic': 'camera/image_raw',
    'type': 'sensor_msgs/msg/Image',
    'resize': [48, 64],
    'max_age_s': 0.1,
}


def contract(form='twist', **sources):
    document = load_contract(CONTRACTS / f'panda_{form}.yaml').to_document()
    document['observations'] |= sources
    return parse_contract(document)


@pytest.fixture(scope='module')
def env():
    made = ArmEnv('pick_place', contract())
    yield made
    made.close()


def idle(env):
    return {name: space.sample() * 0 for name, space in env.action_space.items()}


@pytest.mark.parametrize('form', FORMS)
def test_gymnasium_accepts_it(form):
    env = ArmEnv('reach', contract(form), render_mode='rgb_array')
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # it would rather see bounded observations
        check_env(env, skip_render_check=True)
    env.close()


@pytest.mark.parametrize('form', FORMS)
def test_frames_have_the_shapes_of_the_contract(form):
    wanted = contract(form, camera=[IMAGE])
    env = ArmEnv('reach', wanted)
    env.reset(seed=0)
    env.step(env.action_space.sample())
    frame = env.frame()
    assert frame.tick_ns == wanted.tick_period_ns
    assert list(frame.observation) == list(wanted.observation_specs)
    for name, spec in wanted.observation_specs.items():
        assert spec.check(frame.observation[name]).dtype == spec.dtype
    for name, spec in wanted.action_specs.items():
        assert spec.check(env.executed[name]).dtype == spec.dtype
    env.close()


def test_the_vector_holds_the_named_numbers_in_the_order_of_the_contract(env):
    env.reset(seed=3)
    named = env.simulator.named()
    fields = [(source.topic, field) for source in env.contract.sources for field in source.select]
    wanted = [named[topic][field] for topic, field in fields]
    assert env.frame().observation['state'].tolist() == wanted


def test_a_frame_stays_as_it_was_seen(env):
    env.reset(seed=0)
    frame = env.frame()
    before = frame.observation['state'].copy()
    env.step({'arm': np.array([0.3, 0.0, 0.0]), 'gripper': np.array([1])})
    assert (frame.observation['state'] == before).all()


def test_a_grasp_repeats_itself_bit_by_bit(env):
    expert = make_expert('pick_place', env.contract)
    first, _, again = (roll_out(env, expert, seed) for seed in (3, 4, 3))
    assert first.success
    assert (first.observations['state'] == again.observations['state']).all()
    assert (first.executed['arm'] == again.executed['arm']).all()


def test_an_action_passes_the_guard(env):
    env.reset(seed=0)
    env.step({'arm': np.array([9.0, 0.0, -9.0]), 'gripper': np.array([0])})
    np.testing.assert_allclose(env.executed['arm'], [0.4, 0.0, -0.4])
    with pytest.raises(Refused, match='not finite'):
        env.step({'arm': np.array([np.nan, 0.0, 0.0]), 'gripper': np.array([0])})


def test_it_is_truncated_at_the_horizon_without_success(env):
    rollout = roll_out(env, lambda _: idle(env), seed=0)
    assert not rollout.success
    assert rollout.ticks == env.simulator.task.horizon
    assert rollout.rewards.tolist() == [-1.0] * rollout.ticks
    assert rollout.observations['state'].shape == (rollout.ticks, 17)
    assert rollout.actions['arm'].shape == rollout.executed['arm'].shape == (rollout.ticks, 3)
    assert np.diff(rollout.tick_ns).tolist() == [50_000_000] * (rollout.ticks - 1)
    episode = rollout.to_episode()
    assert (len(episode), episode.outcome) == (rollout.ticks, 'failure')


def test_a_reset_without_a_seed_goes_on_drawing():
    env = ArmEnv('reach', contract('reach'))
    goals = []
    for seed in (1, None, None, 1, None):
        env.reset(seed=seed)
        goals.append(tuple(env.simulator.goal))
    assert goals[0] == goals[3]
    assert goals[1] == goals[4]
    assert len(set(goals)) == 3
    env.close()


@pytest.mark.parametrize(
    ('topic', 'type', 'field', 'message'),
    [
        (
            'wrench',
            'geometry_msgs/msg/Wrench',
            'force.x',
            "extra: .* has no topic 'wrench'; valid",
        ),
        ('success', 'std_msgs/msg/Int32', 'data', 'success is std_msgs/msg/Bool, not std_msgs'),
        ('joint_states', 'sensor_msgs/msg/JointState', 'position.j', "has no field 'position.j'"),
        ('camera/image', 'sensor_msgs/msg/Image', None, "no rgb8 as .* on 'camera/image'; valid"),
    ],
)
def test_what_the_simulation_does_not_have_is_refused(topic, type, field, message):
    source = {**IMAGE, 'topic': topic} if field is None else {
        'topic': topic, 'type': type, 'select': [field], 'max_age_s': 0.1
    }  # fmt: skip
    with pytest.raises(TaskError, match=message):
        ArmEnv('reach', contract(extra=[source]))
