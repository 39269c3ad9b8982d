"""Films of roll-outs: they play, they are small, and the caption can be seen."""

from __future__ import annotations

from importlib.util import find_spec

from imitation_ros.report.film import add_caption, write_film
import numpy as np
from PIL import Image
import pytest

needs_ffmpeg = pytest.mark.skipif(
    find_spec('imageio_ffmpeg') is None, reason='imageio-ffmpeg is not installed'
)


def moving_square(count, height=48, width=64):
    frames = np.full((count, height, width, 3), 200, np.uint8)
    for index in range(count):
        frames[index, 10:20, index % width :][:, :8] = (200, 40, 40)
    return list(frames)


def test_the_gif_lasts_as_long_as_the_roll_out(tmp_path):
    gif = write_film(tmp_path / 'film', moving_square(40), rate_hz=20.0)[0]
    with Image.open(gif) as film:
        durations = [film.seek(index) or film.info['duration'] for index in range(film.n_frames)]
        assert film.info['loop'] == 0
    assert sum(durations) == pytest.approx(2000, abs=100)


def test_a_slow_roll_out_keeps_every_frame(tmp_path):
    gif = write_film(tmp_path / 'film', moving_square(6), rate_hz=5.0)[0]
    with Image.open(gif) as film:
        assert film.n_frames == 6


def test_the_gif_shows_the_frames(tmp_path):
    frames = moving_square(4)
    gif = write_film(tmp_path / 'film', frames, rate_hz=10.0)[0]
    with Image.open(gif) as film:
        film.seek(2)
        shown = np.asarray(film.convert('RGB'), int)
    assert np.abs(shown - frames[2].astype(int)).mean() < 3


def test_the_gif_is_made_smaller_until_it_fits(tmp_path):
    noise = np.random.default_rng(0).integers(0, 255, (6, 120, 160, 3), dtype=np.uint8)
    gif = write_film(tmp_path / 'film', noise, rate_hz=10.0, max_bytes=40_000)[0]
    assert gif.stat().st_size <= 40_000
    with Image.open(gif) as film:
        assert film.n_frames == 6


@needs_ffmpeg
def test_the_mp4_has_every_frame_also_of_odd_size(tmp_path):
    import imageio.v3 as iio

    files = write_film(tmp_path / 'run.1', moving_square(10, 47, 63), rate_hz=20.0)
    assert [file.name for file in files] == ['run.1.gif', 'run.1.mp4']
    assert iio.imread(files[1], plugin='FFMPEG').shape == (10, 48, 64, 3)


@pytest.mark.parametrize(
    ('frames', 'message'),
    [
        ([], 'a film of no frames'),
        ([np.zeros((4, 4, 3), np.uint8), np.zeros((5, 4, 3), np.uint8)], 'frames of shapes'),
        ([np.zeros((4, 4))], r'valid: \(H, W, 3\) uint8'),
    ],
)
def test_what_is_no_film_is_refused(tmp_path, frames, message):
    with pytest.raises(ValueError, match=message):
        write_film(tmp_path / 'film', frames, rate_hz=10.0)


def test_the_caption_is_burnt_into_the_lower_edge_alone():
    frame = np.full((240, 320, 3), 120, np.uint8)
    captioned = add_caption(frame, 'episode 3: success')
    changed = np.flatnonzero((captioned != frame).any(axis=(1, 2)))
    assert changed.min() > 200
    assert captioned.max() > 240  # light on dark
    assert (frame == 120).all()
    assert (captioned != add_caption(frame, 'episode 3: failure')).any()
