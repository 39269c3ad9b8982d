"""Measurements of the package, one a file; README.md says how they are run and read."""
