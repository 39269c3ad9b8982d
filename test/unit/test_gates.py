"""Gates: who should drive a tick."""

from __future__ import annotations

from imitation_ros.errors import ImitationError
from imitation_ros.supervision.gates import GateConfig, GATES, make_gate, View
from imitation_ros.types import Spec
import numpy as np
import pytest

SPECS = {'arm': Spec('arm', (2,), fields=('x', 'y'), low=-np.ones(2), high=np.ones(2))}
STILL, FAST = {'arm': np.zeros(2)}, {'arm': np.ones(2)}


def view(tick=1, driving='policy', expert=STILL, **more):
    return View(tick, driving, STILL, expert, **more)


@pytest.mark.parametrize('name', GATES)
def test_a_human_who_takes_over_drives_whatever_the_gate(name):
    gate = make_gate(GateConfig(name, beta=0.0), SPECS)
    gate.start(0)
    assert gate.choose(view(uncertainty=0.0, risk=0.0)).stream == 'policy'
    assert gate.choose(view(2, uncertainty=0.0, risk=0.0, takeover=True)).stream == 'teleop'


def test_beta_draws_the_share_it_says_and_the_same_for_the_same_seed():
    gates = [make_gate(GateConfig('beta', 0.3, beta_per_tick=True), SPECS) for _ in range(2)]
    first, second = ([gate.choose(view(k)).stream for k in range(2000)] for gate in gates)
    assert first == second
    assert first.count('teleop') / 2000 == pytest.approx(0.3, abs=0.04)


def test_beta_falls_as_its_schedule_says():
    linear, exponential = (
        [GateConfig('beta', 0.5, name, beta_rounds=4, round=k).present_beta for k in range(6)]
        for name in ('linear', 'exponential')
    )
    assert linear == [0.5, 0.375, 0.25, 0.125, 0.0, 0.0]
    assert exponential == [1.0, 0.5, 0.25, 0.125, 0.0625, 0.03125]


def test_a_threshold_has_hysteresis():
    gate = make_gate(GateConfig('uncertainty', uncertainty=0.4, release=0.5), SPECS)
    assert gate.choose(view(uncertainty=0.3)).stream == 'policy'
    assert gate.choose(view(uncertainty=0.5)).stream == 'teleop'
    assert gate.choose(view(driving='teleop', uncertainty=0.3)).stream == 'teleop'
    assert gate.choose(view(driving='teleop', uncertainty=0.1)).stream == 'policy'


@pytest.mark.parametrize(
    ('driving', 'risk', 'drives'),
    [
        ('policy', 0.6, 'policy'), ('policy', 0.61, 'teleop'),
        ('teleop', 0.16, 'teleop'), ('teleop', 0.15, 'policy'),
        ('policy', None, 'teleop'), ('teleop', None, 'teleop'),
    ],
)  # fmt: skip
def test_safe_asks_above_its_threshold_of_risk_until_well_below(driving, risk, drives):
    gate = make_gate(GateConfig('safe', risk=0.6, release=0.25), SPECS)
    choice = gate.choose(view(driving=driving, risk=risk, expert=None, uncertainty=9.0))
    assert choice.stream == drives
    assert risk is not None or choice.reason == 'the policy does not say its risk'


@pytest.mark.parametrize(
    ('driving', 'uncertainty', 'distance', 'drives'),
    [
        ('policy', 0.4, 0.5, 'policy'), ('policy', 0.41, 0.0, 'teleop'),
        ('policy', 0.0, 0.51, 'teleop'), ('teleop', 0.2, 0.25, 'policy'),
        ('teleop', 0.21, 0.0, 'teleop'), ('teleop', 0.0, 0.26, 'teleop'),
        ('policy', None, 0.0, 'teleop'), ('policy', 0.0, None, 'teleop'),
    ],
)  # fmt: skip
def test_ensemble_asks_above_either_threshold_until_below_both(
    driving, uncertainty, distance, drives
):
    config = GateConfig('ensemble', uncertainty=0.4, discrepancy=0.5, release=0.5)
    expert = None if distance is None else {'arm': np.array([0.0, distance])}
    seen = view(driving=driving, uncertainty=uncertainty, expert=expert)
    assert make_gate(config, SPECS).choose(seen).stream == drives


@pytest.mark.parametrize('risky', [False, True])
@pytest.mark.parametrize('correction', [1, 30])
def test_thrifty_asks_for_the_share_of_ticks_that_the_budget_allows(risky, correction):
    """It used to count how often it asked, however long the expert then drove."""
    gate = make_gate(GateConfig('thrifty', budget=0.1, uncertainty=1.0, discrepancy=0.5), SPECS)
    rng, driving, left, driven = np.random.default_rng(0), 'policy', 0, 0
    for tick in range(10_000):
        risk = rng.random() if risky and driving == 'policy' else 0.0
        expert = FAST if left > 1 else STILL  # they agree at the end of a correction
        seen = view(tick, driving, expert, uncertainty=rng.random(), risk=risk if risky else None)
        chosen = gate.choose(seen).stream
        left = correction if chosen != driving else left - 1
        driving = chosen
        driven += chosen == 'teleop'
    assert 0.07 <= driven / 10_000 <= 0.13


@pytest.mark.parametrize(
    ('settings', 'says'),
    [
        ({'gate': 'hunam'}, "did you mean 'human'"),
        ({'beta': 1.5}, 'beta: 1.5; valid: 0 to 1'),
        ({'uncertainty': 0.0}, 'valid: above 0'),
        ({'beta_schedule': 'cubic'}, 'beta_schedule'),
    ],
)
def test_settings_that_cannot_be_are_refused(settings, says):
    with pytest.raises(ImitationError, match=says):
        GateConfig(**settings)
