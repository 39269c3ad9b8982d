"""Node `reward_trainer`: tells how well the robot does, and learns to, while the robot goes on.

It never moves the robot. The reward that it publishes is frozen; a better one is learned in a
process of its own, from the demonstrations and what the policy did since, and swapped in.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
import sys
import threading
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from imitation_ros.errors import ImitationError, MessageError, text_of
from imitation_ros.frames.contract import load_contract
from imitation_ros.frames.status import EPISODE_TOPIC, Status
from imitation_ros.learning.improvement import improve_in_background, Improvement
from imitation_ros.learning.irl.network import INPUTS, RewardConfig
from imitation_ros.learning.irl.reward import Reward
from imitation_ros.learning.reward_rounds import (
    RewardRound,
    RewardRounds,
    RewardSettings,
    train_reward_in_background,
)
from imitation_ros.learning.rollouts import Rollouts
from imitation_ros.nodes._background import Background
from imitation_ros.nodes._managed import ManagedNode
from imitation_ros.nodes._messages import RELIABLE
from imitation_ros.nodes._offer import NewCheckpoints, Offers
from imitation_ros.nodes._params import load_params, NodeParams, param, ParameterError
from imitation_ros.nodes._recording_health import diagnostic, ERROR, OK, WARN
from imitation_ros.nodes._reward_stream import RewardStream
from imitation_ros.nodes._runtime import run_node
from imitation_ros.nodes._training import Training
from imitation_ros.policies.policy import use_one_thread
from imitation_ros.types import Episode
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup, ReentrantCallbackGroup
from rclpy.clock import Clock, ClockType
from std_srvs.srv import Trigger

WATCH_PERIOD_S = 1.0


@dataclass(frozen=True)
class RewardTrainerParams(NodeParams):
    """Parameters of `reward_trainer`."""

    contract: str = param('', "The robot's contract: a path, or the name of an own one.")
    demonstrations: str = param('', "The expert's episodes: a data set of the recorder.")
    random: str = param('', 'Episodes of random behaviour, which scores 0; empty: made up.')
    out: str = param('reward', 'Folder of the run: roll-outs, rounds and the reward.')
    lockstep: bool = param(False, 'A tick is a stamp that all observations carry.')
    inputs: str = param('state_action', 'What the reward looks at.', one_of=INPUTS)
    relative_positions: bool = param(
        False, 'x and y of positions count only relative to one another.'
    )
    objective: str = param(
        'gail', 'What it is trained to do: tell apart, keep a margin, or rank episodes.',
        one_of=('gail', 'margin', 'ranking'),
    )  # fmt: skip
    learning_rate: float = param(3e-4, "Of the reward's training.", low=1e-8, high=1.0)
    updates: int = param(500, 'Of the reward in a round.', low=1)
    tolerance: float = param(
        0.05, 'By which the held-out AUC of a new reward may be lower.', low=0.0, high=1.0
    )
    train_every_episodes: int = param(
        0, 'New roll-outs that start a round; 0: ~/train alone does.', low=0
    )
    episodes_kept: int = param(100, 'Roll-outs kept on disk.', low=1)
    longest_episode: int = param(
        1000, 'Ticks of a roll-out; one that goes on is cut there.', low=2
    )
    policy: str = param('policy', 'Node that checkpoints are offered to; empty: none.')
    checkpoint: str = param(
        '', 'Folder where something improves a policy on the reward; offered when it changes.'
    )
    improve_updates: int = param(
        0, 'Of the offline method that improves what drives, below checkpoint; 0: none.', low=0
    )
    seed: int = param(0, 'Of weights and batches.', low=0)

    @property
    def settings(self) -> RewardSettings:
        """How rounds are trained and judged; raises ImitationError where they make no sense."""
        reward = RewardConfig(
            inputs=self.inputs, objective=self.objective, learning_rate=self.learning_rate,
            relative_positions=self.relative_positions,
        )  # fmt: skip
        return RewardSettings(reward, self.updates, self.tolerance, self.episodes_kept)


class RewardTrainerNode(ManagedNode):
    """Frames and executed actions in, rewards out."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__('reward_trainer', **kwargs)
        self.params: RewardTrainerParams = load_params(self, RewardTrainerParams)
        for name in ('contract', 'demonstrations'):
            if not getattr(self.params, name):
                raise ParameterError(f'reward_trainer: parameter {name} is not set; valid: a path')
        if self.params.improve_updates and not self.params.checkpoint:
            raise ParameterError('reward_trainer: improve_updates needs the parameter checkpoint')

    def build(self) -> None:
        """Opens the run, which refuses demonstrations that it cannot use, and creates topics."""
        use_one_thread()
        params = self.params
        contract = load_contract(params.contract)
        folder, shown = Path(params.out).resolve(), Path(params.demonstrations).resolve()
        random = Path(params.random).resolve() if params.random else None
        self._request = folder, shown, contract, params.settings, params.seed, random
        self._rounds = RewardRounds(*self._request)
        self._rollouts = Rollouts(contract, params.longest_episode)
        self._writing = threading.Lock()
        self._training, self._improving = Training(), Training()
        self._closing = False
        self._improved = ''
        self._owned: list[tuple[Any, Any]] = []
        self._last, self._trouble = self._rounds.last, self._rounds.trouble
        self._seen = self._rounds.seen
        self._tried = self._learned
        self._create_topics()
        self._stream = RewardStream(self, contract, params.lockstep, self._rollouts.add)
        self._stream.reward, self._stream.stale = self._rounds.reward, bool(self._trouble)
        self._create_services()

    def halt(self) -> None:
        """Gives up a training; the rounds that are whole stay."""
        if self._training.process is not None:
            self._tried = self._learned
        self._training.give_up()
        self._improving.give_up()
        self._rollouts.end()
        self._keep(self._rollouts.take())

    def release(self) -> None:
        """Destroys topics, services and the timer."""
        for name in ('_stream', '_new', '_offers'):
            if hasattr(self, name):
                getattr(self, name).close()
                delattr(self, name)
        while getattr(self, '_owned', []):
            destroy, entity = self._owned.pop()
            destroy(entity)

    def _create_topics(self) -> None:
        self._diagnostics = self.create_publisher(DiagnosticArray, '/diagnostics', RELIABLE)
        ended = self.create_subscription(
            DiagnosticArray, EPISODE_TOPIC, self._on_episode, RELIABLE
        )
        self._owned += [
            (self.destroy_publisher, self._diagnostics),
            (self.destroy_subscription, ended),
        ]

    def _create_services(self) -> None:
        group = ReentrantCallbackGroup()
        self._offers = Offers(self, self.params.policy, group)
        improved = Path(self.params.checkpoint).resolve()
        self._new = NewCheckpoints(self, self._offers, improved, self._rounds.folder)
        train = self.create_service(Trigger, '~/train', self._on_train, callback_group=group)
        timer = self.create_timer(
            WATCH_PERIOD_S, self._watch, callback_group=MutuallyExclusiveCallbackGroup(),
            clock=Clock(clock_type=ClockType.STEADY_TIME),
        )  # fmt: skip
        self._owned += [(self.destroy_service, train), (self.destroy_timer, timer)]

    def _on_episode(self, message: Any) -> None:
        try:
            success = Status.decode(message).values.get('success')
        except MessageError as error:
            self.get_logger().warning(str(error), throttle_duration_sec=5.0)
            return
        self._rollouts.end('success' if success == '1' else 'failure')

    # Rounds.

    @property
    def _learned(self) -> int:
        """How many roll-outs the last whole round knew."""
        return self._last.rollouts + 1 if self._last else 0

    @property
    def _at_work(self) -> str:
        """What a process beside the node does; '' if there is none."""
        if self._training.process is not None or self._closing:
            return 'training'
        return 'improving' if self._improving.process is not None else ''

    async def _watch(self) -> None:
        """Once a second; what goes wrong is told, and looked at again after the next."""
        if not self.active:
            return
        try:
            await self._look()
        except Exception as error:  # it would end the node
            self.get_logger().error(text_of(error), throttle_duration_sec=60.0)
            if self.active:
                self._publish(ERROR, text_of(error), {})

    async def _look(self) -> None:
        """What the policy did, whether a training has ended, what to offer."""
        await self._take_result()
        self._take_improvement()
        finished, resting = self._rollouts.take(), not self._at_work
        await Background(self, lambda: self._keep(finished, forget=resting))
        wanted = self.params.train_every_episodes
        enough = wanted and self._seen - self._tried >= wanted
        if self.active and enough and not self._at_work:
            self._train()
        if self.active and self.params.checkpoint:
            await self._new.offer()
        if self.active:
            self._tell()

    def _keep(self, episodes: list[Episode], forget: bool = False) -> None:
        """Writes roll-outs to the disk; one that is full costs roll-outs, and no tick."""
        try:
            with self._writing:
                self._rounds.add(episodes)
                if forget:
                    self._rounds.forget()
                self._seen = self._rounds.seen
        except (ImitationError, OSError) as error:
            self.get_logger().error(f'roll-outs lost: {error}')

    def _train(self) -> None:
        """Starts a round beside the node."""
        self._training.start(train_reward_in_background, self._request)
        self._tried = self._seen
        self.get_logger().info(f'training against roll-outs up to number {self._seen - 1}')

    async def _take_result(self) -> None:
        result: RewardRound | str | None = self._training.result()
        if result is None:
            return
        stream = self._stream  # a clean-up may take it away meanwhile
        self._closing = True  # and no other round begins
        try:
            trouble, reward = await Background(self, self._close(result))
        finally:
            self._closing = False
        self._trouble, stream.stale = trouble, bool(trouble)
        if isinstance(result, RewardRound):
            self._last = result
        stream.reward = reward or stream.reward
        if trouble:
            kept = f'kept version {stream.version}' if stream.version else 'none kept'
            self.get_logger().error(f'{trouble}; {kept}')
        else:
            self.get_logger().info(f'reward version {stream.version} is in use')
            self._improve()

    def _improve(self) -> None:
        """Starts the offline method beside the node, if that is wanted."""
        params = self.params
        if not params.improve_updates or not self.active:
            return
        if not self._new.drives:
            self._improved = 'no policy node has said what drives'
            return
        out = Path(params.checkpoint).resolve()
        wanted = self._new.drives, out, params.improve_updates
        self._improving.start(improve_in_background, (*self._request, *wanted))

    def _take_improvement(self) -> None:
        result: Improvement | str | None = self._improving.result()
        if isinstance(result, Improvement):
            self._improved = f'{result.checkpoint:.8} on reward version {result.version}'
            self.get_logger().info(f'improved on {result.steps} recorded steps: {self._improved}')
        elif result is not None:
            self._improved = result
            self.get_logger().error(f'no better policy: {result}')

    def _close(self, result: RewardRound | str) -> Callable[[], tuple[str, Reward | None]]:
        """What is left to do after a round, away from the ticks: → trouble, new reward."""

        def close() -> tuple[str, Reward | None]:
            try:
                if isinstance(result, str):
                    self._rounds.fail(result)
                    return result, None
                return result.reason, self._rounds.reward if result.promoted else None
            except (ImitationError, OSError) as error:
                return str(error), None

        return close

    def _on_train(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        if not self.active:
            response.message = 'the trainer is not active'
        elif self._at_work:
            response.message = 'a training is at work'
        elif not self._seen:
            response.message = 'no roll-out of the policy yet'
        else:
            try:
                self._train()
                response.success = True
                response.message = f'training against {self._seen} roll-outs'
            except Exception as error:  # it would end the node
                response.message = text_of(error)
        return response

    # What it says.

    def _tell(self) -> None:
        health = self._last.health if self._last else None
        values: dict[str, object] = {
            'state': self._at_work or 'waiting',
            'version': self._stream.version,
            'stale': str(bool(self._trouble)).lower(),
            'episodes seen': self._seen,
            'episodes waiting': self._seen - self._tried,
            'offered': self._new.offered,
            'improved': self._improved,
        }
        if self._last is not None and health is not None:
            numbers = ('expert', 'actor', 'separation', 'accuracy', 'auc')
            values |= {name: f'{getattr(health, name):.4g}' for name in numbers}
            values |= {
                'converged': str(health.converged).lower(),
                'updates': health.updates,
                'expert episodes': health.expert_episodes,
                'actor episodes': health.actor_episodes,
                'held out': health.held_out,
            }
            refused = self._last.refused
            values |= {f'refused {number}': why for number, why in list(refused.items())[:5]}
        text = self._trouble
        if self._last is not None and self._last.refused:
            text = text or f'{len(self._last.refused)} roll-outs were refused'
        self._publish(WARN if text else OK, text, values)

    def _publish(self, level: bytes, text: str, values: dict[str, object]) -> None:
        message = DiagnosticArray(status=[diagnostic(self.get_name(), level, text, values)])
        message.header.stamp = self.get_clock().now().to_msg()
        self._diagnostics.publish(message)


def main(args: list[str] | None = None) -> int:
    """Entry point of `ros2 run imitation_ros reward_trainer`."""
    return run_node(RewardTrainerNode, args)


if __name__ == '__main__':
    sys.exit(main())
