"""The command line: one file a verb, each of which parses, calls the package and returns.

`__main__.py` lists the verbs. Nothing heavy is imported until a verb runs.
"""
