"""Rounds on disk: whole or not there, and a run goes on after a kill with the same result."""

from __future__ import annotations

from dataclasses import asdict, replace
import math
from pathlib import Path
import shutil

from imitation_ros.errors import ImitationError
from imitation_ros.frames.contract import Contract, parse_contract
from imitation_ros.learning.background import alone_in
from imitation_ros.learning.bc import BCConfig
from imitation_ros.learning.dagger import (
    Collected,
    dagger,
    DaggerConfig,
    DaggerResult,
    gapless,
    judge,
)
from imitation_ros.learning.held_out import split_rounds
from imitation_ros.learning.rounds import COLLECTED, load_episodes, Rounds, save_episodes
from imitation_ros.policies.checkpoint import load_checkpoint
from imitation_ros.supervision.gates import GateConfig
from imitation_ros.types import Episode
import numpy as np
import pytest

CONFIG = DaggerConfig(
    gate=GateConfig('shadow'),
    training=BCConfig(hidden=(8,), epochs=2, steps_per_epoch=1, validation_fraction=0.0),
    initial_episodes=3,
    episodes=2,
    rounds=3,
    held_out_every=3,
)


def make_contract() -> Contract:
    number = {'type': 'std_msgs/msg/Float64MultiArray', 'select': ['data.0']}
    return parse_contract(
        {
            'name': 'line',
            'rate_hz': 20,
            'command_hz': 20,
            'observations': {'state': {'topic': 'state', 'max_age_s': 1.0, **number}},
            'actions': {
                'arm': {
                    'topic': 'command', 'kind': 'velocity', 'units': 'm/s', 'low': -1.0,
                    'high': 1.0, 'max_acceleration': 1.0, **number,
                }
            },
        }
    )  # fmt: skip


def make_episode(seed: int, ticks: int = 6) -> Episode:
    states = np.random.default_rng(seed).normal(size=(ticks, 1))
    return Episode(
        np.arange(ticks) * 50_000_000,
        {'state': states},
        {'arm': np.tanh(-states)},
        np.zeros(ticks, np.int32),
        outcome='success',
        left_out={'handoff': 2},
        metadata={'seed': seed},
    )


class Pretender:
    """A collector whose expert pushes towards 0 from random states."""

    def __init__(self, fail_at: int | None = None) -> None:
        self.task, self.contract = 'pretend', make_contract()
        self.calls: list[tuple[int, bool, tuple[int, ...]]] = []
        self._fail_at = fail_at

    def collect(self, checkpoint, gate, seeds, out):
        if gate.round == self._fail_at:
            raise KeyboardInterrupt
        self.calls.append((gate.round, checkpoint is None, tuple(seeds)))
        return [Collected(make_episode(seed), seed, True, 6, 2, 6, 1) for seed in seeds]


def outcome(result: DaggerResult) -> list[dict[str, object]]:
    """Without what depends on the clock."""
    return [{**asdict(each), 'seconds': 0.0} for each in result.rounds]


def test_scenes_are_of_the_seed_and_never_used_twice(tmp_path):
    collector = Pretender()
    result = dagger(collector, CONFIG, tmp_path / 'run', seed=2)
    assert collector.calls == [
        (0, True, (20_000, 20_001, 20_002)),
        (1, False, (20_003, 20_004)),
        (2, False, (20_005, 20_006)),
        (3, False, (20_007, 20_008)),
    ]
    assert (result.labels, result.extra_labels) == (54, 36)
    assert [each.left_out for each in result.rounds] == [{'handoff': 6}] + 3 * [{'handoff': 4}]
    assert result.rounds[1].intervention_rate == pytest.approx(1 / 3)


@pytest.mark.parametrize('killed_at', [0, 1, 3])
@pytest.mark.parametrize('warm_start', [False, True])
def test_a_run_killed_while_collecting_ends_as_one_that_was_not(tmp_path, killed_at, warm_start):
    config = replace(CONFIG, warm_start=warm_start)
    with pytest.raises(KeyboardInterrupt):
        dagger(Pretender(fail_at=killed_at), config, tmp_path / 'killed')
    collector = Pretender()
    resumed = dagger(collector, config, tmp_path / 'killed')
    straight = dagger(Pretender(), config, tmp_path / 'straight')
    assert [call[0] for call in collector.calls] == list(range(killed_at, 4))
    assert outcome(resumed) == outcome(straight)
    weights = 'round_003/checkpoint/policy.safetensors'
    assert len({(tmp_path / run / weights).read_bytes() for run in ('killed', 'straight')}) == 1


def test_a_round_killed_while_training_keeps_what_was_collected(tmp_path, monkeypatch):
    def killed(*args: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr('imitation_ros.learning.dagger.make_offer', killed)
        with pytest.raises(KeyboardInterrupt):
            dagger(Pretender(), CONFIG, tmp_path / 'run')
    collector = Pretender()
    resumed = dagger(collector, CONFIG, tmp_path / 'run')
    assert [call[0] for call in collector.calls] == [1, 2, 3]
    assert outcome(resumed) == outcome(dagger(Pretender(), CONFIG, tmp_path / 'straight'))
    assert not list((tmp_path / 'run').glob('*/collected.json'))


def test_a_kill_while_a_round_becomes_whole_costs_nothing_that_was_collected(
    tmp_path, monkeypatch
):
    """The note went before the round had its name: the next start removed the collected bags."""

    class Recorder(Pretender):
        def collect(self, checkpoint, gate, seeds, out):
            out.mkdir()
            (out / 'bag.mcap').write_bytes(b'an hour of a person')
            return super().collect(checkpoint, gate, seeds, out)

    def killing(step):
        real = getattr(Path, step)

        def killed(path, *given, **options):
            if path.name in ('round_000.partial', COLLECTED):
                raise KeyboardInterrupt
            return real(path, *given, **options)

        return killed

    for step in ('rename', 'unlink'):
        folder = tmp_path / step
        with monkeypatch.context() as patched:
            patched.setattr(Path, step, killing(step))
            with pytest.raises(KeyboardInterrupt):
                dagger(Recorder(), replace(CONFIG, rounds=0), folder)
        collector = Recorder()
        dagger(collector, replace(CONFIG, rounds=0), folder)
        assert collector.calls == []
        assert (folder / 'round_000/episodes/bag.mcap').exists()


def test_what_an_interrupted_round_left_is_removed(tmp_path):
    rounds = Rounds(tmp_path / 'run', {})
    (rounds.partial(0) / 'half.mcap').write_bytes(b'half')
    (rounds.folder / 'round_003.partial').mkdir()
    again = Rounds(tmp_path / 'run', {})
    assert again.done == []
    assert list(again.partial(0).iterdir()) == []
    assert {path.name for path in again.folder.iterdir()} == {'run.json', 'round_000.partial'}


def test_a_copy_of_a_round_beside_it_is_no_round(tmp_path):
    dagger(Pretender(), replace(CONFIG, rounds=1), tmp_path / 'run')
    shutil.copytree(tmp_path / 'run/round_001', tmp_path / 'run/round_001.bak')
    assert len(dagger(Pretender(), CONFIG, tmp_path / 'run').rounds) == 4


def test_two_at_once_do_not_work_on_one_run(tmp_path):
    """The second one emptied the round that the first one was making."""

    class Second(Pretender):
        def collect(self, *given):
            with pytest.raises(ImitationError, match='another training is at work'):
                dagger(Pretender(), CONFIG, tmp_path / 'run')
            return super().collect(*given)

    assert len(dagger(Second(), replace(CONFIG, rounds=0), tmp_path / 'run').rounds) == 1


def test_a_run_may_be_gone_on_with_for_longer_but_not_with_other_settings(tmp_path):
    dagger(Pretender(), replace(CONFIG, rounds=1), tmp_path / 'run')
    assert len(dagger(Pretender(), CONFIG, tmp_path / 'run').rounds) == 4
    with pytest.raises(ImitationError, match='other settings'):
        dagger(Pretender(), replace(CONFIG, episodes=4), tmp_path / 'run')
    with pytest.raises(ImitationError, match='other settings'):
        dagger(Pretender(), CONFIG, tmp_path / 'run', seed=1)


def test_a_run_is_of_one_task_and_of_one_judge(tmp_path):
    """Two tasks of one contract shared a folder, and the checkpoint of the first was named."""
    dagger(Pretender(), replace(CONFIG, rounds=0), tmp_path / 'run')
    other = Pretender()
    other.task = 'another'
    with pytest.raises(ImitationError, match=r'other settings \(task\)'):
        dagger(other, CONFIG, tmp_path / 'run')
    with pytest.raises(ImitationError, match=r'other settings \(trials\)'):
        dagger(Pretender(), CONFIG, tmp_path / 'run', trial=lambda checkpoint: 1.0)


@pytest.mark.parametrize('gate', ['beta', 'shadow'])
def test_chunks_are_not_learned_from_labels_that_are_no_plan(gate):
    """Between two labels it was the policy that moved: four of them in a row overshot."""
    training = replace(CONFIG.training, chunk=4)
    with pytest.raises(ImitationError, match='valid: chunk of 1'):
        replace(CONFIG, gate=GateConfig(gate), training=training)
    replace(CONFIG, gate=GateConfig('human'), training=training)


def test_a_place_that_cannot_be_written_to_is_named():
    with pytest.raises(ImitationError, match=r'kernel\.lock: .*valid: a folder to write in'):
        with alone_in(Path('/sys/kernel')):
            pass


def test_a_folder_that_holds_something_else_is_refused(tmp_path):
    (tmp_path / 'notes.txt').write_text('keep')
    with pytest.raises(ImitationError, match=r"holds 'notes.txt'"):
        dagger(Pretender(), CONFIG, tmp_path)
    assert (tmp_path / 'notes.txt').read_text() == 'keep'


def test_a_missing_round_is_named(tmp_path):
    dagger(Pretender(), CONFIG, tmp_path / 'run')
    (tmp_path / 'run' / 'round_001').rename(tmp_path / 'elsewhere')
    with pytest.raises(ImitationError, match='round_001: missing'):
        dagger(Pretender(), CONFIG, tmp_path / 'run')


def test_no_round_begins_once_the_labels_are_spent(tmp_path):
    result = dagger(Pretender(), replace(CONFIG, max_labels=20), tmp_path / 'run')
    assert [each.label_total for each in result.rounds] == [18, 30]


def test_the_held_out_episodes_span_all_rounds_and_stay_held_out():
    contract = make_contract()
    rounds = [[make_episode(10 * number + k) for k in range(5)] for number in range(3)]
    rounds[2][4] = make_episode(24, ticks=0)  # an episode without labels is neither
    train, held_out = split_rounds(rounds[:2], contract, 5)
    later_train, later_held_out = split_rounds(rounds, contract, 5)
    seeds = [[episode.metadata['seed'] for episode in each] for each in (held_out, later_held_out)]
    assert seeds == [[4, 14], [4, 14, 23]]
    later = {episode.metadata['seed'] for episode in later_train}
    assert {episode.metadata['seed'] for episode in train} <= later
    assert len(later) == 11
    assert not later & set(seeds[1])


def ticks_of(training_set):
    return [(episode.tick_ns // 50_000_000).tolist() for episode in training_set]


def test_of_a_single_episode_the_end_is_held_out():
    """A round of one episode, as a person's often is, held out nothing: all was accepted."""
    contract = make_contract()
    train, held_out = split_rounds([[make_episode(0, 20)]], contract, 5)
    assert ticks_of(train) == [list(range(16))]
    assert ticks_of(held_out) == [list(range(16, 20))]
    train, held_out = split_rounds([[make_episode(0, 20)]], contract, 0)
    assert (len(train), len(held_out)) == (1, 0)
    train, held_out = split_rounds([[make_episode(0, 1)]], contract, 5)
    assert (len(train), len(held_out)) == (1, 0), 'a single frame is learned from'


def test_the_end_of_a_single_episode_begins_at_a_gap():
    """Frames beside each other are alike: with one on either side nothing would be held out."""
    segments = np.repeat([0, 1, 2], (9, 4, 7)).astype(np.int32)
    corrected = replace(make_episode(0, 20), segment=segments)
    train, held_out = split_rounds([[corrected]], make_contract(), 5)
    assert ticks_of(held_out) == [list(range(13, 20))]
    early = replace(corrected, segment=np.repeat([0, 1], (4, 16)).astype(np.int32))
    train, held_out = split_rounds([[early]], make_contract(), 5)
    assert ticks_of(held_out) == [list(range(16, 20))], 'not all but the first correction'
    assert ticks_of(train) == [list(range(16))]


def test_demonstrations_from_before_are_all_fitted_to():
    shown, recorded = [make_episode(7), make_episode(8)], [make_episode(0), make_episode(1)]
    train, held_out = split_rounds([recorded], make_contract(), 2, shown)
    assert [episode.metadata['seed'] for episode in train] == [7, 8, 0]
    assert [episode.metadata['seed'] for episode in held_out] == [1]
    train, held_out = split_rounds([[]], make_contract(), 2, shown)
    assert (len(train), len(held_out)) == (2, 0)


@pytest.mark.parametrize(
    ('losses', 'successes', 'accepted'),
    [
        ((None, 0.2), (None, None), True),
        ((0.1, 0.29), (None, None), True),  # harder states came in
        ((0.1, 0.31), (None, None), False),
        ((0.1, float('nan')), (0.5, 0.9), False),
        ((0.1, 0.9), (0.5, 0.6), True),  # success decides
        ((0.1, 0.05), (0.5, 0.4), False),
    ],
)
def test_success_decides_and_loss_rejects_what_is_broken(losses, successes, accepted):
    assert judge(losses, successes, reject_above=3.0)[0] is accepted


def test_a_run_does_not_begin_with_what_was_rejected(tmp_path, monkeypatch):
    """A rejected round 0 drove: 'or driving is None'."""
    monkeypatch.setattr('imitation_ros.learning.dagger.held_out_loss', lambda *given: math.nan)
    with pytest.raises(
        ImitationError, match='round 0: nothing can drive: its held-out loss is nan'
    ):
        dagger(Pretender(), CONFIG, tmp_path / 'run')
    assert not list((tmp_path / 'run').glob('round_000'))


def test_the_driver_stays_where_a_new_policy_is_worse(tmp_path):
    successes = iter([0.0, 0.5, 0.5, 0.4, 0.5, 0.6])  # new; then driving and new, by turns
    trials: list[str] = []

    def trial(checkpoint: Path) -> float:
        trials.append(checkpoint.parent.name)
        return 0.0 if len(trials) == 1 else next(successes)

    config = replace(CONFIG, rounds=2)
    result = dagger(Pretender(), config, tmp_path / 'run', trial=trial)
    assert [each.accepted for each in result.rounds] == [True, True, False]
    assert trials[3] == 'round_001'
    assert result.checkpoint == tmp_path / 'run' / 'round_001' / 'checkpoint'


def test_a_warm_start_goes_on_from_the_driving_policy(tmp_path):
    config = replace(CONFIG, warm_start=True, rounds=1)
    dagger(Pretender(), config, tmp_path / 'run')
    first, second = (
        load_checkpoint(tmp_path / 'run' / f'round_{number:03d}' / 'checkpoint')
        for number in range(2)
    )
    assert first.normalization.to_document() == second.normalization.to_document()
    change = max(
        float((after - before).detach().abs().max())
        for before, after in zip(first.network.parameters(), second.network.parameters())
    )
    assert 0 < change < 0.05  # two steps of 0.001, not other random weights


def test_gates_that_ask_an_ensemble_are_refused_without_one():
    with pytest.raises(ImitationError, match='members of 2 or more'):
        replace(CONFIG, gate=GateConfig('thrifty'))


def test_gates_that_ask_a_classifier_are_refused_where_nothing_is_held_out_for_it():
    with pytest.raises(ImitationError, match=r"'safe' learns risk .* valid: held_out_every of 2"):
        replace(CONFIG, gate=GateConfig('safe'), held_out_every=0)


def test_episodes_read_back_as_they_were_written(tmp_path):
    episodes = [make_episode(0), make_episode(1, ticks=0)]
    save_episodes(tmp_path, episodes)
    for episode, again in zip(episodes, load_episodes(tmp_path)):
        assert np.array_equal(again.observations['state'], episode.observations['state'])
        assert np.array_equal(again.actions['arm'], episode.actions['arm'])
        assert again.segment.dtype == np.int32
        assert (again.outcome, again.left_out, again.metadata) == (
            episode.outcome, episode.left_out, episode.metadata
        )  # fmt: skip


def test_a_gap_starts_a_segment():
    assert gapless([], 10) == []
    assert gapless([0, 10, 21, 40, 50], 10) == [0, 0, 0, 1, 1]
