"""Policies: what drives the arm. Networks, normalization, chunking, checkpoints.

May import `types`, `errors` and `frames`; needs torch. Start reading at `policy.py`.
"""
