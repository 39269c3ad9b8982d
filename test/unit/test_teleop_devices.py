"""What a person's device says → actions, without ROS and with a terminal of our own."""

from __future__ import annotations

from dataclasses import replace
import os
from pathlib import Path
import pty
import termios

from imitation_ros.errors import ContractError, MessageError
from imitation_ros.frames.contract import load_contract
from imitation_ros.supervision.guard import Guard
from imitation_ros.teleop.jog import Jog
from imitation_ros.teleop.joy import JoyMap, Joystick
from imitation_ros.teleop.keyboard import Keyboard
from imitation_ros.teleop.leader import Leader, LeaderMap
from imitation_ros.teleop.motion import Motion
from imitation_ros.teleop.skill import Skilled
from imitation_ros.teleop.terminal import Terminal, TerminalError
from imitation_ros.types import Frame
import numpy as np
import pytest

CONTRACTS = Path(__file__).parents[2] / 'config/contracts'
NAMES = ('panda_twist', 'panda_position', 'panda_trajectory', 'panda_reach', 'panda_keys')
S = 1_000_000_000


def contract(name):
    return load_contract(CONTRACTS / f'{name}.yaml')


def home(of):
    return {'arm': np.array(of.home['arm'])} if of.home else {}


@pytest.mark.parametrize('name', [*NAMES, 'diff_drive'])
def test_every_contract_can_be_jogged_and_the_guard_lets_it_pass(name):
    of = contract(name)
    jog, guard = Jog(of), Guard(of)
    guard.reset(home(of))
    for element in range(jog.size):
        for value in (1.0, -1.0, 0.0):
            deflection = np.zeros(jog.size)
            deflection[element] = value
            guard.advance(jog.action(deflection, home(of)), 0.05, 0.05)


def test_velocities_follow_the_deflection_at_the_speed_that_was_set():
    jog = Jog(contract('panda_twist'), speed=0.5)
    np.testing.assert_allclose(jog.action(np.array([1.0, -0.5, 0.0]), {})['arm'], [0.2, -0.1, 0.0])
    np.testing.assert_allclose(jog.action(np.array([9.0, 0.0, 0.0]), {})['arm'], [0.2, 0.0, 0.0])


def test_joints_are_moved_on_from_where_they_are_and_again_after_a_pause():
    of = contract('panda_position')
    jog = Jog(of, speed=0.5)
    push = np.array([1.0, 0, 0, 0, 0, 0, 0])
    step = 0.5 * of.actions['arm'].max_velocity[0] / of.rate_hz
    for count in (1, 2):
        moved = jog.action(push, home(of))['arm'] - of.home['arm']
        np.testing.assert_allclose(moved, count * step * push)
    jog.release()
    elsewhere = {'arm': np.array(of.home['arm']) + 0.3}
    np.testing.assert_allclose(jog.action(0 * push, elsewhere)['arm'], elsewhere['arm'])


def test_joints_cannot_be_jogged_blindly_or_out_of_their_limits():
    of = contract('panda_position')
    jog = Jog(of, speed=1.0)
    assert jog.action(np.zeros(7), {}) is None
    for _ in range(200):
        target = jog.action(np.ones(7), home(of))['arm']
    np.testing.assert_array_equal(target, of.actions['arm'].high)


@pytest.mark.parametrize(
    ('deflection', 'name'),
    [([0, 0, 0], 'stay'), ([1, 0, 0], 'forward'), ([0, -1, 0], 'right'), ([0, 0, 1], 'up')],
)
def test_key_press_actions_take_the_class_of_that_direction(deflection, name):
    of = contract('panda_keys')
    index = int(Jog(of).action(np.array(deflection, float), {})['arm'][0])
    assert of.actions['arm'].classes[index] == name


def test_the_switch_opens_and_closes_the_gripper():
    jog = Jog(contract('panda_twist'))
    states = []
    for _ in range(3):
        states.append(int(jog.action(np.zeros(3), {})['gripper'][0]))
        jog.switch()
    assert states == [0, 1, 0]


def test_while_others_drive_the_jog_follows_the_robot_and_keeps_what_it_holds():
    """Every takeover opened the gripper, and went back to where the dead-man was pressed."""
    of = contract('panda_position')
    jog, rest, there = Jog(of), np.zeros(7), {'arm': np.array(of.home['arm']) + 0.3}
    jog.follow(False, {})
    assert jog.action(rest, home(of))['gripper'] == 0
    jog.follow(False, {'gripper': 1})
    action = jog.action(rest, there)
    np.testing.assert_array_equal(action['arm'], there['arm'])
    assert action['gripper'] == 1
    jog.follow(True, {'gripper': 1})
    jog.switch()
    for _ in range(50):
        jog.follow(True, {'gripper': 1})
        action = jog.action(rest, home(of))
    np.testing.assert_array_equal(action['arm'], there['arm'], 'its own target, while it drives')
    assert action['gripper'] == 0, 'what was told before it drove is nothing that it follows'


def test_a_switch_while_others_drive_counts_for_a_second():
    of = contract('panda_twist')
    jog, rest, told = Jog(of), np.zeros(3), {'gripper': 1}
    jog.follow(False, told)
    jog.switch()
    states = []
    for _ in range(2 * round(of.rate_hz)):
        jog.follow(False, told)
        states.append((int(jog.action(rest, {})['gripper'][0]), jog.motion(rest)))
    assert states[0] == (0, 1.0)
    assert states[-1] == (1, 0.0)
    assert states.index((1, 0.0)) == round(of.rate_hz) - 1
    assert jog.motion(np.array([0.0, -0.4, 0.0])) == pytest.approx(0.4)


def test_a_part_that_cannot_be_jogged_is_named():
    with pytest.raises(ContractError, match=r"no part to jog: gripper.*\['arm'\]"):
        Jog(contract('panda_twist'), part='gripper')


def test_keys_move_while_they_are_held_and_stop_afterwards():
    keyboard = Keyboard(3, held_s=0.5)
    for key in 'wdq':
        assert keyboard.press(key, 10 * S) is None
    np.testing.assert_array_equal(keyboard.deflection(10 * S + S // 4), [1, -1, 1])
    keyboard.press('S', 10 * S + S // 4)
    np.testing.assert_array_equal(keyboard.deflection(10 * S + S // 4), [-1, -1, 1])
    np.testing.assert_array_equal(keyboard.deflection(10 * S + S // 2), [-1, 0, 0])


@pytest.mark.parametrize(
    ('key', 'request_'),
    [
        (' ', 'switch'), ('h', 'help'), ('g', 'supervisor/resume'), ('t', 'supervisor/stop'),
        ('c', 'supervisor/take'), ('b', 'supervisor/give_back'),
        ('y', 'supervisor/discard_correction'),
        ('r', 'recorder/start'), ('\n', 'recorder/success'), ('\x7f', 'recorder/failure'),
        ('x', 'recorder/discard'), ('?', None),
    ],
)  # fmt: skip
def test_keys_ask_for_what_the_help_says(key, request_):
    assert Keyboard(3).press(key, 0) == request_


@pytest.mark.parametrize('key', 'tb')
def test_stop_and_give_back_let_go_of_the_keys(key):
    keyboard = Keyboard(3)
    keyboard.press('w', 0)
    keyboard.press('g', 0)
    assert keyboard.resumes(1)
    keyboard.press(key, 1)
    np.testing.assert_array_equal(keyboard.deflection(2), [0, 0, 0])
    assert not keyboard.resumes(2)


def test_authority_is_asked_for_as_long_as_a_key_counts_as_held():
    keyboard = Keyboard(3, held_s=0.5)
    assert not keyboard.resumes(0)
    keyboard.press('g', S)
    assert keyboard.resumes(S + S // 4)
    assert not keyboard.resumes(S + S // 2)


def test_the_help_names_every_pair_of_keys_in_use():
    text = Keyboard(7).help()
    assert 'w/s, a/d, q/e, i/k, j/l, u/o, n/m' in text
    assert 'q/e' not in Keyboard(2).help()


def test_no_key_has_two_meanings():
    from imitation_ros.teleop.keyboard import HELP, PAIRS, REQUESTS, SWITCH

    keys = [*''.join(PAIRS), *REQUESTS, SWITCH, HELP]
    assert len(set(keys)) == len(keys)


def test_the_terminal_gives_single_keys_and_is_put_back():
    ours, theirs = pty.openpty()
    before = termios.tcgetattr(theirs)
    terminal = Terminal(theirs)
    assert terminal.read() == []
    os.write(ours, b'w\x1b[A \n\xff')
    assert ''.join(terminal.read()) == 'ww \n'
    terminal.restore()
    assert termios.tcgetattr(theirs) == before
    os.close(ours)
    os.close(theirs)


@pytest.fixture
def typed():
    """Types at a terminal; gives the keys that are read at once after it."""
    ours, theirs = pty.openpty()
    terminal = Terminal(theirs)

    def type_(text):
        os.write(ours, text.encode())
        return ''.join(terminal.read())

    yield type_
    os.close(ours)
    os.close(theirs)


@pytest.mark.parametrize(
    ('sequence', 'keys'),
    [
        ('\x1b[A\x1b[B\x1b[D\x1b[C', 'wsad'),
        ('\x1bOA\x1bOB\x1bOD\x1bOC', 'wsad'),  # in application mode
        ('\x1b\x1b[A', 'w'),  # with Alt, in some terminals
        ('\x1b[1;2D', ''),  # Shift and left
        ('\x1b[a', ''),  # Shift and up, in rxvt
        ('\x1bOS', ''),  # F4
        ('\x1bO2S', ''),  # with Shift, in old terminals
        ('\x1b[24~', ''),  # F12
        ('\x1b[[A', ''),  # F1 of the Linux console
        ('\x1b', ''),  # escape
        ('\x1bt', 't'),  # and t, or Alt and t
    ],
)
def test_of_escape_sequences_arrows_alone_are_keys(typed, sequence, keys):
    """Shift and left moved right, F3 started a recording."""
    assert typed(f'q{sequence}e') == f'q{keys}e'


@pytest.mark.parametrize('sequence', ['\x1b[1;2D', '\x1bOS', '\x1b[[A'])
def test_an_escape_sequence_may_come_in_pieces(typed, sequence):
    assert [typed(character) for character in sequence] == [''] * len(sequence)
    assert typed('\x1b') == ''
    assert typed('[A') == 'w'
    assert typed('\x1b') == ''
    assert typed('') == ''
    assert typed('Ow') == 'Ow', 'a lone escape is over'


def test_without_a_terminal_it_says_how_to_start():
    read, write = os.pipe()
    with pytest.raises(TerminalError, match='start it in a terminal of its own'):
        Terminal(read)
    os.close(read)
    os.close(write)


PAD = JoyMap((1, -1, 3), (1.0, 1.0, -0.5), 4, {'switch': 0, 'supervisor/stop': -1}, 0.1)


def test_the_joystick_moves_only_while_the_dead_man_button_is_held():
    joystick = Joystick(PAD)
    axes = [0.0, 0.6, 0.0, 1.0]
    free = joystick.update(axes, [0, 0, 0, 0, 0])
    assert not free.engaged
    np.testing.assert_array_equal(free.deflection, [0, 0, 0])
    held = joystick.update(axes, [0, 0, 0, 0, 1])
    assert held.engaged
    np.testing.assert_allclose(held.deflection, [0.6, 0.0, -0.5])
    np.testing.assert_array_equal(
        joystick.update([0.0, 0.09, 0, 0], [0, 0, 0, 0, 1]).deflection, [0, 0, 0]
    )


def test_a_button_asks_once_a_press_and_not_for_one_held_at_the_start():
    joystick = Joystick(PAD)
    pressed, free = [1, 0, 0, 0, 1], [0, 0, 0, 0, 1]
    asked = [joystick.update([0.0] * 4, b).requests for b in (pressed, free, pressed, pressed)]
    assert asked == [(), (), ('switch',), ()]


@pytest.mark.parametrize(
    ('axes', 'buttons', 'message'),
    [
        ([0.0], [0] * 5, 'no axis 1 in the message; valid: 0 to 0'),
        ([0.0] * 4, [0], 'no button 4'),
        ([0.0, float('nan'), 0.0, 0.0], [0] * 5, 'not finite'),
    ],
)
def test_a_joystick_that_does_not_fit_engages_nobody(axes, buttons, message):
    state = Joystick(PAD).update(axes, [*buttons[:4], *(1 for _ in buttons[4:])])
    assert message in state.problem
    assert not state.engaged
    np.testing.assert_array_equal(state.deflection, [0, 0, 0])


def test_a_broken_axis_takes_no_button_away():
    """With one NaN, or an axis fewer than were mapped, nobody could stop the robot."""
    joystick = Joystick(replace(PAD, buttons={'supervisor/stop': 1}))
    joystick.update([0.0] * 4, [0] * 5)
    state = joystick.update([float('nan')] * 4, [0, 1, 0, 0, 1])
    assert state.requests == ('supervisor/stop',)
    assert 'not finite' in state.problem


def leader(**changes):
    joints = tuple(f'l{index}' for index in range(7))
    mapping = {'joints': joints, 'scales': (2.0,) * 7, 'offsets': (0.1,) * 7, **changes}
    return Leader(contract('panda_position'), LeaderMap(**mapping))


def test_the_robot_follows_the_leader_joint_by_joint_whatever_the_order():
    names = [f'l{index}' for index in reversed(range(7))] + ['finger']
    action = leader(gripper_joint='finger', gripper_threshold=0.5).action(
        names, [0.6, 0.5, 0.4, 0.3, 0.2, 0.1, 0.0, 0.2]
    )
    np.testing.assert_allclose(action['arm'], 2.0 * np.arange(7) / 10 + 0.1)
    assert action['gripper'] == 1, 'below the threshold it closes'


def test_a_leader_without_a_gripper_joint_leaves_the_gripper_as_it_is():
    """It always said 'open'."""
    names, at = [f'l{index}' for index in range(7)], [0.0] * 7
    assert leader().action(names, at)['gripper'] == 0
    assert leader().action(names, at, {'gripper': 1})['gripper'] == 1
    with_joint = leader(gripper_joint='finger', gripper_threshold=0.5)
    action = with_joint.action([*names, 'finger'], [*at, 1.0], {'gripper': 1})
    assert action['gripper'] == 0
    assert with_joint.other_gripper(action, {'gripper': 1}) == (
        "gripper is at 'close', the leader's at 'open'"
    )
    assert with_joint.other_gripper(action, {'gripper': 0}) == ''
    assert with_joint.other_gripper(action, {}) == '', 'nobody has told it anything yet'
    assert with_joint.presumed({}) == leader().presumed({'gripper': 1}) == ''


def test_a_leader_too_far_away_names_the_joint():
    follower = leader(scales=(1.0,) * 7, offsets=(0.0,) * 7)
    action = follower.action([f'l{index}' for index in range(7)], [0.0] * 7)
    measured = np.zeros(7)
    assert follower.too_far(action, measured) == ''
    measured[3] = -0.5
    assert follower.too_far(action, measured) == (
        'panda_joint4 is 0.50 from the leader (at most 0.2)'
    )


def test_the_motion_of_a_device_is_that_of_the_last_second_whatever_its_gripper_says():
    of = contract('panda_position')
    motion, half = Motion(of), (of.actions['arm'].high[0] - of.actions['arm'].low[0]) / 2
    moves = [motion.of({'arm': np.zeros(7), 'gripper': np.array([n % 2])}, n) for n in range(9)]
    assert moves == [0.0] * 9
    moved = {'arm': np.eye(7)[0] * half / 4, 'gripper': np.array([0])}
    assert motion.of(moved, S // 2) == pytest.approx(0.25)
    assert motion.of(moved, S) == pytest.approx(0.25)
    assert motion.of(moved, S + S // 2) == 0.0
    assert motion.of({**moved, 'arm': moved['arm'] * 9}, 2 * S) == 1.0


@pytest.mark.parametrize(
    ('names', 'positions', 'message'),
    [
        (['l0'], [0.0], "no joint 'l1'"),
        ([f'l{i}' for i in range(7)], [np.nan] * 7, "'l0' is nan"),
        ([f'l{i}' for i in range(8)], [0.0] * 7, '7 positions of 8 joints'),
    ],
)
def test_a_leader_message_that_does_not_fit_is_refused(names, positions, message):
    with pytest.raises(MessageError, match=message):
        leader().action(names, positions)


def test_a_leader_that_does_not_fit_the_contract_is_refused():
    with pytest.raises(ContractError, match=r'actions\.arm: 2 joints of the leader; 7 are needed'):
        leader(joints=('a', 'b'))
    with pytest.raises(ContractError, match="no class 'shut'"):
        leader(gripper_joint='finger', gripper_classes=('shut', 'open'))
    with pytest.raises(ContractError, match='0 position parts; a leader needs one'):
        Leader(contract('panda_twist'), LeaderMap((), (), ()))


def frame(of, tick=1):
    spec = of.observation_specs['state']
    values = np.zeros(spec.shape)
    if of.home:
        values[:7] = of.home['arm']
    return Frame(tick * S // 20, {'state': values})


def perfect(of):
    targets = {
        'panda_twist': np.array([0.4, 0.0, 0.0]),
        'panda_position': np.array([*of.home.get('arm', [0.0] * 7)]) + 0.1,
        'panda_keys': np.array([1]),
    }
    action = {'arm': targets[of.name], 'gripper': np.array([1])}
    return lambda frame: {name: action[name] for name in of.actions}


@pytest.mark.parametrize('name', ['panda_twist', 'panda_position', 'panda_keys'])
def test_skill_one_is_the_expert_and_less_is_worse_but_valid_and_without_memory(name):
    of = contract(name)
    expert = perfect(of)
    assert Skilled(expert, of, 1.0)(frame(of)) is not None
    np.testing.assert_array_equal(Skilled(expert, of, 1.0)(frame(of))['arm'], expert(None)['arm'])
    poor = Skilled(expert, of, 0.3, seed=1)
    labels = [poor(frame(of, tick)) for tick in range(1, 40)]
    again = [poor(frame(of, tick)) for tick in reversed(range(1, 40))][::-1]
    errors = []
    for first, second in zip(labels, again):
        for part, spec in of.action_specs.items():
            np.testing.assert_array_equal(first[part], second[part])
            spec.check(first[part])
        errors.append(np.abs(first['arm'] - expert(None)['arm']).max())
        assert 'gripper' not in first or first['gripper'] == 1
    assert max(errors) > 0
    np.testing.assert_array_equal(
        Skilled(expert, of, 0.3, seed=1)(frame(of))['arm'], labels[0]['arm']
    )
