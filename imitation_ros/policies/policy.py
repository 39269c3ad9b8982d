"""A policy at work: one frame in, one action out."""

from __future__ import annotations

from collections.abc import Callable

from imitation_ros.frames.contract import Contract
from imitation_ros.policies.network import Architecture, Inputs, Network
from imitation_ros.policies.normalization import Normalization
from imitation_ros.types import Action, Array, Frame
import numpy as np
import torch


class Policy:
    """A network with all it needs to act on the frames of a contract.

    It remembers the last `history` frames and what is left of the current chunk, and forgets both
    where a tick is missing, just as windows of the training set do not span a gap. Runs on the
    CPU; a process with a control loop calls `use_one_thread` first.

    Attributes:
        contract: that it was trained for.
        architecture: of its network.
        normalization: from its training set.
        network: on the CPU.
        checkpoint: SHA-256 of the weights on disk, empty where there are none.
    """

    def __init__(
        self,
        contract: Contract,
        architecture: Architecture,
        normalization: Normalization,
        network: Network,
        checkpoint: str = '',
    ) -> None:
        self.contract = contract
        self.architecture = architecture
        self.normalization = normalization
        self.network = network.cpu().eval()
        self.checkpoint = checkpoint
        specs = contract.observation_specs
        self._vectors = [name for name, spec in specs.items() if not spec.image]
        self._tick_period_ns = contract.tick_period_ns
        self._perceptron = _in_numpy(self.network.perceptron)
        self._remember_nothing()

    def _remember_nothing(self) -> None:
        history, specs = self.architecture.history, self.contract.observation_specs
        width = sum(specs[name].shape[0] for name in self._vectors)
        self._state = np.zeros((history, width), np.float32)
        self._images = {
            name: np.zeros((history, *spec.shape), spec.dtype)
            for name, spec in specs.items()
            if spec.image
        }
        self._inputs = Inputs(  # on the same memory
            torch.from_numpy(self._state)[None],
            {name: torch.from_numpy(images)[None] for name, images in self._images.items()},
        )
        standards = [self.normalization.observations[name] for name in self._vectors]
        self._mean = np.concatenate([np.empty(0), *(standard.mean for standard in standards)])
        self._std = np.concatenate([np.empty(0), *(standard.std for standard in standards)])
        self.reset()

    def reset(self) -> None:
        """Forgets the past; the next frame starts an episode."""
        self._last_tick_ns: int | None = None
        self._chunk: dict[str, Array] = {}
        self._step = self.architecture.execute

    def act(self, frame: Frame) -> Action:
        """Returns the action for `frame`: part → (n,) float64, or (1,) int64 if discrete.

        Raises:
            KeyError: the frame lacks an observation of the contract.
        """
        follows = self._last_tick_ns is not None and (
            0 < frame.tick_ns - self._last_tick_ns < 1.5 * self._tick_period_ns
        )
        if not follows:
            self.reset()
        self._remember(frame, first=not follows)
        self._last_tick_ns = frame.tick_ns
        if self._step == self.architecture.execute:
            self._chunk, self._step = self._predict(), 0
        action = {part: actions[self._step] for part, actions in self._chunk.items()}
        self._step += 1
        return action

    def _remember(self, frame: Frame, first: bool) -> None:
        """Appends the frame to the history, which it fills if it is the first."""
        vectors = [frame.observation[name] for name in self._vectors]
        state = np.concatenate(vectors) if vectors else self._mean
        _append(self._state, (state - self._mean) / self._std, first)
        for name, images in self._images.items():
            _append(images, frame.observation[name], first)

    def _outputs(self) -> Array:
        """The heads' outputs (chunk, outputs) for the history."""
        if self._images:
            with torch.inference_mode():
                outputs: Array = self.network(self._inputs)[0].numpy()
                return outputs
        return self._perceptron(self._state.ravel()).reshape(self.network.chunk, -1)

    def _predict(self) -> dict[str, Array]:
        """The chunk that follows the history: part → (chunk, n)."""
        chunk, start, outputs = {}, 0, self._outputs()
        for part, head in self.network.heads.items():
            actions = head.mode(outputs[:, start : start + head.outputs])
            start += head.outputs
            standard = self.normalization.actions.get(part)
            chunk[part] = standard.invert(actions) if standard else actions
        return chunk


def _in_numpy(perceptron: torch.nn.Sequential) -> Callable[[Array], Array]:
    """The same layers as a NumPy function: after 10 ms of sleep it takes 41 µs, torch's 322."""
    *hidden, last = [
        (layer.weight.detach().numpy().T.copy(), layer.bias.detach().numpy())
        for layer in perceptron
        if isinstance(layer, torch.nn.Linear)
    ]

    def forward(features: Array) -> Array:
        for weight, bias in hidden:
            features = np.tanh(features @ weight + bias)
        outputs: Array = features @ last[0] + last[1]
        return outputs

    return forward


def use_one_thread() -> None:
    """Keeps torch on one thread: handing a small layer to a second one costs 24 ms at times."""
    torch.set_num_threads(1)


def _append(history: Array, newest: Array, first: bool) -> None:
    if first:
        history[:] = newest
        return
    history[:-1] = history[1:]
    history[-1] = newest
