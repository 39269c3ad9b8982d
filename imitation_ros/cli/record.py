"""`record`: demonstrations of the simulated arm, over topics, as rosbag2 MCAP episodes.

With `--teleop expert` the scripted expert drives, in lockstep. With `--teleop keyboard` a person
does, in real time: everything that is needed beside the terminal is started here.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
import subprocess
import sys
from typing import TYPE_CHECKING

from imitation_ros.cli._console import (
    add_task_arguments,
    as_seed,
    console,
    contract_of,
    print_json,
    print_table,
    progress,
)
from imitation_ros.errors import GraphError, ImitationError

if TYPE_CHECKING:
    from imitation_ros.nodes.session import EpisodeResult


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options."""
    add_task_arguments(parser, families=True)
    parser.add_argument('--teleop', choices=('expert', 'keyboard'), default='expert')
    parser.add_argument('--episodes', type=int, default=10, help='successful ones (expert)')
    parser.add_argument('--out', type=Path, default=Path('data/demonstrations'))
    parser.add_argument('--seed', type=as_seed, default=0, help='of the first scene')
    parser.add_argument('--skill', type=float, default=1.0, help='of the expert, 0 to 1')
    parser.add_argument(
        '--noise', type=float, default=0.0,
        help='DART: noise on the executed action, as a share of its larger bound; the labels stay '
        'clean',
    )  # fmt: skip
    parser.add_argument(
        '--gui', action='store_true', help="show the simulator's window (keyboard)"
    )
    parser.add_argument('--json', action='store_true', help='one JSON object on stdout')


def run(options: argparse.Namespace) -> int:
    """Records."""
    if options.teleop == 'keyboard' and (options.noise or options.json):
        raise ImitationError('--noise, --json: of the scripted expert; valid: without --teleop')
    if options.teleop == 'keyboard':
        return _record_by_hand(options)
    with progress('record over topics', options.episodes) as advance:
        results = record_expert(
            options.task, contract_of(options), options.out, options.episodes, options.seed,
            options.skill, options.noise, advance,
        )  # fmt: skip
    successes = sum(result.success for result in results)
    frames = sum(result.ticks for result in results)
    if options.json:
        print_json({'out': str(options.out), 'success': successes, 'episodes': len(results)})
    else:
        row = (options.out, successes, len(results) - successes, frames)
        print_table('recorded', ('folder', 'successes', 'failures', 'ticks'), [row])
    return 0


def record_expert(
    task: str,
    contract: str,
    out: Path,
    episodes: int,
    seed: int,
    skill: float = 1.0,
    noise: float = 0.0,
    advance: Callable[[str], None] = lambda note: None,
    log_dir: Path | None = None,
) -> list[EpisodeResult]:
    """Records until there are `episodes` successful demonstrations; failures are kept as such."""
    from imitation_ros.nodes.session import LockstepSession

    source = {'task': task, 'skill': skill, 'seed': seed}
    supervisor = {'dart_noise': noise, 'dart_seed': seed} if noise else {}
    with LockstepSession(
        task, contract, {'teleop_expert': source}, out, supervisor, log_dir
    ) as session:
        results: list[EpisodeResult] = []
        while sum(result.success for result in results) < episodes:
            if len(results) >= 2 * episodes + 10:
                raise GraphError(f'only {len(results)} tries succeeded often enough: see {out}')
            results.append(session.run(seed + len(results)))
            if results[-1].success:
                advance(f'{len(results)} tries')
    return results


def _record_by_hand(options: argparse.Namespace) -> int:
    from imitation_ros.nodes.graph import Graph

    if not sys.stdin.isatty():
        raise GraphError('keyboard teleoperation needs a terminal; valid: --teleop expert')
    contract = contract_of(options)
    with Graph() as graph:
        with console.status('starting the simulated arm'):
            common = {'contract': contract, 'use_sim_time': True}
            graph.start(
                'sim_arm',
                {**common, 'task': options.task, 'seed': options.seed, 'gui': options.gui,
                 'use_sim_time': False},
            )  # fmt: skip
            graph.start('supervisor', common)
            graph.start('recorder', {**common, 'out': options.out, 'task': options.task})
            graph.wait_ready()
        arguments = ('--ros-args', '-p', f'contract:={contract}', '-p', 'use_sim_time:=true')
        teleop = (sys.executable, '-m', 'imitation_ros.nodes.teleop_keyboard', *arguments)
        return subprocess.run(teleop, check=False, env=graph.environment).returncode
