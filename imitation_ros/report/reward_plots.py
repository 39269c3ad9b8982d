"""Figures of a learned reward: how it was learned, what it says of episodes, where it is high."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from imitation_ros.report.plots import BLACK, ORANGE, save_plot, SERIES
from imitation_ros.types import Array
from matplotlib.axes import Axes
import numpy as np


def plot_alternation(
    path: str | Path,
    steps: Sequence[int],
    separation: Sequence[float],
    success: Sequence[float],
    returns: Sequence[float] = (),
    title: str = 'Reward and actor take turns',
) -> Path:
    """Draws how far the reward holds the expert above the actor, and how the actor does.

    Args:
        path: a .png or .svg file to write.
        steps: of the environment, at each point.
        separation: expert's mean score less the actor's; 1 is as far as random behaviour.
        success: share of successes, 0 to 1.
        returns: what the task pays the actor for an episode, on an axis of its own; empty: none.
        title: above the figure.
    """

    def draw(axes: Axes) -> None:
        for label, values, series in zip(
            ('separation', 'success'),
            (separation, success),
            (SERIES[1], SERIES[0]),
        ):
            axes.plot(steps, values, label=label, **series)
        axes.axhline(0.0, color=BLACK, linewidth=1)
        axes.set(xlabel='environment steps', ylabel='separation from the expert, success')
        lines = axes.get_lines()[:2]
        if len(returns):
            other = axes.twinx()
            lines += other.plot(steps, returns, label='return', **SERIES[2])
            other.set(ylabel="the task's return")
            other.grid(visible=False)
        axes.legend(handles=lines, loc='upper center', bbox_to_anchor=(0.5, -0.16), ncols=3)

    return save_plot(path, title, draw)


def plot_reward_along(
    path: str | Path,
    rewards: Mapping[str, Array],
    rate_hz: float,
    title: str = 'Learned reward along an episode',
) -> Path:
    """Draws the reward of each tick of a few episodes.

    Args:
        path: a .png or .svg file to write.
        rewards: what it is, such as 'demonstration' or 'failure' → (ticks,), 0 random, 1 expert.
        rate_hz: ticks per second.
        title: above the figure.
    """

    def draw(axes: Axes) -> None:
        for (label, values), series in zip(rewards.items(), SERIES):
            time_s = np.arange(len(values)) / rate_hz
            axes.plot(time_s, values, label=label, **{**series, 'marker': ''})
        for level in (0.0, 1.0):
            axes.axhline(level, color=BLACK, linewidth=0.8, linestyle=':')
        axes.set(xlabel='time in the episode (s)', ylabel='reward (0 random, 1 expert)')
        axes.legend()

    return save_plot(path, title, draw)


def plot_reward_map(
    path: str | Path,
    x_m: Array,
    y_m: Array,
    reward: Array,
    end_m: Array,
    title: str = 'Learned reward over the workspace',
) -> Path:
    """Draws the reward as a picture seen from above.

    Args:
        path: a .png or .svg file to write.
        x_m: (columns,) positions.
        y_m: (rows,) positions.
        reward: (rows, columns).
        end_m: (2,) where the tool is at the end of a demonstration.
        title: above the figure.
    """

    def draw(axes: Axes) -> None:
        picture = axes.pcolormesh(x_m, y_m, reward, shading='nearest', cmap='viridis')
        colours = axes.figure.colorbar(picture, ax=axes)
        colours.set_label('reward (0 random, 1 expert)')
        axes.plot(
            *end_m, marker='*', markersize=14, color=ORANGE, linestyle='', label='tool at the end'
        )
        axes.set(xlabel='x (m)', ylabel='y (m)', aspect='equal')
        axes.grid(visible=False)
        axes.legend()

    return save_plot(path, title, draw)
