"""DAgger of the PyPI package `imitation` beside ours: its settings, its environment, its rows.

It runs in a virtual environment of its own (Python 3.11, gigabytes where pip chooses a torch for
GPUs), on our environments, experts, scenes and score, which it imports. Every frame that the
expert annotated counts as a label, for it as for us: with it, every frame of every roll-out.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from dataclasses import asdict, dataclass
import json
import os
from pathlib import Path
import subprocess
import sys
import tempfile
from typing import Any
import venv

from imitation_ros.errors import ImitationError

from bench.cloning import rows_name
from bench.rows import Rows, say

ROOT = Path(__file__).parents[1]
REQUIREMENTS = Path(__file__).parent / 'peers' / 'imitation_requirements.txt'
INSTALL_S, RUN_S = 1800, 3600


@dataclass(frozen=True)
class PeerSetting:
    """How it learns one task; chosen on validation seeds and scenes.

    Attributes:
        beta: ('linear', rounds to 0), ('exponential', factor a round), or ('constant', from round
            1 on); it is drawn each tick, and 1 in round 0, in which the expert demonstrates.
        initial_episodes: demonstrations.
        episodes: of every round after them.
        demonstrated_ticks: after which a demonstration is cut.
        ticks: after which an episode of a later round is cut.
        rounds: at most, after round 0.
        max_labels: no round begins with more.
        batches: gradient steps of a round; its policy goes on from the weights of the last.
        batch_size: samples a step.
        learning_rate: of Adam.
        weight_decay: of AdamW, beside the package's own `l2_weight`.
        l2_weight: its own.
        ent_weight: its own: of the entropy in the loss.
        hidden: units of each hidden layer.
        log_std_init: of the Gaussian that continuous actions are drawn from in roll-outs; the
            test takes its mean.
        normalize: observations by their running mean and deviation.
    """

    beta: tuple[str, float] = ('linear', 1)
    initial_episodes: int = 1
    episodes: int = 1
    demonstrated_ticks: int = 1_000
    ticks: int = 1_000
    rounds: int = 40
    max_labels: int = 3_000
    batches: int = 500
    batch_size: int = 32
    learning_rate: float = 1e-3
    weight_decay: float = 0.0
    l2_weight: float = 0.0
    ent_weight: float = 1e-3
    hidden: tuple[int, ...] = (64, 64)
    log_std_init: float = 0.0
    normalize: bool = True


def add_options(parser: argparse.ArgumentParser) -> None:
    """`--peers`, and where its environment is."""
    parser.add_argument('--peers', action='store_true', help='beside that of `imitation`')
    parser.add_argument(
        '--peer-environment', type=Path, default=None,
        help='virtual environment of the peer, made there if missing; else one to throw away',
    )  # fmt: skip


class Peer:
    """Runs it, in an environment that is made when it is needed first."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._options = options
        self._folder = tempfile.TemporaryDirectory(prefix='imitation_ros_peer_')
        self._python: Path | None = None

    def __enter__(self) -> Peer:
        return self

    def __exit__(self, *_: object) -> None:
        self._folder.cleanup()

    def rows(
        self,
        name: str,
        task: str,
        setting: PeerSetting,
        seeds: Iterable[int],
        scenes: range,
        target: float | None,
    ) -> list[dict[str, Any]]:
        """One row a training seed, kept as `NAME_imitation`.

        Args:
            name: of the measurement.
            task: of Gymnasium, or the arm's.
            setting: how it learns.
            seeds: of the training.
            scenes: of the score.
            target: score in two evaluations running that ends a run; None scores the last round
                alone.
        """
        asked = {
            'task': task, 'setting': asdict(setting), 'target': target,
            'first_scene': scenes.start, 'last_scene': scenes.stop,
        }  # fmt: skip
        return self.kept_rows(name, 'bench.peers.imitation_dagger', asked, seeds)

    def kept_rows(
        self, name: str, module: str, asked: dict[str, Any], seeds: Iterable[int]
    ) -> list[dict[str, Any]]:
        """One row a seed, kept as `NAME_imitation`.

        Args:
            name: of the measurement.
            module: that is run in the peer's environment.
            asked: what it is told, beside the seed.
            seeds: of the training.
        """
        options = self._options
        rows = Rows(
            rows_name(f'{name}_imitation', options), asked, options.quick, options.fresh
        )  # fmt: skip
        return [
            rows.get(seed, lambda seed=seed: self.run(module, {**asked, 'seed': seed}))
            for seed in seeds
        ]

    def run(self, module: str, asked: dict[str, Any]) -> dict[str, Any]:
        """One row, of a module that is run in the peer's environment."""
        command = [self._found(), '-m', module, json.dumps(asked)]
        environment = {**os.environ, 'PYTHONPATH': str(ROOT), 'OMP_NUM_THREADS': '1'}
        row: dict[str, Any] = json.loads(_call(command, RUN_S, environment).splitlines()[-1])
        say(f'imitation: {row}')
        return row

    def _found(self) -> Path:
        """The interpreter of the environment."""
        folder = self._options.peer_environment or Path(self._folder.name, 'venv')
        python = Path(folder).resolve() / 'bin' / 'python'
        if self._python is None and not python.exists():
            venv.create(folder, with_pip=True)
            say('imitation: installing it')
            _call(
                [python, '-m', 'pip', 'install', '-q', '--no-deps', '-r', REQUIREMENTS], INSTALL_S
            )
        self._python = python
        return python


def _call(command: list[Any], timeout_s: float, environment: dict[str, str] | None = None) -> str:
    try:
        return subprocess.run(
            list(map(str, command)), check=True, capture_output=True, text=True,
            timeout=timeout_s, cwd=ROOT, env=environment,
        ).stdout  # fmt: skip
    except (subprocess.SubprocessError, OSError) as error:
        reason = (getattr(error, 'stderr', None) or str(error)).strip()
        print(reason, file=sys.stderr)
        raise ImitationError(f'imitation: {reason.splitlines()[-1][:300]}') from error
