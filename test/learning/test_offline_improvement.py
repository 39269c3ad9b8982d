"""From episodes of mixed quality alone, a clone comes to do what the good ones did."""

from __future__ import annotations

from imitation_ros.episodes.training_set import TrainingSet
from imitation_ros.frames.contract import load_contract
from imitation_ros.learning.bc import BCConfig, train_bc
from imitation_ros.learning.offline import improve_offline, OfflineConfig
from imitation_ros.learning.paid import by_outcome
from imitation_ros.policies.policy import Policy, use_one_thread
from imitation_ros.sim.env import ArmEnv
from imitation_ros.sim.experts import make_expert
from imitation_ros.sim.rollout import roll_out
from imitation_ros.sim.tasks import make_task
from imitation_ros.types import Action, Frame
import numpy as np

TASK, CONTRACT = 'reach', 'panda_reach'
BC = BCConfig(hidden=(64, 64), epochs=30, validation_fraction=0.0)
OFFLINE = OfflineConfig(updates=1_500)
SCENES = 12
"""In each of which one episode is good and one is clumsy."""
OFF_M = 0.08
"""By how much a clumsy episode passes its goal, more than the task tolerates."""


def test_it_does_better_than_a_clone_of_everything_and_steps_no_environment(monkeypatch):
    use_one_thread()
    contract, task = load_contract(CONTRACT), make_task(TASK)
    env, expert = ArmEnv(TASK, contract), make_expert(TASK, contract)

    def clumsy(frame: Frame) -> Action:
        """Reaches for a place beside the goal, always the same one."""
        state = frame.observation['state'].copy()
        state[3:] += (OFF_M, 0.0, 0.0)
        return expert(Frame(frame.tick_ns, {'state': state}))

    def success(policy: Policy) -> float:
        reached = []
        for scene in range(600_000, 600_020):
            policy.reset()
            reached.append(roll_out(env, policy.act, scene).success)
        return float(np.mean(reached))

    rollouts = [roll_out(env, act, scene) for act in (expert, clumsy) for scene in range(SCENES)]
    assert [each.success for each in rollouts] == [True] * SCENES + [False] * SCENES
    recorded = TrainingSet.from_episodes([each.to_episode() for each in rollouts], contract)
    clone, _ = train_bc(recorded, BC)
    pay = by_outcome(task.hold_ticks + task.stay_ticks)
    with monkeypatch.context() as patch:
        patch.setattr(ArmEnv, 'step', None)
        improved, _ = improve_offline(clone, recorded, pay, OFFLINE)
    before, after = success(clone), success(improved)
    assert before <= 0.5
    assert after >= 0.8
    env.close()
