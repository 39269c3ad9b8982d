"""Changes of hands in real time: who asks for control, who may have it, and how it moves."""

from __future__ import annotations

import dataclasses

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    initialize,
    invariant,
    precondition,
    rule,
    RuleBasedStateMachine,
)
from imitation_ros.errors import ImitationError
from imitation_ros.supervision.authority import Mode
from imitation_ros.supervision.gates import GateConfig
from imitation_ros.supervision.guard import Guard
from imitation_ros.supervision.mux import Mux
from imitation_ros.supervision.takeover import Takeover, TAKEOVERS
from imitation_ros.teleop.jog import Jog
import numpy as np
import pytest
from test_authority_mux import contract, S, TICK, tick_action

STEP = S // 100
LIMIT = 0.3
HUMAN = GateConfig('human')
PLAIN = contract()


def near() -> dict:
    document = contract().to_document()
    document['actions']['arm']['max_handover_error'] = LIMIT
    return document['actions']


class Hands:
    """A mux whose two sources send each tick what is in `wishes`; None: silence."""

    def __init__(self, gate=HUMAN, how='button', **settings):
        checked = contract(actions=near())
        self.mux = Mux(checked)
        self.mux.takeover = Takeover(how, checked, **settings)
        self.gate, self.now_ns = gate, 100 * S
        self.at = np.array([0.2, -0.2])
        self.wishes = {'policy': {'arm': self.at}, 'teleop': {'arm': self.at}}
        self.sent, self.feedback = [], True

    def run(self, duration_s=0.1):
        for _ in range(round(duration_s * 100)):
            self.step()
        return self.sent[-1]

    def step(self):
        if self.feedback:
            self.mux.measure('arm', self.at, self.now_ns, self.now_ns)
        if self.now_ns % TICK == 0:
            for stream, wish in self.wishes.items():
                if wish is not None:
                    tick = tick_action(self.now_ns, **wish)
                    self.mux.offer(stream, tick, self.now_ns, self.now_ns)
        command = self.mux.command(self.now_ns, self.now_ns)
        self.at = command.action.get('arm', self.at)
        self.sent.append(command)
        self.now_ns += STEP

    def resume(self):
        given = self.mux.resume(self.now_ns, [], self.gate)
        self.run()
        return given


def started(**options) -> Hands:
    hands = Hands(**options)
    hands.run()
    assert hands.resume() == (True, 'the gate has authority')
    return hands


def modes_since(hands, index):
    """The modes that followed one another."""
    modes = [command.mode.value for command in hands.sent[index:]]
    return [mode for before, mode in zip([None, *modes], modes) if mode != before]


def test_a_button_takes_over_within_one_command_and_gives_back():
    hands = started()
    assert hands.sent[-1].mode is Mode.POLICY
    hands.mux.takeover.press(True)
    hands.step()
    assert (hands.sent[-1].mode, hands.sent[-1].reason) == (
        Mode.EXPERT,
        'the human has taken over',
    )
    hands.mux.takeover.press(False)
    assert hands.run().mode is Mode.POLICY


def test_an_engaged_device_takes_over_and_gives_back_when_it_is_let_go():
    away = {'engaged': 'false', 'reason': 'dead-man button is up'}
    hands = Hands(how='engaged')
    hands.wishes['teleop'] = away
    hands.run()
    hands.resume()
    assert hands.sent[-1].mode is Mode.POLICY
    hands.wishes['teleop'] = {'arm': hands.at}
    assert hands.run().mode is Mode.EXPERT
    hands.wishes['teleop'] = away
    assert hands.run().mode is Mode.POLICY


@pytest.mark.parametrize(
    'gone', [None, {'engaged': 'false', 'reason': 'nothing on joy', 'lost': 'true'}]
)
def test_a_device_that_is_lost_in_the_middle_leads_to_hold_and_not_to_the_policy(gone):
    hands = started(how='engaged')
    assert hands.sent[-1].mode is Mode.EXPERT
    hands.wishes['teleop'] = gone
    held = hands.run(0.15)
    assert held.mode is Mode.HOLD
    assert 'silent' in held.reason or 'nothing on joy' in held.reason
    assert hands.run(2.0).mode is Mode.HOLD
    hands.wishes['teleop'] = {'arm': hands.at}
    assert hands.run().mode is Mode.EXPERT


MOVED = {'arm': np.array([0.2, -0.2]), 'motion': '1.00'}
LET_GO = {'engaged': 'false', 'reason': 'not engaged; call ~/engage'}


@pytest.mark.parametrize('how', ['engaged', 'moving'])
@pytest.mark.parametrize(
    'gone', [None, {'engaged': 'false', 'reason': 'nothing on joy', 'lost': 'true'}]
)
def test_a_device_that_comes_back_gives_nothing_back_until_it_is_engaged_and_let_go(how, gone):
    """A node that is started anew says 'not engaged' first: the policy drove at once."""
    hands = started(how=how)
    hands.wishes['teleop'] = MOVED
    assert hands.run().mode is Mode.EXPERT
    hands.wishes['teleop'] = gone
    assert hands.run(1.0).mode is Mode.HOLD
    hands.wishes['teleop'] = LET_GO
    held = hands.run(3.0)
    assert (held.mode, held.reason) == (Mode.HOLD, 'teleop: not engaged; call ~/engage')
    hands.wishes['teleop'] = MOVED
    assert hands.run().mode is Mode.EXPERT
    hands.wishes['teleop'] = LET_GO
    assert hands.run().mode is Mode.POLICY


@pytest.mark.parametrize('how', ['engaged', 'moving'])
def test_a_lost_device_is_replaced_by_a_button(how):
    hands = started(how=how)
    hands.wishes['teleop'] = MOVED
    assert hands.run().mode is Mode.EXPERT
    hands.wishes['teleop'] = None
    assert hands.run(1.0).mode is Mode.HOLD
    hands.mux.takeover.press(False)
    assert hands.run(1.0).mode is Mode.POLICY, 'what it said before it was lost asks for nothing'
    hands.wishes['teleop'] = MOVED
    assert hands.run().mode is Mode.EXPERT


@pytest.mark.parametrize('how', ['engaged', 'moving'])
def test_a_pause_at_the_keyboard_holds_until_it_gives_back(how):
    """After a second without a key the policy drove."""
    hands = started(how=how, idle_s=3.0)
    hands.wishes['teleop'] = MOVED
    assert hands.run().mode is Mode.EXPERT
    hands.wishes['teleop'] = {'reason': 'no key that moves is pressed', 'motion': '0.00'}
    held = hands.run(2.0)
    assert (held.mode, held.reason) == (Mode.HOLD, 'teleop: no key that moves is pressed')
    later = hands.run(2.0).mode
    assert later is (Mode.HOLD if how == 'engaged' else Mode.POLICY), 'left alone for idle_s'
    hands.wishes['teleop'] = LET_GO
    assert hands.run().mode is Mode.POLICY


def test_another_node_does_not_let_go_of_what_the_first_one_holds():
    hands = started(how='engaged')
    assert hands.sent[-1].mode is Mode.EXPERT
    hands.wishes['teleop'] = None
    hands.step()
    other = tick_action(hands.now_ns, **LET_GO)
    status = dataclasses.replace(other.status, source='teleop_other')
    other = dataclasses.replace(other, status=status)
    hands.mux.offer('teleop', other, hands.now_ns, hands.now_ns)
    assert hands.run().mode is Mode.HOLD


def test_moving_the_device_takes_over_and_leaving_it_gives_back():
    hands = started(how='moving', idle_s=0.5)
    assert hands.run(1.0).mode is Mode.POLICY
    for index in range(1, 11):
        hands.wishes['teleop'] = {'arm': np.array([0.2, -0.2]) + 0.015 * index}
        hands.run(0.05)
    assert hands.sent[-1].mode is Mode.EXPERT
    assert hands.run(0.3).mode is Mode.EXPERT
    assert hands.run(0.6).mode is Mode.POLICY


def test_a_device_that_follows_the_robot_takes_over_when_it_is_moved_and_not_before():
    """Its actions go where the policy moves the robot, with nobody's hand in it."""
    hands = started(how='moving', idle_s=0.5)
    for index in range(40):
        hands.wishes['policy'] = {'arm': np.array([0.2, -0.2]) + 0.02 * index}
        hands.wishes['teleop'] = {'arm': hands.at, 'gripper': index > 20, 'motion': '0.00'}
        assert hands.run(0.05).mode is Mode.POLICY
    hands.wishes['teleop'] = {'arm': hands.at, 'motion': '0.40'}
    assert hands.run(2.0).mode is Mode.EXPERT
    hands.wishes['teleop'] = {'arm': hands.at, 'motion': '0.00'}
    assert hands.run(0.4).mode is Mode.EXPERT
    assert hands.run(0.4).mode is Mode.POLICY


def test_moving_a_device_that_is_too_far_away_to_follow_holds_until_it_is_near():
    """While the policy drives a leader is mostly far: it was moved, and the policy went on."""
    hands, far = started(how='moving', idle_s=0.5), 'j0 is 0.50 from the leader'
    hands.wishes['teleop'] = {'reason': far, 'motion': '0.01'}
    assert hands.run(2.0).mode is Mode.POLICY
    hands.wishes['teleop'] = {'reason': far, 'motion': '0.20'}
    held = hands.run(1.0)
    assert (held.mode, held.reason) == (Mode.HOLD, f'teleop: {far}')
    hands.wishes['teleop'] = {'arm': hands.at + 0.02}
    assert hands.run().mode is Mode.EXPERT
    assert hands.run(1.0).mode is Mode.POLICY
    hands.wishes['teleop'] = {'reason': far, 'motion': '0.20', 'engaged': 'false'}
    assert hands.run(1.0).mode is Mode.POLICY, 'nobody says that it is held'


@pytest.mark.parametrize('gate', ['beta', 'shadow', 'ensemble'])
def test_a_lease_does_not_go_with_a_gate_that_asks_about_every_tick(gate):
    """An engaged device always drove, and one that was not gave no labels: nothing was learned."""
    hands = Hands(gate=GateConfig(gate), how='engaged')
    hands.run()
    given, text = hands.resume()
    assert not given
    assert f"gate '{gate}' with takeover 'engaged'" in text
    assert "valid: takeover 'button' or 'moving'" in text
    for how in ('button', 'moving'):
        assert started(gate=GateConfig(gate), how=how)


def follow(hands, jog, late_ticks, last):
    """A tick with a held joystick that nobody moves, which hears of decisions a little later."""
    heard = hands.sent[-5 * late_ticks]
    driving = heard.mode in (Mode.EXPERT, Mode.HANDOFF)
    if not driving and 'gripper' in heard.action:
        last = {'gripper': int(heard.action['gripper'][0])}
    jog.follow(driving, last)
    action = jog.action(np.zeros(2), {'arm': hands.at})
    hands.wishes['teleop'] = {'arm': action['arm'], 'gripper': bool(action['gripper'][0])}
    hands.run(0.05)
    return last


@pytest.mark.parametrize('late_ticks', [1, 3])
@pytest.mark.parametrize('gate', ['human', 'shadow'])
def test_a_takeover_drops_nothing_and_goes_nowhere(gate, late_ticks):
    """The dead-man is held all the time; the policy has grasped something and carries it away."""
    hands = started(gate=GateConfig(gate))
    jog, last = Jog(PLAIN), {}
    for index in range(20):
        hands.wishes['policy'] = {'arm': np.array([0.2, -0.2]) + 0.02 * index, 'gripper': True}
        last = follow(hands, jog, late_ticks, last)
        assert hands.sent[-1].mode is Mode.POLICY
    index, there = len(hands.sent), hands.at
    hands.mux.takeover.press(True)
    for _ in range(20):
        last = follow(hands, jog, late_ticks, last)
    assert modes_since(hands, index) == ['expert']
    assert all(command.action['gripper'] == 1 for command in hands.sent[index:])
    np.testing.assert_allclose(hands.at, there, atol=0.1)


def test_who_takes_over_before_resume_drives_from_the_first_command():
    """The policy always drove first, so that each demonstration was taken for a correction."""
    hands = Hands()
    hands.run()
    hands.mux.takeover.press(True)
    index = len(hands.sent)
    assert hands.resume()[0]
    assert modes_since(hands, index) == ['expert']
    hands.mux.stop('test')
    hands.run(0.3)
    index = len(hands.sent)
    assert hands.resume()[0]
    assert modes_since(hands, index) == ['policy'], 'a stop ends the takeover'


def test_resume_on_hold_takes_nothing_from_the_human():
    hands = started()
    hands.mux.takeover.press(True)
    hands.run()
    hands.wishes['teleop'] = None
    assert hands.run(0.3).mode is Mode.HOLD
    assert hands.resume()[0]
    assert hands.sent[-1].mode is Mode.HOLD
    assert 'teleop' in hands.sent[-1].reason


@pytest.mark.parametrize('late_ticks', [1, 3])
def test_a_device_that_says_of_the_gripper_what_the_policy_did_is_not_moved(late_ticks):
    """The policy closed its gripper, and the arm went to where the leader lay."""
    hands, closed, rest = Hands(how='moving'), False, np.array([0.1, -0.1])
    hands.wishes = {stream: {'arm': rest, 'gripper': False} for stream in hands.wishes}
    hands.run()
    hands.resume()
    echoes = [False] * late_ticks
    for index in range(60):
        closed = closed != (index % 20 in (5, 7))  # it closes, and thinks better of it
        hands.wishes['policy'] = {'arm': hands.at, 'gripper': closed}
        hands.wishes['teleop'] = {'arm': rest, 'gripper': echoes.pop(0)}
        assert hands.run(0.05).mode is Mode.POLICY
        echoes.append(closed)
    hands.wishes['policy'] = {'arm': hands.at, 'gripper': False}
    hands.wishes['teleop'] = {'arm': rest, 'gripper': False}
    assert hands.run(2.0).mode is Mode.POLICY
    hands.wishes['teleop'] = {'arm': rest, 'gripper': True}
    assert hands.run(0.1).mode in (Mode.HANDOFF, Mode.EXPERT), 'nobody else closed it'


def test_a_gripper_of_the_devices_own_is_no_motion_while_nobody_switches_it():
    """Where the expert is asked about every tick it may be another one than the policy's."""
    hands = started(how='moving', gate=GateConfig('shadow'))
    for closed in (False, True, False):
        hands.wishes['policy'] = {'arm': hands.at, 'gripper': closed}
        hands.wishes['teleop'] = {'arm': hands.at, 'gripper': True}
        assert hands.run(2.0).mode is Mode.POLICY


def test_trembling_is_no_motion():
    hands = started(how='moving')
    rng = np.random.default_rng(0)
    for _ in range(40):
        hands.wishes['teleop'] = {'arm': np.array([0.2, -0.2]) + rng.normal(0.0, 0.01, 2)}
        assert hands.run(0.05).mode is Mode.POLICY


def test_a_device_nearby_is_ramped_to_in_handoff_and_then_it_drives():
    hands = started()
    hands.wishes['teleop'] = {'arm': hands.at + 0.25}
    hands.run()
    index = len(hands.sent)
    hands.mux.takeover.press(True)
    hands.run(1.0)
    assert modes_since(hands, index) == ['handoff', 'expert']
    first = next(c for c in hands.sent[index:] if c.mode is Mode.EXPERT)
    assert np.abs(first.action['arm'] - hands.wishes['teleop']['arm']).max() <= 0.05 + 1e-9
    np.testing.assert_allclose(hands.at, hands.wishes['teleop']['arm'], atol=1e-6)


def test_the_way_to_the_device_is_no_correction_and_does_not_make_one_too_short():
    """Each takeover that went through handoff was told to be too short to teach: 1 ticks."""
    hands = started()
    hands.wishes['policy'] = {'arm': hands.at, 'history': '2', 'chunk': '4'}
    hands.wishes['teleop'] = {'arm': hands.at + 0.25}
    hands.run()
    hands.mux.takeover.press(True)
    while hands.run(0.01).mode is not Mode.EXPERT:
        assert hands.mux.corrections.notice == ''
    first_ns = hands.sent[-1].tick_ns
    hands.run(0.5)
    hands.mux.takeover.press(False)
    assert hands.run(0.5).mode is Mode.POLICY
    assert hands.mux.corrections.notice == ''
    assert hands.mux.corrections.discard() == first_ns


@pytest.mark.parametrize('way', ['a limit', 'a limit of the URDF', 'the wall of the workspace'])
def test_handoff_ends_where_the_robot_may_not_go_on_to_what_the_driver_wants(way):
    """It went on for as long as the expert drove, and the correction gave no labels."""
    hands = Hands()
    hands.mux = Mux(contract(actions=near()), guard=ends_at(way))
    hands.at = np.array([1.85, 0.0])
    hands.wishes = {'policy': {'arm': hands.at}, 'teleop': {'arm': np.array([2.12, 0.0])}}
    hands.run()
    hands.resume()
    index = len(hands.sent)
    hands.mux.takeover.press(True)
    hands.run(1.0)
    assert modes_since(hands, index) == ['handoff', 'expert']


class Wall:
    """A workspace that ends where the first joint is at 1.95 rad."""

    part = 'arm'

    def lacking(self, now_ns):
        return ''

    def scaled(self, commanded, target):
        return [min(target[0], 1.95), target[1]]


def ends_at(way) -> Guard:
    actions = near()
    actions['arm']['high'] = 1.95 if 'URDF' in way else 2.0
    return Guard(contract(actions=actions), Wall() if 'wall' in way else None)


def test_a_device_far_away_is_refused_with_the_distance_until_it_is_brought_near():
    hands = started()
    hands.wishes['teleop'] = {'arm': hands.at + 0.4}
    hands.run()
    hands.mux.takeover.press(True)
    held = hands.run(0.5)
    assert held.mode is Mode.HOLD
    assert 'teleop: arm: 0.4 away from where the robot is (max_handover_error 0.3)' in held.reason
    hands.wishes['teleop'] = {'arm': hands.at + 0.02}
    assert hands.run(0.2).mode is Mode.EXPERT


def test_resume_without_a_gate_refuses_a_source_that_is_far_away():
    """It used to drive there at full speed: a leader arm's pose at start-up is anywhere."""
    hands = Hands(gate=None)
    hands.wishes = {'policy': None, 'teleop': {'arm': hands.at + 0.4}}
    hands.run()
    given, text = hands.resume()
    assert not given
    assert text == 'teleop: arm: 0.4 away from where the robot is (max_handover_error 0.3)'
    assert hands.sent[-1].action == {}
    hands.wishes['teleop'] = {'arm': hands.at + 0.25}
    hands.run()
    assert hands.resume() == (True, 'teleop has authority')
    hands.wishes['teleop'] = None
    assert hands.run(0.3).mode is Mode.HOLD
    hands.wishes['teleop'] = {'arm': hands.at + 0.4}
    assert '0.4 away from where the robot is' in hands.run(0.3).reason
    hands.wishes['teleop'] = {'arm': hands.at + 0.1}
    assert hands.run(0.3).mode is Mode.EXPERT


def refused_by_its_new_checkpoint() -> Hands:
    """No gate; the policy drove, and is now another, which wants the robot 1.5 rad away."""
    hands = Hands(gate=None)
    hands.wishes = {'policy': {'arm': hands.at, 'checkpoint': 'old'}, 'teleop': None}
    hands.run()
    assert hands.resume() == (True, 'policy has authority')
    hands.wishes['policy'] = {'arm': hands.at + 1.5, 'checkpoint': 'new'}
    assert '1.5 away from where the robot is' in hands.run(0.5).reason
    return hands


def test_resume_beside_a_live_human_does_not_end_a_hold_that_distance_began():
    """The answer that ended it was 'policy has authority already', and off it went."""
    hands = refused_by_its_new_checkpoint()
    hands.wishes['teleop'] = {'arm': hands.at}
    hands.run()
    assert hands.resume() == (
        False,
        'policy and teleop are live; leave one of them running, or set a gate',
    )
    held = hands.run(1.0)
    assert (held.mode, held.action['arm'].tolist()) == (Mode.HOLD, [0.2, -0.2])


def test_a_gate_gets_authority_on_hold_and_does_not_end_one_that_distance_began():
    """~/resume said yes, the gate got nothing, and the robot was driven there at full speed."""
    hands = refused_by_its_new_checkpoint()
    hands.gate = HUMAN
    assert hands.resume() == (True, 'the gate has authority')
    held = hands.run(1.0)
    assert (held.mode, held.action['arm'].tolist()) == (Mode.HOLD, [0.2, -0.2])
    hands.wishes['teleop'] = {'arm': hands.at}
    hands.mux.takeover.press(True)
    assert hands.run().mode is Mode.EXPERT


def test_nobody_takes_over_while_it_is_not_known_where_the_robot_is():
    hands = started()
    hands.feedback = False
    hands.run(0.2)
    hands.mux.takeover.press(True)
    held = hands.run()
    assert held.mode is Mode.HOLD
    assert 'teleop: the feedback of arm on joint_states is' in held.reason
    hands.feedback = True
    assert hands.run().mode is Mode.EXPERT


def test_the_policy_drives_again_only_by_an_action_from_after_the_handover():
    hands = started()
    hands.mux.takeover.press(True)
    hands.run()
    chunk_from = hands.now_ns
    hands.wishes['policy'] = {'arm': hands.at, 'planned': str(chunk_from)}
    hands.run()
    hands.mux.takeover.press(False)
    waiting = hands.run(0.3)
    assert (waiting.mode, waiting.source) == (Mode.EXPERT, 'teleop_test')
    assert 'older than the handover' in waiting.reason
    hands.wishes['teleop'] = None
    held = hands.run(0.3)
    assert (held.mode, held.reason) == (
        Mode.HOLD,
        'policy: its action is older than the handover',
    )
    hands.wishes['policy'] = {'arm': hands.at, 'planned': str(hands.now_ns)}
    assert hands.run().mode is Mode.POLICY


def test_whom_the_policy_asks_and_who_never_answers_leads_to_hold():
    hands = Hands(gate=GateConfig('uncertainty', uncertainty=1.0))
    hands.wishes = {'policy': {'arm': hands.at, 'uncertainty': '2.0'}, 'teleop': None}
    hands.run()
    hands.resume()
    assert hands.sent[-1].mode is Mode.HOLD
    assert hands.sent[-1].reason == 'teleop: nothing heard yet'
    hands.wishes['policy'] = {'arm': hands.at, 'uncertainty': '0.1'}
    assert hands.run().mode is Mode.POLICY


def test_a_source_that_floods_is_not_live_within_the_stale_limit():
    hands = started()
    begun_ns = hands.now_ns
    while hands.sent[-1].mode is Mode.POLICY:
        for part in range(20):  # 2 kHz
            now_ns = hands.now_ns + part * STEP // 20
            hands.mux.offer('policy', tick_action(now_ns, arm=hands.at), now_ns, now_ns)
        hands.step()
        assert hands.now_ns - begun_ns <= 3 * TICK
    assert 'policy: floods: 30 actions within' in hands.sent[-1].reason
    assert hands.run(0.5).mode is Mode.POLICY


def test_a_fault_ends_the_gates_authority_and_is_named_until_resume():
    hands = started()
    hands.mux.fail('arm/command has more than one publisher: intruder, supervisor')
    assert (hands.run().mode, hands.mux.authority.holder) == (Mode.STOPPED, None)
    assert 'intruder' in hands.mux.authority.fault
    assert hands.resume()[0]
    assert hands.mux.authority.fault == ''
    assert hands.sent[-1].mode is Mode.POLICY


def test_an_unknown_way_to_take_over_is_refused():
    with pytest.raises(ImitationError, match="takeover: 'telepathy'"):
        Takeover('telepathy', PLAIN)


BAD = {
    'silence': (None, 'policy: silent for'),
    'NaN': ({'arm': (np.nan, 0.0)}, 'policy: refused: arm: not finite'),
    'a short vector': ({'arm': (0.1,)}, 'policy: refused: '),
    'another contract': ({'fingerprint': 'other'}, 'policy: made for another contract'),
    'no action': ({'reason': 'joint_states: no message yet'}, 'policy: joint_states: no message'),
}


@pytest.mark.parametrize('case', BAD)
def test_a_policy_that_fails_leads_to_hold_within_the_stale_limit_and_a_tick(case):
    wish, reason = BAD[case]
    hands = started()
    good, hands.wishes['policy'] = hands.wishes['policy'], wish
    index = len(hands.sent)
    hands.run(3 * TICK / S)
    assert modes_since(hands, index)[-1] == 'hold'
    assert reason in hands.sent[-1].reason
    hands.mux.takeover.press(True)
    assert hands.run().mode is Mode.EXPERT, 'the human can always take over'
    hands.mux.takeover.press(False)
    hands.wishes['policy'] = good
    assert hands.run().mode is Mode.POLICY


def test_both_silent_is_hold_with_one_latched_target():
    hands = started()
    hands.wishes = {'policy': None, 'teleop': None}
    held = hands.run(1.0)
    assert held.mode is Mode.HOLD
    np.testing.assert_array_equal(held.action['arm'], hands.sent[-50].action['arm'])


class AnyInterleaving(RuleBasedStateMachine):
    """Whatever comes in whatever order, with a human and a policy at the same robot."""

    @initialize(how=st.sampled_from(TAKEOVERS))
    def begin(self, how):
        self.hands, self.human, self.given = Hands(how=how), False, False
        self.how, self.pressed = how, False
        self.hands.run()
        self.resume()

    @rule(
        stream=st.sampled_from(['policy', 'teleop']),
        wish=st.sampled_from(
            [
                'near',
                'near',
                'near',
                'near',
                'moved',
                'far',
                'silent',
                'nan',
                'foreign',
                'not engaged',
                'lost',
            ]
        ),
        offset=st.floats(-0.25, 0.25),
    )
    def say(self, stream, wish, offset):
        at = self.hands.at
        self.hands.wishes[stream] = {
            'near': {'arm': at + offset},
            'moved': {'arm': at + offset, 'motion': '1.00'},
            'far': {'arm': at + 1.0 + offset},
            'silent': None,
            'nan': {'arm': (np.nan, 0.0)},
            'foreign': {'arm': at, 'fingerprint': 'other'},
            'not engaged': {'arm': at, 'engaged': 'false'},
            'lost': {'arm': at, 'engaged': 'false', 'lost': 'true'},
        }[wish]

    @precondition(lambda self: self.how == 'button')
    @rule(on=st.booleans())
    def press(self, on):
        self.hands.mux.takeover.press(on)
        self.human = on

    @rule(count=st.integers(1, 20))
    def wait(self, count):
        for _ in range(count):
            self.hands.step()
            self.check_command()

    @rule(how=st.sampled_from(['', '', '', 'stop', 'fault', 'emergency']))
    def halt(self, how):
        if how == 'stop':
            self.hands.mux.stop('test')
        elif how == 'fault':
            self.hands.mux.fail('somebody else commands the arm')
        elif how == 'emergency':
            self.hands.mux.emergency(True)
            self.pressed = True
        if how:
            self.given = self.human = False

    @rule()
    def release(self):
        self.hands.mux.emergency(False)
        self.pressed = False

    @rule()
    def resume(self):
        given, text = self.hands.mux.resume(self.hands.now_ns, [], HUMAN)
        assert not self.pressed or (given, text) == (False, 'emergency stop is pressed')
        self.given = self.given or given

    @property
    def asks(self):
        """Whether the human asks for control, by what they say now."""
        watch = self.hands.mux.watches['teleop']
        if self.how != 'button' and self.hands.now_ns - STEP - watch.received_ns > 2 * TICK:
            return False
        if self.how == 'engaged':
            return watch.values.get('engaged') == 'true'
        if self.how == 'moving':
            return watch.values.get('motion') == '1.00' and watch.action is not None
        return self.human

    def check_command(self):
        command, authority = self.hands.sent[-1], self.hands.mux.authority
        if command.mode in (Mode.EXPERT, Mode.POLICY):
            stream = 'teleop' if command.mode is Mode.EXPERT else 'policy'
            assert authority.holder == stream
            assert self.hands.wishes[stream] is not None or self.recently(stream)
        if self.asks:
            assert command.mode is not Mode.POLICY
        assert command.source in ('', 'teleop_test')

    def recently(self, stream):
        watch = self.hands.mux.watches[stream]
        return self.hands.now_ns - watch.received_ns <= 2 * TICK + STEP

    @invariant()
    def nobody_drives_without_authority(self):
        authority = self.hands.mux.authority
        assert (authority.mode is Mode.STOPPED) == (authority.holder is None)
        assert self.given or not authority.driving
        assert not self.pressed or (authority.mode is Mode.STOPPED and authority.fault)
        if authority.fault:
            assert authority.mode is Mode.STOPPED

    @invariant()
    def no_step_breaks_the_limits(self):
        path = np.array([c.action['arm'] for c in self.hands.sent[-60:] if 'arm' in c.action])
        if len(path) > 2:
            velocity = np.diff(path, axis=0) * 100
            assert np.abs(velocity).max() <= 1.0 + 1e-6
            assert np.abs(np.diff(velocity, axis=0)).max() * 100 <= 10.0 + 1e-4


TestAnyInterleaving = AnyInterleaving.TestCase
TestAnyInterleaving.settings = settings(max_examples=80, stateful_step_count=50, deadline=None)
