"""What the nodes for a device in a person's hands share: a tick, feedback, and requests.

They also hear what the supervisor decides: a device must follow the robot while others drive.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
import time
from typing import Any

from imitation_ros.errors import MessageError
from imitation_ros.frames.alignment import feedback_decoders
from imitation_ros.frames.codecs import stamp_ns
from imitation_ros.frames.contract import load_contract
from imitation_ros.frames.status import CLASS, Status, STATUS_TOPICS, STATUS_TYPE
from imitation_ros.nodes._managed import ManagedNode
from imitation_ros.nodes._messages import message_class, qos_profile, RELIABLE
from imitation_ros.nodes._params import NodeParams, param, ParameterError
from imitation_ros.nodes._streams import ActionStream
from imitation_ros.supervision.authority import Mode
from imitation_ros.supervision.gating import EVERY
from imitation_ros.teleop.motion import Motion
from imitation_ros.teleop.requests import RESUME, STOP
from imitation_ros.types import Action, Array
from rclpy.clock import Clock, ClockType
from std_srvs.srv import Trigger

RESUME_TICKS = 2
"""How many engaged actions go ahead of a request for authority, which needs a live source."""


@dataclass(frozen=True)
class DeviceParams(NodeParams):
    """Parameters of every such node."""

    contract: str = param('', "The robot's contract: a path, or the name of an own contract.")


class DeviceNode(ManagedNode):
    """Publishes `teleop/…` in real time at the contract's rate.

    A subclass makes its device in `open_device`, and says in `device_action` what the operator
    wants now.

    Attributes:
        lost: whether there is no action because the device is lost, and not because the operator
            let go of it: who has taken over does not give back by a pulled plug.
        held: whether somebody is at the device though it has no action now: they are asked for,
            and the robot holds.
        motion: how far somebody moves the device now, 0 to 1; None for one that cannot tell.
        driving: whether its actions are executed.
        idle: whether nobody has authority: the supervisor is stopped.
        watched: whether the expert is asked about every tick, whoever drives.
        executed: discrete part → index of the class that others told it last, where that is known.
    """

    params: DeviceParams
    lost = held = False
    motion: float | None = None

    def check_params(self) -> None:
        """Refuses to start without a contract."""
        if not self.params.contract:
            name = self.get_name()
            raise ParameterError(f'{name}: parameter contract is not set; valid: a path or name')

    def open_device(self) -> None:
        """Makes the device; `contract` is set."""
        raise NotImplementedError

    def close_device(self) -> None:
        """Undoes `open_device`, also a half-done one."""

    def device_action(self, now_ns: int) -> tuple[Action | None, str]:
        """The action of this moment (steady ns), or None and why the device is not engaged."""
        raise NotImplementedError

    def build(self) -> None:
        """Creates topics, clients and the timer."""
        self._owned: list[tuple[Any, Any]] = []
        self._measured: dict[str, tuple[Array, int]] = {}
        self._asked: list[int] = []  # ticks to go until authority is asked for
        self._stopped = False  # whether a stop is the last word, and not a resume
        self._heard_ns = self._late_ns = 0  # of the device's last message
        self.contract = load_contract(self.params.contract)
        self.driving, self.idle, self.watched = False, True, False
        self.executed: dict[str, int] = {}
        self._motion = Motion(self.contract)
        self.open_device()
        self._actions = ActionStream(self, self.contract, 'teleop')
        self._subscribe_feedback()
        decisions = self.create_subscription(
            message_class(STATUS_TYPE), STATUS_TOPICS['executed'], self._on_decision, RELIABLE
        )
        self.own(self.destroy_subscription, decisions)
        self._service_clients: dict[str, Any] = {}
        period_s = self.contract.tick_period_ns / 1e9
        clock = Clock(clock_type=ClockType.STEADY_TIME)
        self.own(self.destroy_timer, self.create_timer(period_s, self._on_tick, clock=clock))

    def halt(self) -> None:
        """Forgets what waits: an activation moves nothing."""
        self._asked.clear()

    def release(self) -> None:
        """Destroys topics and clients, and lets go of the device."""
        self.close_device()
        while getattr(self, '_owned', []):
            destroy, entity = self._owned.pop()
            destroy(entity)
        for client in self.__dict__.pop('_service_clients', {}).values():
            self.destroy_client(client)
        if hasattr(self, '_actions'):
            self._actions.close()
            del self._actions

    def own(self, destroy: Any, entity: Any) -> None:
        """Destroys `entity` at the end."""
        self._owned.append((destroy, entity))

    def measured(self) -> dict[str, Array]:
        """Action part → its measured state, where that is fresh."""
        now_ns, fresh = time.monotonic_ns(), {}
        for part, (vector, received_ns) in self._measured.items():
            source = self.contract.feedback_source(part)
            if source is not None and now_ns - received_ns <= source.max_age_s * 1e9:
                fresh[part] = vector
        return fresh

    def hear(self, message: Any) -> None:
        """Takes when a message of the device came, and how late.

        A device keeps no simulated time: there its stamps say nothing.
        """
        self._heard_ns, stamp = time.monotonic_ns(), stamp_ns(message)
        simulated = self.get_parameter('use_sim_time').value
        ros_ns = self.get_clock().now().nanoseconds
        self._late_ns = 0 if simulated or stamp is None else ros_ns - stamp

    def unheard(self, topic: str, timeout_s: float, now_ns: int) -> str:
        """Why what the device said last does not count at a steady time, or ''."""
        silent_s, late_s = (now_ns - self._heard_ns) / 1e9, self._late_ns / 1e9
        if silent_s > timeout_s:
            return f'nothing on {topic}'
        if late_s < -timeout_s:
            return f'{topic} is stamped {-late_s:.2f} s ahead'
        age_s = silent_s + max(0.0, late_s)
        return f'{topic} is {age_s:.2f} s old' if age_s > timeout_s else ''

    def unless(self, problem: str, action: Action, now_ns: int) -> tuple[Action | None, str]:
        """The action of an engaged device, or None where the robot cannot follow it, and why.

        It is no label of where others brought the robot, but its motion takes over all the same.
        Beside an action there is no motion: who stands still on purpose says where to be.

        Args:
            problem: why the robot cannot follow, or ''.
            action: of this tick.
            now_ns: steady time.
        """
        moved = self._motion.of(action, now_ns)
        self.held, self.motion = bool(problem), moved if problem else None
        return None if problem else action, problem

    def ask(self, service: str) -> None:
        """Calls a Trigger service and tells the operator the answer.

        Authority is asked for a few ticks later, unless a stop comes first; an inactive node does
        not ask for it.
        """
        if service == RESUME and not self.active:
            self.tell(f'{service}: refused: {self.get_name()} is not active')
            return
        if service in (RESUME, STOP):
            self._stopped = service == STOP
        if service == RESUME:
            self._asked.append(RESUME_TICKS)
            return
        if service == STOP:
            self._asked.clear()
        self._call(service)

    def tell(self, text: str) -> None:
        """Says something to the operator."""
        self.get_logger().info(text)

    def _on_tick(self) -> None:
        action, reason = self.device_action(time.monotonic_ns())
        with self.gate:
            if not self.active:
                return
            tick_ns = self.get_clock().now().nanoseconds
            somebody = action is not None or self.held
            values = {'engaged': 'true' if somebody else 'false'}
            if action is None and self.lost:
                values['lost'] = 'true'
            if somebody and self.motion is not None:
                values['motion'] = f'{self.motion:.2f}'
            self._actions.send(tick_ns, action, reason, lambda: values)
        self._asked = [ticks - 1 for ticks in self._asked]
        while self._asked and self._asked[0] <= 0:
            self._asked.pop(0)
            self._call(RESUME)

    def _call(self, service: str) -> None:
        client = self._service_clients.get(service)
        if client is None:
            client = self._service_clients[service] = self.create_client(Trigger, service)
        if not client.wait_for_service(timeout_sec=0.0):
            self.tell(f'{service}: nobody serves it')
            return
        future = client.call_async(Trigger.Request())
        future.add_done_callback(lambda done: self._tell_answer(service, done.result()))

    def _tell_answer(self, service: str, response: Trigger.Response) -> None:
        self.tell(f'{service}: {"" if response.success else "refused: "}{response.message}')
        if service == RESUME and response.success and self._stopped:
            self._call(STOP)  # it may have been taken before the resume

    def _on_decision(self, message: Any) -> None:
        try:
            values = Status.decode(message).values
        except MessageError as error:
            topic = STATUS_TOPICS['executed']
            self.get_logger().warning(f'{topic}: {error}', throttle_duration_sec=5.0)
            return
        mine = values.get('source') == self.get_name()
        self.driving = mine and values.get('mode') in (Mode.EXPERT.value, Mode.HANDOFF.value)
        self.idle = values.get('mode') == Mode.STOPPED.value
        self.watched = values.get('labels') == EVERY
        if self.driving:
            return  # what it is told now is our own word
        for name, part in self.contract.actions.items():
            told = values.get(f'{CLASS}{name}')
            if told in part.classes:
                self.executed[name] = part.classes.index(told)

    def _subscribe_feedback(self) -> None:
        sources = {source.topic: source for source in self.contract.sources}
        for part, (topic, decode) in feedback_decoders(self.contract).items():
            subscription = self.create_subscription(
                message_class(sources[topic].type),
                topic,
                partial(self._on_feedback, part, decode),
                qos_profile(sources[topic].qos),
            )
            self.own(self.destroy_subscription, subscription)

    def _on_feedback(self, part: str, decode: Any, message: Any) -> None:
        try:
            self._measured[part] = decode(message), time.monotonic_ns()
        except MessageError as error:
            self.get_logger().warning(f'{part}: {error}', throttle_duration_sec=5.0)
