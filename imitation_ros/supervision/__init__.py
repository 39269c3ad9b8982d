"""Who drives, and what may be sent: `guard` (limits), `authority` (modes). NumPy only.

Start with `guard.Guard`: every command that reaches a robot, simulated or real, came out of it.
Then `authority.Authority`, which decides whose command that is.
"""
