"""Node `policy`: publishes the action of a learned policy for each tick.

It never moves the robot by itself: `supervisor` decides whether the action is executed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
import sys
import threading
from typing import Any

from imitation_ros.errors import CheckpointError, EpisodeError, ImitationError
from imitation_ros.frames.contract import Contract, load_contract
from imitation_ros.learning.meta.meta_policy import load_meta_policy
from imitation_ros.learning.meta.recorded import adapt_below, corrected_by, newest_episode
from imitation_ros.nodes._managed import ManagedNode
from imitation_ros.nodes._messages import LATCHED
from imitation_ros.nodes._params import live_value, load_params, NodeParams, param, ParameterError
from imitation_ros.nodes._runtime import run_node
from imitation_ros.nodes._streams import ActionStream, FrameStream
from imitation_ros.policies.checkpoint import load_checkpoint
from imitation_ros.policies.novelty import Freeze
from imitation_ros.policies.policy import Policy, use_one_thread
from imitation_ros.types import Action, Frame, Gap
import numpy as np
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.parameter import Parameter
from rclpy.task import Future
from std_msgs.msg import String
from std_srvs.srv import Trigger


@dataclass(frozen=True)
class PolicyParams(NodeParams):
    """Parameters of `policy`."""

    checkpoint: str = param('', 'Folder of the checkpoint; set it and call ~/reload.', live=True)
    contract: str = param('', "The robot's contract; a checkpoint made for another is refused.")
    lockstep: bool = param(False, 'Answer each stamped observation instead of running a timer.')
    novelty_limit: float = param(
        0.0,
        'Deviations beyond all training data from where on there is no action, and the robot '
        'holds; 0: novelty is only told.',
        low=0.0,
        live=True,
    )
    reload_timeout_s: float = param(
        30.0, 'A checkpoint that takes longer to load is refused, s.', low=0.1, high=3600.0
    )
    meta: str = param('', 'Folder of the meta policy that ~/adapt begins with.')
    episode: str = param('', 'Demonstration for ~/adapt; of a folder the newest.', live=True)
    adapted: str = param('checkpoints/adapted', 'Folder of the checkpoints that ~/adapt makes.')


@dataclass(frozen=True)
class Driver:
    """A policy, where it came from, and what its status says each tick.

    `planned` tells whether a status must say, too, which tick an action was planned at: not all
    do, as a policy may carry out several actions of a chunk. `note` is what an operator should
    know of an adapted one.
    """

    policy: Policy
    path: str
    values: dict[str, str]
    planned: bool
    note: str = ''

    @cached_property
    def _freeze(self) -> Freeze:
        assert self.policy.novelty
        return Freeze(self.policy.novelty)

    @classmethod
    def load(cls, path: str, contract: Contract) -> Driver:
        """Reads a checkpoint; raises CheckpointError."""
        policy = load_checkpoint(path, contract)
        architecture = policy.architecture
        values = {
            'checkpoint': policy.checkpoint,
            'history': str(architecture.history),
            'chunk': str(architecture.chunk),
        }
        return cls(policy, path, values, architecture.execute > 1)

    def try_out(self, frame: Frame) -> None:
        """Acts once, and forgets it; raises CheckpointError unless the action makes sense.

        It must be finite, and no further outside of the limits than they are apart: the guard
        would clamp it, but a policy that wants that is broken.
        """
        try:
            _check(self.policy.contract, self.policy.act(frame))
        except ValueError as error:
            raise CheckpointError(f'{self.path}: on the newest observations: {error}') from None
        self.policy.reset()

    def novelty(self, frame: Frame) -> float:
        """How far a frame is beyond the training data, in deviations."""
        novelty = self.policy.novelty
        if novelty is None:
            return 0.0
        return max(novelty.of(frame.observation), self._freeze.of(frame.observation))

    def status_values(self, frame: Frame) -> dict[str, str]:
        """What the status of a tick says, after the policy has acted on its frame."""
        said = dict(self.policy.signals)
        if self.policy.novelty:
            said['novelty'] = self.novelty(frame)
        values = {**self.values, **{name: f'{value:.6g}' for name, value in said.items()}}
        if self.planned:
            values['planned'] = str(self.policy.planned_ns)
        return values

    def __str__(self) -> str:
        return f'{self.path} ({self.policy.checkpoint})'


def _check(contract: Contract, action: Action) -> None:
    """Raises ValueError unless an action is finite, and not far outside of the limits."""
    for name, spec in contract.action_specs.items():
        spec.check(action[name], f'action {name}')
        part = contract.actions[name]
        if not part.discrete:
            low, high = np.array(part.low), np.array(part.high)
            if (np.abs(action[name] - (low + high) / 2) > 1.5 * (high - low)).any():
                found = action[name].tolist()
                raise ValueError(f'action {name}: far outside of its limits: {found}')


class PolicyNode(ManagedNode):
    """Frames in, actions on `policy/…` out."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__('policy', **kwargs)
        self.params: PolicyParams = load_params(self, PolicyParams)
        for name in ('checkpoint', 'contract'):
            if not getattr(self.params, name):
                raise ParameterError(f'policy: parameter {name} is not set; valid: a path')
        self._novelty_limit = self.params.novelty_limit
        self.add_post_set_parameters_callback(self._on_parameters)

    def build(self) -> None:
        """Loads the checkpoint and checks it against the contract."""
        use_one_thread()
        self._contract = load_contract(self.params.contract)
        driver = Driver.load(live_value(self, 'checkpoint'), self._contract)
        self._before: Driver | None = None
        self._newest: Frame | None = None
        self._told = self.create_publisher(String, 'policy/checkpoint', LATCHED)
        self._actions = ActionStream(self, self._contract, 'policy')
        self._frames = FrameStream(
            self, self._contract, self.params.lockstep, self._on_tick, self._on_repeat
        )
        # An awaiting callback keeps its group to itself; the ticks must go on meanwhile, and
        # whoever goes back does not wait for a checkpoint that is slow.
        group = MutuallyExclusiveCallbackGroup()
        self._served = [
            self.create_service(Trigger, '~/reload', self._on_reload, callback_group=group),
            self.create_service(Trigger, '~/adapt', self._on_adapt, callback_group=group),
            self.create_service(Trigger, '~/rollback', self._on_rollback),
        ]
        self._drive(driver)

    def start(self) -> None:
        """Forgets what the policy remembered of an earlier run."""
        self._driver.policy.reset()

    def release(self) -> None:
        """Destroys topics and services, and forgets the policy, which a reload may outlive."""
        self.__dict__.pop('_driver', None)
        for name in ('_frames', '_actions'):
            if hasattr(self, name):
                getattr(self, name).close()
                delattr(self, name)
        for service in self.__dict__.pop('_served', ()):
            self.destroy_service(service)
        if hasattr(self, '_told'):
            self.destroy_publisher(self._told)
            del self._told

    def _on_tick(self, frame: Frame | Gap) -> None:
        if not self.active:
            return
        driver = self._driver
        if isinstance(frame, Gap):
            driver.policy.reset()  # a history must not span a gap
            action, reason, values = None, frame.reason, lambda: driver.values
        else:
            self._newest = frame
            action, reason = driver.policy.act(frame), self._strange(driver, frame)
            values = partial(driver.status_values, frame)
        with self.gate:
            if self.active:
                self._actions.send(frame.tick_ns, None if reason else action, reason, values)

    def _strange(self, driver: Driver, frame: Frame) -> str:
        """Why a frame is so unlike the training data that the policy gives no action, or ''."""
        limit = self._novelty_limit
        if not limit or (novelty := driver.novelty(frame)) <= limit:
            return ''
        return f'novelty {novelty:.3g}: unlike all training data (limit {limit:.3g})'

    def _on_parameters(self, changed: list[Parameter]) -> None:
        """Keeps the limit at hand: to ask for a parameter takes longer than to act."""
        for parameter in changed:
            if parameter.name == 'novelty_limit':
                self._novelty_limit = parameter.value

    def _on_repeat(self) -> None:
        with self.gate:
            if self.active:
                self._actions.send_again()

    def _drive(self, driver: Driver) -> None:
        """Lets a policy drive from the next tick on, and says so to whoever asks, now or later."""
        self._driver = driver
        self._told.publish(String(data=str(driver)))

    async def _on_reload(
        self, request: Trigger.Request, response: Trigger.Response
    ) -> Trigger.Response:
        """Loads what `checkpoint` names."""
        path = live_value(self, 'checkpoint')
        await self._take(path, lambda: self._load(path), response)
        driver = getattr(self, '_driver', None)  # none after a clean-up
        if driver and not response.success and live_value(self, 'checkpoint') == path:
            # Or the next start would load, untried, what was refused.
            self.set_parameters([Parameter('checkpoint', value=driver.path)])
        self.get_logger().info(f'reload: {response.message}')
        return response

    async def _on_adapt(
        self, request: Trigger.Request, response: Trigger.Response
    ) -> Trigger.Response:
        """Adapts to what `episode` names, and loads what comes of it."""
        path, present = live_value(self, 'episode'), Path(self._driver.path)
        await self._take(path, lambda: self._adapt(path, present), response)
        if response.success:
            self.set_parameters([Parameter('checkpoint', value=self._driver.path)])
            response.message += self._driver.note
        self.get_logger().info(f'adapt: {response.message}')
        return response

    async def _take(
        self, path: str, work: Callable[[], Driver | ImitationError], response: Trigger.Response
    ) -> None:
        """Works on a thread of its own, so that no tick is missed, then swaps between two."""
        present = self._driver
        loaded = await _within(self.params.reload_timeout_s, work, Future(executor=self.executor))
        if loaded is None:
            loaded = CheckpointError(
                f'{path}: not loaded within {self.params.reload_timeout_s:g} s'
            )
        elif isinstance(loaded, Driver) and getattr(self, '_driver', None) is not present:
            loaded = CheckpointError(f'{path}: meanwhile ~/rollback or a clean-up was called')
        if isinstance(loaded, ImitationError):
            response.success, response.message = False, f'kept the present policy: {loaded}'
        else:
            if loaded.policy.checkpoint != present.policy.checkpoint:
                self._before = present
            self._drive(loaded)
            response.success, response.message = True, str(loaded)

    def _adapt(self, path: str, present: Path) -> Driver | ImitationError:
        """A policy that was adapted, or is `present` corrected, and was tried; or why not."""
        try:
            if not self.params.meta or not path:
                raise CheckpointError('parameters meta and episode: not set; valid: folders')
            episode = newest_episode(Path(path))
            parent = load_meta_policy(self.params.meta, self._contract)
            before, showing = corrected_by(episode, present, self._contract)
            adapted = Path(self.params.adapted)
            out, verdict = adapt_below(parent, [*before, episode], adapted, showing)
        except ImitationError as error:
            return error
        except Exception as error:  # whatever it is, the policy that drives stays
            return EpisodeError(f'{path}: {error!r}')
        loaded = self._load(str(out))
        if isinstance(loaded, Driver):
            notes = [f'also from {each.name}' for each in before]
            notes += [f'meant: {verdict.meant}'] if verdict.means else []
            notes += [f'warning: {warning}' for warning in verdict.warnings]
            loaded = replace(loaded, note=''.join(f'; {each}' for each in notes))
        return loaded

    def _load(self, path: str) -> Driver | ImitationError:
        """A policy that was tried on the newest frame, or why not."""
        try:
            driver = Driver.load(path, self._contract)
            if self._newest is not None:
                driver.try_out(self._newest)
        except ImitationError as error:
            return error
        except Exception as error:  # whatever it is, the policy that drives stays
            return CheckpointError(f'{path}: {error!r}')
        return driver

    def _on_rollback(
        self, request: Trigger.Request, response: Trigger.Response
    ) -> Trigger.Response:
        """Back to the last policy but this one, which is still in memory."""
        if self._before is None:
            response.success, response.message = False, 'there is no policy before this one'
            return response
        driver, self._before = self._before, None
        driver.policy.reset()
        self._drive(driver)
        self.set_parameters([Parameter('checkpoint', value=driver.path)])
        response.success, response.message = True, str(driver)
        self.get_logger().info(f'rollback: {response.message}')
        return response


def _within(timeout_s: float, work: Callable[[], Any], done: Future) -> Future:
    """Runs `work` on a thread; `done` gets its result, or None if it takes too long."""

    def finish(result: Any) -> None:
        with settling:
            if not done.done():
                done.set_result(result)

    def run() -> None:
        finish(work())
        timer.cancel()

    settling = threading.Lock()
    timer = threading.Timer(timeout_s, finish, [None])
    timer.daemon = True
    timer.start()
    threading.Thread(target=run, daemon=True).start()
    return done


def main(args: list[str] | None = None) -> int:
    """Entry point of `ros2 run imitation_ros policy`."""
    return run_node(PolicyNode, args)


if __name__ == '__main__':
    sys.exit(main())
