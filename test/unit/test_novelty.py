"""What a policy was never shown in training."""

from __future__ import annotations

from imitation_ros.episodes.statistics import Moments, Statistics
from imitation_ros.frames.contract import parse_contract
from imitation_ros.frames.images import thumbnails
from imitation_ros.policies.normalization import Standard
from imitation_ros.policies.novelty import Freeze, Novelty
from imitation_ros.types import Episode, Spec
import numpy as np
import pytest

SPECS = {
    'arm': Spec('arm', (3,), 'float64', ('a', 'b', 'c')),
    'camera': Spec('camera', (20, 24, 3), 'uint8'),
}
RNG = np.random.default_rng(0)
SEEN = RNG.normal([0.0, 1.0, -1.0], [0.1, 0.2, 0.3], (2000, 3))
STANDARDS = {
    'arm': Standard(SEEN.mean(0), SEEN.std(0)),
    'camera': Standard(*np.full((2, 3), 64.0)),
}
SCENE = np.zeros((20, 24, 3), np.uint8)
SCENE[:10] = [200, 150, 100]
"""Bright above, dark below."""
IMAGES = np.clip(SCENE + RNG.integers(0, 20, (2000, *SCENE.shape)), 0, 255).astype(np.uint8)
STOOD_STILL = {'camera': np.array([0.01, 0.0, 0.0])}
NOVELTY = Novelty.fit(
    Statistics(
        {'arm': Moments.of(SEEN), 'camera': Moments.of(thumbnails(IMAGES))}, {}, STOOD_STILL
    ),
    STANDARDS,
    SPECS,
)


def of(vector, image=IMAGES[0]) -> float:
    return NOVELTY.of({'arm': np.asarray(vector), 'camera': image})


def test_nothing_of_the_training_data_is_novel():
    assert max(of(vector, image) for vector, image in zip(SEEN, IMAGES)) == 0.0


SPOILED_IMAGES = {
    'a covered lens': lambda image: image * 0,
    'glare': lambda image: image // 4 + 190,
    'a camera upside down': lambda image: image[::-1],
    'blue for red': lambda image: image[..., ::-1],
}


@pytest.mark.parametrize('case', SPOILED_IMAGES)
def test_a_spoiled_image_is_novel(case):
    assert of(SEEN[0], SPOILED_IMAGES[case](IMAGES[0])) > 0.5


def test_a_camera_that_is_frozen_while_the_robot_moves_is_novel():
    freeze, moving = Freeze(NOVELTY), np.linspace([0, 1, -1], [0.2, 1, -1], 10)
    scale = STANDARDS['arm'].std[0]
    live = [freeze.of({'arm': at, 'camera': image}) for at, image in zip(moving, IMAGES)]
    assert max(live) == 0.0
    frozen = [freeze.of({'arm': at, 'camera': IMAGES[9]}) for at in moving[::-1]]
    assert frozen[0] == 0.0
    assert frozen[-1] == pytest.approx((0.2 - 0.01) / scale)
    assert freeze.of({'arm': moving[0], 'camera': IMAGES[0]}) == 0.0, 'it is live again'


def test_a_still_image_of_a_robot_at_rest_is_not():
    freeze = Freeze(NOVELTY)
    shown = {'arm': SEEN[0], 'camera': IMAGES[0]}
    assert [freeze.of(shown) for _ in range(100)] == [0.0] * 100


def test_the_statistics_of_an_episode_tell_how_far_the_robot_moved_under_one_image(episode):
    assert episode.stood_still['camera'] == pytest.approx([0.2, 0.1, 0.0])


@pytest.fixture
def episode():
    contract = parse_contract({
        'name': 'seeing', 'rate_hz': 10, 'command_hz': 10,
        'observations': {
            'arm': [{'topic': 'joint_states', 'type': 'sensor_msgs/msg/JointState',
                     'select': ['position.a', 'position.b', 'position.c'], 'max_age_s': 0.2}],
            'camera': [{'topic': 'image', 'type': 'sensor_msgs/msg/Image', 'resize': [20, 24],
                        'encoding': 'rgb8', 'max_age_s': 0.2}],
        },
        'actions': {'go': {'topic': 'go', 'type': 'std_msgs/msg/Float64', 'kind': 'velocity',
                           'select': ['data'], 'low': [-1], 'high': [1],
                           'max_acceleration': [1], 'units': ['m/s']}},
    })  # fmt: skip
    arm = np.array([[0, 0, 0], [0.1, 0, 0], [0.2, 0.1, 0], [0.5, 0, 0], [0.6, 0, 0.0]])
    camera = IMAGES[[0, 0, 0, 1, 1]]
    actions = {'go': np.zeros((5, 1))}
    observations, one = {'arm': arm, 'camera': camera}, np.zeros(5, np.int32)
    shown = Episode(np.arange(5), observations, actions, one, 'success', {}, {})
    return Statistics.of(shown, contract)


SPOILED = {
    'an offset': lambda vector: vector + np.array([0.0, 2.0, 0.0]),
    'degrees for radians': lambda vector: vector * 180 / np.pi,
    'a joint in the place of another': lambda vector: vector[[1, 0, 2]],
    'zeros for what is missing': lambda vector: vector * [1.0, 0.0, 0.0],
}


@pytest.mark.parametrize('case', SPOILED)
def test_a_spoiled_vector_is_novel(case):
    found = [of(SPOILED[case](vector)) for vector in RNG.permutation(SEEN)[:100]]
    assert np.median(found) > 0.5


def test_it_comes_back_from_its_document():
    again = Novelty.from_document(NOVELTY.to_document(), STANDARDS, SPECS)
    far = {'arm': np.array([9.0, 1.0, -1.0]), 'camera': IMAGES[0]}
    assert again.of(far) == of([9.0, 1.0, -1.0]) > 80
    assert again.stood_still['camera'].tolist() == STOOD_STILL['camera'].tolist()


GOOD = NOVELTY.to_document()
BAD = [
    {}, {'low': [0] * 3}, {'low': GOOD['low']},
    *({**GOOD, name: value} for name, value in (
        ('low', [0] * 2), ('low', [each + 1 for each in GOOD['high']]), ('low', 'abc'),
        ('high', [float('nan')] * len(GOOD['high'])),
        ('stood_still', {}), ('stood_still', {'camera': [0, 0]}),
        ('stood_still', {'camera': [-1, 0, 0]}), ('stood_still', 3),
    )),
]  # fmt: skip


@pytest.mark.parametrize('document', BAD)
def test_a_damaged_document_is_refused(document):
    with pytest.raises(ValueError, match='novelty'):
        Novelty.from_document(document, STANDARDS, SPECS)
