"""Roll-outs of DAgger over topics: arm, supervisor with a gate, policy, expert and recorder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from imitation_ros.frames.contract import Contract, load_contract
from imitation_ros.learning.dagger import Collected
from imitation_ros.learning.recorded_rounds import read_recording
from imitation_ros.nodes.session import EpisodeResult, LockstepSession
from imitation_ros.supervision.gates import GateConfig, make_gate
from imitation_ros.supervision.takeover import ENGAGED

GATE_PARAMETERS = (
    'beta', 'beta_schedule', 'beta_rounds', 'beta_per_tick', 'uncertainty', 'discrepancy', 'risk',
    'release', 'budget',
)  # fmt: skip
"""Those of the supervisor's that have the names of the gate's settings."""


class TopicsCollector:
    """Collects what `learning.dagger.SimCollector` collects, through the real nodes in lockstep.

    What is kept are the recorder's bags; the labels are derived from them.

    Args:
        task: 'reach', 'push' or 'pick_place'.
        contract: name or path.
        log_dir: where the nodes' output goes.
        advance: told after each episode.
    """

    def __init__(
        self,
        task: str,
        contract: str,
        log_dir: Path | None = None,
        advance: Callable[[str], None] = lambda note: None,
    ) -> None:
        self.contract = load_contract(contract)
        self.task, self._name = task, contract
        self._log_dir, self._advance = log_dir, advance

    def collect(
        self, checkpoint: Path | None, gate: GateConfig, seeds: Sequence[int], out: Path
    ) -> list[Collected]:
        """Runs an episode a seed; without a checkpoint the expert demonstrates alone.

        Raises:
            GraphError: a node refused, ended or did not answer.
        """
        expert: dict[str, Any] = {'task': self.task}
        sources, supervisor = {'teleop_expert': expert}, {}
        if checkpoint is not None:
            sources = {'policy': {'checkpoint': checkpoint}, **sources}
            supervisor = _parameters(gate)
        if checkpoint is not None and gate.gate == 'human':
            expert |= {'correct_above': gate.discrepancy, 'release': gate.release}
            supervisor['takeover'] = ENGAGED
        with LockstepSession(
            self.task, self._name, sources, out, supervisor, self._log_dir
        ) as session:
            results = []
            for seed in seeds:
                results.append(session.run(seed))
                successes = sum(result.success for result in results)
                self._advance(f'round {gate.round}: {successes} of {len(results)} succeeded')
        every = checkpoint is None or make_gate(gate, {}).labels_every_tick
        return [_collected(result, self.contract, every) for result in results]


def _parameters(gate: GateConfig) -> dict[str, Any]:
    """The gate's settings as the supervisor's parameters."""
    settings = {name: getattr(gate, name) for name in GATE_PARAMETERS}
    return {'gate': gate.gate, 'gate_round': gate.round, 'gate_seed': gate.seed, **settings}


def _collected(result: EpisodeResult, contract: Contract, labels_every_tick: bool) -> Collected:
    assert result.path is not None  # it was recorded
    recording = read_recording(result.path, contract)
    assert recording.episode is not None  # nobody discards one here
    return Collected(
        episode=recording.episode,
        seed=result.seed,
        success=result.success,
        ticks=recording.ticks,  # the last one, at the goal, included
        expert_ticks=recording.expert_ticks,
        labels=recording.ticks if labels_every_tick else recording.expert_ticks,
        switches=recording.switches,
    )
