"""The safety classifier: learns where a policy acts unlike the expert.

SafeDAgger: Zhang & Cho, Query-Efficient Imitation Learning for End-to-End Simulated Driving, AAAI
2017, §3.1, equation 1. It is fitted to frames that the policy was not trained on, since on its
own frames the policy is always right.
"""

from __future__ import annotations

from imitation_ros.episodes.training_set import TrainingSet
from imitation_ros.errors import EpisodeError
from imitation_ros.frames.actions import action_distance
from imitation_ros.learning.windows import Windows
from imitation_ros.policies.policy import Policy
from imitation_ros.policies.risk import Risk
from imitation_ros.types import Episode, Frame
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

STEPS, LEARNING_RATE, WEIGHT_DECAY = 300, 3e-3, 0.3


def distances(policy: Policy, episode: Episode) -> list[float]:
    """How far from the label the policy acts, frame by frame of an episode."""
    specs = policy.contract.action_specs
    policy.reset()
    errors = []
    for index, tick_ns in enumerate(episode.tick_ns.tolist()):
        observation = {name: each[index] for name, each in episode.observations.items()}
        label = {part: each[index] for part, each in episode.actions.items()}
        errors.append(action_distance(policy.act(Frame(tick_ns, observation)), label, specs))
    policy.reset()
    return errors


def train_risk(policy: Policy, unseen: TrainingSet, threshold: float, seed: int = 0) -> Risk:
    """Fits a classifier of `action_distance` above a threshold.

    Args:
        policy: whose errors it predicts.
        unseen: frames that the policy was not trained on.
        threshold: from which distance on the policy counts as wrong.
        seed: of the weights; same seed, same classifier.

    Raises:
        EpisodeError: there are no frames.
    """
    episodes = list(unseen)
    if not episodes:
        raise EpisodeError('no frames to learn risk from; valid: held-out episodes')
    errors = [error for episode in episodes for error in distances(policy, episode)]
    wrong = torch.from_numpy((np.array(errors) > threshold).astype(np.float32))
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        risk = Risk(policy.network.features, threshold)
        _fit(risk, _features(policy, episodes), wrong)
    return risk


def _features(policy: Policy, episodes: list[Episode]) -> Tensor:
    """What the policy's perceptron sees of each frame (T, features)."""
    contract = policy.contract
    specs = contract.observation_specs, contract.action_specs
    windows = Windows(episodes, *specs, policy.normalization, policy.architecture)
    with torch.no_grad():
        batches = windows.batches(torch.arange(len(windows)), 4096)
        return torch.cat([policy.network.encode(batch.inputs) for batch in batches])


def _fit(risk: Risk, features: Tensor, wrong: Tensor) -> None:
    """Maximum likelihood; weight decay keeps it smooth between few frames."""
    optimizer = torch.optim.AdamW(risk.parameters(), LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    for _ in range(STEPS):
        loss = functional.binary_cross_entropy_with_logits(risk(features), wrong)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
