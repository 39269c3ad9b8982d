"""Node `trainer`: DAgger's rounds on a robot, from what the recorder writes, while it goes on.

It never moves the robot: a policy that is good enough is offered to the node `policy`, which tries
it and lets it drive between two ticks.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
import sys
from typing import Any, NamedTuple

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from imitation_ros.errors import text_of
from imitation_ros.frames.contract import load_contract
from imitation_ros.learning.bc import BCConfig
from imitation_ros.learning.dagger import DaggerConfig
from imitation_ros.learning.recorded_rounds import (
    Before,
    read_recording,
    RecordedRounds,
    train_in_background,
    Waiting,
)
from imitation_ros.learning.recorded_trials import by_checkpoint, RecordedTrial
from imitation_ros.learning.rounds import Round
from imitation_ros.nodes._background import Background
from imitation_ros.nodes._driving import Driving
from imitation_ros.nodes._gate_round import GateRound
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
from std_srvs.srv import Trigger

WATCH_PERIOD_S = 1.0


@dataclass(frozen=True)
class TrainerParams(NodeParams):
    """Parameters of `trainer`."""

    contract: str = param('', "The robot's contract: a path, or the name of an own one.")
    episodes: str = param('episodes', "Folder of the recorder's data set.")
    out: str = param('dagger', 'Folder of the run: its rounds and their checkpoints.')
    checkpoint: str = param(
        '', 'Folder of the policy that drives before round 0, which is compared with it.'
    )
    demonstrations: str = param(
        '', 'Data set that `checkpoint` was trained on; every round learns from it, too.'
    )
    labels_per_round: int = param(
        0, 'New labels of the expert that start a round; 0: ~/train alone does.', low=0
    )
    policy: str = param('policy', 'Node that new policies are offered to; empty: none.')
    supervisor: str = param(
        'supervisor', 'Node that is told the number of the round (gate_round); empty: none.'
    )
    trial_episodes: int = param(
        10, 'Recorded episodes after which success decides which policy drives; 0: never.', low=0
    )
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
        return DaggerConfig(
            GateConfig(self.gate, discrepancy=self.discrepancy),
            training,
            held_out_every=self.held_out_every,
            warm_start=self.warm_start,
            reject_above=self.reject_above,
        )


class Read(NamedTuple):
    """What counts of a recording before a round takes it: labels, and how the policy did."""

    labels: int = 0
    trial: RecordedTrial | None = None


class TrainerNode(ManagedNode):
    """Recorded episodes in, checkpoints and offers out."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__('trainer', **kwargs)
        self.params: TrainerParams = load_params(self, TrainerParams)
        if not self.params.contract:
            raise ParameterError('trainer: parameter contract is not set; valid: a path or name')

    def build(self) -> None:
        """Opens the run, and creates topics, services and the timer."""
        params = self.params
        self._contract, config = load_contract(params.contract), params.config
        self._recordings = Path(params.episodes).resolve()
        given = (params.checkpoint, params.demonstrations)
        before = Before(*(Path(each).resolve() if each else None for each in given))
        folder = Path(params.out).resolve()
        self._request = folder, self._recordings, self._contract, config, params.seed, before
        self._rounds = RecordedRounds(*self._request)
        if before.checkpoint and not before.demonstrations:
            self.get_logger().warning(
                f'demonstrations is not set: rounds learn from {self._recordings} alone'
            )
        self._read: dict[Waiting, Read] = {}
        self._tried: list[Waiting] = []  # what the last training was given
        self._training = Training()
        self._reason = ''
        self._owned: list[tuple[Any, Any]] = []
        self._create_topics()
        self._create_services()
        self._driving = Driving(self, self._rounds, self._offers, self._say)
        group = MutuallyExclusiveCallbackGroup()
        timer = self.create_timer(
            WATCH_PERIOD_S, self._watch, callback_group=group,
            clock=Clock(clock_type=ClockType.STEADY_TIME),
        )  # fmt: skip
        self._owned.append((self.destroy_timer, timer))

    def halt(self) -> None:
        """Gives up a training; the rounds that are whole stay, and what it was given waits."""
        self._training.give_up()
        self._tried = []

    def release(self) -> None:
        """Destroys topics, services and the timer."""
        for name in ('_driving', '_offers', '_gate_round'):
            if hasattr(self, name):
                getattr(self, name).close()
                delattr(self, name)
        while getattr(self, '_owned', []):
            destroy, entity = self._owned.pop()
            destroy(entity)

    def _create_topics(self) -> None:
        self._status = self.create_publisher(DiagnosticArray, 'trainer/status', LATCHED)
        self._diagnostics = self.create_publisher(DiagnosticArray, '/diagnostics', RELIABLE)
        self._owned += [
            (self.destroy_publisher, self._status),
            (self.destroy_publisher, self._diagnostics),
        ]

    def _create_services(self) -> None:
        group = ReentrantCallbackGroup()
        for name, handler in (('train', self._on_train), ('rollback', self._on_rollback)):
            service = self.create_service(Trigger, f'~/{name}', handler, callback_group=group)
            self._owned.append((self.destroy_service, service))
        self._offers = Offers(self, self.params.policy, group)
        self._gate_round = GateRound(self, self.params.supervisor, group)

    # Rounds.

    async def _watch(self) -> None:
        """Once a second; what goes wrong is told, and looked at again after the next."""
        if not self.active:
            return
        try:
            await self._look()
        except Exception as error:  # it would end the node
            self._reason = text_of(error)
            self.get_logger().error(self._reason, throttle_duration_sec=60.0)
            if self.active:
                self._publish(DiagnosticStatus.ERROR, {})

    async def _look(self) -> None:
        """What is new, whether a training has ended, who drives, and who should."""
        self._take_result()
        waiting = self._rounds.waiting
        await self._read_new(waiting)
        if not self.active:
            return  # perhaps cleaned up
        self._driving.follow()
        wanted, labels = self.params.labels_per_round, self._labels
        at_work = self._training.process is not None
        if self.active and wanted and labels >= wanted and not at_work and waiting != self._tried:
            self._train(waiting)
        if self.active:
            self._gate_round.keep(len(self._rounds.done))
            await self._driving.offer()
        enough, at_work = self.params.trial_episodes, self._training.process is not None
        if self.active and enough and not at_work:
            await self._driving.go_back(self._trials, enough)
        if self.active:
            self._tell()

    async def _read_new(self, waiting: list[Waiting]) -> None:
        self._read = {each: read for each, read in self._read.items() if each in waiting}
        for each in waiting:
            if each not in self._read:
                self._read[each] = await Background(self, self._reading(each.path))

    def _reading(self, path: Path) -> Callable[[], Read]:
        def read() -> Read:
            try:
                recording = read_recording(path, self._contract, self.params.gate, frames=False)
            except Exception as error:  # a round says how many there are, and goes on
                self.get_logger().warning(f'{path.name} gives no labels: {text_of(error)}')
                return Read()
            return Read(recording.labels, recording.trial)

        return read

    @property
    def _labels(self) -> int:
        return sum(read.labels for read in self._read.values())

    @property
    def _trials(self) -> list[RecordedTrial]:
        return [
            *self._rounds.trials, *(read.trial for read in self._read.values() if read.trial)
        ]  # fmt: skip

    def _train(self, waiting: list[Waiting]) -> None:
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

    # Services.

    def _on_train(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        try:
            response.success, response.message = self._begin_round()
        except Exception as error:  # it would end the node
            response.message = text_of(error)
        return response

    def _begin_round(self) -> tuple[bool, str]:
        if not self.active:
            return False, 'the trainer is not active'
        if self._training.process is not None:
            return False, 'a training is at work'
        waiting = self._rounds.waiting
        if not waiting:
            return False, f'{self._recordings}: no new recording'
        self._train(waiting)
        self._tell()
        return True, f'round {len(self._rounds.done)}: {len(waiting)} new recordings'

    async def _on_rollback(
        self, request: Trigger.Request, response: Trigger.Response
    ) -> Trigger.Response:
        """Lets the policy that drove before drive again, and remembers it."""
        if self._training.process is not None:
            response.message = 'a training is at work; try again after it'
            return response
        try:
            response.success, response.message = await self._driving.roll_back()
            if self.active:  # not cleaned up meanwhile
                self._tell()
        except Exception as error:
            response.message = text_of(error)
        return response

    # What it says.

    def _say(self, text: str) -> None:
        self._reason = text
        self.get_logger().info(text)

    def _tell(self) -> None:
        done = self._rounds.done
        driver = self._driving.driver
        last = done[-1] if done else None
        successes = by_checkpoint(self._trials).get(driver.digest, []) if driver else []
        values = {
            'state': 'training' if self._training.process is not None else 'waiting',
            'new recordings': len(self._read),
            'new labels': self._labels,
            'rounds': len(done),
            'labels': last.label_total if last else 0,
            'success': f'{last.success:.3g}' if last else '',
            'intervention rate': f'{last.intervention_rate:.3g}' if last else '',
            'driving round': '' if driver is None or driver.round is None else driver.round,
            'driving success': f'{sum(successes)} of {len(successes)}' if successes else '',
            'checkpoint': self._driving.text,
        }
        self._publish(DiagnosticStatus.OK, values)

    def _publish(self, level: bytes, values: dict[str, Any]) -> None:
        message = DiagnosticArray(
            status=[diagnostic(self.get_name(), level, self._reason, values)]
        )
        message.header.stamp = self.get_clock().now().to_msg()
        self._status.publish(message)
        self._diagnostics.publish(message)


def main(args: list[str] | None = None) -> int:
    """Entry point of `ros2 run imitation_ros trainer`."""
    return run_node(TrainerNode, args)


if __name__ == '__main__':
    sys.exit(main())
