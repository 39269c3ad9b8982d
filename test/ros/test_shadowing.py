from __future__ import annotations

import ast
from pathlib import Path

NODES = Path(__file__).parents[2] / 'imitation_ros/nodes'


def test_no_node_overwrites_an_attribute_of_rclpys(ros):
    """A `self._clients` of ours replaced rclpy's list, and `destroy_node` failed at the end."""
    from rclpy.lifecycle import LifecycleNode

    taken = set(dir(ros.add(LifecycleNode('taken', context=ros.context))))
    overwritten = [
        f'{path.name}:{node.lineno}: self.{node.attr}'
        for path in sorted(NODES.glob('*.py'))
        for definition in ast.walk(ast.parse(path.read_text()))
        if isinstance(definition, ast.ClassDef)
        and any(ast.unparse(base).endswith('Node') for base in definition.bases)
        for node in ast.walk(definition)
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store)
        if ast.unparse(node.value) == 'self' and node.attr in taken
    ]
    assert not overwritten
