"""Who drives in process, where policy and expert share a roll-out."""

from __future__ import annotations

from imitation_ros.learning.sim_collector import Hands
from imitation_ros.supervision.gates import Choice, POLICY, TELEOP
from imitation_ros.types import Frame
import numpy as np

EXECUTE = 4


class ChunkedPolicy:
    """Plans at every fourth tick; its action is the tick that it was planned at."""

    def __init__(self):
        self.signals, self.planned_ns = {}, 0

    def act(self, frame):
        if (frame.tick_ns - 1) % EXECUTE == 0:
            self.planned_ns = frame.tick_ns
        return {'arm': np.array([float(self.planned_ns)])}


class Plan:
    """A gate that chooses as it was told, and keeps what it saw."""

    labels_every_tick = False

    def __init__(self, streams):
        self.streams, self.seen = iter(streams), []

    def choose(self, view):
        self.seen.append(view.driving)
        return Choice(next(self.streams), '')


def drive(plan):
    """Tick → whose action it was: the tick that the policy planned at, or -1 for the expert."""
    gate = Plan(plan)
    hands = Hands(ChunkedPolicy(), lambda frame: {'arm': np.array([-1.0])}, gate)
    frames = [Frame(tick, {}) for tick in range(1, len(plan) + 1)]
    return [int(hands.act(frame)['arm'][0]) for frame in frames], gate


def test_a_chunk_planned_before_the_hand_back_is_dropped():
    """The policy went on with it from a state that it had not seen, unlike over topics."""
    plan = [POLICY, TELEOP, TELEOP, POLICY, POLICY, POLICY, POLICY, POLICY, POLICY]
    actions, gate = drive(plan)
    assert actions == [1, -1, -1, -1, 5, 5, 5, 5, 9]
    assert gate.seen == ['', *plan[:-1]], 'the gate knows what it chose'


def test_a_policy_that_keeps_control_keeps_its_chunk():
    actions, _ = drive([POLICY] * 6)
    assert actions == [1, 1, 1, 1, 5, 5]


def test_a_hand_back_at_a_fresh_plan_is_at_once():
    actions, _ = drive([POLICY, POLICY, TELEOP, TELEOP, POLICY])
    assert actions == [1, 1, -1, -1, 5]
