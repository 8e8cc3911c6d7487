"""YAML from elsewhere, read as data: no tags, no endless references."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from harness.data.files import read_text
from harness.errors import DataError
from harness.records import Json

MOST_BYTES, MOST_NODES = 20_000_000, 1_000_000


def read_yaml(path: Path) -> dict[str, Json]:
    """The mapping that the file holds.

    Raises:
        DataError: the file is no YAML mapping, or references in it (``*name``) make a million values.
    """
    import yaml

    try:
        value = yaml.safe_load(read_text(path, ".yaml", most_bytes=MOST_BYTES))
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{path}:{mark.line + 1}" if mark else str(path)
        problem = " ".join(str(getattr(error, "problem", None) or error).split())
        raise DataError(where, f"not YAML: {problem}", "mend it, or give JSON") from error
    if not isinstance(value, Mapping):
        raise DataError(f"{path}:1", "no YAML mapping", "give a promptfoo configuration")
    _require_bounded(value, path)
    found = _plain(value)
    assert isinstance(found, dict)
    return found


def _require_bounded(value: object, path: Path) -> None:
    """Count values as often as they stand, each container once; one that holds itself has no end."""
    sizes: dict[int, int | None] = {}

    def size(one: object) -> int:
        if not isinstance(one, dict | list):
            return 1
        if id(one) not in sizes:
            sizes[id(one)] = None
            sizes[id(one)] = 1 + sum(map(size, one.values() if isinstance(one, dict) else one))
        found = sizes[id(one)]
        return MOST_NODES + 1 if found is None else found

    if size(value) > MOST_NODES:
        raise DataError(str(path), "references (*name) in it make a million values", "write them out")


def _plain(value: object) -> Json:
    """Dates as texts, and keys as texts."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return value if isinstance(value, str | int | float | bool) or value is None else str(value)
