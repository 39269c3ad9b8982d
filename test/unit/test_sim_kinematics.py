"""The kinematics hold against PyBullet's, and against themselves."""

from __future__ import annotations

from dataclasses import replace

from imitation_ros.errors import TaskError
from imitation_ros.sim.bullet import bullet
from imitation_ros.sim.kinematics import Kinematics
from imitation_ros.sim.model import PANDA
import numpy as np
import pytest

TOOL_LINK = 11


@pytest.fixture(scope='module')
def kinematics():
    return Kinematics(PANDA)


def test_pose_and_jacobian_agree_with_pybullet(kinematics):
    client = bullet.connect(bullet.DIRECT)
    body = bullet.loadURDF(str(PANDA.path), useFixedBase=True, physicsClientId=client)
    rng = np.random.default_rng(0)
    for _ in range(20):
        joints = rng.uniform(kinematics.low, kinematics.high)
        for index, angle in enumerate(joints):
            bullet.resetJointState(body, index, angle, physicsClientId=client)
        link = bullet.getLinkState(
            body, TOOL_LINK, computeForwardKinematics=True, physicsClientId=client
        )
        linear, angular = bullet.calculateJacobian(
            body, TOOL_LINK, [0.0] * 3, [*joints, 0.0, 0.0], [0.0] * 9, [0.0] * 9,
            physicsClientId=client,
        )  # fmt: skip
        state = kinematics.forward(joints)
        rotation = np.reshape(bullet.getMatrixFromQuaternion(link[5]), (3, 3))
        np.testing.assert_allclose(state.position, link[4], atol=1e-6)
        np.testing.assert_allclose(state.rotation, rotation, atol=1e-6)
        np.testing.assert_allclose(state.jacobian, np.vstack([linear, angular])[:, :7], atol=1e-6)
    bullet.disconnect(client)


@pytest.mark.parametrize('target', [(0.5, 0.2, 0.1), (0.4, -0.4, 0.02), (0.6, 0.15, 0.35)])
def test_solve_brings_the_upright_tool_to_a_position(kinematics, target):
    joints = kinematics.solve(np.array(target))
    state = kinematics.forward(joints)
    np.testing.assert_allclose(state.position, target, atol=1e-3)
    assert kinematics.tilt_rad(state) < 1e-2
    assert (kinematics.low <= joints).all()
    assert (joints <= kinematics.high).all()


def test_a_step_moves_the_tool_as_asked_and_remembers_nothing(kinematics):
    joints = kinematics.solve(np.array([0.5, 0.0, 0.3]))
    move = np.array([0.005, -0.003, 0.004])
    step = kinematics.step(joints, move)
    moved = kinematics.forward(joints + step).position - kinematics.forward(joints).position
    np.testing.assert_allclose(moved, move, atol=2e-4)
    kinematics.step(joints + 0.5, -move)
    assert (kinematics.step(joints, move) == step).all()


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        ({'urdf': 'no/such.urdf'}, "no file 'no/such.urdf'"),
        ({'tool': 'panda_grasp'}, "no link 'panda_grasp' below 'panda_link0'; did you mean"),
        ({'joints': ('panda_joint9',)}, "no joint 'panda_joint9' between .* did you mean"),
    ],
)
def test_a_model_that_does_not_fit_the_urdf_is_refused(change, message):
    with pytest.raises(TaskError, match=message):
        Kinematics(replace(PANDA, **change))


def test_a_file_that_is_no_urdf_is_refused(tmp_path):
    (tmp_path / 'arm.urdf').write_text('<robot')
    with pytest.raises(TaskError, match='not a URDF'):
        Kinematics(replace(PANDA, urdf=str(tmp_path / 'arm.urdf')))
