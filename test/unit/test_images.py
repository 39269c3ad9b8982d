"""Cameras: every encoding, padded rows, resizing, and data that is not what it says."""

from __future__ import annotations

import io
from types import SimpleNamespace as Message
import zlib

from hypothesis import given, settings
from hypothesis import strategies as st
from imitation_ros.errors import MessageError
from imitation_ros.frames.codecs import codec_for
import numpy as np
from PIL import Image as Picture
import pytest

RAW, COMPRESSED = 'sensor_msgs/msg/Image', 'sensor_msgs/msg/CompressedImage'
COLOURS = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
DEPTH = np.random.default_rng(1).integers(0, 65536, (5, 7, 1), np.uint16)


def image(pixels, encoding, padding=0, bigendian=0, **wrong):
    """A message as a camera driver fills it, each row `padding` bytes longer than it needs."""
    height, width = pixels.shape[:2]
    rows = np.ascontiguousarray(pixels).view(np.uint8).reshape(height, -1)
    data = np.pad(rows, ((0, 0), (0, padding)), constant_values=77).tobytes()
    fields = {'height': height, 'width': width, 'step': rows.shape[1] + padding, 'data': data}
    return Message(**{**fields, 'encoding': encoding, 'is_bigendian': bigendian, **wrong})


def compressed(pixels, format='png', **options):
    stream = io.BytesIO()
    Picture.fromarray(pixels).save(stream, format, **options)
    return Message(format=format, data=stream.getvalue())


def decode(message, size=(5, 7), encoding='rgb8'):
    type = RAW if hasattr(message, 'step') else COMPRESSED
    return codec_for(type).image_decoder(size, encoding)(message)


@pytest.mark.parametrize('padding', [0, 1, 13])
def test_colours_of_each_encoding(padding):
    alpha = np.dstack([COLOURS, COLOURS[:, :, :1]])
    np.testing.assert_array_equal(decode(image(COLOURS, 'rgb8', padding)), COLOURS)
    np.testing.assert_array_equal(decode(image(COLOURS[:, :, ::-1], 'bgr8', padding)), COLOURS)
    np.testing.assert_array_equal(decode(image(alpha, 'rgba8', padding)), COLOURS)
    grey = COLOURS[:, :, :1]
    np.testing.assert_array_equal(decode(image(grey, 'mono8', padding), encoding='mono8'), grey)
    np.testing.assert_array_equal(
        decode(image(grey, 'mono8', padding)), np.repeat(grey, 3, axis=2)
    )


@pytest.mark.parametrize('padding', [0, 2, 3])
@pytest.mark.parametrize('order', ['<', '>'])
def test_depth_of_either_endianness(padding, order):
    pixels = DEPTH.astype(f'{order}u2')
    message = image(pixels, '16UC1', padding, bigendian=int(order == '>'))
    array = decode(message, encoding='16UC1')
    np.testing.assert_array_equal(array, DEPTH)
    assert array.dtype == np.uint16
    assert array.dtype.isnative


@pytest.mark.parametrize('container', [bytes, bytearray, memoryview, np.array])
def test_bytes_of_each_decoder(container):
    message = image(COLOURS, 'rgb8')
    data = np.frombuffer(message.data, np.uint8) if container is np.array else message.data
    message.data = container(data)
    np.testing.assert_array_equal(decode(message), COLOURS)


def test_colours_are_averaged_and_depth_takes_the_nearest():
    halves = np.zeros((2, 4, 3), np.uint8)
    halves[:, 2:] = 200
    np.testing.assert_array_equal(
        decode(image(halves, 'rgb8'), (1, 1)), np.full((1, 1, 3), 100, np.uint8)
    )
    edge = np.array([[1000, 1000, 5000, 5000]], np.uint16)[:, :, None]
    array = decode(image(edge, '16UC1'), (1, 2), '16UC1')
    np.testing.assert_array_equal(array[0, :, 0], [1000, 5000])
    assert set(np.unique(decode(image(edge, '16UC1'), (3, 9), '16UC1'))) == {1000, 5000}


@settings(deadline=None)
@given(st.tuples(st.integers(1, 20), st.integers(1, 20)), st.sampled_from(['rgb8', 'mono8']))
def test_the_array_has_the_size_that_was_asked_for(size, encoding):
    array = decode(image(COLOURS, 'bgr8'), size, encoding)
    assert array.shape == (*size, 3 if encoding == 'rgb8' else 1)
    assert array.dtype == np.uint8
    depth = decode(image(DEPTH, '16UC1'), size, '16UC1')
    assert depth.shape == (*size, 1)
    assert set(depth.ravel()) <= set(DEPTH.ravel())


def test_an_array_is_its_own_memory():
    """A frame outlives its message, and PyTorch wants to be able to write."""
    for message in (image(COLOURS, 'rgb8'), compressed(COLOURS)):
        assert decode(message).flags.writeable


def test_compressed_pictures():
    np.testing.assert_array_equal(decode(compressed(COLOURS)), COLOURS)
    smooth = np.full((16, 16, 3), (200, 100, 50), np.uint8)
    lossy = decode(compressed(smooth, 'jpeg', quality=95), (16, 16))
    assert np.abs(lossy.astype(int) - smooth).max() <= 4, 'and red stays red'
    grey = COLOURS[:, :, 0]
    np.testing.assert_array_equal(decode(compressed(grey), encoding='mono8')[:, :, 0], grey)
    alpha = np.dstack([COLOURS, COLOURS[:, :, 0]])
    np.testing.assert_array_equal(decode(compressed(alpha)), COLOURS)


def test_depth_in_a_png():
    message = compressed(DEPTH[:, :, 0])
    array = decode(message, encoding='16UC1')
    np.testing.assert_array_equal(array, DEPTH)
    assert array.dtype == np.uint16
    message.format = '16UC1; compressedDepth png'
    message.data = bytes(12) + message.data
    np.testing.assert_array_equal(decode(message, encoding='16UC1'), DEPTH)


@pytest.mark.parametrize(
    ('message', 'says'),
    [
        (image(COLOURS, 'yuv422'), "image encoding 'yuv422'; .*valid: rgb8, bgr8, rgba8, mono8"),
        (image(COLOURS, 'rgb16'), "encoding 'rgb16'; did you mean 'rgb8'"),
        (image(COLOURS, 'rgb8', data=b''), 'image of 5 x 7 rgb8 with step 21 and 0 bytes; valid'),
        (image(COLOURS, 'rgb8', data=bytes(104)), 'step 21 and 104 bytes'),
        (image(COLOURS, 'rgb8', step=20), 'a step of at least 21'),
        (image(COLOURS, 'rgb8', height=0), 'image of 0 x 7'),
        (image(COLOURS, 'rgb8', width=0), 'image of 5 x 0'),
        (image(COLOURS, 'rgb8', height=2**32 - 1), 'bytes; valid'),
        (image(COLOURS, 'rgba8'), 'a step of at least 28'),
        (image(DEPTH, '16UC1'), 'uint16 pixels where rgb8 is wanted'),
        (
            Message(format='jpeg', data=b''),
            "image format 'jpeg': cannot identify.*valid: jpeg, png",
        ),
        (Message(format='h264', data=bytes(99)), "image format 'h264': cannot identify"),
    ],
)
def test_what_is_no_image_of_the_contract_is_refused(message, says):
    with pytest.raises(MessageError, match=says):
        decode(message)


def test_colours_where_depth_is_wanted_are_refused():
    for message in (image(COLOURS, 'rgb8'), compressed(COLOURS)):
        with pytest.raises(MessageError, match='uint8 pixels where 16UC1 is wanted'):
            decode(message, encoding='16UC1')


@pytest.mark.parametrize('format', ['png', 'jpeg'])
def test_a_truncated_picture_is_refused_or_whole(format):
    """The last bytes of a PNG are checksums and an end mark, which no pixel needs."""
    whole = compressed(COLOURS, format)
    pixels = decode(whole)
    for size in range(len(whole.data)):
        try:
            array = decode(Message(format=format, data=whole.data[:size]))
        except MessageError as error:
            text = str(error)
            assert text.startswith(f'image format {format!r}')
        else:
            assert size > len(whole.data) - 24
            np.testing.assert_array_equal(array, pixels)


def chunk(kind, data):
    body = kind + data
    return len(data).to_bytes(4, 'big') + body + zlib.crc32(body).to_bytes(4, 'big')


@pytest.mark.parametrize('side', [6000, 20_000, 60_000])
def test_a_decompression_bomb_is_refused_before_it_goes_off(side):
    """A few KB that claim to be gigapixels."""
    header = side.to_bytes(4, 'big') * 2 + bytes([8, 2, 0, 0, 0])
    rows = zlib.compress(bytes(1_000_000), 9)
    data = (
        b'\x89PNG\r\n\x1a\n' + chunk(b'IHDR', header) + chunk(b'IDAT', rows) + chunk(b'IEND', b'')
    )
    with pytest.raises(MessageError, match='pixels'):
        decode(Message(format='png', data=data))


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(['png', 'jpeg']), st.data())
def test_a_damaged_picture_gives_an_array_or_an_error(format, data):
    damaged = bytearray(compressed(COLOURS, format).data)
    for _ in range(data.draw(st.integers(1, 6))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    try:
        array = decode(Message(format=format, data=bytes(damaged)))
    except MessageError:
        return
    assert array.shape == (5, 7, 3)
