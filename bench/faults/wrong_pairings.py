"""Checkpoints for robots whose contract differs in one field; and in its spelling alone.

One field of one of the package's contracts is changed so that it stays valid: a name, a topic, a
type, the order, a unit, a limit, the rate, the size of an image. The bar: the checkpoint that was
made for the original is refused, and the message names the field. Contracts that say the same in
other words (short forms, another order of keys, whole numbers, defaults) get the checkpoint.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
import copy
import json
from pathlib import Path
import random
import tempfile
from typing import Any

from imitation_ros.errors import CheckpointError, ContractError
from imitation_ros.frames.contract import Contract, load_contract, parse_contract
from imitation_ros.policies.checkpoint import load_checkpoint, save_checkpoint
from imitation_ros.policies.network import Architecture, Network
from imitation_ros.policies.normalization import Normalization, Standard
from imitation_ros.policies.policy import Policy
from imitation_ros.types import Spec
import numpy as np
import yaml

from bench.faults.outcome import Outcome

CHANGES = {'short': 60, 'full': 1_000}
SPELLINGS = {'short': 10, 'full': 100}
CONTRACTS = ('panda_position', 'panda_reach', 'panda_keys', 'panda_trajectory', 'ur5e', 'so101')
FREE = (
    *('name', 'command_hz', 'record_too', 'home', 'max_age_s', 'qos', 'feedback', 'on_stop'),
    *('max_handover_error', 'constants', 'label'),
)
"""What a policy does not depend on."""
Keys = tuple[str | int, ...]


def run(tier: str, seed: int) -> Outcome:
    """Pairs checkpoints and contracts; see the module's text."""
    outcome, rng = Outcome('wrong pairings'), random.Random(seed)
    with tempfile.TemporaryDirectory(prefix='faults_') as folder:
        documents = {name: load_contract(name).to_document() for name in CONTRACTS}
        for name, document in documents.items():
            _save_untrained(Path(folder, name), parse_contract(document))
        for number in range(CHANGES[tier]):
            name = CONTRACTS[number % len(CONTRACTS)]
            where, changed = _changed(documents[name], rng)
            _count(outcome, _wrongly_taken(Path(folder, name), where, changed))
        for number in range(SPELLINGS[tier]):
            name = CONTRACTS[number % len(CONTRACTS)]
            text = _spelled_otherwise(documents[name], rng)
            _count(outcome, _wrongly_refused(Path(folder, name), text))
    return outcome


def _count(outcome: Outcome, problem: str) -> None:
    outcome.injected += 1
    outcome.survived += not problem
    if problem:
        outcome.problems.append(problem)


def _wrongly_taken(folder: Path, where: str, contract: Contract) -> str:
    try:
        load_checkpoint(folder, contract)
    except CheckpointError as error:
        return '' if where in str(error) else f'{where} is not named: {error}'
    return f'{folder.name}: {where} changed, and the checkpoint was taken'


def _wrongly_refused(folder: Path, text: str) -> str:
    try:
        load_checkpoint(folder, parse_contract(text))
    except (CheckpointError, ContractError) as error:
        return f'an equivalent contract is refused: {error}'
    return ''


def _save_untrained(folder: Path, contract: Contract) -> None:
    specs = contract.observation_specs, contract.action_specs
    normalization = Normalization(*({n: _unit(s) for n, s in each.items()} for each in specs))
    network = Network(*specs, Architecture(hidden=(8,)), normalization)
    save_checkpoint(
        folder, Policy(contract, Architecture(hidden=(8,)), normalization, network), {}
    )


def _unit(spec: Spec) -> Standard:
    return Standard(np.zeros(spec.shape[-1]), np.ones(spec.shape[-1]))


def _changed(document: dict[str, Any], rng: random.Random) -> tuple[str, Contract]:
    """Another contract, and the field in which it differs."""
    fields = list(_fields(document))
    while True:
        path, value = rng.choice(fields)
        changed = copy.deepcopy(document)
        _change(changed, path, value, rng)
        try:
            contract = parse_contract(changed)
        except ContractError:
            continue  # no robot has it
        if value != _at(contract.to_document(), path):
            return _named(path), contract


def _fields(value: Any, path: Keys = ()) -> Iterator[tuple[Keys, Any]]:
    """Every number and text that a policy depends on."""
    if isinstance(value, dict):
        for key, item in value.items():
            if key not in FREE:
                yield from _fields(item, (*path, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _fields(item, (*path, index))
    elif value not in (None, ''):
        yield path, value


def _change(document: Any, path: Keys, value: Any, rng: random.Random) -> None:
    """Another value; or, in a list, the two places exchanged."""
    holder = _at(document, path[:-1])
    if isinstance(holder, list) and len(holder) > 1 and rng.random() < 0.4:
        other = rng.randrange(len(holder))
        holder[path[-1]], holder[other] = holder[other], holder[path[-1]]
        return
    holder[path[-1]] = rng.choice(OTHERS)(value, rng)
    _follow(document, value, holder[path[-1]])


def _follow(document: dict[str, Any], old: Any, new: Any) -> None:
    """Feedback names the fields of observations: it is renamed with them."""
    for part in document['actions'].values():
        part['feedback'] = [new if field == old else field for field in part['feedback']]


def _number(value: Any, rng: random.Random) -> Any:
    if isinstance(value, str):
        return value
    if isinstance(value, int):
        return value + rng.choice((-1, 1))
    return value * rng.choice((0.5, 0.999, 1.0 + 1e-12, 1.001, 180 / 3.141592653589793))


def _text(value: Any, rng: random.Random) -> Any:
    return f'{value}_2' if isinstance(value, str) else value


def _word(value: Any, rng: random.Random) -> Any:
    """A unit, kind, type or encoding that may stand in the same place."""
    alike = [words for words in WORDS if value in words]
    return rng.choice(alike[0]) if alike else value


OTHERS: tuple[Callable[[Any, random.Random], Any], ...] = (_number, _text, _word)
WORDS = (
    ('rad', 'm', '1'),
    ('rad/s', 'm/s', '1'),
    ('rgb8', 'mono8', '16UC1'),
    ('position', 'velocity', 'delta'),
    ('geometry_msgs/msg/Twist', 'geometry_msgs/msg/TwistStamped'),
    ('std_msgs/msg/Float64MultiArray', 'std_msgs/msg/Float32MultiArray'),
    ('geometry_msgs/msg/PoseStamped', 'geometry_msgs/msg/Pose'),
)


def _at(document: Any, path: Keys) -> Any:
    for key in path:
        document = document[key]
    return document


def _named(path: Keys) -> str:
    text = ''.join(f'[{key}]' if isinstance(key, int) else f'.{key}' for key in path)
    return text.removeprefix('.')


def _spelled_otherwise(document: dict[str, Any], rng: random.Random) -> str:
    """The same contract as YAML or JSON, in other words."""
    spelled = copy.deepcopy(document)
    for name, sources in spelled['observations'].items():
        if len(sources) == 1 and rng.random() < 0.5:
            spelled['observations'][name] = sources[0]
    for part in spelled['actions'].values():
        for key in ('units', 'low', 'high', 'max_velocity', 'max_acceleration'):
            if part[key] and len(set(part[key])) == 1 and rng.random() < 0.7:
                part[key] = part[key][0]
    spelled = _shuffled(_whole(_without_defaults(spelled, rng), rng), rng)
    if rng.random() < 0.3:
        return json.dumps(spelled)
    style = rng.choice((None, True, False))
    return yaml.safe_dump(spelled, sort_keys=False, default_flow_style=style)


def _without_defaults(value: Any, rng: random.Random) -> Any:
    if isinstance(value, dict):
        return {
            key: _without_defaults(item, rng)
            for key, item in value.items()
            if item not in (None, '', [], {}) or rng.random() < 0.5
        }
    return [_without_defaults(item, rng) for item in value] if isinstance(value, list) else value


def _whole(value: Any, rng: random.Random) -> Any:
    """2.0 as 2, at times."""
    if isinstance(value, dict):
        return {key: _whole(item, rng) for key, item in value.items()}
    if isinstance(value, list):
        return [_whole(item, rng) for item in value]
    whole = isinstance(value, float) and value.is_integer() and rng.random() < 0.5
    return int(value) if whole else value


def _shuffled(value: Any, rng: random.Random, key: str = '') -> Any:
    """Keys in another order; but the order of observations and of actions has a meaning."""
    if isinstance(value, list):
        return [_shuffled(item, rng) for item in value]
    if not isinstance(value, dict):
        return value
    items = [(name, _shuffled(item, rng, name)) for name, item in value.items()]
    if key not in ('observations', 'actions'):
        rng.shuffle(items)
    return dict(items)
