"""How many messages of a topic were published, written and lost, so that the sum closes.

DDS numbers the messages of each publisher from 1 on, so what is missing between two that came
shows as a gap: published = written + lost, from the first message to the last. What was lost
before the first shows only if a message of the same publisher came before the episode; what was
lost after the last never does. Where a number is not known it is None, never 0.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass
class Numbers:
    """The messages of one topic that came, by the number that their publisher gave them.

    Attributes:
        before: publisher → the last number that came before these.
        messages: that came, each once.
        known: whether each had a number, and the publishers could be told apart.
    """

    before: Mapping[bytes | None, int] = field(default_factory=dict)
    messages: int = 0
    known: bool = True
    _first: dict[bytes | None, int] = field(default_factory=dict)
    _last: dict[bytes | None, int] = field(default_factory=dict)

    def add(self, sequence: int | None, publisher: bytes | None) -> bool:
        """Takes note of one message; returns False if it is one that came before.

        A latched message comes again with each new subscription.

        Args:
            sequence: number that its publisher gave it, None or 0 where it is not known.
            publisher: who that was, None where it is not known.
        """
        if not sequence:
            self.known = False
        else:
            last = self._last.get(publisher, 0)
            if sequence <= last and publisher is not None:
                return False
            # One publisher's numbers never go back, so there are two.
            self.known &= sequence > last
            self._first.setdefault(publisher, sequence)
            self._last[publisher] = sequence
        self.messages += 1
        return True

    def note_several_publishers(self) -> None:
        """Takes note that more than one publishes here, in case the messages do not say who."""
        if None in self._last:
            self.known = False

    @property
    def last(self) -> Mapping[bytes | None, int]:
        """Publisher → the last number so far, these and `before`."""
        return {**self.before, **self._last}

    @property
    def published(self) -> int | None:
        """From the first message of each publisher to its last; None if that is not known."""
        if not self.known:
            return None
        return sum(last - self._first[each] + 1 for each, last in self._last.items())

    @property
    def lost(self) -> int | None:
        """Of those published, how many never came; None if that is not known."""
        return None if self.published is None else self.published - self.messages

    @property
    def lost_before_first(self) -> int | None:
        """Published after the last message that came before these, and never came.

        Number 1 is a publisher's first. None where nothing came before, or not all is known.
        """
        if not self.known:
            return None
        lost = 0
        for publisher, first in self._first.items():
            if first > 1 and publisher not in self.before:
                return None
            lost += max(0, first - self.before.get(publisher, 0) - 1)
        return lost


def account(numbers: Numbers, written: int) -> dict[str, int | None]:
    """The counts of a topic for an episode's metadata: published = written + lost.

    Args:
        numbers: of the messages that came.
        written: how many of them the file holds; the others are lost too.
    """
    published = numbers.published
    return {
        'published': published,
        'written': written,
        'lost': None if published is None else published - written,
        'lost_before_first': numbers.lost_before_first,
        'lost_after_last': None,
    }
