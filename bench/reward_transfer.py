"""Success of a fresh policy on a frozen state-only reward, with an arm that moves otherwise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
import statistics
import tempfile
from typing import Any

from imitation_ros.frames.contract import load_contract
from imitation_ros.learning.irl.actor import ActorConfig
from imitation_ros.learning.irl.adversarial import AdversarialConfig, Imitator
from imitation_ros.learning.irl.network import RewardConfig, tensors
from imitation_ros.learning.irl.reward import load_reward, Reward
from imitation_ros.learning.irl.reward_env import Pay
from imitation_ros.learning.irl.sim_tasks import SimTask
from imitation_ros.learning.irl.trainer import RewardTrainer
from imitation_ros.policies.policy import use_one_thread
from imitation_ros.sim.env import ArmEnv
from imitation_ros.sim.experts import make_expert
from imitation_ros.sim.rollout import Act
from imitation_ros.types import Action, Array, Frame
import numpy as np
import torch

from bench.cloning import first_scene, parser_of, rows_name
from bench.harness import at_least, at_most
from bench.irl_tasks import progress_correlation, SCENES_A_SEED, SEEDS, VALIDATION_SEEDS
from bench.rows import Rows, say

SHARE = 0.9
SHUFFLED_AT_MOST = 0.5
"""Share of the expert's success that a reward without meaning must stay below."""
GAIN = 0.6
TURN = np.array([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
"""A quarter turn about the vertical: who goes ahead goes to the left."""
LIMIT_M_S = 0.4
TRIED = 500
"""From this of a seed's scenes on, its actor is tried."""


@dataclass(frozen=True)
class Setting:
    """One experiment.

    Attributes:
        demonstrations: episodes, with the arm as it is.
        reward: how the reward is trained: on states alone, shaped, against the actor's density.
        imitation: the actor that it is trained against, with the arm as it is.
        transfer: the fresh actor with the other arm, which sees no demonstration.
        scenes: that a policy is tested in.
        trials: scenes that the actor is tried in every so often, none of them a test's.
    """

    demonstrations: int = 20
    reward: RewardConfig = field(
        default_factory=lambda: RewardConfig(
            'state', shaping=True, gamma=0.97, objective='airl', learning_rate=1e-3, penalty=0.3
        )
    )
    imitation: AdversarialConfig = field(
        default_factory=lambda: AdversarialConfig(ActorConfig(learning_starts=100), 3_000)
    )
    transfer: AdversarialConfig = field(
        default_factory=lambda: AdversarialConfig(
            ActorConfig(learning_starts=100), 3_000, demonstrations_in_buffer=False
        )
    )
    scenes: int = 50
    trials: int = 20


class OtherArm(ArmEnv):
    """The arm, but velocities are taken in a turned frame, and it moves at a share of them."""

    def step(self, action: Action) -> tuple[dict[str, Array], float, bool, bool, dict[str, Any]]:
        """One tick."""
        return super().step({'arm': GAIN * TURN @ action['arm']})


def main(argv: Sequence[str] | None = None) -> dict[str, Any]:
    """Learns and transfers for each seed; the value is the mean success, as the expert's share."""
    parser = parser_of(__doc__)
    parser.add_argument('--seeds', type=int, default=None, help='only the first so many')
    options = parser.parse_args(argv)
    use_one_thread()
    setting = Setting()
    seeds = (VALIDATION_SEEDS if options.validation else SEEDS)[: options.seeds]
    if options.quick:
        setting, seeds = quick(setting), seeds[:1]
    first = first_scene(options)
    kept = Rows(
        rows_name('reward_transfer', options), {**asdict(setting), 'first_scene': first},
        options.quick, options.fresh,
    )  # fmt: skip
    rows = [kept.get(seed, lambda seed=seed: _run(setting, seed, first)) for seed in seeds]
    expert = statistics.mean(row['expert'] for row in rows)
    shares = {
        name: round(statistics.mean(row[name] for row in rows) / expert, 4)
        for name in ('transferred', 'shuffled', 'old_policy')
    }
    return {
        'bench': 'reward_transfer',
        'value': shares['transferred'],
        'pass': {
            f'share of the expert >= {SHARE}': at_least(shares['transferred'], SHARE),
            f'shuffled reward <= {SHUFFLED_AT_MOST}': at_most(
                shares['shuffled'], SHUFFLED_AT_MOST
            ),
        },
        'shares': shares,
        'spread': [min(row['transferred'] for row in rows), max(r['transferred'] for r in rows)],
        'expert': round(expert, 4),
        'steps': setting.transfer.steps,
        'first_scene': first,
        'rows': rows,
    }


def quick(setting: Setting) -> Setting:
    """Everything happens, nothing is learned."""
    actor = replace(setting.imitation.actor, learning_starts=20)
    imitation = replace(setting.imitation, actor=actor, steps=60, watch_every=50)
    transfer = replace(setting.transfer, actor=actor, steps=60)
    return replace(
        setting, demonstrations=2, imitation=imitation, transfer=transfer, scenes=2, trials=1
    )  # fmt: skip


def _run(setting: Setting, seed: int, first: int) -> dict[str, Any]:
    """Learns the reward with the arm as it is, then a policy on it with the other."""
    contract, scenes = load_contract('panda_reach'), range(first, first + setting.scenes)
    before = SimTask('reach', contract)
    after = SimTask('reach', contract, make_env=OtherArm)
    start = SCENES_A_SEED * seed
    shown = before.demonstrate(range(start, start + setting.demonstrations))
    trainer = RewardTrainer(shown, contract, setting.reward, seed)
    trials = range(start + TRIED, start + TRIED + setting.trials)
    best = [0.0]

    def keep(imitator: Imitator) -> None:
        """Adversaries drift: the reward is taken where its actor did best, at the latest such."""
        policy = imitator.policy()
        success = before.success(policy.act, policy.reset, trials)
        if success >= best[0]:
            best[0] = success
            trainer.promote()

    old = Imitator([before.simulator], trainer, setting.imitation, seed).run(keep)
    with tempfile.TemporaryDirectory(prefix='imitation_ros_') as folder:
        trainer.reward().disentangled().save(Path(folder, 'reward'))
        reward = load_reward(Path(folder, 'reward'), contract)

    def train(pay: Pay, name: str) -> float:
        scales = RewardTrainer(shown, contract, setting.reward, seed)
        actor = Imitator([after.simulator], scales, setting.transfer, seed + 1, pay)
        policy = actor.run()
        success = after.success(policy.act, policy.reset, scenes)
        say(f'  {name} seed {seed}: {success}')
        return round(success, 4)

    row = {
        'seed': seed,
        'expert': after.success(expert_of_the_other_arm(), lambda: None, scenes),
        'before': before.success(old.act, old.reset, scenes),
        'best_trial': best[0],
        'old_policy': after.success(old.act, old.reset, scenes),
        'progress_correlation': round(
            progress_correlation(reward.raw(tensors(shown)).numpy(), shown), 4
        ),
        'transferred': train(_pay(reward), 'transferred'),
        'shuffled': train(_pay_shuffled(reward, seed), 'shuffled'),
    }
    say(str(row))
    return row


def _pay(reward: Reward) -> Pay:
    return lambda batch, demonstrated: reward.raw(batch)


def _pay_shuffled(reward: Reward, seed: int) -> Pay:
    """As much in all, but each step is paid what another one of its batch is worth."""
    rng = torch.Generator().manual_seed(seed)
    return lambda batch, demonstrated: reward.raw(batch)[
        torch.randperm(len(batch[0]), generator=rng)
    ]


def expert_of_the_other_arm() -> Act:
    """The expert, who knows how this arm takes velocities."""
    expert = make_expert('reach', load_contract('panda_reach'))

    def act(frame: Frame) -> Action:
        wanted = TURN.T @ expert(frame)['arm'] / GAIN
        return {'arm': wanted.clip(-LIMIT_M_S, LIMIT_M_S)}

    return act
