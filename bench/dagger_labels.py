"""All gates in one table: labels, the expert's attention, switches of control, success."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
import statistics
import tempfile
from typing import Any

from imitation_ros.frames.contract import load_contract
from imitation_ros.learning.bc import BCConfig
from imitation_ros.learning.dagger import dagger, DaggerConfig
from imitation_ros.learning.evaluation import evaluate
from imitation_ros.learning.rounds import Round
from imitation_ros.learning.sim_collector import SimCollector
from imitation_ros.policies.policy import use_one_thread
from imitation_ros.supervision.gates import GateConfig

from bench.cloning import first_scene, parser_of, rows_name
from bench.harness import at_most
from bench.rows import Rows, say

TASK, CONTRACT = 'reach', 'panda_reach'
CONFIG = DaggerConfig(
    # One architecture for all gates: those that need no ensemble have one too.
    training=BCConfig(
        hidden=(128, 128), members=3, epochs=200, batch_size=128, validation_fraction=0.0
    ),
    initial_episodes=5,
    episodes=4,
    rounds=6,
    held_out_every=4,
)
GATES = {
    'beta': GateConfig('beta', beta=0.5, beta_schedule='exponential'),
    'shadow': GateConfig('shadow'),
    'human': GateConfig('human', discrepancy=0.4),
    'uncertainty': GateConfig('uncertainty', uncertainty=0.15),
    'ensemble': GateConfig('ensemble', uncertainty=0.3, discrepancy=0.5),
    'safe': GateConfig('safe', discrepancy=0.3),
    'thrifty': GateConfig('thrifty', budget=0.1, discrepancy=0.5),
}
WATCHED = ('beta', 'shadow', 'human', 'ensemble')
"""Gates that need the expert at every tick; the others call for it."""
SEEDS = range(21, 26)
VALIDATION_SEEDS = range(51, 57)
SCENES = 40
TARGET = 0.95
SHARE_OF_BETA, SHARE_OF_TICKS = 0.6, 0.3


def main(argv: Sequence[str] | None = None) -> dict[str, Any]:
    """Runs every gate for each training seed; the value is the best gate's share of beta's."""
    options = _options(argv)
    use_one_thread()
    config, scenes, gates = CONFIG, SCENES, list(GATES)
    seeds = list(VALIDATION_SEEDS if options.validation else SEEDS)[: options.seeds]
    if options.quick:
        training = replace(CONFIG.training, epochs=1, hidden=(16,))
        config = replace(CONFIG, training=training, initial_episodes=2, episodes=2, rounds=1)
        seeds, scenes, gates = [50], 2, ['beta', 'human', 'thrifty']
    first = first_scene(options)
    settings = {
        'dagger': asdict(config), 'gates': {name: asdict(GATES[name]) for name in gates},
        'scenes': scenes, 'first_scene': first, 'task': TASK, 'contract': CONTRACT,
        'target': TARGET,
    }  # fmt: skip
    rows = Rows(rows_name('dagger_labels', options), settings, options.quick, options.fresh)
    runs = [
        rows.get(
            f'{gate} {seed}',
            lambda gate=gate, seed=seed: _run(gate, seed, config, range(first, first + scenes)),
        )
        for seed in seeds
        for gate in gates
    ]
    tick_s = 1.0 / load_contract(CONTRACT).rate_hz
    table = [_line(gate, [run for run in runs if run['gate'] == gate], tick_s) for gate in gates]
    for line in table:
        say(str(line))
    return _result(table, runs, first)


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = parser_of(__doc__)
    parser.add_argument('--seeds', type=int, default=None, help='only the first so many')
    return parser.parse_args(argv)


def _run(gate: str, seed: int, config: DaggerConfig, scenes: range) -> dict[str, Any]:
    """One run: what every round cost, and the success of its policy."""
    contract = load_contract(CONTRACT)
    collector = SimCollector(TASK, contract)
    rounds: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix='imitation_ros_') as folder:

        def test(done: Round) -> None:
            checkpoint = Path(folder, 'run', f'round_{done.driving:03d}', 'checkpoint')
            success = evaluate(TASK, CONTRACT, checkpoint, scenes, workers=1).success
            rounds.append(
                {
                    'labels': done.labels, 'ticks': done.ticks, 'switches': done.switches,
                    'expert_ticks': done.expert_ticks, 'success': success,
                    'accepted': done.accepted,
                }
            )  # fmt: skip

        dagger(collector, replace(config, gate=GATES[gate]), Path(folder, 'run'), seed, test)
    collector.env.close()
    row = {'gate': gate, 'seed': seed, **_until_target(gate, rounds, 1.0 / contract.rate_hz)}
    say(f'{row}')
    return {**row, 'rounds': rounds}


def _until_target(gate: str, rounds: Sequence[dict[str, Any]], tick_s: float) -> dict[str, Any]:
    """What it cost to come to the target, and stay there in the next evaluation.

    To the end of the run, where it never did.
    """
    good = [each['success'] >= TARGET for each in rounds]
    pairs = [k for k in range(len(good) - 1) if good[k] and good[k + 1]]
    reached = pairs[0] if pairs else len(rounds) - 1
    return {
        'reached': bool(pairs),
        'rounds_needed': reached,
        'initial_labels': rounds[0]['labels'],
        **_spent(gate, rounds[1 : reached + 1], tick_s),
        'success': rounds[reached]['success'],
        'final_success': rounds[-1]['success'],
    }


def _spent(gate: str, rounds: Sequence[dict[str, Any]], tick_s: float) -> dict[str, Any]:
    """What some rounds cost the expert."""
    ticks, expert_ticks = (sum(each[key] for each in rounds) for key in ('ticks', 'expert_ticks'))
    return {
        'extra_labels': sum(each['labels'] for each in rounds),
        'attention_s': round((ticks if gate in WATCHED else expert_ticks) * tick_s, 2),
        'expert_share': round(expert_ticks / max(1, ticks), 4),
        'switches': sum(each['switches'] for each in rounds),
    }


def _line(gate: str, runs: Sequence[dict[str, Any]], tick_s: float) -> dict[str, Any]:
    """Means over the training seeds, up to the target and over the whole run."""
    costs = ('extra_labels', 'attention_s', 'expert_share', 'switches')
    whole = [_spent(gate, run['rounds'][1:], tick_s) for run in runs]
    to_target = _means(runs, ('initial_labels', *costs, 'success'))
    in_all = {**_means(whole, costs), **_means(runs, ('final_success',))}
    reached = f'{sum(run["reached"] for run in runs)}/{len(runs)}'
    return {'gate': gate, 'reached': reached, 'to_target': to_target, 'whole_run': in_all}


def _means(rows: Sequence[dict[str, Any]], keys: Sequence[str]) -> dict[str, float]:
    return {key: round(statistics.mean(row[key] for row in rows), 3) for key in keys}


def _result(
    table: Sequence[dict[str, Any]], runs: Sequence[dict[str, Any]], first: int
) -> dict[str, Any]:
    """The best gate: the fewest extra labels of those that always reach the target.

    The share of ticks that the expert drives may be read up to the target, or over the whole run,
    the same number of episodes for every gate: the best gate is chosen by the latter, and both
    must hold.
    """
    (beta,) = (line for line in table if line['gate'] == 'beta')
    always = {
        line['gate'] for line in table
        if all(run['reached'] for run in runs if run['gate'] == line['gate'])
    }  # fmt: skip
    able = [
        line for line in table
        if line['gate'] in always - {'beta'}
        and line['whole_run']['expert_share'] <= SHARE_OF_TICKS
    ]  # fmt: skip
    best = min(able, key=lambda line: line['to_target']['extra_labels'], default=None)
    value, in_all = (
        round(best[part]['extra_labels'] / max(1.0, beta[part]['extra_labels']), 4)
        if best
        else float('inf')
        for part in ('to_target', 'whole_run')
    )
    share, share_to_target = (
        best[part]['expert_share'] if best else 1.0 for part in ('whole_run', 'to_target')
    )
    return {
        'bench': 'dagger_labels',
        'value': value,
        'pass': {
            f"best gate's extra labels, of beta's, to {TARGET:.0%} success": at_most(
                value, SHARE_OF_BETA
            ),
            'the same over the whole run': at_most(in_all, SHARE_OF_BETA),
            'share of ticks that the expert drives with it': at_most(share, SHARE_OF_TICKS),
            'the same up to the target': at_most(share_to_target, SHARE_OF_TICKS),
        },
        'best': best and best['gate'],
        'always_reached': sorted(always),
        'task': f'{TASK} through {CONTRACT}',
        'table': list(table),
        'first_scene': first,
        'rows': list(runs),
    }
