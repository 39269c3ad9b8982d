"""A simulated arm, its tasks, the scripted experts that solve them, and a Gymnasium environment.

Start at `simulator.py`, which puts together the `world` (table, cube, goal, camera), the `arm`
(with its numeric `kinematics`) and the `tasks`; `env.py` is the environment over it, `experts.py`
the demonstrator, `rollout.py` runs one with the other. `families.py` has tasks that nobody is
told, and `family_expert.py` who demonstrates them. `commands.py` and `observer.py` are where the
contract's topics meet the simulation. Imports PyBullet, Gymnasium, NumPy, `supervision` and
`frames`; never ROS, never torch.
"""
