"""Messages ⇄ arrays: the one place where the robot's topics become what a policy sees.

Start at `contract.py` (which topics, fields, units, limits), then `codecs.py` and `images.py`
(one message ⇄ one array), `alignment.py` (many messages → one frame a tick) and `status.py`
(what a source says beside its action). Imports NumPy, PyYAML, pydantic and Pillow, never ROS:
messages are duck-typed, so live rclpy messages and decoded bag records take the same way.
"""
