"""A reward's training on disk: one sealed safetensors file (`policies/sealed.py`)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from imitation_ros.errors import CheckpointError
from imitation_ros.policies.sealed import read_sealed, write_sealed
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

Groups = dict[str, dict[str, Tensor]]


def write_state(path: Path, tensors: Mapping[str, Tensor], document: Mapping[str, Any]) -> None:
    """Replaces the file as a whole.

    Raises:
        CheckpointError: the disk refused.
    """
    contiguous = {name: each.contiguous() for name, each in tensors.items()}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_sealed(path, save, contiguous, document)
    except OSError as error:
        raise CheckpointError(f'{path}: not written: {error}') from error


def read_state(path: Path, identity: Mapping[str, Any]) -> tuple[Groups, dict[str, Any]]:
    """Tensors by the first word of their name, and the document.

    Raises:
        CheckpointError: the file is missing, damaged, or of a training with another identity.
    """
    try:
        content, document = read_sealed(path)
        tensors = load(content)
    except (OSError, SafetensorError, ValueError) as error:
        raise CheckpointError(f'{path}: {error}; valid: a state that save() wrote') from None
    for name, value in identity.items():
        if document.get(name) != value:
            raise CheckpointError(
                f'{path}: {name}: {document.get(name)!r} there, {value!r} here; '
                'valid: the same training, or a new state file'
            )
    return grouped(tensors), document


def grouped(tensors: Mapping[str, Tensor]) -> Groups:
    """'group.name' → group → name."""
    groups: Groups = {}
    for name, tensor in tensors.items():
        group, _, key = name.partition('.')
        groups.setdefault(group, {})[key] = tensor
    return groups
