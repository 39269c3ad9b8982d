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
from pathlib import Path
from typing import Any

from imitation_ros.errors import CheckpointError, ImitationError
from imitation_ros.frames.contract import Contract, parse_contract
from imitation_ros.policies.model_folder import check_contract, ModelFolder, present
from imitation_ros.policies.network import Architecture, Network
from imitation_ros.policies.normalization import Normalization
from imitation_ros.policies.novelty import Novelty
from imitation_ros.policies.policy import Policy
from imitation_ros.policies.risk import Risk
from torch import Tensor

FORMAT = 1
WEIGHTS, DOCUMENT = 'policy.safetensors', 'policy.json'
_FOLDER = ModelFolder(WEIGHTS, DOCUMENT, FORMAT, 'a checkpoint')


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
    document: dict[str, Any] = {
        'architecture': dataclasses.asdict(policy.architecture),
        'contract': policy.contract.to_document(),
        'contract_fingerprint': policy.contract.fingerprint,
        'normalization': policy.normalization.to_document(),
        'training': dict(record),
    }
    if policy.risk:
        document['risk'] = {'threshold': policy.risk.threshold}
    if policy.novelty:
        document['novelty'] = policy.novelty.to_document()
    policy.checkpoint = _FOLDER.write(folder, _tensors(policy.network, policy.risk), document)
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
    folder = present(Path(folder).resolve())
    document = _FOLDER.read_document(folder)
    try:
        trained_for = parse_contract(document['contract'])
        check_contract(folder, trained_for, contract or trained_for)
        contract = contract or trained_for
        specs = contract.observation_specs, contract.action_specs
        hidden = tuple(document['architecture']['hidden'])
        architecture = Architecture(**{**document['architecture'], 'hidden': hidden})
        normalization = Normalization.from_document(document['normalization'], *specs)
        covered = document.get('novelty')
        novelty = covered and Novelty.from_document(covered, normalization.observations, specs[0])
        threshold = float(document['risk']['threshold']) if 'risk' in document else None
        network = Network(*specs, architecture, normalization)
    except CheckpointError:
        raise
    except (ImitationError, KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f'{folder / DOCUMENT}: {type(error).__name__}: {error}') from None
    risk = Risk(network.features, threshold) if threshold is not None else None
    _FOLDER.read_weights(folder, document, _tensors(network, risk))
    digest = document['weights_sha256']
    return Policy(contract, architecture, normalization, network, digest, risk, novelty)


def read_record(folder: Path | str) -> dict[str, Any]:
    """Returns the training record of a checkpoint.

    Raises:
        CheckpointError: `policy.json` is missing or damaged.
    """
    path = present(Path(folder).resolve())
    record = _FOLDER.read_document(path).get('training')
    if not isinstance(record, dict):
        raise CheckpointError(f'{path / DOCUMENT}: no training record')
    return record


def read_digest(folder: Path | str) -> str:
    """SHA-256 of the weights of a checkpoint, as its document says; '' if there is none."""
    try:
        return str(_FOLDER.read_document(present(Path(folder).resolve()))['weights_sha256'])
    except CheckpointError:
        return ''


def check_destination(folder: Path) -> None:
    """Makes sure that a checkpoint may replace `folder`, which happens with all that is in it.

    Raises:
        CheckpointError: it is a file, or holds something besides a checkpoint.
    """
    _FOLDER.check_destination(folder)


def _tensors(network: Network, risk: Risk | None) -> dict[str, Tensor]:
    """All weights, sharing memory with the modules."""
    added = risk.state_dict() if risk else {}
    return {**network.state_dict(), **{f'risk.{name}': each for name, each in added.items()}}
