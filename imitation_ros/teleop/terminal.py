"""A terminal that gives single keys, and is put back as it was."""

from __future__ import annotations

from contextlib import suppress
import os
import select
import termios
import tty

from imitation_ros.errors import ImitationError

ARROWS = {'\x1b[A': 'w', '\x1b[B': 's', '\x1b[D': 'a', '\x1b[C': 'd'}


class TerminalError(ImitationError):
    """There is no terminal to read keys from."""


class Terminal:
    """Reads keys without waiting for a line; Ctrl-C goes on to work.

    Raises:
        TerminalError: the file descriptor is no terminal.
    """

    def __init__(self, fd: int = 0) -> None:
        self._fd = fd
        try:
            self._before = termios.tcgetattr(fd)
        except (termios.error, OSError) as error:
            raise TerminalError(
                f'no terminal to read keys from ({error}); start it in a terminal of its own '
                'with `ros2 run`, not from a launch file or with its input redirected'
            ) from None
        tty.setcbreak(fd)

    def read(self) -> list[str]:
        """The keys since the last call; arrows come as w, a, s and d."""
        data = b''
        with suppress(OSError):  # the window was closed
            while select.select([self._fd], [], [], 0)[0]:
                chunk = os.read(self._fd, 1024)
                if not chunk:
                    break
                data += chunk
        text = data.decode(errors='ignore')
        for arrow, key in ARROWS.items():
            text = text.replace(arrow, key)
        return [key for key in text if key != '\x1b']

    def restore(self) -> None:
        """Puts the terminal back."""
        with suppress(termios.error):  # the window was closed
            termios.tcsetattr(self._fd, termios.TCSADRAIN, self._before)
