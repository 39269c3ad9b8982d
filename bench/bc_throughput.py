"""Samples per second of `train_bc` beside a bare PyTorch loop, data loading included.

Both train the same network on the same demonstrations with the same optimizer and batches: the
bare loop is what one would write by hand, with the data as two tensors, and no windows, parts,
validation, early stopping or resume. They run by turns in one process, an epoch each, and are
timed by its processor time, of which other processes take no part.

With `--peers`, the PyPI packages `imitation` and `robomimic` are installed into throw-away
environments (minutes, and gigabytes where pip chooses a torch for GPUs), and train on the same
data with the same network, batch and number of epochs, after warming up for one.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
import statistics
import subprocess
import sys
import tempfile
import time
from typing import Any
import venv

from imitation_ros.episodes.training_set import TrainingSet
from imitation_ros.frames.contract import Contract, parse_contract
from imitation_ros.learning.bc import BCConfig, train_bc
from imitation_ros.policies.network import perceptron
from imitation_ros.types import Array, Episode
import numpy as np
import torch
from torch.nn.functional import mse_loss

from bench.harness import at_least

AT_LEAST = 0.9
EPISODES, TICKS = 50, 200
INPUTS, OUTPUTS = 14, 7
PEERS = {
    'imitation': ('imitation==1.0.1', 'torch==2.13.0'),
    'robomimic': ('robomimic==0.3.0', 'torch==2.13.0', 'six'),
}
INSTALL_S, TRAIN_S = 900, 300


def main(argv: list[str] | None = None) -> dict[str, Any]:
    """Runs the pairs and prints the result as its last line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--quick', action='store_true', help='few and short pairs, for the tests')
    parser.add_argument('--peers', action='store_true', help='install and time the peers too')
    options = parser.parse_args(argv)
    runs, epochs = (1, 3) if options.quick else (3, 30)
    # The first pair warms up.
    config = BCConfig(epochs=epochs + 1, steps_per_epoch=1, validation_fraction=0)
    rows = [row for seed in range(runs) for row in _run(seed, config)[1:]]
    value = statistics.median(row['ratio'] for row in rows)
    result = {
        'bench': 'bc_throughput',
        'value': round(value, 4),
        'pass': {f'ratio >= {AT_LEAST}': at_least(round(value, 4), AT_LEAST)},
        'rows': rows,
        'batch_size': config.batch_size,
        'network': [INPUTS, *config.hidden, OUTPUTS],
        'frames': EPISODES * TICKS,
        'compared': 'samples per CPU second of train_bc over those of a bare loop',
    }
    if options.peers:
        ours = statistics.median(row['train_bc_samples_per_s'] for row in rows)
        result['peers'] = {name: _peer(name, config, ours) for name in PEERS}
    return result


def contract() -> Contract:
    """As of an arm of 7 joints, positions and velocities in, velocities out."""
    joints = [f'data.{k}' for k in range(INPUTS)]
    return parse_contract({
        'name': 'throughput', 'rate_hz': 20, 'command_hz': 20,
        'observations': {'state': {
            'topic': 'state', 'type': 'std_msgs/msg/Float64MultiArray', 'select': joints,
            'max_age_s': 0.1,
        }},
        'actions': {'arm': {
            'topic': 'command', 'type': 'std_msgs/msg/Float64MultiArray', 'kind': 'velocity',
            'units': 'rad/s', 'select': joints[:OUTPUTS], 'low': -10, 'high': 10,
            'max_acceleration': 10,
        }},
    })  # fmt: skip


def demonstrations() -> list[Episode]:
    """Of a linear controller, with noise."""
    rng = np.random.default_rng(0)
    gain = rng.normal(size=(INPUTS, OUTPUTS)) / INPUTS**0.5
    episodes = []
    for _ in range(EPISODES):
        states = rng.normal(size=(TICKS, INPUTS))
        actions = states @ gain + rng.normal(scale=0.1, size=(TICKS, OUTPUTS))
        segment = np.zeros(TICKS, np.int32)
        episodes.append(Episode(np.arange(TICKS), {'state': states}, {'arm': actions}, segment))
    return episodes


def _run(seed: int, config: BCConfig) -> list[dict[str, Any]]:
    """One training; after each of its epochs, the bare loop takes its turn."""
    training_set = TrainingSet.from_episodes(demonstrations(), contract())
    bare = Bare(*_joined(training_set), config)
    rows = []
    mark_s = time.thread_time()

    def take_turns(epoch: int, *losses: float | None) -> None:
        nonlocal mark_s
        ends = [mark_s, time.thread_time()]
        bare.epoch()
        ends.append(time.thread_time())
        ours, theirs = (EPISODES * TICKS / float(seconds) for seconds in np.diff(ends))
        rows.append({
            'seed': seed,
            'epoch': epoch,
            'train_bc_samples_per_s': round(ours),
            'bare_samples_per_s': round(theirs),
            'ratio': round(ours / theirs, 4),
        })  # fmt: skip
        mark_s = time.thread_time()

    train_bc(training_set, config, seed, progress=take_turns)
    return rows


class Bare:
    """The same by hand, in a dozen lines."""

    def __init__(self, states: Array, actions: Array, config: BCConfig) -> None:
        self._inputs = torch.tensor((states - states.mean(0)) / states.std(0)).float()
        self._targets = torch.tensor((actions - actions.mean(0)) / actions.std(0)).float()
        self._network = perceptron((INPUTS, *config.hidden, OUTPUTS))
        self._optimizer = torch.optim.AdamW(
            self._network.parameters(), config.learning_rate, weight_decay=config.weight_decay,
            fused=True,
        )  # fmt: skip
        self._batch_size = config.batch_size

    def epoch(self) -> None:
        """Sees every sample once."""
        for batch in torch.randperm(len(self._inputs)).split(self._batch_size):
            loss = mse_loss(self._network(self._inputs[batch]), self._targets[batch])
            self._optimizer.zero_grad()
            loss.backward()
            self._optimizer.step()


def _joined(training_set: TrainingSet) -> tuple[Array, Array]:
    episodes = list(training_set)
    return (
        np.concatenate([episode.observations['state'] for episode in episodes]),
        np.concatenate([episode.actions['arm'] for episode in episodes]),
    )


def _peer(name: str, config: BCConfig, ours: float) -> dict[str, Any]:
    """Installs a peer, trains with it, and says how much slower it is, or what went wrong."""
    with tempfile.TemporaryDirectory(prefix='imitation_ros_peer_') as folder:
        environment = Path(folder, 'venv')
        venv.create(environment, with_pip=True)
        python = environment / 'bin' / 'python'
        data = Path(folder, 'data.npz')
        states, actions = _joined(TrainingSet.from_episodes(demonstrations(), contract()))
        np.savez(data, states=states.astype(np.float32), actions=actions.astype(np.float32))
        script = Path(__file__).parent / 'peers' / f'{name}_bc.py'
        settings = json.dumps({'batch_size': config.batch_size, 'hidden': list(config.hidden),
                               'epochs': 3, 'learning_rate': config.learning_rate,
                               'ticks': TICKS})  # fmt: skip
        try:
            install = [python, '-m', 'pip', 'install', '-q', *PEERS[name]]
            _call(install, INSTALL_S)
            rate = float(_call([python, script, data, settings], TRAIN_S).split()[-1])
        except (subprocess.SubprocessError, OSError) as error:
            reason = getattr(error, 'stderr', None) or str(error)
            return {'installed': False, 'reason': reason.strip().splitlines()[-1][:300]}
    return {
        'installed': True,
        'samples_per_s': round(rate),
        'ours_over_theirs': round(ours / rate, 2),
    }


def _call(command: list[Any], timeout_s: float) -> str:
    print(*command[:6], '…', file=sys.stderr)
    return subprocess.run(
        list(map(str, command)), check=True, capture_output=True, text=True, timeout=timeout_s
    ).stdout


if __name__ == '__main__':
    main()
