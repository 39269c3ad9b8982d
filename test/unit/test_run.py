"""The script `run`, with a Python that only writes down what it is asked for."""

from __future__ import annotations

import os
from pathlib import Path
import shutil
import signal
import subprocess

from imitation_ros.cli.__main__ import VERBS
import pytest

ROOT = Path(__file__).parents[2]
FAKE_PYTHON = """#!/usr/bin/env bash
echo "$*" >>"$CALLS"
case "$*" in
  *version_info*) echo 3.11 ;;
  '-m venv '*) mkdir -p "$3/bin" && cp "$0" "$3/bin/python" ;;
  *'pip install'*"$BROKEN"*) exit 1 ;;
  *'pip install'*"$SLOW"*) exec sleep 60 ;;
esac
"""


class Checkout:
    """A clone with nothing in it but what `run` reads."""

    def __init__(self, folder):
        self.folder, self.calls_file = folder, folder / 'calls'
        for name in ('run', 'setup.py', 'constraints', 'imitation_ros/cli/__main__.py'):
            source, target = ROOT / name, folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            (shutil.copytree if source.is_dir() else shutil.copy)(source, target)
        self.python = folder / 'python3.11'
        self.python.write_text(FAKE_PYTHON)
        self.python.chmod(0o755)

    def start(self, *arguments, broken='nothing', slow='nothing'):
        environment = os.environ | {
            'PYTHON': str(self.python),
            'CALLS': str(self.calls_file),
            'BROKEN': broken,
            'SLOW': slow,
        }
        return subprocess.Popen(
            [self.folder / 'run', *arguments],
            env=environment,
            cwd='/',
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )

    def run(self, *arguments, broken='nothing'):
        process = self.start(*arguments, broken=broken)
        out, err = process.communicate(timeout=60)
        return process.returncode, out, err

    def calls(self, word):
        return [line for line in self.calls_file.read_text().splitlines() if word in line]


@pytest.fixture
def checkout(tmp_path):
    return Checkout(tmp_path)


def test_without_argument_it_lists_all_verbs_and_installs_nothing(checkout):
    code, out, _ = checkout.run()
    listed = {line.split()[0] for line in out.splitlines() if line.startswith('  ')}
    assert code == 0
    assert listed == {*VERBS, 'test', 'bench', 'faults'}
    assert not (checkout.folder / '.venv').exists()


def test_it_sets_up_once_and_then_only_runs(checkout):
    assert checkout.run('inspect', 'a b')[0] == 0
    assert checkout.calls('pip install')
    checkout.calls_file.unlink()
    assert checkout.run('inspect', 'a b') == (0, '', '')
    assert checkout.calls('') == ['-m imitation_ros.cli inspect a b']


def test_new_pins_are_installed_into_the_same_environment(checkout):
    checkout.run('inspect')
    checkout.calls_file.unlink()
    with (checkout.folder / 'constraints/py3.11.txt').open('a') as file:
        file.write('newcomer==1.0\n')
    checkout.run('inspect')
    assert checkout.calls('pip install')
    assert not checkout.calls('-m venv')


def test_a_failed_set_up_says_so_and_the_next_one_starts_afresh(checkout):
    code, _, err = checkout.run('inspect', broken='learning')
    assert code == 1
    assert 'learning (PyTorch) failed' in err
    assert 'setup.log' in err
    assert not checkout.calls('imitation_ros.cli')
    checkout.calls_file.unlink()
    assert checkout.run('inspect')[0] == 0
    assert checkout.calls('-m venv')
    assert checkout.calls('imitation_ros.cli')


def test_ctrl_c_ends_pip_too_and_the_next_call_starts_afresh(checkout):
    process = checkout.start('inspect', slow='sim')
    for line in process.stderr:
        if 'learning (PyTorch):' in line:
            break
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=60)  # until nobody holds its output any more
    assert process.returncode == 130
    assert 'interrupted' in err
    checkout.calls_file.unlink()
    assert checkout.run('inspect')[0] == 0
    assert checkout.calls('-m venv')


def test_two_at_once_set_up_once(checkout):
    processes = [checkout.start('inspect'), checkout.start('inspect')]
    assert [process.wait(60) for process in processes] == [0, 0]
    for process in processes:
        process.communicate()
    assert len(checkout.calls('-m venv')) == 1
    assert len(checkout.calls('imitation_ros.cli')) == 2


def test_test_tools_come_with_the_first_test(checkout):
    checkout.run('inspect')
    assert not checkout.calls('[dev]')
    checkout.run('test', 'test/unit', '-k', 'x')
    assert checkout.calls('[dev]')
    assert checkout.calls('-m pytest') == ['-m pytest test/unit -k x']


def test_a_wrong_python_is_refused_with_what_is_valid(checkout):
    checkout.python.write_text('#!/bin/sh\necho 3.9\n')
    code, _, err = checkout.run('demo')
    assert code == 1
    assert 'needs Python 3.10, 3.11 or 3.12' in err
    assert 'python3.11 is 3.9' in err
