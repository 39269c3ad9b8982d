"""Episodes as transitions: state, action, next state, and what comes after the end.

An episode that ended because its task was over goes on in the absorbing state, for ever; one that
was cut by a time limit just stops. Without the difference a reward that is positive makes long
episodes better and one that is negative short ones, whatever happens in them (Kostrikov et al.,
Discriminator-Actor-Critic, ICLR 2019, §4.1).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, fields, replace
import hashlib
from itertools import pairwise

from imitation_ros.errors import RewardError
from imitation_ros.frames.contract import Contract
from imitation_ros.learning.irl.layout import Layout
from imitation_ros.types import Array, Episode
import numpy as np

TERMINATED = 'terminated'
"""Key of an episode's metadata: the task ended it, no time limit and no operator."""


@dataclass(frozen=True)
class Transitions:
    """N steps.

    Attributes:
        observation: (N, o) float32, laid out by `Layout`.
        action: (N, a) float32; NaN where nobody saw it (learning by watching).
        next_observation: (N, o) float32.
        episode: (N,) int64, which episode a step is of; numbers have no order.
    """

    observation: Array
    action: Array
    next_observation: Array
    episode: Array = field(repr=False)

    def __post_init__(self) -> None:
        lengths = {each.name: len(getattr(self, each.name)) for each in fields(self)}
        if len(set(lengths.values())) > 1:
            raise ValueError(f'lengths differ: {lengths}')

    def __len__(self) -> int:
        return len(self.observation)

    @property
    def episodes(self) -> Array:
        """Their numbers, each once."""
        return np.unique(self.episode)

    @property
    def watched(self) -> bool:
        """Whether there are steps of which nobody saw the action."""
        return bool(np.isnan(self.action).any())

    @property
    def sha256(self) -> str:
        """Over all of it (hex)."""
        digest = hashlib.sha256()
        for each in fields(self):
            digest.update(np.ascontiguousarray(getattr(self, each.name)).tobytes())
        return digest.hexdigest()

    def take(self, rows: Array) -> Transitions:
        """Those of indices or of a mask."""
        return Transitions(**{each.name: getattr(self, each.name)[rows] for each in fields(self)})

    def of(self, episodes: Sequence[int] | Array) -> Transitions:
        """Those of some episodes."""
        return self.take(np.isin(self.episode, episodes))

    def without_actions(self) -> Transitions:
        """As somebody saw them who only watched."""
        return replace(self, action=np.full_like(self.action, np.nan))


def transitions(
    episodes: Iterable[Episode], contract: Contract, first_episode: int = 0
) -> Transitions:
    """Steps of episodes, each from a frame to the next one of its segment.

    The last frame of a segment has no next one and gives none; where the metadata says that the
    episode `terminated`, it goes on to the absorbing state, which goes on to itself.

    Args:
        episodes: aligned, of this contract; one without any actions was only watched.
        contract: what their arrays mean.
        first_episode: number of the first.

    Raises:
        RewardError: a NaN, or the contract has images or actions without limits.
        KeyError: an array of the contract is missing.
    """
    layout = Layout(contract)
    rows = []
    for number, episode in enumerate(episodes, first_episode):
        rows.append(_steps(episode, layout, number))
        check_finite(rows[-1], actions=bool(episode.actions))
    if not rows:
        rows = [
            Transitions(
                np.zeros((0, layout.observation_size), np.float32),
                np.zeros((0, layout.action_size), np.float32),
                np.zeros((0, layout.observation_size), np.float32),
                np.zeros(0, np.int64),
            )
        ]
    return concatenated(rows)


def concatenated(parts: Sequence[Transitions]) -> Transitions:
    """One after the other."""
    return Transitions(
        **{
            each.name: np.concatenate([getattr(part, each.name) for part in parts])
            for each in fields(Transitions)
        }
    )


def check_finite(steps: Transitions, actions: bool = True) -> None:
    """Makes sure that numbers are numbers.

    Args:
        steps: to look at.
        actions: look at these too.

    Raises:
        RewardError: names the first that is none, with its episode.
    """
    names = ('observation', 'next_observation', *(['action'] if actions else []))
    for name in names:
        bad = np.flatnonzero(~np.isfinite(getattr(steps, name)).all(-1))
        if len(bad):
            raise RewardError(
                f'{name}: NaN or infinity in {len(bad)} of {len(steps)} steps, first in episode '
                f'{steps.episode[bad[0]]}; valid: finite numbers'
            )


def absorbing(size: int) -> Array:
    """The absorbing state: zeros but for its indicator, (size,) float32."""
    state = np.zeros(size, np.float32)
    state[-1] = 1.0
    return state


def _steps(episode: Episode, layout: Layout, number: int) -> Transitions:
    observation = layout.observe(episode.observations)
    action = _actions(episode, layout)
    follows = np.array([one == other for one, other in pairwise(episode.segment)], bool)
    now, after = observation[:-1][follows], observation[1:][follows]
    acted = action[:-1][follows]
    if len(episode) and episode.metadata.get(TERMINATED):
        end = absorbing(layout.observation_size)
        now = np.concatenate([now, observation[-1:], end[None]])
        acted = np.concatenate([acted, action[-1:], np.zeros_like(action[-1:])])
        after = np.concatenate([after, end[None], end[None]])
    return Transitions(now, acted, after, np.full(len(now), number, np.int64))


def _actions(episode: Episode, layout: Layout) -> Array:
    """Its actions (T, a); NaN for all of them if it has none at all."""
    if episode.actions:
        return layout.flatten(episode.actions)
    return np.full((len(episode), layout.action_size), np.nan, np.float32)
