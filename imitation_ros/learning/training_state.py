"""A training in progress on disk, so that it goes on after a kill as if nothing had happened.

One safetensors file beside the checkpoint-to-be; what is no tensor lies in its header as JSON
(`policies/sealed.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
import time
from typing import Any, Protocol

from imitation_ros.errors import CheckpointError
from imitation_ros.policies.sealed import read_sealed, write_sealed
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

State = tuple[dict[str, Tensor], dict[str, Any]]
"""Tensors, and plain data."""


class Resumable(Protocol):
    """What can be put aside between two epochs."""

    def state(self) -> State:
        """All that the next epoch depends on."""

    def restore(self, tensors: Mapping[str, Tensor], document: Mapping[str, Any]) -> None:
        """Goes back to what `state` gave."""


class StateFile:
    """Keeps the state of one training; without `out`, does nothing."""

    def __init__(self, out: Path | None, identity: Mapping[str, Any], every_s: float) -> None:
        """Takes what tells trainings apart; one with another `identity` starts anew."""
        self._path = out and out.with_name(f'{out.name}.training.safetensors')
        self._identity = dict(identity)
        self._every_s = every_s
        self._kept_s = time.monotonic()

    def resume(self, learner: Resumable) -> None:
        """Brings `learner` to where a training of the same identity was killed, if one was.

        Raises:
            CheckpointError: the file is damaged.
        """
        if not self._path or not self._path.exists():
            return
        try:
            content, document = read_sealed(self._path)
            if document['identity'] == self._identity:
                learner.restore(load(content), document)
        except (OSError, SafetensorError, TypeError, KeyError, ValueError) as error:
            raise CheckpointError(
                f'{self._path}: {error}; valid: delete it to train from the start'
            ) from None

    def keep(self, learner: Resumable) -> None:
        """Writes the state if it is time to.

        Raises:
            CheckpointError: the disk refused.
        """
        if not self._path or time.monotonic() - self._kept_s < self._every_s:
            return
        tensors, document = learner.state()
        document = {**document, 'identity': self._identity}
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            write_sealed(self._path, save, tensors, document)
        except OSError as error:
            raise CheckpointError(f'{self._path}: not written: {error}') from error
        self._kept_s = time.monotonic()

    def remove(self) -> None:
        """Forgets the training, which has ended."""
        if self._path:
            self._path.unlink(missing_ok=True)
