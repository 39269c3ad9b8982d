"""Gates: whether the policy or the expert should drive the next tick.

A gate sees what both would do and what the policy says of itself, and chooses. It is a pure
function of that, of its settings and of what it has seen before: the node `supervisor` and the
in-process DAgger ask the same gates. That the chosen one is there and may drive is the business
of `authority`.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Mapping
from dataclasses import dataclass
import math
from typing import ClassVar, Protocol

from imitation_ros.errors import ImitationError, one_of
from imitation_ros.frames.actions import action_distance
from imitation_ros.types import Action, Spec
import numpy as np

POLICY, TELEOP = 'policy', 'teleop'
SCHEDULES = ('constant', 'linear', 'exponential')


@dataclass(frozen=True)
class View:
    """What a gate sees of a tick.

    Attributes:
        tick_ns: the tick.
        driving: stream that drove the tick before, '' at the start.
        policy: the policy's action, None where it has none.
        expert: the expert's action, None where nobody answers.
        uncertainty: disagreement of the policy's ensemble, in standard deviations of its actions;
            None for a policy without one.
        risk: the policy's guess, 0..1, that the expert would act differently; None without one.
        takeover: whether a human asks for control.
    """

    tick_ns: int
    driving: str
    policy: Action | None
    expert: Action | None
    uncertainty: float | None = None
    risk: float | None = None
    takeover: bool = False


@dataclass(frozen=True)
class Choice:
    """Who should drive, 'policy' or 'teleop', and for people: why."""

    stream: str
    reason: str


TAKEN_OVER = Choice(TELEOP, 'the human has taken over')
"""Every gate's choice while a human asks for control."""


@dataclass(frozen=True)
class GateConfig:
    """Which gate, and its settings.

    Attributes:
        gate: a key of `GATES`.
        beta: probability that the expert drives in round 0.
        beta_schedule: how it falls: 'constant', 'linear' (to 0 in round `beta_rounds`) or
            'exponential' (beta ** round, as in the paper for beta < 1).
        beta_rounds: of the linear schedule.
        beta_per_tick: draw each tick instead of each episode.
        round: of DAgger, from 0.
        seed: of the draws.
        uncertainty: from where on the expert is asked, in standard deviations.
        discrepancy: distance of the two actions from where on the expert drives; see
            `action_distance`.
        risk: of the policy from where on the expert drives.
        release: fraction of a threshold below which the policy gets control back.
        budget: share of the ticks that 'thrifty' may ask the expert for.
    """

    gate: str = 'human'
    beta: float = 1.0
    beta_schedule: str = 'constant'
    beta_rounds: int = 10
    beta_per_tick: bool = False
    round: int = 0
    seed: int = 0
    uncertainty: float = 0.3
    discrepancy: float = 0.3
    risk: float = 0.5
    release: float = 0.5
    budget: float = 0.1

    def __post_init__(self) -> None:
        if self.gate not in GATES:
            raise ImitationError(f'gate: {self.gate!r}; {one_of(self.gate, GATES)}')
        if self.beta_schedule not in SCHEDULES:
            hint = one_of(self.beta_schedule, SCHEDULES)
            raise ImitationError(f'beta_schedule: {self.beta_schedule!r}; {hint}')
        for name in ('beta', 'risk', 'release', 'budget'):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ImitationError(f'{name}: {getattr(self, name)}; valid: 0 to 1')
        for name in ('uncertainty', 'discrepancy'):
            if not getattr(self, name) > 0.0:
                raise ImitationError(f'{name}: {getattr(self, name)}; valid: above 0')
        if self.beta_rounds < 1 or self.round < 0:
            raise ImitationError('beta_rounds: at least 1; round: at least 0')

    @property
    def present_beta(self) -> float:
        """The probability of this round."""
        if self.beta_schedule == 'linear':
            return self.beta * max(0.0, 1.0 - self.round / self.beta_rounds)
        if self.beta_schedule == 'exponential':
            return float(self.beta**self.round)
        return self.beta


class Gate(Protocol):
    """One strategy.

    Attributes:
        labels_every_tick: whether the expert is asked about every tick; else only about those
            that it drives, and what it says at others is no label.
    """

    labels_every_tick: ClassVar[bool]

    def __init__(self, config: GateConfig, specs: Mapping[str, Spec]) -> None: ...

    def start(self, episode: int) -> None:
        """A new episode begins; what was learned online is kept."""

    def choose(self, view: View) -> Choice:
        """Who should drive this tick; a human who asks for control, whatever else there is."""


class Beta:
    """The expert drives with probability β_i, and labels every state.

    DAgger, Ross, Gordon & Bagnell, A Reduction of Imitation Learning and Structured Prediction to
    No-Regret Online Learning, AISTATS 2011, algorithm 3.1. β = 1 is pure demonstration.
    """

    labels_every_tick: ClassVar[bool] = True

    def __init__(self, config: GateConfig, specs: Mapping[str, Spec]) -> None:
        self._config, self._episode = config, 0

    def start(self, episode: int) -> None:
        """Draws anew."""
        self._episode = episode

    def choose(self, view: View) -> Choice:
        """The same seed, round, episode and tick: the same choice."""
        if view.takeover:
            return TAKEN_OVER
        config = self._config
        key = [config.seed, config.round, self._episode]
        if config.beta_per_tick:
            key.append(view.tick_ns)
        drawn = np.random.default_rng(key).random() < config.present_beta
        return Choice(TELEOP if drawn else POLICY, f'beta is {config.present_beta:.3g}')


class Shadow:
    """The policy drives unless a human takes over; what the expert does meanwhile are labels."""

    labels_every_tick: ClassVar[bool] = True

    def __init__(self, config: GateConfig, specs: Mapping[str, Spec]) -> None:
        pass

    def start(self, episode: int) -> None:
        """Nothing to do."""

    def choose(self, view: View) -> Choice:
        """The policy, unless a human takes over."""
        if view.takeover:
            return TAKEN_OVER
        return Choice(POLICY, 'the policy drives, the expert is watched')


class Human:
    """A human takes over and gives back.

    HG-DAgger, Kelly, Sidrane, Driggs-Campbell & Kochenderfer, ICRA 2019.
    """

    labels_every_tick: ClassVar[bool] = False

    def __init__(self, config: GateConfig, specs: Mapping[str, Spec]) -> None:
        pass

    def start(self, episode: int) -> None:
        """Nothing to do."""

    def choose(self, view: View) -> Choice:
        """Whoever asks for control has it."""
        if view.takeover:
            return TAKEN_OVER
        return Choice(POLICY, 'the human lets the policy drive')


class Threshold:
    """The expert drives from where a measure passes a threshold until it is well below it."""

    labels_every_tick: ClassVar[bool] = False

    def __init__(self, config: GateConfig, specs: Mapping[str, Spec]) -> None:
        self._config, self._specs = config, specs

    def start(self, episode: int) -> None:
        """Nothing to do."""

    def measures(self, view: View) -> list[tuple[str, float | None, float]]:
        """Name, value (None where it cannot be told) and threshold, of which each may ask."""
        raise NotImplementedError

    def choose(self, view: View) -> Choice:
        """With hysteresis: control goes back below `release` times the threshold."""
        if view.takeover:
            return TAKEN_OVER
        factor = self._config.release if view.driving == TELEOP else 1.0
        for name, value, threshold in self.measures(view):
            if value is None:
                return Choice(TELEOP, f'the policy does not say its {name}')
            if value > factor * threshold:
                return Choice(TELEOP, f'{name} {value:.3g} (limit {factor * threshold:.3g})')
        return Choice(POLICY, 'the policy is sure')


class Uncertainty(Threshold):
    """The policy asks for help where its ensemble disagrees.

    Needs no expert until it asks; Menda, Driggs-Campbell & Kochenderfer, EnsembleDAgger: A
    Bayesian Approach to Safe Imitation Learning, IROS 2019, "doubt rule".
    """

    def measures(self, view: View) -> list[tuple[str, float | None, float]]:
        """The doubt alone."""
        return [('uncertainty', view.uncertainty, self._config.uncertainty)]


class Ensemble(Threshold):
    """The expert drives where the ensemble disagrees or its own action is another one.

    EnsembleDAgger (see `Uncertainty`), algorithm 2: doubt and discrepancy. The expert is watched
    all the time, so each tick counts as a label.
    """

    labels_every_tick: ClassVar[bool] = True

    def measures(self, view: View) -> list[tuple[str, float | None, float]]:
        """Doubt and discrepancy."""
        config = self._config
        return [
            ('uncertainty', view.uncertainty, config.uncertainty),
            ('discrepancy', _discrepancy(view, self._specs), config.discrepancy),
        ]


class Safe(Threshold):
    """The expert drives where a classifier predicts that the policy would err.

    SafeDAgger, Zhang & Cho, Query-Efficient Imitation Learning for End-to-End Simulated Driving,
    AAAI 2017. The expert is not asked to find that out.
    """

    def measures(self, view: View) -> list[tuple[str, float | None, float]]:
        """The predicted risk."""
        return [('risk', view.risk, self._config.risk)]


class Thrifty:
    """The expert is asked for the most novel and the most risky ticks that a budget allows.

    ThriftyDAgger, Hoque et al., ThriftyDAgger: Budget-Aware Novelty and Risk Gating for
    Interactive Imitation Learning, CoRL 2021. The thresholds are quantiles of what was seen while
    the policy drove; control goes back where the actions agree and the risk is below its median.
    The quantile is that at which, with corrections as long as they were so far, the expert drives
    the share of the ticks that the budget says.
    """

    labels_every_tick: ClassVar[bool] = False
    FIRST: ClassVar[int] = 50
    """Ticks seen before there is a quantile; until then the settings' thresholds hold."""

    def __init__(self, config: GateConfig, specs: Mapping[str, Spec]) -> None:
        self._config, self._specs = config, specs
        self._novelty: list[float] = []  # sorted
        self._risk: list[float] = []
        self._asked = self._driven = 0

    def start(self, episode: int) -> None:
        """Nothing to do: quantiles are over all episodes."""

    def choose(self, view: View) -> Choice:
        """Asks above either quantile, gives back on agreement."""
        if view.takeover:
            return TAKEN_OVER
        if view.uncertainty is None:
            return Choice(TELEOP, 'the policy does not say its uncertainty')
        risk = view.risk or 0.0
        if view.driving != TELEOP:
            insort(self._novelty, view.uncertainty)
            insort(self._risk, risk)
        else:
            self._driven += 1
        config, share = self._config, 1.0 - self._rate(1 if view.risk is None else 2)
        novelty_limit = _quantile(self._novelty, share, config.uncertainty, self.FIRST)
        risk_limit = _quantile(self._risk, share, config.risk, self.FIRST)
        if view.driving == TELEOP:
            discrepancy = _discrepancy(view, self._specs)
            calm = risk <= _quantile(self._risk, 0.5, config.risk, self.FIRST)
            if discrepancy is not None and discrepancy < config.discrepancy and calm:
                return Choice(POLICY, f'the actions agree ({discrepancy:.3g}), the risk is low')
            return Choice(TELEOP, 'the actions do not agree yet')
        novel, risky = view.uncertainty > novelty_limit, risk > risk_limit
        if not novel and not risky:
            return Choice(POLICY, 'neither novel nor risky')
        self._asked += 1
        if novel:
            return Choice(TELEOP, f'novelty {view.uncertainty:.3g} (limit {novelty_limit:.3g})')
        return Choice(TELEOP, f'risk {risk:.3g} (limit {risk_limit:.3g})')

    def _rate(self, measures: int) -> float:
        """At which share of the policy's ticks each of so many measures should ask."""
        budget, length = self._config.budget, max(1.0, self._driven / max(1, self._asked))
        return min(1.0, budget / (max(1e-9, 1.0 - budget) * length * measures))


GATES: dict[str, type[Gate]] = {
    'beta': Beta,
    'shadow': Shadow,
    'human': Human,
    'uncertainty': Uncertainty,
    'ensemble': Ensemble,
    'safe': Safe,
    'thrifty': Thrifty,
}


def make_gate(config: GateConfig, specs: Mapping[str, Spec]) -> Gate:
    """The gate of the settings.

    Args:
        config: settings.
        specs: of the contract's actions, for distances between them.
    """
    return GATES[config.gate](config, specs)


def _discrepancy(view: View, specs: Mapping[str, Spec]) -> float | None:
    if view.policy is None or view.expert is None:
        return None
    return action_distance(view.policy, view.expert, specs)


def _quantile(values: list[float], share: float, otherwise: float, least: int) -> float:
    """Of sorted values; `otherwise` while there are too few.

    Infinity for a share of which no value is large enough yet: one of n is above n - 1 others by
    chance.
    """
    if len(values) < least:
        return otherwise
    index = math.ceil(share * len(values))
    return values[index] if index < len(values) else math.inf
