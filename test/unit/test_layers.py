"""Reads every import and call of the package and names the file and line that breaks a rule."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = 'imitation_ros'
LAYERS = (
    {'types', 'errors'},
    {'frames'},
    {'episodes', 'policies', 'report'},
    {'supervision'},
    {'teleop'},
    {'sim', 'teleop'},
    {'learning'},
    {'nodes'},
    {'cli'},
)
HOMES = {
    'torch': {'policies', 'learning'},
    'safetensors': {'policies', 'learning'},
    'pybullet': {'sim'},
    'pybullet_data': {'sim'},
    'rclpy': {'nodes'},
    'std_srvs': {'nodes'},
    'ament_index_python': {'nodes'},
}
NEVER_IMPORTED = {'pickle', 'cPickle', 'dill', 'cloudpickle', 'joblib', 'marshal', 'shelve'}
NEVER_CALLED = {
    *('eval', 'exec', 'os.system', 'os.popen', 'torch.load', 'torch.save'),
    *('yaml.unsafe_load', 'yaml.full_load', 'yaml.load_all'),
}
NEVER_TRUE = {'shell', 'allow_pickle'}
STRICT_LOADER = 'StrictLoader'


def imported(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Line and full name of everything a module imports, inside functions too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = '.' * node.level + (node.module or '')
            yield from ((node.lineno, f'{module}.{alias.name}') for alias in node.names)


def layer_of(part: str) -> int | None:
    return next((height for height, layer in enumerate(LAYERS) if part in layer), None)


def broken_imports(path: Path, root: Path) -> Iterator[str]:
    part = path.relative_to(root / PACKAGE).parts[0].removesuffix('.py')
    height = layer_of(part)
    for line, name in imported(ast.parse(path.read_text())):
        where = f'{path.relative_to(root)}:{line}'
        top, *below = name.split('.')
        if top == '':
            yield f'{where}: relative import of {name}'
        elif top == PACKAGE and below[:1] not in ([], ['__version__'], [part]):
            target = layer_of(below[0])
            if height is None or target is None or target >= height:
                yield f'{where}: {part} imports {PACKAGE}.{below[0]}'
        elif part not in HOMES.get(top, {'nodes'} if top.endswith('_msgs') else {part}):
            yield f'{where}: {part} imports {top}'


def dangers(path: Path, root: Path) -> Iterator[str]:
    tree = ast.parse(path.read_text())
    for line, name in imported(tree):
        if name.split('.')[0] in NEVER_IMPORTED:
            yield f'{path.relative_to(root)}:{line}: imports {name}'
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield from (f'{path.relative_to(root)}:{node.lineno}: {text}' for text in danger(node))


def danger(call: ast.Call) -> Iterator[str]:
    name = ast.unparse(call.func)
    arguments = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
    if name in NEVER_CALLED:
        yield f'calls {name}'
    loader = ast.unparse(call.args[1]) if len(call.args) > 1 else arguments.get('Loader', '')
    if name == 'yaml.load' and not loader.endswith(STRICT_LOADER):
        yield f'calls yaml.load without a {STRICT_LOADER}'
    yield from (f'{key}=True' for key in NEVER_TRUE if arguments.get(key) == 'True')


def sources(*folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (ROOT / folder).rglob('*.py'))


def test_imports_point_down_and_libraries_stay_at_home():
    broken = [text for path in sources(PACKAGE) for text in broken_imports(path, ROOT)]
    assert not broken, '\n' + '\n'.join(broken)


def test_nothing_unpickles_or_runs_what_it_reads():
    found = [text for path in sources(PACKAGE, 'bench', 'launch') for text in dangers(path, ROOT)]
    assert not found, '\n' + '\n'.join(found)


@pytest.mark.parametrize(
    ('file', 'source', 'message'),
    [
        ('frames/a.py', 'import imitation_ros.nodes', 'frames imports imitation_ros.nodes'),
        ('sim/a.py', 'from imitation_ros import learning', 'sim imports imitation_ros.learning'),
        ('episodes/a.py', 'def f():\n import rclpy.node', 'a.py:2: episodes imports rclpy'),
        ('cli/a.py', 'from sensor_msgs.msg import Image', 'cli imports sensor_msgs'),
        ('nodes/a.py', 'import torch', 'nodes imports torch'),
        ('sim/a.py', 'from . import b', 'relative import'),
        ('new/a.py', 'import imitation_ros.types', 'new imports imitation_ros.types'),
    ],
)
def test_the_check_names_file_and_line(tmp_path, file, source, message):
    path = tmp_path / PACKAGE / file
    path.parent.mkdir(parents=True)
    path.write_text(source)
    (broken,) = broken_imports(path, tmp_path)
    assert broken.startswith(f'{PACKAGE}/{file}:')
    assert message in broken


@pytest.mark.parametrize(
    'source',
    [
        'import pickle',
        'from joblib import load',
        'torch.load(path, weights_only=True)',
        'yaml.load(text)',
        'yaml.load(text, Loader=yaml.Loader)',
        'eval(text)',
        'subprocess.run(text, shell=True)',
        'np.load(path, allow_pickle=True)',
    ],
)
def test_the_check_sees_each_danger(tmp_path, source):
    path = tmp_path / 'a.py'
    path.write_text(source)
    assert len(list(dangers(path, tmp_path))) == 1


@pytest.mark.parametrize(
    'source', ['network.eval()', 'yaml.safe_load(text)', 'yaml.load(text, Loader=_StrictLoader)']
)
def test_the_check_lets_safe_calls_pass(tmp_path, source):
    path = tmp_path / 'a.py'
    path.write_text(source)
    assert not list(dangers(path, tmp_path))
