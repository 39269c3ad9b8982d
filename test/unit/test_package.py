"""setup.py, package.xml and the pins against the code and against each other."""

from __future__ import annotations

import ast
from pathlib import Path
import re
import sys
from xml.etree import ElementTree

import imitation_ros
import pytest

ROOT = Path(__file__).parents[2]
NODES = ROOT / 'imitation_ros/nodes'
CONSTRAINTS = sorted((ROOT / 'constraints').glob('py*.txt'))
DISTRIBUTIONS = {'PIL': 'pillow', 'mcap_ros2': 'mcap-ros2-support', 'pybullet_data': 'pybullet'}
DISTRIBUTIONS |= {'yaml': 'pyyaml'}
OPTIONAL = {'imageio_ffmpeg'}


def normalized(requirement):
    return re.split(r'[=<>~;\[ ]', requirement)[0].lower().replace('_', '-').replace('.', '-')


def imported_packages():
    """Top names of everything the package imports, without its own and the standard library's."""
    names = set()
    for path in (ROOT / 'imitation_ros').rglob('*.py'):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                names |= {alias.name.split('.')[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                names.add((node.module or '').split('.')[0])
    return names - set(sys.stdlib_module_names) - {'imitation_ros'} - OPTIONAL


def of_ros(name):
    """Whether rosdep installs it, and pip only as part of a wheel of ROS."""
    return name in {'rclpy', 'rcl_interfaces', 'std_srvs', 'launch', 'launch_ros'} or (
        name.endswith('_msgs') or name == 'ament_index_python'
    )


@pytest.fixture
def manifest():
    return ElementTree.parse(ROOT / 'package.xml').getroot()


def test_versions_agree(package, manifest):
    assert package['version'] == manifest.findtext('version') == imitation_ros.__version__


def test_colcon_test_calls_pytest(package):
    """Without this extra `colcon test` ran unittest, found 0 tests and called it OK."""
    assert package['extras_require']['test'] == ['pytest']


def test_every_node_is_an_executable_with_a_main(entry_points):
    nodes = {path.stem for path in NODES.glob('*.py') if '\ndef main(' in path.read_text()}
    assert entry_points == nodes | {'imitation_ros'}


def test_config_contracts_and_launch_files_are_installed(package):
    installed = dict(package['data_files'])
    for folder in ('config', 'config/contracts', 'config/controllers', 'launch'):
        files = {str(path.relative_to(ROOT)) for path in (ROOT / folder).iterdir()}
        files = {name for name in files if name.endswith(('.yaml', '.py'))}
        assert set(installed[f'share/imitation_ros/{folder}']) == files


def test_ros_packages_that_are_imported_are_dependencies(manifest):
    dependencies = {element.text for element in manifest.iter('exec_depend')}
    assert {name for name in imported_packages() if of_ros(name)} <= dependencies


def test_python_packages_that_are_imported_are_requirements(package):
    extras = package['extras_require']
    declared = [
        *package['install_requires'],
        *(name for extra in extras.values() for name in extra),
    ]
    imported = {name for name in imported_packages() if not of_ros(name)}
    missing = {
        name
        for name in imported
        if normalized(DISTRIBUTIONS.get(name, name)) not in map(normalized, declared)
    }
    assert not missing


@pytest.mark.parametrize('path', CONSTRAINTS, ids=lambda path: path.stem)
def test_every_requirement_is_pinned(path, package):
    pins = dict(line.split('==') for line in path.read_text().splitlines() if '==' in line)
    extras = package['extras_require'].values()
    required = {*package['install_requires'], *(name for extra in extras for name in extra)}
    assert {normalized(name) for name in required} <= set(pins)
    assert pins['torch'] == '2.13.0'


def test_each_supported_python_has_its_pins():
    assert [path.stem for path in CONSTRAINTS] == ['py3.10', 'py3.11', 'py3.12']
