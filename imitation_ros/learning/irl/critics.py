"""Critics of stable-baselines3's off-policy algorithms, with layers other than the actor's."""

from __future__ import annotations

from typing import Any

from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from torch import nn


class RectifiedCritics:
    """For a policy's bases: critics with rectifiers, whatever the actor's units are.

    Normalized layers keep a critic from believing in actions that nobody has taken (Ball et al.,
    Efficient Online Reinforcement Learning with Offline Data, ICML 2023, §4.2).
    """

    critic_kwargs: dict[str, Any]

    def __init__(self, *args: Any, normalized: bool = False, **kwargs: Any) -> None:
        """Takes what the policy takes, and whether layers are normalized before their units."""
        self._normalized = normalized
        super().__init__(*args, **kwargs)

    def make_critic(self, features_extractor: BaseFeaturesExtractor | None = None) -> Any:
        """As the policy does, with other layers."""
        self.critic_kwargs['activation_fn'] = nn.ReLU
        critic = super().make_critic(features_extractor)  # type: ignore[misc]
        if self._normalized:
            for index, layers in enumerate(critic.q_networks):
                critic.q_networks[index] = _normalized(layers)
                critic.add_module(f'qf{index}', critic.q_networks[index])
        return critic


def _normalized(layers: nn.Module) -> nn.Sequential:
    """The same layers, normalized before each rectifier."""
    found: list[nn.Module] = []
    for layer in layers.children():
        if isinstance(layer, nn.ReLU):
            assert isinstance(found[-1], nn.Linear)
            found.append(nn.LayerNorm(found[-1].out_features))
        found.append(layer)
    return nn.Sequential(*found)
