"""What the verbs share: tables, progress, options."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
import json
import sys
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Column, Table

console = Console(stderr=True)
"""People read stderr; stdout carries results, so that a script can read them."""

WIDE = 140
"""Columns of a table that goes to a file."""
Advance = Callable[..., None]
TASKS = ('reach', 'push', 'pick_place')
LARGEST_SEED = 2**31 - 1


@contextmanager
def progress(text: str, total: int) -> Iterator[Advance]:
    """A progress bar; yields `advance(note)`, which also takes how many of how many are done."""
    columns = (
        TextColumn('{task.description:<27}', table_column=Column(no_wrap=True)),
        BarColumn(bar_width=10),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn('{task.fields[note]}', table_column=Column(no_wrap=True, overflow='ellipsis')),
    )
    with Progress(*columns, console=console) as bar:
        task = bar.add_task(text, total=total, note='')

        def advance(
            note: str = '', completed: int | None = None, total: int | None = None
        ) -> None:
            advanced = 1 if completed is None else None
            bar.update(task, note=note, total=total, advance=advanced, completed=completed)

        yield advance


def print_table(title: str, header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Prints a table to stdout."""
    table = Table(title=title, title_justify='left')
    for name in header:
        table.add_column(name)
    for row in rows:
        table.add_row(*(str(cell) for cell in row))
    Console(file=sys.stdout, width=None if sys.stdout.isatty() else WIDE).print(table)


def print_json(document: Any) -> None:
    """Prints a result for scripts: one JSON object on stdout."""
    print(json.dumps(document, sort_keys=True))


def add_task_arguments(parser: argparse.ArgumentParser, families: bool = False) -> None:
    """Which simulated task, one of a family where that can be, and through which contract."""
    if families:
        parser.add_argument(
            '--task', type=_task, default='pick_place',
            help='reach, push or pick_place; FAMILY/SEED is a task that nobody is told',
        )  # fmt: skip
    else:
        parser.add_argument('--task', choices=TASKS, default='pick_place', help='simulated task')
    parser.add_argument(
        '--contract', default=None, help='contract file, or the name of one of the own contracts'
    )


def as_seed(text: str) -> int:
    """A seed, as every generator here takes it."""
    if not text.isdecimal() or int(text) > LARGEST_SEED:
        raise argparse.ArgumentTypeError(f'{text!r}; valid: 0 to {LARGEST_SEED}')
    return int(text)


def contract_of(options: argparse.Namespace) -> str:
    """The contract that was asked for, else the task's usual one."""
    family, slash, _ = options.task.partition('/')
    usual = 'panda_reach' if options.task == 'reach' else 'panda_twist'
    return str(options.contract or (f'panda_family_{family}' if slash else usual))


def _task(text: str) -> str:
    """The name of a task, checked without the simulator."""
    name, slash, seed = text.partition('/')
    if name not in TASKS or (slash and not seed.isdecimal()):
        valid = ', '.join((*TASKS, 'or one of them with /SEED'))
        raise argparse.ArgumentTypeError(f'{text!r}; valid: {valid}')
    return text
