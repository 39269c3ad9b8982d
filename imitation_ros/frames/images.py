"""Camera messages → arrays of the size and encoding that the contract asks for."""

from __future__ import annotations

import io
from typing import Any, ClassVar

from imitation_ros.errors import MessageError, one_of
from imitation_ros.frames.codecs import Codec, Decoder
from imitation_ros.types import Array
import numpy as np
from PIL import Image as Picture

IMAGE_ARRAYS = {'rgb8': (3, 'uint8'), 'mono8': (1, 'uint8'), '16UC1': (1, 'uint16')}
"""Encoding in the frame → channels, dtype."""
WIRE_ENCODINGS = {
    'rgb8': (3, 'u1'),
    'bgr8': (3, 'u1'),
    'rgba8': (4, 'u1'),
    'mono8': (1, 'u1'),
    '16UC1': (1, 'u2'),
}
"""Encoding on the wire → channels, NumPy type code."""
MAX_PIXELS = 1 << 25


class ImageCodec(Codec):
    """sensor_msgs/Image; rows may be padded (`step`), 16-bit values of either endianness."""

    image: ClassVar[bool] = True

    @property
    def valid_fields(self) -> str:
        """For error messages: which fields can be selected."""
        return 'valid: an image has no fields to select'

    def has_field(self, field: str) -> bool:
        """An image is taken whole."""
        return False

    def image_decoder(self, size: tuple[int, int], encoding: str) -> Decoder:
        """Returns a function from a message to a (height, width, channels) array.

        The function raises `MessageError` for an unknown encoding or too few bytes.
        """
        return lambda message: fit(self.pixels(message), size, encoding)

    def pixels(self, message: Any) -> Array:
        """(height, width, channels) as the camera sent it: RGB, grey or millimetres."""
        if message.encoding not in WIRE_ENCODINGS:
            valid = one_of(message.encoding, WIRE_ENCODINGS)
            raise MessageError(f'image encoding {message.encoding!r}; {valid}')
        channels, code = WIRE_ENCODINGS[message.encoding]
        dtype = np.dtype(code).newbyteorder('>' if message.is_bigendian else '<')
        height, width, row = message.height, message.width, message.step
        used = width * channels * dtype.itemsize
        raw = np.frombuffer(message.data, np.uint8)
        if not height or not width or row < used or raw.size < height * row:
            raise MessageError(
                f'image of {height} x {width} {message.encoding} with step {row} and {raw.size} '
                f'bytes; valid: a step of at least {used} and height x step bytes'
            )
        rows = raw[: height * row].reshape(height, row)[:, :used]
        pixels = np.ascontiguousarray(rows).view(dtype).reshape(height, width, channels)
        if message.encoding == 'bgr8':
            return pixels[:, :, ::-1]
        return pixels[:, :, :3]  # rgba8 loses its alpha


class CompressedImageCodec(ImageCodec):
    """sensor_msgs/CompressedImage: JPEG and PNG, 16-bit PNG for depth (also `compressedDepth`)."""

    def pixels(self, message: Any) -> Array:
        """(height, width, channels) of the decompressed picture."""
        data = bytes(message.data)
        if message.format.startswith('16UC1; compressedDepth'):
            data = data[12:]  # the transport's own header
        try:
            return _decompressed(data)
        except Exception as error:  # Pillow lets a dozen classes through where data is corrupt
            reason = f'image format {message.format!r}: {error}'
            raise MessageError(f'{reason}; valid: jpeg, png') from None


def _decompressed(data: bytes) -> Array:
    picture: Picture.Image = Picture.open(io.BytesIO(data), formats=('JPEG', 'PNG'))
    if picture.width * picture.height > MAX_PIXELS:  # known before anything is decompressed
        raise ValueError(f'{picture.width} x {picture.height} pixels')
    if picture.mode.startswith('I'):
        return np.array(picture).astype(np.uint16)[:, :, None]
    if picture.mode != 'L':
        picture = picture.convert('RGB')
    return np.array(picture).reshape(picture.height, picture.width, -1)


def fit(pixels: Array, size: tuple[int, int], encoding: str) -> Array:
    """Pixels in the wanted encoding and (height, width).

    Colours are averaged over the area of a pixel; depth takes the nearest, since the mean of an
    edge lies on nothing.

    Raises:
        MessageError: colours where depth is wanted, or the other way round.
    """
    depth = pixels.dtype.itemsize == 2
    if depth != (encoding == '16UC1'):
        raise MessageError(f'{pixels.dtype} pixels where {encoding} is wanted')
    return _nearest(pixels, size) if depth else _averaged(pixels, size, encoding)


def _nearest(pixels: Array, size: tuple[int, int]) -> Array:
    rows, columns = (
        ((np.arange(wanted) + 0.5) * found / wanted).astype(int)
        for wanted, found in zip(size, pixels.shape)
    )
    nearest: Array = pixels[rows[:, None], columns]
    return nearest.astype(np.uint16)


def _averaged(pixels: Array, size: tuple[int, int], encoding: str) -> Array:
    grey = pixels.shape[2] == 1
    picture = Picture.fromarray(np.ascontiguousarray(pixels[:, :, 0] if grey else pixels))
    picture = picture.convert('RGB' if encoding == 'rgb8' else 'L')
    if picture.size != (size[1], size[0]):
        picture = picture.resize((size[1], size[0]), Picture.Resampling.BOX)
    return np.array(picture).reshape(*size, -1)


CELLS = 4
"""Of a thumbnail, along each axis."""
PIXELS_OF_A_CELL = 8
"""Along each axis, of those that are looked at."""


def thumbnails(images: Array) -> Array:
    """What an image shows, coarsely: means of the channels in a grid of cells.

    Args:
        images: (T, height, width, channels).

    Returns:
        (T, n) float64, n = cells × channels; in an image smaller than the grid a pixel is a cell.
    """
    count, height, width, channels = images.shape
    rows, columns = min(CELLS, height), min(CELLS, width)
    steps = [
        max(1, size // (cells * PIXELS_OF_A_CELL))
        for size, cells in ((height, rows), (width, columns))
    ]
    seen = images[:, :: steps[0], :: steps[1]]
    high, wide = seen.shape[1] // rows, seen.shape[2] // columns
    seen = seen[:, : rows * high, : columns * wide]
    blocks = seen.reshape(count, rows, high, columns, wide, channels)
    means: Array = blocks.mean((2, 4), dtype=np.float64).reshape(count, -1)
    return means
