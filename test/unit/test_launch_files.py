"""Launch and parameter files against the code, on machines without `launch` too.

Nothing in ROS checks them: a parameter file with a misspelt node or parameter is read in silence.
"""

from __future__ import annotations

import ast
from pathlib import Path
import runpy
import sys
from types import ModuleType

import pytest
import yaml

ROOT = Path(__file__).parents[2]
LAUNCH_FILES = sorted((ROOT / 'launch').glob('*.launch.py'))
CONFIG_FILES = sorted((ROOT / 'config').glob('*.yaml'))
OF_ROS = {'use_sim_time': 'bool'}


class Call:
    """What a launch file asked for: name and arguments of a class of `launch` or `launch_ros`."""

    def __init__(self, name, arguments, keywords):
        self.name, self.arguments, self.keywords = name, arguments, keywords

    def all(self, name):
        """Every call of that name below this one, itself included."""
        return [call for call in calls_in(self) if call.name == name]


def calls_in(value):
    if isinstance(value, Call):
        yield value
        yield from calls_in([*value.arguments, *value.keywords.values()])
    elif isinstance(value, dict):
        yield from calls_in([*value.keys(), *value.values()])
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from calls_in(item)


class FakeModule(ModuleType):
    """Any class of a module of launch; making one is recorded."""

    __path__ = ()

    def __getattr__(self, name):
        return lambda *arguments, **keywords: Call(name, arguments, keywords)


@pytest.fixture
def described(monkeypatch):
    """Runs a launch file and returns its description."""
    for name in (
        'launch',
        *(f'launch.{part}' for part in ('actions', 'conditions', 'substitutions')),
        'launch_ros',
        *(f'launch_ros.{part}' for part in ('actions', 'parameter_descriptions', 'substitutions')),
    ):
        monkeypatch.setitem(sys.modules, name, FakeModule(name))
    monkeypatch.delitem(sys.modules, 'imitation_ros.nodes._launching', raising=False)
    yield lambda path: runpy.run_path(str(path))['generate_launch_description']()
    sys.modules.pop('imitation_ros.nodes._launching', None)


def declared_parameters(node):
    """Name → annotation of the parameters that a node's dataclass declares."""
    classes = {
        definition.name: definition
        for file in (f'{node}.py', '_params.py', '_teleop.py')
        for definition in ast.parse((ROOT / 'imitation_ros/nodes' / file).read_text()).body
        if isinstance(definition, ast.ClassDef)
    }

    def fields(definition):
        for base in definition.bases:
            yield from fields(classes[ast.unparse(base)])
        for line in definition.body:
            if isinstance(line, ast.AnnAssign):
                yield ast.unparse(line.target), ast.unparse(line.annotation)

    (own,) = [name for name in classes if name == f'{camel(node)}Params']
    return dict(fields(classes[own])) | OF_ROS


def camel(name):
    return ''.join(part.title() for part in name.split('_'))


def kind_of(value):
    """The type a launch file gives a parameter."""
    return (value.keywords['value_type'] if isinstance(value, Call) else type(value)).__name__


@pytest.mark.parametrize('path', LAUNCH_FILES, ids=lambda path: path.name)
def test_launch_file_names_executables_configs_and_declared_parameters(
    path, described, entry_points
):
    for node in described(path).all('Node'):
        name = node.keywords['name']
        assert node.keywords['package'] == 'imitation_ros'
        assert node.keywords['executable'] == name
        assert name in entry_points
        config, parameters = node.keywords['parameters']
        assert (ROOT / 'config' / config.arguments[0][-1]).is_file()
        declared = declared_parameters(name)
        given = {key: kind_of(value) for key, value in parameters.items()}
        assert given == {key: declared.get(key) for key in given}, name


@pytest.mark.parametrize('path', LAUNCH_FILES, ids=lambda path: path.name)
def test_launch_file_declares_and_describes_each_argument_it_uses(path, described):
    description = described(path)
    declared = {call.arguments[0]: call for call in description.all('DeclareLaunchArgument')}
    used = {call.arguments[0] for call in description.all('LaunchConfiguration')}
    assert used == set(declared)
    for call in declared.values():
        assert call.keywords['description'].endswith('.')
        default = call.keywords.get('default_value')
        assert default is None or isinstance(default, (str, Call))  # launch refuses True or 0


@pytest.mark.parametrize('path', LAUNCH_FILES, ids=lambda path: path.name)
def test_the_supervisor_is_in_every_launch_file_without_condition(path, described):
    """`demo` runs the command line's demo, which starts its own."""
    description = described(path)
    programs = description.all('ExecuteProcess')
    if programs:
        assert 'demo' in programs[0].keywords['cmd']
        return
    (supervisor,) = [
        node for node in description.all('Node') if node.keywords['name'] == 'supervisor'
    ]
    assert supervisor.keywords['condition'] is None


@pytest.mark.parametrize('path', LAUNCH_FILES, ids=lambda path: path.name)
def test_nodes_beside_the_simulated_arm_use_its_clock(path, described):
    nodes = {node.keywords['name']: node for node in described(path).all('Node')}
    if 'sim_arm' not in nodes:
        return
    for name, node in nodes.items():
        assert ('use_sim_time' in node.keywords['parameters'][1]) == (name != 'sim_arm'), name


def test_every_launch_file_of_the_readme_is_there():
    names = {path.name.removesuffix('.launch.py') for path in LAUNCH_FILES}
    assert names == {'sim', 'record', 'deploy', 'demo', 'dagger', 'irl', 'adapt'}


def test_every_node_has_a_parameter_file(entry_points):
    assert {path.stem for path in CONFIG_FILES} == entry_points - {'imitation_ros'}


@pytest.mark.parametrize('path', CONFIG_FILES, ids=lambda path: path.name)
def test_parameter_file_names_the_real_node_and_declared_parameters(path):
    """`/**/name` finds the node in any namespace, and yields to what a launch file says after."""
    ((node, content),) = yaml.safe_load(path.read_text()).items()
    source = (ROOT / f'imitation_ros/nodes/{path.stem}.py').read_text()
    assert node == f'/**/{path.stem}'
    assert f"super().__init__('{path.stem}'" in source
    assert set(content) == {'ros__parameters'}
    declared = declared_parameters(path.stem)
    given = {key: type(value).__name__ for key, value in content['ros__parameters'].items()}
    kinds = {key: declared.get(key, 'not declared').split('[')[0] for key in given}
    assert given == {key: 'list' if kind == 'tuple' else kind for key, kind in kinds.items()}
