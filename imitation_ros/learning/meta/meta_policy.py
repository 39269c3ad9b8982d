"""What was learned from a family of tasks, in memory and on disk.

meta.safetensors   weights
meta.json          settings, contract and fingerprint, normalization, what is familiar, the
                   training record, SHA-256 of the weights and of the document itself
"""

from __future__ import annotations

from collections.abc import Mapping
import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from imitation_ros.errors import CheckpointError, ImitationError, one_of
from imitation_ros.frames.contract import Contract, parse_contract
from imitation_ros.learning.meta.context import Context
from imitation_ros.learning.meta.decoder import Decoder
from imitation_ros.learning.meta.finetune import FineTuned
from imitation_ros.learning.meta.gradient import Gradient
from imitation_ros.learning.meta.learner import Learner
from imitation_ros.learning.meta.shots import Tensors
from imitation_ros.learning.meta.slots import StateLayout
from imitation_ros.policies.model_folder import check_contract, ModelFolder, present
from imitation_ros.policies.normalization import Normalization
from imitation_ros.policies.policy import Policy
from imitation_ros.types import Array
import numpy as np

WEIGHTS, DOCUMENT = 'meta.safetensors', 'meta.json'
_FOLDER = ModelFolder(WEIGHTS, DOCUMENT, 1, 'a meta policy')
METHODS = ('context', 'gradient', 'finetune')


@dataclass(frozen=True)
class Settings:
    """How a meta policy adapts.

    Attributes:
        method: 'context', 'gradient' or 'finetune'.
        slots: whether things of a kind are seen as such; else all numbers stand for themselves.
        hidden: units of each hidden layer of the policy.
        context: numbers that tell the task beside its pointers.
        inner_steps: of gradient descent, by 'gradient' and 'finetune'.
        inner_rate: of learning the weights, by 'finetune'; 'gradient' learns its own.
        embedding_rate: of learning the embedding, by 'finetune'.
        first_order: whether 'gradient' leaves out second derivatives.
        tasks: that it was trained on; 'finetune' has an embedding of each.
    """

    method: str = 'context'
    slots: bool = True
    hidden: tuple[int, ...] = (256, 256)
    context: int = 8
    inner_steps: int = 3
    inner_rate: float = 0.0
    embedding_rate: float = 0.1
    first_order: bool = False
    tasks: int = 1

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise ImitationError(f'method: {self.method!r}; {one_of(self.method, METHODS)}')
        if self.method != 'context' and self.inner_steps < 1:
            raise ImitationError(f'inner_steps: {self.inner_steps}; valid: at least 1')


@dataclass(frozen=True)
class Familiar:
    """What demonstrations of the family look like, to tell which are far from it.

    Attributes:
        low: (n,) of the states of the training tasks, in the contract's units.
        high: (n,).
        loss: of held-out frames after adaptation, for most tasks of the family at most so much.
    """

    low: Array
    high: Array
    loss: float

    def outside(self, state: Array) -> Array:
        """(n,) by how much of the range, at most, states (T, n) are outside of it."""
        span = np.maximum(self.high - self.low, 1e-2)
        over = np.maximum(self.low - state.min(0), state.max(0) - self.high) / span
        return np.maximum(over, 0.0)


class MetaPolicy:
    """A learner with all that it needs to adapt to the episodes of a contract.

    Attributes:
        contract: of the episodes and of the robot.
        settings: how it adapts.
        normalization: from the training tasks.
        learner: the networks.
        tensors: turns episodes into what the learner sees.
        familiar: what the training tasks were like.
        checkpoint: SHA-256 of the weights on disk, empty where there are none.
    """

    def __init__(
        self,
        contract: Contract,
        settings: Settings,
        normalization: Normalization,
        familiar: Familiar,
        checkpoint: str = '',
    ) -> None:
        self.contract, self.settings, self.normalization = contract, settings, normalization
        self.familiar, self.checkpoint = familiar, checkpoint
        layout = StateLayout.of(contract, settings.slots)
        self.tensors = Tensors(contract, layout, normalization)
        decoder = Decoder(contract, layout, normalization, settings.hidden, settings.context)
        self.learner = _learner(decoder, settings)

    def prior(self) -> Policy:
        """What it does before it has seen a demonstration."""
        return self.learner.decoder.policy(self.learner.prior())

    def save(self, folder: Path | str, record: Mapping[str, Any]) -> str:
        """Writes it into `folder`, in the place of the meta policy that may be there.

        Args:
            folder: of the meta policy alone.
            record: how it was trained, as plain data.

        Returns:
            SHA-256 of the weights.

        Raises:
            CheckpointError: `folder` holds something else, or cannot be written.
        """
        document = {
            'settings': dataclasses.asdict(self.settings),
            'contract': self.contract.to_document(),
            'contract_fingerprint': self.contract.fingerprint,
            'normalization': self.normalization.to_document(),
            'familiar': {
                'low': self.familiar.low.tolist(),
                'high': self.familiar.high.tolist(),
                'loss': self.familiar.loss,
            },
            'training': dict(record),
        }
        weights = {name: each.contiguous() for name, each in self.learner.state_dict().items()}
        self.checkpoint = _FOLDER.write(Path(folder).resolve(), weights, document)
        return self.checkpoint


def load_meta_policy(folder: Path | str, contract: Contract | None = None) -> MetaPolicy:
    """Reads a meta policy.

    Args:
        folder: that `MetaPolicy.save` wrote.
        contract: of the robot; without it the one that it was trained for.

    Raises:
        CheckpointError: a file is missing, damaged or of another version, the weights do not fit
            the settings, or the contract differs: the message names how.
    """
    folder = present(Path(folder).resolve())
    document = _FOLDER.read_document(folder)
    try:
        trained_for = parse_contract(document['contract'])
        check_contract(folder, trained_for, contract or trained_for, 'meta policy')
        contract = contract or trained_for
        hidden = tuple(document['settings']['hidden'])
        settings = Settings(**{**document['settings'], 'hidden': hidden})
        specs = contract.observation_specs, contract.action_specs
        normalization = Normalization.from_document(document['normalization'], *specs)
        bounds = {key: np.array(document['familiar'][key], float) for key in ('low', 'high')}
        familiar = Familiar(**bounds, loss=float(document['familiar']['loss']))
        policy = MetaPolicy(
            contract, settings, normalization, familiar, document['weights_sha256']
        )
    except CheckpointError:
        raise
    except (ImitationError, KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f'{folder / DOCUMENT}: {type(error).__name__}: {error}') from None
    _FOLDER.read_weights(folder, document, policy.learner.state_dict())
    return policy


def check_meta_destination(folder: Path) -> None:
    """Makes sure that a meta policy may replace `folder`.

    Raises:
        CheckpointError: it is a file, or holds something besides a meta policy.
    """
    _FOLDER.check_destination(folder)


def _learner(decoder: Decoder, settings: Settings) -> Learner:
    if settings.method == 'context':
        return Context(decoder)
    if settings.method == 'gradient':
        return Gradient(decoder, settings.inner_steps, settings.first_order)
    return FineTuned(
        decoder, settings.tasks, settings.inner_steps, settings.inner_rate, settings.embedding_rate
    )
