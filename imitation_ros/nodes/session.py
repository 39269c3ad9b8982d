"""Whole episodes over topics, in lockstep: simulated arm, supervisor, a source, a recorder.

This is what `record`, `evaluate --topics` and `demo` run. Every step of an episode is one service
call; between two episodes the supervisor is stopped, so that nothing moves while the arm is reset.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
import queue
import time
from typing import Any

from imitation_ros.errors import GraphError
from imitation_ros.frames.contract import load_contract
from imitation_ros.frames.status import EPISODE_TOPIC, Status, STATUS_TYPE
from imitation_ros.nodes.graph import Graph


@dataclass(frozen=True)
class EpisodeResult:
    """How one episode ended.

    Attributes:
        seed: of the scene.
        success: whether the task's success held from some tick to the end.
        ticks: length.
        seconds: of wall time, from the start of motion to the end.
        path: the recorded episode, if it was recorded.
    """

    seed: int
    success: bool
    ticks: int
    seconds: float
    path: Path | None = None


class LockstepSession:
    """Runs episodes on a graph of its own.

    Args:
        task: 'reach', 'push' or 'pick_place', or FAMILY/SEED.
        contract: name or path.
        sources: nodes that may drive, 'teleop_expert', 'policy' or both (with a gate of the
            supervisor) → their parameters beside contract and lockstep.
        out: where episodes are recorded; None records nothing.
        supervisor_parameters: for example its gate, or the noise of DART.
        log_dir: where the nodes' output goes.
        domain_id: ROS domain, the environment's by default.
    """

    def __init__(
        self,
        task: str,
        contract: str,
        sources: Mapping[str, Mapping[str, Any]],
        out: Path | None = None,
        supervisor_parameters: Mapping[str, Any] | None = None,
        log_dir: Path | None = None,
        domain_id: int | None = None,
    ) -> None:
        load_contract(contract)  # refuse a bad one here, not in four logs
        self._recording = out is not None
        self._ended: queue.Queue[Status] = queue.Queue()
        common = {'contract': contract, 'lockstep': True}
        participants = ('supervisor', 'recorder') if out is not None else ('supervisor',)
        # Named, not discovered: a node may be active before all others have found it.
        streams = tuple('policy' if name == 'policy' else 'teleop' for name in sources)
        self.graph = Graph(log_dir, domain_id)
        try:
            self.graph.start('sim_arm', {**common, 'task': task, 'participants': participants})
            self.graph.start(
                'supervisor',
                {**common, 'participants': streams, **(supervisor_parameters or {})},
            )
            for source, parameters in sources.items():
                self.graph.start(source, {**common, **parameters})
            if out is not None:
                self.graph.start(
                    'recorder', {**common, 'participants': streams, 'out': out, 'task': task}
                )
            self.graph.listen(
                EPISODE_TOPIC, STATUS_TYPE, lambda message: self._ended.put(Status.decode(message))
            )
            self.graph.wait_ready()
        except BaseException:
            self.graph.close()
            raise

    def __enter__(self) -> LockstepSession:
        return self

    def __exit__(self, *error: object) -> None:
        self.graph.close()

    def run(self, seed: int) -> EpisodeResult:
        """Runs one episode with the scene of `seed`.

        Raises:
            GraphError: a node refused, ended or did not answer.
        """
        graph = self.graph
        graph.call('supervisor/stop')
        graph.set('sim_arm', seed=seed)
        graph.call('sim_arm/reset')
        if self._recording:
            graph.set('recorder', seed=seed)
            graph.call('recorder/start')
        graph.call('supervisor/resume')
        began = time.perf_counter()
        graph.switch('sim_arm/pause', False)
        ended = self._wait_for_end()
        seconds = time.perf_counter() - began
        success = ended.values['success'] == '1'
        path = None
        if self._recording:
            answer = graph.call('recorder/success' if success else 'recorder/failure')
            path = Path(answer.splitlines()[0])
        if ended.reason.startswith('timeout'):
            raise GraphError(f'episode with seed {seed}: {ended.reason}')
        return EpisodeResult(seed, success, int(ended.values['ticks']), seconds, path)

    def _wait_for_end(self, timeout_s: float = 120.0) -> Status:
        try:
            return self._ended.get(timeout=timeout_s)
        except queue.Empty:
            raise GraphError(f'the episode did not end within {timeout_s:.0f} s') from None
