"""Topics that only one node may publish: two who command one arm are worse than none."""

from __future__ import annotations

from collections.abc import Sequence

from rclpy.node import Node


def second_publisher(node: Node, topics: Sequence[str]) -> str:
    """Which of the topics has a publisher too many, and who publishes it, or ''.

    Args:
        node: asks the graph; its own publishers count.
        topics: resolved names.
    """
    for topic in topics:
        if node.count_publishers(topic) > 1:
            names = sorted({each.node_name for each in node.get_publishers_info_by_topic(topic)})
            return f'{topic} has more than one publisher: {", ".join(names)}'
    return ''
