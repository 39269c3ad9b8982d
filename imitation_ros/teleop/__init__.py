"""Devices in a person's hands → actions: keyboard, joystick, leader arm; and an unskilled expert.

`jog.py` turns deflections between -1 and 1 into the actions of any contract; `keyboard.py` and
`joy.py` read deflections off a device, `leader.py` maps joints to joints, `relay.py` takes the
commands of teleoperation that is not ours, and `motion.py` tells how far such a device was moved.
NumPy only: no ROS, and only `terminal.py` touches a terminal. The nodes `teleop_…` are thin
wrappers.
"""
