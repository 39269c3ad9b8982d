"""A reward on a robot, without ROS: roll-outs, live scores, rounds on disk, what is refused."""

from __future__ import annotations

from dataclasses import replace
import shutil
from types import SimpleNamespace

from imitation_ros.episodes.align import load_episode
from imitation_ros.episodes.training_set import TrainingSet
from imitation_ros.errors import CheckpointError, EpisodeError, ImitationError, RewardError
from imitation_ros.frames.actions import ActionCodec
from imitation_ros.frames.status import Status, TickAction
from imitation_ros.learning import reward_rounds
from imitation_ros.learning.bc import BCConfig, train_bc
from imitation_ros.learning.improvement import improve
from imitation_ros.learning.irl.network import RewardConfig
from imitation_ros.learning.irl.reward import load_reward
from imitation_ros.learning.irl.trainer import RewardHealth
from imitation_ros.learning.irl.transitions import transitions
from imitation_ros.learning.live_reward import LiveReward
from imitation_ros.learning.reward_rounds import objection, RewardRounds, RewardSettings
from imitation_ros.learning.rollouts import Rollouts, Step, Steps
from imitation_ros.learning.rounds import newest_version
from imitation_ros.policies.checkpoint import (
    load_checkpoint,
    read_digest,
    read_record,
    save_checkpoint,
)
from imitation_ros.policies.policy import use_one_thread
from imitation_ros.types import Episode, Frame, Gap
import numpy as np
import pytest
from recorded_episodes import (
    Bag,
    contract,
    new,
    PERIOD_NS,
    record_lockstep,
    state,
    WALL_NS,
)

ROBOT = contract()
TICKS = 12
CONFIG = RewardConfig(hidden=(16,), batch_size=32, learning_rate=1e-2)
HEALTH = RewardHealth(10, 1.0, 0.2, 0.8, 0.9, 0.9, (0.8, 0.95), False, 3, 2)


def step(tick, mode='policy', arm=(-1.0, 1.0), observed=True):
    observation = {'state': np.array([0.01 * tick, -0.02 * tick, 0.0])} if observed else None
    action = {'arm': np.array(arm, float), 'gripper': np.array([tick % 2])}
    return Step(tick * PERIOD_NS, mode, observation, action, '' if observed else 'no state')


def collect(steps, longest=1000):
    rollouts = Rollouts(ROBOT, longest)
    for each in steps:
        rollouts.add(each)
    rollouts.add(step(10_000, mode='stopped'))
    return rollouts.take()


def rollout(seed=0, ticks=TICKS):
    rng = np.random.default_rng(seed)
    arms = rng.uniform(-2.5, -0.5, (ticks, 2))
    (episode,) = collect([step(tick, arm=arm) for tick, arm in enumerate(arms)])
    return episode


@pytest.fixture
def run(tmp_path):
    """Opens the run of a folder, with three demonstrations."""
    use_one_thread()
    shown = tmp_path / 'demonstrations'
    for number in range(3):
        record_lockstep(shown / f'episode_{number}', TICKS + number)

    def open_run(random=None, **settings):
        given = {'updates': 60, 'reward': CONFIG, **settings}
        return RewardRounds(tmp_path / 'run', shown, ROBOT, RewardSettings(**given), 0, random)

    return open_run


# Roll-outs.


def test_a_rollout_ends_where_the_supervisor_stops():
    steps = [*map(step, range(5)), step(5, mode='stopped'), *map(step, range(6, 9))]
    assert [len(episode) for episode in collect(steps)] == [5, 3]


@pytest.mark.parametrize('between', [
    step(3, observed=False), step(3, mode='expert'), step(3, mode='hold'), step(2),
], ids=['a gap', 'a correction', 'a hold', 'a tick that is missing'])  # fmt: skip
def test_what_is_missing_parts_a_rollout_in_segments(between):
    (episode,) = collect([*map(step, range(3)), between, *map(step, range(4, 6))])
    assert episode.segment.tolist() == [0, 0, 0, 1, 1]
    assert len(transitions([episode], ROBOT)) == 3
    assert dict(episode.left_out) == ({'no state': 1} if between.observation is None else {})


def test_a_tick_that_comes_again_counts_once_and_a_clock_that_goes_back_ends_it():
    steps = [step(4), step(5), step(5), step(6), step(1), step(2)]
    assert [episode.tick_ns.tolist() for episode in collect(steps)] == [
        [4 * PERIOD_NS, 5 * PERIOD_NS, 6 * PERIOD_NS], [PERIOD_NS, 2 * PERIOD_NS],
    ]  # fmt: skip


def test_a_rollout_that_goes_on_for_hours_is_cut():
    assert [len(each) for each in collect(map(step, range(10)), longest=4)] == [4, 4, 2]


def test_a_rollout_without_two_ticks_in_a_row_is_none():
    assert collect([step(0), step(2), step(4)]) == []


def executed(tick, arm=(0.1, 0.2), **messages):
    action = {'arm': np.array(arm), 'gripper': np.array([1])}
    encoded = {
        name: ActionCodec(part).encode(action[name], 0, new)
        for name, part in ROBOT.actions.items()
    }
    status = Status(tick, 'supervisor', 2, '', {'mode': 'policy'})
    return TickAction(status, {**encoded, **messages})


def test_a_step_is_what_was_executed_and_the_frame_of_its_tick():
    frame = Frame(7, {'state': np.zeros(3)})
    made = Steps(ROBOT).of(executed(7), frame)
    assert (made.tick_ns, made.mode, made.whole) == (7, 'policy', True)
    assert made.action['gripper'].tolist() == [1]
    np.testing.assert_allclose(made.action['arm'], [0.1, 0.2])


def test_a_step_says_what_is_missing():
    frame, steps = Frame(7, {'state': np.zeros(3)}), Steps(ROBOT)
    assert 'arm: not finite' in steps.of(executed(7, arm=(np.nan, 0)), frame).reason
    assert steps.of(executed(7), Gap(7, 'width: no message yet')).reason == 'width: no message yet'
    silent = TickAction(Status(7, 'supervisor', 0, 'stopped by the operator', {}), {})
    assert steps.of(silent, frame).reason == 'stopped by the operator'
    half = TickAction(executed(7).status, {'arm': executed(7).messages['arm']})
    assert steps.of(half, frame).reason == 'action gripper: not executed'
    assert not steps.of(half, frame).whole


# Rounds.


def test_a_round_promotes_a_reward_that_tells_the_two_apart(run):
    rounds = run()
    assert (rounds.last, rounds.reward, rounds.trouble, rounds.seen) == (None, None, '', 0)
    rounds.add([rollout(seed) for seed in range(4)])
    done = rounds.run_round()
    assert (done.number, done.promoted, done.version, done.rollouts) == (1, True, 1, 3)
    assert done.health.separation > 0.2
    assert run().last == done
    assert run().reward.version == 1


def test_the_next_round_goes_on_from_it_in_another_process(run):
    """A run in one piece and one that was taken up again come to the same reward."""

    def digests(again):
        rounds = run()
        for first in (0, 4):
            rounds.add([rollout(seed) for seed in range(first, first + 4)])
            rounds = run() if again else rounds
            done = rounds.run_round()
        assert (done.number, done.health.updates, done.health.actor_episodes) == (2, 120, 8)
        return rounds.reward.digest, rounds

    digest, rounds = digests(again=False)
    folders = {path.name for path in rounds.folder.glob('round_*')}
    assert folders == {f'round_{rounds.last.number:04d}'}
    shutil.rmtree(rounds.folder)
    assert digests(again=True)[0] == digest


def test_a_kill_leaves_the_last_whole_round(run):
    rounds = run()
    rounds.add([rollout()])
    rounds.run_round()
    (rounds.folder / 'round_0002.partial').mkdir()
    half = rounds.folder / 'round_0002.partial/state.safetensors'
    half.write_bytes(b'half')
    again = run()
    assert again.last.number == 1
    assert half.exists(), 'for it may be that of a training at work'
    assert again.run_round().number == 2
    assert not half.parent.exists()


def test_a_round_that_is_committed_meanwhile_costs_no_rollout(run, monkeypatch):
    """The folder was listed, and gone when its file was read: what had been done was lost."""
    rounds, other = run(), run()
    rounds.add([rollout()])
    rounds.run_round()
    read, committed = reward_rounds.read_json, []

    def slowly(path):
        if not committed:
            committed.append(path)
            other.run_round()
        return read(path)

    monkeypatch.setattr(reward_rounds, 'read_json', slowly)
    rounds.add([rollout(1)])
    assert not committed[0].exists()
    assert (rounds.last.number, rounds.seen) == (2, 2)


def test_a_round_whose_file_is_damaged_is_named(run):
    rounds = run()
    rounds.add([rollout()])
    rounds.run_round()
    (rounds.folder / 'round_0001/round.json').write_text('half')
    with pytest.raises(ImitationError, match=r'round\.json'):
        _ = rounds.last


def test_what_somebody_copied_in_the_folder_of_a_run_is_no_round_of_it(run):
    """`cp -r round_0001 round_0001.bak`, and the node ended."""
    rounds = run()
    rounds.add([rollout()])
    rounds.run_round()
    shutil.copytree(rounds.folder / 'round_0001', rounds.folder / 'round_0001.bak')
    first = rounds.folder / 'rollouts/000000.safetensors'
    shutil.copy(first, first.with_name('000000 (copy).safetensors'))
    assert (run().last.number, run().seen) == (1, 1)
    assert run().run_round().number == 2
    assert (rounds.folder / 'round_0001.bak').exists()


def test_random_behaviour_that_was_recorded_scores_zero(run, tmp_path):
    """There was no way to say what is random, and the 0 was of no behaviour at all."""
    for number in range(2):
        bag = Bag(tmp_path / f'random/{number}', ROBOT, lockstep=True)
        for tick, arm in enumerate(np.random.default_rng(number).uniform(-2.5, 2.5, (TICKS, 2))):
            ros_ns, wall_ns = PERIOD_NS * (1 + tick), WALL_NS + tick * 5_000_000
            bag.clock(ros_ns, wall_ns)
            bag.observe(*state(tick), ros_ns, wall_ns + 100_000)
            acted = {'arm': arm, 'gripper': [tick % 2]}
            bag.act('executed', acted, ros_ns, wall_ns + 2_000_000, mode='policy')
        bag.writer.stop('failure')
    rounds = run(random=tmp_path / 'random')
    rounds.add([rollout(seed) for seed in range(4)])
    rounds.run_round()
    acted = [load_episode(tmp_path / f'random/{n}', ROBOT, 'executed') for n in range(2)]
    means = rounds.reward.score_steps(transitions(acted, ROBOT)).mean()
    assert means == pytest.approx(0.0, abs=1e-4)
    with pytest.raises(ImitationError, match=r'other settings \(random\)'):
        run()


def test_a_reward_without_actions_needs_none_of_the_demonstrations(run, tmp_path):
    for folder in (tmp_path / 'demonstrations').iterdir():
        shutil.rmtree(folder)
    for number in range(2):
        bag = Bag(tmp_path / f'demonstrations/{number}', ROBOT)
        for step_of in range(100):
            now_ns = WALL_NS + step_of * 10_000_000
            bag.observe(*state(step_of / 5 + number), now_ns - 500_000, now_ns - 400_000, now_ns)
        bag.writer.stop('success')
    with pytest.raises(EpisodeError, match='no action for the tick'):
        run()
    rounds = run(reward=replace(CONFIG, inputs='state_next'))
    rounds.add([rollout()])
    assert rounds.run_round().health.expert_episodes == 2


def test_live_scores_are_those_of_the_reward(run):
    rounds = run()
    rounds.add([rollout()])
    rounds.run_round()
    reward, live = rounds.reward, LiveReward(ROBOT)
    assert live.score(step(0)) is None
    live.reward = reward
    steps = [step(tick, arm=(0.1 * tick, 0)) for tick in range(4)]
    for each in steps:
        scored = live.score(each)
        assert scored.tick_ns == each.tick_ns
        assert scored.value == reward.score_frame(each.observation, each.action, each.observation)
    assert live.score(step(4, observed=False)) is None


def test_a_reward_of_the_next_state_comes_with_it(run):
    rounds = run(reward=replace(CONFIG, inputs='state_action_next'))
    rounds.add([rollout()])
    rounds.run_round()
    live, reward = LiveReward(ROBOT, rounds.reward), rounds.reward
    one, other = step(1), step(2, arm=(0.3, 0.3))
    assert live.score(one) is None
    scored = live.score(other)
    assert scored.tick_ns == one.tick_ns
    assert scored.value == reward.score_frame(one.observation, one.action, other.observation)
    assert live.score(step(4)) is None  # a tick is missing
    assert live.score(step(5)) is not None


def test_only_the_newest_rollouts_are_kept_and_numbers_go_on(run):
    rounds = run(kept=2)
    rounds.add([rollout(seed) for seed in range(4)])
    rounds.run_round()
    rounds.forget()
    assert len(list((rounds.folder / 'rollouts').iterdir())) == 2
    for path in (rounds.folder / 'rollouts').iterdir():
        path.unlink()
    assert run(kept=2).seen == 4


# What is refused.


def test_demonstrations_of_another_contract_are_refused_with_the_difference(run, tmp_path):
    other = contract(replaced={'high: 3,': 'high: 2,'})
    record_lockstep(tmp_path / 'demonstrations/other', TICKS, contract=other)
    with pytest.raises(EpisodeError, match=r'another contract: .*high'):
        run()


def test_too_few_demonstrations_are_refused(tmp_path):
    request = tmp_path / 'shown', ROBOT, RewardSettings(), 0
    (tmp_path / 'shown').mkdir()
    with pytest.raises(EpisodeError, match='no episode to learn from'):
        RewardRounds(tmp_path / 'run', *request)
    record_lockstep(tmp_path / 'shown/one', TICKS)
    with pytest.raises(RewardError, match='at least 2, since one is held out'):
        RewardRounds(tmp_path / 'run', *request)
    assert not (tmp_path / 'run').exists()


def test_another_run_in_the_folder_is_refused(run, tmp_path):
    run()
    with pytest.raises(ImitationError, match=r'other settings \(reward\)'):
        run(reward=RewardConfig())
    record_lockstep(tmp_path / 'demonstrations/one_more', TICKS + 5)
    with pytest.raises(ImitationError, match=r'other settings \(demonstrations\)'):
        run()


def test_without_rollouts_there_is_nothing_to_train_against(run):
    with pytest.raises(RewardError, match='none to train against'):
        run().run_round()


def demonstrated():
    """What the executed stream of the demonstrations holds."""
    frames = np.arange(TICKS)
    state = np.stack([0.01 * frames, -0.02 * frames, 0.001 * frames], 1)
    actions = {'arm': np.full((TICKS, 2), 0.5), 'gripper': frames[:, None] % 2}
    return Episode(frames * PERIOD_NS, {'state': state}, actions, np.zeros(TICKS, np.int32))


def test_rollouts_that_are_the_demonstrations_are_refused(run):
    rounds = run()
    rounds.add([demonstrated()])
    with pytest.raises(RewardError, match=r'none to train against: .*demonstrated ones'):
        rounds.run_round()
    rounds.add([rollout()])
    done = rounds.run_round()
    assert done.promoted
    assert 'demonstrated ones' in done.refused['0']


def test_a_rollout_with_nan_or_damage_is_refused_and_stops_nothing(run):
    rounds, bad = run(), rollout(1)
    bad.observations['state'][3, 1] = np.nan
    rounds.add([rollout(0), bad, rollout(2)])
    (rounds.folder / 'rollouts/000002.safetensors').write_bytes(b'half')
    done = rounds.run_round()
    assert done.promoted
    assert set(done.refused) == {'1', '2'}
    assert 'NaN or infinity' in done.refused['1']


def test_diverging_training_keeps_the_last_reward_and_says_so(run, monkeypatch):
    rounds = run()
    rounds.add([rollout()])
    rounds.run_round()
    digest = rounds.reward.digest
    nowhere = SimpleNamespace(detach=lambda: np.nan)
    of_loss = 'imitation_ros.learning.irl.trainer.RewardTrainer._loss'
    monkeypatch.setattr(of_loss, lambda *_: nowhere)
    with pytest.raises(RewardError, match='the loss is nan') as e:
        rounds.run_round()
    monkeypatch.undo()
    rounds.fail(str(e.value))
    again = run()
    assert 'the loss is nan' in again.trouble
    assert again.reward.digest == digest
    assert again.run_round().promoted
    assert again.trouble == ''


def test_a_reward_that_is_worse_is_not_promoted(run, monkeypatch):
    rounds = run()
    rounds.add([rollout()])
    first = rounds.run_round()
    monkeypatch.setattr(
        'imitation_ros.learning.reward_rounds.objection', lambda *_: 'the new reward is worse'
    )
    second = rounds.run_round()
    assert (second.promoted, second.in_use, second.version) == (False, 1, 1)
    assert run().trouble == 'the new reward is worse'
    assert load_reward(rounds.folder / 'round_0001/reward', ROBOT).version == first.version
    assert rounds.reward.version == 1
    monkeypatch.undo()
    third = rounds.run_round()
    assert third.promoted
    assert third.health.updates == second.health.updates  # it went on from the first
    assert not (rounds.folder / 'round_0001').exists()


@pytest.mark.parametrize(('after', 'reason'), [
    ({}, ''),
    ({'auc': 0.86}, ''),
    ({'auc': 0.84}, 'worse: AUC 0.84, 0.9 in use'),
    ({'separation': -0.1, 'converged': True}, 'no difference: separation -0.1, converged'),
    ({'actor': float('nan')}, 'not finite'),
    ({'expert': 0.0, 'actor': 0.0, 'separation': 0.0}, 'random behaviour as high as the expert'),
])  # fmt: skip
def test_what_holds_up(after, reason):
    said = objection(HEALTH, replace(HEALTH, **after), 0.05)
    assert (reason in said) if reason else said == ''
    assert objection(None, HEALTH, 0.05) == ''


# A better policy after a better reward.


def saved_policy(folder):
    """A clone of the demonstrations' kind on disk; returns what the policy node says of it."""
    shown = TrainingSet.from_episodes([demonstrated()], ROBOT)
    clone, _ = train_bc(shown, BCConfig(hidden=(8,), epochs=1))
    save_checkpoint(folder, clone, {})
    return f'{folder} ({clone.checkpoint})'


def test_what_drives_is_improved_on_all_that_was_recorded(run, tmp_path):
    rounds, drives = run(), saved_policy(tmp_path / 'policy')
    with pytest.raises(RewardError, match='no reward was promoted yet'):
        improve(rounds, ROBOT, drives, tmp_path / 'better', updates=10, seed=0)
    rounds.add([rollout(0), rollout(1)])
    rounds.run_round()
    (rounds.folder / 'rollouts/000000.safetensors').write_bytes(b'half')
    done = improve(rounds, ROBOT, drives, tmp_path / 'better', updates=10, seed=0)
    demonstrated_steps = sum(TICKS + number - 1 for number in range(3))
    assert (done.version, done.steps) == (1, demonstrated_steps + TICKS - 1)
    better = load_checkpoint(tmp_path / 'better/version_1', ROBOT)
    assert better.checkpoint == done.checkpoint
    assert read_record(tmp_path / 'better/version_1')['parent'] in drives


def test_what_was_improved_before_stays_where_it_was_loaded_from(run, tmp_path):
    """The next one replaced it on disk while it drove, also where that one was refused."""
    rounds, drives, better = run(), saved_policy(tmp_path / 'policy'), tmp_path / 'better'
    rounds.add([rollout(0)])
    rounds.run_round()
    first = improve(rounds, ROBOT, drives, better, updates=10, seed=0).checkpoint
    drives = f'{newest_version(better)} ({first})'
    second = improve(rounds, ROBOT, drives, better, updates=10, seed=0).checkpoint
    assert read_digest(better / 'version_1') == first
    assert (newest_version(better), read_digest(better / 'version_2')) == (
        better / 'version_2', second,
    )  # fmt: skip
    assert read_record(better / 'version_2')['parent'] == first


def test_a_policy_that_drives_and_is_on_disk_no_more_is_not_improved(run, tmp_path):
    rounds, drives = run(), saved_policy(tmp_path / 'policy')
    rounds.add([rollout(0)])
    rounds.run_round()
    other = drives[:-9] + 'ffffffff)'
    with pytest.raises(CheckpointError, match='is there no more; valid: its folder as it was'):
        improve(rounds, ROBOT, other, tmp_path / 'better', updates=10, seed=0)
    assert not (tmp_path / 'better').exists()


def test_a_policy_of_somebody_else_is_never_overwritten(run, tmp_path):
    """With the folder of the clone as the one to fill, the clone was gone."""
    rounds, drives = run(), saved_policy(tmp_path / 'policy')
    rounds.add([rollout(0)])
    rounds.run_round()
    with pytest.raises(CheckpointError, match='trained otherwise; valid: a folder of its own'):
        improve(rounds, ROBOT, drives, tmp_path / 'policy', updates=10, seed=0)
    assert load_checkpoint(tmp_path / 'policy', ROBOT).checkpoint in drives
    for _ in range(2):
        improve(rounds, ROBOT, drives, tmp_path / 'better', updates=10, seed=0)
