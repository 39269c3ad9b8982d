"""The folder around the MCAP file, as rosbag2 wants it: `metadata.yaml`, QoS profiles, names."""

from __future__ import annotations

from collections.abc import Iterable
import os
from pathlib import Path
from typing import Any

from imitation_ros.episodes.info import Topic
from imitation_ros.errors import ContractError, disk_error, EpisodeError
from imitation_ros.frames.contract import QoS
from imitation_ros.frames.strict_yaml import read_yaml
import yaml

METADATA = 'metadata.yaml'
MAX_METADATA_BYTES = 1 << 17
"""Of 200 topics and more; longer ones take seconds to parse."""
_FOREVER = {'sec': 9223372036, 'nsec': 854775807}


def offered_qos(qos: QoS) -> str:
    """A QoS profile as rosbag2 writes it, so that `ros2 bag play` offers the same."""
    profile = {
        'history': 'keep_last',
        'depth': qos.depth,
        'reliability': qos.reliability,
        'durability': qos.durability,
        'deadline': dict(_FOREVER),
        'lifespan': dict(_FOREVER),
        'liveliness': 'automatic',
        'liveliness_lease_duration': dict(_FOREVER),
        'avoid_ros_namespace_conventions': False,
    }
    return yaml.safe_dump([profile], sort_keys=False)


def mcap_name(folder: Path) -> str:
    """The MCAP file of an episode folder, as rosbag2 names it."""
    return f'{folder.name}_0.mcap'


def write_metadata(
    folder: Path, mcap: str, topics: Iterable[Topic], start_ns: int, end_ns: int
) -> None:
    """Writes `metadata.yaml` (version 9) and waits until it is on the disk.

    Raises:
        OSError: it cannot be written.
    """
    topics = list(topics)
    count = sum(topic.messages for topic in topics)
    starting_time = {'nanoseconds_since_epoch': start_ns}
    duration = {'nanoseconds': end_ns - start_ns}
    information = {
        'version': 9,
        'storage_identifier': 'mcap',
        'duration': duration,
        'starting_time': starting_time,
        'message_count': count,
        'topics_with_message_count': [_topic_metadata(topic) for topic in topics],
        'compression_format': '',
        'compression_mode': '',
        'relative_file_paths': [mcap],
        'files': [
            {
                'path': mcap,
                'starting_time': dict(starting_time),
                'duration': dict(duration),
                'message_count': count,
            }
        ],
        'custom_data': None,
        'ros_distro': os.environ.get('ROS_DISTRO', 'unknown'),
    }
    text = yaml.safe_dump({'rosbag2_bagfile_information': information}, sort_keys=False)
    with open(folder / METADATA, 'w', encoding='utf-8') as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def _topic_metadata(topic: Topic) -> dict[str, Any]:
    return {
        'topic_metadata': {
            'name': topic.name,
            'type': topic.type,
            'serialization_format': 'cdr',
            'offered_qos_profiles': _profiles(topic.offered_qos),
            'type_description_hash': topic.type_hash,
        },
        'message_count': topic.messages,
    }


def _profiles(offered_qos: str) -> Any:
    """The profiles as data; none where the text, from a damaged bag, is no YAML."""
    try:
        return read_yaml(offered_qos) or []
    except ContractError:
        return []


def mcap_files(folder: Path) -> list[Path]:
    """The MCAP files that a bag folder consists of, in order.

    Raises:
        EpisodeError: no bag, no MCAP bag, or a path that leads out of the folder.
    """
    try:
        with open(folder / METADATA, 'rb') as file:
            text = file.read(MAX_METADATA_BYTES + 1)
        if len(text) > MAX_METADATA_BYTES:
            raise EpisodeError(f'{folder / METADATA}: more than {MAX_METADATA_BYTES} bytes')
        document = read_yaml(text.decode(), MAX_METADATA_BYTES)
        information = document['rosbag2_bagfile_information']
        storage = str(information['storage_identifier'])
        compression = str(information.get('compression_mode') or 'none')
        names = _names(information['relative_file_paths'])
    except ContractError as error:
        raise EpisodeError(f'{folder / METADATA}: not the metadata of a bag: {error}') from None
    except OSError as error:
        reason = f'{folder}: no rosbag2 folder: {METADATA}: {error.strerror}'
        raise disk_error(reason, error) from None
    except (KeyError, TypeError, AttributeError, ValueError):
        raise EpisodeError(f'{folder / METADATA}: not the metadata of a bag') from None
    if storage != 'mcap' or compression.lower() not in ('none', 'storage'):
        raise EpisodeError(
            f'{folder}: storage {storage!r}, compression mode {compression!r}; valid: mcap, none '
            '(ros2 bag convert makes one of the other)'
        )
    for name in names:
        if name != Path(name).name or name in ('', '.', '..'):
            raise EpisodeError(f'{folder / METADATA}: {name!r} is not a file of this folder')
    return [folder / name for name in names]


def check_inside(path: Path, folder: Path) -> None:
    """Makes sure that a file of a bag is not a link to somewhere else.

    Raises:
        EpisodeError: it leads out of `folder`; the folder itself may be a link.
    """
    try:
        inside = path.resolve().is_relative_to(folder.resolve())
    except (OSError, RuntimeError):  # links in a circle
        inside = False
    if not inside:
        raise EpisodeError(f'{path} leads out of {folder}')


def _names(names: Any) -> list[str]:
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise TypeError('not a list of names')
    return names
