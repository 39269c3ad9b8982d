"""Episodes as arrays on disk: aligned once, memory-mapped ever after.

One file an episode in the safetensors format (a JSON header, then the arrays), named by the
content of the bag, the contract and the code that aligns, so that what is found under a name is
up to date.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
import hashlib
import json
import mmap
import os
from pathlib import Path
from typing import Any

from imitation_ros.episodes.statistics import Statistics
from imitation_ros.errors import EpisodeError
from imitation_ros.frames.contract import Contract
from imitation_ros.types import Array, Episode
import numpy as np

MAX_HEADER_BYTES = 1 << 24
SMALL_BYTES = 1 << 20
"""Files up to this size are read: a memory map costs a file descriptor."""
_DTYPES = {'F64': '<f8', 'I64': '<i8', 'I32': '<i4', 'U8': '|u1', 'U16': '<u2'}
DAMAGED = (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError)
"""What reading a damaged entry of the cache raises; it is then made anew."""
_NAMES = {dtype: name for name, dtype in _DTYPES.items()}


class NoFrames(EpisodeError):
    """An episode of which no frame can be made; says the most frequent reason."""


@dataclass(frozen=True)
class CachedEpisode:
    """An episode with what a training set asks of it.

    Attributes:
        episode: its arrays, read-only and memory-mapped where they are large.
        hash: SHA-256 (hex) over its arrays.
        statistics: of its vectors.
    """

    episode: Episode
    hash: str
    statistics: Statistics


class EpisodeCache:
    """A folder of aligned episodes.

    Args:
        folder: made when it is needed.
        contract: what the frames hold.
        label: which action is the label; see `load_episode`.
    """

    def __init__(self, folder: str | Path, contract: Contract, label: str) -> None:
        self._folder = Path(folder)
        self._contract = contract
        document = json.dumps(contract.to_document())
        self._recipe = f'{_code()} {label} {document}'

    def get(self, bag: Path, files: Sequence[Path], load: Callable[[], Episode]) -> CachedEpisode:
        """The episode of a bag; `load` is called if it is not in the cache yet.

        Args:
            bag: names the entry.
            files: of the bag.
            load: aligns it.

        Raises:
            EpisodeError: the bag cannot be read, or the cache not be written.
            NoFrames: no frame can be made of the bag.
        """
        key = hashlib.sha256(f'{self._bag_hash(bag, files)} {self._recipe}'.encode()).hexdigest()
        path = self._folder / f'{bag.name}.{key[:24]}.safetensors'
        with suppress(*DAMAGED):  # or not there
            return _read(path, bag)
        episode = load()
        if not len(episode):
            reason = max(episode.left_out, key=episode.left_out.__getitem__, default='no ticks')
            raise NoFrames(reason)
        document = {
            'hash': episode_hash(episode),
            'statistics': Statistics.of(episode, self._contract).to_document(),
            'outcome': episode.outcome,
            'left_out': dict(episode.left_out),
            'metadata': dict(episode.metadata),
        }
        self._write(path, _blocks(episode, document))
        return _read(path, bag)

    def _bag_hash(self, bag: Path, files: Sequence[Path]) -> str:
        """SHA-256 of a bag's files; remembered while their sizes and times stay the same."""
        try:
            stats = [os.stat(path) for path in files]
            seen = [[stat.st_size, stat.st_mtime_ns, stat.st_ino] for stat in stats]
            note = self._folder / f'{bag.name}.{hash_text(str(bag.absolute()))[:24]}.json'
            remembered = _read_note(note)
            if remembered.get('seen') == seen:
                return str(remembered['sha256'])
            digest = hashlib.sha256()
            for path in files:
                with open(path, 'rb') as file:
                    while block := file.read(1 << 20):
                        digest.update(block)
        except OSError as error:
            raise EpisodeError(f'{bag}: {error.strerror}') from None
        self._write(note, [json.dumps({'seen': seen, 'sha256': digest.hexdigest()}).encode()])
        return digest.hexdigest()

    def _write(self, path: Path, blocks: Iterable[bytes | memoryview]) -> None:
        """Under a name of its own first: two trainings may fill one cache."""
        temporary = path.with_name(f'{path.name}.{os.getpid()}')
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with open(temporary, 'wb') as file:
                file.writelines(blocks)
            temporary.replace(path)
        except OSError as error:
            with suppress(OSError):
                temporary.unlink()
            raise EpisodeError(f'cache {self._folder}: {error.strerror}') from None


def episode_hash(episode: Episode) -> str:
    """SHA-256 (hex) over the names, types, shapes and values of an episode's arrays."""
    digest = hashlib.sha256()
    for name, array in sorted(_arrays(episode).items()):
        digest.update(f'{name} {array.dtype.str} {array.shape}\n'.encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


@cache
def _code() -> str:
    """SHA-256 (hex) of what makes frames and labels: another version may make other ones."""
    episodes = Path(__file__).parent
    sources = [*episodes.glob('*.py'), *(episodes.parent / 'frames').glob('*.py')]
    return hashlib.sha256(b''.join(path.read_bytes() for path in sorted(sources))).hexdigest()


def hash_text(text: str) -> str:
    """SHA-256 (hex) of a text."""
    return hashlib.sha256(text.encode()).hexdigest()


def _arrays(episode: Episode) -> dict[str, Array]:
    return {
        'tick_ns': episode.tick_ns,
        'segment': episode.segment,
        **{f'observations/{name}': array for name, array in episode.observations.items()},
        **{f'actions/{part}': array for part, array in episode.actions.items()},
    }


def _blocks(episode: Episode, document: dict[str, Any]) -> Iterator[bytes | memoryview]:
    """The file, piece by piece; the widest numbers first, so that all are aligned."""
    arrays = {name: np.ascontiguousarray(array) for name, array in _arrays(episode).items()}
    arrays = dict(sorted(arrays.items(), key=lambda item: -item[1].itemsize))
    header: dict[str, Any] = {'__metadata__': {'episode': json.dumps(document)}}
    end = 0
    for name, array in arrays.items():
        begin, end = end, end + array.nbytes
        header[name] = {
            'dtype': _NAMES[array.dtype.str], 'shape': array.shape, 'data_offsets': [begin, end]
        }  # fmt: skip
    text = json.dumps(header).encode()
    text += b' ' * (-len(text) % 8)
    yield len(text).to_bytes(8, 'little') + text
    yield from (array.data for array in arrays.values())


def _read_note(path: Path) -> dict[str, Any]:
    try:
        note = json.loads(path.read_bytes())
    except DAMAGED:
        return {}
    return note if isinstance(note, dict) else {}


def _read(path: Path, bag: Path) -> CachedEpisode:
    """The episode, where its bag is now; raises one of `DAMAGED` unless the file is whole."""
    with open(path, 'rb') as file:
        size = os.fstat(file.fileno()).st_size
        data: Any = file.read() if size <= SMALL_BYTES else _mapped(file.fileno())
    start = 8 + int.from_bytes(data[:8], 'little')
    if start > min(size, MAX_HEADER_BYTES):
        raise ValueError(f'{path}: damaged')
    header = json.loads(data[8:start])
    document = json.loads(header.pop('__metadata__')['episode'])
    arrays = {name: _array(data, start, entry) for name, entry in header.items()}
    episode = Episode(
        arrays['tick_ns'],
        _under('observations/', arrays),
        _under('actions/', arrays),
        arrays['segment'],
        document['outcome'],
        document['left_out'],
        {**document['metadata'], 'path': str(bag)},
    )
    statistics = Statistics.from_document(document['statistics'])
    return CachedEpisode(episode, document['hash'], statistics)


def _mapped(descriptor: int) -> mmap.mmap:
    return mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ)


def _array(data: Any, start: int, entry: dict[str, Any]) -> Array:
    begin, end = entry['data_offsets']
    dtype = np.dtype(_DTYPES[entry['dtype']])
    flat = np.frombuffer(data, dtype, (end - begin) // dtype.itemsize, start + begin)
    array: Array = flat.reshape(entry['shape'])
    return array


def _under(prefix: str, arrays: dict[str, Array]) -> dict[str, Array]:
    return {
        name[len(prefix) :]: array for name, array in arrays.items() if name.startswith(prefix)
    }
