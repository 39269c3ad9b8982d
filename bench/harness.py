"""What the measurements share: pairs by turns, how sure a ratio is, conditions, the machine."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from importlib.metadata import version
import os
from pathlib import Path
import platform
import statistics
from typing import Any

import imitation_ros
from imitation_ros.types import Array
import numpy as np

from bench.rows import say

Row = dict[str, Any]


def options(argv: Sequence[str] | None, description: str | None) -> argparse.Namespace:
    """What every measurement takes: `--quick`."""
    parser = argparse.ArgumentParser(description=(description or '').partition('\n')[0])
    parser.add_argument('--quick', action='store_true', help='a small run, for the tests')
    return parser.parse_args(argv)


def interleaved(
    ours: Callable[[], Row], reference: Callable[[], Row], pairs: int, key: str
) -> list[Row]:
    """Measures the two by turns, so that the load of the machine falls on both alike.

    Args:
        ours: measures the package.
        reference: measures what it is compared with.
        pairs: how many of each; who goes first alternates.
        key: the number of both that `ratio` (ours / reference) is about.

    Returns:
        One row a pair: 'pair', 'ours', 'reference', 'ratio'.
    """
    rows = []
    for pair in range(pairs):
        turns = [('ours', ours), ('reference', reference)]
        measured = {name: measure() for name, measure in turns[:: 1 - 2 * (pair % 2)]}
        ratio = round(measured['ours'][key] / measured['reference'][key], 4)
        rows.append({'pair': pair, **{name: measured[name] for name, _ in turns}, 'ratio': ratio})
        say(f'pair {pair + 1} of {pairs}: {ratio}')
    return rows


def bootstrap_interval(
    samples: Sequence[float],
    statistic: Callable[..., Array] = np.median,
    level: float = 0.95,
    draws: int = 10_000,
) -> list[float]:
    """The percentile bootstrap interval of a statistic (Efron 1979), the same at every call."""
    drawn = np.random.default_rng(0).choice(np.asarray(samples), (draws, len(samples)))
    tail = 50 * (1 - level)
    low, high = np.percentile(statistic(drawn, axis=1), (tail, 100 - tail))
    return [round(float(low), 4), round(float(high), 4)]


def median_ratio(rows: Sequence[Row]) -> tuple[float, list[float]]:
    """Median of the rows' ratios, and its 95 % interval."""
    ratios = [row['ratio'] for row in rows]
    return round(statistics.median(ratios), 4), bootstrap_interval(ratios)


def at_most(value: float, limit: float) -> Row:
    """A condition of `pass`."""
    return {'value': value, 'limit': limit, 'ok': bool(value <= limit)}


def at_least(value: float, limit: float) -> Row:
    """A condition of `pass`."""
    return {'value': value, 'limit': limit, 'ok': bool(value >= limit)}


def machine() -> Row:
    """What it was measured on."""
    return {
        'cpu': _cpu(),
        'cores': len(os.sched_getaffinity(0)),
        'load_average': [round(load, 2) for load in os.getloadavg()],
        'system': platform.platform(),
        'python': platform.python_version(),
        'numpy': np.__version__,
        'torch': version('torch'),
        'imitation_ros': imitation_ros.__version__,
    }


def plain(value: Any) -> Any:
    """The same for JSON: NumPy's numbers and arrays as Python's, NaN and infinity as null."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, (np.generic, np.ndarray)):
        return plain(value.tolist())
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value


def _cpu() -> str:
    try:
        lines = Path('/proc/cpuinfo').read_text().splitlines()
    except OSError:
        return platform.processor()
    names = (line.partition(':')[2].strip() for line in lines if line.startswith('model name'))
    return next(names, platform.machine())
