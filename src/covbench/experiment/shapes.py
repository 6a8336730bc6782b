"""Check the values of a YAML file against a JSON schema. An error lists every mistake with its key and a remedy."""

from __future__ import annotations

import copy
import math
import re
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import jsonschema
import yaml

from covbench.schema import CovbenchError
from covbench.system.addresses import show_address

RENAMED = {"views": "augmented_views"}
"""Keys of older configs -> what they are called now."""
REPLACED = {
    ("precision", "auto"): "write float32, which every machine has, or mixed_bfloat16 for GPUs from Ampere on",
}
"""Key and choice of older configs -> why there is no such choice, and what to write."""
TYPES = {
    "array": "list",
    "object": "set of keys with values",
    "string": "text",
    "integer": "whole number",
    "number": "number",
    "boolean": "truth value (true or false)",
    "null": "null",
}
"""Type of JSON schema -> what it is called in a message."""
LIMITS = {
    "minimum": "is too small; the minimum is {}",
    "maximum": "is too large; the maximum is {}",
    "exclusiveMinimum": "is too small; it has to be above {}",
    "minItems": "is too short a list; name at least {}",
    "maxItems": "is too long a list; name at most {}",
    "minLength": "is empty; leave the key out or give it a value",
}
"""Limit of JSON schema -> what is wrong with a value beyond it."""
SHOWN = 80  # characters of a wrong value in a message
Values = dict[str, Any]


def _is_whole(checker: Any, value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_finite(checker: Any, value: Any) -> bool:
    return _is_whole(checker, value) or (isinstance(value, float) and math.isfinite(value))


VALIDATOR = jsonschema.validators.extend(
    jsonschema.Draft202012Validator,
    type_checker=jsonschema.Draft202012Validator.TYPE_CHECKER.redefine_many(
        {"integer": _is_whole, "number": _is_finite}
    ),
)
"""Unlike JSON schema, takes 1.0 for no whole number, and NaN and infinity for no number."""


def check_shape(values: Mapping[str, Any], schema_path: Path, name: str) -> Values:
    """Check values against a schema and fill in its defaults.

    Args:
        values: Keys and values of a YAML file.
        schema_path: File of the JSON schema.
        name: What the messages call the values, such as `config`.

    Returns:
        A copy of the values, checked and completed.

    Raises:
        CovbenchError: Lists every mistake after `name`.
    """
    schema = yaml.safe_load(schema_path.read_text(encoding="utf-8"))
    checked = copy.deepcopy(dict(values))
    mistakes = [_explain(error) for error in VALIDATOR(schema).iter_errors(checked)]
    if mistakes:
        raise CovbenchError(f"{name}: " + f"\n{name}: ".join(mistakes))
    _fill_defaults(checked, schema)
    return checked


def suggest(name: str, known: Sequence[str]) -> str:
    """Return the end of a message about an unknown name: the nearest known name, or all of them."""
    near = get_close_matches(name, known, n=1, cutoff=0.6)
    return f"did you mean '{near[0]}'?" if near else f"known: {', '.join(sorted(known))}"


def _explain(error: jsonschema.ValidationError) -> str:
    key_path = ".".join(str(step) for step in error.absolute_path)
    if error.validator == "additionalProperties" and isinstance(error.instance, dict):
        known = list(error.schema.get("properties", {}))
        wrong = [key for key in error.instance if key not in known]
        hints = {key: f"renamed to {RENAMED[key]}" for key in RENAMED if RENAMED[key] in known}
        return "; ".join(
            f"{key_path}.{key}: {hints.get(key) or f'unknown key; {suggest(str(key), known)}'}".lstrip(".")
            for key in wrong
        )
    if error.validator == "oneOf":
        return f"{key_path}: {error.instance!r}; write none, or mirror: DIR"
    if error.validator == "enum":
        hint = REPLACED.get((key_path, error.instance)) or suggest(str(error.instance), error.validator_value)
        return f"{key_path}: {error.instance!r} is no choice; {hint}"
    if error.validator == "pattern":
        return f"{key_path}: {_hide_password(error.instance)!r}; {error.schema['description']}"
    if error.validator == "type":
        return f"{key_path}: {_explain_type(error)}"
    if error.validator == "uniqueItems":
        twice = next(value for value in error.instance if error.instance.count(value) > 1)
        return f"{key_path}: {_show(twice)} is listed twice; list it once"
    if error.validator == "required":
        missing = error.message.split("'")[1]
        return f"{'.'.join(filter(None, (key_path, missing)))}: missing; add this key"
    if error.validator in LIMITS:
        return f"{key_path}: {_show(error.instance)} {LIMITS[error.validator].format(error.validator_value)}"
    return f"{key_path}: {error.message}".lstrip(": ")


def _explain_type(error: jsonschema.ValidationError) -> str:
    """Say what a value of the wrong type is, and how to write it."""
    value, schema = error.instance, error.schema
    wanted = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    if isinstance(value, str) and _reads_as_number(value) and {"integer", "number"} & {*wanted}:
        if "number" in wanted:
            return f"YAML reads {value} as text; write {float(value):.1e} with a decimal point"
        return f"{value!r} is text, not a whole number; write it without quotes"
    if isinstance(value, float) and not math.isfinite(value):
        return f"{_show(value)} is no finite number"
    if isinstance(value, float) and value.is_integer() and "integer" in wanted:
        return f"{value} is not a whole number; write {int(value)}"
    if value is None:
        return f"the key has no value; give it a {' or '.join(TYPES[name] for name in wanted)}, or leave the key out"
    problem = f"{_show(value)} is no {' or '.join(TYPES[name] for name in wanted)}"
    if wanted == ["array"]:
        return f"{problem}; write {error.absolute_path[-1]}: [{_show(value)}]"
    if wanted == ["object"] and (keys := list(schema.get("properties", {}))):
        return f"{problem}; its keys are {', '.join(keys)}"
    return problem


def _show(value: Any) -> str:
    """Show a value as YAML in one line."""
    dumped: str = yaml.safe_dump(value, default_flow_style=True, width=math.inf).removesuffix("\n...\n").strip()
    text = _hide_password(dumped)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."


def _hide_password(text: str) -> str:
    """Keep a password out of logs if the text is, or holds, the address of a server."""
    return show_address(text) if re.search(r"@|%(?:25)*40|\w:/|[?;&]\w+=", text) else text


def _reads_as_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _fill_defaults(value: Any, schema: Mapping[str, Any]) -> None:
    if not isinstance(value, dict):
        return
    for key, sub in schema.get("properties", {}).items():
        if "default" in sub:
            value.setdefault(key, copy.deepcopy(sub["default"]))
        if isinstance(value.get(key), dict):
            _fill_defaults(value[key], sub)
            for choice in sub.get("oneOf", []):
                _fill_defaults(value[key], choice)
