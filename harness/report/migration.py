"""Run records of earlier schema versions, brought to the present one.

Each step takes the JSON object of version n, as ``json.loads`` gives it, to version n + 1. Steps are pure: a
field that a step does not name stays as it is. A field that was only added needs no step, since the record
has a default for it. A new version is one function here and one golden record under ``tests/report/records``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias, cast

from harness.records import SCHEMA_VERSION

Fields: TypeAlias = dict[str, object]


def migrate(record: Mapping[str, object], version: int) -> Fields:
    """The record at ``SCHEMA_VERSION``.

    Args:
        record: the JSON object of a run record.
        version: its schema version, from ``OLDEST`` to ``SCHEMA_VERSION``.

    Raises:
        KeyError, TypeError: the record does not have the fields of its version.
    """
    migrated = dict(record)
    for step in range(version, SCHEMA_VERSION):
        migrated = {**_STEPS[step](migrated), "schema": step + 1}
    return migrated


def _several_seeds(record: Fields) -> Fields:
    """1 to 2: a gate may rest on several seeds."""
    gates = [_renamed(gate, "seed", "seeds") for gate in _objects(record["gates"])]
    for gate in gates:
        gate["seeds"] = [] if gate["seeds"] is None else [gate["seeds"]]
    return {**record, "gates": gates}


def _plain_names(record: Fields) -> Fields:
    """2 to 3: ``numerics`` is called ``numeric_config``, and a candidate's ``rung`` its ``cost_rank``.

    What hosted models were billed is no field of version 2. It stays a sentence of the record's ``notes``.
    """
    candidates = [_renamed(one, "rung", "cost_rank") for one in _objects(record["candidates"])]
    trials = [_renamed(one, "numerics", "numeric_config") for one in _objects(record["trials"])]
    for trial in trials:
        if trial.get("training") is not None:
            (training,) = _objects([trial["training"]])
            trial["training"] = _renamed(training, "numerics", "numeric_config")
    return {**record, "candidates": candidates, "trials": trials}


_STEPS: Mapping[int, Callable[[Fields], Fields]] = {1: _several_seeds, 2: _plain_names}
OLDEST = min(_STEPS)


def _objects(value: object) -> list[Fields]:
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise TypeError("expected a list of objects")
    return cast("list[Fields]", value)


def _renamed(fields: Fields, old: str, new: str) -> Fields:
    """A copy with one field under another name."""
    others = {key: value for key, value in fields.items() if key != old}
    return {**others, new: fields[old]}
