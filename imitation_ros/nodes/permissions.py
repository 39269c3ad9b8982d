"""What each node needs of the graph and nothing more, as a policy of SROS 2 (docs/security.md).

Every node has an enclave of its own: who breaks into a camera driver must not publish commands.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from xml.etree import ElementTree

from imitation_ros.frames.alignment import feedback_decoders
from imitation_ros.frames.contract import Contract
from imitation_ros.frames.status import ACK_TOPIC, action_topic, EPISODE_TOPIC, STATUS_TOPICS
from imitation_ros.teleop.keyboard import REQUESTS
from imitation_ros.teleop.relay import FOREIGN

ENCLAVES = '/imitation_ros'
PARAMETER_SERVICES = (
    *('describe_parameters', 'get_parameter_types', 'get_parameters', 'list_parameters'),
    *('set_parameters', 'set_parameters_atomically', 'get_type_description'),
)
LIFECYCLE_SERVICES = (
    *('change_state', 'get_state', 'get_available_states', 'get_available_transitions'),
    'get_transition_graph',
)
JOY_SERVICES = ('resume', 'stop', 'take', 'give_back')
"""Of the supervisor, that buttons ask for."""


@dataclass(frozen=True)
class Permissions:
    """Topics and services of one node, relative as in the code, or absolute.

    Attributes:
        publish: topics.
        subscribe: topics.
        reply: services that it offers; '~/' is its own name.
        request: services that it calls.
    """

    publish: frozenset[str]
    subscribe: frozenset[str]
    reply: frozenset[str]
    request: frozenset[str]


def permissions(contract: Contract) -> dict[str, Permissions]:
    """Node → what it needs for a robot with this contract, in real time, simulated or lockstep."""
    parts = [part.topic for part in contract.actions.values()]
    observed = {source.topic for source in contract.sources}
    feedback = {topic for topic, _ in feedback_decoders(contract).values()}
    said = {stream: _said(stream, parts) for stream in STATUS_TOPICS}
    everything = {*observed, *contract.record_too, *set().union(*said.values()), '/clock'}
    arm = {'joint_states', 'tool/pose', 'object/pose', 'goal/pose', 'success', '/clock'}
    camera = {'camera/image_raw', 'camera/camera_info'}
    offers = {'policy/set_parameters', 'policy/reload'}
    health, checkpoint, clock = {'/diagnostics'}, {'policy/checkpoint'}, {'/clock'}
    decision = {STATUS_TOPICS['executed']}
    proposed = {'policy': said['policy'], 'teleop': said['teleop']}
    return {
        'supervisor': _node(
            said['executed'] | health,
            proposed['policy'] | proposed['teleop'] | feedback | clock | {'emergency_stop'},
            _own(
                *('stop', 'emergency_stop', 'resume', 'home'),
                *('take', 'give_back', 'discard_correction'),
            ),
        ),
        'policy': _node(
            said['policy'] | checkpoint, observed | clock, _own('reload', 'rollback', 'adapt')
        ),
        'recorder': _node(
            {ACK_TOPIC} | health,
            everything | {'joy'},
            _own('start', 'success', 'failure', 'discard'),
        ),
        'trainer': _node(
            {'trainer/status'} | health,
            checkpoint | clock,
            _own('train', 'rollback'),
            offers | {'supervisor/set_parameters'},
        ),
        'reward_trainer': _node(
            {'reward', 'reward/status'} | health,
            observed | said['executed'] | clock | checkpoint | {EPISODE_TOPIC},
            _own('train'),
            offers,
        ),
        'sim_arm': _node(
            arm | camera | {EPISODE_TOPIC}, {*parts, *decision, ACK_TOPIC}, _own('reset', 'pause')
        ),
        'teleop_expert': _node(said['teleop'], observed | said['policy'] | clock),
        'teleop_joy': _node(
            said['teleop'],
            feedback | decision | clock | {'joy'},
            request=[f'supervisor/{service}' for service in JOY_SERVICES],
        ),
        'teleop_keyboard': _node(
            said['teleop'], feedback | decision | clock, request=REQUESTS.values()
        ),
        'teleop_leader': _node(
            said['teleop'],
            feedback | decision | clock | {'leader/joint_states'},
            _own('engage'),
        ),
        'teleop_relay': _node(
            said['teleop'],
            feedback
            | decision
            | clock
            | {'deadman'}
            | {action_topic(FOREIGN, part) for part in parts},
            _own('engage'),
        ),
    }


def policy_xml(contract: Contract) -> str:
    """The policy file for `ros2 security create_permission`, an enclave a node."""
    policy = ElementTree.Element('policy', version='0.2.0')
    enclaves = ElementTree.SubElement(policy, 'enclaves')
    for name, needs in permissions(contract).items():
        enclave = ElementTree.SubElement(enclaves, 'enclave', path=f'{ENCLAVES}/{name}')
        profiles = ElementTree.SubElement(enclave, 'profiles')
        profile = ElementTree.SubElement(profiles, 'profile', ns='/', node=name)
        for kind, rule, names in (
            ('service', 'reply', needs.reply),
            ('service', 'request', needs.request),
            ('topic', 'publish', needs.publish),
            ('topic', 'subscribe', needs.subscribe),
        ):
            if names:
                group = ElementTree.SubElement(profile, f'{kind}s', {rule: 'ALLOW'})
                for each in sorted(names):
                    ElementTree.SubElement(group, kind).text = each
    ElementTree.indent(policy)
    text = ElementTree.tostring(policy, encoding='unicode')
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{text}\n'


def _node(
    publish: Iterable[str],
    subscribe: Iterable[str],
    reply: Iterable[str] = (),
    request: Iterable[str] = (),
) -> Permissions:
    """A node's own, and what every lifecycle node has."""
    return Permissions(
        frozenset({*publish, '/rosout', '/parameter_events', '~/transition_event'}),
        frozenset(subscribe),
        frozenset({*reply, *_own(*PARAMETER_SERVICES, *LIFECYCLE_SERVICES)}),
        frozenset(request),
    )


def _said(stream: str, parts: Iterable[str]) -> set[str]:
    return {action_topic(stream, topic) for topic in parts} | {STATUS_TOPICS[stream]}


def _own(*services: str) -> set[str]:
    return {f'~/{service}' for service in services}
