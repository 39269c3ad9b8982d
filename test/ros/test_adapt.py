"""The policy node adapts to a recorded episode while it drives, and goes back."""

from __future__ import annotations

from imitation_ros.cli.__main__ import main
from imitation_ros.cli.record import record_expert
from imitation_ros.errors import GraphError
from imitation_ros.learning.meta.meta_policy import load_meta_policy
from imitation_ros.learning.meta.recorded import adapt_recorded
from imitation_ros.nodes.collector import TopicsCollector
from imitation_ros.nodes.graph import Graph
from imitation_ros.nodes.policy import PolicyNode
from imitation_ros.policies.checkpoint import read_digest, read_record
from imitation_ros.supervision.gates import GateConfig
import pytest
from rclpy.parameter import Parameter
from recorded_episodes import CONTRACT, contract, record_lockstep
from test_meta import meta

from bench import adapt_time
from bench.adapt_time import learn, start_from
from bench.policy_latency import save_untrained_policy

FAMILY = 'panda_family_reach'


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """A meta policy, and the checkpoint that it begins with."""
    made = tmp_path_factory.mktemp('meta')
    learn(12, 150).save(made / 'meta', {})
    start_from(made)
    return made


def test_from_a_recording_over_topics_to_an_adapted_policy_and_back(
    ros, folder, tmp_path, monkeypatch
):
    monkeypatch.setenv('ROS_DOMAIN_ID', str(ros.domain_id))
    (shown,) = record_expert('reach/1000000', FAMILY, tmp_path / 'data', 1, 1_000_000)
    parameters = {
        'contract': FAMILY, 'checkpoint': folder / 'prior', 'meta': folder / 'meta',
        'adapted': tmp_path / 'adapted',
    }  # fmt: skip
    with Graph() as graph:
        graph.start('policy', parameters)
        graph.wait_ready()
        with pytest.raises(GraphError, match=r'kept the present policy: .* meta and episode'):
            graph.call('policy/adapt')
        graph.set('policy', episode=tmp_path / 'nothing')
        with pytest.raises(GraphError, match='no episode; valid: an episode, or a folder'):
            graph.call('policy/adapt')
        record_lockstep(tmp_path / 'other', 24)
        graph.set('policy', episode=tmp_path / 'other')
        with pytest.raises(GraphError, match=r'kept the present policy: .* another contract'):
            graph.call('policy/adapt')
        graph.set('policy', episode=tmp_path / 'data')  # the newest in it
        answer = graph.call('policy/adapt')
        (adapted,) = (tmp_path / 'adapted').glob(f'{shown.path.name}_????????')
        assert read_digest(adapted) in answer
        assert '_ball (' in answer
        assert read_record(adapted)['parent'] == load_meta_policy(folder / 'meta').checkpoint
        assert str(folder / 'prior') in graph.call('policy/rollback')


def test_the_time_of_an_adaptation_is_measured_while_the_policy_drives(ros, monkeypatch):
    monkeypatch.setenv('ROS_DOMAIN_ID', str(ros.domain_id))
    result = adapt_time.main(['--quick'])
    assert len(result['rows']) == 3
    assert result['ticks'] >= 15
    assert result['largest_gap_ticks'] > 0
    assert set(result['pass']) == {'adaptation <= 2 s', 'missed ticks <= 0'}


def test_a_correction_of_an_adapted_policy_adapts_it_again(ros, folder, tmp_path, monkeypatch):
    monkeypatch.setenv('ROS_DOMAIN_ID', str(ros.domain_id))
    (shown,) = record_expert('reach/1000000', FAMILY, tmp_path / 'data', 1, 1_000_000)
    adapted = tmp_path / 'adapted'
    adapt_recorded(load_meta_policy(folder / 'meta'), [shown.path], adapted / 'first')
    by_turns = GateConfig('beta', beta=0.5, beta_per_tick=True)
    collector = TopicsCollector('reach/1000000', FAMILY)
    (corrected,) = collector.collect(adapted / 'first', by_turns, [1_000_001], tmp_path / 'more')
    assert 0 < corrected.expert_ticks < corrected.ticks
    parameters = {
        'contract': FAMILY, 'checkpoint': adapted / 'first', 'meta': folder / 'meta',
        'adapted': adapted, 'episode': tmp_path / 'more',
    }  # fmt: skip
    with Graph() as graph:
        graph.start('policy', parameters)
        graph.wait_ready()
        answer = graph.call('policy/adapt')
        assert f'also from {shown.path.name}' in answer
        again = next(each for each in adapted.iterdir() if each.name != 'first')
        assert read_digest(again) in answer
        assert len(read_record(again)['demonstrations']) == 2
        assert read_digest(adapted / 'first') in graph.call('policy/rollback')


class TwoJoints:
    """A policy node for a robot of two joints, that adapts from `folder`/meta."""

    def __init__(self, ros, folder):
        self._ros, self._folder = ros, folder
        (folder / 'robot.yaml').write_text(CONTRACT)
        save_untrained_policy(folder / 'robot.yaml', folder / 'checkpoint')
        given = {'contract': 'robot.yaml', 'checkpoint': 'checkpoint', 'meta': 'meta'}
        paths = {name: str(folder / path) for name, path in given.items()}
        self._node = ros.start(PolicyNode, adapted=str(folder / 'adapted'), **paths)

    def adapt(self, episode):
        """The answer of ~/adapt."""
        path = str(self._folder / episode)
        self._node.set_parameters([Parameter('episode', value=path)])
        return self._ros.call('policy/adapt')


def test_the_node_refuses_what_cannot_be_adapted_to_and_the_policy_stays(ros, tmp_path):
    too_fast = meta(contract=contract(), method='finetune', inner_rate=10.0)
    too_fast.save(tmp_path / 'meta', {})
    record_lockstep(tmp_path / 'short', 9)
    record_lockstep(tmp_path / 'thrown_away', 24, outcome='discarded')
    slow = contract(replaced={'rate_hz: 20': 'rate_hz: 10'})
    record_lockstep(tmp_path / 'slow', 24, contract=slow)
    record_lockstep(tmp_path / 'good', 24)
    robot = TwoJoints(ros, tmp_path)
    for episode, says in {
        'short': 'short: too short: 9 frames; valid: at least 16',
        'thrown_away': 'thrown_away: its operator discarded it',
        'slow': 'another contract: rate_hz: 10.0 here, 20.0 there',
        'good': 'refused: adaptation made things worse: held-out frames',
    }.items():
        answer = robot.adapt(episode)
        assert not answer.success
        assert answer.message.startswith('kept the present policy: '), answer.message
        assert says in answer.message
    assert not (tmp_path / 'adapted').exists()
    assert ros.call('policy/rollback').message == 'there is no policy before this one'


def test_the_node_warns_of_an_odd_demonstration(ros, tmp_path):
    for task in range(3):
        for number in range(2):
            folder = tmp_path / f'tasks/task_{task}/episode_{number:06d}'
            record_lockstep(folder, 24, seed=2 * task + number)
    train = ['meta', 'train', str(tmp_path / 'tasks'), '--steps', '60']
    assert main([*train, '--out', str(tmp_path / 'meta')]) == 0
    record_lockstep(tmp_path / 'failed', 24, outcome='failure', seed=5)
    robot = TwoJoints(ros, tmp_path)
    answer = robot.adapt('failed')
    assert answer.success, answer.message
    assert '; warning: failed: its outcome is failure' in answer.message
