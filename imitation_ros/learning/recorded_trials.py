"""How often each policy succeeded by itself in what was recorded: where it is known, it decides.

A policy that was just trained has never been rolled out, so it drives unless its held-out loss
says that it is broken. What it does then is recorded, and once it and an earlier one have driven
enough episodes the one that succeeds more often drives.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import NamedTuple


class RecordedTrial(NamedTuple):
    """One episode that a policy drove.

    Attributes:
        checkpoint: SHA-256 of its weights.
        success: whether it succeeded, and nobody had to correct it.
    """

    checkpoint: str
    success: bool


def judge_episode(
    checkpoints: Iterable[str], outcome: str, expert_ticks: int, gate: str
) -> RecordedTrial | None:
    """What an episode says of a policy; None if it says nothing.

    Args:
        checkpoints: of each tick that a policy drove.
        outcome: of the episode.
        expert_ticks: that the expert drove.
        gate: that chose who drives. With 'beta' the expert's turns are drawn and say nothing of
            the policy: an episode with one is no trial. With all others it drove for a reason.
    """
    drove = set(checkpoints)
    drawn = gate == 'beta' and expert_ticks > 0
    if len(drove) != 1 or '' in drove or drawn or outcome not in ('success', 'failure'):
        return None
    return RecordedTrial(drove.pop(), outcome == 'success' and not expert_ticks)


def by_checkpoint(trials: Iterable[RecordedTrial]) -> Mapping[str, list[bool]]:
    """SHA-256 → its successes, episode by episode."""
    found: defaultdict[str, list[bool]] = defaultdict(list)
    for trial in trials:
        found[trial.checkpoint].append(trial.success)
    return found


def success_of(checkpoint: str, trials: Iterable[RecordedTrial]) -> float | None:
    """The share of successes; None for a policy that has driven no episode."""
    successes = by_checkpoint(trials).get(checkpoint)
    return sum(successes) / len(successes) if successes else None


def better_ones(checkpoint: str, trials: Iterable[RecordedTrial], enough: int) -> list[str]:
    """The policies that succeeded more often than the one that drives, the best first.

    Args:
        checkpoint: SHA-256 of the one that drives.
        trials: all that were recorded.
        enough: episodes that a policy must have driven before it is compared.
    """
    shares = {
        each: sum(successes) / len(successes)
        for each, successes in by_checkpoint(trials).items()
        if len(successes) >= enough
    }
    if checkpoint not in shares:
        return []
    better = [each for each, share in shares.items() if share > shares[checkpoint]]
    return sorted(better, key=lambda each: -shares[each])
