"""Node `recorder`: writes demonstrations as they come over the topics, one folder an episode.

Everything is recorded raw: what the sensors saw, what the sources proposed, what was executed and
who was in control. A thread of its own takes the messages (`_take.py`) and writes them, so that
no service and no diagnosis costs one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
import sys
import threading
import time
import traceback
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from imitation_ros.episodes.info import EpisodeInfo
from imitation_ros.episodes.repair import find_unfinished, repair
from imitation_ros.episodes.writer import check_free_space, EpisodeWriter, next_episode_folder
from imitation_ros.errors import EpisodeError, GraphError, ImitationError
from imitation_ros.frames.contract import load_contract
from imitation_ros.frames.status import ACK_TOPIC, Status, STATUS_TYPE
from imitation_ros.nodes._background import Background
from imitation_ros.nodes._managed import ManagedNode
from imitation_ros.nodes._messages import message_class, new, RELIABLE, SENSOR
from imitation_ros.nodes._params import live_value, load_params, NodeParams, param, ParameterError
from imitation_ros.nodes._recorded_topics import RecordedTopics, SOURCES
from imitation_ros.nodes._recording import in_words, Recording
from imitation_ros.nodes._recording_health import diagnostic, ERROR, OK, topic_diagnostics, WARN
from imitation_ros.nodes._runtime import run_node
from imitation_ros.nodes._take import Taken, Taker
from imitation_ros.nodes._tick_ack import TickAck
from imitation_ros.nodes._traffic import Traffic
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.clock import Clock, ClockType
from rclpy.serialization import deserialize_message
from sensor_msgs.msg import Joy
from std_srvs.srv import Trigger

ADAPT_PERIOD_S = 0.2
GATE_PERIOD_S = 0.02


@dataclass(frozen=True)
class RecorderParams(NodeParams):
    """Parameters of `recorder`."""

    contract: str = param('', 'Which topics are recorded: a path, or the name of an own contract.')
    out: str = param('episodes', 'Folder of the data set; each episode becomes a folder in it.')
    lockstep: bool = param(False, 'Acknowledge each tick of a lockstep simulation.')
    participants: tuple[str, ...] = param(
        (),
        'Streams that a lockstep tick is whole with; empty: those that somebody publishes.',
        one_of=SOURCES,
    )
    task: str = param('', 'What is demonstrated; for the next episode.', live=True)
    operator: str = param('', 'Who demonstrates; for the next episode.', live=True)
    seed: int = param(-1, 'Of the scene, -1 for none; for the next episode.', low=-1, live=True)
    min_free_gib: float = param(
        1.0, 'Less free on the disk (GiB) starts no episode and ends one as disk_full.',
        low=0.0, high=1e6,
    )  # fmt: skip
    start_timeout_s: float = param(
        5.0, 'How long a start waits for what is missing.', low=0.0, high=600.0
    )
    joy_topic: str = param(
        '', 'A sensor_msgs/Joy whose buttons start and end episodes; empty: off'
    )
    joy_start: int = param(0, 'Button that starts an episode; -1: none.', low=-1, high=99)
    joy_success: int = param(1, 'Button that ends one as a success.', low=-1, high=99)
    joy_failure: int = param(2, 'Button that ends one as a failure.', low=-1, high=99)
    joy_discard: int = param(3, 'Button that discards one.', low=-1, high=99)


class RecorderNode(ManagedNode):
    """Topics in, episode folders out.

    What `_on_message` uses is changed on its thread alone, through `Taker.call`. What takes time
    (waiting for topics, committing an episode) runs one at a time on threads that hold `_busy`.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__('recorder', **kwargs)
        self.params: RecorderParams = load_params(self, RecorderParams)
        if not self.params.contract:
            raise ParameterError('recorder: parameter contract is not set; valid: a path or name')
        self._commands: dict[str, Callable[[], str]] = {
            'start': self._start_episode,
            'success': partial(self._end_episode, 'success'),
            'failure': partial(self._end_episode, 'failure'),
            'discard': partial(self._end_episode, 'discarded'),
        }
        self._busy, self._stopping = threading.Lock(), threading.Event()
        self._recording: Recording | None = None
        self._failure = ''  # of the last episode, if one ended by itself

    def build(self) -> None:
        """Repairs what an earlier run left cut off, and subscribes."""
        self._contract = load_contract(self.params.contract)
        self._repair_unfinished()
        self._acks = self.create_publisher(message_class(STATUS_TYPE), ACK_TOPIC, RELIABLE)
        self._diagnostics = self.create_publisher(DiagnosticArray, '/diagnostics', RELIABLE)
        self._taker = Taker(self, self._on_message)
        simulated_time = self.params.lockstep or self.get_parameter('use_sim_time').value
        self._topics = RecordedTopics(self, self._contract, simulated_time, self._taker)
        self._traffic: dict[str, Traffic] = {}
        self._count_anew()
        self._ack: TickAck | None = None
        if self.params.lockstep:
            named = frozenset(self.params.participants)
            takes_part = named.__contains__ if named else self._topics.takes_part
            self._ack = TickAck(self._contract, takes_part, _decode_status)
        self._topics.adapt(recording=False)
        self._listen()

    def _repair_unfinished(self) -> None:
        for folder in find_unfinished(self.params.out):
            try:
                repaired = repair(folder)
                log = self.get_logger().error if repaired.kept else self.get_logger().warning
                log(str(repaired))
            except EpisodeError as error:
                self.get_logger().error(str(error))

    def _listen(self) -> None:
        """Creates what the executor serves, and notes how each is destroyed."""
        # A coroutine holds its group until it is done: in the node's own, all else would wait.
        group = ReentrantCallbackGroup()
        self._interfaces: list[tuple[Callable[[Any], Any], Any]] = []
        for name in self._commands:
            service = self.create_service(
                Trigger, f'~/{name}', self._serve(name), callback_group=group
            )
            self._interfaces.append((self.destroy_service, service))
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        for period_s, on_timer in ((ADAPT_PERIOD_S, self._adapt), (1.0, self._diagnose)):
            timer = self.create_timer(period_s, on_timer, clock=steady)
            self._interfaces.append((self.destroy_timer, timer))
        if self.params.joy_topic:
            self._pressed = frozenset(self._commands)  # a button held since before says nothing
            joy = self.create_subscription(Joy, self.params.joy_topic, self._on_joy, SENSOR)
            self._interfaces.append((self.destroy_subscription, joy))

    def start(self) -> None:
        """Takes commands from now on; nothing is recorded before `~/start`."""
        self._stopping.clear()

    def halt(self) -> None:
        """Ends the episode as 'unknown'; one that is being committed is waited for."""
        self._stopping.set()
        with self._busy:
            if self._recording is not None:
                self.get_logger().info(f'stopped while recording: {self._end_episode("unknown")}')

    def release(self) -> None:
        """Destroys services, timers and subscriptions."""
        for destroy, interface in self.__dict__.pop('_interfaces', []):
            destroy(interface)
        if hasattr(self, '_taker'):
            self._taker.close()
            del self._taker
        for name in ('_acks', '_diagnostics'):
            if hasattr(self, name):
                self.destroy_publisher(self.__dict__.pop(name))

    # Commands, from services and buttons.

    def _serve(self, name: str) -> Any:
        async def serve(request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
            done = Background(self, partial(self._command, name))
            response.success, response.message = await done
            return response

        return serve

    def _on_joy(self, message: Joy) -> None:
        buttons = {name: getattr(self.params, f'joy_{name}') for name in self._commands}
        pressed = frozenset(
            name
            for name, button in buttons.items()
            if 0 <= button < len(message.buttons) and message.buttons[button]
        )
        for name in pressed - self._pressed:
            Background(self, partial(self._command, name))
        self._pressed = pressed

    def _command(self, name: str) -> tuple[bool, str]:
        """Does what was asked for; returns whether it was done, and what came of it."""
        if not self._busy.acquire(blocking=False):
            busy = f'{name}: busy with the command before'
            self.get_logger().warning(busy)  # who pressed a button hears nothing else
            return False, busy
        try:
            if not self.active:
                raise GraphError('the recorder is not active')
            message = self._commands[name]()
        except (ImitationError, OSError) as error:
            self.get_logger().error(f'{name}: {error}')
            return False, str(error)
        except Exception as error:  # a defect of ours: who asked must not wait for ever
            self.get_logger().error(f'{name}: {traceback.format_exc()}')
            return False, repr(error)
        finally:
            self._busy.release()
        self.get_logger().info(f'{name}: {message}')
        return True, message

    def _start_episode(self) -> str:
        if self._recording is not None:
            raise EpisodeError(f'already recording {self._recording.folder}')
        min_free_bytes = round(self.params.min_free_gib * (1 << 30))
        check_free_space(self.params.out, min_free_bytes)
        self._repair_unfinished()
        self._topics.adapt(recording=False)
        self._taker.call(self._taker.count_time_anew)
        self._wait_until_nothing_is_missing()
        seed = live_value(self, 'seed')
        info = EpisodeInfo(
            task=live_value(self, 'task'),
            operator=live_value(self, 'operator'),
            seed=None if seed < 0 else seed,
            lockstep=self.params.lockstep,
        )
        writer = EpisodeWriter(
            next_episode_folder(self.params.out),
            self._contract,
            info,
            min_free_bytes=min_free_bytes,
        )
        recording = Recording(writer, list(self._topics), self._topics.offer)
        self._taker.call(partial(self._begin, recording))
        self._topics.renew_latched()
        absent = self._topics.absent()
        return f'{writer.folder}' + (f'\nwithout {", ".join(absent)}' if absent else '')

    def _wait_until_nothing_is_missing(self) -> None:
        deadline = time.monotonic() + self.params.start_timeout_s
        lockstep = self.params.lockstep
        while missing := self._topics.missing(self._traffic, lockstep, time.time_ns()):
            if time.monotonic() > deadline:
                raise GraphError('not started: ' + '; '.join(missing))
            if self._stopping.wait(GATE_PERIOD_S):
                raise GraphError('not started: the recorder is being stopped')

    def _end_episode(self, outcome: str) -> str:
        recording, counts, words = self._taker.call(self._end)
        if recording is None:
            raise EpisodeError(self._failure or 'not recording; call start first')
        try:
            folder = recording.stop(outcome, counts)
        except EpisodeError as error:
            self._failure = f'{error}; {recording.salvage(counts)}'
            raise EpisodeError(self._failure) from None
        return f'{folder}\n{words}'

    # Messages. All of this runs on the taker's thread.

    def _on_message(self, taken: Taken) -> None:
        traffic = self._traffic[taken.topic]
        is_new = traffic.add(taken.received_ns, taken.sequence, taken.publisher)
        if self._recording is not None and is_new:
            try:
                self._recording.write(taken)
            except Exception as error:
                self._miss(self._recording, taken.topic, error)
        if self._ack is not None:
            self._acknowledge(self._ack, taken)

    def _miss(self, recording: Recording, topic: str, error: Exception) -> None:
        """Ends the episode; one of `record_too` that cannot be written is lost alone."""
        if recording.broken or topic not in self._contract.record_too:
            self._fail(error)
        else:
            self.get_logger().warning(f'not recorded: {error}', throttle_duration_sec=5.0)

    def _acknowledge(self, ack: TickAck, taken: Taken) -> None:
        try:
            tick_ns = ack.add(taken.topic, taken.data, taken.source_ns)
        except Exception as error:  # whoever published it, it is recorded; others go on
            warning = f'{taken.topic}: cannot be read: {error!r}'
            self.get_logger().warning(warning, throttle_duration_sec=5.0)
            return
        if tick_ns is not None and self.active:
            self._acks.publish(Status(tick_ns, self.get_name()).encode(new))

    def _begin(self, recording: Recording) -> None:
        self._failure = ''
        self._taker.count_time_anew()
        self._count_anew()
        self._recording = recording

    def _end(self) -> tuple[Recording | None, dict[str, Any], str]:
        recording, self._recording = self._recording, None
        counts = {
            name: traffic.summary(recording.written(name))
            for name, traffic in self._traffic.items()
            if recording is not None
        }
        return recording, counts, in_words(self._traffic)

    def _fail(self, error: Exception) -> None:
        recording, counts, _ = self._end()
        if recording is not None:
            self._failure = f'{recording.folder.name} ended early: {error}'
            self.get_logger().error(self._failure)
            Background(self, partial(self._salvage, recording, counts))

    def _count_anew(self) -> None:
        now_ns = time.time_ns()
        before = {name: traffic.numbers.last for name, traffic in self._traffic.items()}
        self._traffic = {name: Traffic(now_ns, before.get(name)) for name in self._topics}

    # What goes on beside.

    def _salvage(self, recording: Recording, counts: dict[str, Any]) -> None:
        with self._busy:
            if self._failure:  # else another episode has begun, and its start repaired this one
                self._failure += f'; {recording.salvage(counts)}'
                self.get_logger().error(self._failure)

    def _adapt(self) -> None:
        self._taker.call_soon(self._check)
        self._topics.adapt(recording=self._recording is not None)

    def _diagnose(self) -> None:
        """Says once a second how the topics of the episode do, or what ended it."""
        if self._recording is not None:
            self._report(self._recording)
        elif self._failure:
            self._publish_diagnostics([diagnostic('recorder', ERROR, self._failure)])

    def _check(self) -> None:
        """A full disk shows while no message comes, too."""
        if self._recording is not None:
            try:
                self._recording.check()
            except EpisodeError as error:
                self._fail(error)

    def _report(self, recording: Recording) -> None:
        statuses, troubles = topic_diagnostics(
            self._topics,
            self._traffic,
            self._taker.publishers,
            self.params.lockstep,
            time.time_ns(),
        )
        if troubles:
            self.get_logger().warning('; '.join(troubles), throttle_duration_sec=5.0)
        level, text = WARN if troubles else OK, f'recording {recording.folder}'
        counts = {'counts': in_words(self._traffic)}
        self._publish_diagnostics([diagnostic('recorder', level, text, counts), *statuses])

    def _publish_diagnostics(self, statuses: list[DiagnosticStatus]) -> None:
        message = DiagnosticArray(status=statuses)
        message.header.stamp = self.get_clock().now().to_msg()
        self._diagnostics.publish(message)


def _decode_status(data: bytes) -> Status:
    return Status.decode(deserialize_message(data, message_class(STATUS_TYPE)))


def main(args: list[str] | None = None) -> int:
    """Entry point of `ros2 run imitation_ros recorder`."""
    return run_node(RecorderNode, args)


if __name__ == '__main__':
    sys.exit(main())
