"""A terminal that gives single keys, and is put back as it was."""

from __future__ import annotations

from contextlib import suppress
import os
import re
import select
import termios
import tty

from imitation_ros.errors import ImitationError

ARROWS = {'A': 'w', 'B': 's', 'D': 'a', 'C': 'd'}
"""Last letter of an arrow's sequence → its key."""
KEYS = {f'\x1b{kind}{letter}': key for kind in '[O' for letter, key in ARROWS.items()}
"""Escape sequence → key, in the normal and in the application mode of a terminal."""
PARAMETERS = r'(?:\[\[?|O)[0-?]*[ -/]*'
"""Of a sequence, behind the escape; function keys of the Linux console have two brackets."""
SEQUENCE = re.compile(rf'\x1b{PARAMETERS}[@-~]')
UNFINISHED = re.compile(rf'\x1b(?:{PARAMETERS})?\Z')


class TerminalError(ImitationError):
    """There is no terminal to read keys from."""


class Terminal:
    """Reads keys without waiting for a line; Ctrl-C goes on to work.

    Raises:
        TerminalError: the file descriptor is no terminal.
    """

    def __init__(self, fd: int = 0) -> None:
        self._fd, self._unfinished = fd, ''
        try:
            self._before = termios.tcgetattr(fd)
        except (termios.error, OSError) as error:
            raise TerminalError(
                f'no terminal to read keys from ({error}); start it in a terminal of its own '
                'with `ros2 run`, not from a launch file or with its input redirected'
            ) from None
        tty.setcbreak(fd)

    def read(self) -> list[str]:
        """The keys since the last call.

        Arrows come as w, a, s and d; the escape sequences of all other keys are dropped.
        """
        data = b''
        with suppress(OSError):  # the window was closed
            while select.select([self._fd], [], [], 0)[0]:
                chunk = os.read(self._fd, 1024)
                if not chunk:
                    break
                data += chunk
        if not data:
            self._unfinished = ''  # a lone escape
            return []
        text = self._unfinished + data.decode(errors='ignore')
        found = UNFINISHED.search(text)
        self._unfinished = found[0] if found else ''
        text = text.removesuffix(self._unfinished)
        text = SEQUENCE.sub(lambda sequence: KEYS.get(sequence[0], ''), text)
        return [key for key in text if key != '\x1b']

    def restore(self) -> None:
        """Puts the terminal back."""
        with suppress(termios.error):  # the window was closed
            termios.tcsetattr(self._fd, termios.TCSADRAIN, self._before)
