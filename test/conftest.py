"""Which tests can run on this machine. Never imports rclpy: that alone would bind a context."""

from __future__ import annotations

from importlib.util import find_spec
import os

import pytest

NEEDS = {'ros': 'rclpy', 'launch': 'rclpy', 'learning': 'torch'}
MISSING = {folder: module for folder, module in NEEDS.items() if find_spec(module) is None}
collect_ignore = list(MISSING)


def pytest_configure(config):
    """Where everything has to be tested, nothing is left out in silence."""
    if MISSING and os.environ.get('REQUIRE_ROS'):
        raise pytest.UsageError(f'REQUIRE_ROS is set, but not installed: {_missing()}')


def pytest_report_header(config):
    return f'left out, because not installed: {_missing()}' if MISSING else None


def _missing():
    return ', '.join(f'{module} (test/{folder})' for folder, module in MISSING.items())
