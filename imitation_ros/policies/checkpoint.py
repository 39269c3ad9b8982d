"""Policies on disk: a folder with the weights and, as JSON, everything else.

    policy.safetensors   the network's weights, and as `risk.…` those of a safety classifier
    policy.json          format, architecture, contract and fingerprint, normalization, the
                         training record, SHA-256 of the weights and of the document itself

Loading runs no code from a checkpoint. A folder is written whole under a temporary name and then
renamed, so that a kill leaves the old checkpoint or the new one.
"""

from __future__ import annotations

from collections.abc import Mapping
import dataclasses
import hashlib
import json
import os
from pathlib import Path
import shutil
from typing import Any

from imitation_ros.errors import CheckpointError, ImitationError
from imitation_ros.frames.contract import Contract, parse_contract
from imitation_ros.policies.network import Architecture, Network
from imitation_ros.policies.normalization import Normalization
from imitation_ros.policies.policy import Policy
from imitation_ros.policies.risk import Risk
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

FORMAT = 1
WEIGHTS, DOCUMENT = 'policy.safetensors', 'policy.json'
DIFFERENCES_SHOWN = 8


def save_checkpoint(folder: Path | str, policy: Policy, record: Mapping[str, Any]) -> str:
    """Writes `policy` into `folder`, in the place of the checkpoint that may be there.

    Args:
        folder: of the checkpoint alone.
        policy: to save.
        record: how it was trained, as plain data.

    Returns:
        SHA-256 of the weights, by which the policy is known from now on.

    Raises:
        CheckpointError: `folder` holds something else, or cannot be written.
    """
    folder = Path(folder).resolve()
    check_destination(folder)
    weights = save(_tensors(policy.network, policy.risk))
    document: dict[str, Any] = {
        'format': FORMAT,
        'architecture': dataclasses.asdict(policy.architecture),
        'contract': policy.contract.to_document(),
        'contract_fingerprint': policy.contract.fingerprint,
        'normalization': policy.normalization.to_document(),
        'training': dict(record),
        'weights_sha256': hashlib.sha256(weights).hexdigest(),
    }
    if policy.risk:
        document['risk'] = {'threshold': policy.risk.threshold}
    document['sha256'] = _digest(document)
    try:
        _replace_folder(
            folder, {WEIGHTS: weights, DOCUMENT: json.dumps(document, indent=1).encode()}
        )
    except OSError as error:
        raise CheckpointError(f'{folder}: not written: {error}') from error
    policy.checkpoint = document['weights_sha256']
    return policy.checkpoint


def load_checkpoint(folder: Path | str, contract: Contract | None = None) -> Policy:
    """Reads a policy.

    Args:
        folder: that `save_checkpoint` wrote.
        contract: of the robot that it shall drive; without it the one that it was trained for.

    Raises:
        CheckpointError: a file is missing, damaged or of another version, the weights do not fit
            the architecture, or the contract differs: the message names how.
    """
    folder = _present(Path(folder).resolve())
    document = _read_document(folder)
    try:
        trained_for = parse_contract(document['contract'])
        _check_contract(folder, trained_for, contract or trained_for)
        contract = contract or trained_for
        specs = contract.observation_specs, contract.action_specs
        hidden = tuple(document['architecture']['hidden'])
        architecture = Architecture(**{**document['architecture'], 'hidden': hidden})
        normalization = Normalization.from_document(document['normalization'], *specs)
        threshold = float(document['risk']['threshold']) if 'risk' in document else None
    except CheckpointError:
        raise
    except (ImitationError, KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f'{folder / DOCUMENT}: {type(error).__name__}: {error}') from None
    network = Network(*specs, architecture, normalization)
    risk = Risk(network.features, threshold) if threshold is not None else None
    tensors = _tensors(network, risk)
    for name, weights in _read_weights(folder, document, tensors).items():
        tensors[name].copy_(weights)
    digest = document['weights_sha256']
    return Policy(contract, architecture, normalization, network, digest, risk)


def read_record(folder: Path | str) -> dict[str, Any]:
    """Returns the training record of a checkpoint.

    Raises:
        CheckpointError: `policy.json` is missing or damaged.
    """
    record: dict[str, Any] = _read_document(_present(Path(folder).resolve()))['training']
    return record


def check_destination(folder: Path) -> None:
    """Makes sure that a checkpoint may replace `folder`, which happens with all that is in it.

    Raises:
        CheckpointError: it is a file, or holds something besides a checkpoint.
    """
    if folder.exists() and not folder.is_dir():
        raise CheckpointError(f'{folder}: is a file; valid: a folder, or a new name')
    others = {path.name for path in folder.iterdir()} if folder.exists() else set()
    if others - {WEIGHTS, DOCUMENT}:
        name = min(others - {WEIGHTS, DOCUMENT})
        raise CheckpointError(
            f'{folder}: holds {name!r}, which is no part of a checkpoint; '
            'valid: a new name, an empty folder, or one with a checkpoint to replace'
        )


def replace_file(path: Path, content: bytes) -> None:
    """Writes a file so that a kill or a full disk leaves the old content or the new."""
    temporary = path.with_name(f'.{path.name}.new')
    _write(temporary, content)
    temporary.replace(path)
    _sync(path.parent)


def _tensors(network: Network, risk: Risk | None) -> dict[str, Tensor]:
    """All weights, sharing memory with the modules."""
    added = risk.state_dict() if risk else {}
    return {**network.state_dict(), **{f'risk.{name}': each for name, each in added.items()}}


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


def _old(folder: Path) -> Path:
    return folder.with_name(f'.{folder.name}.old')


def _present(folder: Path) -> Path:
    """The folder, or what it held before a kill between the two renames of a replacement."""
    return _old(folder) if not folder.exists() and _old(folder).exists() else folder


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


def _digest(document: Mapping[str, Any]) -> str:
    """SHA-256 of a document but for its own digest."""
    content = {key: value for key, value in document.items() if key != 'sha256'}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise CheckpointError(f'{path}: {error.strerror}; valid: a checkpoint folder') from None


def _read_document(folder: Path) -> dict[str, Any]:
    path = folder / DOCUMENT
    try:
        document = json.loads(_read(path))
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f'{path}: no JSON: {error}') from None
    if not isinstance(document, dict) or document.get('format') != FORMAT:
        found = document.get('format') if isinstance(document, dict) else type(document).__name__
        raise CheckpointError(f'{path}: format {found!r}; valid: {FORMAT}')
    if document.get('sha256') != _digest(document):
        raise CheckpointError(f'{path}: damaged: its SHA-256 does not fit')
    return document


def _check_contract(folder: Path, trained_for: Contract, contract: Contract) -> None:
    differences = trained_for.differences(contract)
    if differences:
        shown = '\n  '.join(differences[:DIFFERENCES_SHOWN])
        more = len(differences) - DIFFERENCES_SHOWN
        raise CheckpointError(
            f'{folder}: made for another contract (here: the checkpoint, there: the robot):\n'
            f'  {shown}' + (f'\n  and {more} more' if more > 0 else '')
        )


def _read_weights(
    folder: Path, document: Mapping[str, Any], expected: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    path = folder / WEIGHTS
    content = _read(path)
    digest = hashlib.sha256(content).hexdigest()
    if digest != document['weights_sha256']:
        raise CheckpointError(
            f'{path}: damaged: SHA-256 {digest[:12]}…, '
            f'{DOCUMENT} says {str(document["weights_sha256"])[:12]}…'
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
    return weights
