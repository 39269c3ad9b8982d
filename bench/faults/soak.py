"""A day at 10 Hz in lockstep: episodes, takeovers, reloads and emergency stops without an end.

The arm, the supervisor with the gate `human`, a policy, the scripted expert that takes over where
the policy errs, and the recorder. The policy is reloaded between episodes, and in some of them the
emergency stop is pressed. The bar: a press stops the arm within 0.1 s, by the middleware's stamps,
a stop is followed by nothing but `stopped` until the next resume, the commands are within the
limits, no episode fails, and in the full tier no process holds more than 5 MB more at the end than
after the warm-up.

Lockstep does not wait for the hand at the button. A press that comes when its episode is over must
have reached the supervisor all the same, and more than one in a hundred of them breaks the bar.
"""

from __future__ import annotations

from collections.abc import Mapping
import os
from pathlib import Path
import random
import shutil
import tempfile
import threading
import time
from typing import Any

from imitation_ros.errors import GraphError
from imitation_ros.frames.actions import ActionCodec
from imitation_ros.frames.contract import load_contract
from imitation_ros.frames.status import Status, STATUS_TOPICS, STATUS_TYPE
from imitation_ros.nodes._emergency import EMERGENCY_TOPIC
from imitation_ros.nodes.graph import Graph
from imitation_ros.nodes.session import LockstepSession
from imitation_ros.supervision.mux import EMERGENCY
import numpy as np
from std_msgs.msg import Bool

from bench.faults.driven import wait_until
from bench.faults.outcome import Outcome
from bench.policy_latency import save_untrained_policy
from bench.rows import say

TASK, CONTRACT = 'reach', 'panda_reach'
TICKS = {'short': 150, 'full': 864_000}
WARM_UP = 0.1
"""Of the ticks."""
GROWTH_BYTES = 5 << 20
SAID_EVERY = 20_000
"""Ticks."""
PRESSED_EVERY, RELOADED_EVERY = 3, 2
"""Episodes."""
STOPPED_WITHIN_NS = 100_000_000
TOO_LATE = 0.01
"""Of the presses: as many may come when their episode is over."""


def run(tier: str, seed: int) -> Outcome:
    """Lets it run; see the module's text."""
    outcome, rng = Outcome('soak'), random.Random(seed)
    with tempfile.TemporaryDirectory(prefix='faults_') as folder:
        checkpoints = [Path(folder, name) for name in ('first', 'second')]
        for checkpoint in checkpoints:
            save_untrained_policy(CONTRACT, checkpoint)
        with LockstepSession(
            TASK,
            CONTRACT,
            {
                'policy': {'checkpoint': checkpoints[0]},
                'teleop_expert': {'task': TASK, 'correct_above': 0.3},
            },
            Path(folder, 'data'),
            {'gate': 'human', 'takeover': 'engaged'},
        ) as session:
            _live(session, checkpoints, TICKS[tier], rng, outcome)
    grown = outcome.figures['most growth of a process, bytes']
    if tier == 'full' and grown > GROWTH_BYTES:
        outcome.problems.append(f'a process has grown by {grown / 1e6:.1f} MB')
    return outcome


def _live(
    session: LockstepSession,
    checkpoints: list[Path],
    enough: int,
    rng: random.Random,
    outcome: Outcome,
) -> None:
    robot, warm, ticks, episode, reloads = _Robot(session.graph), {}, 0, 0, 0
    while ticks < enough:
        if episode % RELOADED_EVERY == 1:
            reloads += 1
            session.graph.set('policy', checkpoint=checkpoints[reloads % 2])
            session.graph.call('policy/reload')
        pressed = episode % PRESSED_EVERY == PRESSED_EVERY - 1
        robot.begin(rng.randint(1, 15) if pressed else 0)
        result = session.run(episode)
        problem = robot.problem()
        robot.let_go()
        if result.path is not None:
            shutil.rmtree(result.path)
        if (ticks + result.ticks) // SAID_EVERY > ticks // SAID_EVERY:
            say(f'soak: {ticks + result.ticks} of {enough} ticks')
        ticks, episode = ticks + result.ticks, episode + 1
        outcome.injected += 1
        outcome.survived += not problem
        if problem:
            outcome.problems.append(f'episode {episode}: {problem}')
        if not warm and ticks >= WARM_UP * enough:
            warm = _resident(session.graph)
    if robot.too_late > max(1, TOO_LATE * robot.presses):
        outcome.problems.append(
            f'{robot.too_late} of {robot.presses} presses came after their episode: nothing shown'
        )
    last = _resident(session.graph)
    growth = {name: last[name] - size for name, size in warm.items()}
    outcome.illegal = robot.illegal
    outcome.figures |= {
        'ticks': ticks,
        'episodes': episode,
        'reloads': reloads,
        'takeovers': robot.takeovers,
        'presses': robot.presses,
        'presses after their episode': robot.too_late,
        'growth of each process, bytes': growth,
        'most growth of a process, bytes': max(growth.values()),
    }


class _Robot:
    """What is decided and sent, and a hand at the emergency stop.

    Attributes:
        takeovers: from the policy.
        illegal: commands outside of the limits.
        presses: of the emergency stop.
        too_late: of the presses; by the time of these the episode was over.
    """

    def __init__(self, graph: Graph) -> None:
        self._graph, self._part = graph, load_contract(CONTRACT).actions['arm']
        self._codec, self._mode = ActionCodec(self._part), ''
        self.takeovers = self.illegal = self.presses = self.too_late = 0
        self._lock = threading.Lock()
        self._button = graph.node.create_publisher(Bool, EMERGENCY_TOPIC, 10)
        self.begin(0)
        graph.listen(STATUS_TOPICS['executed'], STATUS_TYPE, self._on_decision)
        graph.listen(self._part.topic, self._part.type, self._on_command)

    def begin(self, press_in: int) -> None:
        """A new episode: presses after so many ticks; 0: never."""
        with self._lock:
            self._press_in, self._pressed_ns = press_in, 0
            self._stopped, self._late, self._missed = False, 0, 0

    def problem(self) -> str:
        """What was wrong with the stop of the episode, which is over, or ''."""
        with self._lock:
            self._press_in = 0
            if self._missed:
                return f'{self._missed} ticks were driven after the emergency stop had stopped it'
            if self._late:
                return f'{self._late} ticks were driven more than 0.1 s after the emergency stop'
            if not self._pressed_ns or self._stopped:
                return ''
        self.too_late += 1
        try:
            wait_until(self._is_held, 'the emergency stop is known')
        except GraphError as unknown:
            return str(unknown)
        return ''

    def let_go(self) -> None:
        """Returns when the supervisor knows that the emergency stop is not pressed any more."""
        if self._pressed_ns:
            self._button.publish(Bool(data=False))
            wait_until(lambda: not self._is_held(), 'the emergency stop is let go')

    def _is_held(self) -> bool:
        """Whether the supervisor refuses to resume because the emergency stop is pressed."""
        try:
            self._graph.call('supervisor/resume')
        except GraphError as refused:
            return EMERGENCY in str(refused)
        return False

    def _on_decision(self, message: Any, info: Mapping[str, Any]) -> None:
        mode = Status.decode(message).values['mode']
        with self._lock:
            self.takeovers += (self._mode, mode) == ('policy', 'expert')
            self._mode = mode
            if self._stopped:
                self._missed += mode != 'stopped'
            elif self._pressed_ns and mode == 'stopped':
                self._stopped = True
                self._button.publish(Bool(data=False))  # which gives nobody authority
            elif self._pressed_ns:
                self._late += info['source_timestamp'] > self._pressed_ns + STOPPED_WITHIN_NS
            elif self._press_in and mode != 'stopped':
                self._press_in -= 1
                if not self._press_in:
                    self.presses += 1
                    self._button.publish(Bool(data=True))
                    self._pressed_ns = time.time_ns()  # the clock of the middleware's stamps

    def _on_command(self, message: Any) -> None:
        vector = self._codec.decode(message)
        outside = (vector < np.array(self._part.low)) | (vector > np.array(self._part.high))
        self.illegal += bool(outside.any()) or not np.isfinite(vector).all()


def _resident(graph: Graph) -> dict[str, int]:
    """Node → bytes of memory that its process holds."""
    page = os.sysconf('SC_PAGE_SIZE')
    return {
        name: page * int(Path(f'/proc/{pid}/statm').read_text().split()[1])
        for name, pid in graph.pids.items()
    }
