"""The scoreboard of faults: what it prints, writes and returns."""

from __future__ import annotations

import json
import multiprocessing
import os
import threading
import time
from types import SimpleNamespace
from unittest.mock import patch

from imitation_ros.episodes.info import EpisodeInfo
from imitation_ros.episodes.reader import EpisodeReader
from imitation_ros.episodes.writer import EpisodeWriter
from imitation_ros.frames.contract import load_contract
from imitation_ros.frames.status import Status
import numpy as np
import pytest
from recorded_episodes import cdr, new

from bench.faults import __main__ as command
from bench.faults import accounting, closing, damage
from bench.faults.driven import Said, Sent, Watcher
from bench.faults.outcome import Outcome
from bench.faults.reader import Reader
from bench.faults.source import Source

GOOD = Outcome('good', injected=3, survived=3, lost_s=0.25)


@pytest.fixture
def score(monkeypatch, tmp_path):
    """Runs the command with these classes only; returns its exit code and what it wrote."""

    def run(outcomes, *options):
        modules = {
            name: type(name, (), {'run': staticmethod(run)}) for name, run in outcomes.items()
        }
        monkeypatch.setattr(command, 'classes', lambda: dict.fromkeys(outcomes, 'A class.'))
        monkeypatch.setattr(
            command, 'import_module', lambda name: modules[name.rpartition('.')[2]]
        )
        out = tmp_path / 'new/faults.json'
        code = command.main([*options, '--out', str(out)])
        return code, json.loads(out.read_text())

    return run


def test_what_holds_is_summed(score, capsys):
    seen = []

    def run(tier, seed):
        seen.append((tier, seed))
        return GOOD

    code, result = score({'one': run, 'two': run}, '--full', '--seed', '7')
    assert code == 0
    assert seen == [('full', 7)] * 2
    assert capsys.readouterr().out.splitlines()[-1] == (
        'faults injected 6 · survived 6 · data lost 0.2 s · illegal commands 0'
    )
    assert [row['class'] for row in result['classes']] == ['one', 'two']
    assert result['ok']
    assert {'cpu', 'load_average'} <= set(result['machine'])


def raises(tier, seed):
    raise OSError('no such disk')


BROKEN = {
    'one is not survived': lambda tier, seed: Outcome('x', injected=2, survived=1),
    'a command is illegal': lambda tier, seed: Outcome('x', 1, 1, illegal=1),
    'a bar is broken': lambda tier, seed: Outcome('x', 1, 1, problems=['120 ms']),
    'nothing is injected': lambda tier, seed: Outcome('x'),
    'it cannot be run': raises,
}


@pytest.mark.parametrize('case', BROKEN)
def test_a_broken_bar_is_the_exit_code(score, case, capsys):
    code, result = score({'good': lambda tier, seed: GOOD, 'bad': BROKEN[case]})
    assert code == 1
    assert not result['ok']
    good, bad, _ = capsys.readouterr().out.splitlines()
    assert 'holds' in good
    assert 'BROKEN' in bad


class Blocked(Reader):
    """Waits for a pipe that nobody writes to, as reading a FIFO would."""

    def prepare(self, folder):
        self.ends = os.pipe()
        self.blocks = False

    def damage(self):
        self.blocks = True
        return 0

    def read(self):
        return os.read(self.ends[0], 1) if self.blocks else 'whole'


@pytest.mark.parametrize('patience', ['of a file', 'of a process'])
def test_a_reader_that_blocks_breaks_the_bar(monkeypatch, patience):
    """A batch that hung counted nothing tried and no problem: 0 of 0 held."""
    monkeypatch.setattr(damage, '_prepare', lambda folder: None)
    monkeypatch.setattr(damage, 'READERS', {'blocked': Blocked})
    monkeypatch.setattr(damage, 'forks', lambda: multiprocessing.get_context('fork'))
    monkeypatch.setattr(damage, 'PATIENCE_A_FILE_S', 0.0)
    monkeypatch.setitem(damage.MUTATIONS, 'short', 3)
    if patience == 'of a file':
        monkeypatch.setattr('bench.faults.reader.BLOCKED_AT_MOST_S', 0.05)
    else:
        monkeypatch.setattr(damage, 'PATIENCE_S', 0.2)
    row = command.run_class('damage', 'short', 0)
    assert (row['injected'], row['survived'], row['ok']) == (3, 0, False)
    assert row['figures']['blocked']['tried'] == 3
    told = 'TookTooLong' if patience == 'of a file' else 'hung, no answer to 3 files'
    assert told in row['problems'][0]


def accounted(folder, **changes):
    """What came of an episode in which the second of three messages of each topic is missing."""
    traffic, sent = {}, []
    with EpisodeWriter(folder) as writer:
        for topic in accounting.TOPICS:
            number = writer.add_topic(f'/{topic}', accounting.FLOATS)
            message = new(accounting.FLOATS)
            for sequence in (1, 3):
                message.data = [0.0, float(sequence)]
                writer.write(number, cdr(message, accounting.FLOATS), sequence, sequence, sequence)
            known = {'published': 3, 'written': 2, 'lost': 1, 'lost_before_first': 0}
            traffic[topic] = known | changes.get(topic, {})
            sent.append(accounting.Sent(topic, 0, 3))
        writer.stop('success', {'traffic': json.dumps(traffic)})
    outcome = Outcome('accounting')
    accounting.compare(EpisodeReader(folder), sent, outcome, changes.get('told', True))
    return outcome


UNKNOWN = {'published': None, 'lost': None, 'lost_before_first': None}


def test_what_is_counted_is_explained(tmp_path):
    assert command.holds(accounted(tmp_path / 'e'))


def test_what_nobody_can_tell_may_be_unknown(tmp_path):
    changes = dict.fromkeys(accounting.SEVERAL_PUBLISHERS, UNKNOWN)
    assert command.holds(accounted(tmp_path / 'e', told=False, **changes))


@pytest.mark.parametrize(
    ('change', 'says'),
    [
        (UNKNOWN, 'published by 3'),
        ({'lost_before_first': None}, 'lost_before_first by 3'),
        ({'lost_before_first': 2}, 'lost_before_first by 2'),
        ({'lost': 0}, 'lost by 1'),
        ({'published': 4}, 'published by 1'),
        ({'written': 3}, 'written by 1'),
    ],
)
def test_what_is_said_wrong_or_not_at_all_is_unexplained(tmp_path, change, says):
    """A run in which everything was unknown scored a million of a million."""
    outcome = accounted(tmp_path / 'e', reliable=change)
    assert not command.holds(outcome)
    assert f'reliable: {says}' in outcome.problems


def test_an_episode_that_its_recorder_did_not_close_breaks_the_bar(tmp_path):
    """SIGTERM with a gigabyte was measured, and nothing of it judged."""
    closed = tmp_path / 'closed'
    EpisodeWriter(closed).stop('success')
    assert closing.judged(closed, 0) == []
    assert closing.judged(closed, -9) == ['exit code -9']
    assert 'no rosbag2 folder' in closing.judged(tmp_path / 'gone', None)[1]
    cut_off = EpisodeWriter(tmp_path / 'cut', info=EpisodeInfo(truncated=True)).stop()
    assert closing.judged(cut_off, 0) == ['marked as truncated']


def test_an_unknown_class_is_refused_with_the_valid_ones(capsys):
    assert command.main(['guart']) == 2
    assert "did you mean 'guard'?" in capsys.readouterr().err


def test_every_class_says_what_it_injects():
    assert all(command.classes().values())


@pytest.fixture
def source():
    """A source without a graph; `sent` has when it sent, on the steady clock, and the stamps."""

    class Alone(Source):
        def __init__(self):
            clock = SimpleNamespace(now=lambda: SimpleNamespace(nanoseconds=5_000_000_000))
            node = SimpleNamespace(get_clock=lambda: clock)
            with patch('bench.faults.source.rclpy.create_node', return_value=node):
                node.create_timer = lambda *_, **__: None
                with patch('bench.faults.source.ActionStream', return_value=self):
                    super().__init__(load_contract('panda_position'))
            self.sent, self.during = [], lambda: None

        def send(self, at_ns, *_):
            self.during()
            self.sent.append((time.monotonic(), at_ns))

    return Alone()


def test_a_source_answers_with_its_last_good_action_and_sends_none_after(source):
    for _ in range(2):
        source._send()
    before = time.monotonic()
    answered = source.obey('late')
    source._send()
    assert source.sent[0][0] < answered <= source.sent[1][0] < before
    assert [at for _, at in source.sent] == [5_000_000_000] * 2 + [4_000_000_000]
    assert source.obey('freeze') == answered
    source._send()
    assert len(source.sent) == 3


def test_a_source_that_is_told_to_freeze_while_it_sends_answers_after_it(source):
    """It looked twice at what it was told: a KeyError ended its thread, and nobody could drive."""
    answers = []

    def tell():
        answers.append((source.obey('freeze'), time.monotonic()))

    told = threading.Thread(target=tell)

    def during():
        told.start()
        told.join(0.05)

    source.during = during
    source._send()
    told.join()
    [(last_s, answered_s)], [(sent_s, _)] = answers, source.sent
    assert last_s <= sent_s <= answered_s
    source.obey('go')
    source.during = lambda: None
    source._send()
    assert len(source.sent) == 2


def test_a_hold_begins_with_the_first_command_of_its_decision():
    """Not with the decision, which follows, and not with the command that came before it."""
    contract = load_contract('panda_position')
    watcher = Watcher(SimpleNamespace(listen=lambda *_: None), contract)
    assert watcher.first(('hold',), 0.0) == float('inf')
    for at in range(1, 8):
        watcher.commands.append(Sent(float(at), 10 * at, np.zeros(7)))
    for at, source_ns, mode, commands in ((4.5, 39, 'expert', 3), (7.5, 65, 'hold', 3)):
        status = Status(5, 'supervisor', commands * len(contract.actions), '', {'mode': mode})
        watcher.decisions.append(Said(at, source_ns, status))
    assert watcher.first(('expert',), 0.0) == 1.0
    assert watcher.first(('hold', 'stopped'), 0.0) == 4.0
    assert watcher.first(('hold', 'stopped'), 7.5) == float('inf')
