"""The types that every part passes on refuse what would break the next part."""

from __future__ import annotations

from dataclasses import FrozenInstanceError

from imitation_ros.errors import ContractError, ImitationError, one_of
from imitation_ros.types import Episode, Frame, Gap, Spec
import numpy as np
import pytest

STATE = Spec('state', (3,), fields=('x', 'y', 'z'))
CAMERA = Spec('wrist', (2, 3, 3), 'uint8')
GRIPPER = Spec('gripper', (1,), 'int64', ('gripper',), classes=('open', 'close'))


def test_a_spec_knows_its_kind():
    assert (STATE.image, STATE.discrete) == (False, False)
    assert (CAMERA.image, CAMERA.discrete) == (True, False)
    assert (GRIPPER.image, GRIPPER.discrete) == (False, True)


@pytest.mark.parametrize(
    ('spec', 'value', 'says'),
    [
        (STATE, [1.0, 2.0], r'state: shape \(2,\); valid: \(3,\)'),
        (STATE, 1.0, r'state: shape \(\); valid'),
        (STATE, [1.0, np.nan, 2.0], r'state: not finite: \[1.0, nan, 2.0\]'),
        (STATE, [1.0, np.inf, 2.0], 'state: not finite'),
        (GRIPPER, [2], 'gripper: class 2; valid: 0 to 1'),
        (GRIPPER, [-1], 'gripper: class -1; valid: 0 to 1'),
        (CAMERA, np.zeros((3, 2, 3)), r'wrist: shape \(3, 2, 3\)'),
    ],
)
def test_an_array_that_breaks_its_spec_is_refused(spec, value, says):
    with pytest.raises(ValueError, match=says):
        spec.check(np.array(value))
    with pytest.raises(ValueError, match=r'demo_3\.mcap: '):
        spec.check(np.array(value), 'demo_3.mcap')


def test_an_array_that_fits_has_the_dtype_of_its_spec():
    assert STATE.check(np.array([1, 2, 3])).dtype == np.float64
    assert CAMERA.check(np.zeros((2, 3, 3))).dtype == np.uint8
    same = np.zeros(3)
    assert STATE.check(same) is same, 'and is not copied without need'


def episode(**changes):
    arrays = {
        'tick_ns': np.arange(4),
        'observations': {'state': np.zeros((4, 3))},
        'actions': {'arm': np.zeros((4, 2))},
        'segment': np.zeros(4, np.int32),
    }
    return Episode(**{**arrays, **changes})


@pytest.mark.parametrize(
    ('changes', 'says'),
    [
        ({'segment': np.zeros(3)}, 'segment has 3 frames, tick_ns has 4'),
        ({'observations': {'state': np.zeros((5, 3))}}, 'observations.state has 5 frames'),
        ({'actions': {'arm': np.zeros((0, 2))}}, 'actions.arm has 0 frames'),
    ],
)
def test_an_episode_is_as_long_as_its_ticks(changes, says):
    with pytest.raises(ValueError, match=says):
        episode(**changes)
    assert len(episode()) == 4


@pytest.mark.parametrize(
    ('thing', 'attribute'),
    [
        (STATE, 'shape'),
        (Frame(1, {}), 'tick_ns'),
        (Gap(1, 'why'), 'reason'),
        (episode(), 'outcome'),
    ],
)
def test_types_are_frozen(thing, attribute):
    with pytest.raises(FrozenInstanceError):
        setattr(thing, attribute, None)


def test_an_error_says_where_what_and_how_else():
    error = ContractError('actions.arm.low', 'found 3', 'below high (2)')
    assert str(error) == 'actions.arm.low: found 3; below high (2)'
    assert isinstance(error, ImitationError)
    assert str(ContractError('x', 'missing')) == 'x: missing'


def test_the_nearest_valid_name_comes_first():
    assert one_of('topick', ['select', 'topic']) == "did you mean 'topic'? valid: select, topic"
    assert one_of('zzz', ['a', 'b']) == 'valid: a, b'
    assert one_of('a', []) == 'valid: none'
