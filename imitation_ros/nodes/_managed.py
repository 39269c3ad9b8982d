"""The life cycle that all nodes share."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import wraps
import threading
import traceback
from typing import Any

from imitation_ros.errors import ImitationError, MessageError
from imitation_ros.nodes._messages import of_whole_messages
from imitation_ros.nodes._params import NodeParams
from rclpy.event_handler import PublisherEventCallbacks, SubscriptionEventCallbacks
from rclpy.exceptions import InvalidHandle
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rosgraph_msgs.msg import Clock

SUCCESS, FAILURE = TransitionCallbackReturn.SUCCESS, TransitionCallbackReturn.FAILURE


class ManagedNode(LifecycleNode):  # type: ignore[misc]  # rclpy is untyped here
    """A lifecycle node whose subclasses fill in four hooks and never see a transition.

    The `on_*` callbacks are final. Each runs a hook and logs what it raises: rclpy swallows it.
    Whatever publishes commands does so under `gate` and only while `active`, so that nothing can
    follow the last safe command that `halt` sends.

    Attributes:
        params: the node's parameters; a subclass sets them in `__init__` by `load_params`.
        gate: held while a command is published.
        active: whether commands may be published.
    """

    params: NodeParams

    def __init__(self, name: str, **kwargs: Any) -> None:
        super().__init__(name, **kwargs)
        self.gate = threading.RLock()
        self.active = False

    def build(self) -> None:
        """Creates everything; raises to refuse."""

    def start(self) -> None:
        """Begins work; raises to refuse. Starting never moves the robot."""

    def halt(self) -> None:
        """Stops work and sends the last safe command; `active` is already false."""

    def release(self) -> None:
        """Undoes `build`, also a half-done one."""

    def create_publisher(self, *args: Any, **kwargs: Any) -> Any:
        """As rclpy's; in lockstep without its event handlers, which each wait would ask."""
        if self._in_lockstep():
            silent = PublisherEventCallbacks(use_default_callbacks=False)
            kwargs.setdefault('event_callbacks', silent)
        return super().create_publisher(*args, **kwargs)

    def create_subscription(
        self, type: Any, topic: str, callback: Callable[..., Any], *args: Any, **kwargs: Any
    ) -> Any:
        """As rclpy's; but damaged messages are dropped, some of which would end the process.

        With `raw=False` nobody looks at them before rclpy reads them, which is faster. In lockstep
        without its event handlers, which each wait would ask.
        """
        if self._in_lockstep():
            silent = SubscriptionEventCallbacks(use_default_callbacks=False)
            kwargs.setdefault('event_callbacks', silent)
        if type is Clock:  # rclpy's own subscription for simulated time, too
            callback = _of_valid_times(callback)
        if 'raw' not in kwargs:

            def refuse(error: MessageError) -> None:
                self.get_logger().warning(f'{topic}: {error}', throttle_duration_sec=5.0)

            callback, kwargs['raw'] = of_whole_messages(type, callback, refuse), True
        return super().create_subscription(type, topic, callback, *args, **kwargs)

    def create_service(
        self, type: Any, name: str, callback: Callable[..., Any], *args: Any, **kwargs: Any
    ) -> Any:
        """As rclpy's; but its own parameter services answer what they cannot read.

        An answer that comes when its service was destroyed, as by a clean-up, is lost.
        """
        if type.__module__.startswith('rcl_interfaces.'):
            callback = self._answering(callback)
        service = super().create_service(type, name, callback, *args, **kwargs)
        service.send_response = _while_there_is_a_service(service.send_response)
        return service

    def autostart(self) -> bool:
        """Configures and activates; false (with the reason in the log) if that is refused."""
        return self.trigger_configure() == SUCCESS and self.trigger_activate() == SUCCESS

    def close(self) -> None:
        """Halts and releases, from whatever state."""
        self._halt_once()
        self._attempt(self.release)

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Builds; what was built by half is released again."""
        if self._attempt(self.build):
            return SUCCESS
        self._attempt(self.release)
        return FAILURE

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Starts."""
        if not self._attempt(self.start):
            return FAILURE
        self.active = True
        super().on_activate(state)
        self.get_logger().info(f'{self.get_name()} is ready')
        return SUCCESS

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Halts, before the publishers go quiet."""
        self._halt_once()
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Releases."""
        return SUCCESS if self._attempt(self.release) else FAILURE

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Halts and releases."""
        self.close()
        return SUCCESS

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Halts and releases; the node can be configured again."""
        self.close()
        return SUCCESS

    def _answering(self, callback: Callable[..., Any]) -> Callable[..., Any]:
        """A request that rclpy cannot read, as of a type that there is not, ended the node."""

        @wraps(callback)
        def on_request(request: Any, response: Any) -> Any:
            try:
                return callback(request, response)
            except Exception as error:
                self.get_logger().warning(f'a request about parameters is refused: {error}')
                return response

        return on_request

    def _in_lockstep(self) -> bool:
        # A real robot keeps the handlers: they say whose QoS does not fit, which costs a third
        # of a wait. In lockstep all participants are ours.
        return bool(getattr(getattr(self, 'params', None), 'lockstep', False))

    def _halt_once(self) -> None:
        with self.gate:
            was_active, self.active = self.active, False
        if was_active:
            self._attempt(self.halt)

    def _attempt(self, hook: Callable[[], None]) -> bool:
        try:
            hook()
        except ImitationError as error:
            self.get_logger().error(str(error))
        except Exception:
            self.get_logger().error(traceback.format_exc())
        else:
            return True
        return False


def _while_there_is_a_service(send: Callable[..., None]) -> Callable[..., None]:
    """Loses an answer that comes too late, at which rclpy ends a node."""

    @wraps(send)
    def on_answer(*answer: Any) -> None:
        with suppress(InvalidHandle):
            send(*answer)

    return on_answer


def _of_valid_times(callback: Callable[..., Any]) -> Callable[..., Any]:
    """Drops a time before 0, at which rclpy ends a node that runs on simulated time."""

    @wraps(callback)
    def on_clock(message: Clock, *info: Any) -> Any:
        return callback(message, *info) if message.clock.sec >= 0 else None

    return on_clock
