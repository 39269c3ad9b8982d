"""Clone the scripted expert without any ROS: demonstrate, learn, measure.

From a checkout that `./run` has set up: `.venv/bin/python examples/train_your_own.py`. For a task,
a policy or an expert of your own, change the lines in `main`.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from imitation_ros.episodes.training_set import TrainingSet
from imitation_ros.frames.contract import load_contract
from imitation_ros.learning.bc import BCConfig, train_bc
from imitation_ros.learning.evaluation import evaluate, Evaluation
from imitation_ros.sim.env import ArmEnv
from imitation_ros.sim.experts import make_expert
from imitation_ros.sim.rollout import roll_out

TEST_SEEDS = 1_000_000
"""Scenes that no demonstration shows."""


def main(arguments: Sequence[str] | None = None) -> Evaluation:
    """Returns how the cloned policy did."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--task', default='reach')
    parser.add_argument('--contract', default='panda_reach')
    parser.add_argument('--demonstrations', type=int, default=10)
    parser.add_argument('--epochs', type=int, default=BCConfig.epochs)
    parser.add_argument('--scenes', type=int, default=20)
    parser.add_argument('--out', type=Path, default=Path('checkpoints/train_your_own'))
    options = parser.parse_args(arguments)

    contract = load_contract(options.contract)
    env, expert = ArmEnv(options.task, contract), make_expert(options.task, contract)
    rollouts = [roll_out(env, expert, seed) for seed in range(options.demonstrations)]
    env.close()

    episodes = [rollout.to_episode() for rollout in rollouts if rollout.success]
    training_set = TrainingSet.from_episodes(episodes, contract)
    train_bc(training_set, BCConfig(epochs=options.epochs), seed=0, out=options.out)

    scenes = range(TEST_SEEDS, TEST_SEEDS + options.scenes)
    result = evaluate(options.task, options.contract, options.out, scenes, workers=1)
    print(f'{options.out}: success in {sum(result.successes)} of {len(scenes)} new scenes')
    return result


if __name__ == '__main__':
    main()
