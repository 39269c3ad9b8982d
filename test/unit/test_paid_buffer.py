"""What is learned from again and again: own steps, demonstrated ones, and own successes."""

from __future__ import annotations

from imitation_ros.frames.contract import load_contract
from imitation_ros.learning.irl.flat_env import ABSORBING
from imitation_ros.learning.irl.layout import Layout
from imitation_ros.learning.irl.sim_tasks import SimTask
from imitation_ros.learning.irl.transitions import concatenated
from imitation_ros.learning.paid import Paid
from imitation_ros.learning.paid_buffer import CUT, PaidBuffer
import numpy as np
import pytest

LAYOUT = Layout(load_contract('panda_twist'))
GRIPPER = LAYOUT.slices['gripper']
OPEN = 0.2
"""A gripper's channel; what is executed says 1."""


@pytest.fixture(scope='module')
def simulator():
    return SimTask('pick_place', LAYOUT.contract).simulator()


@pytest.fixture(scope='module')
def steps():
    return SimTask('pick_place', LAYOUT.contract).demonstrate(range(1)).take(np.arange(6))


def make_buffer(simulator, steps, n_envs=1, ahead=3, pay=lambda batch, paid: paid):
    return PaidBuffer(
        100, simulator.observation_space, simulator.action_space, device='cpu', n_envs=n_envs,
        demonstrations=Paid(steps, np.full(len(steps), -1.0)), layout=LAYOUT, pay=pay,
        n_steps=ahead, gamma=0.5,
    )  # fmt: skip


def act(buffer, reward, done=False, **info):
    """One step of each simulator."""
    count = buffer.n_envs
    observation = np.zeros((count, LAYOUT.observation_size), np.float32)
    action = np.full((count, LAYOUT.action_size), OPEN, np.float32)
    info = {CUT: done, **info}
    buffer.add(
        observation, observation, action, np.full(count, reward), np.full(count, done),
        [info] * count,
    )  # fmt: skip


def worths(samples):
    """Of demonstrated steps and own successes, which come last."""
    return {round(float(each), 3) for each in samples.rewards[len(samples.rewards) // 2 :, 0]}


def test_a_step_is_worth_the_next_few_of_its_episode(simulator, steps):
    apart = concatenated([steps.take(np.arange(3)), steps.take(np.arange(5, 6))])
    buffer = make_buffer(simulator, apart)
    act(buffer, -1.0)
    assert worths(buffer.sample(200)) == {-1.75, -1.5, -1.0}  # nothing is added up over the gap
    assert set(buffer.sample(200).discounts[100:, 0].tolist()) == {0.125, 0.25, 0.5}


def test_own_successes_are_done_again_and_failures_are_not(simulator, steps):
    buffer = make_buffer(simulator, steps, n_envs=2, ahead=1)
    act(buffer, -7.0)
    act(buffer, -7.0, done=True, success=False)
    act(buffer, -3.0, success=True)
    assert worths(buffer.sample(200)) == {-1.0}  # it is not over
    act(buffer, -2.0, done=True, **{ABSORBING: True}, success=True)
    assert worths(buffer.sample(200)) == {-1.0, -3.0, -2.0}
    act(buffer, -6.0)
    act(buffer, -5.0, done=True, **{ABSORBING: True}, success=False)
    assert worths(buffer.sample(200)) == {-1.0, -3.0, -2.0}  # a failure may end a task, too
    assert (buffer.lowest, buffer.highest) == (-7.0, -1.0)


def test_discrete_parts_are_kept_as_they_are_executed(simulator, steps):
    seen = []

    def pay(batch, paid):
        seen.append(batch[1][:, GRIPPER])
        return paid

    buffer = make_buffer(simulator, steps, pay=pay)
    act(buffer, -1.0)
    own = buffer.sample(20).actions[:10]
    assert (own[:, GRIPPER] == 1.0).all()
    np.testing.assert_allclose(own[:, LAYOUT.slices['arm']], OPEN)
    assert seen[-1].tolist() == [[1.0]]
