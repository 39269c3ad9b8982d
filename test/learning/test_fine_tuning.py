"""A clone that is fine-tuned does not forget what it can when its actor begins to follow."""

from __future__ import annotations

from imitation_ros.episodes.training_set import TrainingSet
from imitation_ros.frames.contract import load_contract
from imitation_ros.learning.bc import BCConfig, train_bc
from imitation_ros.learning.finetune import fine_tune, FineTuneConfig, paid_by, Progress
from imitation_ros.learning.irl.sim_tasks import SimTask
from imitation_ros.policies.policy import use_one_thread
from imitation_ros.sim.rollout import roll_out

CONFIG = FineTuneConfig(steps=1_600, warm_up=400, watch_every=200, critic=(64, 64))
SCENES, DIP = range(600_000, 600_010), 0.1


def test_after_the_warm_up_it_does_not_collapse():
    use_one_thread()
    contract = load_contract('panda_reach')
    practice = SimTask('reach', contract)
    task = SimTask('reach', contract, fixed_horizon=False)
    shown = [roll_out(task.env, task.expert, seed).to_episode() for seed in range(10)]
    clone, _ = train_bc(TrainingSet.from_episodes(shown, contract), BCConfig(hidden=(64, 64)))
    successes: list[float] = []

    def watch(now: Progress) -> None:
        policy = now.policy
        successes.append(task.score(policy.act, policy.reset, SCENES).success)

    before = task.score(clone.act, clone.reset, SCENES).success
    fine_tune(clone, [practice.simulator], paid_by(practice, range(10)), CONFIG, 0, watch=watch)
    assert before >= 0.9
    assert len(successes) == 8
    assert min(successes) >= before - DIP
