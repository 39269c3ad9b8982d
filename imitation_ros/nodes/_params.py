"""Parameters of a node: one frozen dataclass declares, describes, checks and holds them."""

from __future__ import annotations

import dataclasses
from typing import Any, get_type_hints, TypeVar

from imitation_ros.errors import ImitationError, one_of
from rcl_interfaces.msg import (
    FloatingPointRange,
    IntegerRange,
    ParameterDescriptor,
    SetParametersResult,
)
from rclpy.exceptions import (
    InvalidParameterTypeException,
    InvalidParameterValueException,
    ParameterUninitializedException,
)
from rclpy.node import Node
from rclpy.parameter import Parameter

ParamsT = TypeVar('ParamsT', bound='NodeParams')
_ROS_OWN = ('use_sim_time', 'start_type_description_service', 'qos_overrides')
_TYPES = {
    float: Parameter.Type.DOUBLE,
    int: Parameter.Type.INTEGER,
    bool: Parameter.Type.BOOL,
    str: Parameter.Type.STRING,
    tuple[str, ...]: Parameter.Type.STRING_ARRAY,
    tuple[float, ...]: Parameter.Type.DOUBLE_ARRAY,
    tuple[int, ...]: Parameter.Type.INTEGER_ARRAY,
}


class ParameterError(ImitationError):
    """A parameter that is unknown, of the wrong type, or out of its range."""


def param(
    default: Any,
    description: str,
    low: float | None = None,
    high: float | None = None,
    one_of: tuple[Any, ...] = (),
    live: bool = False,
) -> Any:
    """Declares one parameter of a params dataclass.

    Args:
        default: what it is where nobody sets it.
        description: for people, with the unit.
        low: least valid number.
        high: greatest valid number.
        one_of: the valid values, if they are few.
        live: whether it may change while the node runs; read such a one with `live_value`.
    """
    metadata = {
        'description': description, 'low': low, 'high': high, 'one_of': one_of, 'live': live
    }  # fmt: skip
    return dataclasses.field(default=default, metadata=metadata)


@dataclasses.dataclass(frozen=True)
class NodeParams:
    """What every node has."""

    autostart: bool = param(
        True, 'Configure and activate by itself; off where a lifecycle manager does it.'
    )


def load_params(node: Node, params_class: type[ParamsT]) -> ParamsT:
    """Declares the dataclass's fields as parameters of the node and returns their values.

    Raises:
        ParameterError: an override that no field declares, of the wrong type or out of range.
    """
    fields = dataclasses.fields(params_class)
    hints = get_type_hints(params_class)
    # rclpy drops overrides that nobody declares: a misspelt limit would be no limit at all.
    for name in getattr(node, '_parameter_overrides', {}):
        if name.split('.')[0] not in (*_ROS_OWN, *(field.name for field in fields)):
            valid = one_of(name, [field.name for field in fields])
            raise ParameterError(f'{node.get_name()}: unknown parameter {name!r}; {valid}')
    values = {field.name: _declare(node, field, hints[field.name]) for field in fields}
    node.add_on_set_parameters_callback(lambda parameters: _check_changes(fields, parameters))
    return params_class(**values)


def live_value(node: Node, name: str) -> Any:
    """The present value of a parameter that was declared with `live=True`."""
    return node.get_parameter(name).value


def _declare(node: Node, field: dataclasses.Field[Any], hint: Any) -> Any:
    name, rules = field.name, field.metadata
    descriptor = ParameterDescriptor(
        description=rules['description'], read_only=not rules['live'], **_range(rules, hint)
    )
    try:
        if isinstance(field.default, tuple):
            # A default of [] would be taken for a byte array, so only the type is declared.
            node.declare_parameter(name, _TYPES[hint], descriptor)
            unset = Parameter(name, _TYPES[hint], list(field.default))
            value: Any = tuple(node.get_parameter_or(name, unset).value)
        else:
            value = node.declare_parameter(name, field.default, descriptor).value
    except (
        InvalidParameterTypeException,
        InvalidParameterValueException,
        ParameterUninitializedException,
    ) as error:
        hint_text = ' (write 30.0, not 30)' if hint in (float, tuple[float, ...]) else ''
        raise ParameterError(f'{node.get_name()}: parameter {name}: {error}{hint_text}') from None
    problem = _problem(field, value)
    if problem:
        raise ParameterError(f'{node.get_name()}: parameter {name}: {problem}')
    return value


def _range(rules: Any, hint: Any) -> dict[str, Any]:
    if rules['low'] is None and rules['high'] is None:
        return {}
    if hint is int:
        low, high = rules['low'] or 0, rules['high'] or 2**62
        return {'integer_range': [IntegerRange(from_value=int(low), to_value=int(high))]}
    low = -1e300 if rules['low'] is None else rules['low']
    high = 1e300 if rules['high'] is None else rules['high']
    return {
        'floating_point_range': [FloatingPointRange(from_value=float(low), to_value=float(high))]
    }


def _problem(field: dataclasses.Field[Any], value: Any) -> str:
    valid = field.metadata['one_of']
    for each in value if isinstance(field.default, tuple) else (value,):
        if valid and each not in valid:
            return f'found {each!r}; {one_of(each, valid)}'
    return ''


def _check_changes(fields: Any, parameters: list[Parameter]) -> SetParametersResult:
    by_name = {field.name: field for field in fields}
    for parameter in parameters:
        field = by_name.get(parameter.name)
        problem = _problem(field, parameter.value) if field else ''
        if problem:
            return SetParametersResult(successful=False, reason=problem)
    return SetParametersResult(successful=True)
