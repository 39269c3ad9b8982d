"""The mux: actions of the sources in, what the robot is told out. Authority and guard together.

The node `supervisor` is this class plus topics. Times are passed in: `now_ns` of a steady clock,
`tick_ns` of ROS time.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from imitation_ros.frames.contract import Contract
from imitation_ros.frames.status import TickAction
from imitation_ros.supervision.authority import Authority, Mode, STREAMS
from imitation_ros.supervision.corrections import Corrections
from imitation_ros.supervision.feedback import Feedback
from imitation_ros.supervision.gates import GateConfig
from imitation_ros.supervision.gating import Gating
from imitation_ros.supervision.guard import Guard, Refused
from imitation_ros.supervision.handover import Handover
from imitation_ros.supervision.noise import ActionNoise
from imitation_ros.supervision.takeover import BUTTON, Takeover, unfit
from imitation_ros.supervision.tracking import Tracking
from imitation_ros.supervision.watch import Watch
from imitation_ros.supervision.workspace import Excess
from imitation_ros.types import Action, Array

EMERGENCY = 'emergency stop is pressed'
STALE_AFTER_S = 0.1
"""Where nothing else is set."""
REPEAT_S = 0.5
"""So long the last command is said again before the silence: one message may be lost."""
BRAKE_S = 3.0
"""At most, for a supervisor that is ending: `ros2 launch` has 5 s of patience."""


@dataclass(frozen=True)
class Command:
    """What the robot is told, and why.

    Attributes:
        tick_ns: the tick of the executed action; of the clock where nobody drives.
        action: part → vector; parts that must stay silent are left out.
        mode: of the supervisor.
        source: node that drives, '' if nobody does.
        reason: for people.
        gating: the gate that has authority; None without one.
    """

    tick_ns: int
    action: Action
    mode: Mode
    source: str
    reason: str
    gating: Gating | None = None


class Mux:
    """One contract's supervisor, without ROS.

    In real time, `command` is called at `command_hz` and a source is live while its newest action
    is younger than `stale_after_s`. In lockstep, `answer` is called when something came in and
    gives one command a tick; a source is live for the tick that its newest action is for.

    Args:
        contract: of the robot.
        lockstep: whether simulated time waits for each command.
        stale_after_s: age limit of a source's newest action; 0 means `STALE_AFTER_S`, or two ticks
            where that is longer.
        home_speed: as a fraction of the velocity limits.
        participants: lockstep: streams whose word each tick waits for; empty: the holder's, or
            with a gate those that were there at `resume`.
        tracking_delay_s: real time: how far the robot may lag behind; see `Tracking`.
        guard: of narrower limits than the contract's; None: of those.
        excess_limit: ticks in a row that may be far out of bounds; 0: any number.

    Attributes:
        authority: who drives.
        gating: the gate that chooses, if there is one.
        takeover: how a human asks for control; gates are told.
        corrections: how long the expert drove.
        noise: added to the expert's actions before they are executed.
        excess: counts targets far out of bounds.
        pressed: whether the emergency stop is.
        waiting_for: lockstep: the stream whose tick waits for its measured state.
        watches: stream → what is known of it.
    """

    def __init__(
        self,
        contract: Contract,
        lockstep: bool = False,
        stale_after_s: float = 0.0,
        home_speed: float = 0.2,
        participants: Collection[str] = (),
        tracking_delay_s: float = 0.1,
        guard: Guard | None = None,
        excess_limit: int = 0,
    ) -> None:
        self._contract, self._lockstep = contract, lockstep
        self._period_ns = contract.tick_period_ns
        self._dt_s = 1 / (contract.rate_hz if lockstep else contract.command_hz)
        default_ns = max(round(STALE_AFTER_S * 1e9), 2 * self._period_ns)
        self._stale_after_ns = round(stale_after_s * 1e9) or default_ns
        self._home_speed, self._homing = home_speed, False
        self._guard = guard or Guard(contract)
        self.excess = Excess(excess_limit)
        self._restart = True  # the next command must start at the measured state
        self._idle = True  # the last command that was due was none, or said again before silence
        self._moved_ns = 0  # when the robot was not at rest, or somebody had authority
        self.pressed = False
        self._feedback = Feedback(contract, self._guard.measurable)
        self._answered: Command | None = None
        self._asked_by = ''
        self.waiting_for: str | None = None
        self.watches = {stream: Watch(stream, contract, self._guard) for stream in STREAMS}
        self.authority = Authority()
        self.gating: Gating | None = None
        self.takeover = Takeover(BUTTON, contract)
        self.corrections = Corrections()
        self._handover = Handover(contract, self._guard)
        self._tracking = Tracking(contract, 0.0 if lockstep else tracking_delay_s)
        self._participants = frozenset(participants)
        self._awaited: set[str] = set()  # lockstep: who has spoken since `resume`, or was there
        self._taken = False  # hands have changed since the last command
        self._policy_since_ns: int | None = None  # since when the policy is to drive again
        self.noise = ActionNoise(contract, 0.0, 0)

    def offer(self, stream: str, tick: TickAction, now_ns: int, ros_ns: int = 0) -> None:
        """Takes the whole action of a source for a tick.

        Args:
            stream: 'policy' or 'teleop'.
            tick: the action.
            now_ns: steady time.
            ros_ns: ROS time; an action for a tick that is long past is stale when it comes, and
                one for a tick to come is from a clock that cannot be trusted. In real time one
                that comes after a newer one is passed over.
        """
        late_ns = ros_ns - tick.status.tick_ns
        late = not self._lockstep and abs(late_ns) > self._stale_after_ns
        side = 'ago' if late_ns > 0 else 'ahead'
        fault = f'its action is for a tick {abs(late_ns) / 1e9:.2f} s {side}' if late else ''
        watch = self.watches[stream]
        back_ns = (watch.tick_ns or 0) - tick.status.tick_ns
        if not self._lockstep and not late and 0 < back_ns <= self._stale_after_ns:
            watch.refused += 1  # out of order; a newer one is here, and drives
            return
        watch.take(tick, now_ns, fault, 0 if self._lockstep else late_ns)

    def measure(
        self,
        part: str,
        vector: Array,
        stamp_ns: int | None,
        now_ns: int,
        ros_ns: int | None = None,
    ) -> None:
        """Takes the measured state of an action part; see `Feedback.take`."""
        self._feedback.take(part, vector, stamp_ns, now_ns, None if self._lockstep else ros_ns)

    def problems(self, now_ns: int) -> dict[str, str]:
        """Stream → why it is not live in real time, '' if it is."""
        return {
            stream: watch.problem(now_ns, self._stale_after_ns)
            for stream, watch in self.watches.items()
        }

    def resume(
        self, now_ns: int, matched: Collection[str], gate: GateConfig | None = None
    ) -> tuple[bool, str]:
        """Gives authority to the one live source or to a gate; says whether, and why.

        It ends no hold of a source that must not take over where the robot is.

        Args:
            now_ns: steady time.
            matched: streams that somebody publishes. In lockstep, where time waits for
                the supervisor, a source that is there counts as live, and so do participants.
            gate: who is to choose the source; None: nobody, there must be only one.
        """
        lacking = EMERGENCY if self.pressed else self._lacking(now_ns) or self._jump()
        if self._homing or lacking:
            return False, lacking or 'the robot is on its way home; wait, or stop it'
        if gate is not None and (problem := unfit(self.takeover.how, gate)):
            return False, problem
        problems = self.problems(now_ns)
        if self._lockstep:
            matched = self._participants or matched
            problems = {s: '' if s in matched else 'nobody publishes it' for s in problems}
        if not self.authority.gated:
            self._follow_holder(problems, now_ns)
        had_authority, stood = self.authority.driving, self.authority.holder is None
        put = self._lockstep and stood  # by the simulator, since its last tick
        if gate is None and not had_authority and not put and (far := self._far_away(problems)):
            return False, far
        given, text = self.authority.resume(problems, gated=gate is not None)
        if given and not had_authority:
            self._start_over()
            self.excess.start()
            for watch in self.watches.values():
                watch.renewed = False  # whoever begins is looked at anyway
            self._start_gate(gate, matched)
        if given and stood:
            self.corrections.start()
        return given, text

    def stop(self, reason: str) -> str:
        """Takes authority away; the robot brakes and holds."""
        self._end()
        return self.authority.stop(reason)

    def fail(self, fault: str) -> None:
        """Stops because of a fault, which nothing but another `resume` ends."""
        self._end()
        self.authority.stop(fault, fault=True)

    def _end(self) -> None:
        """Whatever goes on ends: the way home, a correction, a takeover."""
        self._homing = False
        self.corrections.update(0, Mode.STOPPED, self.watches['policy'].values)
        self.takeover.press(False)

    def emergency(self, pressed: bool) -> None:
        """Stops, and lets nobody drive while the button is pressed; releasing it moves nothing."""
        self.pressed = pressed
        if pressed:
            self.fail(EMERGENCY)

    def begin(self) -> None:
        """Activation: silent, and whoever gets authority starts where the robot is then."""
        self._restart = self._idle = True
        self._homing = False

    def home(self, now_ns: int) -> tuple[bool, str]:
        """Starts the slow drive to the contract's home, or says why not."""
        if self.pressed:
            return False, EMERGENCY
        if self.authority.fault:
            return False, f'{self.authority.fault}; ~/resume ends a fault'
        if not self._contract.home:
            return False, 'the contract has no home'
        if self.authority.mode is not Mode.STOPPED:
            return False, f'{self.authority.holder} has authority; stop first'
        problem = self._lacking(now_ns) or self._jump()
        if problem := problem or self._guard.blocked(self._feedback.vectors):
            return False, problem
        self._start_over()
        self._homing = True
        return True, f'driving home at {self._home_speed:.0%} of the velocity limits'

    @property
    def resting(self) -> bool:
        """Whether nobody drives and the robot was brought to rest: nothing is left to say."""
        idle = self.authority.holder is None and not self._homing
        return idle and (self._restart or self._guard.at_rest)

    def command(self, now_ns: int, ros_ns: int) -> Command:
        """Real time: the command that is due now; empty when it has been at rest for a while."""
        tick_ns = ros_ns - ros_ns % self._period_ns
        self._watch_robot(now_ns)
        self._settle(self.problems(now_ns), tick_ns, now_ns, ros_ns)
        resting = self.resting
        self._moved_ns = self._moved_ns if resting else now_ns
        said = self._restart or now_ns - self._moved_ns > REPEAT_S * 1e9
        command = self._nothing(tick_ns) if resting and said else self._next(now_ns, tick_ns)
        self._idle = resting
        return command

    def _nothing(self, tick_ns: int) -> Command:
        return self._as_command(tick_ns, {}, '')

    def _as_command(self, tick_ns: int, action: Action, source: str) -> Command:
        authority = self.authority
        gating = self.gating if authority.gated else None
        return Command(tick_ns, action, authority.mode, source, authority.reason, gating)

    def _watch_robot(self, now_ns: int) -> None:
        """A robot that moves or holds must say where it is, and be where it was told to be."""
        lacking = '' if self.authority.driving else self._lacking(now_ns)
        if self._homing and lacking:
            self.stop(lacking)
        told = self._homing or self.authority.holder is not None
        if self._restart or not told or lacking:
            return
        if astray := self._tracking.problem(self._feedback.vectors):
            self.fail(astray)

    def answer(self, stream: str, now_ns: int) -> Command | None:
        """Lockstep: the command for the newest tick of `stream`, or None if it is not due.

        It is due when whoever has authority, or all of whom the gate chooses one, have said their
        word for the tick. The same stamp from the same stream again means that the answer got
        lost: it is given again. While nobody has authority, whoever comes first asks for the tick.
        """
        tick_ns = self.watches[stream].tick_ns
        if tick_ns is None or not self._whole(stream, tick_ns):
            return None
        last = self._answered
        if last is not None and tick_ns <= last.tick_ns:
            if tick_ns == last.tick_ns and stream == self._asked_by:
                return last
            if tick_ns == last.tick_ns and self.authority.gated:
                return None  # late, or again: the one that completed the tick asks for it
            if self.authority.holder is None and stream != self._asked_by:
                return None  # late: the other stream asked first
            self._restart = True  # the clock jumped back
        must_measure = self._restart or self.authority.gated
        self.waiting_for = stream if must_measure and not self._feedback.of_tick(tick_ns) else None
        if self.waiting_for is not None:
            return None
        self._settle(self._problems_at(tick_ns), tick_ns, now_ns, tick_ns)
        self._answered, self._asked_by = self._next(now_ns, tick_ns), stream
        return self._answered

    def last_commands(self, ros_ns: int) -> list[Command]:
        """The commands that bring the robot to rest, for a supervisor that is ending.

        They brake within the limits. Where `BRAKE_S` is not enough for that, the stop is sent
        all the same: a velocity that stayed on the wire would last until somebody sends another.
        """
        self.stop('the supervisor is ending')
        if self._restart or self._idle:  # what was said last is the stop
            return [] if self._restart else [self._nothing(ros_ns)]
        commands = [self._next(0, ros_ns)]
        while not self._guard.at_rest and len(commands) * self._dt_s < BRAKE_S:
            commands.append(self._next(0, ros_ns))
        self._guard.freeze()
        again = 1 if self._lockstep else round(REPEAT_S / self._dt_s)
        return [*commands, *(self._next(0, ros_ns) for _ in range(again))]

    def _whole(self, stream: str, tick_ns: int) -> bool:
        """Lockstep: whether the word of `stream` was the last that the tick waited for."""
        if not self.authority.gated and not self._participants:
            return self.authority.holder in (None, stream)
        self._awaited.add(stream)
        awaited = self._participants or self._awaited
        return all(self.watches[each].tick_ns == tick_ns for each in awaited)

    def _problems_at(self, tick_ns: int) -> dict[str, str]:
        """Lockstep: stream → why it has no action for the tick, '' if it has."""
        return {
            stream: watch.fault if watch.tick_ns == tick_ns else 'it said nothing of this tick'
            for stream, watch in self.watches.items()
        }

    def _silent(self, watch: Watch, tick_ns: int, now_ns: int) -> bool:
        """Whether a source said nothing of this tick, or in real time for too long."""
        if self._lockstep:
            return watch.tick_ns != tick_ns
        return now_ns - watch.received_ns > self._stale_after_ns

    def _start_gate(self, config: GateConfig | None, matched: Collection[str]) -> None:
        """A new episode for the gate; what it has learned stays while its settings do."""
        if config is None:
            self.gating = None
        elif self.gating is None or self.gating.config != config:
            self.gating = Gating(config, self._contract)
        if self.gating is not None:
            self.gating.start()
        self._awaited, self._policy_since_ns = set(matched), None

    def _settle(self, problems: Mapping[str, str], tick_ns: int, now_ns: int, ros_ns: int) -> None:
        """Who drives the next command."""
        if self.gating is None or not self.authority.gated:
            self._follow_holder(problems, now_ns)
            return
        policy, teleop = self.watches['policy'], self.watches['teleop']
        actions = {
            stream: None if problems[stream] else watch.action
            for stream, watch in self.watches.items()
        }
        takeover = self.takeover.asked(teleop, self._silent(teleop, tick_ns, now_ns))
        choice = self.gating.choose(tick_ns, actions, policy.values, takeover)
        stream, reason = choice.stream, choice.reason
        if stream != 'policy' or self.authority.drives('policy'):
            self._policy_since_ns = None
        elif self._policy_since_ns is None:
            self._policy_since_ns = ros_ns
        lacking = self._lacking(now_ns)
        problem = problems[stream] or lacking or self._unready(stream)
        helped = self.authority.drives('teleop') and not (problems['teleop'] or lacking)
        if stream == 'policy' and problem and not problems['policy'] and helped:
            stream, problem, reason = 'teleop', '', f'until the policy may drive: {problem}'
        self._taken |= self.authority.hand_to(stream, problem, reason)

    def _follow_holder(self, problems: Mapping[str, str], now_ns: int) -> None:
        """Without a gate: in and out of hold."""
        holder = self.authority.holder
        if holder is not None and not problems[holder]:
            problems = {**problems, holder: self._lacking(now_ns) or self._unready(holder)}
        self.authority.update(problems)

    def _unready(self, stream: str) -> str:
        """Why a live source that does not drive yet, or is another now, must not, or ''."""
        watch = self.watches[stream]
        if watch.action is None or (self.authority.drives(stream) and not watch.renewed):
            return ''
        if stream == 'policy' and watch.planned_ns < (self._policy_since_ns or 0):
            return 'its action is older than the handover'
        far = self._handover.refusal(watch.action, self._feedback.vectors)
        watch.renewed = watch.renewed and bool(far)
        return far

    def _far_away(self, problems: Mapping[str, str]) -> str:
        """Why the one live source must not begin to drive where the robot is, or ''."""
        live = [stream for stream, problem in problems.items() if not problem]
        action = self.watches[live[0]].action if len(live) == 1 else None
        far = action and self._handover.refusal(action, self._feedback.vectors)
        return f'{live[0]}: {far}' if far else ''

    def _lacking(self, now_ns: int) -> str:
        if self._lockstep:
            return ''
        return self._feedback.lacking(now_ns) or self._guard.lacking(now_ns)

    def _jump(self) -> str:
        """Why it is not known where the robot is, after a silence, or ''."""
        silent = (self._restart or self._idle) and not self._lockstep
        return self._feedback.jump if silent else ''

    def _next(self, now_ns: int, tick_ns: int) -> Command:
        authority, source, self._idle = self.authority, '', False
        action: Action = {}
        try:
            if self._restart:
                if jump := self._jump():
                    raise Refused(jump)
                self._guard.reset(self._feedback.vectors)
                self._tracking.start(self._feedback.vectors)
                self._restart = False
            if authority.driving and authority.holder is not None:
                watch = self.watches[authority.holder]
                action, source = self._drive(watch, now_ns), watch.source
                tick_ns = watch.tick_ns or tick_ns
            elif self._homing:
                action = self._guard.home(self._dt_s, self._home_speed)
                self._homing = not self._guard.at_home
                authority.reason = 'on the way home' if self._homing else 'at home'
            else:
                action = self._guard.hold(self._dt_s)
        except Refused as error:
            self.stop(str(error))
        self.takeover.sent(action, now_ns)
        self._tracking.sent(action)
        if authority.gated:
            self.corrections.update(tick_ns, authority.mode, self.watches['policy'].values)
        return self._as_command(tick_ns, action, source)

    def _drive(self, watch: Watch, now_ns: int) -> Action:
        if watch.action is None or watch.tick_ns is None:
            raise ValueError('a source without an action has authority')
        target = watch.action
        if self._taken or self.authority.mode is Mode.HANDOFF:
            self._taken = False
            self.authority.ramp(self._handover.far(target))
        if self.authority.holder == 'teleop':
            target = self.noise(target, watch.tick_ns)
        left_s = (watch.received_ns + self._period_ns - now_ns) / 1e9
        left_s = self._dt_s if self._lockstep else max(left_s, self._dt_s)
        guard, excess = self._guard, self.excess
        slowed = watch.tick_ns != excess.tick_ns and guard.beyond_reach(target, left_s)
        command = guard.advance(target, self._dt_s, left_s)
        if fault := excess.count(watch.tick_ns, guard.excess, slowed):
            self.fail(f'{watch.source}: {fault}')
        return command

    def _start_over(self) -> None:
        """Lets the first command after a silence start at the measured state.

        A robot that brakes or is on hold has its commands: they go on from the last one, or a
        sag below it would become a jump. In lockstep it may have been put elsewhere without a
        tick to brake in.
        """
        self._restart = self._restart or self._lockstep or self._idle
