"""A learned reward: calibrated, scored live or in batches, and kept on disk.

    reward.safetensors   the network's weights, and how its inputs are standardized
    reward.json          format, settings, contract and fingerprint, calibration, version,
                         the training's record, SHA-256 of the weights and of the document itself

Loading runs no code from a folder, which is written whole and then renamed.
"""

from __future__ import annotations

from collections.abc import Mapping
import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from imitation_ros.errors import CheckpointError, ImitationError
from imitation_ros.frames.contract import Contract, parse_contract
from imitation_ros.learning.irl.layout import Layout
from imitation_ros.learning.irl.network import Batch, RewardConfig, RewardNetwork, Scales, tensors
from imitation_ros.learning.irl.transitions import Transitions
from imitation_ros.policies.model_folder import check_contract, ModelFolder, present
from imitation_ros.policies.normalization import Standard
from imitation_ros.types import Action, Array, Observation
import numpy as np
import torch

FORMAT = 1
WEIGHTS, DOCUMENT = 'reward.safetensors', 'reward.json'
_FOLDER = ModelFolder(WEIGHTS, DOCUMENT, FORMAT, 'a reward')


@dataclass(frozen=True)
class Calibration:
    """Mean raw scores, per step, that stand for 0 and 1.

    Attributes:
        random: of random behaviour.
        expert: of demonstrations that the reward was not fitted to.
    """

    random: float
    expert: float

    @property
    def tells_apart(self) -> bool:
        """Whether the expert scores above random behaviour."""
        return self.expert > self.random

    def apply(self, raw: Array) -> Array:
        """Raw → calibrated; a reward that cannot tell the two apart gives 0 everywhere."""
        if not self.tells_apart:
            return np.where(np.isnan(raw), raw, 0.0)
        calibrated: Array = (raw - self.random) / (self.expert - self.random)
        return calibrated


class Reward:
    """A frozen reward.

    Attributes:
        layout: of its inputs.
        config: that it was trained with.
        calibration: what is 0 and what is 1.
        version: how often the reward was promoted in its training until then, from 1.
        digest: SHA-256 of the weights on disk, empty where there are none.
    """

    def __init__(
        self,
        layout: Layout,
        config: RewardConfig,
        network: RewardNetwork,
        calibration: Calibration,
        version: int = 1,
        digest: str = '',
    ) -> None:
        self.layout, self.config, self.calibration = layout, config, calibration
        self.version, self.digest = version, digest
        self.network = network.eval().requires_grad_(False)

    def score(self, observation: Array, action: Array, next_observation: Array) -> Array:
        """Calibrated reward of steps (N,) float64: 0 is random, 1 the expert, on average.

        Args:
            observation: (N, o), laid out by `layout.observe`.
            action: (N, a), by `layout.flatten`; what a reward that only watches gets is ignored.
            next_observation: (N, o).

        Returns:
            NaN for a step with a NaN among what the reward looks at: nothing is made up.
        """
        batch = tuple(
            torch.from_numpy(np.asarray(array, np.float32))
            for array in (observation, action, next_observation)
        )
        return self.calibration.apply(self.raw(batch).numpy().astype(np.float64))  # type: ignore[arg-type]

    def score_frame(
        self, observation: Observation, action: Action, next_observation: Observation
    ) -> float:
        """Calibrated reward of one step, from what the frames and the contract's action hold.

        Raises:
            KeyError: an array of the contract is missing.
        """
        now, after = self.layout.observe(observation), self.layout.observe(next_observation)
        return float(self.score(now[None], self.layout.flatten(action)[None], after[None])[0])

    def score_steps(self, steps: Transitions) -> Array:
        """Calibrated reward of transitions, (N,) float64; NaN where `score` says it."""
        return self.score(steps.observation, steps.action, steps.next_observation)

    @torch.no_grad()
    def raw(self, batch: Batch) -> torch.Tensor:
        """As the network scores, (B,): what an actor is trained on."""
        return self.network(batch)

    def calibrated(self, random: Transitions, expert: Transitions) -> Reward:
        """The same reward, of which these steps score 0 and 1 on average."""
        means = [float(self.raw(tensors(steps)).mean()) for steps in (random, expert)]
        return Reward(self.layout, self.config, self.network, Calibration(*means), self.version)

    def disentangled(self) -> Reward:
        """G alone, without shaping, for other dynamics (Fu et al., 2018); calibrate it anew."""
        config = dataclasses.replace(self.config, shaping=False)
        network = RewardNetwork(config, blank_scales(self.layout))
        weights = self.network.state_dict()
        network.load_state_dict({name: weights[name] for name in network.state_dict()})
        return Reward(self.layout, config, network, self.calibration, self.version)

    def save(self, folder: Path | str, record: Mapping[str, Any] | None = None) -> str:
        """Writes it into `folder`, in the place of the reward that may be there.

        Args:
            folder: of the reward alone.
            record: how it was trained, as plain data.

        Returns:
            SHA-256 of the weights.

        Raises:
            CheckpointError: `folder` holds something else, or cannot be written.
        """
        contract = self.layout.contract
        document = {
            'config': dataclasses.asdict(self.config),
            'contract': contract.to_document(),
            'contract_fingerprint': contract.fingerprint,
            'calibration': dataclasses.asdict(self.calibration),
            'version': self.version,
            'training': dict(record or {}),
        }
        weights = {name: each.contiguous() for name, each in self.network.state_dict().items()}
        self.digest = _FOLDER.write(Path(folder).resolve(), weights, document)
        return self.digest


def load_reward(folder: Path | str, contract: Contract | None = None) -> Reward:
    """Reads a reward.

    Args:
        folder: that `Reward.save` wrote.
        contract: of the robot that it shall watch; without it the one that it was trained for.

    Raises:
        CheckpointError: a file is missing, damaged or of another version, the weights do not fit
            the settings, or the contract differs: the message names how.
    """
    folder = present(Path(folder).resolve())
    document = _FOLDER.read_document(folder)
    try:
        trained_for = parse_contract(document['contract'])
        check_contract(folder, trained_for, contract or trained_for, 'reward')
        layout = Layout(contract or trained_for)
        settings = {**document['config'], 'hidden': tuple(document['config']['hidden'])}
        config = RewardConfig(**settings)
        calibration = Calibration(**{key: float(document['calibration'][key])
                                     for key in ('random', 'expert')})  # fmt: skip
        version = int(document['version'])
        network = RewardNetwork(config, blank_scales(layout))
    except CheckpointError:
        raise
    except (ImitationError, KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f'{folder / DOCUMENT}: {type(error).__name__}: {error}') from None
    _FOLDER.read_weights(folder, document, network.state_dict())
    digest = document['weights_sha256']
    return Reward(layout, config, network, calibration, version, digest)


def blank_scales(layout: Layout) -> Scales:
    """Of the right sizes, for weights to be read into."""
    states, actions = layout.observation_size - 1, layout.action_size
    state = Standard(np.zeros(states), np.ones(states))
    action = Standard(np.zeros(actions), np.ones(actions))
    return Scales(state, np.eye(states), state, action, np.eye(states))
