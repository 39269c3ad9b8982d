"""The success rate of a policy in the simulator, in-process and over many seeds in parallel."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
import math
from multiprocessing import get_context
import os
from pathlib import Path
from typing import Any

from imitation_ros.frames.contract import load_contract
from imitation_ros.policies.checkpoint import load_checkpoint
from imitation_ros.policies.policy import use_one_thread
from imitation_ros.sim.env import ArmEnv
from imitation_ros.sim.family_expert import find_expert
from imitation_ros.sim.rollout import roll_out
from imitation_ros.types import Action, Frame

EXPERT = 'expert'
"""As the source of actions: the task's scripted expert."""
EPISODES_A_JOB = 10
"""Fewer, and starting the simulator takes longer than the episodes."""


@dataclass(frozen=True)
class Evaluation:
    """Success over seeds.

    Attributes:
        seeds: of the scenes.
        successes: seed by seed.
        ticks: length of each episode.
    """

    seeds: tuple[int, ...]
    successes: tuple[bool, ...]
    ticks: tuple[int, ...]

    @property
    def success(self) -> float:
        """Share of successes, 0..1."""
        return sum(self.successes) / max(1, len(self.successes))

    @property
    def interval(self) -> tuple[float, float]:
        """95 % confidence interval of the success rate."""
        return wilson_interval(sum(self.successes), len(self.successes))

    def to_document(self) -> dict[str, Any]:
        """For JSON."""
        return {
            'success': self.success,
            'interval': list(self.interval),
            'episodes': len(self.seeds),
            'failed_seeds': [s for s, ok in zip(self.seeds, self.successes) if not ok],
        }


def wilson_interval(successes: int, trials: int, z: float = 1.96) -> tuple[float, float]:
    """Interval of a binomial proportion (Wilson 1927, eq. 8), good near 0 and 1 too."""
    if trials == 0:
        return 0.0, 1.0
    rate = successes / trials
    centre = (rate + z * z / (2 * trials)) / (1 + z * z / trials)
    spread = math.sqrt(rate * (1 - rate) / trials + z * z / (4 * trials * trials))
    half = z * spread / (1 + z * z / trials)
    return max(0.0, centre - half), min(1.0, centre + half)


def evaluate(
    task: str,
    contract: str,
    source: str | Path,
    seeds: Sequence[int],
    workers: int | None = None,
    progress: Callable[[int], None] = lambda done: None,
) -> Evaluation:
    """Rolls a policy out once for each seed.

    Args:
        task: 'reach', 'push' or 'pick_place', or FAMILY/SEED.
        contract: name or path.
        source: a checkpoint's folder, or `EXPERT`.
        seeds: of the scenes; the same seed is the same scene over topics.
        workers: processes; by default one a core.
        progress: called with the number of episodes that are done.

    Raises:
        ImitationError: the contract, task or checkpoint cannot be used.
    """
    environment, *_ = _actor(task, contract, str(source))  # refuses before any process starts
    environment.close()
    rows: list[tuple[bool, int]] = []
    for chunk in _chunks(task, contract, str(source), seeds, workers or os.cpu_count() or 1):
        rows += chunk
        progress(len(rows))
    return Evaluation(
        tuple(seeds), tuple(success for success, _ in rows), tuple(ticks for _, ticks in rows)
    )


def _chunks(
    task: str, contract: str, source: str, seeds: Sequence[int], workers: int
) -> Iterator[list[tuple[bool, int]]]:
    jobs = [
        (task, contract, source, tuple(seeds[start : start + EPISODES_A_JOB]))
        for start in range(0, len(seeds), EPISODES_A_JOB)
    ]
    if workers == 1 or len(jobs) == 1:
        yield from map(_run_job, jobs)
        return
    with ProcessPoolExecutor(workers, mp_context=get_context('spawn')) as pool:
        yield from pool.map(_run_job, jobs)


def _run_job(job: tuple[str, str, str, tuple[int, ...]]) -> list[tuple[bool, int]]:
    task, contract, source, seeds = job
    environment, act, reset = _actor(task, contract, source)
    rows = []
    for seed in seeds:
        reset()
        rollout = roll_out(environment, act, seed)
        rows.append((rollout.success, rollout.ticks))
    environment.close()
    return rows


def _actor(
    task: str, contract: str, source: str
) -> tuple[ArmEnv, Callable[[Frame], Action], Callable[[], None]]:
    """Environment, policy and the policy's reset."""
    use_one_thread()
    checked = load_contract(contract)
    environment = ArmEnv(task, checked)
    if source == EXPERT:
        return environment, find_expert(task, checked), lambda: None
    policy = load_checkpoint(source, checked)
    return environment, policy.act, policy.reset
