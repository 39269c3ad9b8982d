"""DAgger's roll-outs in process, on the simulated arm with the scripted expert.

The gates are asked as the supervisor asks them over topics.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path

from imitation_ros.frames.contract import Contract
from imitation_ros.learning.dagger import Collected, gapless
from imitation_ros.policies.checkpoint import load_checkpoint
from imitation_ros.policies.policy import Policy
from imitation_ros.sim.env import ArmEnv
from imitation_ros.sim.family_expert import find_expert
from imitation_ros.sim.rollout import roll_out, Rollout
from imitation_ros.supervision.gates import Gate, GateConfig, make_gate, POLICY, TELEOP, View
from imitation_ros.teleop.simulated_human import SimulatedHuman
from imitation_ros.types import Action, Array, Episode, Frame
import numpy as np

Expert = Callable[[Frame], Action]


class SimCollector:
    """Implements `dagger.Collector`.

    Attributes:
        contract: of the policies.
        env: where they drive.
    """

    def __init__(
        self,
        task: str,
        contract: Contract,
        demonstrated_ticks: int | None = None,
        ticks: int | None = None,
    ) -> None:
        """Builds the simulation.

        Args:
            task: simulated task.
            contract: of the policies.
            demonstrated_ticks: after which a demonstration is cut; None is at its end.
            ticks: after which an episode of a later round is cut; None is at its end.

        Raises:
            TaskError: an unknown task, or a contract that simulation or expert cannot serve.
        """
        self.task, self.contract = task, contract
        self.env = ArmEnv(task, contract)
        self._expert: Expert = find_expert(task, contract)
        self._demonstrated_ticks, self._ticks = demonstrated_ticks, ticks

    def collect(
        self, checkpoint: Path | None, gate: GateConfig, seeds: Sequence[int], out: Path
    ) -> list[Collected]:
        """Rolls out one episode for each seed; records nothing."""
        if checkpoint is None:
            return [self._demonstrate(seed) for seed in seeds]
        policy = load_checkpoint(checkpoint, self.contract)
        chooser = make_gate(gate, self.contract.action_specs)
        collected = []
        for episode, seed in enumerate(seeds):
            policy.reset()
            chooser.start(episode)
            hands = Hands(policy, self._expert, chooser, human_at(gate, self.contract))
            rollout = roll_out(self.env, hands.act, seed, self._ticks)
            collected.append(hands.collected(rollout, self.contract))
        return collected

    def _demonstrate(self, seed: int) -> Collected:
        rollout = roll_out(self.env, self._expert, seed, self._demonstrated_ticks)
        ticks = rollout.ticks
        return Collected(rollout.to_episode(), seed, rollout.success, ticks, ticks, ticks, 0)


def human_at(gate: GateConfig, contract: Contract) -> SimulatedHuman | None:
    """Who takes over in an episode of the gate 'human'; None at the others."""
    if gate.gate != 'human':
        return None
    return SimulatedHuman(gate.discrepancy, gate.release, contract.action_specs)


class Hands:
    """One episode with two who may drive, and a gate between them."""

    def __init__(
        self, policy: Policy, expert: Expert, gate: Gate, human: SimulatedHuman | None = None
    ) -> None:
        self._policy, self._expert, self._gate, self._human = policy, expert, gate, human
        self._chosen, self._since_ns = '', 0
        self._drove: list[str] = []
        self._labels: list[Action] = []

    def act(self, frame: Frame) -> Action:
        """The action of whom the gate chooses."""
        action, right = self._policy.act(frame), self._expert(frame)
        takeover = self._human is not None and self._human.wants_control(action, right)
        signals = self._policy.signals
        view = View(
            frame.tick_ns, self._chosen, action, right,
            signals.get('uncertainty'), signals.get('risk'), takeover,
        )  # fmt: skip
        if (stream := self._gate.choose(view).stream) != self._chosen:
            self._chosen, self._since_ns = stream, frame.tick_ns
        self._drove.append(TELEOP if self._stale else stream)
        self._labels.append(right)
        return action if self._drove[-1] == POLICY else right

    @property
    def _stale(self) -> bool:
        """Whether the policy's action was planned before it was chosen to drive.

        As with the supervisor, the expert then drives on until the policy has planned anew. (Over
        topics a human who has let go does not, and the robot holds: here nothing can.)
        """
        chosen, before = self._chosen == POLICY, self._drove and self._drove[-1] == TELEOP
        return bool(chosen and before and self._policy.planned_ns < self._since_ns)

    def collected(self, rollout: Rollout, contract: Contract) -> Collected:
        """What came of it, with the frames that the expert was asked about."""
        expert = np.array([stream == TELEOP for stream in self._drove])
        asked = np.ones_like(expert) if self._gate.labels_every_tick else expert
        labels = {
            part: np.array([each[part] for each in self._labels]) for part in rollout.actions
        }
        ticks = rollout.tick_ns[asked]
        segment = gapless(ticks.tolist(), contract.tick_period_ns)
        episode = Episode(
            ticks,
            _masked(rollout.observations, asked),
            _masked(labels, asked),
            np.array(segment, np.int32),
            outcome='success' if rollout.success else 'failure',
            metadata={'seed': rollout.seed},
        )
        switches = sum(before != after for before, after in pairwise(self._drove))
        return Collected(
            episode, rollout.seed, rollout.success, rollout.ticks,
            int(expert.sum()), int(asked.sum()), switches,
        )  # fmt: skip


def _masked(arrays: Mapping[str, Array], mask: Array) -> dict[str, Array]:
    return {name: array[mask] for name, array in arrays.items()}
