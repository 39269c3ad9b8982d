"""An actor's deterministic action as a policy of this package, exactly.

A policy's perceptron is linear layers with tanh between them. That of SAC and TD3 ends in a tanh:
here it is one more hidden layer, and a last linear layer hands its outputs on, as continuous
actions and as the logits of discrete ones. PPO's ends in a linear layer, and one that began as a
clone in a clamp, which is left to whoever executes the action.
"""

from __future__ import annotations

from itertools import accumulate, chain, pairwise

from gymnasium import spaces
from imitation_ros.learning.irl.cloned import Clamp
from imitation_ros.learning.irl.layout import Layout
from imitation_ros.learning.irl.network import RewardNetwork
from imitation_ros.policies.network import Architecture, Network
from imitation_ros.policies.normalization import Normalization, Standard
from imitation_ros.policies.policy import Policy
import numpy as np
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.sac.policies import Actor as SACActor
from stable_baselines3.td3.policies import Actor as TD3Actor
import torch
from torch import nn, Tensor

AnyActor = SACActor | TD3Actor | ActorCriticPolicy
Layers = list[tuple[Tensor, Tensor]]
"""Weight (outputs, inputs) and bias of each."""


def export(actor: AnyActor, layout: Layout, scales: RewardNetwork) -> Policy:
    """The policy that does what the actor finds best.

    Args:
        actor: that `make_actor` made.
        layout: of its observations and actions.
        scales: by which it whitens observations.
    """
    contract = layout.contract
    layers = _layers(actor)
    weight, bias = layers[0]
    # Without the absorbing indicator, which is 0 on a robot.
    layers[0] = weight[:, :-1] @ scales.whitening, bias
    if isinstance(actor.action_space, spaces.Discrete):
        pass  # a logit for each class, as the policy's head has them
    elif _ends_linear(actor):
        matrix, (weight, bias) = _last(layout)[0], layers[-1]
        layers[-1] = matrix @ weight, matrix @ bias  # whoever executes it clamps it
    else:
        layers.append(_last(layout))
    hidden = tuple(len(bias) for _, bias in layers[:-1])
    architecture = Architecture(hidden=hidden)
    specs = contract.observation_specs, contract.action_specs
    normalization = Normalization(_observed(layout, scales), _acted(layout))
    network = Network(*specs, architecture, normalization)
    linears = [layer for layer in network.perceptron if isinstance(layer, nn.Linear)]
    with torch.no_grad():
        for layer, (weight, bias) in zip(linears, layers):
            layer.weight.copy_(weight)
            layer.bias.copy_(bias)
    return Policy(contract, architecture, normalization, network)


def _ends_linear(actor: AnyActor) -> bool:
    if isinstance(actor, TD3Actor):
        return isinstance(actor.mu[-1], Clamp)
    return isinstance(actor, ActorCriticPolicy)


def _layers(actor: AnyActor) -> Layers:
    if isinstance(actor, SACActor):
        modules = [*actor.latent_pi, actor.mu]
    elif isinstance(actor, TD3Actor):
        modules = list(actor.mu)
    else:
        modules = [*actor.mlp_extractor.policy_net, actor.action_net]
    linears = [module for module in modules if isinstance(module, nn.Linear)]
    return [(linear.weight.detach(), linear.bias.detach()) for linear in linears]


def _last(layout: Layout) -> tuple[Tensor, Tensor]:
    """What makes the heads' outputs of the actor's channels."""
    rows = []
    for part, spec in layout.actions.items():
        channels = torch.eye(layout.action_size)[layout.slices[part]]
        two = spec.discrete and len(channels) == 1
        rows.append(torch.cat([-channels, channels]) if two else channels)
    weight = torch.cat(rows)
    return weight, torch.zeros(len(weight))


def _observed(layout: Layout, scales: RewardNetwork) -> dict[str, Standard]:
    mean, std = (each.numpy().astype(np.float64) for each in (scales.state_mean, scales.state_std))
    specs = layout.contract.observation_specs
    ends = accumulate(spec.shape[0] for spec in specs.values())
    return {
        name: Standard(mean[start:end], std[start:end])
        for name, (start, end) in zip(specs, pairwise(chain([0], ends)))
    }


def _acted(layout: Layout) -> dict[str, Standard]:
    """Half the range is one unit, as in the layout."""
    return {
        part: Standard((spec.low + spec.high) / 2, (spec.high - spec.low) / 2)
        for part, spec in layout.actions.items()
        if spec.low is not None and spec.high is not None
    }
