"""The text of message types, which a bag carries so that anyone can decode it without ROS.

It is read from the `.msg` files that every message package installs: under the prefixes of
`AMENT_PREFIX_PATH` on a ROS machine, else under `sys.prefix`, where the wheels put them.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
import os
from pathlib import Path
import re
import sys

from imitation_ros.errors import EpisodeError, one_of

SEPARATOR = '=' * 80
_PRIMITIVE = re.compile(r'bool|byte|char|w?string|float(32|64)|u?int(8|16|32|64)')
_TYPE = re.compile(r'(\w+)/msg/(\w+)')
_FIELD = re.compile(r'\s*([\w/]+)(?:<=\d+)?(?:\[(?:<?=?\d*)\])?\s+\w+')


def definition_prefixes() -> tuple[Path, ...]:
    """The folders that are searched for `share/<package>/msg/<Name>.msg`, in order."""
    paths = os.environ.get('AMENT_PREFIX_PATH', '').split(os.pathsep)
    return tuple(Path(path) for path in (*paths, sys.prefix) if path)


def message_definition(type: str, prefixes: Sequence[Path] | None = None) -> str:
    """The definition of a type followed by those it is made of, as rosbag2 writes it ('ros2msg').

    Args:
        type: for example 'sensor_msgs/msg/JointState'.
        prefixes: where to search; `definition_prefixes()` if None.

    Raises:
        EpisodeError: not a message type, or its `.msg` file (or that of a part) is not installed.
    """
    return _definition(type, tuple(prefixes) if prefixes is not None else definition_prefixes())


@lru_cache(maxsize=256)
def _definition(type: str, prefixes: tuple[Path, ...]) -> str:
    texts = {type: _text(type, prefixes)}
    waiting = [type]
    while waiting:
        for part in _parts(waiting.pop(0), texts):
            if part not in texts:
                texts[part] = _text(part, prefixes)
                waiting.append(part)
    first, *others = texts
    return texts[first] + ''.join(
        f'\n{SEPARATOR}\nMSG: {other.replace("/msg/", "/")}\n{texts[other]}' for other in others
    )


def _parts(type: str, texts: dict[str, str]) -> list[str]:
    """The non-primitive types of the fields, in full."""
    package = type.partition('/')[0]
    parts = []
    for line in texts[type].splitlines():
        match = _FIELD.match(line.partition('#')[0])
        if match and not _PRIMITIVE.fullmatch(match[1]):
            *owner, name = match[1].replace('/msg/', '/').split('/')
            parts.append(f'{owner[0] if owner else package}/msg/{name}')
    return parts


def _text(type: str, prefixes: tuple[Path, ...]) -> str:
    match = _TYPE.fullmatch(type)
    if not match:
        raise EpisodeError(f'{type!r} is not a message type; valid: package/msg/Name')
    package, name = match.groups()
    folders = [prefix / 'share' / package / 'msg' for prefix in prefixes]
    for folder in folders:
        try:
            return (folder / f'{name}.msg').read_text(encoding='utf-8')
        except FileNotFoundError:
            continue
        except (OSError, UnicodeDecodeError) as error:
            raise EpisodeError(f'{folder / name}.msg: {error}') from None
    here = sorted({path.stem for folder in folders for path in folder.glob('*.msg')})
    if here:
        raise EpisodeError(f'no message {name!r} in {package}; {one_of(name, here)}')
    raise EpisodeError(
        f'no definition of {type}: {package} is not installed; searched share/{package}/msg in '
        + ', '.join(map(str, prefixes))
    )
