"""A clone of a mixed set follows the good demonstrations, of which a few are labelled."""

from __future__ import annotations

from imitation_ros.episodes.training_set import TrainingSet
from imitation_ros.frames.contract import load_contract
from imitation_ros.learning.bc import BCConfig, train_bc
from imitation_ros.learning.weighting import weigh_frames
from imitation_ros.policies.policy import Policy
from imitation_ros.sim.env import ArmEnv
from imitation_ros.sim.experts import make_expert
from imitation_ros.sim.rollout import roll_out
from imitation_ros.types import Action, Frame
import numpy as np

TASK, CONTRACT = 'reach', 'panda_reach'
BC = BCConfig(hidden=(64, 64), epochs=30, validation_fraction=0.0)
LABELLED, GOOD, WRONG = 3, 12, 12
PLACE_M = (0.45, -0.30, 0.30)


def test_weights_bring_a_clone_of_mixed_demonstrations_to_the_goal():
    contract = load_contract(CONTRACT)
    env, expert = ArmEnv(TASK, contract), make_expert(TASK, contract)

    def elsewhere(frame: Frame) -> Action:
        """Reaches for a fixed place, whatever the goal."""
        state = frame.observation['state'].copy()
        state[3:] = PLACE_M
        return expert(Frame(frame.tick_ns, {'state': state}))

    def success(policy: Policy) -> float:
        reached = []
        for scene in range(600_000, 600_020):
            policy.reset()
            reached.append(roll_out(env, policy.act, scene).success)
        return float(np.mean(reached))

    episodes = [roll_out(env, expert, scene).to_episode() for scene in range(GOOD)]
    episodes += [roll_out(env, elsewhere, 100 + scene).to_episode() for scene in range(WRONG)]
    training_set = TrainingSet.from_episodes(episodes, contract)
    weights = weigh_frames(training_set, range(LABELLED))
    everything, _ = train_bc(training_set, BC)
    weighted, _ = train_bc(training_set, BC, frame_weights=weights)
    assert success(everything) <= 0.5
    assert success(weighted) >= 0.9
    env.close()
