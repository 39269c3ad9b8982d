"""`adapt(parent, demonstrations)`: an ordinary policy, and whether the demonstrations were enough.

The verdict is what an operator needs to know before the arm moves: a part of the demonstration's
frames is held out, the policy is adapted to the rest, and has to predict them. It is refused if
it does so worse than without the demonstration, and warned of if worse than for the family's own
tasks.
"""

from __future__ import annotations

from collections.abc import Sequence
import dataclasses
from dataclasses import dataclass
import hashlib
from pathlib import Path
from typing import Any

import imitation_ros
from imitation_ros.episodes.cache import episode_hash
from imitation_ros.errors import EpisodeError, ImitationError
from imitation_ros.learning.meta.correction import corrected
from imitation_ros.learning.meta.decoder import Condition, Decoder
from imitation_ros.learning.meta.meta_policy import MetaPolicy
from imitation_ros.learning.meta.shots import Labels
from imitation_ros.learning.meta.slots import states
from imitation_ros.policies.checkpoint import save_checkpoint
from imitation_ros.policies.policy import Policy
from imitation_ros.types import Array, Episode
import numpy as np
import torch

LEAST_FRAMES = 16
"""Of a demonstration; a shorter one shows nothing."""
BLOCK = 4
"""Frames that are held out together: each fourth block of so many."""
ODD_OUTCOMES = {
    'failure': 'its outcome is failure',
    'disk_full': 'its outcome is disk_full: it was cut off, and its end may be missing',
}
"""What an operator is told of a demonstration that ended so."""
OUTSIDE = 0.25
"""Share of its range by which an observation may leave what was trained on without a warning."""


@dataclass(frozen=True)
class Verdict:
    """Whether the demonstrations were enough.

    Attributes:
        before: loss of the held-out frames without a demonstration, or of the policy that is
            corrected (mean negative log likelihood, standardized).
        after: the same once adapted to the other frames.
        usual: what `after` is at most for most tasks of the family.
        means: set of things → the one that is meant, and how sure that is, 0..1.
        warnings: what is odd about the demonstrations.
    """

    before: float
    after: float
    usual: float
    means: dict[str, tuple[str, float]]
    warnings: tuple[str, ...]

    @property
    def meant(self) -> str:
        """Which things were shown, for people."""
        return ', '.join(f'{name} ({sure:.0%})' for name, sure in self.means.values())

    @property
    def refusal(self) -> str:
        """Why the adapted policy must not drive; empty if it may."""
        if self.after < self.before:
            return ''
        return (
            f'adaptation made things worse: held-out frames of the demonstration are predicted '
            f'with a loss of {self.after:.3f}, before it {self.before:.3f}'
        )


def adapt(parent: MetaPolicy, demonstrations: Sequence[Episode], showing: int = 0) -> Policy:
    """The policy of the task that the demonstrations show; `parent` stays as it is.

    Args:
        parent: what adapts.
        demonstrations: to adapt to.
        showing: the first so many show the task, and the others correct the policy that was
            adapted to them; 0 if all show it.

    Raises:
        EpisodeError: there is no demonstration, or one was discarded, is of another contract or
            too short.
    """
    check(parent, demonstrations)
    everything = [np.arange(len(each)) for each in demonstrations]
    decoder, condition = _adapted(parent, demonstrations, everything, showing)
    return decoder.policy(condition)


def judge(parent: MetaPolicy, demonstrations: Sequence[Episode], showing: int = 0) -> Verdict:
    """Says whether the demonstrations were enough.

    Args:
        parent: what adapts.
        demonstrations: to adapt to.
        showing: as of `adapt`; the last correction must make better what came of the others.

    Raises:
        EpisodeError: there is no demonstration, or one was discarded, is of another contract or
            too short.
    """
    check(parent, demonstrations)
    before, after = held_out_losses(parent, demonstrations, showing)
    means = parent.learner.told(parent.tensors.shots(demonstrations[: showing or None]))
    names = {}
    for slots, pointer in zip(parent.learner.decoder.layout.sets, means.pointers):
        best = int(pointer.argmax())
        names[slots.name] = (slots.topics[best].removesuffix('/pose'), float(pointer[best]))
    warnings = [
        f'{_name(episode, index)}: {ODD_OUTCOMES[episode.outcome]}'
        for index, episode in enumerate(demonstrations)
        if episode.outcome in ODD_OUTCOMES
    ]
    for index, episode in enumerate(demonstrations):
        warnings += _strange(parent, episode, _name(episode, index))
    if after > parent.familiar.loss:
        warnings.append(
            f'far from the family: held-out frames are predicted with a loss of {after:.3f}, '
            f'usual is at most {parent.familiar.loss:.3f}'
        )
    return Verdict(before, after, parent.familiar.loss, names, tuple(warnings))


def check(parent: MetaPolicy, demonstrations: Sequence[Episode]) -> None:
    """Makes sure that demonstrations can be learned from.

    Raises:
        EpisodeError: there is none, one was discarded, is of another contract or too short.
    """
    if not demonstrations:
        raise EpisodeError('no demonstration; valid: at least one')
    contract = parent.contract
    groups = {'observations': contract.observation_specs, 'actions': contract.action_specs}
    for index, episode in enumerate(demonstrations):
        name = _name(episode, index)
        if episode.outcome == 'discarded':
            raise EpisodeError(f'{name}: its operator discarded it; valid: any other outcome')
        for group, specs in groups.items():
            found = {key: array.shape[1:] for key, array in getattr(episode, group).items()}
            valid = {key: spec.shape for key, spec in specs.items()}
            if found != valid:
                raise EpisodeError(
                    f'{name}: made for another contract: {group} {found}; valid: {valid}'
                )
        if len(episode) < LEAST_FRAMES:
            raise EpisodeError(
                f'{name}: too short: {len(episode)} frames; valid: at least {LEAST_FRAMES}'
            )


def held_out_losses(
    parent: MetaPolicy, demonstrations: Sequence[Episode], showing: int = 0
) -> tuple[float, float]:
    """Loss of held-out frames before, and adapted to the other frames of all demonstrations.

    Before is without any, or, if the last one is a correction, with those before it.
    """
    held_out = [_held_out(len(episode)) for episode in demonstrations]
    kept = [np.flatnonzero(~each) for each in held_out]
    labels = parent.tensors.labels(demonstrations)
    asked = torch.from_numpy(np.concatenate(held_out))
    asked_labels = labels.of(asked)
    learner = parent.learner
    present = (learner.decoder, learner.prior())
    if showing:
        present = _adapted(parent, demonstrations[:-1], kept[:-1], showing)
    adapted = _adapted(parent, demonstrations, kept, showing)
    return _loss(*present, asked_labels), _loss(*adapted, asked_labels)


def _adapted(
    parent: MetaPolicy,
    demonstrations: Sequence[Episode],
    frames: Sequence[Array],
    showing: int = 0,
) -> tuple[Decoder, Condition]:
    """To some frames of each demonstration; see `adapt`."""
    shown = slice(showing or None)
    shots = parent.tensors.shots(demonstrations[shown], frames=frames[shown])
    decoder, condition = parent.learner.adapted(shots)
    if showing in (0, len(demonstrations)):
        return decoder, condition
    labels = parent.tensors.labels(demonstrations)
    starts = np.cumsum([0, *map(len, demonstrations[:-1])])
    picked = np.concatenate([start + each for start, each in zip(starts, frames)])
    return corrected(decoder, condition, labels.of(torch.from_numpy(picked)))


def save_adapted(
    folder: Path | str,
    policy: Policy,
    parent: MetaPolicy,
    demonstrations: Sequence[Episode],
    verdict: Verdict,
    showing: int = 0,
) -> str:
    """Writes an adapted policy as an ordinary checkpoint, with where it comes from.

    Args:
        folder: of the checkpoint.
        policy: that was adapted.
        parent: from what.
        demonstrations: to what.
        verdict: on them.
        showing: as of `adapt`.

    Returns:
        SHA-256 of its weights.

    Raises:
        ImitationError: the verdict refuses it.
        CheckpointError: `folder` holds something else, or cannot be written.
    """
    if verdict.refusal:
        raise ImitationError('; '.join([f'refused: {verdict.refusal}', *verdict.warnings]))
    return save_checkpoint(folder, policy, record_of(parent, demonstrations, verdict, showing))


def record_of(
    parent: MetaPolicy, demonstrations: Sequence[Episode], verdict: Verdict, showing: int = 0
) -> dict[str, Any]:
    """What an adapted checkpoint says of itself."""
    hashes = [episode_hash(episode) for episode in demonstrations]
    return {
        'method': f'meta ({parent.settings.method})',
        'parent': parent.checkpoint,
        'demonstrations': [_name(each, index) for index, each in enumerate(demonstrations)],
        'showing': showing or len(demonstrations),
        'episodes': [path for each in demonstrations if (path := _path(each))],
        'data_hash': hashlib.sha256(' '.join(hashes).encode()).hexdigest(),
        'verdict': dataclasses.asdict(verdict),
        'versions': {'imitation_ros': imitation_ros.__version__, 'torch': torch.__version__},
    }


def _held_out(length: int) -> Array:
    """(T,) whether a frame is held out; the first and the last block never are."""
    block = np.arange(length) // BLOCK
    chosen: Array = (block % 4 == 2) & (np.arange(length) < length - BLOCK)
    return chosen


@torch.no_grad()
def _loss(decoder: Decoder, condition: Condition, labels: Labels) -> float:
    return float(decoder.loss(decoder(labels.state, condition), labels))


def _strange(parent: MetaPolicy, episode: Episode, name: str) -> list[str]:
    """What was observed that no training task had."""
    outside = parent.familiar.outside(states(episode, parent.contract))
    fields = [
        field for spec in parent.contract.observation_specs.values() for field in spec.fields
    ]
    worst = int(outside.argmax())
    if outside[worst] <= OUTSIDE:
        return []
    return [
        f'{name}: far from the family: {fields[worst]} leaves the range of the training tasks '
        f'by {outside[worst]:.0%} of it'
    ]


def _name(episode: Episode, index: int) -> str:
    path = _path(episode)
    return Path(path).name if path else f'demonstration {index}'


def _path(episode: Episode) -> str:
    """Where it lies on disk; empty where it does not."""
    path = episode.metadata.get('path', '')
    return str(Path(path).resolve()) if path else ''
