"""YAML → plain data, without what a contract has no use for and a few bytes can abuse."""

from __future__ import annotations

from typing import Any

from imitation_ros.errors import ContractError
import yaml

MAX_BYTES = 1 << 16
"""A contract has a few KB; parsing this much takes half a second."""
MAX_DEPTH = 32
"""A contract is six levels deep."""


def read_yaml(text: str, max_bytes: int = MAX_BYTES) -> Any:
    """Returns the one document in `text` as mappings, lists, strings, numbers and None.

    Args:
        text: to parse.
        max_bytes: how long it may be.

    Raises:
        ContractError: with the line, for what is not YAML, a repeated key, a key that is not
            text, an alias, a tag, or a document that is too long or too deep.
    """
    if len(text) > max_bytes:
        raise ContractError('YAML', f'{len(text)} characters', f'at most {max_bytes}')
    try:
        return yaml.load(text, _StrictLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f'YAML, line {mark.line + 1}' if mark else 'YAML'
        raise ContractError(where, error.problem or str(error)) from None
    except yaml.YAMLError as error:
        raise ContractError('YAML', ' '.join(str(error).split())) from None


class _StrictLoader(yaml.SafeLoader):
    _depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        event: Any = self.peek_event()  # type: ignore[no-untyped-call]
        if isinstance(event, yaml.AliasEvent):
            raise _error(event, f'alias *{event.anchor}', 'write it out')
        if event.tag is not None:
            raise _error(event, f'tag {event.tag}', 'leave it out')
        if self._depth >= MAX_DEPTH:
            raise _error(event, f'nested deeper than {MAX_DEPTH} levels', 'fewer')
        self._depth += 1
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node

    def construct_object(self, node: Any, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)
        except (ValueError, OverflowError) as error:  # 2026-99-99, or a number of 5000 digits
            raise _error(node, f'{str(node.value)[:40]!r}: {error}', 'quote it') from None

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        seen = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, str):
                raise _error(key_node, f'key {key!r}', 'text; quote it')
            if key in seen:
                raise _error(key_node, f'duplicate key {key!r}', 'each key once')
            seen.add(key)
        return super().construct_mapping(node, deep)


def _error(node: Any, found: str, valid: str) -> ContractError:
    return ContractError(f'YAML, line {node.start_mark.line + 1}', found, f'valid: {valid}')
