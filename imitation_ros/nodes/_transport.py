"""How a process's messages travel: for the supervisor, never through memory that others share."""

from __future__ import annotations

from collections.abc import MutableMapping
from pathlib import Path

CHOSEN = (
    'FASTDDS_BUILTIN_TRANSPORTS',
    'FASTDDS_DEFAULT_PROFILES_FILE',
    'FASTRTPS_DEFAULT_PROFILES_FILE',
    'ROS_DISCOVERY_SERVER',
    'ROS_LOCALHOST_ONLY',
    'ROS_STATIC_PEERS',
)
"""Environment variables of somebody who has chosen a way of their own."""
AS_USUAL = {'FASTDDS_BUILTIN_TRANSPORTS': 'DEFAULT'}
"""For lockstep, which no late message harms, and where shared memory is a tenth faster."""
LOOPBACK = Path(__file__).with_name('_loopback.xml')


def share_no_memory(environment: MutableMapping[str, str], middleware: str) -> None:
    """Has Fast DDS use UDP alone in this process, unless the environment says how messages travel.

    A process that is stopped (Ctrl-Z, a debugger) while it holds a lock of Fast DDS's shared
    memory holds up everybody who publishes to it until that lock is given up, after a second.

    Args:
        environment: of this process, before its ROS context is made.
        middleware: as `rclpy` names it; any but Fast DDS is left alone.
    """
    if not middleware.startswith('rmw_fastrtps') or any(map(environment.get, CHOSEN)):
        return
    # With discovery on this machine alone, rmw_fastrtps adds shared memory whatever is asked for.
    if environment.get('ROS_AUTOMATIC_DISCOVERY_RANGE', '').upper() == 'LOCALHOST':
        environment['FASTDDS_DEFAULT_PROFILES_FILE'] = str(LOOPBACK)
        environment['ROS_AUTOMATIC_DISCOVERY_RANGE'] = 'SYSTEM_DEFAULT'
    else:
        environment['FASTDDS_BUILTIN_TRANSPORTS'] = 'UDPv4'
