"""DAgger's rounds from what a recorder wrote, on a robot whose people decide when episodes happen.

The folder of the run is that of `rounds`; beside it, each round keeps `recordings.json`: which
episodes of the data set it took, and why it could not take others.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from multiprocessing.connection import Connection
from pathlib import Path
import time

from imitation_ros.episodes.align import DRIVING, load_episode
from imitation_ros.episodes.reader import EpisodeReader
from imitation_ros.episodes.relabel import relabel
from imitation_ros.episodes.rosbag2 import METADATA
from imitation_ros.episodes.writer import RECORDING
from imitation_ros.errors import EpisodeError
from imitation_ros.frames.contract import Contract
from imitation_ros.learning.background import answer
from imitation_ros.learning.dagger import account, DaggerConfig, make_offer, split_rounds
from imitation_ros.learning.rounds import (
    CHECKPOINT,
    FRAMES,
    PLOT,
    read_json,
    Round,
    Rounds,
    save_episodes,
    write_json,
)
from imitation_ros.report.plots import plot_rounds
from imitation_ros.types import Episode

RECORDINGS, DRIVER = 'recordings.json', 'driving.json'
DISCARDED = 'the operator discarded the episode'


@dataclass(frozen=True)
class Recording:
    """One recorded roll-out.

    Attributes:
        name: of its folder.
        episode: the labelled frames; none if the operator discarded it.
        labels: how many there are.
        success: of the roll-out.
        ticks: in which somebody drove.
        expert_ticks: in which the expert did.
        switches: how often control changed hands.
        left_out: reason → ticks that are no labels.
    """

    name: str
    episode: Episode | None
    labels: int
    success: bool
    ticks: int
    expert_ticks: int
    switches: int
    left_out: Mapping[str, int]


def read_recording(path: Path, contract: Contract) -> Recording:
    """Derives the labels of a recorded episode.

    Raises:
        EpisodeError: it is damaged, or was recorded for another contract.
    """
    reader = EpisodeReader(path)
    if reader.info.fingerprint not in ('', contract.fingerprint):
        raise EpisodeError(f'{path}: recorded for another contract')
    table = relabel(reader, contract)
    drove = [mode for mode in table.mode.tolist() if mode in DRIVING]
    discarded, labels = table.outcome == 'discarded', int(table.valid.sum())
    return Recording(
        name=path.name,
        episode=None if discarded else load_episode(reader, contract),
        labels=0 if discarded else labels,
        success=table.outcome == 'success',
        ticks=len(drove),
        expert_ticks=drove.count('expert'),
        switches=sum(before != after for before, after in pairwise(drove)),
        left_out={DISCARDED: labels} if discarded else table.left_out,
    )


class RecordedRounds:
    """The rounds of a run whose episodes a recorder writes.

    Args:
        folder: of the run alone.
        recordings: the recorder's data set.
        contract: of the robot.
        config: how each round is trained and compared.
        seed: of weights and batches.

    Raises:
        ImitationError: the folder holds another run.
    """

    def __init__(
        self,
        folder: Path,
        recordings: Path,
        contract: Contract,
        config: DaggerConfig,
        seed: int,
    ) -> None:
        self._recordings, self._contract = recordings, contract
        self._config, self._seed = config, seed
        self._rounds = Rounds(
            folder, {**config.settings(seed), 'contract': contract.fingerprint, 'recorded': True}
        )

    @property
    def done(self) -> list[Round]:
        """All whole rounds, in order."""
        return self._rounds.done

    @property
    def waiting(self) -> list[Path]:
        """Recordings that no round has seen yet, by name."""
        seen: set[str] = set()
        for done in self.done:
            note = read_json(self._rounds.round_folder(done.number) / RECORDINGS)
            seen |= {*note['taken'], *note['refused']}
        if not self._recordings.is_dir():
            return []
        return sorted(
            path
            for path in self._recordings.iterdir()
            if path.name not in seen and path.suffix != RECORDING and (path / METADATA).exists()
        )

    @property
    def driving(self) -> int | None:
        """The round whose policy drives; None while none of this run does."""
        done = self.done
        if not done:
            return None
        path = self._rounds.folder / DRIVER
        said = read_json(path) if path.exists() else {}
        if said.get('rounds') == len(done):  # said after the last round
            driving: int | None = said['driving']
            return driving
        return done[-1].driving

    def drive(self, number: int | None) -> None:
        """Says that the policy of another round drives, until the next round."""
        document = {'driving': number, 'rounds': len(self.done)}
        write_json(self._rounds.folder / DRIVER, document)

    @property
    def before(self) -> int | None:
        """The round whose policy drove before the present one."""
        driving = self.driving
        drove = {done.driving for done in self.done}
        return max((each for each in drove if driving and each < driving), default=None)

    def checkpoint(self, number: int) -> Path:
        """The policy of a round."""
        return self._rounds.checkpoint(number)

    def run_round(self) -> Round:
        """Takes the recordings that wait, trains on the frames of all rounds, and compares.

        Raises:
            ImitationError: there are no labels to learn from, or what `train_bc` raises.
        """
        began, done = time.monotonic(), self.done
        number, driving = len(done), self.driving
        partial = self._rounds.partial(number)
        taken, refused = self._read_waiting()
        newest = [each.episode for each in taken if each.episode is not None]
        save_episodes(partial / FRAMES, newest)
        note = {'taken': [each.name for each in taken], 'refused': refused}
        write_json(partial / RECORDINGS, note)
        rounds = [*(self._rounds.episodes(each.number) for each in done), newest]
        train, held_out = split_rounds(rounds, self._contract, self._config.held_out_every)
        driver = None if driving is None else self.checkpoint(driving)
        offer = make_offer(train, held_out, driver, self._config, self._seed, partial / CHECKPOINT)
        left_out, seconds = _left_out(taken, refused), time.monotonic() - began
        finished = account(done, taken, left_out, offer, driving, seconds)
        plot_rounds(self._rounds.folder / PLOT, [*done, finished])
        self._rounds.commit(finished)  # last: from now on the policy is offered
        return finished

    def _read_waiting(self) -> tuple[list[Recording], dict[str, str]]:
        """What can be read, and name → why not of the rest: it must not stop every round."""
        taken, refused = [], {}
        for path in self.waiting:
            try:
                taken.append(read_recording(path, self._contract))
            except EpisodeError as error:
                refused[path.name] = str(error)
        return taken, refused


def _left_out(taken: Sequence[Recording], refused: Mapping[str, str]) -> dict[str, int]:
    counts = sum((Counter(dict(each.left_out)) for each in taken), Counter())
    if refused:
        counts['a recording that cannot be read'] = len(refused)
    return dict(counts)


def train_in_background(
    pipe: Connection, folder: Path, recordings: Path, contract: Contract, config: DaggerConfig,
    seed: int,
) -> None:  # fmt: skip
    """Runs one round in a process of its own; sends the `Round`, or a text that says why not."""
    request = folder, recordings, contract, config, seed
    answer(pipe, folder, lambda: RecordedRounds(*request).run_round())
