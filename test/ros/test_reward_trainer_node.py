"""The reward beside a robot: a value each tick, training that disturbs nothing and may die."""

from __future__ import annotations

from dataclasses import replace
import errno
import json
import os
import shutil
import threading

from imitation_ros.frames.actions import ActionCodec
from imitation_ros.frames.codecs import set_stamp
from imitation_ros.frames.status import Status, STATUS_TYPE
from imitation_ros.learning.reward_rounds import RewardRounds
from imitation_ros.learning.rollouts import Rollouts, Step
from imitation_ros.nodes._messages import LATCHED, new
from imitation_ros.nodes._params import ParameterError
from imitation_ros.nodes.reward_trainer import RewardTrainerNode, RewardTrainerParams
from imitation_ros.policies.checkpoint import read_digest, read_record
from imitation_ros.policies.policy import use_one_thread
import numpy as np
import pytest
from recorded_episodes import CONTRACT, contract, PERIOD_NS, record_lockstep
from std_msgs.msg import String
from test_policy import save
from test_trainer import PolicyDouble, TRAINED_S

ROBOT = contract()
STATE, FLOAT = 'sensor_msgs/msg/JointState', 'std_msgs/msg/Float64'
CLOCK = 'rosgraph_msgs/msg/Clock'
ACTION = {'arm': (-1.0, 1.0), 'gripper': (0,)}


class Robot:
    """Arm, policy and supervisor in lockstep, as one; what the node says of them."""

    def __init__(self, ros, tmp_path):
        (tmp_path / 'robot.yaml').write_text(CONTRACT)
        self.shown, self.run = tmp_path / 'demonstrations', tmp_path / 'run'
        for number in range(3):
            record_lockstep(self.shown / f'episode_{number}', 12 + number)
        self.ros, self.contract = ros, str(tmp_path / 'robot.yaml')
        self.rewards = ros.listen('reward', FLOAT)
        self.statuses = ros.listen('reward/status', STATUS_TYPE)
        self.health = ros.listen('/diagnostics', STATUS_TYPE)
        topics = {
            '/clock': CLOCK, 'joint_states': STATE, 'width': FLOAT,
            'supervisor/decision': STATUS_TYPE, 'sim_arm/episode': STATUS_TYPE,
            **{part.topic: part.type for part in ROBOT.actions.values()},
        }  # fmt: skip
        self.publishers = {topic: ros.publisher(topic, type) for topic, type in topics.items()}
        self.tick = 0

    def parameters(self, **given):
        return {
            'contract': self.contract, 'demonstrations': str(self.shown), 'out': str(self.run),
            'lockstep': True, 'updates': 40, 'learning_rate': 0.01, **given,
        }  # fmt: skip

    def rounds(self):
        """What the node keeps, as the core reads it."""
        settings = RewardTrainerParams(**self.parameters()).settings
        return RewardRounds(self.run, self.shown, ROBOT, settings, 0)

    def learn(self):
        """A run that has a reward already."""
        rollouts = Rollouts(ROBOT, 1000)
        for tick in range(12):
            observation = {'state': observed(tick)}
            action = {part: np.array(value) for part, value in ACTION.items()}
            rollouts.add(Step(tick * PERIOD_NS, 'policy', observation, action))
        rollouts.end()
        rounds = self.rounds()
        rounds.add(rollouts.take())
        assert rounds.run_round().promoted
        return rounds.reward

    def start(self, **parameters):
        self.node = self.ros.start(RewardTrainerNode, **self.parameters(**parameters))
        for topic, publisher in self.publishers.items():
            if topic != '/clock' or self.node.params.lockstep:
                self.ros.spin_until(publisher.get_subscription_count, what=topic)
        self.ros.spin_until(lambda: self.health, what='diagnostics')
        return self

    def publish(self, mode='policy', seen=None, stamp=None, **action):
        """One tick, and what was executed in it."""
        self.tick += 1
        stamp = self.tick * PERIOD_NS if stamp is None else stamp
        clock, joints, width = new(CLOCK), new(STATE), new(FLOAT)
        clock.clock.sec, clock.clock.nanosec = divmod(stamp, 1_000_000_000)
        self.publishers['/clock'].publish(clock)
        a, b, width.data = observed(self.tick) if seen is None else seen
        joints.name, joints.position = ['a', 'b'], [a, b]
        set_stamp(joints, stamp)
        parts = ROBOT.actions if mode != 'stopped' else {}
        for name, part in parts.items():
            vector = np.array(action.get(name, ACTION[name]))
            self.publishers[part.topic].publish(ActionCodec(part).encode(vector, stamp, new))
        status = Status(stamp, 'supervisor', len(parts), f'{mode} for the test', {'mode': mode})
        self.publishers['supervisor/decision'].publish(status.encode(new))
        self.publishers['joint_states'].publish(joints)
        self.publishers['width'].publish(width)

    def send(self, **tick):
        """The same; returns what the node says of it."""
        said = len(self.statuses)
        self.publish(**tick)
        self.ros.spin_until(lambda: len(self.statuses) > said, what=f'tick {self.tick}')
        return Status.decode(self.statuses[-1])

    def roll_out(self, ticks=12):
        for _ in range(ticks):
            said = self.send()
        self.send(mode='stopped')
        return said

    def value(self, key):
        return {pair.key: pair.value for pair in self.health[-1].status[0].values}.get(key)

    def wait_for(self, key, value):
        self.ros.spin_until(lambda: self.value(key) == value, 60.0, f'{key}: {value}')

    @property
    def trouble(self):
        return self.health[-1].status[0].message


def observed(tick):
    return np.array([0.01 * tick, -0.02 * tick, 0.001])


@pytest.fixture
def robot(ros, tmp_path):
    use_one_thread()
    return Robot(ros, tmp_path)


def test_each_tick_has_the_reward_that_the_core_gives(robot):
    reward = robot.learn()
    robot.start()
    for arm in ((-1.0, 1.0), (0.5, 0.5), (0.1, 0.0)):
        said = robot.send(arm=arm)
        robot.ros.spin_until(lambda: len(robot.rewards) == robot.tick, what='the reward')
        frame = {'state': observed(robot.tick)}
        action = {'arm': np.array(arm), 'gripper': np.array([0])}
        assert robot.rewards[-1].data == reward.score_frame(frame, action, frame)
        assert said.tick_ns == robot.tick * PERIOD_NS
        assert (said.sent, said.values['version'], said.values['stale']) == (1, '1', 'false')
        assert said.values['fingerprint'] == ROBOT.fingerprint


def test_a_run_is_of_its_random_behaviour_and_objective(robot, tmp_path):
    """Neither could be said: 0 was of no behaviour at all, and episodes were never ranked."""
    record_lockstep(tmp_path / 'random/one', 12, outcome='failure', seed=1)
    robot.start(random=str(tmp_path / 'random'), objective='ranking')
    settings = json.loads((robot.run / 'run.json').read_text())
    assert settings['reward']['objective'] == 'ranking'
    assert len(settings['random']) == 64


def test_without_a_reward_the_status_says_so(robot):
    robot.start()
    said = robot.send()
    assert (said.sent, said.reason) == (0, 'no reward was promoted yet')


def test_nan_gives_no_reward_and_no_rollout_step(robot):
    robot.learn()
    robot.start()
    assert robot.send().sent == 1
    assert 'action arm: not finite' in robot.send(arm=(float('nan'), 0.0)).reason
    assert 'position.b is nan' in robot.send(seen=(0.1, float('nan'), 0.0)).reason
    assert robot.send(mode='stopped').reason == 'stopped for the test'
    robot.roll_out(3)
    robot.wait_for('episodes seen', '2')
    assert len(robot.rewards) == 4
    assert robot.trouble == ''


def test_it_collects_trains_beside_the_topics_and_swaps_the_reward_in(robot):
    robot.start(train_every_episodes=2)
    robot.roll_out()
    robot.roll_out()
    robot.wait_for('state', 'training')
    began = robot.tick, len(robot.statuses)
    timer = robot.ros.probe.create_timer(0.05, robot.publish)
    robot.ros.spin_until(lambda: robot.value('version') == '1', 120.0, 'the reward')
    robot.ros.probe.destroy_timer(timer)
    robot.ros.spin_until(
        lambda: len(robot.statuses) - began[1] == robot.tick - began[0], what='the last tick'
    )
    assert robot.tick - began[0] > 20  # and each of them was answered
    assert robot.value('episodes waiting') == '0'
    assert float(robot.value('separation')) > 0
    assert robot.value('updates') == '40'
    assert robot.send().values['version'] == '1'
    assert robot.rounds().last.rollouts == 1


def test_a_killed_training_leaves_the_last_reward_stale_and_the_run_goes_on(robot):
    reward = robot.learn()
    robot.start(updates=1_000_000)
    robot.roll_out()
    robot.wait_for('episodes seen', '2')
    assert robot.ros.call('reward_trainer/train').success
    assert robot.ros.call('reward_trainer/train').message == 'a training is at work'
    robot.node._training.process.kill()
    robot.wait_for('stale', 'true')
    assert 'exit code -9' in robot.trouble
    said = robot.send()
    assert (said.sent, said.values['version'], said.values['stale']) == (1, '1', 'true')
    robot.ros.spin_until(lambda: len(robot.rewards) == 13, what='the reward')
    frame = {'state': observed(robot.tick)}
    action = {part: np.array(value) for part, value in ACTION.items()}
    assert robot.rewards[-1].data == reward.score_frame(frame, action, frame)

    robot.node.trigger_deactivate()
    robot.node.trigger_cleanup()
    assert robot.rounds().trouble == 'the training ended with exit code -9'
    assert robot.rounds().run_round().version == 2
    assert robot.node.autostart()
    robot.wait_for('version', '2')
    assert robot.send().values['stale'] == 'false'


@pytest.fixture
def closing(robot, monkeypatch):
    """A round that was killed, of which the node is taking note; setting it lets it go on."""
    begun, closed = threading.Event(), threading.Event()

    def slowly(rounds, reason):
        begun.set()
        closed.wait(60.0)

    monkeypatch.setattr(RewardRounds, 'fail', slowly)
    robot.start(updates=1_000_000)
    robot.roll_out()
    robot.wait_for('episodes seen', '1')
    assert robot.ros.call('reward_trainer/train').success
    robot.node._training.process.kill()
    robot.ros.spin_until(begun.is_set, what='the end of the round')
    return closed


def test_a_round_that_ends_in_a_clean_up_does_not_end_the_node(robot, closing, capfd):
    """It set the reward of a stream that was gone."""
    robot.node.trigger_deactivate()
    robot.node.trigger_cleanup()
    closing.set()
    robot.ros.spin_until(lambda: 'none kept' in capfd.readouterr().err, what='the last word')
    assert robot.node.autostart()
    assert robot.send().reason == 'no reward was promoted yet'


def test_no_round_begins_while_one_is_closed(robot, closing):
    """Two processes worked on one run, of which one was refused."""
    assert robot.ros.call('reward_trainer/train').message == 'a training is at work'
    closing.set()
    robot.ros.spin_until(
        lambda: robot.ros.call('reward_trainer/train').success, what='the next round'
    )


def test_rollouts_of_a_round_that_was_given_up_wait_for_the_next(robot):
    """They counted as tried, and with train_every_episodes nothing began until others came."""
    robot.start(updates=1_000_000)
    robot.roll_out()
    robot.wait_for('episodes seen', '1')
    assert robot.ros.call('reward_trainer/train').success
    robot.wait_for('episodes waiting', '0')
    robot.node.trigger_deactivate()
    robot.node.trigger_activate()
    robot.wait_for('episodes waiting', '1')


def test_what_nobody_foresaw_is_told_and_the_node_goes_on(robot, monkeypatch):
    """Anything but an ImitationError or OSError ended the node, as did a process not started."""
    robot.start()
    robot.roll_out()
    robot.wait_for('episodes seen', '1')
    with monkeypatch.context() as patched:
        patched.setattr(RewardRounds, 'forget', lambda rounds: 1 // 0)
        robot.ros.spin_until(lambda: 'ZeroDivisionError' in robot.trouble, what='the trouble')

    def no_process(*request):
        raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    with monkeypatch.context() as patched:
        patched.setattr(robot.node._training, 'start', no_process)
        answer = robot.ros.call('reward_trainer/train')
        assert (answer.success, 'temporarily unavailable' in answer.message) == (False, True)
        robot.node.params = replace(robot.node.params, train_every_episodes=1)
        robot.ros.spin_until(lambda: 'temporarily unavailable' in robot.trouble, what='no round')
    robot.wait_for('state', 'training')


def test_an_episode_message_ends_a_rollout(robot):
    robot.start()
    for _ in range(4):
        robot.send()
    ended = Status(robot.tick * PERIOD_NS, 'sim_arm', 0, '', {'success': '1', 'ticks': '4'})
    robot.publishers['sim_arm/episode'].publish(ended.encode(new))
    robot.wait_for('episodes seen', '1')
    assert 'no roll-out' not in robot.trouble


def test_without_a_rollout_there_is_nothing_to_train_against(robot):
    robot.start()
    assert robot.ros.call('reward_trainer/train').message == 'no roll-out of the policy yet'


def test_demonstrations_that_cannot_be_used_refuse_the_start(ros, tmp_path, capfd):
    robot = Robot(ros, tmp_path)
    other = contract(replaced={'high: 3,': 'high: 2,'})
    record_lockstep(robot.shown / 'episode_3', 12, contract=other)
    with pytest.raises(AssertionError, match='refused to start'):
        ros.start(RewardTrainerNode, **robot.parameters())
    assert 'recorded for another contract: actions.arm.high' in capfd.readouterr().err
    for path in ('episode_3', 'episode_1', 'episode_2'):
        shutil.rmtree(robot.shown / path)
    with pytest.raises(AssertionError, match='refused to start'):
        ros.start(RewardTrainerNode, **robot.parameters())
    assert 'valid: at least 2' in capfd.readouterr().err
    with pytest.raises(ParameterError, match='demonstrations is not set'):
        ros.start(RewardTrainerNode, contract=robot.contract)


def test_a_checkpoint_that_changes_is_offered_once(robot, tmp_path):
    policy, folder = PolicyDouble(robot.ros), tmp_path / 'improved'
    drives = robot.ros.probe.create_publisher(String, 'policy/checkpoint', LATCHED)
    save(folder)
    drives.publish(String(data=f'{folder} ({read_digest(folder)})'))
    robot.start(checkpoint=str(folder))
    robot.ros.spin_until(lambda: robot.value('offered'), what='the first look')
    assert policy.offers == []  # it drives already
    save(folder, seed=1)
    robot.wait_for('offered', read_digest(folder))
    assert policy.offers == [str(folder)]


def test_what_was_offered_is_not_offered_again_after_a_restart(robot, tmp_path):
    """A policy that the operator had rolled back from drove again."""
    policy, folder = PolicyDouble(robot.ros), tmp_path / 'improved'
    drives = robot.ros.probe.create_publisher(String, 'policy/checkpoint', LATCHED)
    other = save(tmp_path / 'other')
    drives.publish(String(data=f'{other} ({read_digest(other)})'))  # also after a rollback
    save(folder, seed=1)
    robot.start(checkpoint=str(folder))
    robot.wait_for('offered', read_digest(folder))
    robot.ros.stop(robot.node)
    robot.health.clear()
    robot.start(checkpoint=str(folder))
    robot.wait_for('offered', read_digest(folder))
    save(folder, seed=2)
    robot.wait_for('offered', read_digest(folder))
    assert len(policy.offers) == 2, 'one for each content'
    robot.ros.stop(robot.node)
    (robot.run / 'offered.json').write_text('{')
    with pytest.raises(AssertionError, match='refused to start'):
        robot.start(checkpoint=str(folder))


def test_an_offer_that_the_disk_does_not_remember_is_told_and_the_node_goes_on(
    robot, tmp_path, monkeypatch, capfd
):
    def full(path, document):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr('imitation_ros.nodes._offer.write_json', full)
    policy, folder = PolicyDouble(robot.ros), save(tmp_path / 'improved')
    drives = robot.ros.probe.create_publisher(String, 'policy/checkpoint', LATCHED)
    drives.publish(String(data='other (abc)'))
    robot.start(checkpoint=str(folder))
    robot.wait_for('offered', read_digest(folder))
    assert policy.offers == [str(folder)]
    assert 'offered.json: No space left on device; after a restart' in capfd.readouterr().err
    assert robot.send().reason == 'no reward was promoted yet'


def test_after_a_promoted_round_what_drives_is_improved_and_offered(robot, tmp_path):
    policy, folder = PolicyDouble(robot.ros), tmp_path / 'improved'
    drives = robot.ros.probe.create_publisher(String, 'policy/checkpoint', LATCHED)
    driving = save(tmp_path / 'driving')
    drives.publish(String(data=f'{driving} ({read_digest(driving)})'))
    robot.start(checkpoint=str(folder), improve_updates=20)
    robot.roll_out()
    robot.wait_for('episodes seen', '1')
    assert robot.ros.call('reward_trainer/train').success
    robot.ros.spin_until(lambda: policy.offers, TRAINED_S, 'an offer')
    improved = folder / 'version_1'
    assert policy.offers == [str(improved)]
    record = read_record(improved)
    assert (record['method'], record['config']['updates']) == ('iql', 20)
    assert record['parent'] == read_digest(driving)
    robot.wait_for('improved', f'{read_digest(improved):.8} on reward version 1')


def test_without_a_policy_that_drives_there_is_nothing_to_improve(robot, tmp_path):
    robot.start(checkpoint=str(tmp_path / 'improved'), improve_updates=20)
    robot.roll_out()
    robot.wait_for('episodes seen', '1')
    assert robot.ros.call('reward_trainer/train').success
    robot.wait_for('improved', 'no policy node has said what drives')
    assert robot.value('version') == '1'
    assert robot.trouble == ''


def test_a_policy_is_not_improved_into_nowhere(robot):
    with pytest.raises(ParameterError, match='improve_updates needs the parameter checkpoint'):
        robot.ros.start(RewardTrainerNode, **robot.parameters(improve_updates=20))


def test_in_real_time_the_frame_is_that_of_the_supervisors_tick(robot):
    reward = robot.learn()
    robot.start(lockstep=False)
    state = observed(1)

    def send():
        stamp = robot.ros.probe.get_clock().now().nanoseconds
        return robot.send(seen=state, stamp=stamp)

    assert 'no message yet' in send().reason  # what comes after a tick is not of it
    robot.ros.spin_until(lambda: send().sent, what='a tick after the first message')
    robot.ros.spin_until(lambda: robot.rewards, what='the reward')
    frame, action = {'state': state}, {part: np.array(each) for part, each in ACTION.items()}
    assert robot.rewards[-1].data == reward.score_frame(frame, action, frame)
