"""The graph of every node equals its enclave in the policy: nothing is missing or spare."""

from __future__ import annotations

import os
from pathlib import Path
import pty
import subprocess
import sys
from xml.etree import ElementTree

from imitation_ros.frames.contract import load_contract
from imitation_ros.nodes.permissions import Permissions, permissions, policy_xml
from imitation_ros.nodes.policy import PolicyNode
from imitation_ros.nodes.recorder import RecorderNode
from imitation_ros.nodes.reward_trainer import RewardTrainerNode
from imitation_ros.nodes.sim_arm import SimArmNode
from imitation_ros.nodes.supervisor import SupervisorNode
from imitation_ros.nodes.teleop_expert import TeleopExpertNode
from imitation_ros.nodes.teleop_joy import TeleopJoyNode
from imitation_ros.nodes.teleop_keyboard import TeleopKeyboardNode
from imitation_ros.nodes.teleop_leader import TeleopLeaderNode
from imitation_ros.nodes.teleop_relay import TeleopRelayNode
from imitation_ros.nodes.trainer import TrainerNode
from imitation_ros.teleop.keyboard import REQUESTS, RESUME, STOP
import pytest
from recorded_episodes import CONTRACT, record_lockstep
from sensor_msgs.msg import Joy

from bench.policy_latency import save_untrained_policy

ROOT = Path(__file__).parents[2]
ASKED = {
    'publish': 'publisher',
    'subscribe': 'subscriber',
    'reply': 'service',
    'request': 'client',
}


def seen(ros, name):
    """What a node has on the graph now."""
    found = {}
    for kind, what in ASKED.items():
        ask = getattr(ros.probe, f'get_{what}_names_and_types_by_node')
        found[kind] = frozenset(each for each, _ in ask(name, '/'))
    return Permissions(**found)


def resolved(node, names):
    """Names as they are on the graph."""
    own = (name.replace('~/', f'{node}/') for name in names)
    return frozenset(name if name.startswith('/') else f'/{name}' for name in own)


def allowed(contract, node):
    needs = permissions(load_contract(contract))[node]
    return Permissions(**{kind: resolved(node, getattr(needs, kind)) for kind in ASKED})


def used(ros, node_class, settings, exercise=lambda node: None):
    """All that a node has on the graph."""
    node = ros.start(node_class, **settings)
    exercise(node)
    name = node.get_name()
    ros.spin_until(lambda: f'/{name}/get_state' in seen(ros, name).reply)
    return seen(ros, name)


def differences(found, wanted):
    return {
        f'{kind}: {text}': sorted(names)
        for kind in ASKED
        for text, names in (
            ('on the graph alone', getattr(found, kind) - getattr(wanted, kind)),
            ('in the policy alone', getattr(wanted, kind) - getattr(found, kind)),
        )
        if names
    }


def cases(folder):
    """Node → its class, and the settings under which it has most on the graph."""
    own = {'contract': str(folder / 'robot.yaml'), 'use_sim_time': True}
    data, checkpoint = str(folder / 'data'), str(folder / 'checkpoint')
    out = str(folder / 'out')
    reach = {'contract': 'panda_reach', 'task': 'reach'}
    return {
        'supervisor': (SupervisorNode, own),
        'policy': (PolicyNode, own | {'checkpoint': checkpoint}),
        'recorder': (RecorderNode, own | {'out': out, 'joy_topic': 'joy'}),
        'trainer': (TrainerNode, own | {'episodes': data, 'out': out}),
        'reward_trainer': (RewardTrainerNode, own | {'demonstrations': data, 'out': out}),
        'sim_arm': (SimArmNode, reach | {'camera_hz': 5.0}),
        'teleop_expert': (TeleopExpertNode, own | reach | {'correct_above': 0.5}),
        'teleop_leader': (TeleopLeaderNode, own | {'contract': 'panda_position'}),
        'teleop_relay': (
            TeleopRelayNode,
            own | {'contract': 'panda_position', 'deadman': 'deadman'},
        ),
    }


@pytest.fixture
def folder(tmp_path):
    (tmp_path / 'robot.yaml').write_text(CONTRACT)
    for number in range(3):
        record_lockstep(tmp_path / f'data/episode_{number}', 12)
    save_untrained_policy(tmp_path / 'robot.yaml', tmp_path / 'checkpoint')
    return tmp_path


@pytest.mark.parametrize('node', cases(Path()))
def test_the_graph_of_a_node_is_its_enclave(ros, folder, node):
    node_class, settings = cases(folder)[node]
    found = used(ros, node_class, settings)
    assert differences(found, allowed(settings['contract'], node)) == {}


def test_the_keyboard_may_ask_for_what_its_keys_mean(ros):
    ours, theirs = pty.openpty()

    def press(node):
        last = {STOP: 1, RESUME: 2}  # a stop is the last word, unless authority is asked for anew
        os.write(ours, ''.join(sorted(REQUESTS, key=lambda k: last.get(REQUESTS[k], 0))).encode())
        wanted = {f'/{service}' for service in REQUESTS.values()}
        ros.spin_until(lambda: seen(ros, 'teleop_keyboard').request == wanted)

    found = used(
        ros,
        lambda **kwargs: TeleopKeyboardNode(fd=theirs, **kwargs),
        {'contract': 'panda_position', 'use_sim_time': True},
        exercise=press,
    )
    assert differences(found, allowed('panda_position', 'teleop_keyboard')) == {}


def test_the_joystick_may_ask_for_what_its_buttons_mean(ros):
    joy = ros.publisher('joy', 'sensor_msgs/msg/Joy')

    def press(node):
        ros.spin_until(joy.get_subscription_count)
        wanted = allowed('panda_twist', 'teleop_joy').request
        presses = iter([0, 1] * 1000)

        def done():
            asked = seen(ros, 'teleop_joy').request
            pressed = next(presses)
            buttons = [pressed] * 12
            if wanted - asked == {f'/{RESUME}'}:  # beside it, a stop is the last word
                buttons = [0] * 12
                buttons[node.params.resume_button] = pressed
            joy.publish(Joy(axes=[0.0] * 8, buttons=buttons))
            return asked == wanted

        ros.spin_until(done)

    settings = {
        'contract': 'panda_twist', 'take_button': 2, 'give_back_button': 3, 'use_sim_time': True,
    }  # fmt: skip
    found = used(ros, TeleopJoyNode, settings, exercise=press)
    assert differences(found, allowed('panda_twist', 'teleop_joy')) == {}


def test_the_policy_file_is_that_of_its_contract():
    text = (ROOT / 'config/security/panda_reach.policy.xml').read_text(encoding='utf-8')
    assert text == policy_xml(load_contract('panda_reach'))
    enclaves = ElementTree.fromstring(text).findall('./enclaves/enclave')
    nodes = permissions(load_contract('panda_reach'))
    assert [enclave.get('path') for enclave in enclaves] == [f'/imitation_ros/{n}' for n in nodes]
    for enclave, node in zip(enclaves, nodes):
        [profile] = enclave.findall('./profiles/profile')
        assert (profile.get('ns'), profile.get('node')) == ('/', node)


def test_only_the_supervisor_may_move_the_robot():
    for contract in ('panda_reach', 'panda_twist', 'franka'):
        loaded = load_contract(contract)
        commands = {part.topic for part in loaded.actions.values()}
        movers = [n for n, needs in permissions(loaded).items() if needs.publish & commands]
        assert movers == ['supervisor']


def test_every_node_has_an_enclave():
    nodes = {path.stem for path in (ROOT / 'config').glob('*.yaml')}
    assert set(permissions(load_contract('panda_reach'))) == nodes


@pytest.mark.parametrize(
    ('settings', 'says'),
    [
        ({'ROS_SECURITY_STRATEGY': ''}, 'would speak in the clear; valid: Enforce'),
        ({'ROS_SECURITY_STRATEGY': 'Permissive'}, "STRATEGY is 'Permissive'"),
        ({'ROS_SECURITY_STRATEGY': 'Enforce'}, 'SECURITY ERROR'),
    ],
)
def test_a_node_that_cannot_be_secure_does_not_start(tmp_path, settings, says):
    """With the default strategy a node without keys would publish in the clear."""
    node = subprocess.run(
        [
            *(sys.executable, '-m', 'imitation_ros.nodes.supervisor', '--ros-args'),
            *('-p', 'contract:=panda_reach', '--enclave', '/imitation_ros/supervisor'),
        ],
        env={
            **os.environ,
            'ROS_SECURITY_ENABLE': 'true',
            'ROS_SECURITY_KEYSTORE': str(tmp_path),
            **settings,
        },
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert node.returncode != 0
    assert says in node.stderr
