"""Observations and what was executed in; a reward, and its status, out."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from imitation_ros.frames.contract import Contract
from imitation_ros.frames.status import Status, STATUS_TYPE, TickAction
from imitation_ros.learning.irl.reward import Reward
from imitation_ros.learning.live_reward import LiveReward
from imitation_ros.learning.rollouts import Step, Steps
from imitation_ros.nodes._managed import ManagedNode
from imitation_ros.nodes._messages import message_class, new, RELIABLE
from imitation_ros.nodes._streams import ActionListener, FrameStream
from imitation_ros.types import Frame, Gap
from std_msgs.msg import Float64

WAITING = 64
"""Ticks that may wait, in lockstep, for observations that come after what was executed."""


class RewardStream:
    """Scores each tick in which something was executed, by a frozen reward.

    Args:
        node: who subscribes and publishes.
        contract: which topics.
        lockstep: a tick is a stamp that all observations carry.
        on_step: gets every step after it was scored.

    Attributes:
        stale: whether the reward is older than it should be, for the status.
    """

    def __init__(
        self,
        node: ManagedNode,
        contract: Contract,
        lockstep: bool,
        on_step: Callable[[Step], None],
    ) -> None:
        self._node, self._on_step, self.stale = node, on_step, False
        self._fingerprint = contract.fingerprint
        self._steps, self._live = Steps(contract), LiveReward(contract)
        self._executed: deque[TickAction] = deque(maxlen=WAITING)
        self._reward = node.create_publisher(Float64, 'reward', RELIABLE)
        status = message_class(STATUS_TYPE)
        self._status = node.create_publisher(status, 'reward/status', RELIABLE)
        self._frames = FrameStream(node, contract, lockstep, self._on_frame, timer=False)
        self._actions = ActionListener(node, contract, 'executed', self._on_executed)

    def close(self) -> None:
        """Destroys topics."""
        self._frames.close()
        self._actions.close()
        self._node.destroy_publisher(self._reward)
        self._node.destroy_publisher(self._status)

    @property
    def reward(self) -> Reward | None:
        """In use; it may be replaced between two ticks."""
        return self._live.reward

    @reward.setter
    def reward(self, reward: Reward | None) -> None:
        self._live.reward = reward

    @property
    def version(self) -> int:
        """Of the reward in use; 0 for none."""
        return self._live.reward.version if self._live.reward else 0

    def _on_executed(self, executed: TickAction) -> None:
        if self._executed and executed.status.tick_ns < self._executed[-1].status.tick_ns:
            self._executed.clear()  # the clock has jumped back, what waits will not be seen
        self._executed.append(executed)
        self._score_ticks()

    def _on_frame(self, frame: Frame | Gap) -> None:
        self._score_ticks()

    def _score_ticks(self) -> None:
        while self._executed:
            frame = self._frames.at(self._executed[0].status.tick_ns)
            if frame is None:
                return
            self._score(self._steps.of(self._executed.popleft(), frame))

    def _score(self, step: Step) -> None:
        if not self._node.active:
            return
        scored = self._live.score(step)
        if scored is None:
            self._say(step.tick_ns, 0, step.reason or self._silence)
        else:
            self._reward.publish(Float64(data=scored.value))
            self._say(scored.tick_ns, 1, '')
        self._on_step(step)

    def _say(self, tick_ns: int, sent: int, reason: str) -> None:
        """Says beside a reward, or in its place, which tick it is of and what it comes from."""
        values = {
            'fingerprint': self._fingerprint,
            'version': str(self.version),
            'stale': str(self.stale).lower(),
        }
        status: Any = Status(tick_ns, self._node.get_name(), sent, reason, values).encode(new)
        self._status.publish(status)

    @property
    def _silence(self) -> str:
        return 'no tick before this one' if self._live.reward else 'no reward was promoted yet'
