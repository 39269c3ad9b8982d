"""Which recorded episode is adapted to, and where what comes of it lies."""

from __future__ import annotations

import os
import shutil

from imitation_ros.errors import EpisodeError
from imitation_ros.learning.meta.meta_training import recorded_tasks
from imitation_ros.learning.meta.recorded import adapt_below, adapt_recorded, newest_episode
from imitation_ros.policies.checkpoint import read_digest, read_record
import pytest
from recorded_episodes import contract, record_lockstep
from test_meta import meta

TWO_JOINTS = contract()


def record(folder, outcome='success', seed=0):
    """An episode that was finished at second `seed`."""
    shutil.rmtree(folder, ignore_errors=True)
    record_lockstep(folder, 24, outcome=outcome, seed=seed)
    os.utime(folder / 'metadata.yaml', (seed, seed))
    return folder


@pytest.fixture
def parent(monkeypatch):
    """Untrained, and not refused because of that."""
    monkeypatch.setattr('imitation_ros.learning.meta.adaptation.Verdict.refusal', '')
    return meta(contract=TWO_JOINTS)


def test_a_discarded_episode_is_not_the_newest(tmp_path):
    """A demonstration that was discarded as it failed was adapted to, without a word."""
    first = record(tmp_path / 'a', seed=1)
    record(tmp_path / 'b', 'discarded', seed=3)
    failed = record(tmp_path / 'c', 'failure', seed=2)
    assert newest_episode(tmp_path) == failed
    record(tmp_path / 'c', 'discarded', seed=2)
    assert newest_episode(tmp_path) == first
    record(tmp_path / 'a', 'discarded', seed=1)
    with pytest.raises(EpisodeError, match='each of its 3 episodes was discarded'):
        newest_episode(tmp_path)


def test_a_discarded_episode_that_is_asked_for_is_refused_by_name(parent, tmp_path):
    discarded = record(tmp_path / 'thrown_away', 'discarded')
    assert newest_episode(discarded) == discarded
    with pytest.raises(EpisodeError, match='thrown_away: its operator discarded it'):
        adapt_recorded(parent, [discarded], tmp_path / 'adapted')
    assert not (tmp_path / 'adapted').exists()


def test_episodes_of_the_same_name_have_checkpoints_of_their_own(parent, tmp_path):
    """The second overwrote the checkpoint that drove, and a correction was read as the other's."""
    folder = tmp_path / 'adapted'
    made = [
        adapt_below(parent, [record(tmp_path / data / 'episode_000000', seed=seed)], folder)[0]
        for seed, data in enumerate(('cups', 'plates'))
    ]
    assert all(each.parent == folder for each in made)
    assert all(each.name.startswith('episode_000000_') for each in made)
    assert read_digest(made[0]) != read_digest(made[1])
    assert [read_record(each)['episodes'] for each in made] == [
        [str(tmp_path / data / 'episode_000000')] for data in ('cups', 'plates')
    ]
    again, _ = adapt_below(parent, [tmp_path / 'cups/episode_000000'], folder)
    assert again == made[0]


@pytest.mark.parametrize(
    ('episodes', 'says'),
    [
        ([(24, 24), (24, 24)], '2 tasks; valid: at least 3'),
        ([(24, 24), (24,), (24, 24)], 'task_1: 1 episodes, the shortest of 24 frames; valid: at'),
        ([(24, 24), (24, 9), (24, 24)], 'task_1: 2 episodes, the shortest of 9 frames'),
    ],
)
def test_recorded_tasks_from_which_nothing_can_be_learned_are_named(tmp_path, episodes, says):
    """One short demonstration made the usual loss NaN, and no task was far from the family."""
    for task, lengths in enumerate(episodes):
        for number, ticks in enumerate(lengths):
            record_lockstep(tmp_path / f'task_{task}/episode_{number}', ticks, seed=number)
    with pytest.raises(EpisodeError, match=says):
        recorded_tasks(tmp_path)
