"""The kinds of files that are damaged and read: episodes, checkpoints, contracts."""

from __future__ import annotations

import io
from itertools import chain
import os
from pathlib import Path
import shutil
from typing import Any

from imitation_ros.episodes.inspect import inspect_episode
from imitation_ros.episodes.mcap_records import (
    MAGIC,
    RawMessage,
    read_chunk,
    read_records,
    View,
)
from imitation_ros.episodes.reader import EpisodeReader
from imitation_ros.episodes.repair import repair
from imitation_ros.episodes.writer import RECORDING
from imitation_ros.errors import ImitationError
from imitation_ros.frames.contract import load_contract, parse_contract
from imitation_ros.policies.checkpoint import (
    DOCUMENT,
    load_checkpoint,
    read_record,
    save_checkpoint,
    WEIGHTS,
)
from imitation_ros.policies.network import Architecture, Network
from imitation_ros.policies.normalization import Normalization, Standard
from imitation_ros.policies.policy import Policy
from mcap.opcode import Opcode
import numpy as np
import torch

from bench.faults.forging import forge_document, forge_episode, forge_values, forge_weights
from bench.faults.mutations import mutate
from bench.faults.reader import digest, Reader

CONTRACTS = Path(__file__).parents[2] / 'config/contracts'


class Episodes(Reader):
    """The MCAP file of an episode that was committed."""

    def prepare(self, folder: Path) -> None:
        self.path = self.folder / 'episode/episode_0.mcap'
        shutil.copytree(folder / 'episode', self.folder / 'episode')
        self.data = self.path.read_bytes()

    def damage(self) -> int:
        data = mutate(self.data, self.rng)
        self.path.write_bytes(data)
        return len(data)

    def read(self) -> str:
        reader = EpisodeReader(self.path.parent)
        messages = list(reader.messages())
        decoded = [repr(reader.decode(message)) for message in messages]
        contract = reader.contract
        assert contract is not None
        return digest(reader.info, contract.to_document(), reader.topics, messages, decoded)


class CutOff(Episodes):
    """The same file, salvaged as far as it can be read: no message may differ."""

    def read(self) -> str:
        reader = EpisodeReader(self.path.parent, salvage=True)
        messages = {(m.topic, m.data, m.log_time_ns) for m in reader.messages()}
        if not hasattr(self, 'recorded'):
            self.recorded = messages
        return 'a part' if messages <= self.recorded else 'something else'


class Recordings(Episodes):
    """A recording that was cut off, repaired: what is whole in it is saved, or kept as it was."""

    def prepare(self, folder: Path) -> None:
        os.fsync = lambda descriptor: None  # of this process alone: it is not about power cuts
        super().prepare(folder)
        shutil.rmtree(self.path.parent)
        self.path = self.folder / f'episode{RECORDING}/episode_0.mcap'
        view, self.chunks = View(io.BytesIO(self.data)), {}
        record = view.record(len(MAGIC), view.size)
        while record.opcode != Opcode.DATA_END:
            if record.opcode == Opcode.CHUNK:
                found = read_records(view, read_chunk(view, record))
                messages = {(m.data, m.log_time_ns) for m in found if isinstance(m, RawMessage)}
                self.chunks[view.read(record.at, record.length)] = messages
            record = view.record(record.end, view.size)
        self.data = self.data[: record.at]
        self.write(self.data)

    def damage(self) -> int:
        data = mutate(self.data, self.rng)
        self.write(data)
        return len(data)

    def write(self, data: bytes) -> None:
        for path in self.folder.iterdir():
            shutil.rmtree(path)
        self.path.parent.mkdir()
        self.path.write_bytes(data)

    def read(self) -> str:
        data = self.path.read_bytes()
        repaired = repair(self.path.parent)
        saved: set[tuple[bytes, int]] = set()
        if repaired.episode:
            found = EpisodeReader(repaired.episode).messages()
            saved = {(message.data, message.log_time_ns) for message in found}
        if saved - set().union(*self.chunks.values()):
            return 'something else'
        if repaired.kept:
            same = (repaired.kept / self.path.name).read_bytes() == data
            return 'nothing is lost' if same else 'kept as something else'
        whole = (messages for chunk, messages in self.chunks.items() if chunk in data)
        return 'nothing is lost' if saved.issuperset(chain(*whole)) else 'messages are lost'


class ForgedEpisodes(Episodes):
    """An MCAP file whose checksums fit, whatever it says."""

    forged = True

    def damage(self) -> int:
        data = forge_episode(self.data, self.rng)
        self.path.write_bytes(data)
        return len(data)

    def read(self) -> str:
        reader = EpisodeReader(self.path.parent)
        refused: ImitationError | None = None
        for message in reader.messages():
            try:
                reader.decode(message)
            except ImitationError as error:
                refused = error
        inspect_episode(self.path.parent)
        if refused:
            raise refused
        return ''


class Metadata(Episodes):
    """`metadata.yaml` of a bag of somebody else."""

    forged = True

    def prepare(self, folder: Path) -> None:
        super().prepare(folder)
        self.path.rename(self.path.with_name('other.mcap'))
        self.path = self.path.with_name('metadata.yaml')
        self.data = self.path.read_bytes().replace(b'episode_000000_0', b'other')

    def read(self) -> str:
        if not hasattr(self, 'whole'):
            self.path.write_bytes(self.data)
        return str(len(EpisodeReader(self.path.parent).topics))


class Checkpoints(Reader):
    """Both files of a checkpoint, one of them damaged or of another checkpoint."""

    def prepare(self, folder: Path) -> None:
        self.path = self.folder / 'checkpoint'
        save_checkpoint(self.path, _policy(0), {'seed': 0})
        save_checkpoint(self.folder / 'other', _policy(1), {'seed': 1})
        self.files = {name: (self.path / name).read_bytes() for name in (DOCUMENT, WEIGHTS)}

    def damage(self) -> int:
        name = self.rng.choice((DOCUMENT, WEIGHTS))
        data = mutate(self.files[name], self.rng)
        if self.rng.random() < 0.01:
            data = (self.folder / 'other' / name).read_bytes()
        return self.write({**self.files, name: data})

    def write(self, files: dict[str, bytes]) -> int:
        for name, content in files.items():
            (self.path / name).write_bytes(content)
        return sum(len(content) for content in files.values())

    def read(self) -> str:
        policy, record = load_checkpoint(self.path), read_record(self.path)
        weights = {name: each.tolist() for name, each in policy.network.state_dict().items()}
        return digest(
            weights,
            policy.architecture,
            policy.normalization.to_document(),
            policy.contract.to_document(),
            record,
        )


class ForgedCheckpoints(Checkpoints):
    """A checkpoint whose digests fit, whatever it says."""

    forged = True

    def damage(self) -> int:
        document, weights = self.files[DOCUMENT], self.files[WEIGHTS]
        if self.rng.random() < 0.5:
            return self.write({**self.files, DOCUMENT: forge_document(document, self.rng)})
        weights, document = forge_weights(weights, document, self.rng)
        return self.write({DOCUMENT: document, WEIGHTS: weights})


class Contracts(Reader):
    """The text of a contract: valid, or refused."""

    forged = False

    def prepare(self, folder: Path) -> None:
        self.path = self.folder / 'contract.yaml'
        self.texts = [path.read_bytes() for path in sorted(CONTRACTS.glob('*.yaml'))]
        self.path.write_bytes(self.texts[0])

    def damage(self) -> int:
        data = mutate(self.rng.choice(self.texts), self.rng)
        self.path.write_bytes(data)
        return len(data)

    def read(self) -> str:
        contract = load_contract(self.path)
        same = parse_contract(contract.to_document()) == contract
        return 'valid' if same and len(contract.fingerprint) == 64 else 'not what it says'


class ForgedContracts(Contracts):
    """A contract as plain data, as it lies in episodes and checkpoints."""

    forged = True

    def prepare(self, folder: Path) -> None:
        super().prepare(folder)
        self.documents = [parse_contract(text.decode()).to_document() for text in self.texts]
        self.document: Any = self.documents[0]

    def damage(self) -> int:
        self.document = forge_values(self.rng.choice(self.documents), self.rng)
        return 0

    def read(self) -> str:
        contract = parse_contract(self.document)
        assert parse_contract(contract.to_document()) == contract
        return contract.fingerprint


def _policy(seed: int) -> Policy:
    torch.manual_seed(seed)
    torch.set_num_threads(1)
    contract = load_contract(CONTRACTS / 'panda_position.yaml')
    specs = contract.observation_specs, contract.action_specs
    architecture = Architecture(hidden=(16,))
    normalization = Normalization(
        {name: _standard(spec.shape[0]) for name, spec in specs[0].items()},
        {name: _standard(spec.shape[0]) for name, spec in specs[1].items() if not spec.discrete},
    )
    network = Network(*specs, architecture, normalization)
    return Policy(contract, architecture, normalization, network)


def _standard(size: int) -> Standard:
    return Standard(np.linspace(0.1, 0.2, size), np.linspace(1.0, 2.0, size))


READERS: dict[str, type[Reader]] = {
    'episodes': Episodes,
    'episodes, salvaged': CutOff,
    'recordings, repaired': Recordings,
    'episodes, forged': ForgedEpisodes,
    'metadata of bags': Metadata,
    'checkpoints': Checkpoints,
    'checkpoints, forged': ForgedCheckpoints,
    'contracts': Contracts,
    'contracts, forged': ForgedContracts,
}
