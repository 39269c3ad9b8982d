"""A safetensors file that carries the SHA-256 of itself, and what is no tensor as JSON.

safetensors checks its header, not its numbers: of files with one flipped bit a third loads, with
other weights. Here whatever was changed on the disk is refused before a tensor is made.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
import hashlib
import json
from pathlib import Path
from typing import Any

from imitation_ros.policies.model_folder import replace_file

MAX_HEADER_BYTES = 1 << 24
_OPEN = '0' * 64  # where the digest goes, while it is taken

Save = Callable[[dict[str, Any], dict[str, str]], bytes]


def write_sealed(
    path: Path, save: Save, tensors: Mapping[str, Any], document: Mapping[str, Any]
) -> None:
    """Replaces the file as a whole.

    Args:
        path: of the file; its folder must exist.
        save: of safetensors.torch or safetensors.numpy.
        tensors: for it.
        document: plain data.

    Raises:
        OSError: the disk refused.
    """
    content = save(dict(tensors), {'document': json.dumps(document), 'sha256': _OPEN})
    digest = hashlib.sha256(content).hexdigest()
    replace_file(path, content.replace(_quoted(_OPEN), _quoted(digest), 1))


def read_sealed(path: Path) -> tuple[bytes, dict[str, Any]]:
    """What `load` of safetensors takes, and the document.

    Raises:
        OSError: it cannot be read.
        ValueError: it is not what `write_sealed` wrote.
    """
    content = path.read_bytes()
    length = int.from_bytes(content[:8], 'little')
    if length > min(len(content), MAX_HEADER_BYTES):
        raise ValueError('damaged: no header')
    try:
        metadata = json.loads(content[8 : 8 + length])['__metadata__']
        document, digest = json.loads(metadata['document']), metadata['sha256']
        opened = content.replace(_quoted(digest), _quoted(_OPEN), 1)
    except (KeyError, TypeError, AttributeError, RecursionError, ValueError):
        raise ValueError('damaged: no document, or no SHA-256') from None
    if hashlib.sha256(opened).hexdigest() != digest or not isinstance(document, dict):
        raise ValueError('damaged: its SHA-256 does not fit')
    return content, document


def _quoted(digest: str) -> bytes:
    return f'"{digest}"'.encode()
