"""What is left of a recording after a fault: repaired, and held against what was sent."""

from __future__ import annotations

import hashlib
from pathlib import Path

from imitation_ros.episodes.reader import EpisodeReader
from imitation_ros.episodes.repair import find_unfinished, repair_dataset
from imitation_ros.errors import EpisodeError

from bench.faults._episode_child import Notes, payload


def digests(folder: Path) -> dict[str, str]:
    """SHA-256 of every file in a folder."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob('*'))
        if path.is_file()
    }


def repaired_problems(data: Path, notes: Notes, loss_at_most_s: float) -> tuple[list[str], float]:
    """Repairs a data set after a fault; what is wrong with it then, and how many s are lost.

    Args:
        data: holds one recording, of numbered messages, and may hold closed episodes.
        notes: what the recording process had accepted.
        loss_at_most_s: between the last message accepted and the last saved.
    """
    try:
        for _ in repair_dataset(data):
            pass
        if find_unfinished(data):
            return ['still not repaired'], 0.0
        folder = data / 'open'
        messages = list(EpisodeReader(folder).messages()) if folder.exists() else []
    except EpisodeError as error:
        return [f'not readable: {error}'], 0.0
    problems = []
    if [message.sequence for message in messages] != list(range(1, len(messages) + 1)):
        problems.append('messages out of order, twice or missing')
    if any(message.data != payload(message.sequence) for message in messages):
        problems.append('a message differs from what was sent')
    if notes['ended'] == 1 and len(messages) != notes['accepted']:
        problems.append('a closed episode lacks messages')
    lost_s = 0.0
    if notes['accepted'] > len(messages):
        last_ns = messages[-1].log_time_ns if messages else notes['began_ns']
        lost_s = (notes['accepted_ns'] - last_ns) / 1e9
    if lost_s > loss_at_most_s:
        problems.append(f'{lost_s:.2f} s lost')
    names = {path.name for path in data.iterdir()}
    if names - {'open', 'closed'}:
        problems.append(f'left over: {", ".join(sorted(names - {"open", "closed"}))}')
    return problems, lost_s
