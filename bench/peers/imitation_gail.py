"""GAIL of `imitation`, in that package's own environment, for the figures of IRL.

Argument (JSON): a `gail_peer.GailSetting`, the task, training seed and scenes. Prints the row
(JSON): score after every so many steps.
"""

from __future__ import annotations

import itertools
import json
from pathlib import Path
import sys
import tempfile
import time
from typing import Any

from imitation.algorithms.adversarial.gail import GAIL, RewardNetFromDiscriminatorLogit
from imitation.data.types import Trajectory
from imitation.policies.replay_buffer_wrapper import ReplayBufferRewardWrapper
from imitation.rewards.reward_nets import BasicRewardNet, RewardNet
from imitation.util.logger import configure
from imitation.util.networks import RunningNorm
from imitation_ros.types import Action, Array, Frame
import numpy as np
from stable_baselines3 import PPO, SAC
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.common.vec_env import DummyVecEnv
import torch
from torch import Tensor

from bench.peers.driven import Act, Driven, scorer

DEMONSTRATED_BLOCK, PRACTISED_BLOCK = 1_000, 10_000
"""Scenes of one training seed: the demonstrations' are those of our own runs."""
SMALLEST = 1e-3
"""Deviation of a state's number that hardly changes in the demonstrations."""


def run(asked: dict[str, Any]) -> dict[str, Any]:
    """Learns for all the steps, and scores every so many of them."""
    setting, seed = asked['setting'], asked['seed']
    torch.manual_seed(seed)
    np.random.seed(seed)
    first = DEMONSTRATED_BLOCK * seed
    shown = range(first, first + setting['demonstrations'])
    scenes = itertools.chain(shown, itertools.count(PRACTISED_BLOCK * seed))
    task = Driven(asked['task'], scenes, setting['ticks'], setting['fixed_horizon'])
    demonstrations = [_demonstrate(task) for _ in shown]
    score = scorer(
        asked['task'], range(asked['first_scene'], asked['last_scene']), setting['fixed_horizon']
    )
    curve: list[dict[str, Any]] = []
    busy_s, began = 0.0, time.process_time()
    with tempfile.TemporaryDirectory(prefix='imitation_ros_') as folder:
        trainer = _trainer(task, demonstrations, setting, seed, Path(folder))
        act = _driver(trainer.gen_algo, task)

        def watch(finished_round: int) -> None:
            nonlocal busy_s, began
            steps = (finished_round + 1) * setting['round_steps']
            if steps % setting['watch_every']:
                return
            busy_s += time.process_time() - began
            point = {'steps': steps, 'score': round(score(act), 4), 'cpu_s': round(busy_s, 1)}
            curve.append(point)
            print(point, file=sys.stderr, flush=True)
            began = time.process_time()

        trainer.train(setting['steps'], watch)
    return {'task': asked['task'], 'seed': seed, 'curve': curve}


def _demonstrate(task: Driven) -> Trajectory:
    """The expert's next episode."""
    states, actions = [task.reset()[0]], []
    terminated = truncated = False
    while not (terminated or truncated):
        actions.append(task.ask(states[-1][None])[0][0])
        state, _, terminated, truncated, _ = task.step(actions[-1])
        states.append(state)
    dtype = task.action_space.dtype
    return Trajectory(np.array(states), np.array(actions, dtype), None, True)


def _trainer(
    task: Driven,
    demonstrations: list[Trajectory],
    setting: dict[str, Any],
    seed: int,
    folder: Path,
) -> GAIL:
    venv = DummyVecEnv([lambda: task])
    network = BasicRewardNet(
        venv.observation_space, venv.action_space, hid_sizes=setting['reward_hidden'],
        normalize_input_layer=RunningNorm,
    )  # fmt: skip
    return GAIL(
        demonstrations=demonstrations,
        demo_batch_size=setting['reward_batch'],
        venv=venv,
        gen_algo=_actor(venv, network, demonstrations, setting, seed),
        reward_net=network,
        n_disc_updates_per_round=setting['reward_updates'],
        gen_train_timesteps=setting['round_steps'],
        gen_replay_buffer_capacity=setting['recent_steps'],
        disc_opt_kwargs={'lr': setting['reward_rate'], 'weight_decay': setting['reward_decay']},
        log_dir=folder,
        custom_logger=configure(folder / 'log', format_strs=[]),
        allow_variable_horizon=True,
    )


class Standardized(BaseFeaturesExtractor):
    """States (B, o) by the demonstrations' mean and deviation, (o,) each."""

    def __init__(self, observation_space: Any, mean: Array, deviation: Array) -> None:
        super().__init__(observation_space, len(mean))
        self.register_buffer('mean', torch.from_numpy(mean))
        self.register_buffer('deviation', torch.from_numpy(deviation))

    def forward(self, observation: Tensor) -> Tensor:
        """The same shape."""
        return (observation - self.mean) / self.deviation


def _actor(
    venv: DummyVecEnv,
    network: RewardNet,
    demonstrations: list[Trajectory],
    setting: dict[str, Any],
    seed: int,
) -> BaseAlgorithm:
    policy: dict[str, Any] = {'net_arch': setting['hidden']}
    if setting['standardized']:
        states = np.concatenate([each.obs for each in demonstrations])
        policy['features_extractor_class'] = Standardized
        policy['features_extractor_kwargs'] = {
            'mean': states.mean(0), 'deviation': states.std(0).clip(SMALLEST),
        }  # fmt: skip
    shared: dict[str, Any] = {
        'learning_rate': setting['learning_rate'], 'batch_size': setting['batch_size'],
        'gamma': setting['gamma'], 'seed': seed, 'device': 'cpu',
        'policy_kwargs': policy,
    }  # fmt: skip
    if setting['algorithm'] == 'ppo':
        return PPO(
            'MlpPolicy', venv, n_steps=setting['round_steps'], n_epochs=setting['epochs'],
            ent_coef=setting['entropy'], **shared,
        )  # fmt: skip
    paid = RewardNetFromDiscriminatorLogit(network)
    return SAC(
        'MlpPolicy', venv, tau=setting['tau'], learning_starts=setting['learning_starts'],
        gradient_steps=setting['gradient_steps'], train_freq=1, buffer_size=200_000,
        target_entropy=-setting['precision'] * sum(venv.action_space.shape),
        replay_buffer_class=ReplayBufferRewardWrapper,
        replay_buffer_kwargs={
            'replay_buffer_class': ReplayBuffer, 'reward_fn': paid.predict_processed,
        }, **shared,
    )  # fmt: skip


def _driver(algorithm: BaseAlgorithm, task: Driven) -> Act:
    """The policy without noise."""

    def act(frame: Frame) -> Action:
        state = frame.observation['state'].astype(np.float32)
        return task.vectors.unpack(algorithm.predict(state, deterministic=True)[0])

    return act


if __name__ == '__main__':
    torch.set_num_threads(1)
    print(json.dumps(run(json.loads(sys.argv[1]))))
