"""An actor that begins as a cloned policy: the way back from `export`.

The actor is stable-baselines3's: TD3's, whose last unit is a clamp instead of a tanh, or PPO's,
which ends in a linear layer; so the clone's layers fit in exactly.
"""

from __future__ import annotations

from typing import Any

from gymnasium import spaces
from imitation_ros.errors import RewardError
from imitation_ros.learning.irl.critics import RectifiedCritics
from imitation_ros.learning.irl.layout import Layout
from imitation_ros.learning.irl.network import RewardNetwork
from imitation_ros.policies.policy import Policy
from imitation_ros.types import Array
import numpy as np
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.td3.policies import Actor, TD3Policy
import torch
from torch import nn, Tensor


class Clamp(nn.Module):
    """To -1..1, of which the gradient goes on unless it leads further out.

    Hausknecht & Stone, Deep Reinforcement Learning in Parameterized Action Space, ICLR 2016, §4.1:
    a plain clamp would leave an action at its limit for ever.
    """

    def forward(self, action: Tensor) -> Tensor:
        """(…, a) → (…, a)."""
        clamped: Tensor = _Clamp.apply(action)  # type: ignore[no-untyped-call]
        return clamped


class _Clamp(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, action: Tensor) -> Tensor:
        context.save_for_backward(action)
        return action.clamp(-1.0, 1.0)

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> Tensor:
        (action,), (gradient,) = context.saved_tensors, gradients
        # A step goes against the gradient.
        further_out = ((action > 1.0) & (gradient < 0)) | ((action < -1.0) & (gradient > 0))
        return gradient.masked_fill(further_out, 0.0)


class ClonedTD3Policy(RectifiedCritics, TD3Policy):
    """Its actor ends in a clamp, as a clone does."""

    def make_actor(self, features_extractor: BaseFeaturesExtractor | None = None) -> Actor:
        """TD3's, with another last unit."""
        actor: Actor = super().make_actor(features_extractor)
        actor.mu[-1] = Clamp()
        return actor

    def set_training_mode(self, mode: bool) -> None:
        """Nothing: no layer acts otherwise in training, and to tell them all takes time."""


@torch.no_grad()
def begin_as(
    actor: Actor | ActorCriticPolicy, policy: Policy, layout: Layout, scales: RewardNetwork
) -> None:
    """Gives an actor the layers of a cloned policy.

    Args:
        actor: with as many units, of observations that `scales` whitens.
        policy: of vectors, without history, chunks, members and deviations.
        layout: of the actor's observations and actions.
        scales: what whitens.

    Raises:
        RewardError: a policy whose layers an actor cannot have.
    """
    check_clone(policy)
    weights = [
        (layer.weight.double(), layer.bias.double())
        for layer in policy.network.perceptron
        if isinstance(layer, nn.Linear)
    ]
    standards = policy.normalization.observations.values()
    mean, std = (
        torch.from_numpy(np.concatenate([getattr(each, name) for each in standards]))
        for name in ('mean', 'std')
    )
    # whitened = (state - center) @ whitening, standardized = (state - mean) / std
    center = scales.state_mean.double()
    whitening = (scales.whitening / scales.state_std[:, None]).double()
    weight, bias = weights[0]
    first = (weight / std) @ torch.linalg.inv(whitening).T
    weights[0] = nn.functional.pad(first, (0, 1)), bias + (weight / std) @ (center - mean)
    if not isinstance(actor.action_space, spaces.Discrete):  # which has a logit for each class
        outputs, offset = _flat_outputs(policy, layout)
        weight, bias = weights[-1]
        weights[-1] = outputs @ weight, outputs @ bias + offset
    modules = (
        actor.mu
        if isinstance(actor, Actor)
        else [*actor.mlp_extractor.policy_net, actor.action_net]
    )
    linears = [layer for layer in modules if isinstance(layer, nn.Linear)]
    for linear, (weight, bias) in zip(linears, weights):
        linear.weight.copy_(weight)
        linear.bias.copy_(bias)


def check_clone(policy: Policy) -> None:
    """Makes sure that an actor can begin as a policy.

    Raises:
        RewardError: it cannot, and why.
    """
    architecture = policy.architecture
    for name in ('history', 'chunk', 'members'):
        if getattr(architecture, name) != 1:
            raise RewardError(
                f'the policy has {name} {getattr(architecture, name)}; valid: 1, since an actor '
                'decides anew in each state'
            )
    if architecture.head != 'deterministic':
        raise RewardError(f'the policy has the head {architecture.head!r}; valid: deterministic')


def _flat_outputs(policy: Policy, layout: Layout) -> tuple[Tensor, Tensor]:
    """What makes flat actions (a,) of the heads' outputs: a matrix and what is added."""
    sizes = [head.outputs for head in policy.network.heads.values()]
    matrix, offset = np.zeros((layout.action_size, sum(sizes))), np.zeros(layout.action_size)
    start = 0
    for part, size in zip(policy.network.heads, sizes):
        rows, spec = range(*layout.slices[part].indices(layout.action_size)), layout.actions[part]
        columns = slice(start, start + size)
        if not spec.discrete:
            standard = policy.normalization.actions[part]
            low, high = (np.asarray(limit) for limit in (spec.low, spec.high))
            half: Array = (high - low) / 2
            matrix[rows, columns] = np.diag(standard.std / half)
            offset[rows] = (standard.mean - (low + high) / 2) / half
        elif len(rows) == 1:  # two classes on one channel: the sign of the logits' difference
            matrix[rows, columns] = [[-1.0, 1.0]]
        else:
            matrix[rows, columns] = np.eye(size)
        start += size
    return torch.from_numpy(matrix), torch.from_numpy(offset)
