"""Which policy drives: what the policy node says, and what the rounds of a run want."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from imitation_ros.learning.recorded_rounds import Driver, RecordedRounds
from imitation_ros.learning.recorded_trials import better_ones, by_checkpoint, RecordedTrial
from imitation_ros.nodes._messages import LATCHED
from imitation_ros.nodes._offer import Offers
from rclpy.node import Node
from std_msgs.msg import String

TOPIC = 'policy/checkpoint'


class _Told(NamedTuple):
    """What `policy/checkpoint` said: folder, SHA-256, and whether it was a node's first word."""

    checkpoint: Path
    digest: str
    first: bool


class Driving:
    """Keeps rounds and policy node of one mind.

    Args:
        node: who offers, and listens.
        rounds: of the run.
        offers: to the policy node.
        say: tells people.

    Attributes:
        text: what `policy/checkpoint` said last.
    """

    def __init__(
        self, node: Node, rounds: RecordedRounds, offers: Offers, say: Callable[[str], None]
    ) -> None:
        self._node, self._rounds, self._offers, self._say = node, rounds, offers, say
        self.text = ''
        self._digest = ''  # of the policy that really drives, as far as that is known
        self._told: _Told | None = None  # what is to be looked at
        self._refused: set[str] = set()
        self._replaced = ''  # by somebody, with a policy that is not here
        self._topic = node.create_subscription(String, TOPIC, self._hear, LATCHED)

    def close(self) -> None:
        """Destroys the subscription."""
        self._node.destroy_subscription(self._topic)

    @property
    def driver(self) -> Driver | None:
        """The policy that really drives; None for one that is not here."""
        return self._rounds.find(self._digest) if self._digest else self._rounds.driver

    def _hear(self, message: String, info: Any) -> None:
        self.text = message.data
        checkpoint, _, digest = message.data.rstrip(')').rpartition(' (')
        first = info.get('publication_sequence_number') == 1
        self._told = _Told(Path(checkpoint), digest, first)

    def follow(self) -> None:
        """Takes note of the policy that really drives, whoever let it.

        A policy node that has just been started, or never had what was accepted last, is offered
        that. Any other change was somebody's choice, such as /policy/rollback: from now on that
        policy is the one to compare with, and no success brings back the one before it.
        """
        told, wanted = self._told, self._rounds.driver
        if told is None or self._offers.at_work:
            return
        self._digest = told.digest
        if wanted is not None and wanted.digest == told.digest:
            if not self._rounds.seen(wanted):
                self._rounds.drive(wanted)
        elif (
            wanted is not None
            and wanted.round is not None
            and (told.first or not self._rounds.seen(wanted))
        ):
            self._replaced = ''  # it is offered
        elif found := self._rounds.find(told.digest, told.checkpoint):
            self._rounds.drive(found, instead_of=wanted)
            self._say(f'{found} drives; the next round is compared with it')
        else:
            self._replaced = wanted.digest if wanted else ''
            self._say(f'{self.text} drives, and is not found here; compared with: {wanted}')
        self._told = None  # a full disk leaves it to the next look

    async def offer(self) -> None:
        """Offers the policy of the run that was accepted last, or drove, unless it drives."""
        wanted = self._rounds.driver
        if wanted is None or wanted.round is None or not self._offers.ready:
            return
        if wanted.digest in (self._digest, self._replaced, *self._refused):
            return
        if not self.text and self._node.count_publishers(TOPIC):
            return  # it will say what drives
        answer = await self._offer(wanted)
        if answer is None or answer.success:
            return  # without an answer it is offered again
        self._say(answer.message)
        present = self._rounds.find(self._digest) or self._rounds.before
        self._rounds.drive(present)
        self._digest = present.digest if present else ''

    async def go_back(self, trials: Sequence[RecordedTrial], enough: int) -> None:
        """Lets an earlier policy drive again that succeeded more often than the one that drives.

        None that somebody has let another one drive instead of: a person's choice holds.

        Args:
            trials: how all of them did.
            enough: see `better_ones`.
        """
        present = self._rounds.driver
        if present is None or present.digest != self._digest or not self._offers.ready:
            return
        for digest in better_ones(present.digest, trials, enough):
            found = self._rounds.find(digest)
            if found is None or not _earlier(found, present):
                continue
            if digest in (*self._refused, *self._rounds.left):
                continue
            answer = await self._offer(found)
            if answer is not None and answer.success:
                counts = by_checkpoint(trials)
                better, worse = (
                    f'{sum(counts[each])} of {len(counts[each])} episodes'
                    for each in (digest, present.digest)
                )
                self._say(f'{found} drives again: it succeeded in {better}, {present} in {worse}')
            return

    async def roll_back(self) -> tuple[bool, str]:
        """Lets the policy that drove before drive again; says whether it does, and why not."""
        present, before = self._rounds.driver, self._rounds.before
        if before is None:
            return False, 'there is no policy of an earlier round'
        if not self._offers.ready:
            return False, 'there is no policy node to let drive, or an offer is at work'
        answer = await self._offer(before, instead_of=present)
        if answer is None:
            return False, 'the policy node does not answer'
        if answer.success:
            self._say(f'rolled back to {before}')
        return bool(answer.success), str(answer.message)

    async def _offer(self, driver: Driver, instead_of: Driver | None = None) -> Any:
        """The policy node's answer; None if there is none. What it takes drives from now on."""
        answer = await self._offers.offer(driver.checkpoint)
        if answer is None:
            return None
        self._node.get_logger().info(f'offered {driver}: {answer.message}')
        if answer.success:
            self._digest = driver.digest
            self._rounds.drive(driver, instead_of)
        else:
            self._refused.add(driver.digest)
        return answer


def _earlier(driver: Driver, than: Driver) -> bool:
    """Whether a policy is of a round before that of another one, or of none."""
    return driver.round is None or (than.round is not None and driver.round < than.round)
