"""The parameter `task` of the nodes that simulate or solve one."""

from __future__ import annotations

from imitation_ros.errors import TaskError
from imitation_ros.nodes._params import ParameterError
from imitation_ros.sim.families import find_task


def check_task(node: str, task: str) -> None:
    """Makes sure that there is such a task.

    Raises:
        ParameterError: there is none; the message names the valid ones.
    """
    try:
        find_task(task)
    except TaskError as error:
        raise ParameterError(f'{node}: parameter task: {error}') from None
