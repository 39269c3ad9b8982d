"""DAgger: ask the expert about the states that the policy comes to, add them, train again.

Ross, Gordon & Bagnell, A Reduction of Imitation Learning and Structured Prediction to No-Regret
Online Learning, AISTATS 2011, algorithm 3.1. Who drives a tick, and whether the expert is asked
about it, is the choice of a gate (`supervision.gates`); how episodes come about is the business
of a collector: over topics or in process. A round is: collect, add to the frames of all rounds,
train, compare with the policy that drives, and let the better one drive.

Some of every round is held out by a fixed rule (`held_out`), and no policy is fitted to it. The
loss on it rejects broken policies only: it rises as harder states come in, while success goes up.
Where policies are rolled out (`trial`), success decides.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import pairwise
import math
from pathlib import Path
import time
from typing import Any, Protocol

from imitation_ros.episodes.training_set import TrainingSet
from imitation_ros.errors import ImitationError
from imitation_ros.frames.contract import Contract
from imitation_ros.learning.background import alone_in
from imitation_ros.learning.bc import BCConfig, train_bc
from imitation_ros.learning.held_out import held_out_loss, split_rounds
from imitation_ros.learning.rounds import (
    COLLECTED,
    EPISODES,
    FRAMES,
    load_episodes,
    read_json,
    Round,
    Rounds,
    save_episodes,
    write_json,
)
from imitation_ros.learning.safety import train_risk
from imitation_ros.policies.checkpoint import load_checkpoint, save_checkpoint
from imitation_ros.supervision.gates import GateConfig, GATES
from imitation_ros.types import Episode
import numpy as np

SEED_BLOCK = 10_000
"""Scenes of one run; a run may not use more."""
NEEDS_ENSEMBLE = ('uncertainty', 'ensemble', 'thrifty')
NEEDS_RISK = ('safe', 'thrifty')


@dataclass(frozen=True)
class Collected:
    """One roll-out.

    Attributes:
        episode: the frames that the expert annotated, with its actions as labels; frames that do
            not follow each other without a gap are in segments of their own. May be empty.
        seed: of the scene.
        success: of the roll-out, whoever drove.
        ticks: that it took.
        expert_ticks: that the expert drove.
        labels: frames that the expert annotated, those included that gave no frame.
        switches: how often control changed hands.
    """

    episode: Episode
    seed: int
    success: bool
    ticks: int
    expert_ticks: int
    labels: int
    switches: int


class Collector(Protocol):
    """Rolls policies out and asks the expert.

    Attributes:
        task: what is done, by name: a run is of one.
        contract: of the policies.
    """

    task: str
    contract: Contract

    def collect(
        self, checkpoint: Path | None, gate: GateConfig, seeds: Sequence[int], out: Path
    ) -> list[Collected]:
        """Rolls out one episode for each seed.

        Args:
            checkpoint: of the policy; None while there is none: the expert demonstrates alone.
            gate: who drives, with the number of the round in it. The gate begins anew with each
                call: what it learns online belongs to one policy.
            seeds: of the scenes.
            out: a folder for what is recorded, which need not be there yet; a collector that
                records nothing leaves it alone.
        """


@dataclass(frozen=True)
class DaggerConfig:
    """How a run goes.

    Attributes:
        gate: who drives; its `round` and `seed` are set by the run.
        training: of every round's policy.
        initial_episodes: demonstrations by the expert alone, round 0.
        episodes: of every round after it.
        rounds: after round 0.
        max_labels: no round begins once the expert has annotated so many frames; 0 is no limit.
        held_out_every: of so many episodes of a round the last is held out, and one of a round
            of fewer; of the frames of a single one such a share. 0 holds out none.
        warm_start: a policy starts from the weights of the one that drives, else from scratch.
        reject_above: a new policy is broken if its held-out loss is above this many times that
            of the policy that drives.

    Raises:
        ImitationError: a setting is out of its range, or the gate asks what no policy of these
            settings says.
    """

    gate: GateConfig = field(default_factory=lambda: GateConfig('beta', 0.0))
    training: BCConfig = field(default_factory=BCConfig)
    initial_episodes: int = 20
    episodes: int = 5
    rounds: int = 5
    max_labels: int = 0
    held_out_every: int = 10
    warm_start: bool = False
    reject_above: float = 3.0

    def __post_init__(self) -> None:
        valid = {
            'initial_episodes': (self.initial_episodes >= 1, 'at least 1'),
            'episodes': (self.episodes >= 1, 'at least 1'),
            'rounds': (self.rounds >= 0, 'at least 0'),
            'max_labels': (self.max_labels >= 0, 'at least 0'),
            'held_out_every': (self.held_out_every >= 0 and self.held_out_every != 1, '0, or 2 …'),
            'reject_above': (self.reject_above >= 1, 'at least 1'),
        }
        for name, (holds, hint) in valid.items():
            if not holds:
                raise ImitationError(f'{name}: {getattr(self, name)!r}; valid: {hint}')
        if self.initial_episodes + self.rounds * self.episodes > SEED_BLOCK:
            raise ImitationError(f'rounds: more than {SEED_BLOCK} episodes in all')
        gate = self.gate.gate
        if self.training.chunk > 1 and GATES[gate].labels_every_tick:
            raise ImitationError(
                f'gate {gate!r} asks about ticks that the policy drives, and what was right in '
                'one after the other is no plan of the expert; valid: chunk of 1, or a gate whose '
                'labels are what the expert drove'
            )
        if gate in NEEDS_ENSEMBLE and self.training.members < 2:
            raise ImitationError(f'gate {gate!r} asks an ensemble; valid: members of 2 or more')
        if gate in NEEDS_RISK and not self.held_out_every:
            raise ImitationError(
                f'gate {gate!r} learns risk from what is held out; '
                'valid: held_out_every of 2 or more'
            )

    def settings(self, seed: int) -> dict[str, Any]:
        """What finished rounds depend on, as plain data: a run may be gone on with for longer."""
        document = asdict(self)
        del document['rounds'], document['max_labels'], document['training']['save_every_s']
        return {**document, 'seed': seed}

    def seeds(self, seed: int, number: int) -> range:
        """Scenes of a round: a block of numbers for each `seed`, in turn."""
        if number == 0:
            return range(SEED_BLOCK * seed, SEED_BLOCK * seed + self.initial_episodes)
        first = SEED_BLOCK * seed + self.initial_episodes + (number - 1) * self.episodes
        return range(first, first + self.episodes)


@dataclass(frozen=True)
class DaggerResult:
    """What a run came to.

    Attributes:
        checkpoint: of the policy that drives at the end.
        rounds: all of them, round 0 first.
    """

    checkpoint: Path
    rounds: tuple[Round, ...]

    @property
    def labels(self) -> int:
        """Frames that the expert annotated, demonstrations included."""
        return self.rounds[-1].label_total

    @property
    def extra_labels(self) -> int:
        """Those after the demonstrations."""
        return self.labels - self.rounds[0].labels


Progress = Callable[[Round], None]
"""Told about each round as it becomes whole."""
Trial = Callable[[Path], float | None]
"""The share of successes of a checkpoint, in scenes that no round uses where it rolls it out; None
for one that was never rolled out."""


def dagger(
    collector: Collector,
    config: DaggerConfig,
    folder: Path,
    seed: int = 0,
    progress: Progress = lambda done: None,
    trial: Trial | None = None,
) -> DaggerResult:
    """Runs DAgger, or goes on with the run in `folder` after its last whole round.

    Args:
        collector: rolls out and asks the expert.
        config: the settings.
        folder: of the run, see `rounds`.
        seed: of scenes, gates, weights and batches. Same seed, settings and machine: same result.
        progress: told about each round.
        trial: decides by success which policy drives; without it held-out loss rejects what is
            broken.

    Raises:
        ImitationError: the folder holds another run or one that is at work, there are no labels
            to learn from, or what was learned of the demonstrations is no policy to begin with.
    """
    identity = {
        'task': collector.task,
        'contract': collector.contract.fingerprint,
        'trials': trial is not None,
    }
    rounds = Rounds(folder, {**config.settings(seed), **identity})
    with alone_in(rounds.folder):
        while not _ended(config, rounds.done):
            progress(_run_round(collector, config, rounds, seed, trial))
    done = tuple(rounds.done)
    driving = done[-1].driving
    assert driving is not None  # or there would be no round 0
    return DaggerResult(rounds.checkpoint(driving), done)


def _ended(config: DaggerConfig, done: Sequence[Round]) -> bool:
    if not done:
        return False
    spent = config.max_labels and done[-1].label_total >= config.max_labels
    return len(done) > config.rounds or bool(spent)


def _run_round(
    collector: Collector, config: DaggerConfig, rounds: Rounds, seed: int, trial: Trial | None
) -> Round:
    began = time.monotonic()
    done = rounds.done
    number, driving = len(done), done[-1].driving if done else None
    driver = None if driving is None else rounds.checkpoint(driving)
    partial = rounds.partial(number)
    gate = replace(config.gate, round=number, seed=seed)
    collected = _collect(collector, driver, gate, config.seeds(seed, number), partial)
    past = [rounds.episodes(each.number) for each in done]
    newest = [each.episode for each in collected]
    train, held_out = split_rounds([*past, newest], collector.contract, config.held_out_every)
    offer = make_offer(train, held_out, driver, config, seed, partial / 'checkpoint', trial)
    if driver is None and not offer.accepted:
        raise ImitationError(f'round {number}: nothing can drive: {offer.reason}')
    left_out = dict(sum((Counter(dict(each.left_out)) for each in newest), Counter()))
    finished = account(done, collected, left_out, offer, driving, time.monotonic() - began)
    rounds.commit(finished)
    return finished


class _RollOut(Protocol):
    """What a round counts of an episode; see `Collected`."""

    @property
    def labels(self) -> int: ...
    @property
    def success(self) -> bool: ...
    @property
    def ticks(self) -> int: ...
    @property
    def expert_ticks(self) -> int: ...
    @property
    def switches(self) -> int: ...


def account(
    done: Sequence[Round],
    roll_outs: Sequence[_RollOut],
    left_out: Mapping[str, int],
    offer: Offer,
    driving: int | None,
    seconds: float,
) -> Round:
    """The record of the round after those that are done.

    Args:
        done: all rounds before.
        roll_outs: of the round.
        left_out: reason → ticks that gave no labelled frame because of it.
        offer: the policy trained in the round.
        driving: round whose policy drives unless the new one does; None if that of none does.
        seconds: of wall time.
    """
    labels = sum(each.labels for each in roll_outs)
    return Round(
        number=len(done),
        labels=labels,
        label_total=labels + (done[-1].label_total if done else 0),
        episodes=len(roll_outs),
        successes=sum(each.success for each in roll_outs),
        ticks=sum(each.ticks for each in roll_outs),
        expert_ticks=sum(each.expert_ticks for each in roll_outs),
        switches=sum(each.switches for each in roll_outs),
        left_out=left_out,
        **asdict(offer),
        driving=len(done) if offer.accepted else driving,
        seconds=round(seconds, 3),
    )


def _collect(
    collector: Collector,
    driver: Path | None,
    gate: GateConfig,
    seeds: Sequence[int],
    partial: Path,
) -> list[Collected]:
    """The round's episodes; those of an interrupted round if they were all there."""
    note, frames = partial / COLLECTED, partial / FRAMES
    if not note.exists():
        collected = collector.collect(driver, gate, seeds, partial / EPISODES)
        save_episodes(frames, [each.episode for each in collected])
        rows = [
            {name: value for name, value in vars(each).items() if name != 'episode'}
            for each in collected
        ]
        write_json(note, {'episodes': rows})
    rows = read_json(note)['episodes']
    return [Collected(episode, **row) for episode, row in zip(load_episodes(frames), rows)]


@dataclass(frozen=True)
class Offer:
    """A new policy beside the one that drives; see `Round` for the fields."""

    driving_loss: float | None
    new_loss: float | None
    driving_success: float | None
    new_success: float | None
    accepted: bool
    reason: str


def make_offer(
    train: TrainingSet,
    held_out: TrainingSet,
    driver: Path | None,
    config: DaggerConfig,
    seed: int,
    out: Path,
    trial: Trial | None = None,
) -> Offer:
    """Trains a policy into `out` and compares it with the one that drives.

    Args:
        train: the frames of all rounds.
        held_out: the rest, for the comparison.
        driver: checkpoint of the policy that drives, None if there is none.
        config: the settings.
        seed: of weights and batches.
        out: folder of the new checkpoint.
        trial: see `dagger`.

    Raises:
        ImitationError: what `train_bc` raises.
    """
    driving = None if driver is None else load_checkpoint(driver, train.contract)
    start = driving if config.warm_start else None
    new, record = train_bc(train, config.training, seed, out, start=start)
    if config.gate.gate in NEEDS_RISK and len(held_out):
        new = new.with_risk(train_risk(new, held_out, config.gate.discrepancy, seed))
        save_checkpoint(out, new, asdict(record))
    losses = (held_out_loss(driving, held_out) if driving else None, held_out_loss(new, held_out))
    successes = (trial(driver) if trial and driver else None, trial(out) if trial else None)
    accepted, reason = judge(losses, successes, config.reject_above)
    return Offer(*losses, *successes, accepted, reason)


def judge(
    losses: Sequence[float | None], successes: Sequence[float | None], reject_above: float
) -> tuple[bool, str]:
    """Whether a new policy shall drive, and why.

    Args:
        losses: held-out, of the one that drives and of the new one.
        successes: likewise, in trials.
        reject_above: see `DaggerConfig`.
    """
    (driving, new), (won, wins) = losses, successes
    if new is not None and not math.isfinite(new):
        return False, f'its held-out loss is {new}'
    if wins is not None and won is not None:
        relation = 'no lower than' if wins >= won else 'lower than'
        return wins >= won, f'success {wins:.3g}, {relation} {won:.3g}'
    if new is not None and driving is not None and new > reject_above * driving:
        return False, f'held-out loss {new:.3g}, above {reject_above:g} times {driving:.3g}'
    if driving is None or new is None:
        return True, 'there is nothing to compare it with'
    return True, f'held-out loss {new:.3g} beside {driving:.3g}'


def gapless(tick_ns: Sequence[int], period_ns: int) -> list[int]:
    """Segment numbers of ticks: a new one after each gap."""
    gaps = [after - before > 1.5 * period_ns for before, after in pairwise(tick_ns)]
    return np.cumsum([0, *gaps]).tolist() if tick_ns else []
