"""Which policy drives, of rounds that are there, beside a policy node that takes all."""

from __future__ import annotations

import asyncio
import errno
import os
from types import SimpleNamespace

from imitation_ros.learning import recorded_rounds
from imitation_ros.learning.bc import BCConfig
from imitation_ros.learning.dagger import DaggerConfig
from imitation_ros.learning.recorded_rounds import RecordedRounds, RECORDINGS
from imitation_ros.learning.recorded_trials import RecordedTrial
from imitation_ros.learning.rounds import ROUND, Round, write_json
from imitation_ros.nodes._driving import Driving
from imitation_ros.supervision.gates import GateConfig
import pytest
from recorded_episodes import contract

CONFIG = DaggerConfig(GateConfig('human'), BCConfig())


class Policy:
    """The policy node, as `Offers` and `policy/checkpoint` know it."""

    def __init__(self):
        self.drives, self.said, self.at_work, self.ready = '', 0, False, True

    async def offer(self, checkpoint):
        self.drive(checkpoint.parent.name)
        return SimpleNamespace(success=True, message='taken')

    def drive(self, name):
        self.drives, self.said = name, self.said + 1


class Run:
    """Rounds on disk, all accepted but for those in `rejected`; how each did is in `trials`."""

    def __init__(self, folder):
        self.folder, self.policy, self.trials = folder, Policy(), []
        self.start()

    def start(self):
        """Also: the trainer starts anew."""
        self.rounds = RecordedRounds(self.folder, self.folder / 'none', contract(), CONFIG, 0)
        node = SimpleNamespace(
            create_subscription=lambda *given: None,
            count_publishers=lambda topic: 1,
            get_logger=lambda: SimpleNamespace(info=lambda text: None),
        )
        self.driving = Driving(node, self.rounds, self.policy, lambda text: None)
        self._heard = 0

    def add(self, successes=0, episodes=0):
        """A round whose policy, accepted, then succeeds in so many episodes."""
        number = len(self.rounds.done)
        folder = self.rounds._rounds.round_folder(number)
        folder.mkdir()
        done = Round(number, 1, 1, 1, 1, 1, 0, 0, None, None, None, None, True, '', number, 1.0)
        write_json(folder / ROUND, vars(done))
        write_json(folder / RECORDINGS, {'taken': [], 'refused': {}})
        won = [number < successes for number in range(episodes)]
        self.trials += [RecordedTrial(folder.name, each) for each in won]

    def look(self, times=2):
        """What the trainer does once a second."""
        for _ in range(times):
            if self._heard != self.policy.said:
                self._heard = self.policy.said
                text = f'/{self.policy.drives}/checkpoint ({self.policy.drives})'
                info = {'publication_sequence_number': self._heard}
                self.driving._hear(SimpleNamespace(data=text), info)
            self.driving.follow()
            asyncio.run(self.driving.offer())
            asyncio.run(self.driving.go_back(self.trials, 10))
        return self.policy.drives

    def roll_back(self):
        """By `~/rollback`."""
        took, text = asyncio.run(self.driving.roll_back())
        assert took, text


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.setattr(recorded_rounds, 'read_digest', lambda path: path.parent.name)
    run = Run(tmp_path / 'run')
    run.policy.drive('other')
    return run


@pytest.fixture
def better(run):
    """Round 1 drives, and did better than round 0."""
    run.add(5, 10)
    run.look()
    run.add(9, 10)
    assert run.look() == 'round_001'
    return run


@pytest.mark.parametrize('by', ['the trainer', 'the policy node'])
def test_a_rollback_holds_though_what_it_left_succeeds_more_often(better, by):
    """The policy that was rolled back from drove again within a second."""
    if by == 'the trainer':
        better.roll_back()
    else:
        better.policy.drive('round_000')
    assert better.look() == 'round_000'
    better.start()
    assert better.look() == 'round_000', 'and also where the trainer starts anew'


def test_success_brings_back_nothing_that_somebody_rolled_back_from(better):
    better.roll_back()
    better.look()
    better.start()
    better.add(1, 10)
    assert better.look() == 'round_000', 'which did better than round 2, not as well as round 1'
    assert better.rounds.seen(better.rounds.find('round_000'))


def test_whoever_takes_back_what_success_decided_is_heeded(run):
    """It was decided again in the next second, and again."""
    run.add(9, 10)
    run.look()
    run.add(5, 10)
    assert run.look() == 'round_000'
    run.policy.drive('round_001')
    assert run.look() == 'round_001'


def test_a_policy_that_somebody_chooses_again_is_rolled_back_from_no_more(better):
    better.roll_back()
    better.look()
    better.policy.drive('round_001')
    better.look()
    better.add(1, 10)
    better.look()
    assert better.look() == 'round_001'


@pytest.mark.parametrize('by', ['the trainer', 'the policy node'])
def test_a_rollback_that_the_disk_does_not_remember_is_not_undone(run, monkeypatch, by):
    """The policy that was rolled back from was offered in the next look."""

    def full(*given):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    for _ in range(2):
        run.add()
        run.look()
    with monkeypatch.context() as patched:
        patched.setattr(recorded_rounds, 'write_json', full)
        if by == 'the policy node':
            run.policy.drive('round_000')
        else:
            with pytest.raises(OSError, match='No space left'):
                run.roll_back()
        for _ in range(3):
            with pytest.raises(OSError, match='No space left'):
                run.look(times=1)
        assert run.policy.drives == 'round_000'
    assert run.look() == 'round_000'
    assert run.rounds.driver.round == 0
    assert run.rounds.left == {'round_001'}
