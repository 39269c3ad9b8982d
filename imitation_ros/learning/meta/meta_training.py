"""From tasks with demonstrations to a meta policy that knows what is familiar to it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from imitation_ros.episodes.training_set import TrainingSet
from imitation_ros.errors import EpisodeError
from imitation_ros.frames.contract import Contract
from imitation_ros.learning.meta.adaptation import held_out_losses, LEAST_FRAMES
from imitation_ros.learning.meta.meta_policy import Familiar, MetaPolicy, Settings
from imitation_ros.learning.meta.slots import states
from imitation_ros.learning.meta.training import MetaConfig, Progress, Sampler, Task, train
from imitation_ros.policies.normalization import Normalization
from imitation_ros.types import Array, Episode
import numpy as np
import torch

MOST = 0.99
"""Share of the family's tasks that the usual loss covers."""


def meta_train(
    tasks: Sequence[Task],
    unseen: Sequence[Task],
    contract: Contract,
    settings: Settings,
    config: MetaConfig,
    seed: int = 0,
    progress: Progress | None = None,
) -> tuple[MetaPolicy, list[float]]:
    """Learns from tasks how to learn another one of them.

    Args:
        tasks: to learn from.
        unseen: others of the family, by which it is known how well one adapts to it.
        contract: of all episodes.
        settings: how to adapt.
        config: how to train.
        seed: of weights and batches: the same gives the same weights.
        progress: told about the loss now and then.

    Returns:
        The meta policy, and the mean loss over the training.
    """
    episodes = [each for task in tasks for each in (*task.demonstrations, *task.corrections)]
    specs = contract.observation_specs, contract.action_specs
    statistics = TrainingSet.from_episodes(episodes, contract).statistics
    normalization = Normalization.fit(statistics, *specs)
    low, high = _range(episodes, contract)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        unsure, settings = Familiar(low, high, 0.0), replace(settings, tasks=len(tasks))
        meta = MetaPolicy(contract, settings, normalization, unsure)
        curve = train(meta.learner, Sampler(tasks, meta.tensors, config), config, seed, progress)
    losses = [
        held_out_losses(meta, [shown])[1] for task in unseen for shown in task.demonstrations
    ]
    meta.familiar = Familiar(low, high, float(np.quantile(losses, MOST)))
    meta.learner.eval()
    return meta, curve


def recorded_tasks(
    folder: Path, contract: Contract | None = None
) -> tuple[list[Task], Contract, str]:
    """Tasks of a folder: each folder in it holds the recorded episodes of one.

    Returns:
        The tasks, the contract of their episodes, and SHA-256 over all of them.

    Raises:
        EpisodeError: no such folder, too few tasks or episodes in it, or a short one.
    """
    if not folder.is_dir():
        raise EpisodeError(f'{folder}: no such folder')
    tasks, hashes = [], []
    for path in sorted(each for each in folder.iterdir() if each.is_dir()):
        if path.name.startswith('.'):
            continue
        chosen = TrainingSet.from_folder(path, contract)
        contract = chosen.contract
        shortest = min(map(len, chosen))
        if len(chosen) < 2 or shortest < LEAST_FRAMES:
            raise EpisodeError(
                f'{path}: {len(chosen)} episodes, the shortest of {shortest} frames; valid: at '
                f'least 2, of at least {LEAST_FRAMES}'
            )
        tasks.append(Task(list(chosen), []))
        hashes.append(chosen.hash)
    if contract is None or len(tasks) < 3:
        raise EpisodeError(
            f'{folder}: {len(tasks)} tasks; valid: at least 3, a folder of episodes for each, '
            'of which one is held out'
        )
    return tasks, contract, ' '.join(hashes)


def _range(episodes: Sequence[Episode], contract: Contract) -> tuple[Array, Array]:
    lows = [states(episode, contract).min(0) for episode in episodes]
    highs = [states(episode, contract).max(0) for episode in episodes]
    return np.min(lows, 0), np.max(highs, 0)
