"""A policy at work: one frame in, one action out."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from itertools import accumulate

from imitation_ros.frames.contract import Contract
from imitation_ros.policies.network import Architecture, Inputs, Network, ParallelLinear
from imitation_ros.policies.normalization import Normalization, Standard
from imitation_ros.policies.novelty import Novelty
from imitation_ros.policies.risk import Risk
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
        novelty: knows what the training data covered; None for checkpoints of older versions.
        risk: guesses whether the expert would act differently; None for most policies.
        checkpoint: SHA-256 of the weights on disk, empty where there are none.
        signals: what it says of itself, of the chunk that it carries out; empty where it has
            neither of the two. 'uncertainty': disagreement of its ensemble, in standard
            deviations of the action. 'risk': 0 to 1, that the expert would act differently.
        planned_ns: tick of the frame that the present chunk was predicted from; 0 before any.
    """

    def __init__(
        self,
        contract: Contract,
        architecture: Architecture,
        normalization: Normalization,
        network: Network,
        checkpoint: str = '',
        risk: Risk | None = None,
        novelty: Novelty | None = None,
    ) -> None:
        self.contract = contract
        self.architecture = architecture
        self.normalization = normalization
        self.network = network.cpu().eval()
        self.checkpoint = checkpoint
        self.risk = risk and risk.eval()
        self.novelty = novelty
        self.signals: Mapping[str, float] = {}
        specs = contract.observation_specs
        self._vectors = [name for name, spec in specs.items() if not spec.image]
        self._images = [name for name, spec in specs.items() if spec.image]
        self._tick_period_ns = contract.tick_period_ns
        self._observed = _joined([normalization.observations[name] for name in self._vectors])
        self._acted = _joined([self._standard(part) for part in network.heads])
        ends = accumulate(head.outputs for head in network.heads.values())
        self._heads = [  # with the outputs that are theirs; torch's own look-up is slow
            (part, head, slice(end - head.outputs, end))
            for (part, head), end in zip(network.heads.items(), ends)
        ]
        history, chunk, members = architecture.history, architecture.chunk, architecture.members
        self._shape = (chunk, -1) if members == 1 else (members, chunk, -1)
        self._seen: deque[Observation] = deque(maxlen=history)
        if not self._images:
            seen = _joined([self._observed] * history)
            acted = _joined([self._acted] * chunk)
            self._perceptron = _in_numpy(self.network.perceptron, seen, acted)
            if risk:
                self._logit = _in_numpy(risk.perceptron, seen, Standard(np.zeros(1), np.ones(1)))
        self.reset()

    def _standard(self, part: str) -> Standard:
        """Of all outputs of a head: its actions are the first ones, if they are continuous."""
        size = self.network.heads[part].outputs
        mean, std = np.zeros(size), np.ones(size)
        actions = self.normalization.actions.get(part)
        if actions is not None:
            mean[: len(actions.mean)], std[: len(actions.std)] = actions.mean, actions.std
        return Standard(mean, std)

    def with_risk(self, risk: Risk) -> Policy:
        """The same policy with a safety classifier, not saved yet."""
        return Policy(
            self.contract,
            self.architecture,
            self.normalization,
            self.network,
            risk=risk,
            novelty=self.novelty,
        )

    def reset(self) -> None:
        """Forgets the past; the next frame starts an episode."""
        self.planned_ns = 0
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
            self.planned_ns = frame.tick_ns
        action = {part: actions[self._step] for part, actions in self._chunk.items()}
        self._step += 1
        return action

    def _remember(self, frame: Frame) -> None:
        """Appends the frame to the history, which it fills if it is the first."""
        missing = (self._seen.maxlen or 1) - len(self._seen)
        self._seen.extend([frame.observation] * max(1, missing))

    def _outputs(self) -> Array:
        """The heads' outputs (chunk, outputs) for the history, actions in physical units.

        Of an ensemble (members, chunk, outputs). The risk is assessed on the way.
        """
        vectors = [seen[name] for seen in self._seen for name in self._vectors]
        state = vectors[0] if len(vectors) == 1 else np.concatenate([np.empty(0), *vectors])
        if not self._images:
            if self.risk:
                self.signals = {'risk': _probability(self._logit(state))}
            return self._perceptron(state).reshape(self._shape)
        state = self._observed.apply(state.reshape(len(self._seen), -1)).astype(np.float32)
        images = {
            name: torch.from_numpy(np.stack([seen[name] for seen in self._seen]))[None]
            for name in self._images
        }
        with torch.inference_mode():
            features = self.network.encode(Inputs(torch.from_numpy(state)[None], images))
            if self.risk:
                self.signals = {'risk': _probability(self.risk(features).numpy())}
            outputs = self.network.perceptron(features)[..., 0, :].numpy()
        return self._acted.invert(outputs.reshape(self._shape))

    def _predict(self) -> dict[str, Array]:
        """The chunk that follows the history: part → (chunk, n)."""
        outputs = self._outputs()
        if outputs.ndim == 3:
            return self._agree(outputs)
        return {part: head.mode(outputs[:, mine]) for part, head, mine in self._heads}

    def _agree(self, outputs: Array) -> dict[str, Array]:
        """The chunk of an ensemble, and its uncertainty about what is carried out of it.

        That of the part which the members agree on least.
        """
        chunk, doubts = {}, []
        for part, head, mine in self._heads:
            chunk[part] = head.agreed(outputs[..., mine])
            executed = outputs[:, : self.architecture.execute, mine]
            doubts.append(head.disagreement(executed, self._acted.std[mine]))
        self.signals = {**self.signals, 'uncertainty': max(doubts)}
        return chunk


def _in_numpy(
    perceptron: torch.nn.Sequential, inputs: Standard, outputs: Standard
) -> Callable[[Array], Array]:
    """The same layers as a NumPy function, from physical units to physical units.

    A robot's tick finds cold caches, where each call counts: after 10 ms of sleep, torch's layers
    take 322 µs and these 25. So a layer is one product: its bias is the weight of a last unit that
    is always 1, and the first and the last layer carry the standards' scales. What is subtracted
    before and added after is float64.
    """
    layers = [_weights(layer) for layer in perceptron if not isinstance(layer, torch.nn.Tanh)]
    (first, bias), (last, offset) = layers[0], layers[-1]
    layers[0] = (first / inputs.std[:, None]).astype(np.float32), bias
    layers[-1] = last * outputs.std, outputs.invert(offset)
    weights = [np.concatenate([weight, bias[..., None, :]], -2) for weight, bias in layers]
    rows = (len(first), 1) if first.ndim == 3 else ()  # of an ensemble: one a member
    units = [np.ones((*rows, weight.shape[-2]), np.float32) for weight in weights]
    steps = [
        (these, weight, those[..., :-1]) for these, weight, those in zip(units, weights, units[1:])
    ]
    entry, mean = units[0][..., :-1], inputs.mean
    product = np.matmul if rows else np.dot  # which is the faster one, of vectors only

    def forward(state: Array) -> Array:
        entry[...] = state - mean
        for these, weight, those in steps:
            np.tanh(product(these, weight), those)
        result: Array = product(units[-1], weights[-1])
        return result

    return forward


def _weights(layer: torch.nn.Module) -> tuple[Array, Array]:
    """Weight (inputs, outputs) and bias, of an ensemble with the members before them."""
    if isinstance(layer, ParallelLinear):
        return layer.weight.detach().numpy(), layer.bias.detach().numpy()
    assert isinstance(layer, torch.nn.Linear)
    return layer.weight.detach().numpy().T.copy(), layer.bias.detach().numpy()


def _probability(logit: Array) -> float:
    return float(1.0 / (1.0 + np.exp(-np.float64(logit.item()))))


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
