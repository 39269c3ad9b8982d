"""The actor's recent steps, and the demonstrations, as a reward is trained on them."""

from __future__ import annotations

from collections import deque
import hashlib

from imitation_ros.errors import RewardError
from imitation_ros.learning.irl.layout import Layout
from imitation_ros.learning.irl.transitions import check_finite, concatenated, Transitions
import numpy as np

FEWEST_STEPS = 10
"""Of the demonstrations: with fewer, deviations mean nothing."""
SAME = 0.5
"""Share of roll-out steps that are demonstrated ones bit for bit, from which on it is an error."""


class Demonstrations:
    """The expert's steps, split by episode into what is fitted to and what is held out.

    Attributes:
        fitted: to train on.
        held_out: to judge by.
        sha256: of all of them.
    """

    def __init__(self, expert: Transitions, layout: Layout, every: int, watched: bool) -> None:
        """Checks and splits.

        Args:
            expert: the demonstrations.
            layout: that they must have.
            every: one of so many episodes is held out, but at least one of them.
            watched: their actions are neither needed nor looked at.

        Raises:
            RewardError: there are too few, of another layout, or NaN is in them.
        """
        episodes = expert.episodes
        if len(episodes) < 2 or len(expert) < FEWEST_STEPS:
            raise RewardError(
                f'demonstrations: {len(episodes)} episodes with {len(expert)} steps; '
                f'valid: at least 2, since one is held out, with {FEWEST_STEPS} steps'
            )
        check_layout(expert, layout, 'demonstrations')
        check_finite(expert, actions=not watched)
        held_out = episodes[every - 1 :: every]
        self._watched = watched
        self.held_out = expert.of(held_out if len(held_out) else episodes[-1:])
        self.fitted = expert.take(~np.isin(expert.episode, self.held_out.episodes))
        keys = _keys(expert, watched)
        self._known, self.sha256 = set(keys), hashlib.sha256(b''.join(keys)).hexdigest()

    def share_in(self, steps: Transitions) -> float:
        """Which share of steps are demonstrated ones, bit for bit."""
        known = [key in self._known for key in _keys(steps, self._watched)]
        return sum(known) / max(1, len(known))


class RecentSteps:
    """What the actor did last, in the order that it came.

    Args:
        capacity: steps; the oldest are forgotten.
        every: one of so many episodes, by their number, is held out.
    """

    def __init__(self, capacity: int, every: int) -> None:
        self._capacity, self._every = capacity, every
        self._parts: deque[Transitions] = deque()
        self._joined: dict[bool, Transitions] = {}

    def __len__(self) -> int:
        return sum(map(len, self._parts))

    def add(self, steps: Transitions) -> None:
        """Appends, and forgets the oldest beyond the capacity."""
        self._joined = {}
        self._parts.append(steps)
        beyond = len(self) - self._capacity
        while beyond > 0:
            first = self._parts.popleft()
            if len(first) > beyond:
                self._parts.appendleft(first.take(np.arange(beyond, len(first))))
            beyond -= len(first)

    def all(self) -> Transitions:
        """Everything, as one."""
        return concatenated(self._parts)

    def split(self, held_out: bool) -> Transitions:
        """Those held out, or the others, which are all if there would be none."""
        if not self._joined:
            steps = self.all()
            mask = steps.episode % self._every == self._every - 1
            mask &= not mask.all()
            self._joined = {True: steps.take(mask), False: steps.take(~mask)}
        return self._joined[held_out]

    @property
    def episodes(self) -> int:
        """How many episodes they are of."""
        return len(self.all().episodes) if self._parts else 0


def check_rollouts(
    steps: Transitions, layout: Layout, demonstrations: Demonstrations, watched: bool
) -> None:
    """Makes sure that a reward may be trained against an actor's steps.

    Raises:
        RewardError: none, NaN in them, another layout, or they are the demonstrations.
    """
    if not len(steps):
        raise RewardError('roll-outs: no step; valid: episodes of two frames or more')
    check_layout(steps, layout, 'roll-outs')
    check_finite(steps, actions=not watched)
    same = demonstrations.share_in(steps)
    if len(steps) >= FEWEST_STEPS and same > SAME:
        raise RewardError(
            f'roll-outs: {same:.0%} of the {len(steps)} steps are demonstrated ones; '
            "valid: the policy's own, not the demonstrations again"
        )


def check_layout(steps: Transitions, layout: Layout, where: str) -> None:
    """Makes sure that vectors are as long as the contract's.

    Raises:
        RewardError: they are not.
    """
    found = steps.observation.shape[1], steps.action.shape[1]
    valid = layout.observation_size, layout.action_size
    if found != valid:
        raise RewardError(
            f'{where}: {found[0]} numbers of observation and {found[1]} of action; '
            f'valid for {layout.contract.name}: {valid[0]} and {valid[1]}'
        )


def _keys(steps: Transitions, watched: bool) -> list[bytes]:
    shown = steps.next_observation if watched else steps.action
    rows = np.concatenate([steps.observation, shown], 1).astype(np.float32)
    return [row.tobytes() for row in rows]
