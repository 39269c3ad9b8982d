"""A training in a process of its own: it yields, answers, and works on a run alone."""

from __future__ import annotations

import errno
import fcntl
import multiprocessing
import os
import signal
import sys
import time

from imitation_ros.errors import ImitationError
from imitation_ros.learning.background import answer, LOCK, NICENESS
import pytest


def _work():
    return os.getpriority(os.PRIO_PROCESS, 0), os.getsid(0) == os.getpid()


def _fail():
    raise ImitationError('the disk is full; valid: another one')


def _break():
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), '/data')


def _start_and_die(pipe, folder):
    parent = os.getpid()
    spawn = multiprocessing.get_context('spawn')
    spawn.Process(target=_answer_orphaned, args=(parent, pipe, folder)).start()
    os.kill(parent, signal.SIGKILL)


def _answer_orphaned(parent, pipe, folder):
    while os.getppid() == parent:  # nothing else tells: its pipes close a moment before
        time.sleep(0.01)
    answer(pipe, folder, _work)


@pytest.fixture
def ask(tmp_path):
    """Runs a work in the background, and returns its answer."""

    def run(work):
        spawn = multiprocessing.get_context('spawn')
        ours, theirs = spawn.Pipe(duplex=False)
        process = spawn.Process(target=answer, args=(theirs, tmp_path / 'run', work), daemon=True)
        process.start()
        theirs.close()
        said = ours.recv()
        process.join()
        return said

    return run


@pytest.mark.skipif(sys.platform != 'linux', reason='sessions are scheduled apart on Linux')
def test_it_yields_and_has_a_session_of_its_own(ask):
    """In the session of the nodes it took their share of a busy processor, however nice it was."""
    niceness, leads = ask(_work)
    assert niceness >= NICENESS
    assert leads


def test_it_says_why_it_could_not(ask):
    assert ask(_fail) == 'the disk is full; valid: another one'


def test_it_names_what_nobody_foresaw(ask):
    """The process died, and the node knew its exit code alone, round after round."""
    assert ask(_break) == "OSError: [Errno 28] No space left on device: '/data'"


def test_one_process_at_a_time_works_on_a_run(ask, tmp_path):
    with (tmp_path / f'run{LOCK}').open('w') as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert 'another training is at work' in ask(_work)


@pytest.mark.skipif(
    sys.platform != 'linux', reason='elsewhere nothing ties a process to its parent'
)
def test_it_does_nothing_for_a_node_that_died_while_it_started(tmp_path):
    """Killed during the imports, the node left a training that committed a round."""
    spawn = multiprocessing.get_context('spawn')
    ours, theirs = spawn.Pipe(duplex=False)
    spawn.Process(target=_start_and_die, args=(theirs, tmp_path / 'run')).start()
    theirs.close()
    with pytest.raises(EOFError):
        ours.recv()
    assert not (tmp_path / 'run').exists()
