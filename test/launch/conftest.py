"""The package as `colcon build` installs it, and processes started from there."""

from __future__ import annotations

from collections.abc import Callable, Iterator
import contextlib
import os
from pathlib import Path
import shutil
import signal
import subprocess
import sys
import threading

from imitation_ros.nodes._domain import Domain
import pytest

ROOT = Path(__file__).parents[2]


class InstallSpace:
    """An install space, and the environment of a shell that sourced it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.package = folder / 'imitation_ros'
        sourced = subprocess.run(
            ['bash', '-c', f'source "{folder}/local_setup.bash" && env -0'],
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        self.environment = dict(line.split('=', 1) for line in sourced.split('\0') if line)

    def executable(self, name: str) -> str:
        """What `ros2 run imitation_ros NAME` runs."""
        return str(self.package / 'lib/imitation_ros' / name)


class Process:
    """A process whose output is waited for, not slept for."""

    def __init__(self, command: list[str], environment: dict[str, str], cwd: Path) -> None:
        self._process = subprocess.Popen(
            command,
            env=environment,
            cwd=cwd,
            text=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # what it starts is in its group, and ends with it
        )
        self.output, self._ended = '', False
        self._grown = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def close(self) -> None:
        """Kills it and what it started, if they are still there."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._reader.join()
        self._process.stdout.close()

    def wait_for(self, *texts: str, timeout_s: float = 60.0) -> None:
        """Waits until the output holds all texts; fails if it ends or takes too long before."""
        with self._grown:
            self._grown.wait_for(lambda: self._has(texts) or self._ended, timeout_s)
        assert self._has(texts), f'no {texts} in:\n{self.output}'

    def interrupt(self, timeout_s: float = 30.0) -> int:
        """Does what Ctrl-C in a terminal does, and returns the exit code."""
        os.killpg(self._process.pid, signal.SIGINT)
        with self._grown:
            assert self._grown.wait_for(lambda: self._ended, timeout_s), self.output
        return self._process.wait(timeout_s)

    def _has(self, texts: tuple[str, ...]) -> bool:
        return all(text in self.output for text in texts)

    def _read(self) -> None:
        for line in self._process.stdout:
            with self._grown:
                self.output += line
                self._grown.notify_all()
        with self._grown:
            self._ended = True
            self._grown.notify_all()


@pytest.fixture(scope='session')
def install_space(tmp_path_factory: pytest.TempPathFactory) -> InstallSpace:
    """Builds the package into a folder of its own, once."""
    folder = tmp_path_factory.mktemp('workspace')
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get('PATH', '')])
    colcon = shutil.which('colcon', path=path)
    if colcon is None:
        if os.environ.get('REQUIRE_ROS'):
            pytest.fail('REQUIRE_ROS is set, but colcon is not installed')
        pytest.skip('colcon is not installed')
    command = [colcon, '--log-base', 'log', 'build', '--paths', str(ROOT)]
    built = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stdout + built.stderr
    return InstallSpace(folder / 'install')


@pytest.fixture
def start(install_space: InstallSpace, tmp_path: Path) -> Iterator[Callable[..., Process]]:
    """Starts a command in the install space's environment, in a ROS domain of its own."""
    processes: list[Process] = []
    domain = Domain()
    environment = install_space.environment | {
        'ROS_DOMAIN_ID': str(domain.id),
        'ROS_LOG_DIR': str(tmp_path / 'log'),
        'PYTHONUNBUFFERED': '1',
    }

    def start_one(*command: str) -> Process:
        processes.append(Process(list(command), environment, tmp_path))
        return processes[-1]

    yield start_one
    for process in processes:
        process.close()
    domain.release()
