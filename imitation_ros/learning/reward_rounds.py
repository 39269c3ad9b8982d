"""A reward that is trained in rounds against a robot's roll-outs, while the robot goes on.

    run.json        settings
    rollouts/       one safetensors file an episode of the policy, by number; the newest alone
    round_0007/     the last whole round, and the one whose reward is in use
        round.json          what came of it, and how reward and actor do
        state.safetensors   all that the next round goes on from, if it was promoted
        reward/             the frozen reward, if it was promoted
    trouble.json    why a round after the last whole one failed
    offered.json    what a node offered last of the policies that the reward made better

A round is made as `round_0007.partial` and renamed when it is whole, so that a run that was killed
goes on after the last whole round. A reward is promoted only if it holds up; training goes on from
the last one that was.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
import math
from multiprocessing.connection import Connection
from pathlib import Path
import re
import shutil

from imitation_ros.episodes.training_set import TrainingSet
from imitation_ros.errors import EpisodeError, ImitationError, RewardError
from imitation_ros.frames.contract import Contract
from imitation_ros.learning.background import answer
from imitation_ros.learning.irl.network import RewardConfig
from imitation_ros.learning.irl.reward import load_reward, Reward
from imitation_ros.learning.irl.trainer import RewardHealth, RewardTrainer
from imitation_ros.learning.irl.transitions import Transitions, transitions
from imitation_ros.learning.rounds import (
    claim_folder,
    FRAMES_SUFFIX,
    load_frames,
    numbered,
    PARTIAL,
    read_json,
    ROUND,
    save_frames,
    write_json,
)
from imitation_ros.policies.policy import use_one_thread
from imitation_ros.types import Episode

ROLLOUTS, STATE, REWARD, TROUBLE = 'rollouts', 'state.safetensors', 'reward', 'trouble.json'
LABEL = 'executed'
"""What the robot did in the demonstrations, too: what a teleoperator asked for has not passed the
guard, and a reward would learn to tell the two apart by that."""
ACTED = ('success', 'failure', 'unknown')
"""Outcomes of random behaviour, which seldom succeeds."""


@dataclass(frozen=True)
class RewardSettings:
    """How rounds are trained and judged.

    Attributes:
        reward: what the reward looks at, and how it is trained.
        updates: of the discriminator in a round.
        tolerance: by which the held-out AUC may fall.
        kept: roll-outs on disk.
    """

    reward: RewardConfig = field(default_factory=RewardConfig)
    updates: int = 500
    tolerance: float = 0.05
    kept: int = 100


@dataclass(frozen=True)
class RewardRound:
    """What came of one round.

    Attributes:
        number: from 1.
        promoted: whether its reward is in use from now on.
        reason: why not.
        in_use: number of the round whose reward is in use; 0 for none.
        version: of that reward.
        rollouts: number of the newest roll-out that it was trained against, from 0.
        refused: number of a roll-out → why it was not trained against.
        health: of the reward that was trained, promoted or not.
    """

    number: int
    promoted: bool
    reason: str
    in_use: int
    version: int
    rollouts: int
    refused: Mapping[str, str]
    health: RewardHealth


class RewardRounds:
    """The folder of one run."""

    def __init__(
        self,
        folder: Path,
        demonstrations: Path,
        contract: Contract,
        settings: RewardSettings,
        seed: int,
        random: Path | None = None,
    ) -> None:
        """Opens the run, or begins it.

        Args:
            folder: of the run alone.
            demonstrations: a data set, or one episode.
            contract: of the robot.
            settings: of the rounds.
            seed: of weights and batches.
            random: a data set of random behaviour, which scores 0; None: what stands for it is
                made of the demonstrations.

        Raises:
            ImitationError: the demonstrations are too few, damaged, or of another contract; the
                folder holds another run.
        """
        self.folder, self._contract = folder, contract
        self._settings, self._seed = settings, seed
        label = LABEL if settings.reward.needs_actions else 'none'
        self._shown = TrainingSet.from_folder(demonstrations, contract, label=label)
        self._expert = transitions(self._shown, contract)
        self._random: Transitions | None = None
        if random is not None:
            acted = TrainingSet.from_folder(random, contract, outcomes=ACTED, label=label)
            self._random = transitions(acted, contract)
        identity = {
            'contract': contract.fingerprint,
            'demonstrations': self._trainer().demonstrations.sha256,
            'reward': asdict(settings.reward),
            'seed': seed,
        }
        if self._random is not None:
            identity['random'] = self._random.sha256
        claim_folder(folder, identity, 'run of a reward')

    @property
    def last(self) -> RewardRound | None:
        """The last whole round."""
        document = None
        while document is None:
            numbers = self._numbers()
            if not numbers:
                return None
            path = self._round_folder(numbers[-1]) / ROUND
            try:
                document = read_json(path)
            except ImitationError:  # a training may have committed the next one meanwhile
                if self._numbers() == numbers:
                    raise
        try:
            health = document.pop('health')
            interval = tuple(health.pop('auc_interval'))
            return RewardRound(health=RewardHealth(auc_interval=interval, **health), **document)
        except (KeyError, TypeError) as error:
            raise ImitationError(f'{path}: {error}; valid: a file that a run wrote') from None

    @property
    def reward(self) -> Reward | None:
        """The reward in use."""
        last = self.last
        if last is None or not last.in_use:
            return None
        return load_reward(self._round_folder(last.in_use) / REWARD, self._contract)

    @property
    def trouble(self) -> str:
        """Why the reward in use is stale: what stopped the last round; '' if nothing did."""
        last, path = self.last, self.folder / TROUBLE
        said = read_json(path) if path.exists() else {}
        if said.get('after') == (last.number if last else 0):
            return str(said['reason'])
        return last.reason if last and not last.promoted else ''

    def fail(self, reason: str) -> None:
        """Says that the round after the last whole one failed."""
        last = self.last
        document = {'after': last.number if last else 0, 'reason': reason}
        write_json(self.folder / TROUBLE, document)

    # Roll-outs.

    @property
    def seen(self) -> int:
        """How many roll-outs there have been."""
        last, kept = self.last, self._rollouts()
        return max(max(kept, default=-1), last.rollouts if last else -1) + 1

    def add(self, episodes: Sequence[Episode]) -> None:
        """Keeps what the policy did."""
        first = self.seen
        (self.folder / ROLLOUTS).mkdir(exist_ok=True)
        for number, episode in enumerate(episodes, first):
            save_frames(self._rollout(number), episode)

    def forget(self) -> None:
        """Removes the oldest roll-outs beyond those kept; never while a round is at work."""
        for number in self._rollouts()[: -self._settings.kept]:
            self._rollout(number).unlink()

    @property
    def recorded(self) -> TrainingSet:
        """What can be cloned: demonstrations, if their actions are known, and roll-outs."""
        usable = []
        for number in self._rollouts():
            with suppress(EpisodeError, RewardError):
                episode = load_frames(self._rollout(number))
                transitions([episode], self._contract)
                usable.append(episode)
        rollouts = TrainingSet.from_episodes(usable, self._contract)
        return self._shown.joined(rollouts) if self._settings.reward.needs_actions else rollouts

    # Rounds.

    def run_round(self) -> RewardRound:
        """Goes on from the reward in use, against what the policy did since.

        Raises:
            ImitationError: there is nothing to train against, training diverges, or the disk
                refuses: the reward in use stays.
        """
        trainer, last = self._trainer(), self.last
        in_use = last.in_use if last else 0
        if in_use:
            trainer.load(self._round_folder(in_use) / STATE)
        newest, refused = self._add_rollouts(trainer, in_use)
        before = trainer.health() if in_use else None
        health = trainer.train(self._settings.updates)
        reason = objection(before, health, self._settings.tolerance)
        number = last.number + 1 if last else 1
        if reason:
            version = last.version if last else 0
            done = RewardRound(number, False, reason, in_use, version, newest, refused, health)
        else:
            version = trainer.version
            done = RewardRound(number, True, '', number, version, newest, refused, health)
        self._commit(done, trainer)
        return done

    def _add_rollouts(self, trainer: RewardTrainer, in_use: int) -> tuple[int, dict[str, str]]:
        """Hands on what is new; one that cannot be used must not stop every round."""
        known = -1
        if in_use:
            known = int(read_json(self._round_folder(in_use) / ROUND)['rollouts'])
        numbers, refused = self._rollouts(), {}
        for number in numbers:
            if number <= known:
                continue
            try:
                episode = load_frames(self._rollout(number))
                trainer.add(transitions([episode], self._contract, number))
            except (EpisodeError, RewardError) as error:
                refused[str(number)] = str(error)
        if refused and len(refused) == sum(number > known for number in numbers):
            raise RewardError(
                f'{len(refused)} roll-outs, none to train against: {next(iter(refused.values()))}'
            )
        return max([*numbers, known]), refused

    def _commit(self, done: RewardRound, trainer: RewardTrainer) -> None:
        partial = self._round_folder(done.number).with_suffix(PARTIAL)
        try:
            for interrupted in self.folder.glob(f'round_*{PARTIAL}'):
                shutil.rmtree(interrupted)
            partial.mkdir()
            if done.promoted:
                trainer.save(partial / STATE)
                record = {'health': asdict(done.health), 'rollouts': done.rollouts}
                trainer.reward().save(partial / REWARD, record)
            write_json(partial / ROUND, asdict(done))
            partial.rename(self._round_folder(done.number))
            for number in set(self._numbers()) - {done.number, done.in_use}:
                shutil.rmtree(self._round_folder(number))
        except OSError as error:
            raise ImitationError(f'{partial}: not committed: {error.strerror}') from None

    def _trainer(self) -> RewardTrainer:
        reward = self._settings.reward
        trainer = RewardTrainer(self._expert, self._contract, reward, self._seed)
        if self._random is not None:
            trainer.set_random(self._random)
        return trainer

    def _numbers(self) -> list[int]:
        return numbered(self.folder, r'round_(\d+)')

    def _round_folder(self, number: int) -> Path:
        return self.folder / f'round_{number:04d}'

    def _rollouts(self) -> list[int]:
        return numbered(self.folder / ROLLOUTS, rf'(\d+){re.escape(FRAMES_SUFFIX)}')

    def _rollout(self, number: int) -> Path:
        return self.folder / ROLLOUTS / f'{number:06d}{FRAMES_SUFFIX}'


def objection(before: RewardHealth | None, after: RewardHealth, tolerance: float) -> str:
    """Why a reward is not promoted; '' if it is.

    Args:
        before: how the reward in use does on the same held-out episodes; None if none is.
        after: how the new one does.
        tolerance: by which its AUC may be lower.
    """
    if not all(math.isfinite(number) for number in (after.expert, after.actor, after.auc)):
        return f'the new reward is not finite: expert {after.expert}, actor {after.actor}'
    if not after.above_random:
        return (
            'the new reward scores random behaviour as high as the expert, or higher; valid: '
            'random behaviour that is worse (the parameter random; without it, some is made up)'
        )
    hint = ', converged: its AUC cannot be told from 0.5' if after.converged else ''
    if after.separation <= 0:
        return f'the new reward sees no difference: separation {after.separation:.3g}{hint}'
    if before is not None and after.auc < before.auc - tolerance:
        return f'the new reward is worse: AUC {after.auc:.3g}, {before.auc:.3g} in use{hint}'
    return ''


def train_reward_in_background(
    pipe: Connection, folder: Path, demonstrations: Path, contract: Contract,
    settings: RewardSettings, seed: int, random: Path | None = None,
) -> None:  # fmt: skip
    """Runs a round in a process of its own; sends the `RewardRound`, or a text: why not."""
    use_one_thread()
    request = folder, demonstrations, contract, settings, seed, random
    answer(pipe, folder, lambda: RewardRounds(*request).run_round())
