"""What a policy was never shown in training."""

from __future__ import annotations

from imitation_ros.episodes.statistics import Moments
from imitation_ros.policies.normalization import Standard
from imitation_ros.policies.novelty import Novelty
from imitation_ros.types import Spec
import numpy as np
import pytest

SPECS = {
    'arm': Spec('arm', (3,), 'float64', ('a', 'b', 'c')),
    'camera': Spec('camera', (8, 8, 3), 'uint8'),
}
RNG = np.random.default_rng(0)
SEEN = RNG.normal([0.0, 1.0, -1.0], [0.1, 0.2, 0.3], (2000, 3))
STANDARDS = {'arm': Standard(SEEN.mean(0), SEEN.std(0))}
NOVELTY = Novelty.fit({'arm': Moments.of(SEEN)}, STANDARDS, SPECS)


def of(vector) -> float:
    return NOVELTY.of({'arm': np.asarray(vector), 'camera': np.zeros((8, 8, 3), np.uint8)})


def test_nothing_of_the_training_data_is_novel():
    assert max(of(vector) for vector in SEEN) == 0.0


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
    assert again.of({'arm': np.array([9.0, 1.0, -1.0])}) == of([9.0, 1.0, -1.0]) > 80


BAD = [{}, {'low': [0] * 3}, {'low': [0] * 2, 'high': [1] * 2}, {'low': [2] * 3, 'high': [1] * 3},
       {'low': [float('nan')] * 3, 'high': [1] * 3}, {'low': 'abc', 'high': [1] * 3}]  # fmt: skip


@pytest.mark.parametrize('document', BAD)
def test_a_damaged_document_is_refused(document):
    with pytest.raises(ValueError, match='novelty'):
        Novelty.from_document(document, STANDARDS, SPECS)
