"""Node `teleop_expert`: the scripted expert demonstrates over the same topics as a person.

With `correct_above` it watches the policy, as a person does, and takes over where it errs.
"""

from __future__ import annotations

from dataclasses import dataclass
import sys
from typing import Any

from imitation_ros.errors import MessageError
from imitation_ros.frames.actions import ActionCodec
from imitation_ros.frames.contract import load_contract
from imitation_ros.frames.status import TickAction
from imitation_ros.nodes._managed import ManagedNode
from imitation_ros.nodes._params import load_params, NodeParams, param, ParameterError
from imitation_ros.nodes._runtime import run_node
from imitation_ros.nodes._streams import ActionListener, ActionStream, FrameStream
from imitation_ros.nodes._task import check_task
from imitation_ros.sim.family_expert import find_expert
from imitation_ros.teleop.simulated_human import SimulatedHuman
from imitation_ros.teleop.skill import Skilled
from imitation_ros.types import Action, Frame, Gap


@dataclass(frozen=True)
class TeleopExpertParams(NodeParams):
    """Parameters of `teleop_expert`."""

    contract: str = param('', "The robot's contract: a path, or the name of an own contract.")
    task: str = param('pick_place', 'What to demonstrate; FAMILY/SEED: docs/meta.md.')
    lockstep: bool = param(False, 'Answer each stamped observation instead of running a timer.')
    skill: float = param(1.0, '1 is the expert; less is slower and shaky.', low=0.0, high=1.0)
    seed: int = param(0, 'Of the shaking.', low=0)
    correct_above: float = param(
        0.0,
        "Distance of the policy's action from its own where it takes over; 0: always engaged.",
        low=0.0,
    )
    release: float = param(
        0.5, 'Fraction of that distance where it gives back.', low=0.0, high=1.0
    )


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
        check_task('teleop_expert', self.params.task)

    def build(self) -> None:
        """Makes the expert for the contract; it refuses one that lacks what it needs to see."""
        params = self.params
        contract = load_contract(params.contract)
        expert = find_expert(params.task, contract)
        self._expert = Skilled(expert, contract, params.skill, params.seed)
        self._actions = ActionStream(self, contract, 'teleop')
        self._frames = FrameStream(self, contract, params.lockstep, self._on_tick, self._on_repeat)
        self._human: SimulatedHuman | None = None
        if params.correct_above:
            specs = contract.action_specs
            self._human = SimulatedHuman(params.correct_above, params.release, specs)
            self._codecs = {name: ActionCodec(part) for name, part in contract.actions.items()}
            self._stale_ns = 2 * contract.tick_period_ns
            self._seen: TickAction | None = None  # what the policy wants
            self._waiting: Frame | None = None  # lockstep: for what it wants at this tick
            self._policy = ActionListener(self, contract, 'policy', self._on_policy)

    def release(self) -> None:
        """Destroys the topics."""
        for name in ('_frames', '_policy', '_actions'):
            if hasattr(self, name):
                getattr(self, name).close()
                delattr(self, name)

    def _on_tick(self, frame: Frame | Gap) -> None:
        if isinstance(frame, Gap):
            self._send(frame.tick_ns, None, frame.reason)
        elif self._human is None:
            self._send(frame.tick_ns, self._expert(frame))
        elif self.params.lockstep and not self._has_seen(frame, 0):
            self._waiting = frame
        else:
            self._correct(self._human, frame)

    def _on_policy(self, tick: TickAction) -> None:
        self._seen, frame = tick, self._waiting
        if frame is not None and self._human is not None and self._has_seen(frame, 0):
            self._waiting = None
            self._correct(self._human, frame)

    def _has_seen(self, frame: Frame, age_ns: int) -> bool:
        """Whether the policy has spoken, and is not older than that."""
        return self._seen is not None and frame.tick_ns - self._seen.status.tick_ns <= age_ns

    def _correct(self, human: SimulatedHuman, frame: Frame) -> None:
        own = self._expert(frame)
        engaged = human.wants_control(self._policy_action(frame), own)
        reason = '' if engaged else 'the policy does as the expert would'
        self._send(frame.tick_ns, own if engaged else None, reason, engaged)

    def _policy_action(self, frame: Frame) -> Action | None:
        if self._seen is None or not self._has_seen(frame, self._stale_ns):
            return None
        messages = self._seen.messages
        try:
            action = {part: self._codecs[part].decode(each) for part, each in messages.items()}
        except MessageError:
            return None  # the supervisor says why
        return action or None

    def _send(
        self, tick_ns: int, action: Action | None, reason: str = '', engaged: bool = True
    ) -> None:
        with self.gate:
            if self.active:
                values = {'engaged': 'true' if engaged else 'false'}
                self._actions.send(tick_ns, action, reason, lambda: values)

    def _on_repeat(self) -> None:
        with self.gate:
            if self.active:
                self._actions.send_again()


def main(args: list[str] | None = None) -> int:
    """Entry point of `ros2 run imitation_ros teleop_expert`."""
    return run_node(TeleopExpertNode, args)


if __name__ == '__main__':
    sys.exit(main())
