"""Faults injected into the real nodes, files and commands, one class a module.

A module with a function `run(tier, seed)` is a class; its text says what is injected. `tier` is
'short' (seconds, for the tests) or 'full'. It returns an `Outcome`: a bar that is broken is one of
its `problems`. Milliseconds are judged in the full tier alone.
"""
