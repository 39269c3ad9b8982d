"""Node `supervisor`: the only one that moves the robot.

Listens to `policy/…` and `teleop/…`, and publishes what the mux and its guard let through.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
import os
import sys
import time
from typing import Any

from imitation_ros.errors import MessageError
from imitation_ros.frames.actions import ActionCodec
from imitation_ros.frames.alignment import feedback_decoders
from imitation_ros.frames.codecs import stamp_ns
from imitation_ros.frames.contract import load_contract
from imitation_ros.frames.status import (
    action_topic,
    CLASS,
    Status,
    STATUS_TOPICS,
    STATUS_TYPE,
    TickAction,
)
from imitation_ros.nodes._emergency import EmergencyTopic
from imitation_ros.nodes._limits import make_guard
from imitation_ros.nodes._managed import ManagedNode
from imitation_ros.nodes._messages import message_class, new, qos_profile, RELIABLE, SENSOR
from imitation_ros.nodes._params import live_value, load_params, NodeParams, param, ParameterError
from imitation_ros.nodes._runtime import run_node
from imitation_ros.nodes._sole import second_publisher
from imitation_ros.nodes._streams import ActionListener
from imitation_ros.nodes._transport import share_no_memory
from imitation_ros.supervision.authority import Mode, STREAMS
from imitation_ros.supervision.gates import GateConfig, GATES, SCHEDULES
from imitation_ros.supervision.mux import Command, Mux
from imitation_ros.supervision.noise import ActionNoise
from imitation_ros.supervision.takeover import BUTTON, Takeover, TAKEOVERS, unfit
import numpy as np
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.clock import Clock, ClockType
from rclpy.duration import Duration
from rclpy.task import Future
from rclpy.utilities import get_rmw_implementation_identifier
from std_srvs.srv import Trigger

SERVICES = (
    *('stop', 'emergency_stop', 'resume', 'home', 'take', 'give_back', 'discard_correction'),
)
"""Its own, each a Trigger."""
HEARD_S = 0.3
"""At most, in all: what was said last waits so long for readers that are busy or lost it."""
GATE_SETTINGS = (
    'gate', 'beta', 'beta_schedule', 'beta_rounds', 'beta_per_tick', 'uncertainty', 'discrepancy',
    'risk', 'release', 'budget',
)  # fmt: skip
"""Parameters that have the names of the gate's settings."""


@dataclass(frozen=True)
class SupervisorParams(NodeParams):
    """Parameters of `supervisor`."""

    contract: str = param('', "The robot's contract: topics, rates and limits.")
    lockstep: bool = param(False, 'One command for each tick of a simulation that waits for it.')
    participants: tuple[str, ...] = param(
        (),
        'Streams that must answer each lockstep tick; empty: the holder, or with a gate whoever '
        'publishes at ~/resume.',
        one_of=STREAMS,
    )
    stale_after_s: float = param(
        0.0,
        'Age of the newest action that puts the robot on hold, s; 0: 0.1, or two ticks where that '
        'is longer.',
        low=0.0,
    )
    home_speed: float = param(
        0.2, 'Speed of ~/home, as a fraction of the velocity limits.', low=0.01, high=1.0
    )
    tracking_delay_s: float = param(
        0.1,
        'How far the robot may lag behind its commands, s; further than max_handover_error from '
        'all of them is a fault. 0: nobody looks.',
        low=0.0,
        high=5.0,
    )
    controller_timeout_s: float = param(
        0.0, "The robot controller's own limit for silence, s; 0: it has none.", low=0.0
    )
    excess_limit: int = param(
        20,
        'Ticks in a row that a source may want what is far out of bounds; 0: any number, as in '
        'lockstep.',
        low=0,
    )
    urdf: str = param('', "File of the robot's URDF: its joint limits hold beside the contract's.")
    tool_link: str = param(
        '', 'Link of the URDF that must stay in the workspace, for joint targets.'
    )
    tool_topic: str = param(
        '', "The tool's pose (PoseStamped) that must stay in it, for velocities of the tool."
    )
    workspace_low: tuple[float, ...] = param(
        (),
        'Lower corner of the workspace, m, in the root link of the URDF, or in the frame of the '
        'velocities; empty: no workspace.',
    )
    workspace_high: tuple[float, ...] = param((), 'Upper corner of the workspace, m.')
    dart_noise: float = param(
        0.0,
        "Noise on the expert's executed actions, as a fraction of the largest one; never on a "
        'real robot. Read at ~/resume.',
        low=0.0,
        high=1.0,
        live=True,
    )
    dart_seed: int = param(0, 'Seed of that noise. Read at ~/resume.', low=0, live=True)
    gate: str = param(
        '',
        'Who chooses between policy and expert; empty: the one live source drives. This and the '
        'rest are read at ~/resume.',
        one_of=('', *GATES),
        live=True,
    )
    gate_round: int = param(0, 'Round of DAgger, from 0.', low=0, live=True)
    gate_seed: int = param(0, "Seed of the gate's draws.", low=0, live=True)
    beta: float = param(
        1.0, 'Probability that the expert drives in round 0.', low=0.0, high=1.0, live=True
    )
    beta_schedule: str = param(
        'constant', 'How beta falls from round to round.', one_of=SCHEDULES, live=True
    )
    beta_rounds: int = param(10, 'Rounds of the linear schedule.', low=1, live=True)
    beta_per_tick: bool = param(False, 'Draw each tick instead of each episode.', live=True)
    uncertainty: float = param(
        0.3, 'Disagreement of the ensemble that asks for the expert, std.', low=1e-6, live=True
    )
    discrepancy: float = param(
        0.3, 'Distance of the two actions where the expert drives.', low=1e-6, live=True
    )
    risk: float = param(
        0.5, "The policy's own risk that asks for the expert.", low=0.0, high=1.0, live=True
    )
    release: float = param(
        0.5, 'Fraction of a threshold that gives control back.', low=0.0, high=1.0, live=True
    )
    budget: float = param(
        0.1, "Share of the ticks that 'thrifty' may ask for.", low=0.0, high=1.0, live=True
    )
    takeover: str = param(
        'button',
        'How a human takes over: ~/take and ~/give_back, an engaged device, or moving it.',
        one_of=TAKEOVERS,
    )
    takeover_motion: float = param(
        0.05, 'Motion of the device that takes over, of half its range.', low=0.0, high=1.0
    )
    takeover_idle_s: float = param(
        1.0, 'Without motion for that long the device gives back, s.', low=0.0
    )


class SupervisorNode(ManagedNode):
    """Actions and feedback in, executed commands and decisions out."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__('supervisor', **kwargs)
        self.params: SupervisorParams = load_params(self, SupervisorParams)
        if not self.params.contract:
            raise ParameterError('supervisor: parameter contract is not set; valid: a path')
        gate = self._gate_config()
        if gate is not None and (problem := unfit(self.params.takeover, gate)):
            raise ParameterError(f'supervisor: {problem}')

    def build(self) -> None:
        """Creates topics, services and timers. None of them moves the robot before `start`."""
        self._owned: list[tuple[Any, Any]] = []
        self._contract = load_contract(self.params.contract)
        self._fingerprint = self._contract.fingerprint  # a hash each time it is asked for
        params = self.params
        guard, self._fence = make_guard(
            self._contract, params.urdf, params.tool_link, params.tool_topic,
            params.workspace_low, params.workspace_high,
        )  # fmt: skip
        self._mux = Mux(
            self._contract,
            self.params.lockstep,
            self.params.stale_after_s,
            self.params.home_speed,
            self.params.participants,
            self.params.tracking_delay_s,
            guard,
            0 if self.params.lockstep else self.params.excess_limit,
        )
        self._mux.takeover = Takeover(
            self.params.takeover,
            self._contract,
            self.params.takeover_motion,
            self.params.takeover_idle_s,
        )
        self._tick: list[Command] = []  # what was sent since the last decision
        # A simulated clock that is paused brings no new tick; what happens is said all the same.
        self._most_in_a_decision = self._contract.commands_in_a_decision
        self._diagnosed: Mode | None = None
        self._notice = ''
        self._discarded: int | None = None  # first tick of what was taken back, not yet said
        self._classes: dict[str, str] = {}  # discrete part → what it was told last
        self._resting: list[Future] = []  # who waits for the robot to rest
        self._warn_about_silence()
        self._create_publishers()
        self._sources = [
            ActionListener(
                self, self._contract, stream, partial(self._on_source, stream), watch.refuse
            )
            for stream, watch in self._mux.watches.items()
        ]
        self._subscribe_feedback()
        if self._fence is not None:
            pose, topic = message_class('geometry_msgs/msg/PoseStamped'), params.tool_topic
            tool = self.create_subscription(pose, topic, self._on_tool, SENSOR)
            self._own(self.destroy_subscription, tool)
        self._own(EmergencyTopic.close, EmergencyTopic(self, self._on_emergency))
        # In the default group, a stop that waits for the robot to rest would stop the timer.
        groups = {'stop': ReentrantCallbackGroup()}
        for name in SERVICES:
            handler, group = getattr(self, f'_on_{name}'), groups.get(name)
            service = self.create_service(Trigger, f'~/{name}', handler, callback_group=group)
            self._own(self.destroy_service, service)
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        if not self.params.lockstep:
            timer = self.create_timer(
                1 / self._contract.command_hz, self._on_command_timer, clock=steady
            )
            self._own(self.destroy_timer, timer)
            timer = self.create_timer(1 / self._contract.rate_hz, self._watch_graph, clock=steady)
            self._own(self.destroy_timer, timer)
        timer = self.create_timer(1.0, self._on_diagnostics_timer, clock=steady)
        self._own(self.destroy_timer, timer)

    def start(self) -> None:
        """Says nothing until somebody has authority; what was commanded before is forgotten."""
        self._mux.begin()

    def halt(self) -> None:
        """Brings the robot to rest: braking within the limits, then the last command is a hold.

        Returns when its reliable readers have acknowledged that, or after `HEARD_S`.
        """
        for command in self._mux.last_commands(self._ros_ns()):
            self._send(command)
            if not self.params.lockstep:
                time.sleep(1 / self._contract.command_hz)
        self._decide()
        if not self.params.lockstep:
            self._diagnose(self._mux.authority.mode)
        self._tell_resting()
        self._wait_until_heard()

    def release(self) -> None:
        """Destroys topics, services and timers."""
        for source in self.__dict__.pop('_sources', ()):
            source.close()
        while getattr(self, '_owned', []):
            destroy, entity = self._owned.pop()
            destroy(entity)

    # Sources: a message is nothing without the status that says which tick it is for.

    def _on_source(self, stream: str, tick: TickAction) -> None:
        self._mux.offer(stream, tick, time.monotonic_ns(), self._ros_ns())
        if self.params.lockstep:
            self._answer(stream)

    def _on_feedback(self, topic: str, message: Any, info: Mapping[str, int]) -> None:
        for part, (part_topic, decode) in self._feedback.items():
            if part_topic == topic:
                try:
                    vector = decode(message)
                except MessageError as error:
                    self._warn(f'{topic}: {error}')
                    continue
                now_ns, ros_ns = time.monotonic_ns(), self._ros_ns()
                self._mux.measure(part, vector, stamp_ns(message), now_ns, ros_ns)
        if self.params.lockstep and self._mux.waiting_for is not None:
            self._answer(self._mux.waiting_for)

    def _on_tool(self, message: Any) -> None:
        fence, frame_id = self._fence, message.header.frame_id
        if fence is None or frame_id != fence.frame_id:
            self._warn(f'{self.params.tool_topic}: frame {frame_id!r}; valid: the one of the part')
            return
        at = message.pose.position
        late_ns = 0 if self.params.lockstep else self._ros_ns() - (stamp_ns(message) or 0)
        fence.take(np.array([at.x, at.y, at.z]), time.monotonic_ns(), late_ns)

    def _on_emergency(self, pressed: bool) -> None:
        if pressed == self._mux.pressed:
            return
        self._mux.emergency(pressed)
        text = 'pressed' if pressed else 'released; ~/resume gives authority again'
        self.get_logger().warning(f'emergency stop {text}')

    # Commands.

    def _answer(self, stream: str) -> None:
        with self.gate:
            command = self._mux.answer(stream, time.monotonic_ns()) if self.active else None
            if command is not None:
                self._send(command)
                self._decide()

    def _on_command_timer(self) -> None:
        with self.gate:
            if not self.active:
                return
            command = self._mux.command(time.monotonic_ns(), self._ros_ns())
            last = self._tick[-1] if self._tick else command
            changed = (command.tick_ns, command.mode) != (last.tick_ns, last.mode)
            if changed or len(self._tick) >= self._most_in_a_decision:
                self._decide()
            self._send(command)
            self._diagnose(command.mode)
        if self._mux.resting:
            self._tell_resting()

    def _send(self, command: Command) -> None:
        for part, vector in command.action.items():
            message = self._codecs[part].encode(vector, self._ros_stamp(command), new)
            self._commands[part].publish(message)
            if classes := self._contract.actions[part].classes:
                self._classes[f'{CLASS}{part}'] = classes[int(vector[0])]
        self._tick.append(command)

    def _decide(self) -> None:
        """Says what the commands since the last decision were: one decision a tick."""
        if not self._tick:
            return
        last, sent = self._tick[-1], sum(len(command.action) for command in self._tick)
        self._tick.clear()
        values = {
            'fingerprint': self._fingerprint,
            'mode': last.mode.value,
            'source': last.source,
            **self._classes,
        }
        if last.gating is not None:
            values |= {'gate': last.gating.config.gate, 'labels': last.gating.labels}
        if self._discarded is not None:
            values['discarded'], self._discarded = str(self._discarded), None
        status = Status(last.tick_ns, self.get_name(), sent, last.reason, values)
        self._decision.publish(status.encode(new))

    def _diagnose(self, mode: Mode) -> None:
        """Says at once why the mode is a new one: who looks for it shall not wait a second."""
        if mode is not self._diagnosed:
            self._diagnosed = mode
            self._on_diagnostics_timer()

    # Services.

    def _on_resume(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        if not self.active:
            return _respond(response, False, 'the supervisor is not active')
        self._mux.noise = ActionNoise(
            self._contract, live_value(self, 'dart_noise'), live_value(self, 'dart_seed')
        )
        topics = {stream: self.resolve_topic_name(STATUS_TOPICS[stream]) for stream in STREAMS}
        matched = [stream for stream, topic in topics.items() if self.count_publishers(topic)]
        intruder = second_publisher(self, self._sole)
        if intruder:
            return _respond(response, False, intruder)
        given, text = self._mux.resume(time.monotonic_ns(), matched, self._gate_config())
        self._tell_resting()  # who waits for rest would otherwise wait for the next stop
        self.get_logger().info(f'resume: {text}')
        return _respond(response, given, text)

    def _gate_config(self) -> GateConfig | None:
        """The gate that the parameters ask for now."""
        if not live_value(self, 'gate'):
            return None
        settings = {name: live_value(self, name) for name in GATE_SETTINGS}
        round_, seed = live_value(self, 'gate_round'), live_value(self, 'gate_seed')
        return GateConfig(round=round_, seed=seed, **settings)

    async def _on_stop(
        self, request: Trigger.Request, response: Trigger.Response
    ) -> Trigger.Response:
        """Stops at once and answers when the robot is at rest."""
        text = self._mux.stop('stopped by ~/stop')
        self.get_logger().info(text)
        if self.active and not self.params.lockstep and not self._mux.resting:
            self._resting.append(Future(executor=self.executor))
            await self._resting[-1]
        return _respond(response, True, text)

    def _on_emergency_stop(
        self, request: Trigger.Request, response: Trigger.Response
    ) -> Trigger.Response:
        """A stop that latches as a fault: unlike after ~/stop, nothing but ~/resume moves on."""
        self._mux.fail('emergency stop by ~/emergency_stop')
        self.get_logger().warning(self._mux.authority.fault)
        return _respond(response, True, f'{self._mux.authority.fault}; ~/resume ends a fault')

    def _on_home(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        if not self.active:
            return _respond(response, False, 'the supervisor is not active')
        if intruder := second_publisher(self, self._sole):
            return _respond(response, False, intruder)
        started, text = self._mux.home(time.monotonic_ns())
        self._tell_resting()
        self.get_logger().info(f'home: {text}')
        return _respond(response, started, text)

    def _on_take(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        return self._press(True, 'the human has taken over', response)

    def _on_discard_correction(
        self, request: Trigger.Request, response: Trigger.Response
    ) -> Trigger.Response:
        """The next decision says so: what the expert did since then gives no labels."""
        first = self._mux.corrections.discard()
        if first is None:
            return _respond(response, False, 'there is no correction to discard')
        if self._discarded is None:  # else the next decision says more than that already
            self._discarded = first
        return _respond(response, True, f'discarded from tick {first} on')

    def _on_give_back(
        self, request: Trigger.Request, response: Trigger.Response
    ) -> Trigger.Response:
        by_device = self.params.takeover != BUTTON  # which may still be in their hands
        text = 'the human gives back as soon as the device is let go of'
        return self._press(False, text if by_device else 'the human has given back', response)

    def _press(self, on: bool, text: str, response: Trigger.Response) -> Trigger.Response:
        if on and self.params.takeover != BUTTON:
            refusal = f"parameter takeover is '{self.params.takeover}'; valid here: '{BUTTON}'"
            return _respond(response, False, refusal)
        authority = self._mux.authority
        waits = authority.holder is None and live_value(self, 'gate')
        if not authority.gated and not waits:
            return _respond(response, False, 'no gate has authority; set gate and call ~/resume')
        self._mux.takeover.press(on)
        return _respond(response, True, f'{text}, from ~/resume on' if waits else text)

    def _tell_resting(self) -> None:
        while self._resting:
            self._resting.pop().set_result(None)

    # Plumbing.

    def _create_publishers(self) -> None:
        parts = self._contract.actions
        streams = ('executed', *STREAMS)
        names = [action_topic(each, part.topic) for each in streams for part in parts.values()]
        names += [STATUS_TOPICS[each] for each in streams]
        self._sole = [self.resolve_topic_name(name) for name in names]
        self._codecs = {name: ActionCodec(part) for name, part in parts.items()}
        self._commands = {
            name: self.create_publisher(
                message_class(part.type), part.topic, qos_profile(part.qos)
            )
            for name, part in parts.items()
        }
        decision = message_class(STATUS_TYPE)
        self._decision = self.create_publisher(decision, STATUS_TOPICS['executed'], RELIABLE)
        self._diagnostics = self.create_publisher(decision, '/diagnostics', RELIABLE)
        self._outputs = (*self._commands.values(), self._decision, self._diagnostics)
        for publisher in self._outputs:
            self._own(self.destroy_publisher, publisher)

    def _wait_until_heard(self) -> None:
        """What a reader has lost is sent again only while there is a publisher."""
        deadline = time.monotonic() + HEARD_S
        for publisher in self._outputs:
            left_s = max(0.0, deadline - time.monotonic())
            publisher.wait_for_all_acked(Duration(seconds=left_s))

    def _watch_graph(self) -> None:
        """Nobody else may publish where this node does, and no stream may have two sources."""
        intruder = second_publisher(self, self._sole)
        if not intruder:
            return
        if intruder != self._mux.authority.fault:
            self.get_logger().error(intruder)
        self._mux.fail(intruder)  # again, too: nothing moves while it is there

    def _subscribe_feedback(self) -> None:
        self._feedback = feedback_decoders(self._contract)
        sources = {source.topic: source for source in self._contract.sources}
        for topic in {topic for topic, _ in self._feedback.values()}:
            callback = partial(self._on_feedback, topic)
            type, qos = message_class(sources[topic].type), qos_profile(sources[topic].qos)
            subscription = self.create_subscription(type, topic, callback, qos)
            self._own(self.destroy_subscription, subscription)

    def _own(self, destroy: Any, entity: Any) -> None:
        self._owned.append((destroy, entity))

    def _on_diagnostics_timer(self) -> None:
        if self.params.lockstep:
            self._watch_graph()
        if self._mux.corrections.notice != self._notice:
            self._notice = self._mux.corrections.notice
            if self._notice:
                self.get_logger().info(self._notice)
        message = new(STATUS_TYPE)
        message.header.stamp = self.get_clock().now().to_msg()
        authority = self._mux.authority
        problems = self._mux.problems(time.monotonic_ns())
        values = {
            'mode': authority.mode.value,
            'holder': authority.holder or '',
            'gate': self._mux.gating.config.gate if self._mux.gating else '',
            'correction': self._mux.corrections.notice,
            'excess': str(self._mux.excess.total),
            'slowed': str(self._mux.excess.slowed),
            'novelty': self._mux.watches['policy'].values.get('novelty', ''),
        }
        for stream, watch in self._mux.watches.items():
            values[stream] = problems[stream] or f'live ({watch.source})'
            values[f'{stream} refused'] = str(watch.refused)
        message.status = [self._diagnostic(authority.reason, values)]
        self._diagnostics.publish(message)

    def _diagnostic(self, text: str, values: dict[str, str]) -> Any:
        status = new('diagnostic_msgs/msg/DiagnosticStatus')
        authority = self._mux.authority
        status.level = b'\x02' if authority.fault else b'\x00' if authority.driving else b'\x01'
        status.name, status.message = self.get_fully_qualified_name(), text
        for key, value in values.items():
            pair = new('diagnostic_msgs/msg/KeyValue')
            pair.key, pair.value = key, value
            status.values.append(pair)
        return status

    def _warn_about_silence(self) -> None:
        if not self.params.lockstep and not self.params.controller_timeout_s:
            self.get_logger().warning(
                'controller_timeout_s is 0: if this process dies while the robot moves, nobody '
                "stops it. Set the controller's own command timeout, and this parameter."
            )

    def _warn(self, text: str) -> None:
        self.get_logger().warning(text, throttle_duration_sec=5.0)

    def _ros_ns(self) -> int:
        now_ns: int = self.get_clock().now().nanoseconds
        return now_ns

    def _ros_stamp(self, command: Command) -> int:
        return command.tick_ns if self.params.lockstep else self._ros_ns()


def _respond(response: Trigger.Response, success: bool, text: str) -> Trigger.Response:
    response.success, response.message = success, text
    return response


def main(args: list[str] | None = None) -> int:
    """Entry point of `ros2 run imitation_ros supervisor`."""
    share_no_memory(os.environ, get_rmw_implementation_identifier())
    return run_node(SupervisorNode, args)


if __name__ == '__main__':
    sys.exit(main())
