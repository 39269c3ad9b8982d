"""What README and docs say exists: nodes, parameters, topics, services, commands, files, links."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path
import re
import runpy

from imitation_ros.cli.__main__ import VERBS
from imitation_ros.frames.contract import load_contract
from imitation_ros.frames.status import ACK_TOPIC, EPISODE_TOPIC, STATUS_TOPICS
from imitation_ros.teleop.keyboard import PAIRS, REQUESTS
import pytest
import yaml

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / 'README.md', *sorted((ROOT / 'docs').glob('*.md'))]
NODES_PAGE = (ROOT / 'docs/nodes.md').read_text(encoding='utf-8')
NODES = [path.stem for path in sorted((ROOT / 'config').glob('*.yaml'))]
ROBOTS = [path.stem for path in sorted((ROOT / 'config/controllers').glob('*.yaml'))]
TYPES = {'float': 'double', 'int': 'int', 'bool': 'bool', 'str': 'string'}
STREAMS = ('policy', 'teleop', 'foreign')
FROM_THE_CONTRACT = {'<observation>', '<action>', *(f'{each}/<action>' for each in STREAMS)}
LINK = re.compile(r'(?<!!)\[[^\]]*\]\(([^)\s]+)\)')  # pictures are checked by whoever makes them


def texts():
    return {str(page.relative_to(ROOT)): page.read_text(encoding='utf-8') for page in PAGES}


def everything():
    return '\n'.join(texts().values())


def slug(heading):
    """The anchor that GitHub gives a heading."""
    kept = re.sub(r'[^\w\- ]', '', heading.strip().lower())
    return kept.replace(' ', '-')


def anchors(page):
    headings = re.findall(r'^#+ (.+)$', page.read_text(encoding='utf-8'), re.MULTILINE)
    return {slug(heading) for heading in headings}


def section(node):
    return NODES_PAGE.partition(f'\n## {node}\n')[2].partition('\n## ')[0]


def table(text, head):
    """The rows below the header that starts with a word, cells without their backticks."""
    found = re.search(rf'^\| {head} \|.*\n\|[-|]+\|\n((?:\|.*\n?)*)', text, re.MULTILINE)
    rows = found.group(1).splitlines() if found else []
    return [[cell.strip() for cell in row.strip('|').split(' |')] for row in rows]


@cache
def classes(node):
    """Class name → its definition, of a node's module and those that it shares."""
    folder = ROOT / 'imitation_ros/nodes'
    return {
        definition.name: definition
        for file in (f'{node}.py', '_params.py', '_teleop.py')
        for definition in ast.parse((folder / file).read_text()).body
        if isinstance(definition, ast.ClassDef)
    }


def declared(node):
    """Name → (type, default, live) of a node's parameters, base classes first."""

    def of(definition):
        for base in definition.bases:
            yield from of(classes(node)[ast.unparse(base)])
        for line in definition.body:
            if isinstance(line, ast.AnnAssign):
                live = any(
                    keyword.arg == 'live' and ast.unparse(keyword.value) == 'True'
                    for keyword in line.value.keywords
                )
                kind = ast.unparse(line.annotation)
                yield line.target.id, (parameter_type(kind), value_of(line.value.args[0]), live)

    return dict(of(classes(node)[''.join(part.title() for part in node.split('_')) + 'Params']))


def parameter_type(annotation):
    element = re.fullmatch(r'tuple\[(\w+), \.\.\.\]', annotation)
    return f'{TYPES[element[1]]}[]' if element else TYPES[annotation]


def value_of(expression):
    """A default as it is in the code: a literal, or a field of the simulated arm's model."""
    text = ast.unparse(expression)
    if text.startswith('PANDA.'):
        pytest.importorskip('pybullet_data')
        from imitation_ros.sim.model import PANDA

        return getattr(PANDA, text.removeprefix('PANDA.'))
    return ast.literal_eval(text)


def strings(path):
    """Every text that a module holds, parts of formatted ones included."""
    tree = ast.parse(path.read_text())
    return {
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }


@cache
def topics_in_the_code():
    """What the nodes publish and subscribe beside the contract's topics, and a few texts more."""
    modules = [
        *(ROOT / 'imitation_ros/nodes').glob('*.py'),
        ROOT / 'imitation_ros/sim/simulator.py',
    ]
    texts = set().union(*(strings(path) for path in modules))
    items = strings(ROOT / 'imitation_ros/sim/world.py')
    texts |= {f'{item}/pose' for item in items if item.isidentifier()}
    return texts | {*STATUS_TOPICS.values(), ACK_TOPIC, EPISODE_TOPIC}


@pytest.mark.parametrize('node', NODES)
def test_the_parameters_are_those_of_the_dataclass(node):
    rows = table(section(node), 'parameter')
    told = {
        name.strip('`'): (kind, yaml.safe_load(default.strip('`')), meaning.startswith('live;'))
        for name, kind, default, meaning in rows
    }
    code = {
        name: (kind, list(default) if isinstance(default, tuple) else default, live)
        for name, (kind, default, live) in declared(node).items()
    }
    assert told == code
    assert list(told) == list(code)


@pytest.mark.parametrize('node', NODES)
def test_the_services_are_those_of_the_node(node):
    told = {row[0].strip('`') for row in table(section(node), 'service')}
    texts = strings(ROOT / f'imitation_ros/nodes/{node}.py')
    assert {text for text in texts if re.fullmatch(r'~/\w+', text)} <= told
    for service in told:
        assert service in texts or service.removeprefix('~/') in texts, service


@pytest.mark.parametrize('node', NODES)
def test_the_topics_are_in_the_code(node):
    rows = table(section(node), 'topic')
    assert rows
    known = topics_in_the_code() | FROM_THE_CONTRACT | set(declared(node))
    for names, _, direction, _ in rows:
        assert re.match('in|out', direction)
        for name in re.findall(r'`([^`]+)`', names):
            assert name in known, name


def test_every_node_has_a_section_and_a_line():
    rows = {re.search(r'`(\w+)`', row[0])[1] for row in table(NODES_PAGE, 'node')}
    assert rows == set(NODES)
    assert all(section(node) for node in NODES)


def test_the_keys_are_those_of_the_keyboard():
    told = re.findall(r'`(\w)`', ' '.join(row[0] for row in table(NODES_PAGE, 'keys')))
    assert {*''.join(PAIRS), *(key for key in REQUESTS if key.isalpha())} == set(told)
    for service in REQUESTS.values():
        assert f'`{service}`' in section('teleop_keyboard')


@pytest.mark.parametrize('page', PAGES, ids=lambda page: page.name)
def test_every_relative_link_leads_somewhere(page):
    for target in LINK.findall(page.read_text(encoding='utf-8')):
        if target.startswith(('http:', 'https:')):
            continue
        path, _, anchor = target.partition('#')
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), target
        assert not anchor or anchor in anchors(file), target


def test_the_index_names_every_page():
    index = ROOT / 'docs/README.md'
    linked = {(index.parent / target).resolve() for target in LINK.findall(index.read_text())}
    assert set((ROOT / 'docs').glob('*.md')) - {index} <= linked


@pytest.mark.parametrize('page', PAGES, ids=lambda page: page.name)
def test_python_in_the_docs_imports_what_exists(page):
    for block in re.findall(r'```python\n(.*?)```', page.read_text(encoding='utf-8'), re.DOTALL):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.ImportFrom) and node.module.startswith('imitation_ros'):
                module = ast.parse((ROOT / f'{node.module.replace(".", "/")}.py').read_text())
                names = {getattr(each, 'name', '') for each in module.body}
                assert {alias.name for alias in node.names} <= names


def test_yaml_in_the_docs_parses():
    for block in re.findall(r'```yaml\n(.*?)```', everything(), re.DOTALL):
        assert isinstance(yaml.safe_load(block), dict)


def test_the_readme_shows_the_two_commands():
    readme = texts()['README.md']
    assert '    ./run demo\n' in readme
    assert '    ./run test\n' in readme


def test_every_verb_of_run_exists():
    told = set(re.findall(r'\./run ([a-z]\w*)', everything()))
    assert told <= {*VERBS, 'test', 'bench', 'faults'}


def test_every_launch_file_and_executable_exists(entry_points):
    launched = re.findall(r'ros2 launch imitation_ros ([\w.]+)', everything())
    assert {'sim.launch.py', 'record.launch.py', 'deploy.launch.py'} <= set(launched)
    for name in launched:
        assert (ROOT / 'launch' / name).is_file(), name
    assert set(re.findall(r'ros2 run imitation_ros ([a-z]\w*)', everything())) <= entry_points


def test_every_parameter_on_a_command_line_exists():
    commands = re.findall(
        r'ros2 run imitation_ros (\w+) --ros-args((?:[^\n`]|\\\n)*)', everything()
    )
    assert commands
    for node, arguments in commands:
        given = set(re.findall(r'-p (\w+):=', arguments))
        assert given <= {*declared(node), 'use_sim_time'}


def test_every_service_that_is_called_exists():
    for name in re.findall(r'ros2 service call /(\w+/\w+)', everything()):
        node, service = name.split('/')
        assert f'~/{service}' in {row[0].strip('`') for row in table(section(node), 'service')}


@pytest.mark.parametrize('robot', ROBOTS)
def test_contract_and_controllers_of_a_robot_fit(robot):
    contract = load_contract(robot)
    controllers = yaml.safe_load((ROOT / f'config/controllers/{robot}.yaml').read_text())
    arm = contract.actions['arm']
    name, _, topic = arm.topic.partition('/')
    parameters = controllers[name]['ros__parameters']
    assert parameters['joints'] == list(arm.joints)
    assert f'position.{parameters["joints"][0]}' in arm.feedback
    if arm.kind == 'trajectory':
        assert topic == 'joint_trajectory'
        assert parameters['type'].endswith('JointTrajectoryController')
        assert parameters['cmd_timeout'] > parameters['constraints']['goal_time']
        periods = arm.constants['time_from_start'] * contract.command_hz
        assert 2 <= periods <= 4
        silence_s = parameters['cmd_timeout'] + arm.constants['time_from_start']
        assert f'{silence_s:g} for the' in texts()['docs/real_robot.md']
    else:
        assert (topic, arm.kind) == ('commands', 'position')
        assert parameters['type'] == 'forward_command_controller/ForwardCommandController'
        assert parameters['interface_name'] == 'position'


def test_every_robot_has_its_section_and_its_files():
    page = texts()['docs/real_robot.md']
    assert 'Not tried on hardware' in page
    assert ROBOTS == ['franka', 'so101', 'ur5e']
    for robot in ROBOTS:
        assert f'config/contracts/{robot}.yaml' in page
        assert f'config/controllers/{robot}.yaml' in page


def test_python_in_the_docs_of_episodes_runs(tmp_path, monkeypatch):
    pytest.importorskip('mcap')
    pytest.importorskip('rosbags')
    from recorded_episodes import record_lockstep

    monkeypatch.chdir(tmp_path)
    record_lockstep(tmp_path / 'episodes/episode_000000', 5)
    blocks = re.findall(r'```python\n(.*?)```', texts()['docs/episodes.md'], re.DOTALL)
    results = {}
    for number, block in enumerate(blocks):
        (tmp_path / f'block_{number}.py').write_text(block)
        results |= runpy.run_path(f'block_{number}.py')
    assert len(results['episode']) == len(results['training_set'][0]) == 5
    assert set(results['joint_state'].name) == {'a', 'b'}
