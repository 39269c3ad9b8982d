"""Which frames of DAgger's rounds no policy is ever fitted to, and how well one does on them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from imitation_ros.episodes.training_set import TrainingSet
from imitation_ros.errors import EpisodeError
from imitation_ros.frames.contract import Contract
from imitation_ros.learning.safety import distances
from imitation_ros.policies.policy import Policy
from imitation_ros.types import Episode
import numpy as np


def split_rounds(
    rounds: Sequence[Sequence[Episode]],
    contract: Contract,
    held_out_every: int,
    demonstrations: Sequence[Episode] = (),
) -> tuple[TrainingSet, TrainingSet]:
    """What policies are fitted to, and what none ever is: some of every round.

    A frame stays on its side for ever. Held out is the last of every `held_out_every` episodes
    of a round that have labels, or the last if there are fewer. Of a round with only one it is
    the end of it: a person's round often is a single episode, and the newest states must be
    among those that policies are compared on.

    Args:
        rounds: the episodes of each.
        contract: of all of them.
        held_out_every: see `DaggerConfig`.
        demonstrations: from before the rounds. All are fitted to: a policy that was trained on
            them is compared with, and could not be on what it knows by heart.

    Raises:
        EpisodeError: nothing is left to fit to.
    """
    fit: list[Episode] = list(demonstrations)
    held_out: list[Episode] = []
    for episodes in rounds:
        labelled = [episode for episode in episodes if len(episode)]
        if held_out_every and len(labelled) == 1:
            labelled = _parted(labelled[0], held_out_every)
        every = min(held_out_every, len(labelled))
        for index, episode in enumerate(labelled):
            apart = every > 1 and index % every == every - 1
            (held_out if apart else fit).append(episode)
    if not any(len(episode) for episode in fit):
        raise EpisodeError('no labelled frames to learn from')
    train = TrainingSet.from_episodes(fit, contract)
    return train, TrainingSet.from_episodes(held_out, contract)


def _parted(episode: Episode, every: int) -> list[Episode]:
    """An episode in two, of which the later has about one of `every` frames.

    Neighbouring frames are much alike, so what is held out is one block, with one border. The
    border is a gap, such as between two corrections, where there is one in the later half.
    """
    wanted = len(episode) - max(1, len(episode) // every)
    gaps = np.flatnonzero(np.diff(episode.segment)) + 1
    late = gaps[2 * gaps >= len(episode)]
    border = int(late[np.argmin(np.abs(late - wanted))]) if len(late) else wanted
    if not border:
        return [episode]  # a single frame
    return [_part(episode, slice(border)), _part(episode, slice(border, None))]


def _part(episode: Episode, frames: slice) -> Episode:
    return replace(
        episode,
        tick_ns=episode.tick_ns[frames],
        observations={name: each[frames] for name, each in episode.observations.items()},
        actions={part: each[frames] for part, each in episode.actions.items()},
        segment=episode.segment[frames],
    )


def held_out_loss(policy: Policy, episodes: TrainingSet) -> float | None:
    """Mean `action_distance` from the expert's action over all frames; None if there are none.

    In units of the contract, so that policies of other normalization can be compared.
    """
    errors = [error for episode in episodes for error in distances(policy, episode)]
    return float(np.mean(errors)) if errors else None
