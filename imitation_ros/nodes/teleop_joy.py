"""Node `teleop_joy`: a person drives with a joystick and a dead-man button.

The recorder reads its own buttons from the same topic (its parameter `joy_topic`).
"""

from __future__ import annotations

from dataclasses import dataclass
import sys
from typing import Any

from imitation_ros.nodes._messages import SENSOR
from imitation_ros.nodes._params import load_params, param, ParameterError
from imitation_ros.nodes._runtime import run_node
from imitation_ros.nodes._teleop import DeviceNode, DeviceParams
from imitation_ros.teleop.jog import Jog
from imitation_ros.teleop.joy import JoyMap, JoyState, Joystick
from imitation_ros.teleop.requests import GIVE_BACK, RESUME, STOP, TAKE
from imitation_ros.types import Action
from sensor_msgs.msg import Joy


@dataclass(frozen=True)
class TeleopJoyParams(DeviceParams):
    """Parameters of `teleop_joy`."""

    topic: str = param('joy', 'Topic of the joystick.')
    part: str = param('', 'Action part that the axes move; empty: the first that moves.')
    speed: float = param(
        0.5, "Speed at full deflection, as a fraction of the part's limits.", low=0.01, high=1.0
    )
    axes: tuple[int, ...] = param((1, 0, 4), 'Axis of each element of that part, -1 for none.')
    scales: tuple[float, ...] = param(
        (1.0, 1.0, 1.0), 'Factor of each, negative to turn it around.'
    )
    deadzone: float = param(0.1, 'Deflections up to this count as none.', low=0.0, high=0.9)
    deadman_button: int = param(4, 'Nothing moves unless it is held.', low=0, high=99)
    switch_button: int = param(0, 'Opens and closes the gripper; -1: none.', low=-1, high=99)
    resume_button: int = param(7, 'Asks for authority; -1: none.', low=-1, high=99)
    stop_button: int = param(6, 'Takes it away; -1: none.', low=-1, high=99)
    take_button: int = param(
        -1, "Takes over from a policy, with the supervisor's takeover 'button'; -1: none.",
        low=-1, high=99,
    )  # fmt: skip
    give_back_button: int = param(-1, 'Gives control back to it; -1: none.', low=-1, high=99)
    timeout_s: float = param(
        0.1, 'Without a message for that long the joystick counts as let go, s.', low=0.05
    )


class TeleopJoyNode(DeviceNode):
    """`Joy` in, `teleop/…` out."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__('teleop_joy', **kwargs)
        self.params: TeleopJoyParams = load_params(self, TeleopJoyParams)
        self.check_params()

    def open_device(self) -> None:
        """Subscribes the joystick."""
        params = self.params
        self._jog = Jog(self.contract, params.speed, params.part)
        for name in ('axes', 'scales'):
            if len(getattr(params, name)) != self._jog.size:
                raise ParameterError(
                    f'teleop_joy: parameter {name}: {len(getattr(params, name))} values; '
                    f'valid: {self._jog.size}, one an element of what is moved'
                )
        buttons = {
            'switch': params.switch_button,
            RESUME: params.resume_button,
            STOP: params.stop_button,
            TAKE: params.take_button,
            GIVE_BACK: params.give_back_button,
        }
        mapping = JoyMap(
            params.axes, params.scales, params.deadman_button, buttons, params.deadzone
        )
        self._joystick = Joystick(mapping)
        self._state: JoyState | None = None
        subscription = self.create_subscription(Joy, params.topic, self._on_joy, SENSOR)
        self.own(self.destroy_subscription, subscription)

    def device_action(self, now_ns: int) -> tuple[Action | None, str]:
        """What the joystick says now."""
        unheard = self.unheard(self.params.topic, self.params.timeout_s, now_ns)
        self.lost = self._state is None or self._state.engaged
        self._jog.follow(self.driving, self.executed)
        if self._state is None or unheard or not self._state.engaged:
            self._jog.release()
            return None, unheard or 'dead-man button is up'
        self.motion = self._jog.motion(self._state.deflection)
        action = self._jog.action(self._state.deflection, self.measured())
        return action, '' if action else 'no feedback from the robot'

    def _on_joy(self, message: Joy) -> None:
        state = self._joystick.update(message.axes, message.buttons)
        self._state = None if state.problem else state
        if state.problem:
            self.get_logger().warning(state.problem, throttle_duration_sec=5.0)
        else:
            self.hear(message)
        unheard = state.problem or self.unheard(
            self.params.topic, self.params.timeout_s, self._heard_ns
        )
        for request in state.requests:
            if unheard and request != STOP:
                self.tell(f'{request}: refused: {unheard}')
            elif request == 'switch':
                if self.active:
                    self._jog.switch()
            else:
                self.ask(request)


def main(args: list[str] | None = None) -> int:
    """Entry point of `ros2 run imitation_ros teleop_joy`."""
    return run_node(TeleopJoyNode, args)


if __name__ == '__main__':
    sys.exit(main())
