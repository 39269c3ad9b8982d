"""`./run VERB …`, on a ROS 2 machine `ros2 run imitation_ros imitation_ros VERB …`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from importlib import import_module
import signal
import sys
from types import FrameType

from imitation_ros.errors import ImitationError

VERBS = {
    'demo': 'the whole loop on the simulated arm: record, clone, drive, measure, report',
    'record': 'record demonstrations of the simulated arm over topics',
    'train': 'clone a policy from recorded episodes',
    'dagger': 'correct a policy in rounds: it drives, the expert labels, it learns again',
    'irl': 'learn a reward from demonstrations, and a policy by reinforcement on it',
    'finetune': 'improve a cloned policy by reinforcement, beyond its demonstrations',
    'meta': 'learn from many tasks how to learn the next one from one demonstration',
    'evaluate': 'measure the success rate of a checkpoint, in process or over topics',
    'inspect': 'what is in an episode or a data set, and whether it is any good',
    'replay': 'execute the recorded actions of an episode once more in the simulator',
    'security': 'the SROS 2 policy of a contract: what each node needs, and nothing more',
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one verb.

    Returns:
        0 if it worked, 1 for an error a user can fix, 2 for a wrong call, 130 after Ctrl-C.
    """
    parser = argparse.ArgumentParser('imitation_ros', description='Imitation learning on ROS 2.')
    verbs = parser.add_subparsers(title='verbs', metavar='VERB', dest='verb', required=True)
    given = list(sys.argv[1:] if arguments is None else arguments)
    for name, summary in VERBS.items():
        verb = verbs.add_parser(name, help=summary, description=summary)
        if name in given[:1]:  # only the verb that runs costs its imports
            import_module(f'imitation_ros.cli.{name}').add_arguments(verb)
    options = parser.parse_args(given)
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        return int(import_module(f'imitation_ros.cli.{options.verb}').run(options))
    except ImitationError as error:
        print(f'error: {error}', file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print('interrupted; what was finished before is kept', file=sys.stderr)
        return 130
    except BrokenPipeError:
        return 0


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == '__main__':
    sys.exit(main())
