"""A source that misbehaves, at the real supervisor: a defined mode, and its reason, soon."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

from imitation_ros.frames.contract import load_contract
from imitation_ros.frames.status import STATUS_TYPE
from imitation_ros.nodes._messages import message_class
from imitation_ros.nodes._streams import ActionStream
import numpy as np
import pytest
from test_supervisor import CONTRACT, PANDA, Robot

STALE_S = 0.5
"""Longer than a busy machine pauses: what is looked for must not hide behind silence."""
SOURCE = """
import sys, time
from imitation_ros.frames.contract import load_contract
from imitation_ros.nodes._streams import ActionStream
import numpy as np
import rclpy
rclpy.init()
node, contract = rclpy.create_node('hanging_policy'), load_contract(sys.argv[1])
stream = ActionStream(node, contract, 'policy')
action = {'arm': np.array(contract.home['arm']) + 0.1, 'gripper': np.array([1])}
while True:
    stream.send(node.get_clock().now().nanoseconds, action)
    time.sleep(0.05)
"""


class Watched(Robot):
    """A robot whose supervisor's diagnostics are heard, with the time of publication."""

    def __init__(self, ros, stream='policy', **parameters):
        self.said, self.decided_at = [], []
        kind = message_class(STATUS_TYPE)
        ros.probe.create_subscription(kind, '/diagnostics', self._on_diagnostics, 1000)
        ros.probe.create_subscription(kind, 'supervisor/decision', self._on_decision, 1000)
        super().__init__(ros, stream, stale_after_s=STALE_S, **parameters)
        ros.spin_until(lambda: self.said, what='diagnostics')

    def _on_diagnostics(self, message, info):
        status = message.status[0]
        values = {pair.key: pair.value for pair in status.values}
        self.said.append((info['source_timestamp'], values['mode'], status.message))

    def _on_decision(self, message, info):
        values = {pair.key: pair.value for pair in message.status[0].values}
        self.decided_at.append((info['source_timestamp'], values['mode']))

    def drive_until(self, mode):
        self.live()
        self.drive()
        self.wait_for_mode(mode)
        self.said.clear()
        self.decided_at.clear()

    def ends_in(self, mode, reason):
        """Waits until the diagnostics say both, and the decisions the mode."""
        self.ros.spin_until(
            lambda: any(said == mode and reason in why for _, said, why in self.said),
            what=f'{mode}: {reason}',
        )
        self.ros.spin_until(lambda: mode in [said for _, said in self.decided_at], what=mode)


def test_the_reason_of_a_new_mode_does_not_wait_for_the_decision(ros):
    """It was published after the decision on the first tick of the mode: a tick late."""
    robot = Watched(ros)
    robot.live()
    robot.drive()
    robot.silence()
    robot.ends_in('hold', 'policy: silent for')
    told = next(at for at, mode, _ in robot.said if mode == 'hold')
    decided = next(at for at, mode in robot.decided_at if mode == 'hold')
    assert told < decided


def test_a_policy_that_floods_leads_to_hold(ros, monkeypatch, tmp_path):
    slow = tmp_path / 'slow.yaml'  # of which a busy machine has time to see the flood, too
    slow.write_text(CONTRACT.read_text().replace('rate_hz: 20', 'rate_hz: 4'))
    monkeypatch.setattr('test_supervisor.CONTRACT', slow)
    monkeypatch.setattr('test_supervisor.PANDA', load_contract(slow))
    robot = Watched(ros)
    robot.drive_until('policy')

    def flood():
        for _ in range(10):
            robot.send_action()

    timer = ros.probe.create_timer(0.005, flood)  # 2 kHz, or what the machine can do
    robot.ends_in('hold', 'policy: floods: 30 actions within')
    ros.probe.destroy_timer(timer)
    robot.wait_for_mode('policy')
    assert all(np.isfinite(message.data).all() for message in robot.arm)


def test_a_policy_that_hangs_leads_to_hold_until_it_goes_on(ros):
    """Its publishers are still there, and all its messages so far were good."""
    policy = subprocess.Popen(
        [sys.executable, '-c', SOURCE, str(CONTRACT)],
        env={**os.environ, 'ROS_DOMAIN_ID': str(ros.domain_id)},
    )
    try:
        robot = Watched(ros, 'teleop')  # the other stream, which stays silent
        ros.probe.create_timer(0.01, robot.send_feedback)
        robot.drive()
        robot.wait_for_mode('policy')
        robot.said.clear()
        robot.decided_at.clear()
        policy.send_signal(signal.SIGSTOP)
        robot.ends_in('hold', 'policy: silent for')
        assert robot.supervisor.count_publishers('policy/status') == 1
        policy.send_signal(signal.SIGCONT)
        robot.wait_for_mode('policy')
    finally:
        policy.kill()
        policy.wait()


def test_a_policy_for_another_contract_never_drives(ros):
    robot = Watched(ros)
    robot.values = {'fingerprint': 'f' * 64}
    robot.live()
    ros.spin_until(lambda: 'made for another' in ros.call('supervisor/resume').message)
    answer = ros.call('supervisor/resume')
    ours = PANDA.fingerprint[:8]
    assert not answer.success
    assert f'policy: made for another contract (ffffffff; ours is {ours})' in answer.message
    robot.wait_for_mode('stopped')
    assert not robot.arm


def test_a_policy_that_turns_to_another_contract_leads_to_hold(ros):
    robot = Watched(ros)
    robot.drive_until('policy')
    robot.values = {'fingerprint': 'f' * 64}
    robot.ends_in('hold', 'policy: made for another contract (ffffffff')
    robot.values = {}
    robot.wait_for_mode('policy')


@pytest.mark.parametrize('there', [False, True], ids=['nobody', 'a device that is not engaged'])
def test_an_expert_that_never_answers_leads_to_hold(ros, there):
    robot = Watched(ros, gate='uncertainty', uncertainty=0.3)
    if there:
        teleop = ActionStream(ros.probe, PANDA, 'teleop')
        idle = {'engaged': 'false'}
        ros.probe.create_timer(
            0.05, lambda: teleop.send(robot.now_ns, None, 'nobody there', lambda: idle)
        )
    robot.values = {'uncertainty': '0.1'}
    robot.drive_until('policy')
    robot.values = {'uncertainty': '0.9'}
    robot.ends_in('hold', 'teleop: nobody there' if there else 'teleop: nothing heard yet')
    robot.values = {'uncertainty': '0.1'}
    robot.wait_for_mode('policy')
