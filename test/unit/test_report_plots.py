"""The figures of a report: files that a browser shows, from whatever a run gives."""

from __future__ import annotations

from dataclasses import dataclass
import itertools

from imitation_ros.report.plots import (
    plot_covariate_shift,
    plot_losses,
    plot_rounds,
    plot_success,
    SERIES,
)
import numpy as np
import pytest

PNG = b'\x89PNG\r\n'


@dataclass(frozen=True)
class Rate:
    success: float
    interval: tuple[float, float]


CURVE = {50: Rate(1.0, (0.93, 1.0)), 5: Rate(0.0, (0.0, 0.1)), 10: Rate(0.6, (0.5, 0.7))}


def text_of(path):
    return path.read_text(encoding='utf-8')


@pytest.fixture
def svg(tmp_path, monkeypatch):
    """A path for a figure whose labels stay readable text."""
    from imitation_ros.report import plots

    monkeypatch.setitem(plots.STYLE, 'svg.fonttype', 'none')
    return tmp_path / 'figure.svg'


def test_losses_show_both_curves_and_what_was_kept(svg):
    text = text_of(plot_losses(svg, [3.0, 2.0, 1.0], [3.0, np.nan, 2.0], kept_epoch=1))
    assert all(label in text for label in ('training', 'held-out episodes', 'kept', 'epoch'))


@pytest.mark.parametrize('validation', [[], [np.nan, np.nan]])
def test_losses_without_validation_leave_it_out(svg, validation):
    text = text_of(plot_losses(svg, [2.0, 1.0], validation))
    assert 'training' in text
    assert 'held-out' not in text


def test_losses_may_be_negative(tmp_path):
    path = plot_losses(tmp_path / 'loss.png', [1.0, -1.0], [1.5, -0.5])
    assert path.read_bytes().startswith(PNG)


def test_success_names_methods_and_expert(svg):
    expert = Rate(0.98, (0.9, 1.0))
    text = text_of(plot_success(svg, {'cloned': CURVE, 'corrected': CURVE}, expert, 'labels'))
    assert all(label in text for label in ('cloned', 'corrected', 'expert', 'labels', '100%'))


def test_success_takes_a_single_point_and_no_expert(tmp_path):
    path = plot_success(tmp_path / 'success.png', {'cloned': {3: CURVE[10]}})
    assert path.read_bytes().startswith(PNG)


@dataclass(frozen=True)
class Corrected:
    label_total: int
    success: float
    intervention_rate: float


def test_rounds_show_success_and_intervention_rate_over_the_labels(svg):
    rounds = [Corrected(100, 1.0, 1.0), Corrected(150, 0.6, 0.4), Corrected(160, 1.0, 0.1)]
    text = text_of(plot_rounds(svg, rounds))
    wanted = ('episodes that succeeded', 'ticks that the expert drove', 'labels of the expert')
    assert all(label in text for label in wanted)


def test_covariate_shift_takes_episodes_of_any_length(svg):
    own = np.full((3, 8), np.nan)
    own[0, :5], own[1, :2] = 1.0, 2.0  # nobody reached the last ticks
    shown = np.ones((1, 4))
    rows = {'its own states': own, 'held-out demonstrations': shown}
    text = text_of(plot_covariate_shift(svg, rows, rate_hz=20.0, unit='m/s'))
    assert all(f'on {label}' in text for label in rows)
    assert '(m/s)' in text


def test_equal_numbers_give_equal_files(tmp_path):
    for suffix in ('png', 'svg'):
        first, second = (
            plot_losses(tmp_path / f'{name}.{suffix}', [2.0, 1.0], [2.0, 1.5]).read_bytes()
            for name in ('first', 'second')
        )
        assert first == second


def test_other_suffixes_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r'figure\.bmp: valid: .*\.png or \.svg'):
        plot_losses(tmp_path / 'figure.bmp', [1.0], [1.0])


def test_series_differ_in_more_than_colour():
    for first, second in itertools.combinations(SERIES, 2):
        assert first['color'] != second['color']
        assert first['marker'] != second['marker']
        assert first['linestyle'] != second['linestyle']


def test_plots_leave_the_style_of_others_alone(tmp_path):
    import matplotlib

    before = dict(matplotlib.rcParams)
    plot_losses(tmp_path / 'loss.png', [1.0], [1.0])
    assert dict(matplotlib.rcParams) == before
