"""A training beside a node's topics: a process that is started, watched and given up."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
import multiprocessing
from typing import Any

from imitation_ros.learning.background import yield_processor


class Training:
    """At most one process at a time.

    Attributes:
        process: the one at work; None while there is none.
    """

    def __init__(self) -> None:
        self.process: Any = None

    def start(self, work: Callable[..., None], request: tuple[Any, ...]) -> None:
        """Starts `work(pipe, *request)`; on the executor's thread, with whose end it would end."""
        spawn = multiprocessing.get_context('spawn')
        ours, theirs = spawn.Pipe(duplex=False)
        process: Any = spawn.Process(target=work, args=(theirs, *request), daemon=True)
        try:
            process.start()
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()  # so that the end of the process is the end of the pipe
        self._pipe, self.process = ours, process
        with suppress(ProcessLookupError):  # its imports alone are seconds of work
            yield_processor(process.pid)

    def result(self) -> Any:
        """What the process sent, or a text that says how it died; None while it is at work."""
        if self.process is None or not self._pipe.poll():
            return None
        try:
            result = self._pipe.recv()
            self.process.kill()  # an interpreter that ends by itself takes a second for it
        except (EOFError, OSError):  # before its answer, or in the midst of it
            self.process.join()
            result = f'the training ended with exit code {self.process.exitcode}'
        self.process = None
        return result

    def give_up(self) -> None:
        """Ends the process, if there is one."""
        if self.process is not None:
            self.process.kill()
            self.process.join()
            self.process = None
