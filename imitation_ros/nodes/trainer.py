"""Node `trainer`: DAgger's rounds on a robot, from what the recorder writes, while it goes on.

It never moves the robot: a policy that is good enough is offered to the node `policy`, which tries
it and lets it drive between two ticks.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
import sys
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from imitation_ros.errors import EpisodeError
from imitation_ros.frames.contract import load_contract
from imitation_ros.learning.bc import BCConfig
from imitation_ros.learning.dagger import DaggerConfig, NEEDS_ENSEMBLE
from imitation_ros.learning.recorded_rounds import (
    read_recording,
    RecordedRounds,
    train_in_background,
)
from imitation_ros.learning.rounds import Round
from imitation_ros.nodes._background import Background
from imitation_ros.nodes._managed import ManagedNode
from imitation_ros.nodes._messages import LATCHED, RELIABLE
from imitation_ros.nodes._offer import Offers
from imitation_ros.nodes._params import load_params, NodeParams, param, ParameterError
from imitation_ros.nodes._recording_health import diagnostic
from imitation_ros.nodes._runtime import run_node
from imitation_ros.nodes._training import Training
from imitation_ros.supervision.gates import GateConfig, GATES
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup, ReentrantCallbackGroup
from rclpy.clock import Clock, ClockType
from std_msgs.msg import String
from std_srvs.srv import Trigger

WATCH_PERIOD_S = 1.0


@dataclass(frozen=True)
class TrainerParams(NodeParams):
    """Parameters of `trainer`."""

    contract: str = param('', "The robot's contract: a path, or the name of an own one.")
    episodes: str = param('episodes', "Folder of the recorder's data set.")
    out: str = param('dagger', 'Folder of the run: its rounds and their checkpoints.')
    labels_per_round: int = param(
        0, 'New labels of the expert that start a round; 0: ~/train alone does.', low=0
    )
    policy: str = param('policy', 'Node that new policies are offered to; empty: none.')
    gate: str = param(
        'human', "The supervisor's gate, for what it asks of a policy.", one_of=tuple(GATES)
    )
    discrepancy: float = param(
        0.3, 'Distance of the two actions that the safety classifier predicts.', low=1e-6
    )
    members: int = param(1, 'Networks of an ensemble.', low=1)
    history: int = param(1, 'Frames that the policy sees.', low=1)
    chunk: int = param(1, 'Actions predicted at once.', low=1)
    execute: int = param(1, 'Actions of a chunk that are carried out.', low=1)
    epochs: int = param(150, 'Of each training.', low=1)
    warm_start: bool = param(False, 'Start from the weights of the policy that drives.')
    held_out_every: int = param(
        10, 'Of so many episodes of a round one is held out; 0: none.', low=0
    )
    reject_above: float = param(
        3.0, 'Held-out loss that rejects a policy, as a multiple.', low=1.0
    )
    seed: int = param(0, 'Of weights and batches.', low=0)

    @property
    def config(self) -> DaggerConfig:
        """How a round is trained; raises ImitationError where the settings do not fit."""
        training = BCConfig(
            history=self.history, chunk=self.chunk, execute=self.execute, members=self.members,
            epochs=self.epochs, validation_fraction=0.0,
        )  # fmt: skip
        if self.gate in NEEDS_ENSEMBLE and self.members < 2:
            raise ParameterError(
                f'trainer: gate {self.gate!r} asks an ensemble; members: 2 or more'
            )
        return DaggerConfig(
            GateConfig(self.gate, discrepancy=self.discrepancy),
            training,
            held_out_every=self.held_out_every,
            warm_start=self.warm_start,
            reject_above=self.reject_above,
        )


class TrainerNode(ManagedNode):
    """Recorded episodes in, checkpoints and offers out."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__('trainer', **kwargs)
        self.params: TrainerParams = load_params(self, TrainerParams)
        if not self.params.contract:
            raise ParameterError('trainer: parameter contract is not set; valid: a path or name')

    def build(self) -> None:
        """Opens the run, and creates topics, services and the timer."""
        self._contract, config = load_contract(self.params.contract), self.params.config
        self._recordings = Path(self.params.episodes).resolve()
        folder = Path(self.params.out).resolve()
        self._request = folder, self._recordings, self._contract, config, self.params.seed
        self._rounds = RecordedRounds(*self._request)
        self._labels: dict[str, int] = {}  # of recordings that no round has seen
        self._tried: list[Path] = []  # what the last training was given
        self._training = Training()
        self._offered: int | None = None
        self._checkpoint, self._reason = '', ''
        self._owned: list[tuple[Any, Any]] = []
        self._create_topics()
        self._create_services()
        group = MutuallyExclusiveCallbackGroup()
        timer = self.create_timer(
            WATCH_PERIOD_S, self._watch, callback_group=group,
            clock=Clock(clock_type=ClockType.STEADY_TIME),
        )  # fmt: skip
        self._owned.append((self.destroy_timer, timer))

    def halt(self) -> None:
        """Gives up a training; the rounds that are whole stay."""
        self._training.give_up()

    def release(self) -> None:
        """Destroys topics, services and the timer."""
        if hasattr(self, '_offers'):
            self._offers.close()
        while getattr(self, '_owned', []):
            destroy, entity = self._owned.pop()
            destroy(entity)

    def _create_topics(self) -> None:
        self._status = self.create_publisher(DiagnosticArray, 'trainer/status', LATCHED)
        self._diagnostics = self.create_publisher(DiagnosticArray, '/diagnostics', RELIABLE)
        told = self.create_subscription(String, 'policy/checkpoint', self._on_checkpoint, LATCHED)
        self._owned += [
            (self.destroy_publisher, self._status),
            (self.destroy_publisher, self._diagnostics),
            (self.destroy_subscription, told),
        ]

    def _create_services(self) -> None:
        group = ReentrantCallbackGroup()
        for name, handler in (('train', self._on_train), ('rollback', self._on_rollback)):
            service = self.create_service(Trigger, f'~/{name}', handler, callback_group=group)
            self._owned.append((self.destroy_service, service))
        self._offers = Offers(self, self.params.policy, group)

    def _on_checkpoint(self, message: String) -> None:
        self._checkpoint = message.data

    # Rounds.

    async def _watch(self) -> None:
        """Once a second: what is new, whether a training has ended, who should drive."""
        if not self.active:
            return
        self._take_result()
        waiting = self._rounds.waiting
        self._labels = {name: self._labels[name] for name in self._labels
                        if name in {path.name for path in waiting}}  # fmt: skip
        for path in waiting:
            if path.name not in self._labels:
                self._labels[path.name] = await Background(self, self._counting(path))
        wanted = self.params.labels_per_round
        enough = wanted and sum(self._labels.values()) >= wanted
        if self.active and enough and self._training.process is None and waiting != self._tried:
            self._train(waiting)
        if self.active:
            await self._offer_what_drives()
        if self.active:
            self._tell()

    def _counting(self, path: Path) -> Callable[[], int]:
        def count() -> int:
            try:
                return read_recording(path, self._contract).labels
            except (EpisodeError, OSError):
                return 0  # the round says why

        return count

    def _train(self, waiting: list[Path]) -> None:
        """Starts a round beside the node."""
        self._training.start(train_in_background, self._request)
        self._tried, self._reason = waiting, ''
        self.get_logger().info(f'round {len(self._rounds.done)}: training')

    def _take_result(self) -> None:
        result: Round | str | None = self._training.result()
        if result is None:
            return
        if isinstance(result, str):
            self._reason = result
            self.get_logger().error(result)
            return
        self._reason = result.reason
        self.get_logger().info(
            f'round {result.number}: {result.labels} new labels, {result.label_total} in all; '
            f'{result.successes} of {result.episodes} episodes succeeded, the expert drove '
            f'{result.intervention_rate:.0%}; '
            f'{"accepted" if result.accepted else "rejected"}: {result.reason}'
        )

    # Who drives.

    async def _offer_what_drives(self) -> None:
        driving = self._rounds.driving
        if driving is None or driving == self._offered or not self._offers.ready:
            return
        answer = await self._offer(driving)
        if answer is None:
            return  # it is offered again
        if not answer.success:
            self._reason = answer.message
            self._rounds.drive(self._rounds.before)
            self._offered = self._rounds.driving

    async def _offer(self, number: int) -> Any:
        """The policy node's answer; None if there is none."""
        answer = await self._offers.offer(self._rounds.checkpoint(number))
        if answer is not None and answer.success:
            self._offered = number
        if answer is not None:
            self.get_logger().info(f'offered round {number}: {answer.message}')
        return answer

    # Services.

    def _on_train(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        waiting = self._rounds.waiting
        if not self.active:
            response.message = 'the trainer is not active'
        elif self._training.process is not None:
            response.message = 'a training is at work'
        elif not waiting:
            response.message = f'{self._recordings}: no new recording'
        else:
            self._train(waiting)
            response.success = True
            response.message = f'round {len(self._rounds.done)}: {len(waiting)} new recordings'
            self._tell()
        return response

    async def _on_rollback(
        self, request: Trigger.Request, response: Trigger.Response
    ) -> Trigger.Response:
        """Lets the policy that drove before drive again, and remembers it."""
        before = self._rounds.before
        if before is None:
            response.message = 'there is no policy of an earlier round'
        elif self._training.process is not None or self._offers.at_work:
            response.message = 'a training or an offer is at work; try again after it'
        elif not self._offers.ready:
            response.message = f'no node {self.params.policy!r} to let drive'
        else:
            answer = await self._offer(before)
            response.success = bool(answer and answer.success)
            response.message = answer.message if answer else 'the policy node does not answer'
            if response.success:
                self._rounds.drive(before)
                self._reason = f'rolled back to round {before}'
                self._tell()
        return response

    # What it says.

    def _tell(self) -> None:
        done, driving = self._rounds.done, self._rounds.driving
        last = done[-1] if done else None
        values = {
            'state': 'training' if self._training.process is not None else 'waiting',
            'new recordings': len(self._labels),
            'new labels': sum(self._labels.values()),
            'rounds': len(done),
            'labels': last.label_total if last else 0,
            'success': f'{last.success:.3g}' if last else '',
            'intervention rate': f'{last.intervention_rate:.3g}' if last else '',
            'driving round': '' if driving is None else driving,
            'checkpoint': self._checkpoint,
        }
        message = DiagnosticArray(
            status=[diagnostic(self.get_name(), DiagnosticStatus.OK, self._reason, values)]
        )
        message.header.stamp = self.get_clock().now().to_msg()
        self._status.publish(message)
        self._diagnostics.publish(message)


def main(args: list[str] | None = None) -> int:
    """Entry point of `ros2 run imitation_ros trainer`."""
    return run_node(TrainerNode, args)


if __name__ == '__main__':
    sys.exit(main())
