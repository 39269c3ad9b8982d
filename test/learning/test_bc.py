"""Behaviour cloning learns, the same way every time, and survives a kill."""

from __future__ import annotations

from collections.abc import Callable
import dataclasses
import json
from pathlib import Path
import subprocess
import sys

from imitation_ros.episodes.training_set import TrainingSet
from imitation_ros.errors import CheckpointError, EpisodeError, ImitationError
from imitation_ros.frames.contract import Contract, parse_contract
from imitation_ros.learning.bc import BCConfig, train_bc
from imitation_ros.policies.checkpoint import load_checkpoint, read_record
from imitation_ros.policies.heads import Gaussian
from imitation_ros.policies.network import Inputs
from imitation_ros.policies.policy import Policy
from imitation_ros.types import Episode, Frame
import numpy as np
import pytest
import torch

QUICK = BCConfig(hidden=(32, 32), epochs=4, steps_per_epoch=1, batch_size=32)
TICK_NS = 50_000_000
Expert = Callable[[np.ndarray, np.random.Generator], np.ndarray]


def make_contract(inputs: int = 3, outputs: int = 2, discrete: bool = False) -> Contract:
    """A vector in; a velocity, and with `discrete` a gripper, out."""
    actions: dict[str, object] = {
        'arm': {
            'topic': 'command', 'type': 'std_msgs/msg/Float64MultiArray', 'kind': 'velocity',
            'units': 'm/s', 'select': [f'data.{k}' for k in range(outputs)],
            'low': -10.0, 'high': 10.0, 'max_acceleration': 1.0,
        }
    }  # fmt: skip
    if discrete:
        actions['gripper'] = {
            'topic': 'gripper', 'type': 'std_msgs/msg/Int32', 'kind': 'discrete',
            'classes': ['open', 'hold', 'close'],
        }  # fmt: skip
    state = {
        'topic': 'state', 'type': 'std_msgs/msg/Float64MultiArray',
        'select': [f'data.{k}' for k in range(inputs)], 'max_age_s': 1.0,
    }  # fmt: skip
    return parse_contract(
        {
            'name': 'test',
            'rate_hz': 20,
            'command_hz': 20,
            'observations': {'state': state},
            'actions': actions,
        }
    )


def make_episode(states: np.ndarray, actions: dict[str, np.ndarray]) -> Episode:
    ticks = len(states)
    segment = np.zeros(ticks, np.int32)
    return Episode(np.arange(ticks) * TICK_NS, {'state': states}, actions, segment)


def demonstrate(expert: Expert, episodes: int, seed: int, inputs: int = 3) -> list[Episode]:
    """Random states, labelled."""
    rng = np.random.default_rng(seed)
    made = []
    for _ in range(episodes):
        states = (
            rng.normal(size=(100, inputs)) * [1.0, 10.0, 0.1][:inputs] + [0.0, 50.0, -1.0][:inputs]
        )
        made.append(make_episode(states, {'arm': expert(states, rng)}))
    return made


GAIN = np.array([[1.0, -0.5], [0.05, 0.1], [3.0, -4.0]])  # (inputs, outputs)


def linear_expert(states: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return states @ GAIN + rng.normal(scale=0.05, size=(len(states), 2))


def act_on(policy: Policy, states: np.ndarray, part: str = 'arm') -> np.ndarray:
    frames = [Frame(k * 10 * TICK_NS, {'state': state}) for k, state in enumerate(states)]
    return np.array([policy.act(frame)[part] for frame in frames])


def weights(policy: Policy) -> list[torch.Tensor]:
    return list(policy.network.state_dict().values())


@pytest.mark.parametrize('head', ['deterministic', 'gaussian'])
def test_a_linear_expert_is_recovered_to_the_noise_floor(head):
    training_set = TrainingSet.from_episodes(
        demonstrate(linear_expert, 20, seed=0), make_contract()
    )
    config = BCConfig(head=head, epochs=30, batch_size=64)
    policy, record = train_bc(training_set, config, seed=1)
    test = demonstrate(lambda states, rng: states @ GAIN, 3, seed=9)
    states = np.concatenate([episode.observations['state'] for episode in test])
    error = act_on(policy, states) - states @ GAIN
    assert np.sqrt(np.square(error).mean()) < 0.05  # the noise of one label
    assert record.validation_loss[-1] < record.validation_loss[0]


def test_a_gaussian_head_learns_where_the_demonstrator_is_unsure():
    """The noise grows with the first element of the state, from 0.1 to 1."""

    def unsteady(states: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        spread = 0.1 + 0.9 / (1 + np.exp(-4 * states[:, :1]))
        return states[:, 1:2] * 0.1 + spread * rng.normal(size=(len(states), 1))

    contract = make_contract(outputs=1)
    training_set = TrainingSet.from_episodes(demonstrate(unsteady, 40, seed=0), contract)
    policy, _ = train_bc(training_set, BCConfig(head='gaussian', epochs=15), seed=0)
    spread = []
    for first in (-1.5, 1.5):
        state = policy.normalization.observations['state'].apply(np.array([first, 50.0, -1.0]))
        inputs = Inputs(torch.tensor(state, dtype=torch.float32)[None, None], {})
        output = policy.network(inputs)[0, 0].detach().numpy()
        head = policy.network.heads['arm']
        assert isinstance(head, Gaussian)
        spread.append(float((head.std(output) * policy.normalization.actions['arm'].std)[0]))
    assert spread == pytest.approx([0.1, 1.0], rel=0.25)


def test_continuous_and_discrete_parts_are_learned_together():
    contract = make_contract(discrete=True)
    rng = np.random.default_rng(0)

    def demonstrated(seed: int) -> Episode:
        states = np.random.default_rng(seed).normal(size=(100, 3))
        gripper = np.digitize(states[:, :1], [-0.5, 0.5])  # three classes
        return make_episode(states, {'arm': linear_expert(states, rng), 'gripper': gripper})

    training_set = TrainingSet.from_episodes([demonstrated(k) for k in range(20)], contract)
    policy, _ = train_bc(training_set, BCConfig(epochs=20), seed=0)
    test = demonstrated(1000)
    states = test.observations['state']
    assert np.abs(act_on(policy, states) - states @ GAIN).mean() < 0.1
    agreement = act_on(policy, states, 'gripper') == test.actions['gripper']
    assert agreement.mean() > 0.95


def test_history_tells_what_one_frame_does_not():
    """The action is the velocity, but only positions are seen, from anywhere."""
    contract = make_contract(inputs=1, outputs=1)

    def glide(seed: int) -> Episode:
        start, velocity = np.random.default_rng(seed).uniform(-1, 1, 2)
        position = start + velocity * np.arange(6)[:, None]
        labels = np.full((6, 1), velocity)
        labels[0] = 0.0  # in the first frame, which fills the history, nobody can know
        return make_episode(position, {'arm': labels})

    training_set = TrainingSet.from_episodes([glide(k) for k in range(100)], contract)
    errors = []
    for history in (1, 2):
        config = BCConfig(history=history, epochs=10, batch_size=64, weight_decay=0.0)
        policy, _ = train_bc(training_set, config, seed=0)
        errors.append(np.mean([drive_error(policy, glide(k)) for k in range(1000, 1020)]))
    assert errors[1] < 0.2 * errors[0]


def drive_error(policy: Policy, episode: Episode) -> float:
    policy.reset()
    errors = [
        np.abs(policy.act(Frame(int(tick), {'state': state}))['arm'] - label).mean()
        for tick, state, label in zip(
            episode.tick_ns, episode.observations['state'], episode.actions['arm']
        )
    ]
    return float(np.mean(errors[1:]))


def test_a_chunk_predicts_the_actions_to_come():
    """Between two plans the policy acts blindly, and is right all the same."""
    contract = make_contract(inputs=1, outputs=1)

    def ramp(seed: int) -> Episode:
        start = np.random.default_rng(seed).uniform(-1, 1)
        position = start + 0.1 * np.arange(40)[:, None]
        return make_episode(position, {'arm': position.copy()})

    training_set = TrainingSet.from_episodes([ramp(k) for k in range(20)], contract)
    config = BCConfig(chunk=5, execute=5, epochs=10, batch_size=64, weight_decay=0.0)
    policy, _ = train_bc(training_set, config, seed=0)
    episode = ramp(1000)
    frozen = np.repeat(episode.observations['state'][::5], 5, 0)  # seen only at each re-plan
    blind = dataclasses.replace(episode, observations={'state': frozen})
    assert drive_error(policy, blind) < 0.05


def test_a_camera_is_enough_to_find_something():
    """The action is where the bright square is."""
    contract = parse_contract(
        {
            **make_contract().to_document(),
            'observations': {
                'camera': {
                    'topic': 'image', 'type': 'sensor_msgs/msg/Image', 'resize': [16, 20],
                    'encoding': 'mono8', 'max_age_s': 1.0,
                }
            },
        }
    )  # fmt: skip

    def look(seed: int) -> Episode:
        rng = np.random.default_rng(seed)
        images = rng.integers(0, 40, (60, 16, 20, 1), np.uint8)
        corners = rng.integers(0, [13, 17], (60, 2))
        for image, (row, column) in zip(images, corners):
            image[row : row + 4, column : column + 4] = 220
        labels = corners / [6.0, 8.0] - 1.0  # about -1 to 1
        ticks = np.arange(60) * TICK_NS
        return Episode(ticks, {'camera': images}, {'arm': labels}, np.zeros(60, np.int32))

    training_set = TrainingSet.from_episodes([look(k) for k in range(10)], contract)
    config = BCConfig(hidden=(64,), epochs=10, batch_size=64)
    policy, _ = train_bc(training_set, config, seed=0)
    test = look(1000)
    frames = [
        Frame(10 * int(tick), {'camera': image})
        for tick, image in zip(test.tick_ns, test.observations['camera'])
    ]
    errors = [
        policy.act(frame)['arm'] - label for frame, label in zip(frames, test.actions['arm'])
    ]
    assert np.abs(errors).mean() < 0.15


@pytest.fixture(scope='module')
def small_set() -> TrainingSet:
    return TrainingSet.from_episodes(demonstrate(linear_expert, 5, seed=0), make_contract())


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(small_set):
    first, _ = train_bc(small_set, QUICK, seed=7)
    torch.rand(3)  # whatever else draws random numbers
    again, _ = train_bc(small_set, QUICK, seed=7)
    other, _ = train_bc(small_set, QUICK, seed=8)
    assert all(map(torch.equal, weights(first), weights(again)))
    assert not all(map(torch.equal, weights(first), weights(other)))


def test_training_leaves_the_callers_random_numbers_and_threads_alone(small_set):
    torch.manual_seed(0)
    expected, threads = torch.rand(1), torch.get_num_threads()
    torch.manual_seed(0)
    train_bc(small_set, QUICK)
    assert torch.rand(1) == expected
    assert torch.get_num_threads() == threads


def test_training_stops_early_and_keeps_the_best_weights(small_set):
    config = dataclasses.replace(QUICK, epochs=500, patience=3, learning_rate=0.05)
    _, record = train_bc(small_set, config)
    assert len(record.validation_loss) == record.best_epoch + 3 < 500
    assert record.validation_loss[record.best_epoch - 1] == min(record.validation_loss)


def test_one_demonstration_is_learned_from_to_the_last_epoch():
    training_set = TrainingSet.from_episodes(demonstrate(linear_expert, 1, 0), make_contract())
    seen: list[tuple[int, float | None]] = []
    _, record = train_bc(
        training_set, QUICK, progress=lambda epoch, train, held_out: seen.append((epoch, held_out))
    )
    assert (record.episodes, record.validation_episodes, record.best_epoch) == (1, 0, 4)
    assert seen == [(1, None), (2, None), (3, None), (4, None)]


def test_the_checkpoint_tells_what_was_trained_from_what(small_set, tmp_path):
    policy, record = train_bc(small_set, QUICK, seed=3, out=tmp_path / 'policy')
    loaded = load_checkpoint(tmp_path / 'policy', small_set.contract)
    assert all(map(torch.equal, weights(policy), weights(loaded)))
    kept = read_record(tmp_path / 'policy')
    assert kept == json.loads(json.dumps(dataclasses.asdict(record)))
    assert (kept['seed'], kept['data_hash']) == (3, small_set.hash)
    assert kept['config']['hidden'] == [32, 32]
    assert [path.name for path in tmp_path.iterdir()] == ['policy']


KILLED = dataclasses.replace(QUICK, head='gaussian', epochs=30, save_every_s=0)
TRAIN = """
import sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from test_bc import demonstrate, KILLED, linear_expert, make_contract, train_bc, TrainingSet
training_set = TrainingSet.from_episodes(demonstrate(linear_expert, 5, seed=0), make_contract())
train_bc(training_set, KILLED, 5, Path({out!r}), lambda epoch, *losses: print(epoch, flush=True))
"""


def test_a_killed_training_goes_on_and_ends_with_the_same_bytes(small_set, tmp_path):
    script = TRAIN.format(tests=str(Path(__file__).parent), out=str(tmp_path / 'killed'))
    process = subprocess.Popen([sys.executable, '-c', script], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    reached = [int(process.stdout.readline()) for _ in range(10)][-1]
    process.kill()
    rest = process.communicate()[0].split()
    assert reached + len(rest) < KILLED.epochs, 'it ended before it was killed'
    assert not (tmp_path / 'killed').exists()

    seen: list[int] = []
    for run in ('killed', 'straight'):
        train_bc(small_set, KILLED, 5, tmp_path / run, lambda epoch, *losses: seen.append(epoch))
    assert seen[0] > reached
    assert seen[-KILLED.epochs :] == list(range(1, KILLED.epochs + 1))
    for name in ('policy.json', 'policy.safetensors'):
        assert len({(tmp_path / run / name).read_bytes() for run in ('killed', 'straight')}) == 1
    assert {path.name for path in tmp_path.iterdir()} == {'killed', 'straight'}


def stop_after(epoch: int) -> Callable[[int, float, float | None], None]:
    def progress(done: int, train: float, held_out: float | None) -> None:
        if done == epoch:
            raise KeyboardInterrupt

    return progress


def test_other_settings_do_not_resume_but_start_anew(small_set, tmp_path):
    config = dataclasses.replace(QUICK, save_every_s=0)
    with pytest.raises(KeyboardInterrupt):
        train_bc(small_set, config, 0, tmp_path / 'policy', stop_after(3))
    seen: list[int] = []
    other = dataclasses.replace(config, learning_rate=0.002)
    train_bc(small_set, other, 0, tmp_path / 'policy', lambda epoch, *losses: seen.append(epoch))
    assert seen == [1, 2, 3, 4]


def test_a_damaged_state_is_named(small_set, tmp_path):
    state = tmp_path / 'policy.training.safetensors'
    state.write_bytes(b'\xff' * 100)
    with pytest.raises(CheckpointError, match=r'policy\.training\.safetensors.*delete it'):
        train_bc(small_set, QUICK, 0, tmp_path / 'policy')


def test_a_destination_in_use_is_refused_before_the_training(small_set, tmp_path):
    (tmp_path / 'notes.txt').write_text('keep')
    with pytest.raises(CheckpointError, match=r'notes\.txt'):
        train_bc(small_set, QUICK, 0, tmp_path, stop_after(1))


@pytest.mark.parametrize('where', ['observations', 'actions'])
def test_a_number_that_is_none_is_refused(where):
    episodes = demonstrate(linear_expert, 3, seed=0)
    next(iter(getattr(episodes[1], where).values()))[5, 0] = np.nan
    with pytest.raises(EpisodeError, match=f'{where}.* holds NaN'):
        train_bc(TrainingSet.from_episodes(episodes, make_contract()), QUICK)


def test_a_training_that_diverges_says_so(small_set):
    config = dataclasses.replace(QUICK, learning_rate=1e30, weight_decay=0.0)
    with pytest.raises(ImitationError, match=r'the loss is .*; valid: a learning_rate below'):
        train_bc(small_set, config)


@pytest.mark.skipif(torch.cuda.is_available(), reason='has a GPU')
def test_a_gpu_that_is_not_there_is_named(small_set):
    with pytest.raises(ImitationError, match="device: 'cuda'; valid here: 'cpu'"):
        train_bc(small_set, dataclasses.replace(QUICK, device='cuda'))


@pytest.mark.skipif(not torch.cuda.is_available(), reason='no GPU')
def test_a_gpu_learns_the_same(small_set):
    config = dataclasses.replace(QUICK, epochs=20)
    losses = [
        train_bc(small_set, dataclasses.replace(config, device=device))[1].validation_loss[-1]
        for device in ('cpu', 'cuda')
    ]
    assert losses[1] == pytest.approx(losses[0], rel=0.05)


@pytest.mark.parametrize(
    ('settings', 'message'),
    [
        ({'epochs': 0}, 'epochs: 0; valid: at least 1'),
        ({'learning_rate': float('nan')}, 'learning_rate: nan; valid: above 0'),
        ({'validation_fraction': 1.0}, 'validation_fraction: 1.0; valid'),
        ({'device': 'gpu'}, "device: 'gpu'; valid: cpu, cuda"),
        ({'chunk': 2, 'execute': 3}, 'execute: 3; valid'),
    ],
)
def test_a_setting_that_cannot_be_is_named(settings, message):
    with pytest.raises(ImitationError, match=message):
        BCConfig(**settings)
