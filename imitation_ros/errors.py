"""Errors a user can act on.

Each says what was wrong, where, and what would be valid. Our own bugs stay `ValueError`,
`TypeError` and `AssertionError`.
"""

from __future__ import annotations

from collections.abc import Iterable
import difflib


class ImitationError(Exception):
    """Something the user can put right; the command line prints it without a traceback."""


def text_of(error: Exception) -> str:
    """For people; an error that we did not foresee comes with its kind."""
    return str(error) if isinstance(error, ImitationError) else f'{type(error).__name__}: {error}'


class ContractError(ImitationError):
    """A contract that cannot be used, or two contracts that differ."""

    def __init__(self, where: str, found: str, valid: str = '') -> None:
        self.where = where
        self.found = found
        self.valid = valid
        super().__init__(f'{where}: {found}' + (f'; {valid}' if valid else ''))


class MessageError(ImitationError):
    """A message that does not hold what the contract selects from it."""


class EpisodeError(ImitationError):
    """An episode that cannot be written, read or trusted."""


class DiskError(EpisodeError):
    """An episode that the disk does not give at present, as far as can be told."""


def disk_error(text: str, error: OSError) -> EpisodeError:
    """A `DiskError`, unless there is nothing to be given later either."""
    absent = isinstance(error, (FileNotFoundError, NotADirectoryError, IsADirectoryError))
    return EpisodeError(text) if absent else DiskError(text)


class CheckpointError(ImitationError):
    """A checkpoint that cannot be read, or was made for another contract."""


class RewardError(ImitationError):
    """A reward that cannot be learned from what there is."""


class TaskError(ImitationError):
    """A simulated task or robot that cannot be set up as asked."""


class GraphError(ImitationError):
    """A ROS graph that lacks a node, topic or service that is needed, or has one too many."""


def one_of(found: object, valid: Iterable[object]) -> str:
    """Says which values are valid, the nearest to `found` first."""
    names = [str(name) for name in valid]
    near = difflib.get_close_matches(str(found), names, n=1)
    hint = f'did you mean {near[0]!r}? ' if near else ''
    return f'{hint}valid: {", ".join(names) or "none"}'
