"""A run record as JSON text and back, from earlier schema versions too."""

from __future__ import annotations

import gc
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from functools import cache
from math import isfinite
from typing import TYPE_CHECKING, TypeAlias, TypeVar, cast, get_args, get_type_hints

from harness.atomic import what_is_at
from harness.errors import StoreError
from harness.records import SCHEMA_VERSION, Comparison, Decision, Gate, RunRecord, SuiteInfo, Trial

if TYPE_CHECKING:
    from pathlib import Path

    from pydantic import TypeAdapter

Fields: TypeAlias = dict[str, object]
T = TypeVar("T")

AT_ONCE = 10_000  # answers, scores or rows of a piece of JSON
OLDEST = 1  # schema version that is read
_RESTORE = "\n  hint: restore the file from version control, or run the suites again."


def dump_run(record: RunRecord) -> str:
    """The record as JSON: keys sorted, one line for each candidate, suite, trial and gate.

    A number that is not finite (the loss of a diverged training) is written as null. A lone
    surrogate, which UTF-8 cannot hold, becomes a question mark.

    Raises:
        StoreError: a number that has to be there is not finite.
    """
    return b"".join(dumped(record)).decode("utf-8")


def dumped(record: RunRecord) -> Iterator[bytes]:
    """The pieces of ``dump_run``: a run of a million answers is never whole in memory."""
    _require_finite(record)
    yield b"{\n"
    for at, key in enumerate(sorted(field.name for field in fields(record))):
        yield b'%s "%s": ' % (b",\n" if at else b"", key.encode())
        value = cast("object", getattr(record, key))
        if not isinstance(value, tuple) or not value:
            yield from _pieces(value)
            continue
        for number, item in enumerate(value):
            yield b",\n  " if number else b"[\n  "
            yield from _pieces(item)
        yield b"\n ]"
    yield b"\n}\n"


def _pieces(value: object) -> Iterator[bytes]:
    """A suite or a trial field by field, and long tuples some thousand at a time."""
    if isinstance(value, SuiteInfo | Trial):
        value = {field.name: cast("object", getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping) and any(isinstance(v, tuple | Mapping) for v in value.values()):
        for at, key in enumerate(sorted(value)):
            yield (b"," if at else b"{") + _json(key) + b":"
            yield from _pieces(value[key])
        yield b"}"
    elif isinstance(value, tuple) and len(value) > AT_ONCE:
        for start in range(0, len(value), AT_ONCE):
            yield (b"," if start else b"[") + _json(value[start : start + AT_ONCE])[1:-1]
        yield b"]"
    else:
        yield _json(value)


def _json(value: object) -> bytes:
    import msgspec

    try:
        return msgspec.json.encode(value, order="sorted")
    except (TypeError, ValueError, OverflowError):  # half a surrogate pair, or a type of another library's
        plain = _null_where_not_finite(msgspec.to_builtins(value, enc_hook=_plain))
        text = json.dumps(plain, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
        return text.encode("utf-8", "replace")


def _require_finite(record: RunRecord) -> None:
    """What is not finite is written as null, which a field that has to be there cannot be read from.

    Raises:
        StoreError: names that field.
    """
    suites = tuple(replace(suite, rows=()) for suite in record.suites)
    trials = tuple(replace(trial, answers=(), scores={}) for trial in record.trials)
    text = _json(replace(record, suites=suites, trials=trials))
    try:
        _validated(_adapter(), cast("Fields", json.loads(text)), f"run {record.id}")
    except StoreError as error:
        raise StoreError(
            f"run {record.id} holds a number that is not finite and has to be there.\n{error}"
        ) from error


def load_file(path: Path) -> RunRecord:
    """As ``load_run``, of a file, one suite or trial after the other.

    Raises:
        DataError: it cannot be read.
        StoreError: as ``load_run``.
    """
    from harness.data.files import read_text

    found = _read_lines(path, RunRecord)
    return load_run(read_text(path, ".json"), str(path)) if found is None else _fitting(found, str(path))


def _read_lines(path: Path, shape: type[T]) -> T | None:
    """The fields of a record of today's version that ``shape`` has, from the lines of ``dumped``.

    None for a file of any other form: whoever edited it is told what is wrong by those who read all of it.
    """
    import msgspec

    if what_is_at(path) != "file":  # a pipe would wait for a writer
        return None
    types, found, version = get_type_hints(shape), dict[str, object](), 0
    gc.disable()  # it would look at millions of objects again and again, none of which can go
    try:
        with path.open("rb") as file:
            if file.readline() != b"{\n":
                return None
            for line in file:
                name, _, value = line.partition(b": ")
                key = name.decode().strip(' "')
                if value == b"[\n":
                    item = msgspec.json.Decoder(get_args(types[key])[0]) if key in types else None
                    items = []
                    for inner in file:
                        if inner in (b" ],\n", b" ]\n"):
                            break
                        if item is not None:
                            items.append(item.decode(inner.rstrip(b",\n")))
                    if item is not None:
                        found[key] = tuple(items)
                elif key == "schema":
                    version = int(value.rstrip(b",\n"))
                elif key in types:
                    found[key] = msgspec.json.decode(value.rstrip(b",\n"), type=types[key])
                if version and found.keys() == types.keys():
                    break  # the rest, most of the file, is not asked for
        return shape(**found) if version == SCHEMA_VERSION else None
    except (OSError, ValueError, TypeError, IndexError, RecursionError, msgspec.MsgspecError):
        return None
    finally:
        gc.enable()


def load_run(text: str, where: str) -> RunRecord:
    """The record that ``dump_run`` wrote, in this version or an earlier one. ``where`` names the file.

    Raises:
        StoreError: the text is not JSON, has an unknown schema version, or does not fit the record; or its
            parts do not fit each other, as after an edit by hand.
    """
    return _fitting(load_as(_adapter(), text, where), where)


def _fitting(record: RunRecord, where: str) -> RunRecord:
    if (problem := _misfit(record)) is not None:
        raise StoreError(f"{where}: {problem}.{_RESTORE}")
    return record


def _misfit(record: RunRecord) -> str | None:
    """What of the record's parts does not fit the others, as a sentence without its end."""
    rows = {suite.name: {row.id for row in suite.rows} for suite in record.suites}
    for trial in record.trials:
        own, asked = rows.get(trial.suite), [answer.row_id for answer in trial.answers]
        if own is None:
            return f"answers of {trial.label} are to suite {trial.suite!r}, which is not there"
        if len(set(asked)) < len(asked) or not own.issuperset(asked):
            return f"the answers of {trial.label} are not to the rows of suite {trial.suite}, one each"
        for name, scores in trial.scores.items():
            if len(scores) != len(asked):
                place = f"{trial.label}, suite {trial.suite}"
                return f"{place}: {len(asked)} answers have {len(scores)} scores of {name}"
    return None


@dataclass(frozen=True, slots=True)
class RunHead:
    """The fields of a record that tell what was judged; the answers, most of the file, are not checked."""

    id: str
    created: str
    alpha: float
    gates: tuple[Gate, ...]
    decisions: tuple[Decision, ...]
    rehearsal: bool = False

    def gated(self) -> list[tuple[str, Comparison]]:
        """The comparisons of the gates that decided, each with its suite."""
        return [
            (gate.suite, gate.comparison) for gate in self.gates if gate.state == "gated" and gate.comparison
        ]


@dataclass(frozen=True, slots=True)
class JudgedHead(RunHead):
    """With the rows that were judged."""

    suites: tuple[SuiteInfo, ...] = ()


def load_head(path: Path, shape: type[T]) -> T:
    """As ``load_run``, of these fields of a file alone.

    Raises:
        DataError, StoreError: as ``load_file``.
    """
    from pydantic import TypeAdapter

    from harness.data.files import read_text

    found = _read_lines(path, shape)
    return load_as(TypeAdapter(shape), read_text(path, ".json"), str(path)) if found is None else found


def load_as(adapter: TypeAdapter[T], text: str, where: str) -> T:
    """As ``load_run``, for the adapter of a dataclass that has a part of the record's fields.

    Raises:
        StoreError: as ``load_run``.
    """
    try:
        plain = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise StoreError(f"{where}: this is not JSON ({error}).{_RESTORE}") from error
    if not isinstance(plain, dict):
        raise StoreError(f"{where}: a run record is a JSON object.\n  hint: pass a run.json.")
    version = plain.get("schema")
    if not isinstance(version, int) or not OLDEST <= version <= SCHEMA_VERSION:
        raise StoreError(
            f"{where}: run record schema {version!r}; this version of the harness reads "
            f"{OLDEST} to {SCHEMA_VERSION}.\n  hint: read it with the version that wrote it "
            "(see `environment` in the file), or run the suites again."
        )
    try:
        _migrate(plain, version)
    except (KeyError, TypeError) as error:
        raise StoreError(
            f"{where}: does not fit a run record of schema {version}: {error}.{_RESTORE}"
        ) from error
    return _validated(adapter, plain, where)


def _migrate(record: Fields, version: int) -> None:
    """Bring a record of an earlier version to the present one, in place.

    A field that was only added needs no step, since the record has a default for it. A new version is one
    step here and one golden record under ``tests/report/records``.

    Raises:
        KeyError, TypeError: the record does not have the fields of its version.
    """
    if version < 2:  # a gate may rest on several seeds
        for gate in _objects(record["gates"]):
            seed = gate.pop("seed")
            gate["seeds"] = [] if seed is None else [seed]
    if version < 3:  # what hosted models were billed is no field of version 2, but a sentence of its notes
        for candidate in _objects(record["candidates"]):
            candidate["cost_rank"] = candidate.pop("rung")
        for trial in _objects(record["trials"]):
            trainings = [] if trial.get("training") is None else [trial["training"]]
            for one in (trial, *_objects(trainings)):
                one["numeric_config"] = one.pop("numerics")
    record["schema"] = SCHEMA_VERSION


def _objects(value: object) -> list[Fields]:
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise TypeError("expected a list of objects")
    return value


@cache  # building it takes 50 ms
def _adapter() -> TypeAdapter[RunRecord]:
    from pydantic import TypeAdapter

    return TypeAdapter(RunRecord)


def _validated(adapter: TypeAdapter[T], plain: Fields, where: str) -> T:
    from pydantic import ValidationError

    try:
        return adapter.validate_python(plain)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise StoreError(
            f"{where}: does not fit the run record at {place}: {first['msg']} "
            f"({error.error_count()} such places).{_RESTORE}"
        ) from error


def _plain(value: object) -> object:
    """NumPy's scalars, as Python's."""
    item = getattr(value, "item", None)
    if not callable(item):
        raise TypeError(f"{type(value).__name__} cannot be written as JSON")
    return item()


def _null_where_not_finite(value: object) -> object:
    if isinstance(value, float) and not isfinite(value):
        return None
    if isinstance(value, dict):
        return {key: _null_where_not_finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_null_where_not_finite(item) for item in value]
    return value
