"""DAgger of `imitation`, in that package's own environment, for the DAgger figures.

Argument (JSON): an `imitation_peer.PeerSetting`, the task, training seed, scenes and target.
Prints the row (JSON): labels and score after every round.
"""

from __future__ import annotations

from collections.abc import Callable
import functools
import itertools
import json
from pathlib import Path
import sys
import tempfile
from typing import Any

from imitation.algorithms.bc import BC
from imitation.algorithms.dagger import (
    BetaSchedule,
    DAggerTrainer,
    ExponentialBetaSchedule,
    LinearBetaSchedule,
)
from imitation.data.rollout import generate_trajectories, make_min_episodes
from imitation.policies.base import NormalizeFeaturesExtractor
from imitation.util.logger import configure
from imitation.util.networks import RunningNorm
from imitation_ros.types import Action, Frame
import numpy as np
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.torch_layers import FlattenExtractor
from stable_baselines3.common.vec_env import DummyVecEnv
import torch

from bench.peers.driven import Driven, scorer

SEED_BLOCK = 10_000
"""Scenes of one training seed, as of our own runs."""


def run(asked: dict[str, Any]) -> dict[str, Any]:
    """Rounds until the target is met twice running, or the labels or rounds are spent."""
    setting, seed = asked['setting'], asked['seed']
    torch.manual_seed(seed)
    task = Driven(asked['task'], itertools.count(SEED_BLOCK * seed), setting['demonstrated_ticks'])
    score = scorer(asked['task'], range(asked['first_scene'], asked['last_scene']))
    rounds: list[dict[str, Any]] = []
    labels = 0
    with tempfile.TemporaryDirectory(prefix='imitation_ros_') as folder:
        trainer = _trainer(task, setting, seed, Path(folder))
        act = _driver(trainer, task)
        while len(rounds) <= setting['rounds'] and labels < setting['max_labels']:
            first = not rounds
            task.ticks = setting['demonstrated_ticks' if first else 'ticks']
            collector = trainer.create_trajectory_collector()
            episodes = setting['initial_episodes' if first else 'episodes']
            trajectories = generate_trajectories(
                task.ask, collector, make_min_episodes(episodes), rng=collector.rng
            )
            labels += sum(map(len, trajectories))
            trainer.extend_and_update({
                'n_batches': setting['batches'], 'log_rollouts_venv': None,
                'progress_bar': False, 'log_interval': 10**9,
            })  # fmt: skip
            done = asked['target'] or len(rounds) == setting['rounds']
            rounds.append({'labels': labels, 'score': round(score(act), 4) if done else None})
            print(rounds[-1], file=sys.stderr, flush=True)
            if asked['target'] and _twice_good(rounds, asked['target']):
                break
    reached = bool(asked['target']) and _twice_good(rounds, asked['target'])
    return {
        'task': asked['task'], 'seed': seed, 'reached': reached,
        'labels': rounds[-2 if reached else -1]['labels'], 'rounds': rounds,
    }  # fmt: skip


def _twice_good(rounds: list[dict[str, Any]], target: float) -> bool:
    return len(rounds) > 1 and all(each['score'] >= target for each in rounds[-2:])


def _trainer(task: Driven, setting: dict[str, Any], seed: int, folder: Path) -> DAggerTrainer:
    rng = np.random.default_rng(seed)
    venv = DummyVecEnv([lambda: task])
    venv.seed(seed)
    extractor: dict[str, Any] = {'features_extractor_class': FlattenExtractor}
    if setting['normalize']:
        extractor = {
            'features_extractor_class': NormalizeFeaturesExtractor,
            'features_extractor_kwargs': {'normalize_class': RunningNorm},
        }
    policy = ActorCriticPolicy(
        venv.observation_space, venv.action_space, lambda progress: 1.0,
        net_arch={'pi': setting['hidden'], 'vf': []}, log_std_init=setting['log_std_init'],
        **extractor,
    )  # fmt: skip
    logger = configure(folder / 'log', format_strs=[])
    learner = BC(
        observation_space=venv.observation_space, action_space=venv.action_space, rng=rng,
        policy=policy, batch_size=setting['batch_size'], ent_weight=setting['ent_weight'],
        l2_weight=setting['l2_weight'], device='cpu', custom_logger=logger,
        optimizer_cls=functools.partial(
            torch.optim.AdamW, weight_decay=setting['weight_decay']
        ),
        optimizer_kwargs={'lr': setting['learning_rate']},
    )  # fmt: skip
    return DAggerTrainer(
        venv=venv, scratch_dir=folder, rng=rng, bc_trainer=learner, custom_logger=logger,
        beta_schedule=_schedule(setting['beta']),
    )  # fmt: skip


def _schedule(beta: list[Any]) -> BetaSchedule | Callable[[int], float]:
    name, number = beta
    if name == 'linear':
        return LinearBetaSchedule(int(number))
    if name == 'exponential':
        return ExponentialBetaSchedule(number)
    return lambda round_number: number if round_number else 1.0


def _driver(trainer: DAggerTrainer, task: Driven) -> Callable[[Frame], Action]:
    """The policy without noise."""

    def act(frame: Frame) -> Action:
        state = frame.observation['state'].astype(np.float32)
        return task.vectors.unpack(trainer.policy.predict(state, deterministic=True)[0])

    return act


if __name__ == '__main__':
    torch.set_num_threads(1)
    print(json.dumps(run(json.loads(sys.argv[1]))))
