"""Offers checkpoints to the policy node, which tries one before it lets it drive."""

from __future__ import annotations

from pathlib import Path
import threading
from typing import Any

from imitation_ros.learning.rounds import newest_version, read_json, write_json
from imitation_ros.nodes._background import Background
from imitation_ros.nodes._messages import LATCHED
from imitation_ros.policies.checkpoint import read_digest
from rcl_interfaces.srv import SetParameters
from rclpy.callback_groups import CallbackGroup
from rclpy.node import Node
from rclpy.parameter import Parameter
from std_msgs.msg import String
from std_srvs.srv import Trigger

OFFERED = 'offered.json'
ANSWER_TIMEOUT_S = 60.0
"""How long the policy node may take to answer an offer."""


class Offers:
    """The policy node's parameter and service, as a client.

    Args:
        node: who offers.
        policy: name of the policy node; '' for none.
        group: of the clients; not that of the callback which awaits an answer.

    Attributes:
        at_work: whether an offer waits for its answer.
    """

    def __init__(self, node: Node, policy: str, group: CallbackGroup) -> None:
        self._node, self.at_work = node, False
        self._clients: list[Any] = []
        if policy:
            settings, reload = f'{policy}/set_parameters', f'{policy}/reload'
            self._clients = [
                node.create_client(SetParameters, settings, callback_group=group),
                node.create_client(Trigger, reload, callback_group=group),
            ]

    def close(self) -> None:
        """Destroys the clients."""
        while self._clients:
            self._node.destroy_client(self._clients.pop())

    @property
    def ready(self) -> bool:
        """Whether the policy node is there, and no offer is at work."""
        return bool(self._clients) and self._clients[1].service_is_ready() and not self.at_work

    async def offer(self, checkpoint: Path) -> Any:
        """Sets the parameter and asks for a reload: its response.

        None if there is no answer, or nobody to hear it, since `close` was called meanwhile.
        """
        configure, reload = self._clients
        self.at_work = True
        try:
            parameter = Parameter('checkpoint', value=str(checkpoint)).to_parameter_msg()
            request = SetParameters.Request(parameters=[parameter])
            if await self._answer(configure.call_async(request)) is None or not self._clients:
                return None
            return await self._answer(reload.call_async(Trigger.Request()))
        finally:
            self.at_work = False

    async def _answer(self, future: Any) -> Any:
        """The result of a call; None if it takes too long, as of a node that has died."""
        done = threading.Event()
        future.add_done_callback(lambda _: done.set())
        await Background(self._node, lambda: done.wait(ANSWER_TIMEOUT_S))
        return future.result() if future.done() else None


class NewCheckpoints:
    """Offers what appears in a folder: once for each content, unless it drives already.

    Args:
        node: who offers.
        offers: to whom.
        folder: of a checkpoint that something else writes, or of its versions (`version_<n>`).
        run: folder that remembers what was offered: after a restart, too, the operator may have
            rolled back from it.

    Attributes:
        offered: SHA-256 of the last weights that were offered.
        drives: the checkpoint that drives, as the policy node says it: folder (SHA-256); '' while
            it has said nothing.

    Raises:
        ImitationError: what was offered cannot be read.
    """

    def __init__(self, node: Node, offers: Offers, folder: Path, run: Path) -> None:
        self._node, self._offers, self._folder = node, offers, folder
        self._note, self.drives = run / OFFERED, ''
        said = read_json(self._note) if self._note.exists() else {}
        self.offered = str(said.get('weights_sha256', ''))
        self._told = node.create_subscription(
            String, 'policy/checkpoint', self._on_checkpoint, LATCHED
        )

    def close(self) -> None:
        """Destroys the subscription."""
        self._node.destroy_subscription(self._told)

    async def offer(self) -> None:
        """Offers what is new; without an answer it is offered again at the next call."""
        folder, digest = await Background(self._node, self._newest)
        if digest in ('', self.offered) or not self.drives or not self._offers.ready:
            return
        if digest not in self.drives:
            answer = await self._offers.offer(folder)
            if answer is None:
                return
            self._node.get_logger().info(f'offered {folder}: {answer.message}')
        self.offered = digest
        await Background(self._node, self._remember)

    def _newest(self) -> tuple[Path, str]:
        folder = newest_version(self._folder)
        return folder, read_digest(folder)

    def _remember(self) -> None:
        try:
            write_json(self._note, {'weights_sha256': self.offered})
        except OSError as error:
            self._node.get_logger().error(
                f'{self._note}: {error.strerror}; after a restart the policy is offered again'
            )

    def _on_checkpoint(self, message: String) -> None:
        self.drives = message.data
