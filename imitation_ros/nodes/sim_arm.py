"""Node `sim_arm`: the simulated arm behind the topics that a real one would have.

In real time it steps the physics on a timer and executes each command when it comes. In lockstep
it sends the observations of a tick, waits until the supervisor's action for them (and the
recorder's acknowledgement, if one takes part) is there, and then steps one tick.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
import sys
import time
from typing import Any

from imitation_ros.errors import MessageError
from imitation_ros.frames.actions import ActionCodec
from imitation_ros.frames.codecs import codec_for, set_stamp
from imitation_ros.frames.contract import load_contract
from imitation_ros.frames.status import (
    ACK_TOPIC,
    EPISODE_TOPIC,
    Pairing,
    Status,
    STATUS_TOPICS,
    STATUS_TYPE,
    TickAction,
)
from imitation_ros.nodes._managed import ManagedNode
from imitation_ros.nodes._messages import message_class, new, qos_profile, RELIABLE
from imitation_ros.nodes._params import live_value, load_params, NodeParams, param
from imitation_ros.nodes._runtime import run_node
from imitation_ros.nodes._task import check_task
from imitation_ros.sim.lockstep import Lockstep
from imitation_ros.sim.model import PANDA
from imitation_ros.sim.simulator import CAMERA_TOPIC, Channel, PHYSICS_HZ, Simulator
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.clock import Clock, ClockType
from rclpy.parameter import Parameter
from rclpy.task import Future
from rosgraph_msgs.msg import Clock as ClockMessage
from sensor_msgs.msg import CameraInfo, Image
from std_srvs.srv import SetBool, Trigger

CAMERA_INFO_TOPIC = 'camera/camera_info'
START_NS = 1_000_000_000
"""Simulated time starts at 1 s: a stamp of 0 means 'never set'."""


@dataclass(frozen=True)
class SimArmParams(NodeParams):
    """Parameters of `sim_arm`."""

    task: str = param('pick_place', 'What is asked of the arm; FAMILY/SEED: docs/meta.md.')
    contract: str = param('panda_twist', 'Names the action topics and their form.')
    lockstep: bool = param(False, 'Wait for the answers to each tick instead of real time.')
    participants: tuple[str, ...] = param(
        ('supervisor',), 'Who must answer each lockstep tick.', one_of=('supervisor', 'recorder')
    )
    seed: int = param(0, 'Scene of the next ~/reset, which moves it on by one.', low=0, live=True)
    camera_hz: float = param(0.0, 'Rate of camera/image_raw; 0 is off.', low=0.0, high=60.0)
    gui: bool = param(False, "Show the simulator's window (needs a display).")
    urdf: str = param(PANDA.urdf, 'The arm: a file, or a path in pybullet_data.')
    base_link: str = param(PANDA.base, 'Link that poses are relative to.')
    tool_link: str = param(PANDA.tool, 'Link whose pose is tool/pose.')
    joints: tuple[str, ...] = param(PANDA.joints, 'Revolute joints from base to tool.')
    fingers: tuple[str, ...] = param(PANDA.fingers, "The gripper's prismatic joints.")
    home: tuple[float, ...] = param(PANDA.home, 'Posture of the joints at the start (rad).')


class SimArmNode(ManagedNode):
    """Commands in; joint states, poses, camera, success and the clock out."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__('sim_arm', **kwargs)
        self.params: SimArmParams = load_params(self, SimArmParams)
        check_task('sim_arm', self.params.task)

    def build(self) -> None:
        """Builds the world and its topics."""
        params = self.params
        self._contract = load_contract(params.contract)
        self._simulator = Simulator(params.task, self._contract, self._model(), gui=params.gui)
        self._simulator.reset(live_value(self, 'seed'))
        self._time_ns, self._paused, self._frames_sent = START_NS, params.lockstep, 0
        self._codecs = {name: ActionCodec(part) for name, part in self._contract.actions.items()}
        self._specs = self._contract.action_specs
        self._command: dict[str, Any] = {}
        self._pairing = Pairing()
        self._lockstep = Lockstep(params.participants)
        self._steps = max(1, round(PHYSICS_HZ / self._contract.command_hz))
        self._advertise()
        self._subscribe()
        clock = Clock(clock_type=ClockType.STEADY_TIME)
        period_s = 0.1 if params.lockstep else self._steps * self._simulator.step_s
        on_timer = self._watch_lockstep if params.lockstep else self._on_timer
        self._timer = self.create_timer(period_s, on_timer, clock=clock)

    def halt(self) -> None:
        """Time stands still."""
        self._paused = True

    def release(self) -> None:
        """Frees the physics; the topics go with the node."""
        if hasattr(self, '_simulator'):
            self._simulator.close()
            self.destroy_timer(self._timer)

    def _model(self) -> Any:
        params = self.params
        return replace(
            PANDA,
            urdf=params.urdf,
            base=params.base_link,
            tool=params.tool_link,
            joints=params.joints,
            fingers=params.fingers,
            home=params.home,
        )

    def _advertise(self) -> None:
        self._channel_publishers = {
            channel.topic: self.create_publisher(
                message_class(channel.type), channel.topic, RELIABLE
            )
            for channel in self._simulator.channels
        }
        self._clock_publisher = self.create_publisher(ClockMessage, '/clock', RELIABLE)
        self._episode = self.create_publisher(message_class(STATUS_TYPE), EPISODE_TOPIC, RELIABLE)
        if self.params.camera_hz:
            self._image = self.create_publisher(Image, CAMERA_TOPIC, RELIABLE)
            self._camera_info = self.create_publisher(CameraInfo, CAMERA_INFO_TOPIC, RELIABLE)

    def _subscribe(self) -> None:
        for name, part in self._contract.actions.items():
            on_command = partial(self._on_command, name)
            self.create_subscription(
                message_class(part.type), part.topic, on_command, qos_profile(part.qos)
            )
        for topic, callback in (
            (STATUS_TOPICS['executed'], self._on_decision),
            (ACK_TOPIC, self._on_ack),
        ):
            self.create_subscription(message_class(STATUS_TYPE), topic, callback, RELIABLE)
        # An awaiting callback keeps its group to itself; what it awaits comes in the other one.
        group = MutuallyExclusiveCallbackGroup()
        self.create_service(Trigger, '~/reset', self._on_reset, callback_group=group)
        self.create_service(SetBool, '~/pause', self._on_pause)

    def _on_command(self, part: str, message: Any, info: Mapping[str, int]) -> None:
        if self.params.lockstep:
            self._answered(self._pairing.add_message(part, info['source_timestamp'], message))
        elif not self._paused:
            self._simulator.command(self._decoded({part: message}), self._steps)

    def _on_decision(self, message: Any, info: Mapping[str, int]) -> None:
        status = self._read(message) if self.params.lockstep else None
        if status is not None:
            self._answered(self._pairing.add_status(info['source_timestamp'], status))

    def _answered(self, ticks: list[TickAction]) -> None:
        for tick in ticks:
            if tick.status.tick_ns == self._time_ns:
                self._command = self._decoded(tick.messages)
                self._lockstep.answer('supervisor', tick.status.tick_ns)

    def _on_ack(self, message: Any) -> None:
        status = self._read(message)
        if status is not None:
            self._lockstep.answer('recorder', status.tick_ns)

    def _read(self, message: Any) -> Status | None:
        """The status that anybody may have sent, or None where it is none."""
        try:
            return Status.decode(message)
        except MessageError as error:
            self.get_logger().warning(str(error), throttle_duration_sec=5.0)
            return None

    def _decoded(self, messages: Mapping[str, Any]) -> dict[str, Any]:
        """The commands that can be read; the arm goes on with the last of the others."""
        decoded = {}
        for part, message in messages.items():
            try:
                vector = self._codecs[part].decode(message)
                decoded[part] = self._specs[part].check(vector, f'command {part}')
            except (MessageError, ValueError) as error:
                self.get_logger().warning(str(error), throttle_duration_sec=1.0)
        return decoded

    async def _on_reset(self, request: Any, response: Any) -> Any:
        """Sets up the scene of `seed`; in lockstep it also waits until all have seen it."""
        seed = live_value(self, 'seed')
        self._simulator.reset(seed)
        self.set_parameters([Parameter('seed', value=seed + 1)])
        self._command = {}
        problem = ''
        if self.params.lockstep:
            self._paused = True
            seen: Future = Future(executor=self.executor)
            self._reset_seen = seen
            self._send_tick(then=lambda: seen.set_result(''))
            problem = await seen
        response.success, response.message = not problem, problem or f'scene of seed {seed}'
        return response

    def _on_pause(self, request: Any, response: Any) -> Any:
        """Lets time stand still or go on; in lockstep, going on starts the episode."""
        was, self._paused = self._paused, request.data
        if self.params.lockstep and was and not self._paused:
            self._send_tick(then=self._step)
        response.success, response.message = True, 'paused' if self._paused else 'running'
        return response

    def _send_tick(self, then: Any) -> None:
        """Time goes on by a tick, the observations carry its stamp, and `then` follows."""
        self._time_ns += self._contract.tick_period_ns
        self._publish()
        self._lockstep.wait(self._time_ns, time.monotonic(), then)

    def _step(self) -> None:
        if self._paused:
            return
        self._simulator.command(self._command)
        self._simulator.step()
        ended = self._simulator.finished or self._simulator.out_of_time
        self._send_tick(then=self._end if ended else self._step)

    def _end(self, reason: str = '') -> None:
        self._paused = True
        values = {
            'success': str(int(self._simulator.success and not reason)),
            'ticks': str(self._simulator.ticks),
        }
        status = Status(self._time_ns, self.get_name(), 1, reason, values)
        self._episode.publish(status.encode(new))

    def _watch_lockstep(self) -> None:
        now_s = time.monotonic()
        if self._lockstep.give_up_due(now_s):
            problem = f'timeout: no answer from {self._lockstep.missing} to tick {self._time_ns}'
            self.get_logger().error(problem)
            if self._paused:
                self._reset_seen.set_result(problem)
            else:
                self._end(problem)
        elif self._lockstep.resend_due(now_s):
            self._publish()

    def _on_timer(self) -> None:
        if self._paused or not self.active:
            return
        self._simulator.step(self._steps)
        self._time_ns += round(self._steps * self._simulator.step_s * 1e9)
        self._publish()

    def _publish(self) -> None:
        clock = ClockMessage()
        clock.clock.sec, clock.clock.nanosec = divmod(self._time_ns, 1_000_000_000)
        self._clock_publisher.publish(clock)
        numbers = self._simulator.read().tolist()
        for channel in self._simulator.channels:
            size = len(channel.fields)
            self._channel_publishers[channel.topic].publish(self._message(channel, numbers[:size]))
            numbers = numbers[size:]
        if self.params.camera_hz and self._camera_due():
            self._publish_camera()

    def _message(self, channel: Channel, numbers: list[float]) -> Any:
        codec = codec_for(channel.type)
        message = codec.encode(new, channel.fields, numbers)
        if codec.stamped:
            message.header.frame_id = channel.frame_id
            set_stamp(message, self._time_ns)
        return message

    def _camera_due(self) -> bool:
        sent = int((self._time_ns - START_NS) * self.params.camera_hz / 1e9 + 1e-6)
        due = sent > self._frames_sent
        self._frames_sent = max(sent, self._frames_sent)
        return due

    def _publish_camera(self) -> None:
        camera = self._simulator.camera
        image, info = Image(), CameraInfo()
        for message in (image, info):
            message.header.frame_id = camera.frame_id
            set_stamp(message, self._time_ns)
            message.height, message.width = camera.height, camera.width
        image.encoding, image.step = 'rgb8', 3 * camera.width
        image.data = self._simulator.render().tobytes()  # an ndarray would cost 57 ms
        info.distortion_model, info.d = 'plumb_bob', [0.0] * 5
        matrix = camera.intrinsics()
        info.k = matrix.ravel().tolist()
        info.r = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]
        info.p = [number for row in matrix.tolist() for number in (*row, 0.0)]
        self._image.publish(image)
        self._camera_info.publish(info)


def main(args: list[str] | None = None) -> int:
    """Entry point of `ros2 run imitation_ros sim_arm`."""
    return run_node(SimArmNode, args)


if __name__ == '__main__':
    sys.exit(main())
