"""`security`: the SROS 2 policy of a contract: what each node needs, and nothing more."""

from __future__ import annotations

import argparse

from imitation_ros.frames.contract import load_contract
from imitation_ros.nodes.permissions import policy_xml


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options."""
    parser.add_argument('contract', help='a path, or the name of an own contract')


def run(options: argparse.Namespace) -> int:
    """Prints the policy file."""
    print(policy_xml(load_contract(options.contract)), end='')
    return 0
