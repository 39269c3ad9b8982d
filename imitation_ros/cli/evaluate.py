"""`evaluate`: how often a policy succeeds, with a confidence interval."""

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
    from imitation_ros.learning.evaluation import Evaluation

TEST_SEEDS = 1_000_000
"""Where the seeds of test scenes start; demonstrations are recorded far below."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options."""
    parser.add_argument('source', help="a checkpoint's folder, or 'expert'")
    add_task_arguments(parser, families=True)
    parser.add_argument('--episodes', type=int, default=100, help='how many scenes')
    parser.add_argument('--seed', type=as_seed, default=TEST_SEEDS, help='of the first scene')
    parser.add_argument('--workers', type=int, default=None, help='processes; one a core')
    parser.add_argument(
        '--topics', action='store_true', help='through the real nodes, in lockstep'
    )
    parser.add_argument('--json', action='store_true', help='one JSON object on stdout')


def run(options: argparse.Namespace) -> int:
    """Evaluates and prints."""
    from imitation_ros.learning.evaluation import evaluate

    for name in ('episodes', 'workers'):
        given = getattr(options, name)
        if given is not None and given < 1:
            raise ImitationError(f'--{name}: {given}; valid: at least 1')
    if options.topics and options.workers is not None:
        raise ImitationError('--workers: over topics there is one robot; valid: without --topics')
    contract = contract_of(options)
    seeds = range(options.seed, options.seed + options.episodes)
    with progress('roll-outs', len(seeds)) as advance:
        if options.topics:
            result = evaluate_over_topics(options.task, contract, options.source, seeds, advance)
        else:
            result = evaluate(
                options.task, contract, options.source, seeds, options.workers,
                lambda done: advance(completed=done),
            )  # fmt: skip
    if options.json:
        print_json({'task': options.task, 'source': options.source, **result.to_document()})
        return 0
    low, high = result.interval
    row = (options.source, f'{result.success:.1%}', f'{low:.1%} to {high:.1%}', len(seeds))
    print_table(options.task, ('policy', 'success', '95 % interval', 'episodes'), [row])
    return 0


def evaluate_over_topics(
    task: str,
    contract: str,
    source: str | Path,
    seeds: Sequence[int],
    advance: Callable[[str], None] = lambda note: None,
    log_dir: Path | None = None,
) -> Evaluation:
    """The same scenes as in process, through sim_arm, supervisor and the source's node."""
    from imitation_ros.learning.evaluation import Evaluation, EXPERT
    from imitation_ros.nodes.session import LockstepSession

    sources: dict[str, dict[str, Any]] = {'policy': {'checkpoint': source}}
    if source == EXPERT:
        sources = {'teleop_expert': {'task': task}}
    with LockstepSession(task, contract, sources, log_dir=log_dir) as session:
        results = []
        for seed in seeds:
            results.append(session.run(seed))
            advance(f'success {sum(r.success for r in results)} of {len(results)}')
    return Evaluation(
        tuple(seeds), tuple(r.success for r in results), tuple(r.ticks for r in results)
    )
