"""DAgger's rounds from what a recorder wrote, on a robot whose people decide when episodes happen.

The folder of the run is that of `rounds`; beside it, each round keeps `recordings.json`: which
episodes of the data set it took, why it could not take others, what it tells them by, how the
policies did in them, and which ones a policy may know by heart.
`driving.json` says which policy was last seen driving, and which ones somebody had let another
drive instead of.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
import hashlib
from itertools import pairwise
from multiprocessing.connection import Connection
from pathlib import Path
import time
import traceback
from typing import Any, NamedTuple

from imitation_ros.episodes.align import DRIVING, load_episode
from imitation_ros.episodes.reader import EpisodeReader
from imitation_ros.episodes.relabel import relabel
from imitation_ros.episodes.rosbag2 import MAX_METADATA_BYTES, METADATA
from imitation_ros.episodes.training_set import TrainingSet
from imitation_ros.episodes.writer import RECORDING
from imitation_ros.errors import DiskError, EpisodeError, ImitationError
from imitation_ros.frames.contract import Contract
from imitation_ros.learning.background import answer
from imitation_ros.learning.dagger import account, DaggerConfig, make_offer
from imitation_ros.learning.held_out import split_rounds
from imitation_ros.learning.recorded_trials import judge_episode, RecordedTrial, success_of
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
from imitation_ros.policies.checkpoint import read_digest
from imitation_ros.report.plots import plot_rounds
from imitation_ros.types import Episode
import numpy as np

RECORDINGS, DRIVER = 'recordings.json', 'driving.json'
DISCARDED = 'the operator discarded the episode'


class Waiting(NamedTuple):
    """A recording that no round has seen.

    Attributes:
        path: its folder.
        digest: SHA-256 of its `metadata.yaml`, which it is told by: a name is used again where
            the last recordings were deleted.
    """

    path: Path
    digest: str


@dataclass(frozen=True)
class Recording:
    """One recorded roll-out.

    Attributes:
        name: of its folder.
        episode: the labelled frames; None if the operator discarded it, or nobody wanted them.
        labels: how many there are.
        success: of the roll-out.
        ticks: in which somebody drove.
        expert_ticks: in which the expert did.
        switches: how often control changed hands.
        left_out: reason → ticks that are no labels.
        trial: what it says of the policy that drove it, None for nothing.
        policies: SHA-256 of those that drove; '' for one that only proposed what to do, or does
            not say. None were there in a demonstration.
    """

    name: str
    episode: Episode | None
    labels: int
    success: bool
    ticks: int
    expert_ticks: int
    switches: int
    left_out: Mapping[str, int]
    trial: RecordedTrial | None
    policies: frozenset[str]


def read_recording(
    path: Path, contract: Contract, gate: str = 'human', *, frames: bool = True
) -> Recording:
    """Derives the labels of a recorded episode, and how the policy did in it.

    Args:
        path: its folder.
        contract: of the robot.
        gate: that chose who drives.
        frames: whether they are wanted, too; it is aligned once more for them.

    Raises:
        EpisodeError: it is damaged, or was recorded for another contract.
    """
    reader = EpisodeReader(path)
    if reader.info.fingerprint not in ('', contract.fingerprint):
        raise EpisodeError(f'{path}: recorded for another contract')
    table = relabel(reader, contract)
    drove = [mode for mode in table.mode.tolist() if mode in DRIVING]
    steered = table.checkpoint[table.mode == 'policy'].tolist()
    proposed = any(np.isfinite(each).any() for each in table.policy.values())
    expert_ticks = drove.count('expert')
    discarded, labels = table.outcome == 'discarded', int(table.valid.sum())
    return Recording(
        name=path.name,
        episode=load_episode(reader, contract) if frames and not discarded else None,
        labels=0 if discarded else labels,
        success=table.outcome == 'success',
        ticks=len(drove),
        expert_ticks=expert_ticks,
        switches=sum(before != after for before, after in pairwise(drove)),
        left_out={DISCARDED: labels} if discarded else table.left_out,
        trial=judge_episode(steered, table.outcome, expert_ticks, gate),
        policies=frozenset(steered or [''] * proposed),
    )


@dataclass(frozen=True)
class Driver:
    """A policy that drives, or could.

    Attributes:
        checkpoint: its folder.
        digest: SHA-256 of its weights.
        round: that it was trained in; None for one from outside of the run.
    """

    checkpoint: Path
    digest: str
    round: int | None = None

    def __str__(self) -> str:
        return str(self.checkpoint) if self.round is None else f'round {self.round}'


@dataclass(frozen=True)
class Before:
    """What there is before the first round.

    Attributes:
        checkpoint: of the policy that drives it; None if that is told later, or nobody knows.
        demonstrations: data set that it was trained on, which every round learns from; None if
            it lies among the recordings of the first round, or is lost.
    """

    checkpoint: Path | None = None
    demonstrations: Path | None = None


class RecordedRounds:
    """The rounds of a run whose episodes a recorder writes.

    Args:
        folder: of the run alone.
        recordings: the recorder's data set.
        contract: of the robot.
        config: how each round is trained and compared.
        seed: of weights and batches.
        before: what there is before the first round.

    Raises:
        ImitationError: the folder holds another run, one of other demonstrations, too, or `before`
            does not fit or cannot be read.
    """

    def __init__(
        self,
        folder: Path,
        recordings: Path,
        contract: Contract,
        config: DaggerConfig,
        seed: int,
        before: Before = Before(),
    ) -> None:
        self._recordings, self._contract = recordings, contract
        self._config, self._seed, self._before = config, seed, before
        if before.checkpoint and not read_digest(before.checkpoint):
            raise ImitationError(f'{before.checkpoint}: no checkpoint; valid: one of ./run train')
        if before.demonstrations and before.demonstrations.resolve() == recordings.resolve():
            raise ImitationError(
                f'{recordings}: demonstrations and recordings, which would count twice; valid: '
                'no demonstrations (a round learns from all recordings), or another folder'
            )
        identity = {'contract': contract.fingerprint, 'recorded': True}
        if before.demonstrations:  # read, but not kept: a node only watches the run
            shown = TrainingSet.from_folder(before.demonstrations, contract)
            identity['demonstrations'] = shown.hash
        self._rounds = Rounds(folder, {**config.settings(seed), **identity})
        self._digests: dict[int, str] = {}

    @property
    def done(self) -> list[Round]:
        """All whole rounds, in order."""
        return self._rounds.done

    @property
    def waiting(self) -> list[Waiting]:
        """Recordings that no round has seen yet, ordered by name."""
        seen: set[str] = set()
        for note in self._notes():
            digests = note.get('digests', {})  # a round of before tells recordings by name
            seen |= {digests.get(name, name) for name in (*note['taken'], *note['refused'])}
        if not self._recordings.is_dir():
            return []
        there = (
            Waiting(path, _digest(path))
            for path in sorted(self._recordings.iterdir())
            if path.suffix != RECORDING and (path / METADATA).exists()
        )
        return [each for each in there if seen.isdisjoint((each.path.name, each.digest))]

    @property
    def trials(self) -> list[RecordedTrial]:
        """How policies did in the recordings of all whole rounds."""
        return [RecordedTrial(*each) for note in self._notes() for each in note.get('trials', ())]

    @property
    def driver(self) -> Driver | None:
        """The policy that should drive: the last that was accepted, or was seen to drive since.

        None while none is known.
        """
        done, said = self.done, self._said()
        number = done[-1].driving if done else None
        known = said.get('rounds', len(done) + 1)
        if known <= len(done) and not any(each.accepted for each in done[known:]):
            number = said['driving']
        return self._outsider() if number is None else self._of_round(number)

    @property
    def before(self) -> Driver | None:
        """The policy that drove before the present one; None where there is none."""
        driver = self.driver
        if driver is None or driver.round is None:
            return None
        drove_then = self.done[driver.round].driven_by
        if drove_then and (found := self.find(drove_then)):
            return found
        drove = {done.driving for done in self.done if done.driving is not None}
        earlier = [number for number in drove if number < driver.round]
        return self._of_round(max(earlier)) if earlier else self._outsider()

    def find(self, digest: str, checkpoint: Path | None = None) -> Driver | None:
        """The policy with these weights, from a round or from outside; None if it is not here.

        Args:
            digest: SHA-256 of the weights.
            checkpoint: where it may lie, too.
        """
        for done in reversed(self.done):
            if self._of_round(done.number).digest == digest:
                return self._of_round(done.number)
        for path in (checkpoint, *self._outside):
            if path and read_digest(path) == digest:
                return Driver(path.resolve(), digest)
        return None

    def seen(self, driver: Driver) -> bool:
        """Whether a policy drove when it was last looked at."""
        return bool(self._said().get('digest') == driver.digest)

    @property
    def left(self) -> frozenset[str]:
        """SHA-256 of the policies that somebody let another one drive instead of."""
        return frozenset(self._said().get('left', ()))

    def drive(self, driver: Driver | None, instead_of: Driver | None = None) -> None:
        """Takes note of the policy that really drives.

        Args:
            driver: it; None if it is none that is known.
            instead_of: that drove before, if somebody chose: no success brings it back.
        """
        outside = self._said().get('outside', '')
        if driver and driver.round is None:
            outside = str(driver.checkpoint)
        digest = driver.digest if driver else ''
        left = self.left | ({instead_of.digest} if instead_of else set())
        document = {
            'driving': driver.round if driver else None,
            'outside': outside,
            'digest': digest,
            'left': sorted(left - {digest}),
            'rounds': len(self.done),
        }
        write_json(self._rounds.folder / DRIVER, document)

    def run_round(self) -> Round:
        """Takes the recordings that wait, trains on the frames of all rounds, and compares.

        Raises:
            ImitationError: there are no labels to learn from, or what `train_bc` raises.
        """
        began, done, driver = time.monotonic(), self.done, self.driver
        partial = self._rounds.partial(len(done))
        waiting = self.waiting
        taken, refused, unread = self._read(waiting)
        kept = [each for each in taken if each.episode is not None]
        newest = [each.episode for each in kept if each.episode is not None]
        save_episodes(partial / FRAMES, newest)
        known = self._known_by(driver, kept)
        trials = [each.trial for each in taken if each.trial]
        note = {
            'taken': [each.name for each in taken],
            'refused': refused,
            'digests': {path.name: digest for path, digest in waiting},
            'trials': trials,
            'known': known,
        }
        write_json(partial / RECORDINGS, note)
        trials = [*self.trials, *trials]
        rounds = [*(self._rounds.episodes(each.number) for each in done), newest]
        train, held_out = self._split(rounds, [*self._notes(), note])
        offer = make_offer(
            train, held_out, driver.checkpoint if driver else None, self._config, self._seed,
            partial / CHECKPOINT, lambda checkpoint: success_of(read_digest(checkpoint), trials),
        )  # fmt: skip
        if offer.accepted and read_digest(partial / CHECKPOINT) in self.left:
            offer = replace(
                offer, accepted=False,
                reason='the weights of a policy that somebody let another one drive instead of',
            )  # fmt: skip
        driver = self.driver  # somebody may have let another one drive meanwhile
        driving, drove = (driver.round, driver.digest) if driver else (None, '')
        left_out, seconds = _left_out(taken, [*refused, *unread]), time.monotonic() - began
        finished = account(done, kept, left_out, offer, driving, seconds)
        finished = replace(finished, driven_by=drove)
        # From now on the policy is offered.
        self._rounds.commit(finished, (FRAMES, CHECKPOINT, RECORDINGS))
        try:
            plot_rounds(self._rounds.folder / PLOT, [*done, finished])
        except Exception:  # a picture, beside what was learned
            traceback.print_exc()
        return finished

    def _read(
        self, waiting: Sequence[Waiting]
    ) -> tuple[list[Recording], dict[str, str], dict[str, str]]:
        """What can be read, and name → why not of the rest: it must not stop every round.

        What is damaged is never asked for again. What the disk did not give, or we failed at,
        waits for the next round: it may have taken a person's time.
        """
        taken, refused, unread = [], {}, {}
        for path, _ in waiting:
            try:
                taken.append(read_recording(path, self._contract, self._config.gate.gate))
            except DiskError as error:
                unread[path.name] = str(error)
            except EpisodeError as error:
                refused[path.name] = str(error)
            except Exception as error:
                unread[path.name] = f'{path}: {type(error).__name__}: {error}'
        if unread and not taken and not refused:
            raise EpisodeError(f'no recording can be read: {next(iter(unread.values()))}')
        return taken, refused, unread

    def _known_by(self, driver: Driver | None, kept: Sequence[Recording]) -> list[int]:
        """Which recordings a policy may know by heart: it could not be compared on them.

        One from outside was trained on demonstrations, which may lie among the recordings unless
        it is said where they are. Where it was there itself is none of them.
        """
        if driver is None or driver.round is not None or self._before.demonstrations:
            return []
        since = (driver.digest, '')
        return [index for index, each in enumerate(kept) if each.policies.isdisjoint(since)]

    def _split(
        self, rounds: Sequence[Sequence[Episode]], notes: Sequence[Mapping[str, Any]]
    ) -> tuple[TrainingSet, TrainingSet]:
        """What policies are fitted to, and what they are compared on."""
        fit, compared = self._demonstrations(), []
        for episodes, note in zip(rounds, notes):
            known = note.get('known', ())  # a round of before tells none
            fit += [episode for index, episode in enumerate(episodes) if index in known]
            compared.append([each for index, each in enumerate(episodes) if index not in known])
        return split_rounds(compared, self._contract, self._config.held_out_every, fit)

    def _demonstrations(self) -> list[Episode]:
        folder = self._before.demonstrations
        return list(TrainingSet.from_folder(folder, self._contract)) if folder else []

    def _notes(self) -> list[dict[str, Any]]:
        folders = [self._rounds.round_folder(done.number) for done in self.done]
        return [read_json(folder / RECORDINGS) for folder in folders]

    def _said(self) -> dict[str, Any]:
        path = self._rounds.folder / DRIVER
        return read_json(path) if path.exists() else {}

    def _of_round(self, number: int) -> Driver:
        checkpoint = self._rounds.checkpoint(number)
        if number not in self._digests:  # a whole round does not change
            self._digests[number] = read_digest(checkpoint)
        return Driver(checkpoint, self._digests[number], number)

    @property
    def _outside(self) -> list[Path]:
        """Where policies from outside of the run lie: the last that drove, and the first."""
        said = self._said().get('outside', '')
        return [path for path in (Path(said) if said else None, self._before.checkpoint) if path]

    def _outsider(self) -> Driver | None:
        """The policy from outside that drove last."""
        found = ((path, read_digest(path)) for path in self._outside)
        return next((Driver(path, digest) for path, digest in found if digest), None)


def _digest(recording: Path) -> str:
    try:
        with open(recording / METADATA, 'rb') as file:
            return hashlib.sha256(file.read(MAX_METADATA_BYTES)).hexdigest()
    except OSError:  # whoever reads the recording says so
        return ''


def _left_out(taken: Sequence[Recording], refused: Sequence[str]) -> dict[str, int]:
    counts = sum((Counter(dict(each.left_out)) for each in taken), Counter())
    if refused:
        counts['a recording that cannot be read'] = len(refused)
    return dict(counts)


def train_in_background(
    pipe: Connection, folder: Path, recordings: Path, contract: Contract, config: DaggerConfig,
    seed: int, before: Before,
) -> None:  # fmt: skip
    """Runs one round in a process of its own; sends the `Round`, or a text that says why not."""
    request = folder, recordings, contract, config, seed, before
    answer(pipe, folder, lambda: RecordedRounds(*request).run_round())
