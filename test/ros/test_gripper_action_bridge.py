"""examples/gripper_action_bridge.py, with stand-ins for control_msgs, which no wheel brings."""

from __future__ import annotations

from pathlib import Path
import runpy
import subprocess
import sys
from types import ModuleType, SimpleNamespace

import pytest
from std_msgs.msg import Bool

EXAMPLE = Path(__file__).parents[2] / 'examples/gripper_action_bridge.py'


class Action:
    @staticmethod
    def Goal():
        return SimpleNamespace(command=SimpleNamespace())


class Future:
    """Done when the test says so."""

    def add_done_callback(self, callback):
        self.done = lambda result=None: callback(SimpleNamespace(result=lambda: result))


class Server:
    """In place of an ActionClient: what it was asked for, and what it is asked to do with that."""

    def __init__(self):
        self.ready, self.goals, self.cancelled = True, [], 0

    def server_is_ready(self):
        return self.ready

    def send_goal_async(self, goal):
        self.goals.append(goal.command)
        self.answer = Future()
        return self.answer

    def accept(self):
        self.result = Future()
        self.answer.done(
            SimpleNamespace(
                accepted=True, get_result_async=lambda: self.result, cancel_goal_async=self._cancel
            )
        )

    def refuse(self):
        self.answer.done(SimpleNamespace(accepted=False))

    def _cancel(self):
        self.cancelled += 1


@pytest.fixture
def server():
    return Server()


@pytest.fixture
def bridge(ros, server, monkeypatch):
    """Starts the bridge; returns a function that publishes commands and waits until they came."""
    actions = ModuleType('control_msgs.action')
    actions.GripperCommand = actions.ParallelGripperCommand = Action
    monkeypatch.setitem(sys.modules, 'control_msgs', ModuleType('control_msgs'))
    monkeypatch.setitem(sys.modules, 'control_msgs.action', actions)
    monkeypatch.setattr('rclpy.action.ActionClient', lambda *arguments: server)
    node_class = runpy.run_path(str(EXAMPLE))['GripperActionBridge']

    heard = []

    class Bridge(node_class):
        def _on_command(self, message):
            super()._on_command(message)
            heard.append(message)

    def start(**parameters):
        ros.start(Bridge, autostart=False, **parameters)
        publisher = ros.publisher('gripper/command', 'std_msgs/msg/Bool')
        ros.spin_until(publisher.get_subscription_count, what='the bridge subscribes')

        def send(closed):
            before = len(heard)
            publisher.publish(Bool(data=closed))
            ros.spin_until(lambda: len(heard) > before, what='a command came')

        return send

    return start


def test_a_change_is_a_goal_and_a_repetition_is_none(bridge, server):
    send = bridge(open=0.039, max_effort=20.0)
    send(False)
    server.accept()
    send(False)
    server.result.done()
    send(False)
    send(True)
    positions = [(goal.position, goal.max_effort) for goal in server.goals]
    assert positions == [(0.039, 20.0), (0.0, 20.0)]


def test_a_parallel_gripper_gets_its_joint(bridge, server):
    bridge(type='ParallelGripperCommand', joint='knuckle', close=0.79)(True)
    (goal,) = server.goals
    assert (goal.name, goal.position, goal.effort) == (['knuckle'], [0.79], [10.0])


def test_a_new_command_cancels_the_goal_under_way_once_and_follows_it(bridge, server):
    send = bridge()
    send(True)
    server.accept()
    send(False)
    send(False)
    assert (server.cancelled, len(server.goals)) == (1, 1)
    server.result.done()
    assert [goal.position for goal in server.goals] == [0.0, 0.04]


def test_a_command_that_comes_back_before_the_cancelled_goal_has_ended_is_sent_again(
    bridge, server
):
    """Closed for one tick and open again: the fingers stopped half-way for ever."""
    send = bridge()
    send(True)
    server.accept()
    send(False)
    send(True)
    assert (server.cancelled, len(server.goals)) == (1, 1)
    server.result.done()
    assert [goal.position for goal in server.goals] == [0.0, 0.0]


def test_a_refused_goal_is_not_repeated_before_the_next_change(bridge, server):
    send = bridge()
    send(True)
    server.refuse()
    send(True)
    assert len(server.goals) == 1
    send(False)
    assert len(server.goals) == 2


def test_a_server_that_comes_back_is_told_again(bridge, server):
    send = bridge()
    send(True)
    server.accept()
    server.ready = False
    send(True)
    server.ready = True
    send(True)
    assert [goal.position for goal in server.goals] == [0.0, 0.0]


def test_without_control_msgs_it_ends_and_says_what_to_install():
    run = subprocess.run(
        [sys.executable, EXAMPLE], capture_output=True, text=True, timeout=60, check=False
    )
    assert run.returncode == 1
    assert 'apt install ros-$ROS_DISTRO-control-msgs' in run.stderr
    assert 'Traceback' not in run.stderr
