"""CartPole (Gymnasium) cloned with the categorical head from 5 expert episodes.

The expert is a linear rule that balances for all 500 steps. Training, validation and test seeds
are disjoint: training seeds below 1000 (validation episodes are split from them), tests in blocks
of 1000 from 100000 on, which `--test-block` chooses.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
import statistics
from typing import Any

import gymnasium
from imitation_ros.episodes.training_set import TrainingSet
from imitation_ros.frames.contract import Contract, parse_contract
from imitation_ros.learning.bc import BCConfig, train_bc
from imitation_ros.types import Action, Array, Episode, Frame
import numpy as np

from bench.harness import at_least

AT_LEAST = 0.95
EPISODES = 5
CONFIG = BCConfig(epochs=60)
CONTRACT = """
name: cart_pole
rate_hz: 50
command_hz: 50
observations:
  state:
    topic: cart_pole/state  # position, velocity, angle, angular velocity
    type: std_msgs/msg/Float64MultiArray
    select: [data.0, data.1, data.2, data.3]
    max_age_s: 0.02
actions:
  push: {topic: cart_pole/push, type: std_msgs/msg/Int32, kind: discrete, classes: [left, right]}
"""
BALANCE = np.array([0.1, 0.2, 1.0, 0.5])
"""Push to the side that this sum of the state leans to."""

Act = Callable[[Frame], Action]


def main(argv: list[str] | None = None) -> dict[str, Any]:
    """Trains and tests for each seed and prints the result as its last line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--quick', action='store_true', help='few seeds, for the tests')
    parser.add_argument('--test-block', type=int, default=0, help='fresh test seeds')
    options = parser.parse_args(argv)
    trainings, tests = (1, 5) if options.quick else (5, 100)
    rows = [_train_and_test(seed, tests, options.test_block) for seed in range(trainings)]
    value = statistics.mean(row['return'] / row['expert_return'] for row in rows)
    return {
        'bench': 'bc_cartpole',
        'value': round(value, 4),
        'pass': {f'of expert >= {AT_LEAST}': at_least(round(value, 4), AT_LEAST)},
        'rows': rows,
        'test_block': options.test_block,
        'compared': "mean return of the clone over the expert's, on the same test seeds",
    }


def _train_and_test(seed: int, tests: int, block: int) -> dict[str, Any]:
    contract = parse_contract(CONTRACT)
    first = EPISODES * seed
    demonstrations = [run(expert, contract, k) for k in range(first, first + EPISODES)]
    policy, record = train_bc(TrainingSet.from_episodes(demonstrations, contract), CONFIG, seed)
    first = 100_000 + 1000 * block + tests * seed
    returns, expert_returns = (
        [len(run(act, contract, k)) for k in range(first, first + tests)]
        for act in (policy.act, expert)
    )
    return {
        'seed': seed,
        'return': statistics.mean(returns),
        'worst': min(returns),
        'expert_return': statistics.mean(expert_returns),
        'episodes': tests,
        'frames': record.frames,
        'epochs': len(record.train_loss),
    }


def expert(frame: Frame) -> Action:
    """Balances for as long as an episode can last."""
    return {'push': np.array([int(BALANCE @ frame.observation['state'] > 0)])}


def run(act: Act, contract: Contract, seed: int) -> Episode:
    """One episode; its length is its return."""
    env = gymnasium.make('CartPole-v1')
    state, _ = env.reset(seed=seed)
    states: list[Array] = []
    pushes: list[Array] = []
    done = False
    while not done:
        states.append(state.astype(np.float64))
        frame = Frame(len(states) * contract.tick_period_ns, {'state': states[-1]})
        pushes.append(act(frame)['push'])
        state, _, fallen, late, _ = env.step(int(pushes[-1][0]))
        done = fallen or late
    env.close()
    ticks = np.arange(len(states)) * contract.tick_period_ns
    segment = np.zeros(len(states), np.int32)
    return Episode(ticks, {'state': np.array(states)}, {'push': np.array(pushes)}, segment)


if __name__ == '__main__':
    main()
