"""Windows of history and chunk, and where they end."""

from __future__ import annotations

from imitation_ros.frames.contract import parse_contract
from imitation_ros.learning.windows import Windows
from imitation_ros.policies.network import Architecture
from imitation_ros.policies.normalization import Normalization, Standard
from imitation_ros.types import Episode
import numpy as np
import pytest
import torch

CONTRACT = parse_contract("""
name: counting
rate_hz: 20
command_hz: 20
observations:
  state: {topic: a, type: std_msgs/msg/Float64, select: [data], max_age_s: 1}
  camera: {topic: b, type: sensor_msgs/msg/Image, resize: [1, 1], encoding: mono8, max_age_s: 1}
actions:
  key: {topic: c, type: std_msgs/msg/Int32, kind: discrete, classes: [a, b, c, d, e, f, g, h]}
  arm: {topic: d, type: std_msgs/msg/Float64, kind: velocity, units: '1', select: [data],
        low: -1, high: 1, max_acceleration: 1}
""")
PLAIN = Normalization(
    {
        'state': Standard(np.zeros(1), np.ones(1)),
        'camera': Standard(np.zeros(1), np.ones(1)),
    },
    {'arm': Standard(np.zeros(1), np.ones(1))},
)


def make_windows(history: int, chunk: int) -> Windows:
    """Frames 0 to 7: an episode with a gap after frame 2, then another from frame 5."""

    def numbered(frames: range, segment: list[int]) -> Episode:
        numbers = np.array(frames)
        return Episode(
            numbers,
            {
                'state': numbers[:, None] * 1.0,
                'camera': numbers.astype(np.uint8).reshape(-1, 1, 1, 1),
            },
            {'key': numbers[:, None], 'arm': numbers[:, None] / 10},
            np.array(segment, np.int32),
        )

    return Windows(
        [numbered(range(5), [0, 0, 0, 1, 1]), numbered(range(5, 8), [1, 1, 1])],
        CONTRACT.observation_specs,
        CONTRACT.action_specs,
        PLAIN,
        Architecture(history=history, chunk=chunk),
    )


@pytest.mark.parametrize(
    ('frame', 'past', 'future'),
    [
        (0, [0, 0, 0], [0, 1, 2]),
        (1, [0, 0, 1], [1, 2]),
        (2, [0, 1, 2], [2]),
        (3, [3, 3, 3], [3, 4]),
        (4, [3, 3, 4], [4]),
        (5, [5, 5, 5], [5, 6, 7]),
        (7, [5, 6, 7], [7]),
    ],
)
def test_windows_do_not_cross_gaps_or_episodes(frame, past, future):
    [batch] = make_windows(history=3, chunk=3).batches(torch.tensor([frame]), 9)
    assert batch.inputs.state[0, :, 0].tolist() == past
    assert batch.inputs.images['camera'].flatten().tolist() == past
    within = batch.weight[0].bool()
    assert within.tolist() == [k < len(future) for k in range(3)]
    assert batch.weight.sum() == pytest.approx(1)
    assert batch.targets['key'][0, within, 0].tolist() == future
    torch.testing.assert_close(batch.targets['arm'][0, within, 0], torch.tensor(future) / 10)


def test_batches_hold_the_frames_that_were_asked_for_in_their_order():
    windows = make_windows(history=1, chunk=1)
    assert len(windows) == 8
    first, second = windows.batches(torch.tensor([6, 0, 3]), 2)
    for batch, frames in ((first, [6, 0]), (second, [3])):
        assert batch.inputs.state.flatten().tolist() == frames
        assert batch.targets['key'].flatten().tolist() == frames
    assert first.inputs.images['camera'].dtype == torch.uint8
