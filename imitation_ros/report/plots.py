"""The figures of a report, each from plain arrays to a PNG or SVG file.

One style for all: the colours of Okabe and Ito (2008), which people with any colour vision can
tell apart, and a marker or dash beside each, so that they survive a black-and-white printer too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol
import warnings

from imitation_ros.types import Array
import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter
import numpy as np

BLUE, ORANGE, GREEN, PURPLE, SKY, BLACK = (
    '#0072B2', '#D55E00', '#009E73', '#CC79A7', '#56B4E9', '#222222'
)  # fmt: skip
SERIES: Sequence[dict[str, Any]] = (
    {'color': ORANGE, 'marker': 'o', 'linestyle': '-'},
    {'color': BLUE, 'marker': 's', 'linestyle': '--'},
    {'color': GREEN, 'marker': '^', 'linestyle': '-.'},
    {'color': PURPLE, 'marker': 'D', 'linestyle': ':'},
    {'color': SKY, 'marker': 'v', 'linestyle': (0, (5, 1, 1, 1, 1, 1))},
)
STYLE: Any = {
    'figure.figsize': (6.4, 3.8),
    'figure.dpi': 130,
    'figure.constrained_layout.use': True,
    'figure.facecolor': 'white',
    'axes.facecolor': 'white',
    'axes.edgecolor': BLACK,
    'axes.grid': True,
    'axes.axisbelow': True,
    'axes.spines.top': False,
    'axes.spines.right': False,
    'axes.titlelocation': 'left',
    'axes.titlesize': 12,
    'axes.labelsize': 11,
    'font.size': 10.5,
    'grid.color': '#DDDDDD',
    'grid.linewidth': 0.8,
    'lines.linewidth': 2.0,
    'lines.markersize': 6,
    'legend.frameon': False,
    'svg.hashsalt': 'imitation_ros',
}


class Success(Protocol):
    """A success rate and how sure it is; an `Evaluation` is one."""

    @property
    def success(self) -> float:
        """Share of the episodes that succeeded, 0 to 1."""

    @property
    def interval(self) -> tuple[float, float]:
        """Its 95 % confidence interval."""


def plot_losses(
    path: str | Path,
    training: Sequence[float] | Array,
    validation: Sequence[float] | Array,
    kept_epoch: int | None = None,
    title: str = 'Loss while learning',
) -> Path:
    """Draws the loss on the training and on the held-out episodes.

    Args:
        path: a .png or .svg file to write.
        training: (epochs,) mean loss of each epoch.
        validation: (epochs,) the same on held-out episodes; empty, or NaN, where it was not taken.
        kept_epoch: index of the epoch whose weights were kept.
        title: above the figure.
    """
    curves = {'training': np.asarray(training), 'held-out episodes': np.asarray(validation)}

    def draw(axes: Axes) -> None:
        for (label, losses), series in zip(curves.items(), (SERIES[1], SERIES[0])):
            epochs, seen = np.arange(1, len(losses) + 1), np.isfinite(losses)
            if seen.any():
                marker = 'o' if len(losses) < 3 else ''
                axes.plot(epochs[seen], losses[seen], label=label, **series | {'marker': marker})
        if kept_epoch is not None:
            axes.axvline(kept_epoch + 1, color=BLACK, linewidth=1, linestyle=':', label='kept')
        shown = np.concatenate([*curves.values()])
        # A Gaussian's negative log likelihood may be below 0, where a log scale has no place.
        if (shown[np.isfinite(shown)] > 0).all():
            axes.set_yscale('log')
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set(xlabel='epoch', ylabel='loss')
        axes.legend()

    return save_plot(path, title, draw)


def plot_success(
    path: str | Path,
    curves: Mapping[str, Mapping[int, Success]],
    expert: Success | None = None,
    amount_label: str = 'demonstrations',
    title: str = 'Success by number of demonstrations',
) -> Path:
    """Draws success rates with their 95 % intervals, and the expert's as a line.

    Args:
        path: a .png or .svg file to write.
        curves: method → number of demonstrations (or of labels) → what it reached with them.
        expert: what the demonstrator itself reaches.
        amount_label: what was counted.
        title: above the figure.
    """

    def draw(axes: Axes) -> None:
        if expert is not None:
            axes.axhspan(*expert.interval, color=BLACK, alpha=0.08, linewidth=0)
            axes.axhline(expert.success, color=BLACK, linewidth=1.2, label='expert')
        for (label, points), series in zip(curves.items(), _series(len(curves))):
            amounts = sorted(points)
            rates = np.array([points[amount].success for amount in amounts])
            bounds = np.array([points[amount].interval for amount in amounts]).reshape(-1, 2)
            # Rounding may put a bound at 0 or 1 on the wrong side of the rate.
            spread = np.maximum([rates - bounds[:, 0], bounds[:, 1] - rates], 0.0)
            axes.errorbar(amounts, rates, yerr=spread, label=label, capsize=4, **series)
        axes.set_xticks(sorted({amount for points in curves.values() for amount in points}))
        axes.set(xlabel=amount_label, ylabel='success', ylim=(-0.03, 1.05))
        axes.yaxis.set_major_formatter(PercentFormatter(1.0))
        axes.legend(loc='best')

    return save_plot(path, title, draw)


class Corrected(Protocol):
    """A round of corrections; DAgger's `Round` is one."""

    @property
    def label_total(self) -> int:
        """Frames that the expert annotated until its end."""

    @property
    def success(self) -> float:
        """Share of its episodes that succeeded, whoever drove."""

    @property
    def intervention_rate(self) -> float:
        """Share of its ticks that the expert drove."""


def plot_rounds(
    path: str | Path, rounds: Sequence[Corrected], title: str = 'Rounds of corrections'
) -> Path:
    """Draws success and intervention rate of each round over the labels that it took.

    Args:
        path: a .png or .svg file to write.
        rounds: in order, the demonstrations first.
        title: above the figure.
    """
    labels = [each.label_total for each in rounds]
    curves = {
        'episodes that succeeded': [each.success for each in rounds],
        'ticks that the expert drove': [each.intervention_rate for each in rounds],
    }

    def draw(axes: Axes) -> None:
        for (label, shares), series in zip(curves.items(), _series(len(curves))):
            axes.plot(labels, shares, label=label, **series)
        axes.set(xlabel='labels of the expert', ylabel='share', ylim=(-0.03, 1.05))
        axes.yaxis.set_major_formatter(PercentFormatter(1.0))
        axes.legend(loc='best')

    return save_plot(path, title, draw)


def plot_covariate_shift(
    path: str | Path,
    distances: Mapping[str, Array],
    rate_hz: float,
    unit: str = '',
    title: str = "Distance of the policy's action from the expert's",
) -> Path:
    """Draws how far the learner's action is from the expert's over the ticks of an episode.

    A clone errs little on states of the demonstrations, but its own errors lead it to others, on
    which it errs more: the distribution of states shifts (Ross and Bagnell 2010).

    Args:
        path: a .png or .svg file to write.
        distances: where the states come from (such as 'its own states', 'held-out
            demonstrations') → (episodes, ticks), NaN after an episode's end. The line is the
            mean over episodes, the band their central 80 %.
        rate_hz: ticks per second.
        unit: of the distance.
        title: above the figure.
    """

    def draw(axes: Axes) -> None:
        for (label, rows), series in zip(distances.items(), _series(len(distances))):
            mean, low, high = _band(np.asarray(rows, float))
            time_s = np.arange(len(mean)) / rate_hz
            axes.fill_between(time_s, low, high, color=series['color'], alpha=0.18, linewidth=0)
            axes.plot(time_s, mean, label=f'on {label}', **series | {'marker': ''})
        axes.set_ylim(bottom=0)
        distance = 'mean distance' + (f' ({unit})' if unit else '')
        axes.set(xlabel='time in the episode (s)', ylabel=distance)
        axes.legend()

    return save_plot(path, title, draw)


def _band(rows: Array) -> tuple[Array, Array, Array]:
    """Mean, 10th and 90th percentile over episodes: (ticks,) each, NaN where none ran so long."""
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', RuntimeWarning)  # a tick that no episode reached
        low, high = np.nanpercentile(rows, (10, 90), axis=0)
        return np.nanmean(rows, axis=0), low, high


def _series(count: int) -> Sequence[dict[str, Any]]:
    return [SERIES[index % len(SERIES)] for index in range(count)]


def save_plot(path: str | Path, title: str, draw: Callable[[Axes], None]) -> Path:
    """Writes one figure in the style of all.

    Args:
        path: a .png or .svg file to write.
        title: above the figure.
        draw: fills the axes.

    Raises:
        ValueError: a file of another kind.
    """
    path = Path(path)
    if path.suffix not in ('.png', '.svg'):
        raise ValueError(f'{path}: valid: a name that ends in .png or .svg')
    # Equal numbers give equal files: the date is the one thing that would differ.
    metadata = {'Date': None} if path.suffix == '.svg' else {'Software': None}
    with matplotlib.rc_context(STYLE):
        figure = Figure()
        axes = figure.add_subplot()
        draw(axes)
        axes.set_title(title)
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, metadata=metadata)
    return path
