"""Check the text of a config file for what is gone once YAML has read it: repeated keys and numbers in other bases."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from covbench.schema import CovbenchError
from covbench.system.text_files import read_utf8

PLAIN = {
    "tag:yaml.org,2002:int": r"[-+]?(0|[1-9]\d*)",
    "tag:yaml.org,2002:float": r"[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?|[-+]?\.(inf|nan)",
}
"""Kind of number -> how it is written in a config. YAML 1.1 also reads 010 as 8, 1:30 as 90 and 0x1F as 31."""


def check_config_file(path: Path) -> None:
    """Check a YAML or JSON file before its values are believed.

    Raises CovbenchError if the file is not UTF-8 or no YAML, if a key is there twice, or if a number is not written in
    plain decimals. It names file and line.
    """
    try:
        text = read_utf8(path)
    except OSError as error:
        raise CovbenchError(f"{path}: {error.strerror}; give the path of a YAML file") from error
    try:
        json.loads(text, object_pairs_hook=lambda pairs: _refuse_repeats(path, pairs))
    except ValueError:
        _check_yaml(path, text)


def _refuse_repeats(path: Path, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    keys = [key for key, _ in pairs]
    for key in keys:
        if keys.count(key) > 1:
            raise CovbenchError(f"{path}: the key {key!r} is there twice; keep one of them")
    return dict(pairs)


def _check_yaml(path: Path, text: str) -> None:
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        line = f"line {error.problem_mark.line + 1}: " if error.problem_mark else ""
        raise CovbenchError(f"{path}: {line}{error.problem}; indent with blanks and write `key: value`") from error
    except yaml.YAMLError as error:
        raise CovbenchError(f"{path}: is no YAML ({' '.join(str(error).split())})") from error
    mistakes = [] if root is None else list(_find_mistakes(root, set()))
    if mistakes:
        raise CovbenchError("\n".join(f"{path}: {mistake}" for mistake in mistakes))


def _find_mistakes(node: yaml.Node, seen: set[int]) -> Iterator[str]:
    """Yield what is wrong below a node. seen: ids of the nodes that were visited, because an alias repeats a node."""
    if id(node) in seen:
        return
    seen.add(id(node))
    if isinstance(node, yaml.ScalarNode):
        if node.tag in PLAIN and not re.fullmatch(PLAIN[node.tag], node.value, re.IGNORECASE):
            read = yaml.safe_load(node.value)
            yield f"line {_line(node)}: {node.value} is read as {read}; write {read}, or quotes around a name"
    elif isinstance(node, yaml.MappingNode):
        yield from _find_repeats(node)
        for pair in node.value:
            for part in pair:
                yield from _find_mistakes(part, seen)
    elif isinstance(node, yaml.SequenceNode):
        for part in node.value:
            yield from _find_mistakes(part, seen)


def _find_repeats(node: yaml.MappingNode) -> Iterator[str]:
    first: dict[str, yaml.Node] = {}
    for key, _ in node.value:
        if isinstance(key, yaml.ScalarNode) and key.value in first:
            where = f"on line {_line(first[key.value])} too"
            yield f"line {_line(key)}: the key {key.value!r} is there twice, {where}; keep one of them"
        elif isinstance(key, yaml.ScalarNode):
            first[key.value] = key


def _line(node: yaml.Node) -> int:
    line: int = node.start_mark.line
    return line + 1
