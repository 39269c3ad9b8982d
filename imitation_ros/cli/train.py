"""`train`: clone a policy from recorded episodes, all alike or weighed by a few good ones."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from imitation_ros.cli._console import as_seed, console, print_json, print_table, progress
from imitation_ros.errors import EpisodeError, ImitationError, one_of

if TYPE_CHECKING:
    from imitation_ros.episodes.training_set import TrainingSet
    from imitation_ros.frames.contract import Contract
    from imitation_ros.types import Array

JUDGED = ('success', 'unknown', 'failure')
"""Outcomes that are read where the weights decide what is learned from."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options."""
    from imitation_ros.learning.bc import BCConfig

    default = BCConfig()
    parser.add_argument('data', type=Path, help='folder with recorded episodes')
    parser.add_argument('--out', type=Path, default=Path('checkpoints/bc'))
    parser.add_argument('--contract', default=None, help="default: the episodes' own")
    parser.add_argument('--seed', type=as_seed, default=0)
    parser.add_argument('--episodes', type=int, default=None, help='only the first so many')
    parser.add_argument('--head', choices=('deterministic', 'gaussian'), default=default.head)
    parser.add_argument('--hidden', type=int, nargs='+', default=list(default.hidden))
    for name in ('history', 'chunk', 'execute', 'epochs', 'batch_size', 'patience'):
        option = '--' + name.replace('_', '-')
        parser.add_argument(option, type=int, default=getattr(default, name))
    parser.add_argument('--learning-rate', type=float, default=default.learning_rate)
    parser.add_argument('--device', choices=('cpu', 'cuda'), default=default.device)
    parser.add_argument(
        '--good', nargs='+', default=[], metavar='EPISODE',
        help='names of episodes in DATA that are good, or a folder with good ones: frames of all '
        'others, failures too, are weighed by how much they are like these',
    )  # fmt: skip
    parser.add_argument(
        '--habits', action='store_true',
        help='with --good: judge each frame by itself, to leave out idling and detours',
    )  # fmt: skip
    parser.add_argument('--json', action='store_true', help='one JSON object on stdout')


def run(options: argparse.Namespace) -> int:
    """Trains and saves the checkpoint."""
    from imitation_ros.frames.contract import load_contract
    from imitation_ros.learning.bc import BCConfig, train_bc

    if options.habits and not options.good:
        raise ImitationError('--habits: no good episodes to tell them by; valid: with --good')
    contract = load_contract(options.contract) if options.contract else None
    training_set, good = read_episodes(options, contract)
    for reason, count in {**training_set.skipped, **training_set.left_out}.items():
        console.print(f'left out: {count} × {reason}')
    config = BCConfig(
        head=options.head,
        hidden=tuple(options.hidden),
        history=options.history,
        chunk=options.chunk,
        execute=options.execute,
        epochs=options.epochs,
        batch_size=options.batch_size,
        learning_rate=options.learning_rate,
        patience=options.patience,
        device=options.device,
    )
    weights = _weigh(training_set, good, options) if good else None
    with progress('epochs', config.epochs) as advance:
        _, record = train_bc(
            training_set,
            config,
            options.seed,
            options.out,
            lambda epoch, train, held_out: advance(loss_note(train, held_out)),
            frame_weights=weights,
        )
    result: dict[str, object] = {
        'checkpoint': str(options.out),
        'episodes': record.episodes + record.validation_episodes,
        'frames': record.frames,
        'best_epoch': record.best_epoch,
        'train_loss': record.train_loss[record.best_epoch - 1],
        'validation_loss': min(record.validation_loss, default=None),
    }
    if weights:
        result['mean_weight'] = record.mean_frame_weight
        result['picture'] = str(_draw(training_set, good, weights, options.out))
    if options.json:
        print_json(result)
    else:
        print_table('trained', tuple(result), [tuple(result.values())])
    return 0


def read_episodes(
    options: argparse.Namespace, contract: Contract | None
) -> tuple[TrainingSet, list[int]]:
    """The training set, and which of its episodes are labelled good.

    Raises:
        EpisodeError: there is no such episode or folder.
    """
    from imitation_ros.episodes.training_set import LEARNED_FROM, TrainingSet

    outcomes = JUDGED if options.good else LEARNED_FROM
    with progress(f'reading {options.data}', 1) as advance:
        training_set = TrainingSet.from_folder(
            options.data, contract, options.episodes, outcomes,
            progress=lambda done, total: advance(completed=done, total=total),
        )  # fmt: skip
    paths = [Path(str(episode.metadata.get('path', ''))).resolve() for episode in training_set]
    names = [path.name for path in paths]
    good: list[int] = []
    for name in options.good:
        if name in names:
            good.append(names.index(name))
        elif Path(name).resolve() in paths:
            good.append(paths.index(Path(name).resolve()))
        elif Path(name).is_dir():
            labelled = TrainingSet.from_folder(name, training_set.contract)
            good += range(len(training_set), len(training_set) + len(labelled))
            training_set = training_set.joined(labelled)
        else:
            raise EpisodeError(f'--good {name}: no such episode or folder; {one_of(name, names)}')
    return training_set, good


def _weigh(
    training_set: TrainingSet, good: Sequence[int], options: argparse.Namespace
) -> list[Array]:
    from imitation_ros.learning.weighting import BY_FRAME, DEFAULT, weigh_frames

    config = BY_FRAME if options.habits else DEFAULT
    with console.status('weighing frames'):
        return weigh_frames(training_set, good, config, options.seed)


def _draw(
    training_set: TrainingSet, good: Sequence[int], weights: Sequence[Array], out: Path
) -> Path:
    """A picture of the weights beside the checkpoint, whose folder holds nothing else."""
    from imitation_ros.report.plots import plot_frame_weights

    kinds = [
        'labelled good' if index in good else episode.outcome
        for index, episode in enumerate(training_set)
    ]
    rate_hz = training_set.contract.rate_hz
    return plot_frame_weights(out.with_name(f'{out.name}.weights.png'), weights, kinds, rate_hz)


def loss_note(train: float, held_out: float | None) -> str:
    """For a progress bar."""
    return f'loss {train:.3f}' + (f', held out {held_out:.3f}' if held_out is not None else '')
