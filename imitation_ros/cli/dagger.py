"""`dagger`: correct a cloned policy in rounds: it drives, the expert labels, it is trained again.

Over topics, through the nodes that a real robot has, or with `--sim` in process, which is faster
and gives the same frames.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TYPE_CHECKING

from imitation_ros.cli._console import (
    add_task_arguments,
    as_seed,
    contract_of,
    print_json,
    print_table,
    progress,
)
from imitation_ros.errors import ImitationError

if TYPE_CHECKING:
    from imitation_ros.learning.dagger import Collector, DaggerConfig, DaggerResult
    from imitation_ros.learning.evaluation import Evaluation
    from imitation_ros.learning.rounds import Round

TRIAL_SEED = 500_000
"""Scenes on which policies are compared: no round uses them, and no test."""
ASKS_BY = {
    'human': 'discrepancy',
    'uncertainty': 'uncertainty',
    'ensemble': 'discrepancy',
    'safe': 'risk',
    'thrifty': 'budget',
}
"""Gate → the setting that says when the expert is asked."""
THRESHOLDS = {
    'uncertainty': 'disagreement of the ensemble that asks for the expert (standard deviations)',
    'discrepancy': "distance of the two actions at which the expert drives (half the range's)",
    'risk': 'predicted risk at which the expert drives (0 to 1)',
    'release': 'share of a threshold below which the policy drives again',
    'budget': "share of ticks that 'thrifty' may ask about",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options."""
    from imitation_ros.learning.dagger import DaggerConfig
    from imitation_ros.supervision.gates import GateConfig, GATES, SCHEDULES

    default, gate = DaggerConfig(), GateConfig()
    add_task_arguments(parser, families=True)
    parser.add_argument('--sim', action='store_true', help='in process, without ROS')
    parser.add_argument('--out', type=Path, default=Path('out/dagger'), help='folder of the run')
    parser.add_argument('--seed', type=as_seed, default=0, help='the same seed repeats the run')
    parser.add_argument('--initial', type=int, default=default.initial_episodes,
                        help='demonstrations by the expert alone')  # fmt: skip
    parser.add_argument('--rounds', type=int, default=default.rounds, help='after those')
    parser.add_argument('--episodes', type=int, default=default.episodes, help='in each round')
    parser.add_argument('--max-labels', type=int, default=0, help='ends the run; 0: no limit')
    parser.add_argument('--gate', choices=tuple(GATES), default='beta', help='who drives a tick')
    parser.add_argument('--beta', type=float, default=0.5, help='chance of the expert to drive')
    parser.add_argument('--beta-schedule', choices=SCHEDULES, default=gate.beta_schedule,
                        help=f'linear: to 0 in round {gate.beta_rounds}; exponential: its power '
                        'of the round')  # fmt: skip
    parser.add_argument('--beta-per-tick', action='store_true', help='drawn each tick')
    for name, text in THRESHOLDS.items():
        parser.add_argument(f'--{name}', type=float, default=getattr(gate, name), help=text)
    parser.add_argument('--members', type=int, default=1, help='networks of the ensemble')
    parser.add_argument('--epochs', type=int, default=150, help='of each training')
    parser.add_argument('--warm-start', action='store_true', help='go on from the last weights')
    parser.add_argument('--trials', type=int, default=0,
                        help='roll-outs in process that decide which policy drives')  # fmt: skip
    parser.add_argument('--json', action='store_true', help='one JSON object on stdout')


def run(options: argparse.Namespace) -> int:
    """Runs the rounds, or goes on with them."""
    from imitation_ros.learning.dagger import DaggerConfig, SEED_BLOCK
    from imitation_ros.learning.rounds import PLOT
    from imitation_ros.report.plots import plot_rounds
    from imitation_ros.supervision.gates import GateConfig

    if options.seed >= TRIAL_SEED // SEED_BLOCK:
        raise ImitationError(
            f'--seed: {options.seed}: its scenes are kept for trials and tests; '
            f'valid: 0 to {TRIAL_SEED // SEED_BLOCK - 1}'
        )
    if options.trials < 0:
        raise ImitationError(f'--trials: {options.trials}; valid: at least 0')
    out = options.out.resolve()
    gate = GateConfig(
        options.gate, options.beta, options.beta_schedule, beta_per_tick=options.beta_per_tick,
        **{name: getattr(options, name) for name in THRESHOLDS},
    )  # fmt: skip
    config = DaggerConfig(
        gate, training(options.epochs, options.members), options.initial, options.episodes,
        options.rounds, options.max_labels, warm_start=options.warm_start,
    )  # fmt: skip
    contract = contract_of(options)
    with progress('DAgger', episodes_of(config)) as advance:
        logs = out.with_name(f'{out.name}_logs')
        collector = (
            _sim_collector(options.task, contract)
            if options.sim
            else _topics_collector(options.task, contract, logs, advance)
        )
        result = run_rounds(
            options.task, contract, collector, config, out, options.seed,
            options.trials, advance,
        )  # fmt: skip
    picture = plot_rounds(out / PLOT, result.rounds, f'DAgger, {options.task}')
    if options.json:
        rounds = [vars(each) for each in result.rounds]
        print_json({'checkpoint': str(result.checkpoint), 'rounds': rounds})
    else:
        print_rounds(options.task, result)
        for line in unasked(result.rounds, options.gate):
            print(line)
        print(f'{result.checkpoint} drives: ./run evaluate {result.checkpoint}')
        print(f'{picture}: success and intervention rate of each round')
    return 0


def training(epochs: int = 150, members: int = 1) -> Any:
    """How each round's policy is trained.

    For so many epochs, without early stopping: on states that the policy came to by its errors
    the loss stays high, and stopping there would stop what is learned elsewhere.
    """
    from imitation_ros.learning.bc import BCConfig

    return BCConfig(epochs=epochs, members=members, validation_fraction=0.0)


def episodes_of(config: DaggerConfig) -> int:
    """Of all rounds."""
    return config.initial_episodes + config.rounds * config.episodes


def run_rounds(
    task: str,
    contract: str,
    collector: Collector,
    config: DaggerConfig,
    out: Path,
    seed: int,
    trials: int = 0,
    advance: Callable[..., None] = lambda *note, **completed: None,
) -> DaggerResult:
    """DAgger with a note about each round; with `trials`, roll-outs decide which policy drives."""
    from imitation_ros.learning.dagger import dagger
    from imitation_ros.learning.evaluation import evaluate

    def success(checkpoint: Path) -> float:
        return trial(checkpoint).success

    def trial(checkpoint: Path) -> Evaluation:
        return evaluate(task, contract, checkpoint, range(TRIAL_SEED, TRIAL_SEED + trials))

    def tell(done: Round) -> None:
        note = f'round {done.number}: {done.label_total} labels'
        advance(note, completed=config.initial_episodes + done.number * config.episodes)

    return dagger(collector, config, out, seed, tell, success if trials else None)


def print_rounds(task: str, result: DaggerResult) -> None:
    """A table, a row a round."""
    header = ('round', 'labels', 'episodes', 'succeeded', 'expert drove', 'drives now', 'why')
    rows = [
        (
            each.number, each.label_total, each.episodes, each.successes,
            f'{each.intervention_rate:.0%}', f'round {each.driving}', each.reason,
        )
        for each in result.rounds
    ]  # fmt: skip
    print_table(f'DAgger, {task}', header, rows)


def unasked(rounds: Sequence[Round], gate: str) -> list[str]:
    """What to change where episodes of a round failed and nobody was asked to teach."""
    setting = ASKS_BY.get(gate)
    change = 'raise' if setting == 'budget' else 'lower'
    return [
        f'round {each.number}: {each.episodes - each.successes} episodes failed and the expert '
        f'was not asked once: {change} --{setting}'
        for each in rounds
        if setting and not each.labels and each.successes < each.episodes
    ]


def _sim_collector(task: str, contract: str) -> Collector:
    from imitation_ros.frames.contract import load_contract
    from imitation_ros.learning.sim_collector import SimCollector

    return SimCollector(task, load_contract(contract))


def _topics_collector(
    task: str, contract: str, logs: Path, advance: Callable[[str], None]
) -> Collector:
    from imitation_ros.nodes.collector import TopicsCollector

    return TopicsCollector(task, contract, logs, advance)
