"""Node `policy`: publishes the action of a learned policy for each tick.

It never moves the robot by itself: `supervisor` decides whether the action is executed.
"""

from __future__ import annotations

from dataclasses import dataclass
import sys
import threading
from typing import Any

from imitation_ros.errors import CheckpointError, ImitationError
from imitation_ros.frames.contract import load_contract
from imitation_ros.nodes._managed import ManagedNode
from imitation_ros.nodes._params import live_value, load_params, NodeParams, param, ParameterError
from imitation_ros.nodes._runtime import run_node
from imitation_ros.nodes._streams import ActionStream, FrameStream
from imitation_ros.policies.checkpoint import load_checkpoint
from imitation_ros.policies.policy import Policy, use_one_thread
from imitation_ros.types import Frame, Gap
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.task import Future
from std_srvs.srv import Trigger


@dataclass(frozen=True)
class PolicyParams(NodeParams):
    """Parameters of `policy`."""

    checkpoint: str = param('', 'Folder of the checkpoint; set it and call ~/reload.', live=True)
    contract: str = param('', "The robot's contract; a checkpoint made for another is refused.")
    lockstep: bool = param(False, 'Answer each stamped observation instead of running a timer.')


class PolicyNode(ManagedNode):
    """Frames in, actions on `policy/…` out."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__('policy', **kwargs)
        self.params: PolicyParams = load_params(self, PolicyParams)
        for name in ('checkpoint', 'contract'):
            if not getattr(self.params, name):
                raise ParameterError(f'policy: parameter {name} is not set; valid: a path')

    def build(self) -> None:
        """Loads the checkpoint and checks it against the contract."""
        use_one_thread()
        self._contract = load_contract(self.params.contract)
        self._policy = load_checkpoint(live_value(self, 'checkpoint'), self._contract)
        self._actions = ActionStream(self, self._contract, 'policy')
        self._frames = FrameStream(
            self, self._contract, self.params.lockstep, self._on_tick, self._on_repeat
        )
        # An awaiting callback keeps its group to itself; the ticks must go on meanwhile.
        group = MutuallyExclusiveCallbackGroup()
        self._reload = self.create_service(
            Trigger, '~/reload', self._on_reload, callback_group=group
        )

    def start(self) -> None:
        """Forgets what the policy remembered of an earlier run."""
        self._policy.reset()

    def release(self) -> None:
        """Destroys topics and service."""
        for name in ('_frames', '_actions'):
            if hasattr(self, name):
                getattr(self, name).close()
                delattr(self, name)
        if hasattr(self, '_reload'):
            self.destroy_service(self._reload)

    def _on_tick(self, frame: Frame | Gap) -> None:
        if not self.active:
            return
        values = {'checkpoint': self._policy.checkpoint}
        if isinstance(frame, Gap):
            self._policy.reset()  # a history must not span a gap
            action, reason = None, frame.reason
        else:
            action, reason = self._policy.act(frame), ''
        with self.gate:
            if self.active:
                self._actions.send(frame.tick_ns, action, reason, values)

    def _on_repeat(self) -> None:
        with self.gate:
            if self.active:
                self._actions.send_again()

    async def _on_reload(
        self, request: Trigger.Request, response: Trigger.Response
    ) -> Trigger.Response:
        """Loads on a thread of its own, so that no tick is missed, then swaps between two."""
        path = live_value(self, 'checkpoint')
        loaded: Future = Future(executor=self.executor)
        threading.Thread(target=lambda: loaded.set_result(self._load(path)), daemon=True).start()
        policy = await loaded
        if isinstance(policy, ImitationError):
            response.success, response.message = False, f'kept the present policy: {policy}'
        else:
            self._policy = policy
            response.success, response.message = True, f'{path} ({policy.checkpoint})'
        self.get_logger().info(f'reload: {response.message}')
        return response

    def _load(self, path: str) -> Policy | ImitationError:
        """A policy that was tried on the newest frame, or why not."""
        try:
            policy = load_checkpoint(path, self._contract)
            frame = self._frames.frame()
            if isinstance(frame, Frame):
                for name, spec in self._contract.action_specs.items():
                    spec.check(policy.act(frame)[name], f'{path}: action {name}')
                policy.reset()
        except ImitationError as error:
            return error
        except Exception as error:  # whatever it is, the policy that drives stays
            return CheckpointError(f'{path}: {error!r}')
        return policy


def main(args: list[str] | None = None) -> int:
    """Entry point of `ros2 run imitation_ros policy`."""
    return run_node(PolicyNode, args)


if __name__ == '__main__':
    sys.exit(main())
