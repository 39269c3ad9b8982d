"""A better policy after a better reward: the offline method on what a robot has recorded."""

from __future__ import annotations

from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path

from imitation_ros.errors import CheckpointError, RewardError
from imitation_ros.frames.contract import Contract
from imitation_ros.learning.background import answer
from imitation_ros.learning.offline import improve_offline, METHOD, OfflineConfig
from imitation_ros.learning.paid import by_steps
from imitation_ros.learning.reward_rounds import RewardRounds, RewardSettings
from imitation_ros.learning.rounds import numbered, VERSION
from imitation_ros.policies.checkpoint import DOCUMENT, load_checkpoint, read_record
from imitation_ros.policies.policy import use_one_thread


@dataclass(frozen=True)
class Improvement:
    """What came of one.

    Attributes:
        checkpoint: SHA-256 of the new weights.
        version: of the reward that they were trained on.
        steps: recorded, that they were trained on.
    """

    checkpoint: str
    version: int
    steps: int


def improve(rounds: RewardRounds, contract: Contract, drives: str, out: Path, updates: int,
            seed: int) -> Improvement:  # fmt: skip
    """Improves the policy that drives on the reward in use.

    Args:
        rounds: the run, with the reward and what was recorded.
        contract: of the robot.
        drives: the checkpoint that does, as the policy node says it: folder (SHA-256).
        out: where the new checkpoint gets a folder of its own, `version_<n>`: the one that drives
            may be that of before.
        updates: of the critic.
        seed: of weights and batches.

    Raises:
        ImitationError: no reward, no such checkpoint, somebody's own one in the way, or what
            `improve_offline` raises.
    """
    if (out / DOCUMENT).exists() and read_record(out).get('method') != METHOD:
        raise CheckpointError(
            f'{out}: holds a policy that was trained otherwise; valid: a folder of its own'
        )
    reward = rounds.reward
    if reward is None:
        raise RewardError('no reward was promoted yet')
    folder, _, digest = drives.rstrip(')').rpartition(' (')
    clone = load_checkpoint(folder, contract)
    if clone.checkpoint != digest:
        raise CheckpointError(
            f'{folder}: the policy that drives ({digest:.8}) is there no more; valid: its folder '
            'as it was loaded, or a restart of the policy node'
        )
    config = replace(OfflineConfig(), updates=updates)
    pay = by_steps(reward.score_steps)
    number = max(numbered(out, VERSION), default=0) + 1
    version = out / f'version_{number}'
    policy, record = improve_offline(clone, rounds.recorded, pay, config, seed, version)
    return Improvement(policy.checkpoint, reward.version, int(record['steps']))


def improve_in_background(
    pipe: Connection, folder: Path, demonstrations: Path, contract: Contract,
    settings: RewardSettings, seed: int, random: Path | None, drives: str, out: Path,
    updates: int,
) -> None:  # fmt: skip
    """Improves in a process of its own; sends the `Improvement`, or a text: why there is none."""
    use_one_thread()

    def work() -> Improvement:
        rounds = RewardRounds(folder, demonstrations, contract, settings, seed, random)
        return improve(rounds, contract, drives, out, updates, seed)

    answer(pipe, folder, work)
