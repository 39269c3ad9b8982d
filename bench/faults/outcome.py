"""What came of injecting faults of one class."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass
class Outcome:
    """Counts, and what went wrong in words.

    Attributes:
        name: of the class.
        injected: faults.
        survived: of them.
        lost_s: the most data that one of them cost, in s.
        illegal: commands outside of the limits.
        problems: what went wrong, for people.
        figures: whatever else was measured.
    """

    name: str
    injected: int = 0
    survived: int = 0
    lost_s: float = 0.0
    illegal: int = 0
    problems: list[str] = field(default_factory=list)
    figures: dict[str, Any] = field(default_factory=dict)
