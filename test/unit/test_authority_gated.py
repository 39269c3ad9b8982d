"""The mux with a gate: both sources there, one of them drives."""

from __future__ import annotations

from types import SimpleNamespace

from imitation_ros.frames.contract import load_contract
from imitation_ros.frames.status import Status, TickAction
from imitation_ros.supervision.authority import Mode
from imitation_ros.supervision.corrections import Corrections
from imitation_ros.supervision.gates import GateConfig
from imitation_ros.supervision.guard import Guard
from imitation_ros.supervision.mux import Mux
from imitation_ros.supervision.takeover import Takeover
from imitation_ros.supervision.watch import Watch
import numpy as np
import pytest

REACH = load_contract('panda_reach')
TICK = REACH.tick_period_ns
BOTH = ('policy', 'teleop')
BETA = GateConfig('beta', beta=0.5, beta_per_tick=True)
WISHES = {'policy': (0.1, 0.0, 0.0), 'teleop': (0.0, 0.1, 0.0)}


def word(stream, tick, arm=None, reason='', **values) -> TickAction:
    vector = dict(zip('xyz', WISHES[stream] if arm is None else arm))
    message = SimpleNamespace(twist=SimpleNamespace(linear=SimpleNamespace(**vector)))
    messages = {} if reason else {'arm': message}
    said = {'fingerprint': REACH.fingerprint, 'engaged': 'true', **values}
    return TickAction(Status(tick * TICK, f'{stream}_node', len(messages), reason, said), messages)


def lockstep(config=BETA, matched=BOTH) -> Mux:
    mux = Mux(REACH, lockstep=True)
    assert mux.resume(0, matched, config) == (True, 'the gate has authority')
    return mux


def say(mux, stream, tick, **changes):
    mux.offer(stream, word(stream, tick, **changes), 0)
    return mux.answer(stream, 0)


def both(mux, tick, first='policy', **changes):
    second = 'teleop' if first == 'policy' else 'policy'
    assert say(mux, first, tick, **changes.get(first, {})) is None
    return say(mux, second, tick, **changes.get(second, {}))


@pytest.mark.parametrize('first', BOTH)
def test_a_tick_is_answered_when_both_have_spoken_whoever_is_first(first):
    mux = lockstep()
    commands = [both(mux, tick, first) for tick in range(1, 41)]
    assert {command.mode for command in commands} == {Mode.POLICY, Mode.EXPERT}
    guard = Guard(REACH)
    guard.reset({})
    for command in commands:
        stream = 'policy' if command.mode is Mode.POLICY else 'teleop'
        assert command.source == f'{stream}_node'
        expected = guard.advance({'arm': np.array(WISHES[stream])}, 0.05, 0.05)
        np.testing.assert_array_equal(command.action['arm'], expected['arm'])


def test_the_same_seed_round_and_episode_choose_the_same():
    def modes(config):
        mux = lockstep(config)
        return [both(mux, tick).mode for tick in range(1, 41)]

    assert modes(BETA) == modes(BETA)
    assert modes(BETA) != modes(GateConfig('beta', beta=0.5, beta_per_tick=True, seed=1))


def test_each_resume_is_a_new_episode_for_the_gate():
    mux = lockstep(GateConfig('beta', beta=0.5))
    modes = []
    for episode in range(20):
        modes.append({both(mux, 10 * episode + tick).mode for tick in range(1, 4)})
        mux.stop('test')
        mux.resume(0, BOTH, mux.gating.config)
    assert all(len(each) == 1 for each in modes)
    assert len(set.union(*modes)) == 2


def test_a_tick_that_comes_again_gets_the_same_answer_and_the_gate_is_not_asked_again():
    mux = lockstep()
    first = both(mux, 1)
    again = [say(mux, stream, 1) for stream in BOTH]
    assert again == [None, first]
    assert again[1] is first


def test_where_only_one_is_published_it_alone_is_waited_for():
    mux = lockstep(GateConfig('shadow'), matched=['policy'])
    assert say(mux, 'policy', 1).mode is Mode.POLICY
    assert say(mux, 'teleop', 1) is None, 'from now on it takes part'
    assert say(mux, 'policy', 2) is None
    assert say(mux, 'teleop', 2).mode is Mode.POLICY


def test_a_participant_that_is_not_discovered_yet_is_waited_for_before_and_after_resume():
    mux = Mux(REACH, lockstep=True, participants=BOTH)
    assert say(mux, 'teleop', 1) is None
    assert say(mux, 'policy', 1).mode is Mode.STOPPED
    assert say(mux, 'teleop', 1) is None, 'the one that completed the tick asks for it'
    assert mux.resume(0, ['teleop'], GateConfig('shadow'))[0]
    assert say(mux, 'teleop', 2) is None
    assert say(mux, 'policy', 2).mode is Mode.POLICY


def test_a_participant_counts_as_live_at_resume_before_it_is_discovered():
    mux = Mux(REACH, lockstep=True, participants=['policy'])
    assert mux.resume(0, []) == (True, 'policy has authority')
    assert say(mux, 'policy', 1).mode is Mode.POLICY


def test_the_robot_holds_where_the_chosen_one_has_no_action():
    mux = lockstep(GateConfig('shadow'))
    assert both(mux, 1).mode is Mode.POLICY
    held = both(mux, 2, policy={'reason': 'goal/pose: no message yet'})
    assert (held.mode, held.reason) == (Mode.HOLD, 'policy: goal/pose: no message yet')
    np.testing.assert_array_equal(held.action['arm'], np.zeros(3))
    assert both(mux, 3).mode is Mode.POLICY


def test_the_policy_asks_for_help_by_what_it_says_of_itself():
    mux = lockstep(GateConfig('uncertainty', uncertainty=1.0, release=0.5))

    def mode(tick, uncertainty):
        return both(mux, tick, policy={'uncertainty': uncertainty}).mode.value

    said = ['0.1', '1.1', '0.7', '0.4', 'nan', 'much']
    modes = [mode(tick, text) for tick, text in enumerate(said, 1)]
    assert modes == ['policy', 'expert', 'expert', 'policy', 'expert', 'expert']


def test_a_slow_word_for_the_tick_before_resume_is_not_answered_under_the_gate():
    mux = Mux(REACH, lockstep=True)
    stopped = say(mux, 'teleop', 1)
    assert stopped.mode is Mode.STOPPED
    mux.resume(0, BOTH, BETA)
    assert say(mux, 'policy', 1) is None
    assert say(mux, 'teleop', 1) is stopped, 'its answer was lost'
    assert both(mux, 2).mode in (Mode.POLICY, Mode.EXPERT)


def test_after_stop_the_answer_does_not_wait_for_both():
    mux = lockstep()
    both(mux, 1)
    mux.stop('test')
    assert say(mux, 'teleop', 2).mode is Mode.STOPPED


def test_resume_with_two_sources_and_no_gate_says_that_a_gate_would_do():
    given, text = Mux(REACH, lockstep=True).resume(0, BOTH)
    assert not given
    assert text == 'policy and teleop are live; leave one of them running, or set a gate'


def test_in_lockstep_a_device_gives_back_however_long_a_tick_took():
    mux = lockstep(GateConfig('human'))
    mux.takeover = Takeover('engaged', REACH)
    modes = []
    for tick, engaged in enumerate(['false', 'true', 'true', 'false'], 1):
        now_ns = 10 * tick * TICK
        mux.offer('policy', word('policy', tick), now_ns)
        assert mux.answer('policy', now_ns) is None
        mux.offer('teleop', word('teleop', tick, engaged=engaged), now_ns)
        modes.append(mux.answer('teleop', now_ns).mode.value)
    assert modes == ['policy', 'expert', 'expert', 'policy']


def test_a_correction_that_is_too_short_to_teach_is_told():
    mux = lockstep(GateConfig('human'))
    says = {'history': '2', 'chunk': '3'}

    def correct(start, ticks):
        mux.takeover.press(True)
        for tick in range(start, start + ticks):
            assert both(mux, tick, policy=says).mode is Mode.EXPERT
        mux.takeover.press(False)
        assert both(mux, start + ticks, policy=says).mode is Mode.POLICY
        return mux.corrections.notice

    assert 'too short to teach: 3 ticks' in correct(1, 3)
    assert 'looks at 2 and predicts 3, so it takes 4' in correct(10, 3)
    assert correct(20, 4) == ''


def test_a_correction_that_goes_on_to_the_end_is_told_to_be_too_short():
    """It was told after the next episode's correction, whose ticks were added to its own."""
    mux = lockstep(GateConfig('human'))
    says = {'history': '2', 'chunk': '3'}
    for episode, end in enumerate([mux.stop, mux.fail]):
        mux.takeover.press(True)
        for tick in range(10 * episode + 1, 10 * episode + 4):
            both(mux, tick, policy=says)
        assert mux.corrections.notice == ''
        end('test')
        assert 'too short to teach: 3 ticks' in mux.corrections.notice
        mux.resume(0, BOTH, mux.gating.config)
        mux.takeover.press(True)
        for tick in range(10 * episode + 5, 10 * episode + 9):
            both(mux, tick, policy=says)
        mux.stop('test')
        assert mux.corrections.notice == '', 'four ticks are enough'
        mux.resume(0, BOTH, mux.gating.config)


def test_what_is_said_of_a_correction_ends_where_the_next_one_or_an_episode_begins():
    mux = lockstep(GateConfig('human'))
    says = {'history': '2', 'chunk': '3'}

    def correct_shortly(tick):
        mux.takeover.press(True)
        both(mux, tick, policy=says)
        begun = mux.corrections.notice
        mux.takeover.press(False)
        both(mux, tick + 1, policy=says)
        assert 'too short to teach: 1 ticks' in mux.corrections.notice
        return begun

    assert correct_shortly(1) == ''
    assert correct_shortly(3) == '', 'it begins afresh'
    mux.stop('test')
    mux.resume(0, BOTH, mux.gating.config)
    assert mux.corrections.notice == ''


def test_a_correction_is_discarded_up_to_now_and_never_in_a_later_episode():
    """The rest of it was kept for good; and after it, the next episode lost all of its labels."""
    mux = lockstep(GateConfig('human'))
    mux.takeover.press(True)
    for tick in range(1, 4):
        both(mux, tick)
    assert mux.corrections.discard() == TICK
    assert mux.corrections.discard() is None, 'nothing was done since'
    both(mux, 4)
    assert mux.corrections.discard() == 4 * TICK
    both(mux, 5)
    mux.stop('test')
    mux.resume(0, BOTH, mux.gating.config)
    both(mux, 6)
    assert mux.corrections.discard() is None


def test_a_pause_at_the_device_does_not_end_a_correction():
    """At the keyboard, `y` forgot only what came after the last pause."""
    corrections, says = Corrections(), {'history': '1', 'chunk': '3'}
    modes = [Mode.EXPERT] * 2 + [Mode.HOLD] + [Mode.EXPERT] * 3 + [Mode.POLICY] + [Mode.EXPERT]
    firsts, notices = [], []
    for tick, mode in enumerate(modes, 1):
        corrections.update(tick, mode, says)
        firsts.append(corrections.first_tick_ns)
        notices.append(corrections.notice)
    assert firsts == [1] * 7 + [8]
    assert 'too short to teach: 2 ticks' in notices[2], 'no window of frames reaches over a pause'
    assert notices[6] == '', 'the rest of it was long enough'


def test_moving_a_relative_device_takes_over_as_long_as_it_is_deflected():
    takeover = Takeover('moving', REACH, threshold=0.05, idle_s=0.5)
    watch = Watch('teleop', REACH, Guard(REACH))

    def asked(arm, seconds):
        """After the device has said the same for a while."""
        answers = []
        for _ in range(round(seconds * 20)):
            asked.tick += 1
            watch.take(word('teleop', asked.tick, arm), asked.tick * TICK)
            answers.append(takeover.asked(watch))
        return answers

    asked.tick = 0
    still, deflected = (0.0, 0.0, 0.0), (0.0, 0.2, 0.0)
    assert not any(asked(still, 0.2))
    assert all(asked(deflected, 2.0)), 'a stick that is held still is in use'
    assert asked(still, 1.0)[-1] is False
