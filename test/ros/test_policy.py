"""Reloads while the policy drives: a bad checkpoint never disturbs a tick."""

from __future__ import annotations

from contextlib import suppress
import json
import os

from imitation_ros.frames.codecs import set_stamp
from imitation_ros.frames.status import Status, STATUS_TYPE
from imitation_ros.nodes._messages import LATCHED, new
from imitation_ros.nodes.policy import PolicyNode
from imitation_ros.policies.checkpoint import DOCUMENT, save_checkpoint, WEIGHTS
from imitation_ros.policies.network import Architecture, Network
from imitation_ros.policies.normalization import Normalization, Standard
from imitation_ros.policies.novelty import Novelty
from imitation_ros.policies.policy import Policy
import numpy as np
import pytest
from rclpy.parameter import Parameter
from recorded_episodes import CONTRACT, contract
from std_msgs.msg import String
from std_srvs.srv import Trigger
import torch

ROBOT = contract()
OTHER = contract(replaced={'high: 3,': 'high: 2,'})
STATE, WIDTH = 'sensor_msgs/msg/JointState', 'std_msgs/msg/Float64'


def save(folder, seed=0, made_for=ROBOT, weights=None, novelty=None, **settings):
    """An untrained policy on disk; returns its folder."""
    specs = made_for.observation_specs, made_for.action_specs
    vectors = specs[0], {'arm': specs[1]['arm']}
    normalization = Normalization(*[
        {name: Standard(np.zeros(spec.shape), np.ones(spec.shape)) for name, spec in each.items()}
        for each in vectors
    ])  # fmt: skip
    torch.manual_seed(seed)
    architecture = Architecture(hidden=(8,), **settings)
    network = Network(*specs, architecture, normalization)
    with torch.no_grad():
        for parameters in network.parameters() if weights is not None else ():
            parameters.fill_(weights)
    policy = Policy(made_for, architecture, normalization, network, novelty=novelty)
    save_checkpoint(folder, policy, {})
    return folder


class Driven:
    """The node in real time, and a robot that keeps it supplied with observations."""

    def __init__(self, ros, tmp_path, checkpoint, **parameters):
        (tmp_path / 'robot.yaml').write_text(CONTRACT)
        self.ros = ros
        self.statuses = ros.listen('policy/status', STATUS_TYPE)
        self.told = []
        ros.probe.create_subscription(
            String, 'policy/checkpoint', lambda message: self.told.append(message.data), LATCHED
        )
        self.state = ros.publisher('joint_states', STATE)
        self.width = ros.publisher('width', WIDTH)
        ros.probe.create_timer(0.01, self.send)
        self.node = ros.start(
            PolicyNode,
            contract=str(tmp_path / 'robot.yaml'),
            checkpoint=str(checkpoint),
            **parameters,
        )
        ros.spin_until(lambda: self.statuses and self.said.sent, what='an action')

    def send(self):
        message = new(STATE)
        message.name, message.position = ['a', 'b'], [0.1, 0.2]
        set_stamp(message, self.ros.probe.get_clock().now().nanoseconds)
        self.state.publish(message)
        self.width.publish(new(WIDTH))

    @property
    def said(self):
        return Status.decode(self.statuses[-1])

    def reload(self, folder):
        self.node.set_parameters([Parameter('checkpoint', value=str(folder))])
        return self.ros.call('policy/reload')

    def wait_for_ticks(self, count=3):
        seen = len(self.statuses) + count
        self.ros.spin_until(lambda: len(self.statuses) >= seen, what='ticks')


def corrupt(folder):
    content = bytearray((folder / WEIGHTS).read_bytes())
    content[-1] ^= 0xFF
    (folder / WEIGHTS).write_bytes(content)


def cut_off(folder):
    text = (folder / DOCUMENT).read_text()
    (folder / DOCUMENT).write_text(text[: len(text) // 2])


def slow(folder):
    (folder / WEIGHTS).unlink()
    os.mkfifo(folder / WEIGHTS)  # nobody writes


BAD = {
    'corrupt': ({}, corrupt, 'damaged'),
    'cut off': ({}, cut_off, 'no JSON'),
    'slow': ({}, slow, 'not loaded within 0.3 s'),
    'mismatched': ({'made_for': OTHER}, None, 'made for another contract'),
    'nan': ({'weights': float('nan')}, None, 'NaN'),
    'far': ({'weights': 1e30}, None, 'far outside of its limits'),
}


@pytest.mark.parametrize('kind', BAD)
def test_a_bad_checkpoint_is_refused_while_the_ticks_go_on(ros, tmp_path, kind):
    settings, spoil, reason = BAD[kind]
    driven = Driven(ros, tmp_path, save(tmp_path / 'good'), reload_timeout_s=0.3)
    good = driven.said.values['checkpoint']
    bad = save(tmp_path / 'bad', seed=1, **settings)
    if spoil:
        spoil(bad)
    seen = len(driven.statuses)
    answer = driven.reload(bad)
    driven.wait_for_ticks()
    if kind == 'slow':
        os.close(os.open(bad / WEIGHTS, os.O_WRONLY | os.O_NONBLOCK))  # lets its thread end
    assert not answer.success
    assert answer.message.startswith('kept the present policy')
    assert reason in answer.message
    during = [Status.decode(message) for message in driven.statuses[seen:]]
    assert {status.values['checkpoint'] for status in during} == {good}
    assert all(status.sent for status in during)
    assert len(driven.told) == 1
    assert driven.node.get_parameter('checkpoint').value == str(tmp_path / 'good')


def test_a_good_one_drives_from_the_next_tick_and_a_rollback_brings_the_old_one_back(
    ros, tmp_path
):
    first, second = save(tmp_path / 'first'), save(tmp_path / 'second', seed=1)
    driven = Driven(ros, tmp_path, first)
    old = driven.said.values['checkpoint']
    assert not ros.call('policy/rollback').success
    answer = driven.reload(second)
    assert answer.success
    driven.wait_for_ticks()
    new_one = driven.said.values['checkpoint']
    assert new_one != old
    assert answer.message == f'{second} ({new_one})'
    assert driven.told[-1] == answer.message
    answer = ros.call('policy/rollback')
    assert answer.success
    driven.wait_for_ticks()
    assert driven.said.values['checkpoint'] == old
    assert driven.told[-1] == f'{first} ({old})'
    assert driven.node.get_parameter('checkpoint').value == str(first)
    assert ros.call('policy/rollback').message == 'there is no policy before this one'


def test_a_second_reload_of_the_same_checkpoint_keeps_the_way_back(ros, tmp_path):
    """It went back to itself, and the policy before it was lost."""
    first, second = save(tmp_path / 'first'), save(tmp_path / 'second', seed=1)
    driven = Driven(ros, tmp_path, first)
    old = driven.said.values['checkpoint']
    assert driven.reload(second).success
    assert driven.reload(second).success
    assert ros.call('policy/rollback').message == f'{first} ({old})'


def test_the_status_says_what_the_policy_learns_from_and_how_sure_it_is(ros, tmp_path):
    folder = save(tmp_path / 'ensemble', members=3, history=2, chunk=4, execute=2)
    driven = Driven(ros, tmp_path, folder)
    driven.wait_for_ticks(4)
    statuses = [Status.decode(message) for message in driven.statuses[-4:]]
    for status in statuses:
        assert (status.values['history'], status.values['chunk']) == ('2', '4')
        assert float(status.values['uncertainty']) > 0
    planned = [int(status.values['planned']) for status in statuses]
    assert all(at <= status.tick_ns for at, status in zip(planned, statuses))
    assert len(set(planned)) < len(planned)  # each chunk gives two actions
    assert json.loads((folder / DOCUMENT).read_text())['architecture']['members'] == 3


def test_it_goes_down_and_up_again(ros, tmp_path):
    driven = Driven(ros, tmp_path, save(tmp_path / 'good'))
    driven.node.trigger_deactivate()
    driven.node.trigger_cleanup()
    assert driven.node.autostart()
    driven.wait_for_ticks()
    assert driven.said.sent


@pytest.mark.parametrize('up_again', [False, True])
def test_a_reload_that_outlives_its_policy_ends_without_a_word(ros, tmp_path, capfd, up_again):
    """It ended the node: what it wanted to tell, and the service to answer by, were gone."""
    driven = Driven(ros, tmp_path, save(tmp_path / 'good'))
    good, late = driven.said.values['checkpoint'], save(tmp_path / 'late', seed=1)
    weights = (late / WEIGHTS).read_bytes()
    slow(late)
    driven.node.set_parameters([Parameter('checkpoint', value=str(late))])
    client = ros.probe.create_client(Trigger, 'policy/reload')
    ros.spin_until(client.service_is_ready, what='the service')
    client.call_async(Trigger.Request())
    pipe = opened(ros, late / WEIGHTS)
    driven.node.trigger_deactivate()
    driven.node.trigger_cleanup()
    driven.node.set_parameters([Parameter('checkpoint', value=str(tmp_path / 'good'))])
    assert not up_again or driven.node.autostart()
    os.write(pipe, weights)
    os.close(pipe)
    said = []

    def ended():
        said.append(capfd.readouterr().err)
        return 'reload: kept the present policy' in ''.join(said)

    ros.spin_until(ended, what='the end of the reload')
    assert up_again or driven.node.autostart()
    driven.wait_for_ticks()
    assert driven.said.values['checkpoint'] == good
    assert not any(str(late) in each for each in driven.told)


def opened(ros, fifo):
    """The writing end of a pipe, once somebody reads."""
    ends = []

    def try_to_open():
        with suppress(OSError):  # nobody reads yet
            ends.append(os.open(fifo, os.O_WRONLY | os.O_NONBLOCK))
        return ends

    ros.spin_until(try_to_open, what=f'a reader of {fifo}')
    return ends[0]


def test_what_is_unlike_the_training_data_is_told_and_where_configured_not_acted_on(ros, tmp_path):
    size = sum(spec.shape[0] for spec in ROBOT.observation_specs.values() if not spec.image)
    names = tuple(name for name, spec in ROBOT.observation_specs.items() if not spec.image)
    seen = Novelty(names, (), *(np.full(size, number) for number in (-0.1, 0.1, 0.01)), {})
    robot = Driven(ros, tmp_path, save(tmp_path / 'p', novelty=seen))
    # Element 'b' is at 0.2; the checkpoint's deviations are those of its normalization, 1.
    ros.spin_until(lambda: robot.said.values.get('novelty') == '0.1', what='novelty')
    robot.node.set_parameters([Parameter('novelty_limit', value=0.05)])
    ros.spin_until(lambda: not robot.said.sent, what='no action')
    assert robot.said.reason == 'novelty 0.1: unlike all training data (limit 0.05)'
    robot.node.set_parameters([Parameter('novelty_limit', value=0.2)])
    ros.spin_until(lambda: robot.said.sent, what='an action')
