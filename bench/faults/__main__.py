"""`./run faults [CLASS …]` injects faults and prints the score: one line a class, then the sum.

The exit code is 1 where a bar is broken: something was lost that must not be, a command was
illegal, or a class could not be run. Progress and problems go to stderr; the score is also
written as JSON.
"""

from __future__ import annotations

import argparse
import ast
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib import import_module
import json
from pathlib import Path
import signal
import sys
import time
import traceback
from typing import Any

from imitation_ros.errors import one_of

from bench.faults.outcome import Outcome
from bench.harness import machine, plain
from bench.rows import say

FOLDER = Path(__file__).parent
OUT = FOLDER.parents[1] / 'log/faults.json'
BROKEN, UNKNOWN = 1, 2


def main(argv: Sequence[str]) -> int:
    """Returns the exit code: 0, 1 if a bar is broken, 2 if there is no such class."""
    found = classes()
    options = _options(argv, found)
    unknown = [name for name in options.classes if name not in found]
    if unknown:
        say(f'faults: no class {unknown[0]!r}; {one_of(unknown[0], found)}')
        return UNKNOWN
    tier, rows = 'full' if options.full else 'short', []
    for name in options.classes or found:
        rows.append(run_class(name, tier, options.seed))
        print(_line(rows[-1]), flush=True)
        for problem in rows[-1]['problems']:
            say(f'  {problem}')
    total = _total(rows)
    print(
        f'faults injected {total["injected"]} · survived {total["survived"]} · '
        f'data lost {total["lost_s"]:.1f} s · illegal commands {total["illegal"]}'
    )
    result = {'tier': tier, 'seed': options.seed, **total, 'classes': rows, 'machine': machine()}
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(plain(result), indent=1, allow_nan=False) + '\n')
    return 0 if total['ok'] else BROKEN


def classes() -> dict[str, str]:
    """Name → what is injected: the modules here that have a `run`, read without running them."""
    found = {}
    for path in sorted(FOLDER.glob('[!_]*.py')):
        tree = ast.parse(path.read_text(encoding='utf-8'))
        if any(isinstance(node, ast.FunctionDef) and node.name == 'run' for node in tree.body):
            found[path.stem] = (ast.get_docstring(tree) or '').partition('\n')[0]
    return found


def run_class(name: str, tier: str, seed: int) -> dict[str, Any]:
    """Injects the faults of one class; what it cannot do is a problem like any other."""
    began_s = time.monotonic()
    try:
        outcome: Outcome = import_module(f'bench.faults.{name}').run(tier, seed)
    except Exception:
        outcome = Outcome(name, problems=[traceback.format_exc()])
    row = asdict(outcome)
    row['ok'] = holds(outcome)
    return {**row, 'class': name, 'seconds': round(time.monotonic() - began_s, 1)}


def holds(outcome: Outcome) -> bool:
    """Whether no bar is broken; nothing injected is nothing shown."""
    whole = 0 < outcome.injected == outcome.survived
    return whole and not outcome.illegal and not outcome.problems


def _options(argv: Sequence[str], found: Mapping[str, str]) -> argparse.Namespace:
    width = max(len(name) for name in found)
    parser = argparse.ArgumentParser(
        prog='./run faults',
        description=(__doc__ or '').partition('\n')[0],
        epilog='classes:\n' + '\n'.join(f'  {name:<{width}}  {found[name]}' for name in found),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('classes', nargs='*', metavar='CLASS', help='all by default')
    parser.add_argument('--full', action='store_true', help='the long tier: hours')
    parser.add_argument('--seed', type=int, default=0, help='of what is drawn by chance')
    parser.add_argument('--out', type=Path, default=OUT, metavar='FILE', help=f'default: {OUT}')
    return parser.parse_args(argv)


def _line(row: Mapping[str, Any]) -> str:
    verdict = 'holds' if row['ok'] else 'BROKEN'
    return (
        f'{row["name"]:<40} injected {row["injected"]} · survived {row["survived"]} · '
        f'data lost {row["lost_s"]:.1f} s · illegal commands {row["illegal"]} · '
        f'{verdict} ({row["seconds"]:.0f} s)'
    )


def _total(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    return {
        'injected': sum(row['injected'] for row in rows),
        'survived': sum(row['survived'] for row in rows),
        'lost_s': max((row['lost_s'] for row in rows), default=0.0),
        'illegal': sum(row['illegal'] for row in rows),
        'ok': all(row['ok'] for row in rows),
    }


if __name__ == '__main__':
    # What a shell starts in the background ignores Ctrl-C, and so would all that this starts.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.exit(main(sys.argv[1:]))
