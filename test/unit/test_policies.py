"""Policies: what they make of frames, without training."""

from __future__ import annotations

from imitation_ros.errors import ImitationError
from imitation_ros.frames.contract import Contract, parse_contract
from imitation_ros.policies.heads import Categorical, Gaussian
from imitation_ros.policies.network import Architecture, ImageEncoder, Inputs, Network
from imitation_ros.policies.normalization import Normalization, Standard
from imitation_ros.policies.policy import Policy
from imitation_ros.types import Frame
import numpy as np
import pytest
import torch

TICK_NS = 50_000_000


@pytest.fixture
def contract() -> Contract:
    return parse_contract("""
name: two_vectors_a_camera_two_parts
rate_hz: 20
command_hz: 20
observations:
  joints:
    {topic: a, type: std_msgs/msg/Float64MultiArray, select: [data.0, data.1], max_age_s: 1}
  wrist: {topic: b, type: sensor_msgs/msg/Image, resize: [12, 16], encoding: mono8, max_age_s: 1}
  force: {topic: c, type: std_msgs/msg/Float64, select: [data], max_age_s: 1}
actions:
  arm:
    {topic: d, type: std_msgs/msg/Float64MultiArray, kind: velocity, units: rad/s,
     select: [data.0, data.1], low: -1, high: 1, max_acceleration: 1}
  gripper: {topic: e, type: std_msgs/msg/Bool, kind: discrete, classes: [open, close]}
""")


def make_policy(contract: Contract, **settings: int | str) -> Policy:
    torch.manual_seed(0)
    normalization = Normalization(
        {
            'joints': Standard(np.array([1.0, -2.0]), np.array([0.5, 2.0])),
            'wrist': Standard(np.array([100.0]), np.array([50.0])),
            'force': Standard(np.array([10.0]), np.array([3.0])),
        },
        {'arm': Standard(np.array([0.5, 0.0]), np.array([0.1, 0.2]))},
    )
    specs = contract.observation_specs, contract.action_specs
    architecture = Architecture(**settings)  # type: ignore[arg-type]
    return Policy(
        contract, architecture, normalization, Network(*specs, architecture, normalization)
    )


def make_frame(tick: int) -> Frame:
    rng = np.random.default_rng(tick)
    return Frame(
        tick * TICK_NS,
        {
            'joints': rng.normal(size=2),
            'wrist': rng.integers(0, 256, (12, 16, 1), np.uint8),
            'force': rng.normal(size=1),
        },
    )


def expected(policy: Policy, frames: list[Frame]) -> dict[str, np.ndarray]:
    """The chunk, written out plainly: part → (chunk, n)."""
    states = []
    for frame in frames:
        joints = (frame.observation['joints'] - [1.0, -2.0]) / [0.5, 2.0]
        force = (frame.observation['force'] - 10.0) / 3.0
        states.append(np.concatenate([joints, force]))
    images = np.stack([frame.observation['wrist'] for frame in frames])
    inputs = Inputs(
        torch.tensor(np.array(states), dtype=torch.float32)[None],
        {'wrist': torch.tensor(images)[None]},
    )
    output = policy.network(inputs)[0].detach().numpy()
    classes = output[:, 2:].argmax(1)[:, None]
    return {'arm': output[:, :2] * [0.1, 0.2] + [0.5, 0.0], 'gripper': classes}


def test_an_action_has_the_units_shapes_and_types_of_the_contract(contract):
    policy = make_policy(contract)
    action = policy.act(make_frame(3))
    wanted = expected(policy, [make_frame(3)])
    assert list(action) == ['arm', 'gripper']
    np.testing.assert_allclose(action['arm'], wanted['arm'][0], atol=1e-6)
    assert action['gripper'] == wanted['gripper'][0]
    for part, spec in contract.action_specs.items():
        assert spec.check(action[part]).dtype == spec.dtype == action[part].dtype


def test_history_repeats_the_first_frame_of_an_episode_and_then_fills(contract):
    policy = make_policy(contract, history=3)
    frames = [make_frame(tick) for tick in range(4)]
    seen = [[0, 0, 0], [0, 0, 1], [0, 1, 2], [1, 2, 3]]
    for frame, window in zip(frames, seen):
        wanted = expected(policy, [frames[tick] for tick in window])
        np.testing.assert_allclose(policy.act(frame)['arm'], wanted['arm'][0], atol=1e-6)


@pytest.mark.parametrize('tick', [7, 3, 2], ids=['missing tick', 'same tick', 'clock set back'])
def test_a_break_in_the_ticks_starts_history_and_chunk_anew(contract, tick):
    policy = make_policy(contract, history=2, chunk=4, execute=4)
    for earlier in (1, 2, 3):
        policy.act(make_frame(earlier))
    wanted = expected(policy, [make_frame(tick), make_frame(tick)])
    np.testing.assert_allclose(policy.act(make_frame(tick))['arm'], wanted['arm'][0], atol=1e-6)


def test_reset_forgets_the_episode_before(contract):
    policy = make_policy(contract, history=2)
    policy.act(make_frame(1))
    policy.reset()
    wanted = expected(policy, [make_frame(2), make_frame(2)])
    np.testing.assert_allclose(policy.act(make_frame(2))['arm'], wanted['arm'][0], atol=1e-6)


def test_of_each_chunk_the_first_actions_are_executed(contract):
    policy = make_policy(contract, chunk=3, execute=2)
    frames = [make_frame(tick) for tick in range(4)]
    actions = [policy.act(frame)['arm'] for frame in frames]
    for tick, (planned_at, step) in enumerate([(0, 0), (0, 1), (2, 0), (2, 1)]):
        wanted = expected(policy, [frames[planned_at]])['arm'][step]
        np.testing.assert_allclose(actions[tick], wanted, atol=1e-6)


def test_without_a_camera_the_policy_acts_as_its_network_says():
    """The path without torch agrees with the network that was trained."""
    contract = parse_contract("""
name: blind
rate_hz: 20
command_hz: 20
observations:
  joints:
    {topic: a, type: std_msgs/msg/Float64MultiArray, select: [data.0, data.1], max_age_s: 1}
actions:
  arm:
    {topic: d, type: std_msgs/msg/Float64MultiArray, kind: velocity, units: rad/s,
     select: [data.0, data.1], low: -1, high: 1, max_acceleration: 1}
""")
    plain = Standard(np.zeros(2), np.ones(2))
    normalization = Normalization({'joints': plain}, {'arm': plain})
    specs = contract.observation_specs, contract.action_specs
    architecture = Architecture(history=2, chunk=3, execute=3)
    torch.manual_seed(0)
    network = Network(*specs, architecture, normalization)
    policy = Policy(contract, architecture, normalization, network)
    joints = make_frame(0).observation['joints']
    window = torch.tensor(np.array([[joints, joints]]), dtype=torch.float32)
    wanted = network(Inputs(window, {}))[0].detach().numpy()
    for tick in range(3):
        action = policy.act(Frame(tick * TICK_NS, {'joints': joints}))
        np.testing.assert_allclose(action['arm'], wanted[tick], atol=1e-6)


def test_a_gaussian_policy_acts_by_its_mean(contract):
    policy = make_policy(contract, head='gaussian')
    head = policy.network.heads['arm']
    assert isinstance(head, Gaussian)
    outputs = np.array([0.1, -0.2, 9.0, -9.0])
    np.testing.assert_array_equal(head.mode(outputs), [0.1, -0.2])
    np.testing.assert_allclose(head.std(outputs), np.exp([2.0, -5.0]))
    assert policy.act(make_frame(0))['arm'].shape == (2,)


def test_losses_are_negative_log_likelihoods():
    output, target = torch.tensor([[0.5, -0.5, 0.1, -0.3]]), torch.tensor([[1.0, 2.0]])
    density = torch.distributions.Normal(output[:, :2], output[:, 2:].exp())
    torch.testing.assert_close(Gaussian(2).loss(output, target), -density.log_prob(target).sum(-1))
    logits, label = torch.randn(5, 2, 4), torch.randint(4, (5, 2, 1))
    likelihood = torch.distributions.Categorical(logits=logits).log_prob(label[..., 0])
    torch.testing.assert_close(Categorical(4).loss(logits, label), -likelihood)


def test_depth_images_are_taken_as_they_are():
    encoder = ImageEncoder(Standard(np.array([800.0]), np.array([300.0])))
    depth = torch.from_numpy(np.full((1, 9, 7, 1), 40_000, np.uint16))
    assert encoder(depth).isfinite().all()


@pytest.mark.parametrize(
    ('settings', 'message'),
    [
        ({'head': 'gausian'}, "head: 'gausian'; did you mean 'gaussian'"),
        ({'history': 0}, 'history: 0; valid: 1 to 1000'),
        ({'chunk': 4, 'execute': 5}, r'execute: 5; valid: 1 to chunk \(4\)'),
        ({'hidden': ()}, r'hidden: \(\); valid'),
    ],
)
def test_a_setting_that_cannot_be_is_named(settings, message):
    with pytest.raises(ImitationError, match=message):
        Architecture(**settings)


def test_without_images_the_action_is_that_of_the_network_too(contract):
    """Such a policy computes in NumPy, for speed; torch says what it should be."""
    document = contract.to_document()
    del document['observations']['wrist']
    policy = make_policy(parse_contract(document), hidden=(32, 32))
    for tick in range(5):
        frame = make_frame(tick)
        policy.reset()
        joints = (frame.observation['joints'] - [1.0, -2.0]) / [0.5, 2.0]
        force = (frame.observation['force'] - 10.0) / 3.0
        state = torch.tensor(np.concatenate([joints, force]), dtype=torch.float32)
        history = policy.architecture.history
        output = policy.network(Inputs(state.expand(1, history, -1), {}))[0, 0].detach().numpy()
        action = policy.act(frame)
        np.testing.assert_allclose(action['arm'], output[:2] * [0.1, 0.2] + [0.5, 0.0], atol=1e-5)
        assert action['gripper'][0] == output[2:].argmax()
