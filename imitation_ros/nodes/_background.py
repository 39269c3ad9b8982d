"""Work that a coroutine callback waits for while its node goes on."""

from __future__ import annotations

from collections.abc import Callable, Generator
import threading
import traceback
from typing import Generic, TypeVar

from rclpy.node import Node

ResultT = TypeVar('ResultT')


class Background(Generic[ResultT]):
    """Runs a function on a thread of its own; `await` it for the result, or what it raised.

    Args:
        node: whose executor is woken at the end, or it would look only when something else comes.
        function: the work.
    """

    def __init__(self, node: Node, function: Callable[[], ResultT]) -> None:
        self._node, self._function = node, function
        self._done = threading.Event()
        self._error: Exception | None = None
        threading.Thread(target=self._run, daemon=True).start()

    def __await__(self) -> Generator[None, None, ResultT]:
        while not self._done.is_set():
            yield
        if self._error is not None:
            raise self._error
        return self._result

    def _run(self) -> None:
        try:
            self._result = self._function()
        except Exception as error:  # whoever waits for the result must not wait for ever
            self._node.get_logger().error(traceback.format_exc())
            self._error = error
        self._done.set()
        executor = self._node.executor
        if executor is not None:
            executor.wake()
