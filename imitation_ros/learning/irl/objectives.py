"""What a reward is trained to do: score the expert's steps above the actor's.

Each loss takes the scores of as many steps of both, (B,), and is a mean.
"""

from __future__ import annotations

from imitation_ros.learning.irl.network import RewardNetwork
import torch
from torch import Tensor
from torch.nn import functional


def logistic_loss(expert: Tensor, actor: Tensor) -> Tensor:
    """The discriminator of GAIL, whose logit is the score.

    Ho & Ermon, Generative Adversarial Imitation Learning, NIPS 2016, eq. 14, with the expert as
    the class 1. For AIRL the logit is f - log π(a|s) (Fu et al., ICLR 2018, eq. 2 and §4).
    """
    return 0.5 * (functional.softplus(-expert).mean() + functional.softplus(actor).mean())


def margin_loss(expert: Tensor, actor: Tensor, margin: float) -> Tensor:
    """Expert above actor by a margin, outright.

    Hinge over random pairs (Ratliff, Bagnell & Zinkevich, Maximum Margin Planning, ICML 2006,
    with steps in the place of whole plans).
    """
    return functional.relu(margin - (expert - actor)).mean()


def ranking_loss(better: Tensor, worse: Tensor) -> Tensor:
    """-log P(better above worse) under Bradley & Terry's model.

    Brown et al., Extrapolating Beyond Suboptimal Demonstrations via Inverse Reinforcement
    Learning from Observations (T-REX), ICML 2019, eq. 1. What a trajectory scores is the caller's:
    there the sum over its steps, in `ranking` their mean.
    """
    return functional.softplus(worse - better).mean()


def gradient_penalty(
    network: RewardNetwork, expert: Tensor, actor: Tensor, norm: float, rng: torch.Generator
) -> Tensor:
    """How far the score's gradient between expert and actor is from a norm, squared, on average.

    Gulrajani et al., Improved Training of Wasserstein GANs, NIPS 2017, eq. 3; as in
    Kostrikov et al., ICLR 2019, §4.3, around the discriminator of an imitation.

    Args:
        network: scores.
        expert: (B, features), standardized.
        actor: (B, features), standardized.
        norm: of the gradient.
        rng: where between a pair it is taken.
    """
    share = torch.rand(len(expert), 1, generator=rng)
    between = (share * expert + (1 - share) * actor).requires_grad_()
    (gradient,) = torch.autograd.grad(network.score(between).sum(), between, create_graph=True)
    # The small number keeps the root's own gradient finite where the score is flat.
    return ((gradient.square().sum(1) + 1e-12).sqrt() - norm).square().mean()
