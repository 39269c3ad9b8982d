"""Which tests can run on this machine. Never imports rclpy: that alone would bind a context.

On a ROS 2 machine without the extras, whatever needs them is left out and named in the header.
Where everything has to be tested, REQUIRE_ROS is set, and nothing is left out in silence.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from importlib.util import find_spec
import os
from pathlib import Path
import signal

import pytest

TESTS = Path(__file__).parent
SOURCES = (TESTS.parent, TESTS / 'unit')
"""Where modules of our own are."""
OPTIONAL = ('rclpy', 'torch', 'safetensors', 'pybullet', 'gymnasium', 'matplotlib', 'imageio')
OPTIONAL += ('mcap', 'lz4', 'zstandard', 'hypothesis', 'rosbags')
MISSING = {name for name in OPTIONAL if find_spec(name) is None}


def imported(path: Path) -> Iterator[str]:
    """Names of what a module imports as soon as it is imported itself."""
    unread: list[ast.AST] = [ast.parse(path.read_text())]
    while unread:
        node = unread.pop()
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f'{node.module}.{alias.name}' for alias in node.names)
        elif not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            unread += ast.iter_child_nodes(node)


def missing_for(path: Path) -> set[str]:
    """What a test file cannot be imported without, through our own modules too."""
    missing, seen, unread = set(), set(), [path]
    while unread:
        for name in imported(unread.pop()):
            missing |= {name.split('.')[0]} & MISSING
            modules = [folder.joinpath(*name.split('.')) for folder in SOURCES]
            files = {each.with_suffix('.py') for each in modules}
            files |= {each / '__init__.py' for each in modules}
            for file in files - seen:
                seen.add(file)
                if file.is_file():
                    unread.append(file)
    return missing


def left_out() -> dict[str, set[str]]:
    """Path from here → what it needs and is missing."""
    folders = {name: {'rclpy'} for name in ('ros', 'launch') if 'rclpy' in MISSING}
    files = {
        str(path.relative_to(TESTS)): missing
        for path in sorted(TESTS.rglob('test_*.py'))
        if path.parent.name not in folders and (missing := missing_for(path))
    }
    return folders | files


LEFT_OUT = left_out() if MISSING else {}
collect_ignore = list(LEFT_OUT)


if 'hypothesis' not in MISSING:
    from hypothesis import settings

    # A busy machine is no defect, and a run that fails must fail again.
    settings.register_profile('steady', deadline=None, derandomize=True)
    settings.load_profile('steady')


def pytest_configure(config):
    # What a shell starts in the background ignores Ctrl-C, and so would all that tests start.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if MISSING and os.environ.get('REQUIRE_ROS'):
        names = ', '.join(sorted(MISSING))
        raise pytest.UsageError(f'REQUIRE_ROS is set, but not installed: {names}')


def pytest_report_header(config):
    return [
        f'left out: test/{name}, needs {", ".join(sorted(needs))}'
        for name, needs in LEFT_OUT.items()
    ]
