"""Node `teleop_keyboard`: a person drives, and records, with nothing but a keyboard."""

from __future__ import annotations

from dataclasses import dataclass
import sys
from typing import Any

from imitation_ros.frames.status import STATUS_TOPICS
from imitation_ros.nodes._params import load_params, param
from imitation_ros.nodes._runtime import run_node
from imitation_ros.nodes._teleop import DeviceNode, DeviceParams
from imitation_ros.teleop.jog import Jog
from imitation_ros.teleop.keyboard import Keyboard
from imitation_ros.teleop.requests import GIVE_BACK
from imitation_ros.teleop.terminal import Terminal
from imitation_ros.types import Action


@dataclass(frozen=True)
class TeleopKeyboardParams(DeviceParams):
    """Parameters of `teleop_keyboard`."""

    part: str = param('', 'Action part that the keys move; empty: the first that moves.')
    speed: float = param(
        0.5, "Speed of a held key, as a fraction of the part's limits.", low=0.01, high=1.0
    )
    held_s: float = param(
        0.5,
        'How long a key counts as held, s; longer than the delay of the key repeat.',
        low=0.05,
        high=2.0,
    )


class TeleopKeyboardNode(DeviceNode):
    """Keys in, `teleop/…` and the services of recorder and supervisor out."""

    def __init__(self, fd: int = 0, **kwargs: Any) -> None:
        super().__init__('teleop_keyboard', **kwargs)
        self.params: TeleopKeyboardParams = load_params(self, TeleopKeyboardParams)
        self.check_params()
        self._fd = fd

    def open_device(self) -> None:
        """Takes the terminal."""
        params = self.params
        self._jog = Jog(self.contract, params.speed, params.part)
        self._keyboard = Keyboard(self._jog.size, params.held_s)
        self._terminal = Terminal(self._fd)
        self.held = False
        self.tell(self._keyboard.help())

    def close_device(self) -> None:
        """Puts the terminal back as it was."""
        if hasattr(self, '_terminal'):
            self._terminal.restore()
            del self._terminal

    def device_action(self, now_ns: int) -> tuple[Action | None, str]:
        """What the keys say now: nothing while none is held that moves something.

        A pause gives nothing back to a policy: only the key for that, or a stop, does.
        """
        for key in self._terminal.read():
            self._obey(self._keyboard.press(key, now_ns))
        deflection = self._keyboard.deflection(now_ns)
        self._jog.follow(self.driving, self.executed)
        self.motion = self._jog.motion(deflection)
        self.held = not self.idle and (self.held or bool(deflection.any()))
        if not self.motion and not self._begins(now_ns):
            self._jog.release()
            return None, 'no key that moves is pressed'
        action = self._jog.action(deflection, self.measured())
        return action, '' if action else 'no feedback from the robot'

    def _begins(self, now_ns: int) -> bool:
        """Whether authority is asked for where no policy can have it: some source must be live."""
        policy = self.resolve_topic_name(STATUS_TOPICS['policy'])
        asked = self._keyboard.resumes(now_ns) and not self.driving
        return asked and not self.count_publishers(policy)

    def _obey(self, request: str | None) -> None:
        if request == 'switch':
            if self.active:
                self._jog.switch()
                self.held = True
        elif request == 'help':
            self.tell(self._keyboard.help())
        elif request is not None:
            self.held = self.held and request != GIVE_BACK
            self.ask(request)


def main(args: list[str] | None = None) -> int:
    """Entry point of `ros2 run imitation_ros teleop_keyboard`."""
    return run_node(TeleopKeyboardNode, args)


if __name__ == '__main__':
    sys.exit(main())
