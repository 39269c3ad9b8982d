"""Work that a coroutine callback waits for while its node goes on."""

from __future__ import annotations

from collections.abc import Callable, Generator
import threading
from typing import Generic, TypeVar

from rclpy.node import Node

ResultT = TypeVar('ResultT')


class Background(Generic[ResultT]):
    """Runs a function on a thread of its own; `await` it for the result.

    Args:
        node: whose executor is woken at the end, or it would look only when something else comes.
        function: must not raise.
    """

    def __init__(self, node: Node, function: Callable[[], ResultT]) -> None:
        self._node, self._function = node, function
        self._done = threading.Event()
        threading.Thread(target=self._run, daemon=True).start()

    def __await__(self) -> Generator[None, None, ResultT]:
        while not self._done.is_set():
            yield
        return self._result

    def _run(self) -> None:
        self._result = self._function()
        self._done.set()
        executor = self._node.executor
        if executor is not None:
            executor.wake()
