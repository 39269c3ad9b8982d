"""From recorded episodes to an adapted checkpoint: what the verb and the policy node both do."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from imitation_ros.episodes.align import load_episode
from imitation_ros.episodes.cache import episode_hash, hash_text
from imitation_ros.episodes.reader import EpisodeReader
from imitation_ros.episodes.rosbag2 import METADATA
from imitation_ros.episodes.tracks import read_tracks
from imitation_ros.episodes.training_set import check_episode_contract
from imitation_ros.episodes.writer import RECORDING
from imitation_ros.errors import EpisodeError
from imitation_ros.frames.contract import Contract
from imitation_ros.learning.meta.adaptation import adapt, judge, save_adapted, Verdict
from imitation_ros.learning.meta.meta_policy import MetaPolicy
from imitation_ros.policies.checkpoint import check_destination, read_digest, read_record
from imitation_ros.types import Episode


def adapt_recorded(
    parent: MetaPolicy, episodes: Sequence[Path], out: Path, showing: int = 0
) -> Verdict:
    """Adapts to recorded episodes, and writes the checkpoint into `out`.

    Args:
        parent: what adapts.
        episodes: to adapt to.
        out: folder of the checkpoint.
        showing: as of `adapt`.

    Raises:
        EpisodeError: an episode cannot be read, was discarded, is of another contract or too
            short.
        ImitationError: the adapted policy is refused, since it is worse.
        CheckpointError: `out` holds something else, or cannot be written.
    """
    check_destination(out)
    shown = [demonstration(path, parent.contract) for path in episodes]
    return _adapt_shown(parent, shown, out, showing)


def adapt_below(
    parent: MetaPolicy, episodes: Sequence[Path], folder: Path, showing: int = 0
) -> tuple[Path, Verdict]:
    """The same, into a folder below `folder` for what the checkpoint is made of.

    Episodes of two datasets may have the same name, and the folder of a policy that drives must
    not be overwritten by another one, so the name has a hash, too.

    Returns:
        The folder of the checkpoint, and the verdict.
    """
    shown = [demonstration(path, parent.contract) for path in episodes]
    made_of = hash_text(' '.join([parent.checkpoint, *map(episode_hash, shown)]))
    out = folder / f'{episodes[-1].name}_{made_of[:8]}'
    check_destination(out)
    return out, _adapt_shown(parent, shown, out, showing)


def _adapt_shown(parent: MetaPolicy, shown: Sequence[Episode], out: Path, showing: int) -> Verdict:
    verdict = judge(parent, shown, showing)
    save_adapted(out, adapt(parent, shown, showing), parent, shown, verdict, showing)
    return verdict


def demonstration(path: Path, contract: Contract) -> Episode:
    """A recorded episode, of which the expert's part is learned from.

    Raises:
        EpisodeError: it cannot be read, or was recorded for another contract.
    """
    reader = EpisodeReader(path)
    check_episode_contract(reader, contract)
    return load_episode(reader, contract)


def corrected_by(episode: Path, checkpoint: Path, contract: Contract) -> tuple[list[Path], int]:
    """The episodes that an adapted checkpoint was made of, if `episode` corrects it; else none.

    It does if that checkpoint drove in it: whoever shows a new task drives alone.

    Returns:
        The episodes, and how many of them, the first, showed the task.

    Raises:
        EpisodeError: the episode cannot be read, or the checkpoint has learned from it as a
            correction: alone it would hardly say what is meant.
    """
    record = read_record(checkpoint)
    made_of = [Path(each) for each in record.get('episodes', ())]
    showing = int(record.get('showing', len(made_of)))
    if episode.resolve() in made_of[showing:]:
        raise EpisodeError(
            f'{episode}: the policy that drives has learned from this correction; valid: a newer '
            'episode, or another one by name'
        )
    if not made_of or episode.resolve() in made_of:
        return [], 0
    streams = read_tracks(EpisodeReader(episode), contract).streams
    digest, said = read_digest(checkpoint), streams['policy'].statuses
    drove = (
        tick_ns in said and said[tick_ns].values.get('checkpoint') == digest
        for tick_ns, status in streams['executed'].statuses.items()
        if status.values.get('mode') == 'policy'
    )
    return (made_of, showing) if any(drove) else ([], 0)


def newest_episode(path: Path) -> Path:
    """The episode at `path`, or of a folder of episodes the one that was finished last.

    One that its operator discarded shows nothing, so the one before it is taken.

    Raises:
        EpisodeError: there is none, or the newest cannot be read.
    """
    if (path / METADATA).exists():
        return path
    finished = [each for each in path.glob(f'*/{METADATA}') if each.parent.suffix != RECORDING]
    if not finished:
        raise EpisodeError(f'{path}: no episode; valid: an episode, or a folder with some')
    for each in sorted(finished, key=lambda each: each.stat().st_mtime_ns, reverse=True):
        if EpisodeReader(each.parent).info.outcome != 'discarded':
            return each.parent
    raise EpisodeError(f'{path}: each of its {len(finished)} episodes was discarded')
