"""DAgger learns: from few demonstrations it comes to succeed where its clone fails."""

from __future__ import annotations

from dataclasses import asdict, replace
from math import comb
from pathlib import Path

from imitation_ros.frames.contract import load_contract
from imitation_ros.learning.bc import BCConfig
from imitation_ros.learning.dagger import dagger, DaggerConfig, DaggerResult
from imitation_ros.learning.evaluation import evaluate
from imitation_ros.learning.sim_collector import SimCollector
from imitation_ros.supervision.gates import GateConfig, GATES
import numpy as np
import pytest

TRAINING = BCConfig(hidden=(64, 64), epochs=20, batch_size=128, validation_fraction=0.0)
CONFIG = DaggerConfig(
    gate=GateConfig('human', discrepancy=0.5),
    training=TRAINING,
    initial_episodes=4,
    episodes=4,
    rounds=2,
    held_out_every=4,
)
QUICK = replace(
    CONFIG,
    training=replace(TRAINING, hidden=(8,), members=2, epochs=1, steps_per_epoch=1),
    initial_episodes=2,
    episodes=2,
    held_out_every=2,
)
SCENES = range(500_900, 500_940)


@pytest.fixture(scope='module')
def collector():
    made = SimCollector('reach', load_contract('panda_reach'))
    yield made
    made.env.close()


def test_corrections_teach_what_demonstrations_did_not(collector, tmp_path):
    """The same scenes before and after; p by McNemar's exact test, Biometrika 12 (1947)."""
    result = dagger(collector, CONFIG, tmp_path / 'run', seed=50)
    before, after = (
        evaluate('reach', 'panda_reach', checkpoint, SCENES, workers=1).successes
        for checkpoint in (tmp_path / 'run' / 'round_000' / 'checkpoint', result.checkpoint)
    )
    gained = sum(new and not old for old, new in zip(before, after))
    lost = sum(old and not new for old, new in zip(before, after))
    changed = gained + lost
    p = sum(comb(changed, k) for k in range(gained, changed + 1)) / 2**changed
    assert p < 0.001, (gained, lost)
    assert np.mean(after) >= 0.9
    assert result.extra_labels < 300


def outcome(result: DaggerResult) -> list[dict[str, object]]:
    return [{**asdict(each), 'seconds': 0.0} for each in result.rounds]


@pytest.mark.parametrize('gate', ['beta', 'thrifty'])
def test_the_same_seed_gives_the_same_rounds_and_another_seed_others(collector, tmp_path, gate):
    config = replace(QUICK, gate=GateConfig(gate, beta=0.5, beta_per_tick=True))
    runs = [
        dagger(collector, config, tmp_path / name, seed)
        for name, seed in (('first', 60), ('again', 60), ('other', 61))
    ]
    assert outcome(runs[0]) == outcome(runs[1]) != outcome(runs[2])
    weights = 'round_002/checkpoint/policy.safetensors'
    first, again, other = (
        (tmp_path / n / weights).read_bytes() for n in ('first', 'again', 'other')
    )
    assert first == again != other


@pytest.mark.parametrize('gate', GATES)
def test_labels_are_what_the_gate_asks_the_expert_for(collector, tmp_path, gate):
    config = replace(QUICK, gate=GateConfig(gate, beta=0.0), rounds=1)
    result = dagger(collector, config, tmp_path / 'run', seed=62)
    done = result.rounds[1]
    every = gate in ('beta', 'shadow', 'ensemble')
    assert done.labels == (done.ticks if every else done.expert_ticks)
    assert result.rounds[0].labels == result.rounds[0].expert_ticks == result.rounds[0].ticks
    if gate in ('beta', 'shadow'):
        assert done.expert_ticks == 0


def test_frames_that_the_expert_did_not_drive_part_segments(collector, tmp_path):
    checkpoint = tmp_path / 'run' / 'round_000' / 'checkpoint'
    dagger(collector, replace(QUICK, rounds=0), tmp_path / 'run', seed=63)
    gate = GateConfig('beta', 0.5, beta_per_tick=True, round=1)
    (asked,) = collector.collect(checkpoint, gate, [63], Path('unused'))
    assert asked.labels == asked.ticks == len(asked.episode)
    assert set(asked.episode.segment) == {0}
    (some,) = collector.collect(checkpoint, GateConfig('safe', round=1), [63], Path('unused'))
    assert some.labels == some.ticks  # a policy without a classifier asks all the time
    gate = GateConfig('human', discrepancy=0.4)
    (human,) = collector.collect(checkpoint, gate, [63], Path('unused'))
    gaps = np.diff(human.episode.tick_ns) > 1.5 * collector.contract.tick_period_ns
    assert np.array_equal(np.diff(human.episode.segment), gaps.astype(int))
    assert len(human.episode) == human.labels == human.expert_ticks
