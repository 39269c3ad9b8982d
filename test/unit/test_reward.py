"""A reward: layout, normalization, scores, absorbing states, and what is kept on disk."""

from __future__ import annotations

from dataclasses import replace
import json

from imitation_ros.errors import CheckpointError, ImitationError, RewardError
from imitation_ros.frames.contract import load_contract, parse_contract
from imitation_ros.learning.irl.layout import Layout
from imitation_ros.learning.irl.network import RewardConfig, RewardNetwork, Scales, tensors
from imitation_ros.learning.irl.reward import Calibration, load_reward, Reward
from imitation_ros.learning.irl.separation import auc, auc_interval, episode_means
from imitation_ros.learning.irl.transitions import Transitions, transitions
from imitation_ros.types import Episode
import numpy as np
import pytest
import torch

CONTRACT = load_contract('panda_reach')


def make_episode(rng, ticks=12, terminated=False, skill=1.0):
    state = rng.normal(0.3, 0.1, (ticks, 6))
    action = np.clip(0.4 * skill * (state[:, 3:] - state[:, :3]) / 0.3, -0.4, 0.4)
    action += (1 - skill) * rng.uniform(-0.4, 0.4, action.shape)
    return Episode(
        np.arange(ticks), {'state': state}, {'arm': action}, np.zeros(ticks, np.int32),
        metadata={'terminated': terminated},
    )  # fmt: skip


def make_steps(seed=0, episodes=4, **options):
    rng = np.random.default_rng(seed)
    return transitions([make_episode(rng, **options) for _ in range(episodes)], CONTRACT)


def make_reward(seed=0, **config):
    steps, config = make_steps(), RewardConfig(**config)
    torch.manual_seed(seed)
    layout = Layout(CONTRACT)
    network = RewardNetwork.fitted(config, layout, steps)
    return Reward(layout, config, network, Calibration(-1.0, 3.0), version=4)


def shifted(steps, by):
    """The same steps elsewhere: tool and goal by (x, y, z) m."""
    offset = np.array([*by, *by, 0.0], np.float32)
    return replace(
        steps,
        observation=steps.observation + offset,
        next_observation=steps.next_observation + offset,
    )


def test_the_layout_scales_actions_to_their_limits_and_back():
    layout = Layout(CONTRACT)
    flat = layout.flatten({'arm': np.array([[-0.4, 0.0, 0.4]])})
    np.testing.assert_allclose(flat, [[-1, 0, 1]])
    np.testing.assert_allclose(layout.unflatten(flat[0])['arm'], [-0.4, 0.0, 0.4])


def test_a_discrete_gripper_is_one_thresholded_channel():
    layout = Layout(load_contract('panda_twist'))
    assert layout.action_size == 4
    action = {'arm': np.zeros(3), 'gripper': np.array([1])}
    flat = layout.flatten(action)
    assert flat[-1] == 1
    assert layout.unflatten(np.array([0, 0, 0, 0.2]))['gripper'][0] == 1
    decided = layout.decided(torch.tensor([[0.5, 0, 0, -0.3]]))
    np.testing.assert_allclose(decided, [[0.5, 0, 0, -1]])


@pytest.mark.parametrize('inputs', ['state', 'state_action_next'])
@pytest.mark.parametrize('shaping', [False, True])
def test_where_a_scene_lies_does_not_count_where_positions_are_relative(inputs, shaping):
    steps = make_steps(seed=3)
    there, higher = shifted(steps, [0.1, -0.2, 0.0]), shifted(steps, [0.0, 0.0, 0.1])
    absolute = make_reward(inputs=inputs, shaping=shaping)
    relative = make_reward(inputs=inputs, shaping=shaping, relative_positions=True)
    scores = relative.score_steps(steps)
    np.testing.assert_allclose(relative.score_steps(there), scores, atol=1e-5)
    for other in (absolute.score_steps(there) - absolute.score_steps(steps),
                  relative.score_steps(higher) - scores):  # fmt: skip
        assert np.abs(other).max() > 1e-3


def test_how_positions_lie_to_one_another_counts_as_much_as_ever():
    steps = make_steps(seed=3)
    nearer = replace(steps, observation=steps.observation.copy())
    nearer.observation[:, 0] += 0.1  # the tool alone
    scores = [make_reward(relative_positions=True).score_steps(each) for each in (steps, nearer)]
    assert np.abs(scores[0] - scores[1]).max() > 1e-3


def test_positions_are_told_from_joints_and_from_velocities():
    document = CONTRACT.to_document()
    tool, *_ = document['observations']['state']
    joints = {'topic': 'joint_states', 'type': 'sensor_msgs/msg/JointState',
              'select': ['position.x', 'position.y'], 'max_age_s': 0.1}  # fmt: skip
    hand = {'topic': 'hand', 'type': 'geometry_msgs/msg/Pose',
            'select': ['position.x', 'position.y'], 'max_age_s': 0.1}  # fmt: skip
    twist = {'topic': 'speed', 'type': 'geometry_msgs/msg/TwistStamped',
             'select': ['twist.linear.x', 'twist.linear.y'], 'max_age_s': 0.1}  # fmt: skip
    document['observations']['state'] = [joints, tool, twist, hand]
    centering = Layout(parse_contract(document)).centering()
    state = np.array([1.0, 2.0, 0.3, 0.5, 0.7, 3.0, 4.0, 0.1, 0.1])
    np.testing.assert_allclose(
        state @ centering, [1.0, 2.0, 0.1, 0.2, 0.7, 3.0, 4.0, -0.1, -0.2], atol=1e-12
    )
    document['observations']['state'] = [joints, tool]
    with pytest.raises(RewardError, match=r'1 positions x; valid .* at least 2'):
        Layout(parse_contract(document)).centering()


def test_frames_across_a_gap_are_no_transition():
    episode = make_episode(np.random.default_rng(0), ticks=6)
    whole = transitions([episode], CONTRACT)
    cut = transitions([replace(episode, segment=np.array([0, 0, 0, 1, 1, 1]))], CONTRACT)
    assert (len(whole), len(cut)) == (5, 4)


def test_only_a_terminal_leads_to_the_absorbing_state():
    cut, ended = make_steps(episodes=1), make_steps(episodes=1, terminated=True)
    assert (len(cut), len(ended)) == (11, 13)
    assert not cut.next_observation[:, -1].any()
    np.testing.assert_array_equal(ended.next_observation[-2:, -1], [1, 1])
    np.testing.assert_array_equal(ended.observation[-1], ended.next_observation[-1])


def test_nan_is_refused_with_its_episode():
    episodes = [make_episode(np.random.default_rng(seed)) for seed in range(2)]
    episodes[1].observations['state'][3, 0] = np.nan
    with pytest.raises(RewardError, match=r'observation: NaN .* episode 1'):
        transitions(episodes, CONTRACT)


def test_episodes_without_actions_were_watched():
    """They were refused for their NaN, which stands for an action that nobody saw."""
    rng = np.random.default_rng(0)
    watched = transitions([replace(make_episode(rng), actions={})], CONTRACT)
    assert watched.watched
    assert np.isnan(watched.action).all()
    keys = load_contract('panda_keys')
    assert transitions([replace(make_episode(rng), actions={})], keys).action.shape == (11, 7)


def test_a_step_with_nan_has_no_reward():
    """Zeros were put in its place, and scored."""
    steps = make_steps()
    observation, action = steps.observation.copy(), steps.action.copy()
    observation[0, 2] = action[1, 0] = np.nan
    arrays = observation, action, steps.next_observation
    scores = make_reward().score(*arrays)
    assert np.isnan(scores).tolist() == [True, True] + [False] * (len(steps) - 2)
    watching = make_reward(inputs='state_next').score(*arrays)
    assert np.isnan(watching).tolist() == [True] + [False] * (len(steps) - 1)
    broken = replace(steps, observation=observation, action=action)
    np.testing.assert_array_equal(make_reward().score_steps(broken), scores)


def test_a_reward_that_cannot_tell_random_from_expert_says_nothing_and_makes_nothing_up():
    raw = np.array([-3.0, np.nan, 3.0])
    np.testing.assert_array_equal(Calibration(1.0, 1.0).apply(raw), [0.0, np.nan, 0.0])
    assert not Calibration(1.0, 1.0).tells_apart
    assert Calibration(0.0, 1.0).tells_apart


def test_inputs_are_standardized_by_the_demonstrations():
    steps = make_steps(episodes=20)
    network = RewardNetwork(RewardConfig(inputs='state_action'), Scales.fit(steps))
    features = network.standardized(tensors(steps)).numpy()
    np.testing.assert_allclose(features[:, :6].mean(0), 0, atol=1e-5)
    np.testing.assert_allclose(features[:, :6].std(0), 1, atol=1e-4)


@pytest.mark.parametrize('inputs', ['state', 'state_next', 'state_action', 'state_action_next'])
@pytest.mark.parametrize('shaping', [False, True])
def test_a_reward_sees_its_inputs_alone(inputs, shaping):
    reward = make_reward(inputs=inputs, shaping=shaping)
    steps = make_steps(1)
    scores = reward.score_steps(steps)
    acted = reward.score_steps(replace(steps, action=steps.action + 0.3))
    went = reward.score_steps(replace(steps, next_observation=steps.next_observation + 0.01))
    assert np.allclose(scores, acted) == ('action' not in inputs)
    assert np.allclose(scores, went) == ('next' not in inputs and not shaping)


def test_the_absorbing_state_scores_the_same_whatever_is_done_in_it():
    """Otherwise an actor's random actions there would tell it from the expert."""
    reward, steps = make_reward(), make_steps(episodes=2, terminated=True)
    last = steps.take(steps.observation[:, -1] == 1)
    scores = reward.score_steps(replace(last, action=np.ones_like(last.action)))
    np.testing.assert_array_equal(scores, reward.score_steps(last))


def test_shaping_along_a_path_cancels_but_for_its_ends():
    """Fu et al. 2018, eq. 4: without discount the potentials telescope."""
    reward = make_reward(inputs='state', shaping=True, gamma=0.0)
    reward.network._gamma = 1.0
    steps = make_steps(episodes=1)
    batch = tensors(steps)
    whole = reward.raw(batch) - reward.disentangled().raw(batch)
    potential = reward.network.h
    ends = []
    for state in (steps.observation[:1], steps.next_observation[-1:]):
        at = torch.from_numpy(state).float()
        shown = reward.network.standardized((at, torch.zeros(1, 3), at))
        ends.append(potential(shown[:, : state.shape[1]]).item())
    np.testing.assert_allclose(float(whole.sum()), ends[1] - ends[0], atol=1e-4)


def test_states_are_seen_without_correlation_and_no_direction_is_blown_up():
    """A hand near its goal: what tells them apart is small beside where the two are."""
    rng = np.random.default_rng(0)
    place = rng.normal(size=(500, 3))
    states = np.hstack([place, place + 0.1 * rng.normal(size=(500, 3)), np.zeros((500, 1))])
    steps = Transitions(states, np.zeros((500, 3)), states, np.zeros(500, int))
    network = RewardNetwork(RewardConfig(), Scales.fit(steps))
    seen = network.standardized(tensors(steps))[:, :6].numpy()
    np.testing.assert_allclose(np.cov(seen.T), np.eye(6), atol=0.6)
    apart = (seen[:, :3] - seen[:, 3:]).std(0)
    assert (apart > 0.5).all()
    exact = Scales.fit(replace(steps, observation=states[:, [0, 1, 2, 0, 1, 2, 6]]))
    assert np.linalg.eigvalsh(exact.whitening).max() <= 10.0 + 1e-9


@pytest.mark.parametrize('relative', [False, True])
def test_saving_and_loading_is_exact(tmp_path, relative):
    reward = make_reward(inputs='state_action_next', shaping=True, relative_positions=relative)
    digest = reward.save(tmp_path / 'reward', {'note': 1})
    loaded = load_reward(tmp_path / 'reward', CONTRACT)
    steps = make_steps(3)
    np.testing.assert_array_equal(loaded.score_steps(steps), reward.score_steps(steps))
    assert (loaded.version, loaded.digest, loaded.config) == (4, digest, reward.config)


def test_a_spectral_reward_is_kept_exactly_too(tmp_path):
    reward = make_reward(regularization='spectral')
    reward.save(tmp_path / 'reward')
    steps = make_steps(3)
    loaded = load_reward(tmp_path / 'reward')
    np.testing.assert_array_equal(loaded.score_steps(steps), reward.score_steps(steps))


def test_one_frame_scores_as_a_batch_does():
    reward, episode = make_reward(), make_episode(np.random.default_rng(5))
    batch = reward.score_steps(transitions([episode], CONTRACT))
    frames = [{'state': state} for state in episode.observations['state']]
    live = [
        reward.score_frame(now, {'arm': arm}, after)
        for now, arm, after in zip(frames, episode.actions['arm'], frames[1:])
    ]
    np.testing.assert_allclose(live, batch, rtol=1e-5, atol=1e-6)


def test_another_contract_is_refused_with_the_difference(tmp_path):
    make_reward().save(tmp_path / 'reward')
    with pytest.raises(CheckpointError, match=r'another contract.*the reward.*\n.*joint_states'):
        load_reward(tmp_path / 'reward', load_contract('panda_twist'))


def test_a_damaged_or_foreign_folder_is_refused(tmp_path):
    make_reward().save(tmp_path / 'reward')
    path = tmp_path / 'reward' / 'reward.json'
    path.write_text(json.dumps({**json.loads(path.read_text()), 'version': 9}))
    with pytest.raises(CheckpointError, match='damaged'):
        load_reward(tmp_path / 'reward')
    (tmp_path / 'other').mkdir()
    (tmp_path / 'other' / 'policy.json').write_text('{}')
    with pytest.raises(CheckpointError, match='no part of a reward'):
        make_reward().save(tmp_path / 'other')


@pytest.mark.parametrize(
    'setting', [{'inputs': 'action'}, {'hidden': ()}, {'margin': 0}, {'regularization': 'l2'}]
)
def test_settings_are_checked(setting):
    with pytest.raises(ImitationError, match=f'{next(iter(setting))}: .*valid'):
        RewardConfig(**setting)


def test_auc_counts_pairs_and_half_the_ties():
    assert auc(np.array([2.0, 1.0]), np.array([1.0, 0.0])) == pytest.approx(3.5 / 4)
    low, high = auc_interval(np.zeros(50), np.zeros(50))
    assert low < 0.5 < high


def test_episodes_are_averaged_by_number():
    means = episode_means(np.array([1.0, 3.0, 5.0]), np.array([7, 7, 2]))
    np.testing.assert_allclose(means, [5.0, 2.0])
