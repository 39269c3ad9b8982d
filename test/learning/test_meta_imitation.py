"""One demonstration of an unseen task is enough to do it elsewhere."""

from __future__ import annotations

from dataclasses import replace

from imitation_ros.frames.contract import load_contract
from imitation_ros.learning.meta.adaptation import adapt, judge
from imitation_ros.learning.meta.family_data import demonstrate, make_tasks
from imitation_ros.learning.meta.meta_policy import Settings
from imitation_ros.learning.meta.meta_training import meta_train
from imitation_ros.learning.meta.training import MetaConfig
from imitation_ros.sim.env import ArmEnv
from imitation_ros.sim.families import make_family
from imitation_ros.sim.rollout import roll_out
import numpy as np

FAMILY = make_family('reach')
UNSEEN = range(500_000, 500_012)


def test_one_demonstration_tells_which_ball_and_how_long_the_tip_is():
    contract = load_contract(FAMILY.contract)
    env = ArmEnv(FAMILY.draw(0), contract)
    tasks = make_tasks(env, [FAMILY.draw(seed) for seed in range(45)], 0, 3, 1)
    config = MetaConfig(steps=700, tasks=12, queries=32)
    meta, _ = meta_train(tasks[5:], tasks[:5], contract, Settings(hidden=(128, 128)), config)
    shown = {seed: demonstrate(env, FAMILY.draw(seed, seed % 2 == 1), seed) for seed in UNSEEN}

    def success(policies) -> float:
        reached = []
        for seed, policy in policies.items():
            env.simulator.ask(FAMILY.draw(seed, seed % 2 == 1))
            policy.reset()
            reached.append(roll_out(env, policy.act, 600_000 + seed).success)
        return float(np.mean(reached))

    assert success({seed: adapt(meta, [each]) for seed, each in shown.items()}) >= 0.75
    assert success(dict.fromkeys(shown, meta.prior())) <= 0.35

    right = [judge(meta, [each]) for each in shown.values()]
    targets = [FAMILY.draw(seed, seed % 2 == 1).moved for seed in UNSEEN]
    assert np.mean([v.means['objects'][0] == t for v, t in zip(right, targets)]) >= 0.9
    assert not any(verdict.refusal for verdict in right)
    first = shown[UNSEEN[0]]
    backwards = judge(meta, [replace(first, actions={'arm': -first.actions['arm']})])
    assert any('far from the family' in warning for warning in backwards.warnings)
    env.close()
