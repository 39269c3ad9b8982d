"""Discrete parts, such as a gripper, at a change of hands."""

from __future__ import annotations

from collections.abc import Mapping

from imitation_ros.frames.contract import Contract
from imitation_ros.types import Action


def other_class(
    contract: Contract, action: Action, executed: Mapping[str, int], source: Mapping[str, str]
) -> str:
    """Which discrete part of the robot is not as its device's, and might drop a thing, or ''.

    Args:
        contract: of the robot.
        action: of the device.
        executed: discrete part → index of the class that it was told last, where that is known.
        source: discrete part → what to call where the device's class comes from.
    """
    for name, part in contract.actions.items():
        if not part.discrete:
            continue
        wanted = int(action[name][0])
        told = executed.get(name, wanted)
        if told != wanted:
            return (
                f"{name} is at '{part.classes[told]}', {source[name]} at '{part.classes[wanted]}'"
            )
    return ''
