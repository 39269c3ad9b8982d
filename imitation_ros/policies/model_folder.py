"""A learned model on disk: a folder with its weights and, as JSON, everything else.

What policies and rewards have in common: written whole under a temporary name and then renamed,
so that a kill leaves the old model or the new one; checked by SHA-256; never a pickle.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
import hashlib
import json
import os
from pathlib import Path
import shutil
from typing import Any

from imitation_ros.errors import CheckpointError
from imitation_ros.frames.contract import Contract
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

DIFFERENCES_SHOWN = 8
MAX_DOCUMENT_BYTES = 1 << 24
"""Parsed, a document takes ten times its size."""


@dataclass(frozen=True)
class ModelFolder:
    """How one kind of model lies on disk.

    Attributes:
        weights: name of the safetensors file.
        document: name of the JSON file.
        format: its version.
        kind: for messages: 'a checkpoint'.
    """

    weights: str
    document: str
    format: int
    kind: str

    def check_destination(self, folder: Path) -> None:
        """Makes sure that a model may replace `folder`, which happens with all that is in it.

        Raises:
            CheckpointError: it is a file, or holds something besides such a model.
        """
        if folder.exists() and not folder.is_dir():
            raise CheckpointError(f'{folder}: is a file; valid: a folder, or a new name')
        others = {path.name for path in folder.iterdir()} if folder.exists() else set()
        if others - {self.weights, self.document}:
            name = min(others - {self.weights, self.document})
            raise CheckpointError(
                f'{folder}: holds {name!r}, which is no part of {self.kind}; '
                f'valid: a new name, an empty folder, or one with {self.kind} to replace'
            )

    def write(self, folder: Path, tensors: Mapping[str, Tensor], document: dict[str, Any]) -> str:
        """Puts a model in the place of the one that may be there; returns its weights' SHA-256.

        Raises:
            CheckpointError: `folder` holds something else, or cannot be written.
        """
        self.check_destination(folder)
        weights = save(dict(tensors))
        sha256 = hashlib.sha256(weights).hexdigest()
        whole = {'format': self.format, **document, 'weights_sha256': sha256}
        whole['sha256'] = digest(whole)
        files = {self.weights: weights, self.document: json.dumps(whole, indent=1).encode()}
        try:
            _replace_folder(folder, files)
        except OSError as error:
            raise CheckpointError(f'{folder}: not written: {error}') from error
        return sha256

    def read_document(self, folder: Path) -> dict[str, Any]:
        """What `write` was given, with 'format' and 'weights_sha256'.

        Raises:
            CheckpointError: it is missing, damaged or of another version.
        """
        path = folder / self.document
        try:
            document = json.loads(self._read(path, MAX_DOCUMENT_BYTES))
            if not isinstance(document, dict) or document.get('format') != self.format:
                found = document.get('format') if isinstance(document, dict) else type(document)
                raise CheckpointError(f'{path}: format {found!r}; valid: {self.format}')
            fits = document.get('sha256') == digest(document)
        except (ValueError, RecursionError) as error:
            raise CheckpointError(f'{path}: no JSON: {error}') from None
        if not fits:
            raise CheckpointError(f'{path}: damaged: its SHA-256 does not fit')
        if not isinstance(document.get('weights_sha256'), str):
            raise CheckpointError(f'{path}: no SHA-256 of {self.weights}')
        return document

    def read_weights(
        self, folder: Path, document: Mapping[str, Any], expected: Mapping[str, Tensor]
    ) -> None:
        """Fills the tensors of `expected` with those on disk.

        Raises:
            CheckpointError: they are missing, damaged, not finite, or of another shape.
        """
        path = folder / self.weights
        content = self._read(path, _bytes(expected) + MAX_DOCUMENT_BYTES)
        sha256 = hashlib.sha256(content).hexdigest()
        if sha256 != document['weights_sha256']:
            raise CheckpointError(
                f'{path}: damaged: SHA-256 {sha256[:12]}…, '
                f'{self.document} says {str(document["weights_sha256"])[:12]}…'
            )
        try:
            weights = load(content)
        except SafetensorError as error:
            raise CheckpointError(f'{path}: {error}') from None
        for name in expected.keys() ^ weights.keys():
            where = 'missing' if name in expected else 'not of this architecture'
            raise CheckpointError(f'{path}: {name}: {where}; valid: {", ".join(expected)}')
        for name, tensor in weights.items():
            shape = tuple(expected[name].shape)
            if tuple(tensor.shape) != shape or tensor.dtype != expected[name].dtype:
                raise CheckpointError(
                    f'{path}: {name}: {tuple(tensor.shape)} {tensor.dtype}; '
                    f'valid: {shape} {expected[name].dtype}'
                )
            if not tensor.isfinite().all():
                raise CheckpointError(f'{path}: {name}: holds NaN or infinity')
        for name, tensor in weights.items():
            expected[name].data.copy_(tensor)

    def _read(self, path: Path, max_bytes: int) -> bytes:
        try:
            with path.open('rb') as file:
                size = os.fstat(file.fileno()).st_size
                if size > max_bytes:
                    raise CheckpointError(f'{path}: {size} bytes; valid: at most {max_bytes}')
                return file.read()
        except OSError as error:
            raise CheckpointError(f'{path}: {error.strerror}; valid: {self.kind} folder') from None


def check_contract(
    folder: Path, trained_for: Contract, contract: Contract, kind: str = 'checkpoint'
) -> None:
    """Makes sure that a model serves a robot.

    Raises:
        CheckpointError: the contracts differ: the message names how.
    """
    differences = trained_for.differences(contract)
    if differences:
        shown = '\n  '.join(differences[:DIFFERENCES_SHOWN])
        more = len(differences) - DIFFERENCES_SHOWN
        raise CheckpointError(
            f'{folder}: made for another contract (here: the {kind}, there: the robot):\n'
            f'  {shown}' + (f'\n  and {more} more' if more > 0 else '')
        )


def present(folder: Path) -> Path:
    """The folder, or what it held before a kill between the two renames of a replacement."""
    return _old(folder) if not folder.exists() and _old(folder).exists() else folder


def replace_file(path: Path, content: bytes) -> None:
    """Writes a file so that a kill or a full disk leaves the old content or the new."""
    temporary = path.with_name(f'.{path.name}.new')
    _write(temporary, content)
    temporary.replace(path)
    _sync(path.parent)


def digest(document: Mapping[str, Any]) -> str:
    """SHA-256 of a document but for its own digest."""
    content = {key: value for key, value in document.items() if key != 'sha256'}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _replace_folder(folder: Path, files: Mapping[str, bytes]) -> None:
    new, old = folder.with_name(f'.{folder.name}.new'), _old(folder)
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(parents=True)
    for name, content in files.items():
        _write(new / name, content)
    _sync(new)
    if folder.exists():
        shutil.rmtree(old, ignore_errors=True)
        folder.rename(old)
    new.rename(folder)
    _sync(folder.parent)
    shutil.rmtree(old, ignore_errors=True)


def _bytes(tensors: Mapping[str, Tensor]) -> int:
    return sum(tensor.nbytes for tensor in tensors.values())


def _old(folder: Path) -> Path:
    return folder.with_name(f'.{folder.name}.old')


def _write(path: Path, content: bytes) -> None:
    with path.open('wb') as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
