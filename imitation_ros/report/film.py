"""Camera frames → a short film: GIF everywhere, MP4 too where imageio-ffmpeg is installed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from importlib.util import find_spec
from pathlib import Path

import imageio.v3 as iio
from imitation_ros.types import Array
import numpy as np
from PIL import Image, ImageDraw, ImageFont

MAX_BYTES = 3_000_000
GIF_RATE_HZ = 10.0
"""Enough to follow an arm; each further frame costs bytes."""
SHRINK = 0.8
CAPTION_HEIGHT = 1 / 12
"""Of the caption's strip, as a share of the frame's height."""
MIN_CAPTION_PX = 18


def add_caption(frame: Array, text: str) -> Array:
    """Returns a (H, W, 3) uint8 frame with `text` on a dark strip along its lower edge."""
    image = Image.fromarray(_checked(frame))
    width, height = image.size
    strip = max(MIN_CAPTION_PX, round(height * CAPTION_HEIGHT))
    draw = ImageDraw.Draw(image, 'RGBA')
    draw.rectangle((0, height - strip, width, height), fill=(0, 0, 0, 170))
    font = ImageFont.load_default(size=round(strip * 0.65))
    draw.text((strip // 3, height - strip // 2), text, fill='white', font=font, anchor='lm')
    return np.asarray(image)


def write_film(
    stem: str | Path, frames: Iterable[Array], rate_hz: float, max_bytes: int = MAX_BYTES
) -> list[Path]:
    """Writes `<stem>.gif` and, where that is possible, `<stem>.mp4`.

    Args:
        stem: path without a suffix.
        frames: (H, W, 3) uint8 each, all of one size.
        rate_hz: frames per second of `frames`.
        max_bytes: the GIF is made smaller, in pixels, until it fits.

    Returns:
        The files, the GIF first.

    Raises:
        ValueError: no frame, or one of another shape or type than the first.
    """
    stem, film = Path(stem), [_checked(frame) for frame in frames]
    if not film:
        raise ValueError(f'{stem}: a film of no frames')
    if len({frame.shape for frame in film}) > 1:
        raise ValueError(f'{stem}: frames of shapes {sorted({frame.shape for frame in film})}')
    stem.parent.mkdir(parents=True, exist_ok=True)
    files = [_write_gif(stem.with_name(f'{stem.name}.gif'), film, rate_hz, max_bytes)]
    if find_spec('imageio_ffmpeg') is not None:
        files.append(_write_mp4(stem.with_name(f'{stem.name}.mp4'), film, rate_hz))
    return files


def _write_gif(path: Path, film: Sequence[Array], rate_hz: float, max_bytes: int) -> Path:
    every = max(1, round(rate_hz / GIF_RATE_HZ))
    images = [Image.fromarray(frame) for frame in film[::every]]
    while True:
        # One palette for all frames and no dither: what does not move costs nothing.
        palette = _palette(images)
        first, *rest = [
            image.quantize(palette=palette, dither=Image.Dither.NONE) for image in images
        ]
        duration_ms = round(1000 * every / rate_hz)
        first.save(
            path, save_all=True, append_images=rest, duration=duration_ms, loop=0, optimize=True
        )
        width, height = images[0].size
        if path.stat().st_size <= max_bytes or min(width, height) < 32:
            return path
        size = (round(width * SHRINK), round(height * SHRINK))
        images = [image.resize(size, Image.Resampling.LANCZOS) for image in images]


def _palette(images: Sequence[Image.Image]) -> Image.Image:
    """128 colours of a strip of some frames, spread over the film."""
    sample = [np.asarray(image) for image in images[:: max(1, len(images) // 8)]]
    return Image.fromarray(np.concatenate(sample)).quantize(128)


def _write_mp4(path: Path, film: Sequence[Array], rate_hz: float) -> Path:
    height, width = film[0].shape[:2]
    padding = ((0, height % 2), (0, width % 2), (0, 0))  # H.264's 4:2:0 wants even sides
    iio.imwrite(
        path,
        np.stack([np.pad(frame, padding, mode='edge') for frame in film]),
        plugin='FFMPEG',
        fps=rate_hz,
        codec='libx264',
        macro_block_size=2,
        ffmpeg_log_level='error',
    )
    return path


def _checked(frame: Array) -> Array:
    frame = np.asarray(frame)
    if frame.ndim != 3 or frame.shape[2] != 3 or frame.dtype != np.uint8:
        raise ValueError(f'frame {frame.shape} {frame.dtype}; valid: (H, W, 3) uint8')
    return frame
