"""Gradient steps on one demonstration teach what it shows, elsewhere: MAML and its first order."""

from __future__ import annotations

from imitation_ros.frames.contract import load_contract
from imitation_ros.learning.meta.meta_policy import Settings
from imitation_ros.learning.meta.meta_training import meta_train
from imitation_ros.learning.meta.training import MetaConfig, Task
from imitation_ros.types import Episode
import numpy as np
import pytest
import torch

CONTRACT = load_contract('panda_family_reach')
TRAINING, UNSEEN = range(40), range(500_000, 500_010)


def make_task(seed):
    """Go to a spot beside one of the balls: nothing observed tells which, or how far beside."""
    rng = np.random.default_rng(seed)
    ball, beside = rng.integers(4), rng.uniform(-0.5, 0.5, 3)

    def demonstrate(ticks=40):
        seen = {
            name: rng.normal(scale=0.3, size=(ticks, *spec.shape))
            for name, spec in CONTRACT.observation_specs.items()
        }
        goal = seen['objects'].reshape(ticks, 4, 3)[:, ball] + beside
        ticks_ns = CONTRACT.tick_period_ns * np.arange(1, ticks + 1)
        segment = np.zeros(ticks, np.int32)
        return Episode(ticks_ns, seen, {'arm': goal - seen['robot']}, segment, 'success')

    return Task([demonstrate() for _ in range(3)], [])


@pytest.fixture
def one_thread():
    """Small products are slower on two, and on a busy machine much slower."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize('first_order', [False, True], ids=['MAML', 'first order'])
def test_one_demonstration_of_an_unseen_task_lowers_the_loss_elsewhere(one_thread, first_order):
    """Both losses are of a second demonstration, before and after steps on the first."""
    unseen = [make_task(seed) for seed in UNSEEN]
    settings = Settings('gradient', hidden=(64,), first_order=first_order)
    config = MetaConfig(steps=300, tasks=8, queries=32, learning_rate=1e-3)
    tasks = [make_task(seed) for seed in TRAINING]
    meta, _ = meta_train(tasks, unseen, CONTRACT, settings, config)

    def loss(decoder, condition, task):
        labels = meta.tensors.labels([task.demonstrations[1]])
        with torch.no_grad():
            return float(decoder.loss(decoder(labels.state, condition), labels))

    shots = [meta.tensors.shots(task.demonstrations[:1]) for task in unseen]
    start = meta.learner.decoder, meta.learner.prior()
    before = [loss(*start, task) for task in unseen]
    after = [loss(*meta.learner.adapted(each), task) for each, task in zip(shots, unseen)]
    assert np.mean(after) < 0.2 * np.mean(before)
    assert all(now < then for now, then in zip(after, before))
