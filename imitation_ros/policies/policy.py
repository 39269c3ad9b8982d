"""A policy at work: one frame in, one action out."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from imitation_ros.frames.contract import Contract
from imitation_ros.policies.network import Architecture, Inputs, Network
from imitation_ros.policies.normalization import Normalization, Standard
from imitation_ros.types import Action, Array, Frame, Observation
import numpy as np
from threadpoolctl import threadpool_limits
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
        self._images = [name for name, spec in specs.items() if spec.image]
        self._tick_period_ns = contract.tick_period_ns
        self._observed = _joined([normalization.observations[name] for name in self._vectors])
        self._acted = _joined([self._standard(part) for part in network.heads])
        history, chunk = architecture.history, architecture.chunk
        self._seen: deque[Observation] = deque(maxlen=history)
        if not self._images:
            self._perceptron = _in_numpy(
                self.network.perceptron,
                _joined([self._observed] * history),
                _joined([self._acted] * chunk),
            )
        self.reset()

    def _standard(self, part: str) -> Standard:
        """Of all outputs of a head: its actions are the first ones, if they are continuous."""
        size = self.network.heads[part].outputs
        mean, std = np.zeros(size), np.ones(size)
        actions = self.normalization.actions.get(part)
        if actions is not None:
            mean[: len(actions.mean)], std[: len(actions.std)] = actions.mean, actions.std
        return Standard(mean, std)

    def reset(self) -> None:
        """Forgets the past; the next frame starts an episode."""
        self._last_tick_ns: int | None = None
        self._seen.clear()
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
        self._remember(frame)
        self._last_tick_ns = frame.tick_ns
        if self._step == self.architecture.execute:
            self._chunk, self._step = self._predict(), 0
        action = {part: actions[self._step] for part, actions in self._chunk.items()}
        self._step += 1
        return action

    def _remember(self, frame: Frame) -> None:
        """Appends the frame to the history, which it fills if it is the first."""
        missing = (self._seen.maxlen or 1) - len(self._seen)
        self._seen.extend([frame.observation] * max(1, missing))

    def _outputs(self) -> Array:
        """The heads' outputs (chunk, outputs) for the history, actions in physical units."""
        vectors = [seen[name] for seen in self._seen for name in self._vectors]
        state = vectors[0] if len(vectors) == 1 else np.concatenate([np.empty(0), *vectors])
        if not self._images:
            return self._perceptron(state).reshape(self.network.chunk, -1)
        state = self._observed.apply(state.reshape(len(self._seen), -1)).astype(np.float32)
        images = {
            name: torch.from_numpy(np.stack([seen[name] for seen in self._seen]))[None]
            for name in self._images
        }
        with torch.inference_mode():
            outputs = self.network(Inputs(torch.from_numpy(state)[None], images))[0].numpy()
        return self._acted.invert(outputs)

    def _predict(self) -> dict[str, Array]:
        """The chunk that follows the history: part → (chunk, n)."""
        chunk, start, outputs = {}, 0, self._outputs()
        for part, head in self.network.heads.items():
            chunk[part] = head.mode(outputs[:, start : start + head.outputs])
            start += head.outputs
        return chunk


def _in_numpy(
    perceptron: torch.nn.Sequential, inputs: Standard, outputs: Standard
) -> Callable[[Array], Array]:
    """The same layers as a NumPy function, from physical units to physical units.

    A robot's tick finds cold caches, where each call counts: after 10 ms of sleep, torch's layers
    take 322 µs and these 40. The first layer standardizes, the last one takes it back, both in
    float64.
    """
    layers = [
        (layer.weight.detach().numpy().T.copy(), layer.bias.detach().numpy())
        for layer in perceptron
        if isinstance(layer, torch.nn.Linear)
    ]
    weight = layers[0][0] / inputs.std[:, None]
    layers[0] = weight, layers[0][1] - inputs.mean @ weight
    layers[-1] = layers[-1][0] * outputs.std, outputs.invert(layers[-1][1])
    first, *others = layers

    def forward(state: Array) -> Array:
        features: Array = (state @ first[0] + first[1]).astype(np.float32)
        for weight, bias in others:
            features = np.tanh(features, out=features) @ weight
            features += bias
        return features

    return forward


def _joined(standards: list[Standard]) -> Standard:
    return Standard(
        np.concatenate([np.empty(0), *(each.mean for each in standards)]),
        np.concatenate([np.empty(0), *(each.std for each in standards)]),
    )


def use_one_thread() -> None:
    """Keeps torch and NumPy's BLAS on one thread.

    Handing a small layer to a second one costs 24 ms at times, and a core of those who share it.
    """
    torch.set_num_threads(1)
    threadpool_limits(1, 'blas')
