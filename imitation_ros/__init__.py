"""Learn robot arm policies from demonstrations, over ROS 2 topics.

Imports point down only: `cli`, `nodes` → `learning` → `sim` → `supervision` → `episodes`,
`policies` → `frames` → `types`, `errors`. ROS lives in `nodes` alone, torch in `policies` and
`learning`, PyBullet in `sim`. Start reading at `frames/contract.py`.
"""

__version__ = '0.1.0'
