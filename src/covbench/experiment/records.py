"""Seal the JSON files that stages write about a run: each holds the hash of its own content."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

SEAL = "seal"
UNSEALED = (SEAL, "accepted")
"""Keys that the seal leaves out: itself, and the edits that `covbench accept` adds later."""
CLOCKS = timedelta(hours=1)
"""How far the clocks of two machines may differ."""


def seal_record(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return a record with its seal. record: values that JSON can hold."""
    return {**record, SEAL: _hash_record(json.loads(json.dumps(record)))}


def read_record(path: Path) -> dict[str, Any]:
    """Read a JSON object. Raises ValueError if it is cut short, or has a seal that is not that of its content."""
    record = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(record, dict):
        raise ValueError(f"it holds a {type(record).__name__}, not an object")
    if SEAL in record and record[SEAL] != _hash_record(record):
        raise ValueError("its content is not what was written")
    return record


def require_past(finished: str) -> None:
    """Raise ValueError if a record was written later than now, or its date cannot be read.

    finished: ISO 8601; UTC if it names no time zone.
    """
    date = datetime.fromisoformat(finished)
    date = date if date.tzinfo else date.replace(tzinfo=UTC)
    if date > datetime.now(UTC) + CLOCKS:
        raise ValueError(
            f"it was written on {finished}, which is in the future: a clock ran ahead, or somebody edited it"
        )


def _hash_record(record: Mapping[str, Any]) -> str:
    sealed = {key: value for key, value in record.items() if key not in UNSEALED}
    return hashlib.sha256(json.dumps(sealed, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
