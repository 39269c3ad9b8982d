"""DAgger's rounds from recordings: who drives, what a round is compared with, what decides."""

from __future__ import annotations

from dataclasses import replace
import json
from pathlib import Path
import shutil

from imitation_ros.episodes.training_set import TrainingSet
from imitation_ros.errors import EpisodeError, ImitationError
from imitation_ros.learning import recorded_rounds
from imitation_ros.learning.bc import BCConfig, train_bc
from imitation_ros.learning.dagger import DaggerConfig
from imitation_ros.learning.recorded_rounds import Before, read_recording, RecordedRounds
from imitation_ros.learning.recorded_trials import better_ones, judge_episode, RecordedTrial
from imitation_ros.policies.checkpoint import load_checkpoint, read_digest, read_record
from imitation_ros.supervision.gates import GateConfig
import pytest
from recorded_episodes import contract, record_driven, record_lockstep

TRAINING = BCConfig(hidden=(8,), epochs=2, validation_fraction=0.0)
CONFIG = DaggerConfig(GateConfig('human'), TRAINING)


@pytest.fixture
def run(tmp_path):
    """Opens the run of a data set, again and again."""

    def opened(config=CONFIG, **before):
        return RecordedRounds(
            tmp_path / 'run', tmp_path / 'episodes', contract(), config, 0, Before(**before)
        )

    return opened


@pytest.fixture
def initial(tmp_path):
    """A policy that was cloned from demonstrations which lie elsewhere."""
    demonstrate(tmp_path / 'demonstrations', 'first', 'second')
    known = TrainingSet.from_folder(tmp_path / 'demonstrations', contract())
    train_bc(known, replace(TRAINING, epochs=60), 1, tmp_path / 'initial')
    return tmp_path / 'initial'


def shown(initial):
    """It, and where the demonstrations lie that it was trained on."""
    return {'checkpoint': initial, 'demonstrations': initial.with_name('demonstrations')}


def demonstrate(folder, *names, seed=0, **settings):
    for number, name in enumerate(names):
        record_lockstep(folder / name, 12, seed=seed + number, **settings)


def test_round_0_is_compared_with_the_policy_that_drives(tmp_path, run, initial):
    """It replaced the initial policy: there was 'nothing to compare with'."""
    demonstrate(tmp_path / 'episodes', 'a', 'b')
    done = run(replace(CONFIG, reject_above=1.0), **shown(initial)).run_round()
    assert done.driving_loss is not None
    assert not done.accepted, 'two epochs are worse than 60'
    assert 'above 1 times' in done.reason


def test_a_rejected_round_0_lets_the_initial_policy_drive(tmp_path, run, initial):
    """The trainer said that the rejected policy drives, and offered it."""
    demonstrate(tmp_path / 'episodes', 'a', 'b')
    config = replace(CONFIG, reject_above=1.0)
    done = run(config, **shown(initial)).run_round()
    driver = run(config, **shown(initial)).driver
    assert (done.driving, driver.round, driver.checkpoint) == (None, None, initial)
    demonstrate(tmp_path / 'episodes', 'c', 'd')
    again = run(config, **shown(initial)).run_round()
    assert again.driving_loss == pytest.approx(done.driving_loss, rel=0.5), 'of the same policy'


def test_rounds_learn_from_the_demonstrations_that_lie_elsewhere(tmp_path, run, initial):
    """What was trained after the first corrections knew the corrections alone."""
    demonstrate(tmp_path / 'episodes', 'a', 'b')
    rounds = run(**shown(initial))
    rounds.run_round()
    fitted = read_record(rounds.driver.checkpoint)['episodes']
    assert fitted == 3, 'two, and one of two that were recorded'


def test_no_policy_is_compared_on_the_demonstrations_that_it_was_trained_on(tmp_path, run):
    """Round 0 was rejected: the initial policy knew the demonstrations in `episodes` by heart."""
    episodes = tmp_path / 'episodes'
    demonstrate(episodes, 'a', 'b', 'c')
    train_bc(
        TrainingSet.from_folder(episodes, contract()),
        replace(TRAINING, epochs=60),
        1,
        tmp_path / 'initial',
    )
    digest = read_digest(tmp_path / 'initial')
    record_driven(episodes / 'c2', 'an older one', corrected=6)
    record_driven(episodes / 'd', digest, corrected=6)
    record_driven(episodes / 'e', digest, corrected=12)  # taken over at once
    rounds = run(replace(CONFIG, held_out_every=2), checkpoint=tmp_path / 'initial')
    assert rounds.run_round().driving_loss is not None, 'on a correction'
    assert read_record(rounds.driver.checkpoint)['episodes'] == 5, 'all but e'
    demonstrate(episodes, 'f', 'g')
    rounds.run_round()
    fitted = read_record(tmp_path / 'run/round_001/checkpoint')['episodes']
    assert fitted == 6, 'all but e and g, which no policy had seen'


def test_a_policy_that_knows_all_there_is_by_heart_is_not_compared(tmp_path, run):
    demonstrate(tmp_path / 'episodes', 'a', 'b')
    known = TrainingSet.from_folder(tmp_path / 'episodes', contract())
    train_bc(known, replace(TRAINING, epochs=60), 1, tmp_path / 'initial')
    done = run(replace(CONFIG, reject_above=1.0), checkpoint=tmp_path / 'initial').run_round()
    assert (done.accepted, done.driving_loss) == (True, None)


def test_a_warm_start_goes_on_from_the_initial_policy(tmp_path, run, initial):
    demonstrate(tmp_path / 'episodes', 'a', 'b')
    rounds = run(replace(CONFIG, warm_start=True), checkpoint=initial)
    rounds.run_round()
    assert read_record(rounds.driver.checkpoint)['start'] == read_digest(initial)


@pytest.mark.parametrize(
    ('before', 'says'),
    [({'checkpoint': 'nowhere'}, 'no checkpoint'), ({'demonstrations': 'episodes'}, 'twice')],
)
def test_what_was_before_is_checked_at_the_start(tmp_path, run, before, says):
    with pytest.raises(ImitationError, match=says):
        run(**{name: tmp_path / each for name, each in before.items()})


def test_the_next_round_is_compared_with_what_was_let_drive(tmp_path, run, initial):
    """After a rollback by somebody else the comparison was with the policy that had driven."""
    demonstrate(tmp_path / 'episodes', 'a', 'b')
    rounds = run(**shown(initial))
    first = rounds.run_round()
    assert rounds.driver.round == 0
    assert not rounds.seen(rounds.driver), 'nobody has taken it yet'
    rounds.drive(rounds.find(read_digest(initial)))
    assert run(**shown(initial)).driver.checkpoint == initial
    demonstrate(tmp_path / 'episodes', 'c', 'd')
    second = run(**shown(initial)).run_round()
    assert second.driving_loss == pytest.approx(first.driving_loss, rel=0.5)


def test_a_policy_of_which_nothing_is_told_is_found_where_it_says_it_lies(tmp_path, run, initial):
    demonstrate(tmp_path / 'episodes', 'a', 'b')
    rounds, digest = run(), read_digest(initial)
    assert rounds.driver is None
    assert rounds.find(digest) is None
    rounds.drive(rounds.find(digest, initial))
    assert run().driver.digest == digest
    rounds.run_round()
    assert rounds.driver.round == 0
    assert rounds.before.checkpoint == initial
    assert rounds.find(digest).checkpoint == initial


def test_who_drives_changed_while_a_round_was_trained(tmp_path, run, monkeypatch):
    """The end of the round took a rollback back."""
    demonstrate(tmp_path / 'episodes', 'a', 'b')
    run().run_round()
    demonstrate(tmp_path / 'episodes', 'c', 'd')
    run().run_round()
    demonstrate(tmp_path / 'episodes', 'e', 'f')
    rounds = run()
    offered = recorded_rounds.make_offer

    def roll_back_and_offer(*request):
        rounds.drive(rounds.before)
        return replace(offered(*request), accepted=False)

    monkeypatch.setattr(recorded_rounds, 'make_offer', roll_back_and_offer)
    assert rounds.run_round().driving == 0
    assert rounds.driver.round == 0


def test_a_rollback_in_the_last_moment_of_a_rejected_round_holds(tmp_path, run, monkeypatch):
    """It was forgotten, as a round had been committed since."""
    for names in ('ab', 'cd'):
        demonstrate(tmp_path / 'episodes', *names)
        run().run_round()
    demonstrate(tmp_path / 'episodes', 'e', 'f')
    rounds, offered = run(), recorded_rounds.make_offer
    accounted = recorded_rounds.account

    def account_and_roll_back(*request):
        rounds.drive(rounds.before)
        return accounted(*request)

    monkeypatch.setattr(
        recorded_rounds, 'make_offer', lambda *given: replace(offered(*given), accepted=False)
    )
    monkeypatch.setattr(recorded_rounds, 'account', account_and_roll_back)
    assert rounds.run_round().driving == 1
    assert run().driver.round == 0
    monkeypatch.undo()
    demonstrate(tmp_path / 'episodes', 'g', 'h')
    rounds.run_round()
    assert run().driver.round == 3, 'which was accepted'


def test_a_plot_that_fails_costs_no_round(tmp_path, run, monkeypatch, capfd):
    """An hour of training was thrown away, at each try."""
    demonstrate(tmp_path / 'episodes', 'a', 'b')
    monkeypatch.setattr(recorded_rounds, 'plot_rounds', lambda *given: 1 // 0)
    assert run().run_round().labels == 24
    assert len(run().done) == 1
    assert 'ZeroDivisionError' in capfd.readouterr().err


def test_the_way_back_is_to_the_policy_that_drove_when_a_round_was_accepted(tmp_path, run):
    """It was to the round before, which had been rolled back from."""
    rounds = run()
    for names in ('ab', 'cd', 'ef'):
        demonstrate(tmp_path / 'episodes', *names)
        rounds.run_round()
        rounds.drive(rounds.driver)
    assert rounds.before.round == 1
    rounds.drive(rounds.before, instead_of=rounds.driver)
    demonstrate(tmp_path / 'episodes', 'g', 'h')
    rounds.run_round()
    assert (rounds.driver.round, rounds.before.round) == (3, 1)
    rounds.drive(rounds.before)
    assert (rounds.driver.round, rounds.before.round) == (1, 0)
    for number in range(4):  # a run from before this version
        path = tmp_path / f'run/round_{number:03d}/round.json'
        kept = json.loads(path.read_text())
        del kept['driven_by']
        path.write_text(json.dumps(kept))
    rounds.drive(rounds.find(read_digest(tmp_path / 'run/round_003/checkpoint')))
    assert run().before.round == 2


def test_a_run_that_is_opened_takes_nothing_from_the_training_at_work_in_it(
    tmp_path, run, monkeypatch
):
    """A second trainer emptied the round: without recordings it broke the run for good."""
    demonstrate(tmp_path / 'episodes', 'a', 'b')
    offered = recorded_rounds.make_offer

    def offer_meanwhile(*request):
        run()
        return offered(*request)

    monkeypatch.setattr(recorded_rounds, 'make_offer', offer_meanwhile)
    assert run().run_round().labels == 24
    assert run().waiting == []
    assert len(run()._rounds.episodes(0)) == 2


@pytest.mark.parametrize('gone', ['frames', 'recordings.json'])
def test_a_round_that_lost_a_part_is_none(tmp_path, run, monkeypatch, gone):
    demonstrate(tmp_path / 'episodes', 'a', 'b')
    offered = recorded_rounds.make_offer

    def offer_and_lose(*request):
        part = tmp_path / 'run/round_000.partial' / gone
        shutil.rmtree(part) if part.is_dir() else part.unlink()
        return offered(*request)

    with monkeypatch.context() as patched:
        patched.setattr(recorded_rounds, 'make_offer', offer_and_lose)
        with pytest.raises(ImitationError, match=f'not committed: {gone} is gone'):
            run().run_round()
    assert len(run().waiting) == 2
    assert run().run_round().labels == 24


def test_a_recording_says_how_the_policy_did_in_it(tmp_path):
    record_driven(tmp_path / 'alone', 'abc')
    record_driven(tmp_path / 'helped', 'abc', corrected=4)
    record_driven(tmp_path / 'failed', 'abc', 'failure')
    record_driven(tmp_path / 'unknown', 'abc', 'unknown')
    demonstrate(tmp_path, 'shown')
    trials = {
        name: read_recording(tmp_path / name, contract()).trial
        for name in ('alone', 'helped', 'failed', 'unknown', 'shown')
    }
    assert trials == {
        'alone': ('abc', True),
        'helped': ('abc', False),
        'failed': ('abc', False),
        'unknown': None,
        'shown': None,
    }
    assert read_recording(tmp_path / 'helped', contract(), 'beta').trial is None


def test_what_counts_of_a_recording_is_known_without_its_frames(tmp_path, monkeypatch):
    """The trainer's node made them, beside the robot, and threw them away."""
    record_driven(tmp_path / 'helped', 'abc', corrected=4)
    whole = read_recording(tmp_path / 'helped', contract())
    monkeypatch.setattr(recorded_rounds, 'load_episode', lambda *given: 1 // 0)
    counted = read_recording(tmp_path / 'helped', contract(), frames=False)
    assert counted == replace(whole, episode=None)
    assert counted.labels == 4


def test_rounds_remember_how_policies_did_and_say_it_of_the_one_that_drives(tmp_path, run):
    demonstrate(tmp_path / 'episodes', 'a', 'b')
    rounds = run()
    rounds.run_round()
    digest = rounds.driver.digest
    record_driven(tmp_path / 'episodes' / 'c', digest, corrected=6)
    record_driven(tmp_path / 'episodes' / 'd', digest)
    done = rounds.run_round()
    assert (done.driving_success, done.new_success) == (0.5, None)
    assert sorted(run().trials) == [(digest, False), (digest, True)]


def test_an_episode_that_was_discarded_counts_nowhere(tmp_path, run):
    """Of three, one discarded, 2 were said to have succeeded."""
    demonstrate(tmp_path / 'episodes', 'a', 'b')
    demonstrate(tmp_path / 'episodes', 'c', outcome='discarded')
    done = run().run_round()
    assert (done.successes, done.episodes, done.ticks, done.labels) == (2, 2, 24, 24)
    assert done.left_out == {recorded_rounds.DISCARDED: 12}


@pytest.mark.parametrize(
    ('checkpoints', 'outcome', 'expert_ticks', 'gate', 'trial'),
    [
        (['a', 'a'], 'success', 0, 'human', ('a', True)),
        (['a', 'a'], 'success', 3, 'safe', ('a', False)),
        (['a', 'a'], 'success', 0, 'beta', ('a', True)),
        (['a', 'a'], 'failure', 3, 'beta', None),
        (['a', 'b'], 'success', 0, 'human', None),
        ([''], 'success', 0, 'human', None),
        ([], 'success', 9, 'human', None),
        (['a'], 'discarded', 0, 'human', None),
    ],
)
def test_which_episodes_are_trials(checkpoints, outcome, expert_ticks, gate, trial):
    assert judge_episode(checkpoints, outcome, expert_ticks, gate) == trial


def test_success_decides_once_there_is_enough_of_it():
    def trials(checkpoint, successes, failures):
        won = [RecordedTrial(checkpoint, True)] * successes
        return won + [RecordedTrial(checkpoint, False)] * failures

    known = trials('old', 9, 1) + trials('older', 10, 0) + trials('lucky', 2, 0)
    assert better_ones('new', known + trials('new', 5, 4), 10) == [], 'nine are not enough'
    assert better_ones('new', known + trials('new', 5, 5), 10) == ['older', 'old']
    assert better_ones('new', known + trials('new', 9, 1), 10) == ['older'], 'a tie keeps it'


def test_what_the_disk_does_not_give_waits_for_the_next_round(tmp_path, run, monkeypatch):
    """An OSError ended this round and all later ones; who knows what comes tomorrow."""
    demonstrate(tmp_path / 'episodes', 'a', 'b', 'c')

    def faulty(path, mode):
        if path.parent.name == 'b':
            raise OSError(5, 'Input/output error', str(path))
        return open(path, mode)

    def without_b(patched):
        patched.setattr('imitation_ros.episodes.mcap_file.open', faulty, raising=False)

    with monkeypatch.context() as patched:
        without_b(patched)
        done = run().run_round()
    assert done.left_out == {'a recording that cannot be read': 1}
    assert [each.path.name for each in run().waiting] == ['b']
    with monkeypatch.context() as patched:
        without_b(patched)
        with pytest.raises(EpisodeError, match='Input/output error'):
            run().run_round()
    assert run().run_round().labels == 12


def test_a_round_without_labels_does_not_bring_back_what_somebody_left(tmp_path, run):
    """The same data give the same weights, which were offered, and drove again."""
    rounds = run()
    for names in ('ab', 'cd'):
        demonstrate(tmp_path / 'episodes', *names)
        rounds.run_round()
        rounds.drive(rounds.driver)
    rounds.drive(rounds.before, instead_of=rounds.driver)
    record_driven(tmp_path / 'episodes/e', rounds.driver.digest)
    done = run().run_round()
    assert read_digest(tmp_path / 'run/round_002/checkpoint') in rounds.left
    assert not done.accepted
    assert 'somebody let another one drive' in done.reason
    assert run().driver.round == 0


def test_a_run_keeps_to_its_demonstrations(tmp_path, run, initial):
    """Started again without them, its policies knew the corrections alone."""
    run(**shown(initial))
    with pytest.raises(ImitationError, match=r'other settings \(demonstrations\)'):
        run(checkpoint=initial)
    with pytest.raises(ImitationError, match='nowhere'):
        run(checkpoint=initial, demonstrations=tmp_path / 'nowhere')


def test_a_run_from_before_this_version_goes_on(tmp_path, run):
    demonstrate(tmp_path / 'episodes', 'a', 'b')
    run().run_round()
    note = tmp_path / 'run/round_000/recordings.json'
    kept = json.loads(note.read_text())
    del kept['trials'], kept['digests']
    note.write_text(json.dumps(kept))
    (tmp_path / 'run/driving.json').write_text('{"driving": 0, "rounds": 1}')
    assert run().driver.round == 0
    assert run().trials == []
    assert run().waiting == []


def test_a_recording_is_told_from_an_earlier_one_of_the_same_name(tmp_path, run):
    """The recorder numbers on from the last that is there, and no round took what it wrote."""
    episodes = tmp_path / 'episodes'
    demonstrate(episodes, 'a', 'b', 'c')
    (bag,) = (episodes / 'c').glob('*.mcap')
    bag.write_bytes(bag.read_bytes()[:200])
    assert run().run_round().labels == 24
    for name in ('b', 'c'):
        shutil.rmtree(episodes / name)
        record_lockstep(episodes / name, 15)
    assert [each.path.name for each in run().waiting] == ['b', 'c']
    assert run().run_round().labels == 30
    (episodes / 'a').rename(episodes / 'z')
    assert run().waiting == [], 'whatever its folder is called'


def test_a_policy_that_was_deleted_does_not_end_the_rounds(tmp_path, run, initial):
    demonstrate(tmp_path / 'episodes', 'a', 'b')
    rounds, gone = run(**shown(initial)), tmp_path / 'gone'
    shutil.copytree(initial, gone)
    document = json.loads((gone / 'policy.json').read_text())
    assert document['weights_sha256'] == load_checkpoint(gone).checkpoint
    rounds.drive(rounds.find(read_digest(gone), gone))
    assert rounds.driver.checkpoint == gone
    shutil.rmtree(gone)
    assert rounds.driver.checkpoint == initial
    assert isinstance(rounds.run_round().driving_loss, float)
    assert Path(rounds.driver.checkpoint).name == 'checkpoint'
