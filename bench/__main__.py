"""`python -m bench` lists the measurements; `python -m bench NAME [OPTIONS]` runs one.

Progress goes to stderr. The one line on stdout is the result, a JSON object. The exit code says
whether it could be measured (0), not whether the conditions hold: `pass` says that.
"""

from __future__ import annotations

import ast
from collections.abc import Sequence
from contextlib import redirect_stdout
from importlib import import_module
import json
from pathlib import Path
import sys
from typing import Any

from imitation_ros.errors import ImitationError, one_of

from bench.harness import machine, plain

FOLDER = Path(__file__).parent
FAILED, UNKNOWN = 1, 2


def main(arguments: Sequence[str]) -> int:
    """Returns the exit code: 0, 1 if it could not be measured, 2 if there is no such name."""
    found = measurements()
    if not arguments or arguments[0] in ('-h', '--help'):
        print('usage: ./run bench NAME [OPTIONS], ./run bench NAME --help\n')
        for name, line in found.items():
            print(f'  {name:<16} {line}')
        return 0
    name, *options = arguments
    if name not in found:
        print(f'bench: no measurement {name!r}; {one_of(name, found)}', file=sys.stderr)
        return UNKNOWN
    try:
        with redirect_stdout(sys.stderr):
            result = import_module(f'bench.{name}').main(options)
    except ImitationError as error:
        print(f'bench {name}: {error}', file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        print(f'bench {name}: interrupted', file=sys.stderr)
        return 130
    _tell(result)
    print(json.dumps(plain({**result, 'machine': machine()}), allow_nan=False))
    return 0


def measurements() -> dict[str, str]:
    """Name → what it measures: the files here that have a `main`, read without running them."""
    found = {}
    for path in sorted(FOLDER.glob('[!_]*.py')):
        tree = ast.parse(path.read_text(encoding='utf-8'))
        if any(isinstance(node, ast.FunctionDef) and node.name == 'main' for node in tree.body):
            found[path.stem] = (ast.get_docstring(tree) or '').partition('\n')[0]
    return found


def _tell(result: dict[str, Any]) -> None:
    """Says for people what held."""
    print(f'\n{result["bench"]}: {result["value"]}', file=sys.stderr)
    for text, condition in result['pass'].items():
        verdict = 'holds' if condition['ok'] else 'DOES NOT HOLD'
        print(f'  {text}: {condition["value"]} {verdict}', file=sys.stderr)


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
