"""A script in the place of the human who watches a policy and takes over where it errs."""

from __future__ import annotations

from collections.abc import Mapping

from imitation_ros.frames.actions import action_distance
from imitation_ros.types import Action, Spec


class SimulatedHuman:
    """Takes over where the policy's action is another one than its own, gives back on agreement.

    Args:
        discrepancy: `action_distance` above which it takes over.
        release: fraction of that below which it gives back.
        specs: of the contract's actions.

    Attributes:
        driving: whether it has taken over.
    """

    def __init__(self, discrepancy: float, release: float, specs: Mapping[str, Spec]) -> None:
        self._discrepancy, self._release, self._specs = discrepancy, release, specs
        self.driving = False

    def wants_control(self, policy: Action | None, own: Action) -> bool:
        """Whether it drives this tick; where the policy has no action, it does."""
        limit = self._discrepancy * (self._release if self.driving else 1.0)
        self.driving = policy is None or action_distance(policy, own, self._specs) > limit
        return self.driving
