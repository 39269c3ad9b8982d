from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from imitation_ros.errors import ContractError
from imitation_ros.frames.contract import Contract, load_contract, parse_contract
from imitation_ros.supervision.guard import Guard, Refused
import numpy as np
import pytest

CONTRACTS = Path(__file__).parents[2] / 'config/contracts'
POSES = [f'position.j{index}' for index in range(3)]


def contract(**arm) -> Contract:
    """Three joints, a gripper, and a twist; `arm` overrides the joints' part."""
    return parse_contract(
        {
            'name': 'three_joints',
            'rate_hz': 20,
            'command_hz': 100,
            'observations': {
                'state': {
                    'topic': 'joint_states',
                    'type': 'sensor_msgs/msg/JointState',
                    'select': POSES,
                    'max_age_s': 0.1,
                }
            },
            'actions': {
                'arm': {
                    'topic': 'arm/command',
                    'type': 'std_msgs/msg/Float64MultiArray',
                    'kind': 'position',
                    'units': 'rad',
                    'joints': ['j0', 'j1', 'j2'],
                    'feedback': POSES,
                    'low': -2.0,
                    'high': 2.0,
                    'max_velocity': [1.0, 2.0, 3.0],
                    'max_acceleration': [5.0, 10.0, 2.0],
                    **arm,
                },
                'base': {
                    'topic': 'cmd_vel',
                    'type': 'geometry_msgs/msg/Twist',
                    'kind': 'velocity',
                    'units': ['m/s', 'rad/s'],
                    'select': ['linear.x', 'angular.z'],
                    'low': [-0.5, -1.0],
                    'high': [0.5, 1.0],
                    'max_acceleration': [1.0, 2.0],
                },
                'gripper': {
                    'topic': 'gripper/command',
                    'type': 'std_msgs/msg/Bool',
                    'kind': 'discrete',
                    'classes': ['open', 'close'],
                },
            },
            'home': {'arm': [0.5, -0.5, 0.0]},
        }
    )


def action(arm, base=(0.0, 0.0), gripper=0):
    return {'arm': np.array(arm), 'base': np.array(base), 'gripper': np.array([gripper])}


def started(arm=(0.0, 0.0, 0.0), **limits) -> Guard:
    guard = Guard(contract(**limits))
    guard.reset({'arm': np.array(arm)})
    return guard


positions = st.lists(st.floats(-2.0, 2.0), min_size=3, max_size=3)
wild = st.floats(allow_nan=False, allow_infinity=False)
wild_actions = st.builds(
    action,
    st.lists(wild, min_size=3, max_size=3),
    st.lists(wild, min_size=2, max_size=2),
    st.integers(0, 1),
)
# A call of the guard: a target and the ticks it stays, or None to hold.
calls = st.lists(st.tuples(st.none() | wild_actions, st.integers(1, 30)), max_size=8)


@given(positions, calls, st.sampled_from([0.002, 0.01, 0.05]), st.floats(0, 0.2))
def test_no_step_breaks_a_limit(start, calls, dt_s, remaining_s):
    part = contract().actions['arm']
    base = contract().actions['base']
    guard = started(start)
    position, velocity, speed = np.array(start), np.zeros(3), np.zeros(2)
    for target, ticks in calls:
        for _ in range(ticks):
            sent = guard.hold(dt_s) if target is None else guard.advance(target, dt_s, remaining_s)
            new_velocity = (sent['arm'] - position) / dt_s
            acceleration = (new_velocity - velocity) / dt_s
            assert (sent['arm'] >= part.low).all()
            assert (sent['arm'] <= part.high).all()
            assert (np.abs(new_velocity) <= np.array(part.max_velocity) + 1e-7).all()
            assert (np.abs(acceleration) <= np.array(part.max_acceleration) + 1e-6).all()
            assert (np.abs(sent['base']) <= np.array(base.high)).all()
            change = np.abs(sent['base'] - speed) / dt_s
            assert (change <= np.array(base.max_acceleration) + 1e-7).all()
            position, velocity, speed = sent['arm'], new_velocity, sent['base']


@given(positions, positions, st.sampled_from([0.002, 0.01, 0.05]), st.floats(0, 0.2))
def test_a_target_is_reached_without_overshoot_and_kept(start, goal, dt_s, remaining_s):
    guard = started(start)
    target = action(goal)
    sides = np.sign(np.subtract(goal, start))
    for _ in range(int(6.0 / dt_s)):
        sent = guard.advance(target, dt_s, remaining_s)['arm']
        assert (sides * (goal - sent) >= -1e-9).all()
        remaining_s = max(0.0, remaining_s - dt_s)
    np.testing.assert_allclose(sent, goal, atol=1e-9)


@given(positions)
def test_the_first_command_starts_at_the_measured_state(start):
    np.testing.assert_array_equal(started(start).hold(0.01)['arm'], start)
    first = started(start).advance(action([2.0, 2.0, 2.0]), 0.01, 0.05)['arm']
    assert (np.abs(first - start) <= np.array([5.0, 10.0, 2.0]) * 0.01**2 + 1e-12).all()


def test_a_reachable_target_is_interpolated_and_reached_in_time():
    guard = started(max_velocity=100.0, max_acceleration=1e6)
    remaining, sent = [0.05, 0.04, 0.03, 0.02, 0.01], []
    for left in remaining:
        sent.append(guard.advance(action([0.1, -0.2, 0.0]), 0.01, left)['arm'])
    expected = np.outer([0.2, 0.4, 0.6, 0.8, 1.0], [0.1, -0.2, 0.0])
    np.testing.assert_allclose(sent, expected, atol=1e-9)


def test_hold_brakes_and_then_repeats_one_target():
    guard = started()
    for _ in range(30):
        moving = guard.advance(action([2.0, 2.0, 2.0], (0.5, 1.0), 1), 0.01, 0.05)
    held = [guard.hold(0.01) for _ in range(200)]
    assert (held[0]['arm'] > moving['arm']).all(), 'it must brake, not jump to a stop'
    np.testing.assert_array_equal(held[-1]['arm'], held[-50]['arm'])
    np.testing.assert_array_equal(held[-1]['base'], [0.0, 0.0])
    assert held[-1]['gripper'] == 1


def test_a_part_that_never_had_a_class_is_left_out_of_hold():
    assert set(started().hold(0.01)) == {'arm', 'base'}


def test_hold_sends_the_class_that_stands_still():
    """A key-driven arm moves as long as the last key press is repeated."""
    keys = load_contract(f'{CONTRACTS}/panda_keys.yaml')
    guard = Guard(keys)
    guard.reset({})
    guard.advance({'arm': np.array([1])}, 0.05, 0.05)
    assert keys.actions['arm'].classes[int(guard.hold(0.05)['arm'][0])] == 'stay'


def test_on_stop_zero_needs_a_class_of_zeros():
    document = load_contract(f'{CONTRACTS}/panda_keys.yaml').to_document()
    document['actions']['arm']['values'][0] = [0.1, 0, 0]
    with pytest.raises(ContractError, match=r'actions\.arm\.on_stop.*no class has zeros'):
        Guard(parse_contract(document))


def test_home_moves_slowly_and_joints_arrive_together():
    guard = started()
    sent = []
    while not guard.at_home:
        sent.append(guard.home(0.01, 0.2)['arm'])
        assert len(sent) < 1000
    speeds = np.abs(np.diff(sent, axis=0)) / 0.01
    assert (speeds <= 0.2 * np.array([1.0, 2.0, 3.0]) + 1e-9).all()
    np.testing.assert_allclose(sent[-1], [0.5, -0.5, 0.0], atol=1e-6)
    half = next(at for at in sent if at[0] >= 0.25)
    assert half[1] == pytest.approx(-0.25, abs=0.02)


BAD = {
    'NaN': ({'arm': np.array([0.0, np.nan, 0.0])}, 'arm: not finite'),
    'infinite': ({'base': np.array([np.inf, 0.0])}, 'base: not finite'),
    'short': ({'arm': np.zeros(2)}, r'arm: shape \(2,\); valid: \(3,\)'),
    'matrix': ({'arm': np.zeros((3, 1))}, r'arm: shape \(3, 1\)'),
    'scalar': ({'gripper': np.array(1)}, r'gripper: shape \(\)'),
    'text': ({'arm': np.array(['a', 'b', 'c'])}, 'arm: found <U1; valid: numbers'),
    'flags': ({'arm': np.array([True, False, True])}, 'arm: found bool'),
    'objects': ({'arm': [10**400, 0, 0]}, 'arm: found object'),
    'ragged': ({'arm': [[1.0], 2.0, 3.0]}, 'arm: not a vector of numbers'),
    'nothing': ({'arm': None}, 'arm: missing'),
    'no such class': ({'gripper': np.array([2])}, 'gripper: class 2.0; valid: 0 to 1'),
    'between classes': ({'gripper': np.array([0.5])}, 'gripper: class 0.5'),
    'unknown part': ({'leg': np.zeros(3)}, 'action parts: found .*leg; valid: arm, base, gripper'),
}


@pytest.mark.parametrize('case', BAD)
def test_a_malformed_command_is_refused_whole(case):
    change, message = BAD[case]
    guard, twin = started(), started()
    good = action([0.3, 0.3, 0.3], (0.1, 0.1), 1)
    with pytest.raises(Refused, match=message):
        guard.advance({**good, **change}, 0.01, 0.05)
    after, expected = guard.advance(good, 0.01, 0.05), twin.advance(good, 0.01, 0.05)
    for part in expected:
        np.testing.assert_array_equal(after[part], expected[part])


@pytest.mark.filterwarnings('error')
def test_a_signalling_nan_of_32_bits_is_refused_without_a_warning():
    """The cast to 64 bits warned, which is an exception where warnings are errors."""
    signalling = np.frombuffer(b'\x01\x00\xa0\x7f' * 3, np.float32)
    with pytest.raises(Refused, match='not finite'):
        started().advance(action(signalling), 0.01, 0.05)


def test_a_missing_part_is_refused():
    with pytest.raises(Refused, match=r'found arm; valid: arm, base, gripper'):
        started().advance({'arm': np.zeros(3)}, 0.01, 0.05)


@pytest.mark.parametrize('measured', [{}, {'arm': np.array([0.0, np.nan, 0.0])}])
def test_it_does_not_start_without_a_measured_state(measured):
    guard = Guard(contract())
    with pytest.raises(Refused, match='measured arm'):
        guard.reset(measured)
    for call in (
        lambda: guard.advance(action([0, 0, 0]), 0.01, 0.05),
        lambda: guard.hold(0.01),
        lambda: guard.home(0.01, 0.2),
    ):
        with pytest.raises(Refused, match='no measured state'):
            call()


@pytest.mark.parametrize('beyond', [0.0002, 0.008])
def test_a_robot_that_leans_on_a_limit_is_not_told_to_be_beyond_it(beyond):
    """Measured 0.2 mrad beyond the limit, it was held there. A command may move it by 0.01 rad."""
    leaning, dt_s = [2.0 + beyond, -2.0 - beyond, 0.0], 0.01
    wants = [
        lambda guard: guard.hold(dt_s)['arm'],
        lambda guard: guard.advance(action([0.0, 0.0, 0.0]), dt_s, 5.0)['arm'],
        lambda guard: guard.advance(action([9.0, -9.0, 0.0]), dt_s, dt_s)['arm'],
    ]
    for want in wants:
        guard = started(leaning)
        sent = [want(guard) for _ in range(20)]
        assert np.abs(sent).max() <= 2.0
        acceleration = np.diff([[2.0, -2.0, 0.0]] * 2 + sent, n=2, axis=0) / dt_s**2
        assert (np.abs(acceleration) <= np.array([5.0, 10.0, 2.0]) * (1 + 1e-9)).all()


def test_a_robot_that_was_pushed_far_beyond_a_limit_is_held_where_it_is():
    """As by what it ran against: it moves on its own no more than anywhere else."""
    further = [2.05, -2.05, 0.0]
    np.testing.assert_array_equal(started(further).hold(0.01)['arm'], further)


def test_from_outside_the_limits_it_only_moves_inwards():
    guard = started([2.1, 0.0, 0.0])
    sent = [guard.advance(action([9.0, 0.0, 0.0]), 0.01, 0.05)['arm'][0] for _ in range(100)]
    assert sent[0] <= 2.1
    assert (np.diff(sent) <= 1e-12).all()
    assert sent[-1] == pytest.approx(2.0)


def test_every_contract_of_the_package_has_a_guard():
    for name in ('twist', 'position', 'trajectory', 'reach', 'keys'):
        Guard(load_contract(f'{CONTRACTS}/panda_{name}.yaml'))
