"""What recorded steps are worth: by their outcome, by a recorded topic, or by any function.

A recorded step is from one tick to the next. Nothing is made up: where nobody knows what a step
is worth, it is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

from imitation_ros.episodes.reader import EpisodeReader, Message
from imitation_ros.episodes.tracks import read_clock
from imitation_ros.errors import EpisodeError, RewardError
from imitation_ros.frames.contract import Contract
from imitation_ros.learning.irl.transitions import TERMINATED, Transitions, transitions
from imitation_ros.types import Array, Episode
import numpy as np

TOPIC_TYPE = 'std_msgs/msg/Float64'

Pay = Callable[[Episode, Transitions], Array]
"""A recorded episode and its N steps → what each is worth (N,); NaN where nobody knows."""


@dataclass(frozen=True)
class Paid:
    """Steps, and what each is worth.

    Attributes:
        steps: N of them.
        rewards: (N,).
    """

    steps: Transitions
    rewards: Array

    def __post_init__(self) -> None:
        if self.rewards.shape != (len(self.steps),):
            raise ValueError(f'{self.rewards.shape} rewards for {len(self.steps)} steps')

    @property
    def known(self) -> Paid:
        """Those of which somebody knows what they are worth.

        Raises:
            RewardError: there are none.
        """
        rows = np.isfinite(self.rewards)
        if not rows.any():
            raise RewardError(
                f'no reward for any of {len(self.steps)} steps; valid: episodes whose outcome is '
                'success or failure, or a reward for their ticks'
            )
        return Paid(self.steps.take(rows), self.rewards[rows])


def paid_recorded(contract: Contract, episodes: Iterable[Episode], pay: Pay) -> Paid:
    """Recorded steps with what each is worth, in the order of their frames; NaN as `pay` says.

    The end of a recording is a cut, whatever its metadata say of the task.
    """
    episodes = [replace(each, metadata={**each.metadata, TERMINATED: False}) for each in episodes]
    parts = [(each, transitions([each], contract, number)) for number, each in enumerate(episodes)]
    rewards = [np.asarray(pay(*each), np.float64) for each in parts]
    steps = transitions([each for each, _ in parts], contract)
    return Paid(steps, np.concatenate([np.zeros(0), *rewards]))


def steps_of(episode: Episode) -> Array:
    """Which frames (T,) a recorded step starts from: those that the next one follows."""
    return np.append(np.diff(episode.segment) == 0, False)[: len(episode)]


def by_outcome(ticks_at_goal: int) -> Pay:
    """-1 a tick until the goal is reached, 0 at it; the last ticks of a success are at the goal.

    Of an episode of which nobody knows the outcome, nobody knows what its steps are worth.
    """

    def pay(episode: Episode, steps: Transitions) -> Array:
        known = episode.outcome in ('success', 'failure')
        paid = np.full(len(episode), -1.0 if known else np.nan)
        if episode.outcome == 'success':
            paid[-ticks_at_goal:] = 0.0
        return paid[steps_of(episode)]

    return pay


def by_topic(topic: str) -> Pay:
    """What a recorded topic of type Float64 says: a step is worth its newest message.

    That is the newest one that was published after the step's tick, up to the next tick, as the
    next observation is. The contract lists the topic under `record_too`.
    """

    def pay(episode: Episode, steps: Transitions) -> Array:
        reader = EpisodeReader(str(episode.metadata['path']))
        name, clock = reader.topic(topic, TOPIC_TYPE).name, read_clock(reader)
        said = sorted(
            (clock.ros_ns(message.publish_time_ns), _number(reader, message))
            for message in reader.messages([name])
        )
        stamps = np.array([-1, *(stamp for stamp, _ in said)], np.int64)
        values = np.array([np.nan, *(value for _, value in said)])
        starts = np.flatnonzero(steps_of(episode))
        newest = np.searchsorted(stamps, episode.tick_ns[starts + 1], 'right') - 1
        within = stamps[newest] > episode.tick_ns[starts]
        return np.where(within, values[newest], np.nan)

    return pay


def by_steps(function: Callable[[Transitions], Array]) -> Pay:
    """What a function of the steps says, such as `Reward.score_steps` of a learned reward."""
    return lambda episode, steps: function(steps)


def mixed(share: float, task: Pay, learned: Pay) -> Pay:
    """`share` of what the task pays, the rest of what a learned reward says."""
    if share in (0, 1):
        return task if share else learned
    return lambda *step: share * task(*step) + (1 - share) * learned(*step)


def _number(reader: EpisodeReader, message: Message) -> float:
    said: Any = getattr(reader.decode(message), 'data', None)
    if not isinstance(said, float):  # the definition is the bag's own
        raise EpisodeError(f'{reader.path}: {message.topic}: no number {said!r}')
    return said
