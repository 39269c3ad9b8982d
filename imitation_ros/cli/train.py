"""`train`: clone a policy from recorded episodes."""

from __future__ import annotations

import argparse
from pathlib import Path

from imitation_ros.cli._console import console, print_json, print_table, progress


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options."""
    from imitation_ros.learning.bc import BCConfig

    default = BCConfig()
    parser.add_argument('data', type=Path, help='folder with recorded episodes')
    parser.add_argument('--out', type=Path, default=Path('checkpoints/bc'))
    parser.add_argument('--contract', default=None, help="default: the episodes' own")
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--episodes', type=int, default=None, help='only the first so many')
    parser.add_argument('--head', choices=('deterministic', 'gaussian'), default=default.head)
    parser.add_argument('--hidden', type=int, nargs='+', default=list(default.hidden))
    for name in ('history', 'chunk', 'execute', 'epochs', 'batch_size', 'patience'):
        option = '--' + name.replace('_', '-')
        parser.add_argument(option, type=int, default=getattr(default, name))
    parser.add_argument('--learning-rate', type=float, default=default.learning_rate)
    parser.add_argument('--device', choices=('cpu', 'cuda'), default=default.device)
    parser.add_argument('--json', action='store_true', help='one JSON object on stdout')


def run(options: argparse.Namespace) -> int:
    """Trains and saves the checkpoint."""
    from imitation_ros.episodes.training_set import TrainingSet
    from imitation_ros.frames.contract import load_contract
    from imitation_ros.learning.bc import BCConfig, train_bc

    contract = load_contract(options.contract) if options.contract else None
    with progress(f'reading {options.data}', 1) as advance:
        training_set = TrainingSet.from_folder(
            options.data, contract, options.episodes,
            progress=lambda done, total: advance(completed=done, total=total),
        )  # fmt: skip
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
    with progress('epochs', config.epochs) as advance:
        _, record = train_bc(
            training_set,
            config,
            options.seed,
            options.out,
            lambda epoch, train, held_out: advance(loss_note(train, held_out)),
        )
    result = {
        'checkpoint': str(options.out),
        'episodes': record.episodes + record.validation_episodes,
        'frames': record.frames,
        'best_epoch': record.best_epoch,
        'train_loss': record.train_loss[record.best_epoch - 1],
        'validation_loss': min(record.validation_loss, default=None),
    }
    if options.json:
        print_json(result)
    else:
        print_table('trained', tuple(result), [tuple(result.values())])
    return 0


def loss_note(train: float, held_out: float | None) -> str:
    """For a progress bar."""
    return f'loss {train:.3f}' + (f', held out {held_out:.3f}' if held_out is not None else '')
