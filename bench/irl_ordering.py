"""Share of the reward's updates after which held-out expert episodes score above the actor's.

Off-policy every second turn of the reward is looked at once the actor learns, on-policy each one.
A look compares mean scores of episodes, all of one length: the expert's, which the reward never
sees, and fresh ones of the actor with its exploration, which are thrown away after it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
import statistics
from typing import Any

from imitation_ros.frames.contract import load_contract
from imitation_ros.learning.irl.actor import ActorConfig
from imitation_ros.learning.irl.adversarial import AdversarialConfig, Imitator
from imitation_ros.learning.irl.network import Batch, RewardConfig, tensors
from imitation_ros.learning.irl.separation import auc, auc_interval, episode_means
from imitation_ros.learning.irl.sim_tasks import SimTask
from imitation_ros.learning.irl.trainer import LogDensity, RewardTrainer
from imitation_ros.learning.irl.transitions import Transitions, transitions
from imitation_ros.policies.policy import use_one_thread
from imitation_ros.types import Action, Array, Frame
import torch
from torch import Tensor

from bench.cloning import first_scene, parser_of, rows_name
from bench.harness import at_least, at_most, bootstrap_interval
from bench.irl_tasks import SCENES_A_SEED, SEEDS, VALIDATION_SEEDS
from bench.rows import Rows, say

SHARE = 0.99
CONTROL = 'shuffled'
CONTROL_AT_MOST = 0.75
"""Share of its updates that a reward of shuffled labels may order by chance."""
GAIL = RewardConfig(learning_rate=1e-3, penalty=0.3)
RANKING = replace(GAIL, objective='ranking')
SAC = AdversarialConfig(ActorConfig(learning_starts=500), 2_000)
PPO = AdversarialConfig(
    ActorConfig(
        'ppo', learning_rate=1e-3, batch_size=100, rollout_steps=500, entropy=0.0, precision=2.0
    ),
    20_000, reward_updates=50, averaging=0.0,
)  # fmt: skip


@dataclass(frozen=True)
class Setting:
    """One experiment.

    Attributes:
        reward: how the reward is trained.
        imitation: how the actor and it take turns.
        look_every: turns of the reward between two looks.
        look_from: the first turn to look at: when the actor stops acting at random.
        demonstrations: episodes.
        held_out: the expert's episodes that the reward never sees.
        fresh: the actor's episodes in a look, in scenes of their own.
        alike: looks running that must have 0.5 in their interval until it has converged: one that
            does is the chance of few episodes.
    """

    reward: RewardConfig
    imitation: AdversarialConfig
    look_every: int
    look_from: int
    demonstrations: int = 20
    held_out: int = 20
    fresh: int = 6
    alike: int = 2


SETTINGS = {
    'sac state-action': Setting(GAIL, SAC, 2, 50, alike=6),
    'sac trajectory': Setting(RANKING, replace(SAC, reward_updates=30), 2, 50, alike=6),
    'ppo state-action': Setting(GAIL, PPO, 1, 1),
    'ppo trajectory': Setting(RANKING, PPO, 1, 1),
    CONTROL: Setting(GAIL, SAC, 2, 50, alike=6),
}


def main(argv: Sequence[str] | None = None) -> dict[str, Any]:
    """Learns in each way for each seed; the value is the least share of ordered updates."""
    parser = parser_of(__doc__)
    parser.add_argument('--seeds', type=int, default=None, help='only the first so many')
    parser.add_argument('--ways', nargs='+', choices=SETTINGS, default=list(SETTINGS))
    options = parser.parse_args(argv)
    use_one_thread()
    seeds = (VALIDATION_SEEDS if options.validation else SEEDS)[: options.seeds]
    seeds = seeds[:1] if options.quick else seeds
    first = first_scene(options)
    table, conditions = {}, {}
    for way in options.ways:
        setting = quick(SETTINGS[way]) if options.quick else SETTINGS[way]
        kept = Rows(
            rows_name(f'irl_ordering_{way.replace(" ", "_")}', options),
            {**asdict(setting), 'first_scene': first}, options.quick, options.fresh,
        )  # fmt: skip
        runs = [
            kept.get(seed, partial(_run, setting, seed, first, way == CONTROL)) for seed in seeds
        ]
        table[way] = summary(runs, setting.alike)
        share = table[way]['ordered_of_all' if way == CONTROL else 'ordered']
        if way == CONTROL:  # which may look converged from the first look on
            conditions[f'{way}: ordered <= {CONTROL_AT_MOST}'] = at_most(share, CONTROL_AT_MOST)
        else:
            conditions[f'{way}: ordered >= {SHARE}'] = at_least(share, SHARE)
            conditions[f'{way}: success rises'] = at_least(table[way]['rise'], 0.5)
    return {
        'bench': 'irl_ordering',
        'value': min(
            (line['ordered'] for way, line in table.items() if way != CONTROL), default=0
        ),
        'pass': conditions,
        'table': table,
        'first_scene': first,
        'rows': [{'way': way, **row} for way, line in table.items() for row in line['runs']],
    }


def quick(setting: Setting) -> Setting:
    """Everything happens, nothing is learned."""
    actor = replace(
        setting.imitation.actor, learning_starts=20, rollout_steps=50, batch_size=50, epochs=1
    )
    imitation = replace(setting.imitation, actor=actor, steps=100)
    every = 5 if actor.algorithm == 'sac' else 1
    return replace(
        setting,
        imitation=imitation,
        look_every=every,
        look_from=1,
        demonstrations=2,
        held_out=2,
        fresh=2,
    )


class ShuffledLabels(RewardTrainer):
    """Who is the expert is drawn anew for each pair of steps."""

    def _loss(
        self, expert: Batch, actor: Batch, log_density: LogDensity | None, rng: torch.Generator
    ) -> Tensor:
        swapped = torch.rand(len(expert[0]), 1, generator=rng) < 0.5
        pairs = list(zip(expert, actor))
        ones = [torch.where(swapped, other, one) for one, other in pairs]
        others = [torch.where(swapped, one, other) for one, other in pairs]
        return super()._loss((*ones,), (*others,), log_density, rng)


class Watched(Imitator):
    """Calls `look` after so many turns of the reward.

    Attributes:
        turns: of the reward.
        look_every: turns between two looks.
        look_from: the turn of the first look.
        look: at the present reward and actor.
    """

    turns, look_every, look_from = 0, 1, 1
    look: Callable[[], None]

    def teach(self) -> None:
        """The reward's turn, and perhaps a look at what came of it."""
        super().teach()
        self.turns += 1
        if self.turns >= self.look_from and self.turns % self.look_every == 0:
            self.look()

    def act(self, frame: Frame) -> Action:
        """What the actor does, exploration included: what the reward is trained against."""
        layout = self.trainer.layout
        action, _ = self.model.predict(layout.observe(frame.observation))
        return layout.unflatten(action)


def _run(setting: Setting, seed: int, first: int, shuffled: bool) -> dict[str, Any]:
    contract = load_contract('panda_reach')
    task = SimTask('reach', contract)
    start = SCENES_A_SEED * seed
    shown = task.demonstrate(range(start, start + setting.demonstrations))
    tests = range(first, first + setting.held_out)
    best = task.demonstrate(tests)
    make_trainer = ShuffledLabels if shuffled else RewardTrainer
    trainer = make_trainer(shown, contract, setting.reward, seed)
    imitator = Watched([task.simulator], trainer, setting.imitation, seed)
    looks: list[dict[str, Any]] = []

    def look() -> None:
        begin = first + setting.held_out + setting.fresh * len(looks)
        episodes = [task.episode(imitator.act, begin + each) for each in range(setting.fresh)]
        actor = transitions(episodes, contract)
        expert_scores, actor_scores = episode_scores(trainer, best), episode_scores(trainer, actor)
        looks.append(
            {
                'steps': imitator.steps,
                'turn': imitator.turns,
                'expert': round(float(expert_scores.mean()), 4),
                'actor': round(float(actor_scores.mean()), 4),
                'auc': round(auc(expert_scores, actor_scores), 4),
                'interval': [round(end, 4) for end in auc_interval(expert_scores, actor_scores)],
                'acted': statistics.mean(each.outcome == 'success' for each in episodes),
            }
        )
        say(f'  seed {seed}: {looks[-1]}')

    imitator.look, imitator.look_every = look, setting.look_every
    imitator.look_from = setting.look_from
    begun = imitator.policy()
    rise = [task.success(policy.act, policy.reset, tests) for policy in (begun, imitator.run())]
    return {'seed': seed, 'success': rise, 'looks': looks}


def episode_scores(trainer: RewardTrainer, steps: Transitions) -> Array:
    """Mean score of each episode under the reward as it is now."""
    with torch.no_grad():
        return episode_means(trainer.network(tensors(steps)).numpy(), steps.episode)


def until_converged(looks: Sequence[dict[str, Any]], alike: int) -> int:
    """How many looks there are before the first of `alike` running that cannot tell the two."""
    for index in range(len(looks) - alike + 1):
        running = looks[index : index + alike]
        if all(low <= 0.5 <= high for low, high in (look['interval'] for look in running)):
            return index
    return len(looks)


def summary(runs: Sequence[dict[str, Any]], alike: int) -> dict[str, Any]:
    """What the runs of one way come to."""
    counted = [run['looks'][: until_converged(run['looks'], alike)] for run in runs]
    looks = [look for each in counted for look in each]
    gaps = [look['expert'] - look['actor'] for look in looks]
    every = [look for run in runs for look in run['looks']]
    means = [statistics.mean(look['auc'] for look in run['looks']) for run in runs]
    return {
        'ordered': round(statistics.mean(gap > 0 for gap in gaps), 4) if gaps else 0.0,
        'looks': len(looks),
        'converged_at': [
            run['looks'][len(each)]['steps'] if len(each) < len(run['looks']) else None
            for run, each in zip(runs, counted)
        ],
        'gap': [round(min(gaps, default=0.0), 4), round(max(gaps, default=0.0), 4)],
        'ordered_of_all': round(
            statistics.mean(look['expert'] > look['actor'] for look in every), 4
        ),
        'rise': round(statistics.mean(run['success'][1] - run['success'][0] for run in runs), 4),
        'success': [run['success'] for run in runs],
        'mean_auc': round(statistics.mean(means), 4),
        'mean_auc_interval': bootstrap_interval(means, lambda a, axis: a.mean(axis)),
        'runs': list(runs),
    }
