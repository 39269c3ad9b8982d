"""What the launch files share: our nodes with their parameter files, and typed arguments."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from launch import Condition
from launch.actions import DeclareLaunchArgument
from launch.conditions import IfCondition
from launch.substitutions import EqualsSubstitution, LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue
from launch_ros.substitutions import FindPackageShare


def declare_config() -> DeclareLaunchArgument:
    """Returns the argument `config`, which `node` reads: a robot may have a folder of its own."""
    return DeclareLaunchArgument(
        'config',
        default_value=PathJoinSubstitution([FindPackageShare('imitation_ros'), 'config']),
        description='Folder with the parameter file of each node, NODE.yaml.',
    )


def node(name: str, parameters: Mapping[str, Any], condition: Condition | None = None) -> Node:
    """One of our nodes; `parameters` go before those in its file."""
    file = PathJoinSubstitution([LaunchConfiguration('config'), f'{name}.yaml'])
    return Node(
        package='imitation_ros',
        executable=name,
        name=name,
        parameters=[file, dict(parameters)],
        condition=condition,
        output='screen',
    )


def value(argument: str, kind: type = str) -> ParameterValue:
    """A launch argument as a parameter of the right type; ROS refuses a text for a number."""
    return ParameterValue(LaunchConfiguration(argument), value_type=kind)


def chosen(argument: str, choice: str = 'true') -> Condition:
    """Whether a launch argument has this value."""
    if choice == 'true':
        return IfCondition(LaunchConfiguration(argument))  # takes '1' and 'True', too
    return IfCondition(EqualsSubstitution(LaunchConfiguration(argument), choice))
