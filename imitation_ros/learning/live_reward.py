"""A frozen reward, asked tick by tick."""

from __future__ import annotations

from dataclasses import dataclass

from imitation_ros.episodes.align import JITTER
from imitation_ros.frames.contract import Contract
from imitation_ros.learning.irl.reward import Reward
from imitation_ros.learning.rollouts import Step


@dataclass(frozen=True)
class Scored:
    """What a reward says of a tick; `value` is 0 for random behaviour and 1 for the expert's."""

    tick_ns: int
    value: float


class LiveReward:
    """Scores steps as they come.

    A reward that looks at the next observation scores a step when the next one is there.

    Attributes:
        reward: in use; None while there is none.
    """

    def __init__(self, contract: Contract, reward: Reward | None = None) -> None:
        self.reward = reward
        self._period_ns = contract.tick_period_ns
        self._before: Step | None = None

    def score(self, step: Step) -> Scored | None:
        """The reward of this step, or of the one before; None if there is none to give."""
        before, self._before = self._before, step if step.whole else None
        if self.reward is None or step.observation is None or step.action is None:
            return None
        config = self.reward.config
        if not (config.shaping or 'next' in config.inputs):
            value = self.reward.score_frame(step.observation, step.action, step.observation)
            return Scored(step.tick_ns, value)
        if before is None or before.observation is None or before.action is None:
            return None
        if not 0 < step.tick_ns - before.tick_ns <= JITTER * self._period_ns:
            return None
        value = self.reward.score_frame(before.observation, before.action, step.observation)
        return Scored(before.tick_ns, value)
