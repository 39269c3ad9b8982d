"""The ROS nodes: thin plumbing over the rest of the package, and the only place with rclpy.

One file a node, named as its executable. Each converts messages, asks the core and publishes the
answer. Read `_managed.py` (life cycle), `_params.py` (parameters) and `_runtime.py` (start, spin,
stop) first: every node is built on these three. `graph.py` starts nodes as processes and talks to
them, for the command line and the tests.
"""
