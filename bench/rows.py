"""Rows of a long measurement, kept one by one so that an interrupted one goes on."""

from __future__ import annotations

from collections.abc import Callable
import hashlib
import json
from pathlib import Path
import sys
from typing import Any

RESULTS = Path(__file__).parent / 'results'


class Rows:
    """`bench/results/NAME.json`: key → row, for one set of settings.

    Args:
        name: of the measurement.
        settings: what the rows depend on; rows of other settings are dropped.
        quick: keeps nothing.
        fresh: forgets what is there.
    """

    def __init__(
        self, name: str, settings: dict[str, Any], quick: bool = False, fresh: bool = False
    ) -> None:
        self._path = None if quick else RESULTS / f'{name}.json'
        text = json.dumps(settings, sort_keys=True, default=str)
        self._document: dict[str, Any] = {
            'settings': json.loads(text),
            'settings_sha256': hashlib.sha256(text.encode()).hexdigest(),
            'rows': {},
        }
        if self._path and self._path.exists() and not fresh:
            kept = json.loads(self._path.read_text())
            if kept.get('settings_sha256') == self._document['settings_sha256']:
                self._document = kept
            else:
                say(f'{self._path.name}: other settings, starting again')

    def get(self, key: object, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """The row of `key`, made now if no earlier run has made it."""
        rows = self._document['rows']
        if str(key) not in rows:
            rows[str(key)] = make()
            if self._path:
                self._path.parent.mkdir(exist_ok=True)
                new = self._path.with_suffix('.new')
                new.write_text(json.dumps(self._document, indent=1) + '\n')
                new.replace(self._path)
        row: dict[str, Any] = rows[str(key)]
        return row


def say(text: str) -> None:
    """To people, on stderr: stdout ends with the result."""
    print(text, file=sys.stderr, flush=True)
