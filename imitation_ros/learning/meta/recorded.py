"""From recorded episodes to an adapted checkpoint: what the verb and the policy node both do."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from imitation_ros.episodes.align import load_episode
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
        EpisodeError: an episode cannot be read, is of another contract or too short.
        ImitationError: the adapted policy is refused, since it is worse.
        CheckpointError: `out` holds something else, or cannot be written.
    """
    check_destination(out)
    shown = [demonstration(path, parent.contract) for path in episodes]
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
        EpisodeError: the episode cannot be read.
    """
    record = read_record(checkpoint)
    made_of = [Path(each) for each in record.get('episodes', ())]
    if not made_of or episode.resolve() in made_of:
        return [], 0
    streams = read_tracks(EpisodeReader(episode), contract).streams
    digest, said = read_digest(checkpoint), streams['policy'].statuses
    drove = (
        tick_ns in said and said[tick_ns].values.get('checkpoint') == digest
        for tick_ns, status in streams['executed'].statuses.items()
        if status.values.get('mode') == 'policy'
    )
    return (made_of, int(record['showing'])) if any(drove) else ([], 0)


def newest_episode(path: Path) -> Path:
    """The episode at `path`, or of a folder of episodes the one that was finished last.

    Raises:
        EpisodeError: there is none.
    """
    if (path / METADATA).exists():
        return path
    finished = [each for each in path.glob(f'*/{METADATA}') if each.parent.suffix != RECORDING]
    if not finished:
        raise EpisodeError(f'{path}: no episode; valid: an episode, or a folder with some')
    return max(finished, key=lambda each: each.stat().st_mtime_ns).parent
