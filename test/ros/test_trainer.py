"""Rounds on a robot: recordings come in, a policy is trained beside them, offered, taken back."""

from __future__ import annotations

import errno
import gc
import os
import shutil
import threading

from diagnostic_msgs.msg import DiagnosticArray
from imitation_ros.errors import ImitationError
from imitation_ros.learning.bc import BCConfig
from imitation_ros.learning.dagger import DaggerConfig
from imitation_ros.learning.recorded_rounds import Before, DISCARDED, RecordedRounds
from imitation_ros.nodes._background import Background
from imitation_ros.nodes._messages import LATCHED
from imitation_ros.nodes._params import ParameterError
from imitation_ros.nodes._training import Training
from imitation_ros.nodes.policy import PolicyNode
from imitation_ros.nodes.supervisor import SupervisorNode
from imitation_ros.nodes.trainer import read_recording, TrainerNode, TrainerParams
from imitation_ros.policies.checkpoint import read_digest
from imitation_ros.supervision.gates import GateConfig
import pytest
from rcl_interfaces.srv import SetParameters
from recorded_episodes import CONTRACT, contract, record_driven, record_lockstep
from std_srvs.srv import Trigger

from bench.policy_latency import save_untrained_policy

TRAINED_S = 150.0
"""A training yields to all else on the machine: seconds alone, a minute beside busy loops."""


class PolicyDouble:
    """The policy node's services, and a say in whether an offer is taken."""

    def __init__(self, ros):
        self.offers, self.takes, self._probe = [], True, ros.probe
        self._services = [
            ros.probe.create_service(SetParameters, 'policy/set_parameters', self.on_set),
            ros.probe.create_service(Trigger, 'policy/reload', self.on_reload),
        ]

    def close(self):
        while self._services:
            self._probe.destroy_service(self._services.pop())

    def on_set(self, request, response):
        self.offers.append(request.parameters[0].value.string_value)
        response.results = []
        return response

    def on_reload(self, request, response):
        response.success, response.message = self.takes, 'taken' if self.takes else 'kept: NaN'
        return response


@pytest.fixture
def trainer(ros, tmp_path):
    (tmp_path / 'robot.yaml').write_text(CONTRACT)
    (tmp_path / 'episodes').mkdir()
    statuses = []
    ros.probe.create_subscription(
        DiagnosticArray, 'trainer/status', lambda message: statuses.append(message.status[0]),
        LATCHED,
    )  # fmt: skip

    class Trainer:
        policy = PolicyDouble(ros)
        episodes, run, contract = (tmp_path / name for name in ('episodes', 'run', 'robot.yaml'))

        def train(self, *names, checkpoint=None, **parameters):
            """Records and trains a round without the node; returns its checkpoint."""
            record(self.episodes, *names)
            config = TrainerParams(epochs=1, **parameters).config
            rounds = RecordedRounds(
                self.run, self.episodes, contract(), config, 0, Before(checkpoint)
            )
            return self.run / f'round_{rounds.run_round().number:03d}/checkpoint'

        def start(self, **parameters):
            given = {
                'contract': str(self.contract), 'episodes': str(self.episodes),
                'out': str(self.run), 'epochs': 1, **parameters,
            }  # fmt: skip
            self.node = ros.start(TrainerNode, **given)
            return self

        def value(self, key):
            said = statuses[-1].values if statuses else ()
            return {pair.key: pair.value for pair in said}.get(key)

        def reason(self):
            return statuses[-1].message

        def wait_for(self, key, value):
            ros.spin_until(lambda: self.value(key) == value, TRAINED_S, f'{key}: {value}')

    return Trainer()


def record(folder, *names, **settings):
    for seed, name in enumerate(names):
        record_lockstep(folder / name, 12, seed=seed, **settings)


def test_a_round_trains_beside_the_robot_offers_and_says_what_drives(ros, trainer):
    trainer.start()
    assert 'no new recording' in ros.call('trainer/train').message
    record(trainer.episodes, 'a', 'b', 'c')
    record(trainer.episodes, 'd', outcome='discarded')
    trainer.wait_for('new labels', '36')
    assert ros.call('trainer/train').success
    assert ros.call('trainer/train').message == 'a training is at work'
    trainer.wait_for('driving round', '0')
    assert trainer.value('labels') == '36'
    assert trainer.value('intervention rate') == '1'
    ros.spin_until(lambda: trainer.policy.offers, what='an offer')
    assert trainer.policy.offers == [str(trainer.run / 'round_000/checkpoint')]
    (done,) = trainer.node._rounds.done
    assert done.left_out == {DISCARDED: 12}
    assert trainer.node._rounds.waiting == []


def test_a_round_makes_a_policy_that_the_policy_node_lets_drive_and_takes_back(ros, tmp_path):
    (tmp_path / 'robot.yaml').write_text(CONTRACT)
    first = tmp_path / 'first'
    save_untrained_policy(tmp_path / 'robot.yaml', first)
    driving = ros.listen('policy/checkpoint', 'std_msgs/msg/String', LATCHED)
    common = {'contract': str(tmp_path / 'robot.yaml')}
    ros.start(PolicyNode, **common, checkpoint=str(first))
    record(tmp_path / 'episodes', 'a', 'b')
    ros.start(
        TrainerNode, **common, episodes=str(tmp_path / 'episodes'), out=str(tmp_path / 'run'),
        labels_per_round=20, epochs=1,
    )  # fmt: skip
    ros.spin_until(
        lambda: driving and 'round_000' in driving[-1].data, TRAINED_S, 'the new policy'
    )
    record(tmp_path / 'episodes', 'c', 'd')
    ros.spin_until(lambda: 'round_001' in driving[-1].data, TRAINED_S, 'the one after it')
    ros.spin_until(lambda: ros.call('trainer/rollback').success, what='the way back')
    ros.spin_until(lambda: 'round_000' in driving[-1].data, what='the one before it')
    ros.spin_until(lambda: ros.call('trainer/rollback').success, what='the way back to the first')
    ros.spin_until(lambda: str(first) in driving[-1].data, what='the first')
    assert (tmp_path / 'run/rounds.png').exists()


def test_so_many_new_labels_start_a_round_and_rollback_survives_a_restart(ros, trainer):
    trainer.start(labels_per_round=20)
    record(trainer.episodes, 'a', 'b')
    trainer.wait_for('driving round', '0')
    record(trainer.episodes, 'c', 'd')
    trainer.wait_for('rounds', '2')
    assert trainer.value('labels') == '48'
    assert trainer.value('driving round') == '1'
    ros.spin_until(lambda: len(trainer.policy.offers) == 2, what='the second offer')
    ros.spin_until(
        lambda: ros.call('trainer/rollback').success, what='a rollback after the training'
    )
    assert trainer.policy.offers[-1].endswith('round_000/checkpoint')
    trainer.wait_for('driving round', '0')
    assert ros.call('trainer/rollback').message == 'there is no policy of an earlier round'
    trainer.node.trigger_deactivate()
    trainer.node.trigger_cleanup()
    assert trainer.node.autostart()
    assert trainer.node._rounds.driver.round == 0


def test_a_rollback_that_the_node_is_cleaned_up_in_does_not_end_it(ros, trainer, monkeypatch):
    """What it had to tell of was gone."""

    def clean_up(request, response):
        trainer.node.trigger_deactivate()
        trainer.node.trigger_cleanup()
        return response

    monkeypatch.setattr('imitation_ros.nodes._offer.ANSWER_TIMEOUT_S', 0.5)
    trainer.train('a', 'b')
    trainer.train('c', 'd')
    trainer.start()
    trainer.wait_for('driving round', '1')
    ros.spin_until(lambda: trainer.node._offers.ready and trainer.policy.offers, what='the offer')
    trainer.policy.close()
    ros.probe.create_service(SetParameters, 'policy/set_parameters', clean_up)
    ros.probe.create_service(Trigger, 'policy/reload', trainer.policy.on_reload)
    client = ros.probe.create_client(Trigger, 'trainer/rollback')
    offers = trainer.node._offers
    ros.spin_until(lambda: offers.ready, what='the policy node')
    client.call_async(Trigger.Request())
    ros.spin_until(lambda: offers.at_work, what='the rollback')
    ros.spin_until(lambda: not offers.at_work, what='the end of it')
    assert trainer.node.autostart()
    trainer.wait_for('driving round', '1')


def test_an_offer_that_the_policy_node_refuses_does_not_drive(ros, trainer):
    trainer.policy.takes = False
    record(trainer.episodes, 'a', 'b')
    trainer.start(labels_per_round=20)
    trainer.wait_for('rounds', '1')
    ros.spin_until(lambda: trainer.reason() == 'kept: NaN', what='the refusal')
    trainer.wait_for('driving round', '')
    assert len(trainer.policy.offers) == 1


def test_a_damaged_recording_is_named_and_stops_nothing(ros, trainer):
    record(trainer.episodes, 'a', 'b', 'c')
    (bag,) = (trainer.episodes / 'b').glob('*.mcap')
    bag.write_bytes(bag.read_bytes()[:200])
    trainer.start(labels_per_round=20)
    trainer.wait_for('rounds', '1')
    (done,) = trainer.node._rounds.done
    assert done.labels == 24
    assert done.left_out == {'a recording that cannot be read': 1}


def test_labels_of_a_deleted_recording_are_not_those_of_the_next_under_its_name(ros, trainer):
    trainer.start()
    record_lockstep(trainer.episodes / 'a', 12)
    trainer.wait_for('new labels', '12')
    shutil.rmtree(trainer.episodes / 'a')
    record_lockstep(trainer.episodes / 'a', 15)
    trainer.wait_for('new labels', '15')


def test_a_training_that_fails_says_why_and_the_node_goes_on(ros, trainer):
    record(trainer.episodes, 'a', outcome='discarded')
    trainer.start()
    assert ros.call('trainer/train').success
    ros.spin_until(lambda: 'no labelled frames' in (trainer.node._reason), TRAINED_S, 'the reason')
    assert trainer.node._rounds.done == []
    trainer.wait_for('state', 'waiting')


def test_recordings_of_a_training_that_was_given_up_wait_for_the_next(ros, trainer):
    """They counted as tried: no round began until somebody recorded more."""
    record(trainer.episodes, 'a', 'b')
    trainer.start(labels_per_round=20, epochs=100_000)
    trainer.wait_for('state', 'training')
    trainer.node.trigger_deactivate()
    trainer.node.trigger_activate()
    trainer.wait_for('state', 'training')


def test_a_process_that_cannot_be_started_blocks_no_later_training(ros, trainer, monkeypatch):
    """It was 'at work' until the node was configured anew."""

    def no_process(*given):
        raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    def files():
        return len(os.listdir('/proc/self/fd'))

    training, given = Training(), (print, ())
    with monkeypatch.context() as patched:
        patched.setattr('multiprocessing.util.spawnv_passfds', no_process)
        gc.collect()
        before = files()
        for _ in range(3):
            with pytest.raises(OSError, match='temporarily unavailable'):
                training.start(*given)
        assert files() <= before
        trainer.start()
        record(trainer.episodes, 'a', 'b')
        assert 'temporarily unavailable' in ros.call('trainer/train').message
        assert trainer.node._training.process is None
    assert ros.call('trainer/train').success
    trainer.wait_for('driving round', '0')


def test_a_kill_at_any_point_resumes_at_the_last_whole_round(ros, trainer):
    record(trainer.episodes, 'a', 'b')
    trainer.start(epochs=10_000)
    assert ros.call('trainer/train').success
    partial = trainer.run / 'round_000.partial'
    ros.spin_until(lambda: (partial / 'recordings.json').exists(), TRAINED_S, 'the training')
    trainer.node._training.process.kill()
    ros.spin_until(lambda: 'exit code' in trainer.node._reason, what='the end of it')
    assert trainer.node._rounds.done == []
    assert len(trainer.node._rounds.waiting) == 2
    config = DaggerConfig(GateConfig('human'), BCConfig(epochs=10_000, validation_fraction=0.0))
    again = RecordedRounds(trainer.run, trainer.episodes, contract(), config, 0)
    assert len(again.waiting) == 2
    with pytest.raises(ImitationError, match='other settings'):
        RecordedRounds(trainer.run, trainer.episodes, contract(), config, 1)


def test_a_gate_that_asks_an_ensemble_or_a_classifier_needs_one(ros, trainer, capfd):
    with pytest.raises(AssertionError, match='refused to start'):
        trainer.start(gate='uncertainty')
    assert 'valid: members of 2 or more' in capfd.readouterr().err
    with pytest.raises(AssertionError, match='refused to start'):
        trainer.start(gate='safe', held_out_every=0)
    assert 'valid: held_out_every of 2 or more' in capfd.readouterr().err
    with pytest.raises(ParameterError, match='contract is not set'):
        ros.start(TrainerNode)


def test_a_rejected_round_0_is_never_offered(ros, trainer, tmp_path, monkeypatch):
    """It drove: it was compared with nothing, and to be rejected was no obstacle."""
    initial, rejects = tmp_path / 'initial', 'imitation_ros.learning.dagger.judge'
    save_untrained_policy(trainer.contract, initial)
    monkeypatch.setattr(rejects, lambda *given: (False, 'worse'))
    trainer.train('a', 'b', checkpoint=initial)
    trainer.start(checkpoint=str(initial))
    trainer.wait_for('rounds', '1')
    ros.spin_for(2.5)  # two looks
    assert trainer.policy.offers == []
    assert trainer.value('driving round') == ''
    assert trainer.node._rounds.driver.checkpoint == initial


def test_a_policy_node_that_starts_again_gets_what_was_accepted(ros, trainer, tmp_path):
    """The initial policy drove again, and the trainer said that round 0 does."""
    policy, driving = offered(ros, trainer, tmp_path)
    ros.stop(policy)
    driving.clear()
    ros.start(PolicyNode, contract=str(trainer.contract), checkpoint=str(tmp_path / 'first'))
    ros.spin_until(lambda: len(driving) == 2, what='its own policy, and what it is offered')
    assert [str(tmp_path / 'first') in each.data for each in driving] == [True, False]
    assert 'round_000' in driving[-1].data
    trainer.wait_for('driving round', '0')


def test_a_rollback_by_somebody_else_is_what_the_next_round_is_compared_with(
    ros, trainer, tmp_path
):
    """The trainer took no note of who really drives, and compared with what did not."""
    _, driving = offered(ros, trainer, tmp_path)
    assert ros.call('policy/rollback').success
    ros.spin_until(lambda: str(tmp_path / 'first') in driving[-1].data, what='the way back')
    trainer.wait_for('driving round', '')
    assert trainer.reason().endswith('drives; the next round is compared with it')
    assert trainer.node._rounds.driver.digest == read_digest(tmp_path / 'first')
    looks = len(driving)
    ros.spin_for(2.5)
    assert len(driving) == looks, 'and nobody takes it back'


def offered(ros, trainer, tmp_path):
    """A policy node, not the double, and a trainer whose round 0 it has taken."""
    trainer.policy.close()
    save_untrained_policy(trainer.contract, tmp_path / 'first')
    trainer.train('a', 'b')
    driving = ros.listen('policy/checkpoint', 'std_msgs/msg/String', LATCHED)
    policy = ros.start(
        PolicyNode, contract=str(trainer.contract), checkpoint=str(tmp_path / 'first')
    )
    trainer.start(checkpoint=str(tmp_path / 'first'))
    trainer.wait_for('driving round', '0')
    assert 'round_000' in driving[-1].data
    return policy, driving


def test_success_decides_once_policies_have_driven(ros, trainer):
    """Recorded outcomes were ignored: a worse policy drove on because its loss was lower."""
    first = read_digest(trainer.train('a', 'b'))
    record_driven(trainer.episodes / 'c', first)
    record_driven(trainer.episodes / 'd', first, corrected=6)
    second = read_digest(trainer.train())
    trainer.start(trial_episodes=2)
    trainer.wait_for('driving round', '1')
    record_driven(trainer.episodes / 'e', second, 'failure')
    trainer.wait_for('driving success', '0 of 1')
    record_driven(trainer.episodes / 'f', second, corrected=6)
    trainer.wait_for('driving round', '0')
    assert trainer.policy.offers[-1].endswith('round_000/checkpoint')
    assert trainer.reason() == (
        'round 0 drives again: it succeeded in 1 of 2 episodes, round 1 in 0 of 2 episodes'
    )
    trainer.wait_for('driving success', '1 of 2')


def test_the_supervisor_is_told_the_round_also_when_it_starts_again(ros, trainer):
    """Beta stayed at that of round 0 on a robot: nobody but the lockstep collector set it."""

    def supervise():
        return ros.start(SupervisorNode, contract=str(trainer.contract))

    def round_of(supervisor):
        return supervisor.get_parameter('gate_round').value

    supervisor = supervise()
    trainer.train('a', 'b')
    trainer.start()
    ros.spin_until(lambda: round_of(supervisor) == 1, what='round 1')
    ros.stop(supervisor)
    again = supervise()
    assert round_of(again) == 0
    ros.spin_until(lambda: round_of(again) == 1, what='round 1 again')


def test_what_cannot_be_read_for_any_reason_is_passed_over(ros, trainer, monkeypatch):
    """Anything but an EpisodeError or OSError left the watch waiting for ever."""

    def faulty(path, *given, **options):
        if path.name == 'b':
            raise KeyError('a bug')
        return read_recording(path, *given, **options)

    monkeypatch.setattr('imitation_ros.nodes.trainer.read_recording', faulty)
    record(trainer.episodes, 'a', 'b', 'c')
    trainer.start()
    trainer.wait_for('new labels', '24')


def test_a_clean_up_while_a_recording_is_read_is_no_trouble(ros, trainer, monkeypatch, capfd):
    """The look went on, and logged that the node has no attribute '_driving'."""
    reading, read, looks = threading.Event(), threading.Event(), []
    look = TrainerNode._look

    def slowly(*given, **options):
        reading.set()
        read.wait(60.0)
        return read_recording(*given, **options)

    async def watched(node):
        try:
            await look(node)
        finally:
            looks.append(node.active)

    monkeypatch.setattr('imitation_ros.nodes.trainer.read_recording', slowly)
    monkeypatch.setattr(TrainerNode, '_look', watched)
    record(trainer.episodes, 'a')
    trainer.start()
    ros.spin_until(reading.is_set, what='the recording')
    trainer.node.trigger_deactivate()
    trainer.node.trigger_cleanup()
    read.set()
    ros.spin_until(lambda: False in looks, what='the end of the look')
    assert 'AttributeError' not in capfd.readouterr().err


def test_whoever_waits_for_background_work_hears_what_went_wrong(ros):
    """What the thread raised left the coroutine waiting for ever."""
    heard = []

    async def wait():
        try:
            await Background(ros.probe, lambda: 1 // 0)
        except ZeroDivisionError as error:
            heard.append(error)

    ros.executor.create_task(wait)
    ros.spin_until(lambda: heard, what='the error')


def test_a_damaged_run_is_told_and_looked_at_again(ros, trainer):
    """The watch ended, and with it the node."""
    trainer.train('a', 'b')
    trainer.start()
    trainer.wait_for('rounds', '1')
    note = trainer.run / 'round_000/recordings.json'
    kept = note.read_text()
    note.write_text('{')
    ros.spin_until(lambda: 'recordings.json' in trainer.reason(), what='the trouble')
    assert 'recordings.json' in ros.call('trainer/train').message
    note.write_text(kept)
    record(trainer.episodes, 'c')
    trainer.wait_for('new labels', '12')
