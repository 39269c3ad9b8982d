"""`inspect`: what is in an episode or a data set, and whether it is any good."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from imitation_ros.cli._console import print_json, print_table, progress
from imitation_ros.episodes.inspect import EpisodeReport, inspect_episode
from imitation_ros.errors import EpisodeError
from imitation_ros.frames.contract import load_contract


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options."""
    parser.add_argument('path', type=Path, help='an episode, or a folder of episodes')
    parser.add_argument('--contract', default=None, help='fit for what; default: its own')
    parser.add_argument('--json', action='store_true', help='one JSON object on stdout')


def run(options: argparse.Namespace) -> int:
    """Prints one report an episode; 1 if any episode cannot be learned from."""
    contract = load_contract(options.contract) if options.contract else None
    paths = list(_episodes(options.path))
    reports, unreadable = [], {}
    with progress('episodes', len(paths)) as advance:
        for path in paths:
            try:
                reports.append(inspect_episode(path, contract))
            except EpisodeError as error:
                unreadable[str(path)] = str(error)
            advance()
    if options.json:
        print_json({'episodes': [asdict(report) for report in reports], 'unreadable': unreadable})
    elif len(paths) == 1 and reports:
        _print_topics(reports[0])
    if not options.json:
        _print_summary(reports, unreadable)
    return int(bool(unreadable) or any(report.verdict == 'bad' for report in reports))


def _print_topics(report: EpisodeReport) -> None:
    rows = [
        (topic.name, topic.type, topic.messages, _number(topic.rate_hz, '.1f'),
         _number(topic.largest_gap_s, '.3f'), 'unknown' if topic.lost is None else topic.lost)
        for topic in report.topics
    ]  # fmt: skip
    print_table(report.path, ('topic', 'type', 'messages', 'Hz', 'largest gap (s)', 'lost'), rows)


def _print_summary(reports: Sequence[EpisodeReport], unreadable: Mapping[str, str]) -> None:
    rows = [
        (Path(report.path).name, report.info.task, report.info.outcome,
         _number(report.duration_s, '.2f'), report.frames, sum(report.left_out.values()),
         report.verdict, '; '.join(report.reasons))
        for report in reports
    ]  # fmt: skip
    rows += [(Path(path).name, *'-----', 'bad', why) for path, why in unreadable.items()]
    header = ('episode', 'task', 'outcome', 's', 'frames', 'left out', 'verdict', 'why')
    print_table('episodes', header, rows)


def _number(value: float | None, form: str) -> str:
    return '' if value is None else format(value, form)


def _episodes(path: Path) -> Iterator[Path]:
    if not path.exists():
        raise EpisodeError(f'{path}: there is no such file or folder')
    if path.is_file() or (path / 'metadata.yaml').exists():
        yield path
        return
    found = sorted(p for p in path.iterdir() if p.is_dir() and not p.name.startswith('.'))
    if not found:
        raise EpisodeError(f'{path}: holds no episodes; valid: an episode or a folder of episodes')
    yield from found
