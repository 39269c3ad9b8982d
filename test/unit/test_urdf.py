"""A URDF: limits, where the tool is, and files that nobody should trust."""

from __future__ import annotations

from pathlib import Path

from imitation_ros.errors import ContractError
from imitation_ros.frames.contract import load_contract
from imitation_ros.frames.urdf import Urdf
import numpy as np
import pytest

PANDA = load_contract('panda_position')
JOINTS = PANDA.actions['arm'].joints


def robot(tmp_path, joint='', body='') -> Path:
    """One revolute joint and one prismatic, and what a test adds."""
    path = tmp_path / 'robot.urdf'
    path.write_text(f"""<?xml version="1.0"?>{body}
<robot name="two">
  <joint name="turn" type="revolute">
    <parent link="base"/><child link="arm"/><axis xyz="0 0 2"/><origin xyz="0 0 1"/>
    <limit lower="-1" upper="2" velocity="0.5" effort="1"/>
  </joint>
  <joint name="slide" type="prismatic">
    <parent link="arm"/><child link="tool"/><axis xyz="1 0 0"/><origin rpy="0 -1.5707963 0"/>
    <limit lower="0" upper="0.3" velocity="0.1"/>
  </joint>{joint}
</robot>""")
    return path


def panda_urdf() -> Urdf:
    data = pytest.importorskip('pybullet_data')
    return Urdf(Path(data.getDataPath(), 'franka_panda/panda.urdf'))


def test_the_tool_is_where_the_simulator_says():
    pybullet = pytest.importorskip('pybullet')
    data = pytest.importorskip('pybullet_data').getDataPath()
    tool = panda_urdf().tool('panda_hand', JOINTS)
    client = pybullet.connect(pybullet.DIRECT)
    try:
        path = f'{data}/franka_panda/panda.urdf'
        body = pybullet.loadURDF(path, useFixedBase=True, physicsClientId=client)
        names = {
            pybullet.getJointInfo(body, i, client)[1].decode(): i
            for i in range(pybullet.getNumJoints(body, client))
        }
        links = {pybullet.getJointInfo(body, i, client)[12].decode(): i for i in names.values()}
        rng = np.random.default_rng(0)
        for _ in range(20):
            posture = rng.uniform(PANDA.actions['arm'].low, PANDA.actions['arm'].high)
            for name, angle in zip(JOINTS, posture):
                pybullet.resetJointState(body, names[name], angle, physicsClientId=client)
            state = pybullet.getLinkState(
                body, links['panda_hand'], computeForwardKinematics=True, physicsClientId=client
            )
            np.testing.assert_allclose(tool.position(posture), state[4], atol=1e-6)
    finally:
        pybullet.disconnect(client)


def test_a_slide_on_a_turn(tmp_path):
    tool = Urdf(robot(tmp_path)).tool('tool', ['slide', 'turn'])
    np.testing.assert_allclose(tool.position(np.array([0.2, 1.0])), [0, 0, 1.2], atol=1e-7)


def test_the_narrower_of_two_limits_holds():
    narrowed = panda_urdf().tighten(PANDA).actions['arm']
    ours = PANDA.actions['arm']
    assert all(a >= b for a, b in zip(narrowed.low, ours.low))
    assert all(a <= b for a, b in zip(narrowed.high, ours.high))
    document = PANDA.to_document()
    document['actions']['arm'] |= {'low': [-9.0] * 7, 'high': [9.0] * 7}
    document['actions']['arm'] |= {'max_velocity': [99.0] * 7}
    from imitation_ros.frames.contract import parse_contract

    wide = panda_urdf().tighten(parse_contract(document)).actions['arm']
    assert max(wide.high) < 4.0
    assert max(wide.max_velocity) < 3.0


def test_a_joint_that_the_robot_does_not_have(tmp_path):
    with pytest.raises(ContractError, match="no joint 'panda_joint1'; valid: turn, slide"):
        Urdf(robot(tmp_path)).tighten(PANDA)


def test_a_link_that_the_robot_does_not_have(tmp_path):
    with pytest.raises(ContractError, match="no link 'hand'"):
        Urdf(robot(tmp_path)).tool('hand', [])


def test_a_loop_of_links_ends(tmp_path):
    back = '<joint name="b" type="fixed"><parent link="tool"/><child link="base"/></joint>'
    with pytest.raises(ContractError, match='a loop'):
        Urdf(robot(tmp_path, back)).tool('tool', [])


LAUGHS = '<!DOCTYPE r [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;">]>'
BAD = {
    'entities': ({'body': LAUGHS}, 'a document type'),
    'an outside file': ({'body': '<!DOCTYPE r SYSTEM "/etc/passwd">'}, 'a document type'),
    'no number': (
        {
            'joint': '<joint name="x" type="revolute"><parent link="a"/><child link="b"/>'
            '<limit lower="nan" upper="1"/></joint>'
        },
        "joint x: lower: found 'nan'",
    ),
    'no child': (
        {'joint': '<joint name="x" type="fixed"><parent link="a"/></joint>'},
        'no parent or no child',
    ),
    'cut off': ({'joint': '<joint'}, 'not XML'),
}


@pytest.mark.parametrize('case', BAD)
def test_a_bad_file_is_refused(tmp_path, case):
    change, text = BAD[case]
    with pytest.raises(ContractError, match=text):
        Urdf(robot(tmp_path, **change))


def test_what_is_no_urdf_is_refused(tmp_path):
    path = tmp_path / 'x.urdf'
    path.write_text('<sdf/>')
    with pytest.raises(ContractError, match='found <sdf>'):
        Urdf(path)
    with pytest.raises(ContractError, match='cannot be read'):
        Urdf(tmp_path / 'absent.urdf')
