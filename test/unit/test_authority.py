from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import invariant, rule, RuleBasedStateMachine
from imitation_ros.supervision.authority import Authority, Event, Mode, TRANSITIONS
import pytest

LIVE = {'policy': '', 'teleop': ''}
SILENT = {'policy': 'silent', 'teleop': 'silent'}
ONLY_TELEOP = {'policy': 'silent', 'teleop': ''}
ONLY_POLICY = {'policy': '', 'teleop': 'not engaged'}


def test_it_starts_stopped_and_stays_so_whatever_is_live():
    authority = Authority()
    authority.update(ONLY_TELEOP)
    assert (authority.mode, authority.holder) == (Mode.STOPPED, None)


@pytest.mark.parametrize(
    ('problems', 'mode'), [(ONLY_TELEOP, Mode.EXPERT), (ONLY_POLICY, Mode.POLICY)]
)
def test_resume_gives_authority_to_the_one_live_source(problems, mode):
    authority = Authority()
    assert authority.resume(problems)[0]
    assert authority.mode is mode


def test_resume_is_refused_where_no_source_is_live_and_says_why():
    given, text = Authority().resume({'policy': 'nothing heard yet', 'teleop': 'not engaged'})
    assert not given
    assert text == 'no source is live: policy: nothing heard yet; teleop: not engaged'


def test_resume_is_refused_where_two_sources_are_live_and_names_them():
    authority = Authority()
    given, text = authority.resume(LIVE)
    assert not given
    assert 'policy and teleop are live' in text
    assert authority.mode is Mode.STOPPED


def test_hold_ends_by_itself_for_the_same_source_only():
    authority = Authority()
    authority.resume(ONLY_TELEOP)
    authority.update(SILENT)
    assert (authority.mode, authority.reason) == (Mode.HOLD, 'teleop: silent')
    authority.update(ONLY_POLICY)
    assert authority.mode is Mode.HOLD
    authority.update(ONLY_TELEOP)
    assert authority.mode is Mode.EXPERT


def test_on_hold_resume_gives_authority_to_the_other_source():
    authority = Authority()
    authority.resume(ONLY_TELEOP)
    authority.update(ONLY_POLICY)
    assert authority.resume(ONLY_POLICY)[0]
    assert (authority.mode, authority.holder) == (Mode.POLICY, 'policy')


def test_resume_while_a_source_drives_changes_nothing():
    authority = Authority()
    authority.resume(ONLY_TELEOP)
    assert authority.resume(LIVE) == (True, 'teleop has authority already')
    assert authority.mode is Mode.EXPERT


def test_stop_ends_every_mode():
    for mode in Mode:
        assert TRANSITIONS[mode, Event.STOP] is Mode.STOPPED


class AnyOrder(RuleBasedStateMachine):
    """Whatever comes in whatever order: one holder, and it drives only while it is live."""

    def __init__(self):
        super().__init__()
        self.authority = Authority()
        self.problems = dict(SILENT)
        self.allowed = None

    @rule(stream=st.sampled_from(['policy', 'teleop']), live=st.booleans())
    def change(self, stream, live):
        self.problems[stream] = '' if live else 'silent'
        self.authority.update(self.problems)

    @rule()
    def resume(self):
        if self.authority.resume(self.problems)[0]:
            self.allowed = self.authority.holder

    @rule()
    def stop(self):
        self.authority.stop('test')
        self.allowed = None

    @invariant()
    def only_who_was_given_authority_drives(self):
        assert self.authority.holder == self.allowed
        driving = {Mode.POLICY: 'policy', Mode.EXPERT: 'teleop'}.get(self.authority.mode)
        live = self.allowed is not None and not self.problems[self.allowed]
        assert driving == (self.allowed if live else None)
        assert (self.authority.mode is Mode.STOPPED) == (self.allowed is None)


TestAnyOrder = AnyOrder.TestCase
