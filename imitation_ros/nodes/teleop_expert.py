"""Node `teleop_expert`: the scripted expert demonstrates over the same topics as a person."""

from __future__ import annotations

from dataclasses import dataclass
import sys
from typing import Any

from imitation_ros.frames.contract import load_contract
from imitation_ros.nodes._managed import ManagedNode
from imitation_ros.nodes._params import load_params, NodeParams, param, ParameterError
from imitation_ros.nodes._runtime import run_node
from imitation_ros.nodes._streams import ActionStream, FrameStream
from imitation_ros.sim.experts import make_expert
from imitation_ros.sim.tasks import TASKS
from imitation_ros.teleop.skill import Skilled
from imitation_ros.types import Frame, Gap


@dataclass(frozen=True)
class TeleopExpertParams(NodeParams):
    """Parameters of `teleop_expert`."""

    contract: str = param('', "The robot's contract: a path, or the name of an own contract.")
    task: str = param('pick_place', 'What to demonstrate.', one_of=tuple(TASKS))
    lockstep: bool = param(False, 'Answer each stamped observation instead of running a timer.')
    skill: float = param(1.0, '1 is the expert; less is slower and shaky.', low=0.0, high=1.0)
    seed: int = param(0, 'Of the shaking.', low=0)


class TeleopExpertNode(ManagedNode):
    """Frames in, the expert's actions on `teleop/…` out.

    Noise that the label must not show (DART) is the supervisor's parameter `dart_noise`.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__('teleop_expert', **kwargs)
        self.params: TeleopExpertParams = load_params(self, TeleopExpertParams)
        if not self.params.contract:
            raise ParameterError(
                'teleop_expert: parameter contract is not set; valid: a path or name'
            )

    def build(self) -> None:
        """Makes the expert for the contract; it refuses one that lacks what it needs to see."""
        params = self.params
        contract = load_contract(params.contract)
        expert = make_expert(params.task, contract)
        self._expert = Skilled(expert, contract, params.skill, params.seed)
        self._actions = ActionStream(self, contract, 'teleop')
        self._frames = FrameStream(self, contract, params.lockstep, self._on_tick, self._on_repeat)

    def release(self) -> None:
        """Destroys the topics."""
        for name in ('_frames', '_actions'):
            if hasattr(self, name):
                getattr(self, name).close()
                delattr(self, name)

    def _on_tick(self, frame: Frame | Gap) -> None:
        if isinstance(frame, Gap):
            action, reason = None, frame.reason
        else:
            action, reason = self._expert(frame), ''
        with self.gate:
            if self.active:
                self._actions.send(frame.tick_ns, action, reason, {'engaged': 'true'})

    def _on_repeat(self) -> None:
        with self.gate:
            if self.active:
                self._actions.send_again()


def main(args: list[str] | None = None) -> int:
    """Entry point of `ros2 run imitation_ros teleop_expert`."""
    return run_node(TeleopExpertNode, args)


if __name__ == '__main__':
    sys.exit(main())
