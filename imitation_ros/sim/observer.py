"""The simulation's numbers → the arrays of a contract, without messages in between."""

from __future__ import annotations

from collections.abc import Callable

from imitation_ros.errors import one_of, TaskError
from imitation_ros.frames.contract import Contract, Source
from imitation_ros.frames.images import fit
from imitation_ros.sim.simulator import CAMERA_TOPIC, CAMERA_TYPE, Simulator
from imitation_ros.types import Array
import numpy as np


class Observer:
    """Picks from a simulator what a contract calls observations and feedback."""

    def __init__(self, contract: Contract, simulator: Simulator) -> None:
        """Looks every field up, once.

        Raises:
            TaskError: the contract names a topic, type or field that the simulation lacks.
        """
        self._simulator = simulator
        self._channels = {channel.topic: channel for channel in simulator.channels}
        fields = [
            (channel.topic, field) for channel in simulator.channels for field in channel.fields
        ]
        self._places = {field: index for index, field in enumerate(fields)}
        self._observations = {
            name: self._reader(f'observations.{name}', sources)
            for name, sources in contract.observations.items()
        }
        feedback = {part: contract.feedback_source(part) for part in contract.actions}
        self._feedback = {
            part: self._reader(f'actions.{part}.feedback', (source,))
            for part, source in feedback.items()
            if source is not None
        }

    def observe(self) -> dict[str, Array]:
        """Observation name → array, at this moment."""
        return {name: read() for name, read in self._observations.items()}

    def measured(self) -> dict[str, Array]:
        """Action part → (n,) its measured state, for parts with feedback."""
        return {part: read() for part, read in self._feedback.items()}

    def _reader(self, where: str, sources: tuple[Source, ...]) -> Callable[[], Array]:
        if sources[0].resize:
            return self._camera(where, sources[0], sources[0].resize)
        places = np.array(
            [self._place(where, source, field) for source in sources for field in source.select]
        )
        return lambda: self._simulator.read()[places]

    def _place(self, where: str, source: Source, field: str) -> int:
        channel = self._channels.get(source.topic)
        if channel is None:
            valid = one_of(source.topic, self._channels)
            raise TaskError(f'{where}: the simulation has no topic {source.topic!r}; {valid}')
        if source.type != channel.type:
            raise TaskError(f'{where}: {source.topic} is {channel.type}, not {source.type}')
        if field not in channel.fields:
            valid = one_of(field, channel.fields)
            raise TaskError(f'{where}: {source.topic} has no field {field!r}; {valid}')
        return self._places[source.topic, field]

    def _camera(self, where: str, source: Source, size: tuple[int, int]) -> Callable[[], Array]:
        encoding = source.encoding or 'rgb8'
        if (source.topic, source.type) != (CAMERA_TOPIC, CAMERA_TYPE) or encoding == '16UC1':
            found = f'{encoding} as {source.type} on {source.topic!r}'
            valid = f'rgb8 or mono8 as {CAMERA_TYPE} on {CAMERA_TOPIC!r}'
            raise TaskError(f'{where}: the simulation has no {found}; valid: {valid}')
        return lambda: fit(self._simulator.render(), size, encoding)
