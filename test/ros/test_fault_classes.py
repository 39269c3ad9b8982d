"""The short tier of every class of faults: what happens, not how fast."""

from __future__ import annotations

import pytest

from bench.faults.__main__ import classes, run_class


@pytest.mark.parametrize('name', classes())
def test_faults_are_survived(name):
    row = run_class(name, 'short', seed=0)
    assert row['ok'], row
