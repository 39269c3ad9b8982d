"""Commands of teleoperation that is not ours → actions, as long as they are fresh and whole."""

from __future__ import annotations

from imitation_ros.errors import ContractError
from imitation_ros.frames.actions import ActionCodec
from imitation_ros.frames.contract import load_contract
from imitation_ros.teleop.relay import Relay
import numpy as np
import pytest
from recorded_episodes import new

S = 1_000_000_000


def commands(of, stamp_ns=0):
    """Part → a message that commands where the robot is at home."""
    vectors = {'arm': np.array(of.home.get('arm', np.zeros(3))), 'gripper': np.array([1])}
    return {
        part: ActionCodec(of.actions[part]).encode(vectors[part], stamp_ns, new)
        for part in of.actions
    }


def relay(of, **settings):
    topics = {part: f'foreign/{part}' for part in of.actions}
    return Relay(of, topics, **{'timeout_s': 0.2, **settings})


def test_relayed_commands_count_as_long_as_all_are_fresh():
    of = load_contract('panda_position')
    relayed, said = relay(of), commands(of)
    assert relayed.action(S) == (None, 'foreign/arm: no message yet')
    relayed.take('arm', said['arm'], S, S)
    assert relayed.action(S) == (None, 'foreign/gripper: no message yet')
    relayed.take('gripper', said['gripper'], S, S)
    action, reason = relayed.action(S + S // 10)
    assert (list(action['arm']), action['gripper'][0], reason) == (list(of.home['arm']), 1, '')
    late = S + S // 10 + 1  # the contract's 0.1 s are shorter than the 0.2 s of the relay
    assert relayed.action(late) == (
        None, 'foreign/arm: the newest is 0.10 s old (at most 0.1 s)',
    )  # fmt: skip


def test_a_stamp_tells_that_a_relayed_command_was_late():
    """A burst after a jam of the network is fresh by its receipt alone."""
    of = load_contract('panda_twist')
    relayed, said = relay(of), commands(of, stamp_ns=5 * S)
    relayed.take('gripper', said['gripper'], S, 5 * S + S // 5)
    relayed.take('arm', said['arm'], S, 5 * S + S // 5)
    action, reason = relayed.action(S)
    assert (action, reason) == (None, 'foreign/arm: the newest is 0.20 s old (at most 0.1 s)')
    relayed.take('arm', said['arm'], S, 5 * S)
    assert relayed.action(S)[0] is not None


def test_a_relayed_command_that_is_broken_is_none_even_if_the_one_before_is_fresh():
    of = load_contract('panda_position')
    relayed, said = relay(of), commands(of)
    for part, message in said.items():
        relayed.take(part, message, S, S)
    said['arm'].data[3] = np.nan
    relayed.take('arm', said['arm'], S, S)
    assert relayed.action(S)[0] is None
    assert 'foreign/arm: not finite' in relayed.action(S)[1]
    said['arm'].data = said['arm'].data[:2]
    relayed.take('arm', said['arm'], S, S)
    assert 'foreign/arm: ' in relayed.action(S)[1]


def test_a_robot_that_is_far_from_what_is_commanded_does_not_begin_to_follow():
    of = load_contract('panda_position')
    relayed, near = relay(of), np.array(of.home['arm'])
    action = {'arm': near, 'gripper': np.array([0])}
    assert relayed.too_far(action, {'arm': near + 0.19}) == ''
    assert relayed.too_far(action, {'arm': near + np.eye(7)[2]}) == (
        'panda_joint3 is 1.00 from foreign/arm (at most 0.2)'
    )
    assert relayed.too_far(action, {}) == 'no feedback of arm from the robot'
    assert relay(load_contract('panda_twist')).too_far({'arm': np.ones(3)}, {}) == ''  # a velocity


def test_a_gripper_that_others_have_told_otherwise_is_not_followed():
    """A command of an hour ago that was latched opened it over what a policy held."""
    of = load_contract('panda_position')
    action = {'arm': np.array(of.home['arm']), 'gripper': np.array([0])}
    open_, closed = of.actions['gripper'].classes
    assert relay(of).other_gripper(action, {'gripper': 1}) == (
        f"gripper is at '{closed}', foreign/gripper at '{open_}'"
    )
    assert relay(of).other_gripper(action, {'gripper': 0}) == ''
    assert relay(of).other_gripper(action, {}) == ''  # nobody has told it anything


def test_only_a_discrete_part_can_be_latched():
    of = load_contract('panda_position')
    with pytest.raises(ContractError, match=r"no discrete part 'arm'.*valid: gripper"):
        relay(of, latched=['arm'])
    relayed, said = relay(of, latched=['gripper']), commands(of)
    relayed.take('gripper', said['gripper'], S, S)
    relayed.take('arm', said['arm'], 9 * S, 9 * S)
    assert relayed.action(9 * S)[0] is not None
