"""The demo leaves what it promises, and an interrupted recording loses nothing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

from imitation_ros.episodes.inspect import inspect_episode

DEADLINE_S = 400


def start(ros, *arguments):
    return subprocess.Popen(
        [sys.executable, '-m', 'imitation_ros.cli', *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, 'ROS_DOMAIN_ID': str(ros.domain_id)},
        start_new_session=True,
    )


def test_the_demo_leaves_a_report_a_film_and_a_summary(ros, tmp_path):
    out = tmp_path / 'demo'
    demo = start(
        ros,
        'demo',
        '--task',
        'reach',
        '--episodes',
        6,
        '--rollouts',
        2,
        '--rounds',
        1,
        '--irl-steps',
        150,
        '--all',
        '--meta-tasks',
        2,
        '--meta-steps',
        50,
        '--out',
        out,
    )
    output, _ = demo.communicate(timeout=DEADLINE_S)
    assert demo.returncode == 0, output
    summary = json.loads((out / 'summary.json').read_text())
    assert summary['expert'] == {'success': 1.0, 'episodes': 6}
    assert summary['bc'].keys() == {'success', 'episodes', 'labels'}
    assert 0 <= summary['bc']['success'] <= 1
    assert summary['bc']['labels'] > 6 * 20
    report = (out / 'report.html').read_text()
    assert summary['dagger'].keys() == {'success', 'labels', 'rounds'}
    assert summary['dagger']['rounds'] == 1
    assert summary['irl'].keys() == {'separation', 'success', 'environment_steps'}
    assert 0 <= summary['irl']['success'] <= 1
    assert summary['irl']['environment_steps'] == 150
    assert report.count('data:image/png;base64,') == 7
    assert summary['meta'].keys() == {
        'success', 'demonstrations', 'tasks', 'scenes', 'adaptation_s'
    }  # fmt: skip
    assert (summary['meta']['demonstrations'], summary['meta']['scenes']) == (1, 2)
    assert 0 <= summary['meta']['success'] <= 1
    assert report.count('pick_place/10000') >= summary['meta']['tasks'] == 2
    assert report.count('data:image/gif;base64,') == 3
    assert len(list((out / 'demonstrations').glob('episode_*/*.mcap'))) == 6


def test_ctrl_c_while_recording_keeps_every_episode(ros, tmp_path):
    record = start(ros, 'record', '--task', 'reach', '--episodes', 500, '--out', tmp_path)
    began = time.monotonic()
    while len(list(tmp_path.glob('episode_*/metadata.yaml'))) < 3:
        assert record.poll() is None, record.communicate()[0]
        assert time.monotonic() - began < DEADLINE_S
        time.sleep(0.05)  # polls; what is waited for is the condition above
    os.killpg(record.pid, signal.SIGINT)
    output, _ = record.communicate(timeout=60)
    assert record.returncode == 130, output
    assert 'Traceback' not in output
    assert not list(tmp_path.glob('*.recording'))
    reports = [inspect_episode(path) for path in sorted(tmp_path.glob('episode_*'))]
    whole = [report for report in reports if report.info.outcome == 'success']
    assert len(whole) >= 3
    assert {report.verdict for report in whole} == {'good'}
    assert len(reports) - len(whole) <= 1  # the one that was cut off is kept as 'unknown'
