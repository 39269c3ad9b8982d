"""The guard that the supervisor's parameters ask for."""

from __future__ import annotations

from collections.abc import Sequence

from imitation_ros.errors import ContractError
from imitation_ros.frames.contract import Contract
from imitation_ros.frames.urdf import Urdf
from imitation_ros.nodes._params import ParameterError
from imitation_ros.supervision.guard import Guard
from imitation_ros.supervision.velocity_workspace import VelocityWorkspace
from imitation_ros.supervision.workspace import Workspace


def make_guard(
    contract: Contract,
    urdf: str,
    tool_link: str,
    tool_topic: str,
    low: Sequence[float],
    high: Sequence[float],
) -> tuple[Guard, VelocityWorkspace | None]:
    """A guard, and the workspace that must hear where the tool is, if there is one.

    Args:
        contract: of the robot, whose limits hold.
        urdf: file with narrower ones; '' for none.
        tool_link: of the URDF, in a workspace for joint targets.
        tool_topic: of the tool's pose, in a workspace for the tool's velocities.
        low: (3,) corner of the workspace, m; empty for none.
        high: (3,) the other corner.

    Raises:
        ParameterError: half a workspace.
        ContractError: one that the contract has no part for, or an impossible one.
        ImitationError: a URDF that cannot be read or does not fit.
    """
    given = Urdf(urdf) if urdf else None
    narrowed = given.tighten(contract) if given else contract
    if not (low or high or tool_link or tool_topic):
        return Guard(narrowed), None
    if tool_topic and not tool_link:
        velocities = VelocityWorkspace(narrowed, tool_topic, low, high)
        return Guard(narrowed, velocities), velocities
    if given is None or tool_topic:
        raise ParameterError(
            'supervisor: a workspace needs the parameters urdf and tool_link (joint targets), or '
            'tool_topic (velocities of the tool)'
        )
    parts = {n: part for n, part in contract.actions.items() if part.absolute and part.joints}
    if len(parts) != 1:
        found = ', '.join(parts) or 'none'
        raise ContractError('actions', f'joint targets: {found}', 'a workspace is of one part')
    ((name, part),) = parts.items()
    tool = given.tool(tool_link, part.joints)
    return Guard(narrowed, Workspace(contract, name, tool, low, high)), None
