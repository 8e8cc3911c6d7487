"""YAML from elsewhere, read as data: no tags, no endless references."""

from __future__ import annotations

from itertools import count
from pathlib import Path

from harness.data.files import read_text
from harness.errors import DataError
from harness.records import Json

MOST_BYTES, MOST_VALUES = 20_000_000, 1_000_000


def read_yaml(path: Path) -> dict[str, Json]:
    """The mapping that the file holds, with every scalar as its text.

    YAML 1.1, which PyYAML reads, takes the labels yes and no for true and false; promptfoo does not.

    Raises:
        DataError: the file is no YAML mapping, or references in it (``*name``) make a million values.
    """
    import yaml

    counted = count()

    def plain(value: object) -> Json:
        if next(counted) > MOST_VALUES:
            raise DataError(str(path), "references (*name) in it make a million values", "write them out")
        if isinstance(value, dict):
            return {str(key): plain(item) for key, item in value.items()}
        if isinstance(value, list):
            return [plain(item) for item in value]
        return str(value)

    merges = {"<": yaml.SafeLoader.yaml_implicit_resolvers["<"]}
    loader = type("Texts", (yaml.SafeLoader,), {"yaml_implicit_resolvers": merges})
    try:
        found = plain(yaml.load(read_text(path, ".yaml", most_bytes=MOST_BYTES), loader))
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{path}:{mark.line + 1}" if mark else str(path)
        problem = " ".join(str(getattr(error, "problem", None) or error).split())
        raise DataError(
            where, f"not YAML: {problem}", "put texts with such signs into quotes, or give JSON"
        ) from error
    if not isinstance(found, dict):
        raise DataError(f"{path}:1", "no YAML mapping", "give a promptfoo configuration")
    return found
