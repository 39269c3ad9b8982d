"""The last stage of `demo --all`: tasks that nobody has trained on, each shown once."""

from __future__ import annotations

from pathlib import Path
import statistics
import time
from typing import Any, TYPE_CHECKING

from imitation_ros.cli._console import progress
from imitation_ros.cli._films import film_policy
from imitation_ros.cli.evaluate import evaluate_over_topics, TEST_SEEDS
from imitation_ros.cli.meta import simulated_tasks, TRAINING_SEEDS
from imitation_ros.cli.record import record_expert

if TYPE_CHECKING:
    from imitation_ros.cli.demo import Demo
    from imitation_ros.learning.meta.meta_policy import MetaPolicy

FAMILY = 'pick_place'
SHOWN_TASKS, SCENES, FILMED = 3, 5, 3
"""Unseen tasks, new scenes of each, and how many of the first are filmed."""


def learn_from_one(demo: Demo) -> None:
    """Learns from a family of tasks to do the next after one recorded demonstration of it."""
    from imitation_ros.frames.contract import load_contract
    from imitation_ros.report.page import Picture, Section, Table
    from imitation_ros.sim.families import make_family

    family = make_family(FAMILY)
    parent = _meta_policy(demo, f'8/{demo.stages}')
    first = TEST_SEEDS + demo.seed * SHOWN_TASKS
    count, scenes = min(SHOWN_TASKS, demo.rollouts), min(SCENES, demo.rollouts)
    rows = []
    with progress(f'9/{demo.stages} one demonstration', count * (1 + scenes)) as advance:
        for seed in range(first, first + count):
            rows.append(_show_once(demo, parent, f'{FAMILY}/{seed}', scenes, advance))
    film = _film(demo, load_contract(family.contract), first)
    success = statistics.mean(row['success'] for row in rows)
    seconds = statistics.median(row['adaptation_s'] for row in rows)
    demo.summary['meta'] = {
        'success': success, 'demonstrations': 1, 'tasks': len(rows), 'scenes': scenes,
        'adaptation_s': round(seconds, 3),
    }  # fmt: skip
    cells = [
        (row['task'], row['found'], f'{row["adaptation_s"]:.2f} s', f'{row["success"]:.0%}')
        for row in rows
    ]
    demo.sections.append(
        Section(
            'One demonstration is enough',
            'Four cubes and four pads lie there, and nothing says which cube is to go over which '
            f'pad. From {demo.meta_tasks} such tasks a network learned how to learn the next one. '
            f'Then an expert showed {len(rows)} tasks that it had not seen, each once, over '
            f'topics; it read the recording and drove the arm in {scenes} new scenes of each, and '
            f'succeeded in {success:.0%} of them.',
            Table(('task', 'what it took to be meant', 'adapted in', 'success'), cells),
            [Picture(film, f'{rows[0]["task"]} in new scenes, after one demonstration.')]
            if film
            else [],
        )
    )


def _meta_policy(demo: Demo, stage: str) -> MetaPolicy:
    from imitation_ros.learning.meta.meta_policy import Settings
    from imitation_ros.learning.meta.meta_training import meta_train
    from imitation_ros.learning.meta.training import MetaConfig

    tasks, unseen, contract = simulated_tasks(
        FAMILY, demo.meta_tasks, demo.seed % TRAINING_SEEDS, f'{stage} many tasks'
    )
    with progress(f'{stage} learn to adapt', demo.meta_steps) as advance:
        parent, curve = meta_train(
            tasks, unseen, contract, Settings(), MetaConfig(steps=demo.meta_steps), demo.seed,
            lambda step, loss: advance(f'loss {loss:.3f}', completed=step),
        )  # fmt: skip
    parent.save(_folder(demo, 'meta'), {'tasks': len(tasks), 'train_loss': curve})
    return parent


def _show_once(
    demo: Demo, parent: MetaPolicy, task: str, scenes: int, advance: Any
) -> dict[str, Any]:
    """Record, adapt and drive over topics: a row of the report."""
    from imitation_ros.learning.meta.adaptation import adapt, judge, save_adapted
    from imitation_ros.learning.meta.recorded import demonstration

    name, seed = task.replace('/', '_'), demo.curve_seeds.stop
    logs, contract = demo.out / 'logs', parent.contract
    shown_in = _folder(demo, 'shown') / name
    results = record_expert(
        task, f'panda_family_{FAMILY}', shown_in, 1, seed, log_dir=logs / f'show_{name}'
    )
    advance(f'{task}: shown')
    start = time.perf_counter()
    shown = [
        demonstration(path, contract) for each in results if each.success and (path := each.path)
    ]
    verdict = judge(parent, shown)
    row: dict[str, Any] = {'task': task, 'success': 0.0, 'found': verdict.refusal}
    if not verdict.refusal:
        checkpoint = _folder(demo, 'adapted') / name
        save_adapted(checkpoint, adapt(parent, shown), parent, shown, verdict)
        row['found'] = verdict.meant
    row['adaptation_s'] = time.perf_counter() - start
    if not verdict.refusal:
        first = seed + len(results)
        row['success'] = evaluate_over_topics(
            task, f'panda_family_{FAMILY}', checkpoint, range(first, first + scenes), advance,
            logs / f'drive_{name}',
        ).success  # fmt: skip
    return row


def _film(demo: Demo, contract: Any, seed: int) -> Path | None:
    """The first task's policy in new scenes; None if it was refused."""
    from imitation_ros.policies.checkpoint import load_checkpoint
    from imitation_ros.sim.env import ArmEnv
    from imitation_ros.sim.families import make_family

    checkpoint = _folder(demo, 'adapted') / f'{FAMILY}_{seed}'
    if not checkpoint.exists():
        return None
    env = ArmEnv(make_family(FAMILY).draw(seed), contract)
    scenes = demo.test_seeds[:FILMED]
    with progress(f'9/{demo.stages} film', FILMED) as advance:
        film = film_policy(
            demo.out / 'meta/film', env, load_checkpoint(checkpoint, contract), scenes, advance
        )
    env.close()
    return film


def _folder(demo: Demo, name: str) -> Path:
    return demo.out / 'meta' / name
