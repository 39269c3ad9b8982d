"""`replay`: execute the recorded actions of an episode once more in the simulator.

In lockstep a recording says everything: the same scene and the same actions give the same motion,
so what is printed should be zero, and anything else shows what has changed since.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from imitation_ros.cli._console import add_task_arguments, print_json, print_table
from imitation_ros.errors import EpisodeError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options."""
    parser.add_argument('episode', type=Path, help='a recorded episode of the simulated arm')
    add_task_arguments(parser, families=True)
    parser.set_defaults(task=None)
    parser.add_argument('--json', action='store_true', help='one JSON object on stdout')


def run(options: argparse.Namespace) -> int:
    """Replays and says how far the two motions are apart."""
    from imitation_ros.episodes.align import load_episode
    from imitation_ros.episodes.reader import EpisodeReader
    from imitation_ros.frames.contract import load_contract
    from imitation_ros.sim.env import ArmEnv
    import numpy as np

    reader = EpisodeReader(options.episode)
    info, contract = reader.info, reader.contract
    if options.contract:
        contract = load_contract(options.contract)
    task = options.task or info.task
    if contract is None or info.seed is None or not task:
        raise EpisodeError(
            f'{options.episode}: contract, seed or task is not known; valid: an episode of the '
            'simulated arm, recorded with a seed'
        )
    episode = load_episode(reader, contract, label='executed')
    env = ArmEnv(task, contract)
    env.reset(seed=info.seed)
    errors = []
    for index in range(len(episode)):
        live = env.frame().observation
        errors.append(
            max(
                float(np.abs(live[name] - array[index]).max())
                for name, array in episode.observations.items()
                if name in live
            )
        )
        env.step({part: actions[index] for part, actions in episode.actions.items()})
    result = {
        'episode': str(options.episode),
        'ticks': len(episode),
        'recorded_outcome': info.outcome,
        'replayed_outcome': 'success' if env.simulator.success else 'failure',
        'largest_difference': max(errors, default=0.0),
        'first_difference_at_tick': next((i for i, error in enumerate(errors) if error > 0), None),
    }
    env.close()
    if options.json:
        print_json(result)
    else:
        print_table('replayed', ('what', 'value'), list(result.items()))
    return 0
