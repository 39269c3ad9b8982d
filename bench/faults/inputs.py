"""Inputs that go stale or die in the middle of a motion: the supervisor puts the robot on hold.

The source falls silent, stamps its actions a second late or ahead, is stopped (SIGSTOP) or killed;
the simulated arm is stopped, and with it the feedback and the simulated clock. The bar: hold, or a
fault, every time, and no command outside of the limits; in the full tier the first command of the
hold, and the last that moves, come within the limit of that input and 1 tick, 5 ticks beside two
busy loops, not counting how late a canary timer was. The time runs from when the fault is
injected, or from the last good action where a source sent one before it obeyed.
"""

from __future__ import annotations

from contextlib import ExitStack, nullcontext
import random
import signal
import time

from imitation_ros.frames.status import STATUS_TOPICS

from bench.faults.driven import Canary, Driven, driven, wait_until
from bench.faults.outcome import Outcome
from bench.takeover import busy_loops

FAULTS = ('freeze', 'late', 'future', 'stop source', 'stop arm', 'kill source')
TRIALS = {'short': 6, 'full': 300}
TICKS = {'idle': 1, 'busy': 5}
KILLED_EVERY = 5
"""Rounds: DDS gives a killed source up after 20 s, and until then a new one is a second."""
SETTLED_S = 0.2
"""After hold is said; braking takes less."""
HELD = ('hold', 'stopped')


def run(tier: str, seed: int) -> Outcome:
    """Lets inputs die; see the module's text."""
    outcome, rng = Outcome('stale or dead inputs'), random.Random(seed)
    loads = ('idle', 'busy') if tier == 'full' else ('idle',)
    with driven({}) as robot:
        canary = Canary()
        for load in loads:
            times = []
            with busy_loops(2) if load == 'busy' else nullcontext():
                for fault in _faults(TRIALS[tier]):
                    _replace_killed_source(robot)
                    robot.drive()
                    time.sleep(rng.uniform(0.0, 0.2))
                    outcome.injected += 1
                    problem, took_s = _once(robot, fault, canary, load)
                    times.append(took_s)
                    if problem and (tier == 'full' or took_s == float('inf')):
                        outcome.problems.append(f'{fault} ({load}): {problem}')
                    else:
                        outcome.survived += 1
            outcome.figures[f'{load}: longest to hold, s'] = round(max(times), 4)
            outcome.figures[f'{load}: longest of the canary, s'] = round(canary.worst_s(0.0), 4)
        outcome.illegal = robot.watcher.illegal
    return outcome


def _faults(count: int) -> list[str]:
    """Each by turns, the kill less often."""
    kinds: list[str] = []
    while len(kinds) < count:
        rounds = len(kinds) // (len(FAULTS) - 1)
        kinds += FAULTS if rounds % KILLED_EVERY == 0 else FAULTS[:-1]
    return kinds[:count]


def _once(robot: Driven, fault: str, canary: Canary, load: str) -> tuple[str, float]:
    """What was wrong, or '', and how long it took until hold."""
    watcher, contract = robot.watcher, robot.contract
    with ExitStack() as undo:
        began_s = _inject(robot, fault, undo)
        try:
            wait_until(lambda: watcher.mode in HELD, 'hold', 10.0)
        except Exception as error:
            return str(error), float('inf')
        time.sleep(SETTLED_S)
        took_s = max(watcher.first(HELD, began_s), watcher.last_moving()) - began_s
        excuse_s = canary.worst_s(began_s)
    watcher.forget()
    tick_s = 1 / contract.rate_hz
    # The limit of an action is 0.1 s, as is that of the feedback: two ticks here.
    allowed_s = 2 * tick_s + TICKS[load] * tick_s + excuse_s
    late = took_s > allowed_s
    return f'{took_s:.3f} s (at most {allowed_s:.3f} s)' if late else '', took_s


def _inject(robot: Driven, fault: str, undo: ExitStack) -> float:
    """Returns when it began: not before the last good action that the source says it sent."""
    if fault in ('freeze', 'late', 'future'):
        undo.callback(robot.tell, 'go')
        told_s = time.monotonic()
        return max(told_s, robot.tell(fault))
    process = robot.arm if fault == 'stop arm' else robot.source
    if fault != 'kill source':
        undo.callback(process.send_signal, signal.SIGCONT)
    began_s = time.monotonic()
    process.send_signal(signal.SIGKILL if fault == 'kill source' else signal.SIGSTOP)
    return began_s


def _replace_killed_source(robot: Driven) -> None:
    """Starts another, when the graph has forgotten the killed one."""
    if robot.source.poll() is None:
        return
    topic = STATUS_TOPICS['teleop']
    wait_until(lambda: robot.graph.node.count_publishers(topic) == 0, 'DDS gives the source up')
    robot.start_source()
