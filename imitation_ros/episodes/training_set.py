"""Many episodes as one training set: selected by outcome, aligned once, read when needed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path

from imitation_ros.episodes.align import load_episode
from imitation_ros.episodes.cache import (
    CachedEpisode,
    episode_hash,
    EpisodeCache,
    hash_text,
    NoFrames,
)
from imitation_ros.episodes.info import check_outcome
from imitation_ros.episodes.reader import EpisodeReader
from imitation_ros.episodes.rosbag2 import METADATA
from imitation_ros.episodes.statistics import Statistics
from imitation_ros.episodes.writer import RECORDING
from imitation_ros.errors import EpisodeError
from imitation_ros.frames.contract import Contract
from imitation_ros.types import Episode
import numpy as np

CACHE = '.training_cache'
LEARNED_FROM = ('success', 'unknown')
"""Outcomes that are learned from unless told otherwise."""

Loader = Callable[[], CachedEpisode]
Progress = Callable[[int, int], None]
"""Told how many episodes of how many are aligned."""


class TrainingSet:
    """Episodes of one contract, each loaded when it is asked for: `len(set)`, `set[0]`, `for`.

    Made by `from_folder` or `from_episodes`. What an index gives is not kept: hold on to it as
    long as it is needed. Its arrays are read-only, and memory-mapped where they are large.

    Attributes:
        contract: of all episodes.
        skipped: why episodes of the folder are not in the set → how many.
    """

    def __init__(
        self, contract: Contract, loaders: Sequence[Loader], skipped: Mapping[str, int]
    ) -> None:
        self.contract = contract
        self.skipped = skipped
        self._loaders = tuple(loaders)

    @classmethod
    def from_folder(
        cls,
        folder: str | Path,
        contract: Contract | None = None,
        limit: int | None = None,
        outcomes: Collection[str] = LEARNED_FROM,
        label: str = 'expert',
        cache: str | Path | None = None,
        progress: Progress = lambda done, total: None,
    ) -> TrainingSet:
        """The episodes in a dataset folder, by name; each is aligned now if it never was.

        Args:
            folder: with an episode in each folder below, or one episode.
            contract: what the frames hold; that of the first episode if None.
            limit: only the first so many.
            outcomes: which episodes to take.
            label: which action is the label; see `load_episode`.
            cache: where aligned episodes are kept; `.training_cache` in `folder` if None.
            progress: told after each episode.

        Raises:
            EpisodeError: there is no such episode, one is damaged, or one was recorded for
                another contract.
        """
        folder = Path(folder)
        for outcome in outcomes:
            check_outcome(outcome)
        own = folder.parent if (folder / METADATA).exists() else folder
        skipped: Counter[str] = Counter()
        loaders: list[Loader] = []
        paths = _episode_folders(folder, skipped)
        for done, path in enumerate(paths):
            if len(loaders) == limit:
                skipped[f'beyond the first {limit}'] = len(paths) - done
                break
            reader = EpisodeReader(path)
            if reader.info.outcome not in outcomes:
                skipped[f'outcome {reader.info.outcome}'] += 1
                continue
            contract = contract or _contract_of(reader)
            check_episode_contract(reader, contract)
            aligned = EpisodeCache(cache or own / CACHE, contract, label)
            align = partial(load_episode, path, contract, label)
            load = partial(aligned.get, path, reader.files, align)
            try:
                load()
                loaders.append(load)
            except NoFrames as reason:
                skipped[f'no frame ({reason})'] += 1
            progress(done + 1, len(paths))
        if not loaders or contract is None:
            reasons = ', '.join(f'{count} with {reason}' for reason, count in skipped.items())
            raise EpisodeError(f'{folder}: no episode to learn from ({reasons or "none there"})')
        return cls(contract, loaders, dict(skipped))

    @classmethod
    def from_episodes(cls, episodes: Sequence[Episode], contract: Contract) -> TrainingSet:
        """Episodes that are in memory already; those without frames are skipped."""

        def kept(episode: Episode) -> CachedEpisode:
            statistics = Statistics.of(episode, contract)
            return CachedEpisode(episode, episode_hash(episode), statistics)

        loaders = [partial(kept, episode) for episode in episodes if len(episode)]
        empty = len(episodes) - len(loaders)
        return cls(contract, loaders, {'no frame': empty} if empty else {})

    def __len__(self) -> int:
        return len(self._loaders)

    def __getitem__(self, index: int) -> Episode:
        return self._loaders[index]().episode

    def __iter__(self) -> Iterator[Episode]:
        return (load().episode for load in self._loaders)

    @cached_property
    def statistics(self) -> Statistics:
        """Of all frames."""
        return Statistics.merged(load().statistics for load in self._loaders)

    @cached_property
    def hash(self) -> str:
        """SHA-256 (hex) over the contract and the content of all episodes, in order."""
        hashes = [load().hash for load in self._loaders]
        return hash_text(' '.join([self.contract.fingerprint, *hashes]))

    @cached_property
    def left_out(self) -> Mapping[str, int]:
        """Reason → how many ticks of all episodes gave no frame because of it."""
        return dict(sum((Counter(dict(episode.left_out)) for episode in self), Counter()))

    def split(
        self, validation_fraction: float, rng: np.random.Generator
    ) -> tuple[TrainingSet, TrainingSet]:
        """Two sets, by episode: to fit to and to validate on.

        Of two episodes or more, each set gets at least one.
        """
        fitted, held_out = self.split_indices(validation_fraction, rng)
        return self.subset(fitted), self.subset(held_out)

    def split_indices(
        self, validation_fraction: float, rng: np.random.Generator
    ) -> tuple[list[int], list[int]]:
        """Which episodes `split` puts into its two sets, in ascending order."""
        held_out = round(validation_fraction * len(self))
        held_out = min(max(held_out, 1), len(self) - 1) if validation_fraction else 0
        order = rng.permutation(len(self)).tolist()
        return sorted(order[held_out:]), sorted(order[:held_out])

    def joined(self, other: TrainingSet) -> TrainingSet:
        """The episodes of this set, then those of another of the same contract."""
        skipped = Counter(self.skipped) + Counter(other.skipped)
        return TrainingSet(self.contract, (*self._loaders, *other._loaders), dict(skipped))

    def subset(self, indices: Iterable[int]) -> TrainingSet:
        """The episodes of these indices, in the order that they have here."""
        loaders = [self._loaders[index] for index in sorted(indices)]
        return TrainingSet(self.contract, loaders, self.skipped)


def _episode_folders(folder: Path, skipped: Counter[str]) -> list[Path]:
    """The episodes below a folder, or the folder itself if it is one."""
    if (folder / METADATA).exists():
        return [folder]
    if not folder.is_dir():
        raise EpisodeError(f'{folder}: no such folder')
    if unfinished := len(list(folder.glob(f'*{RECORDING}'))):
        skipped['a recording that is not finished'] = unfinished
    return sorted(
        path for path in folder.iterdir()
        if (path / METADATA).exists() and path.suffix != RECORDING
    )  # fmt: skip


def _contract_of(reader: EpisodeReader) -> Contract:
    contract = reader.contract
    if contract is None:
        raise EpisodeError(f'{reader.path}: no contract inside; give one')
    return contract


def check_episode_contract(reader: EpisodeReader, contract: Contract) -> None:
    """Makes sure that an episode was recorded for a contract.

    A foreign bag says nothing about a contract; it is read by the one that was given.

    Raises:
        EpisodeError: it was recorded for another; the message names the differences.
    """
    if reader.info.fingerprint in ('', contract.fingerprint):
        return
    differences = '; '.join(_contract_of(reader).differences(contract)[:3])
    raise EpisodeError(f'{reader.path}: recorded for another contract: {differences}')
