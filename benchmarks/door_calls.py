"""The doors of `benchmarks.doors`: what each is given, and what has to hold of what it accepts."""

# values of other types than are declared are what it is about
# mypy: disable-error-code="arg-type, assignment, attr-defined, call-arg, call-overload, misc, no-any-return"
# mypy: disable-error-code="dict-item, operator, type-var, union-attr, var-annotated, index"

from __future__ import annotations

import json
import math
import os
import re
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, is_dataclass, replace
from functools import cache
from pathlib import Path
from random import Random
from types import MappingProxyType
from typing import TYPE_CHECKING, cast

from benchmarks.door_inputs import (
    ANY_JSON,
    NUMBERS,
    any_text,
    any_value,
    drawn,
    mutated,
    odd_path,
    spoilt,
    written,
)
from benchmarks.hostile_values import TEXTS
from harness.records import Answer, Json, Message, Row, RunRecord

if TYPE_CHECKING:
    from harness.models.remote import RemoteModel

REALLY = 0.06  # of the tries of the command line: as a process
EXAMPLE = Path(__file__).parent.parent / "tests" / "report" / "records" / "schema-2.json"


class Nonsense(Exception):  # noqa: N818 - what was accepted
    """What was accepted cannot be right; says why."""


@dataclass(frozen=True, slots=True)
class Door:
    """One try: called with the generator and a folder of the door's own. Raises what the door raises."""

    tries: int
    call: Callable[[Random, Path], None]


def require(holds: bool, what: str) -> None:
    """Raise Nonsense unless it holds."""
    if not holds:
        raise Nonsense(what)


def require_plain(value: object, where: str = "", depth: int = 0) -> None:
    """No number that is not finite, and no text that UTF-8 cannot hold."""
    if isinstance(value, float):
        require(math.isfinite(value), f"{where} is {value}")
    elif isinstance(value, str):
        require(
            not re.search("[\ud800-\udfff]", value), f"{where} holds half a surrogate pair: {value[:40]!a}"
        )
    elif isinstance(value, Mapping):
        for key, item in value.items():
            require_plain(key, f"{where}.{key!a}"[:200], depth + 1)
            require_plain(item, f"{where}.{key!a}"[:200], depth + 1)
    elif isinstance(value, tuple | list | frozenset):
        for item in value:
            require_plain(item, where, depth + 1)
    elif is_dataclass(value) and not isinstance(value, type):
        for each in fields(value):
            require_plain(getattr(value, each.name), f"{where}.{each.name}", depth + 1)


# --------------------------------------------------------------------------- options
def options(rng: Random, folder: Path) -> None:
    """Options of pytest, as texts, lists and what an ini file gives."""
    from harness.settings import parse_settings

    names = [
        "candidate",
        "baseline",
        "sizes",
        "train-seeds",
        "gate",
        "ladder-order",
        "plan",
        "final",
        "fresh",
        "max-interim-looks",
        "max-usd",
        "executor",
        "ray-address",
        "ray-task",
        "harness-store",
        "report-dir",
        "reference-run",
        "rehearse",
        "ladder",
        "list",
    ]
    lists, switches = ("candidate", "reference-run"), ("plan", "final", "fresh", "list")
    good = {
        "sizes": "50,100",
        "train-seeds": "0,1",
        "max-usd": "5",
        "max-interim-looks": "3",
        "gate": "release",
    }
    raw: dict[str, object] = {}
    for name in rng.sample(names, rng.choice((1, 1, 2, 5))):
        text = good[name] if name in good and rng.random() < 0.2 else any_text(rng)
        if name in good and rng.random() < 0.3:
            text = ",".join(str(rng.choice(NUMBERS)) for _ in range(rng.randrange(1, 4)))
        raw[name] = [text] if name in lists else rng.random() < 0.5 if name in switches else text
    found = parse_settings(raw, folder)
    require_plain(found, "settings")
    require(all(size > 0 for size in found.sizes) and list(found.sizes) == sorted(set(found.sizes)), "sizes")
    require(all(0 <= seed < 2**32 for seed in found.seeds) and len(found.seeds) > 0, "seeds")
    require(found.max_usd is None or 0 < found.max_usd < math.inf, "max_usd")
    require(1 <= found.max_interim_looks <= 10, "looks")
    for path in (found.store, found.reports):
        require("\0" not in str(path) and "\n" not in str(path), "a folder's name")


def environment(rng: Random, folder: Path) -> None:
    """Variables, and keys and addresses of services in them."""
    from harness.models.endpoint import Endpoint
    from harness.models.remote import RemoteModel
    from harness.settings import require_known_variables

    names = ("HARNESS_FAST", "HARNESS_CACHE", "HARNES_FAST", "harness_fast", "HARNESS_" + any_text(rng)[:30])
    if rng.random() < 0.3:
        require_known_variables({rng.choice(names): any_text(rng), any_text(rng): any_text(rng)})
    hosts = (
        "http://127.0.0.1",
        "https://x.example",
        "http://[::1]",
        "http://[",
        "https://u:p@x",
        "ftp://x",
        "//x",
    )
    ports = ("", "", ":80", ":99999", ":-1", ":x", ":٣", ":0", ":" + "9" * 5_000)
    address = rng.choice(
        (any_text(rng), rng.choice(hosts) + rng.choice(ports) + rng.choice(("", "/v1", "/" + any_text(rng))))
    )
    key = rng.choice((any_text(rng), "sk-" + any_text(rng), "sk-test\n", "sk-test"))
    given = {"OPENAI_BASE_URL": address, "OPENAI_API_KEY": key, "OPENAI_ORG_ID": any_text(rng)}
    kept = {name: os.environ.get(name) for name in given}
    try:
        for name, text in given.items():
            try:
                os.environ[name] = text
            except (ValueError, UnicodeEncodeError):  # no system could hand it over
                os.environ.pop(name, None)
        model = RemoteModel("m", base_url=rng.choice((None, None, address if address else None)))
        url = model.url
        require(url.isprintable() and "@" not in url.split("//")[1].partition("/")[0], f"the address {url!a}")
        model.require_ready()
        Endpoint(None if rng.random() < 0.5 else address or None).client().close()
    finally:
        for name, text in kept.items():
            os.environ.pop(name, None) if text is None else os.environ.__setitem__(name, text)


# --------------------------------------------------------------------------- rows
CHAT: Json = {
    "id": "a",
    "language": "en",
    "messages": [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "How much?", "name": "ada"},
        {
            "role": "assistant",
            "content": "",
            "tool_calls": [
                {"id": "c1", "type": "function", "function": {"name": "price", "arguments": '{"of": "x"}'}}
            ],
        },
        {"role": "tool", "tool_call_id": "c1", "content": "3"},
        {"role": "assistant", "content": "3 USD", "weight": 1},
    ],
    "tools": [
        {
            "type": "function",
            "function": {
                "name": "price",
                "description": "d",
                "parameters": {
                    "type": "object",
                    "properties": {"of": {"type": "string"}},
                    "required": ["of"],
                },
            },
        }
    ],
}
PAIR: Json = {"prompt": "How much?", "completion": "3 USD", "id": 7}
FORMS: tuple[Json, ...] = (
    CHAT,
    PAIR,
    {"conversations": [{"from": "human", "value": "hi"}, {"from": "gpt", "value": "yes"}]},
    {"query": "q", "answers": '[{"name": "price", "arguments": {"of": "x"}}]', "tools": "[]"},
    {
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "hi"}]},
            {"role": "assistant", "content": "yes"},
        ]
    },
)


def lines(rng: Random, forms: tuple[Json, ...], n: int = 4) -> bytes:
    """JSON Lines: some as they should be, one mutated, and bytes spoilt now and then."""
    items = [rng.choice(forms) for _ in range(rng.randrange(n) + 1)]
    for at, item in enumerate(items):
        if isinstance(item, dict) and "id" in item:
            items[at] = {**item, "id": f"r{at}"}
    items[rng.randrange(len(items))] = mutated(rng, items[0]) if rng.random() < 0.9 else drawn(ANY_JSON, rng)
    content = b"\n".join(written(rng, item) for item in items) + b"\n"
    return spoilt(rng, content) if rng.random() < 0.4 else content


def rows(rng: Random, folder: Path) -> None:
    """Training and held-out rows in JSON Lines, wherever they lie."""
    from harness.data.rows import read_rows

    content = lines(rng, FORMS[:2])
    path = odd_path(rng, folder, content, "rows.jsonl") if rng.random() < 0.15 else folder / "rows.jsonl"
    if path.name == "rows.jsonl" and path.parent == folder and not os.path.lexists(path):
        path.write_bytes(content)
    try:
        found = read_rows(path)
    finally:
        clear(folder)
    require(len(found) > 0, "no rows")
    require(len({row.id for row in found}) == len(found), "two rows of one id")
    require_plain(found, "rows")
    for row in found:
        require(row.messages[-1].role == "assistant", "a row without a reply")
        json.dumps([message.content for message in row.messages]).encode()


def clear(folder: Path) -> None:
    """Take away what a try has left."""
    for path in folder.iterdir():
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()


def tables(rng: Random, folder: Path) -> None:
    """CSV, TSV, Parquet and other forms, with a map of columns."""
    from harness.data.tables import read_source
    from harness.data.tool_forms import ToolForms

    kind = rng.random()
    columns = rng.choice(
        (None, None, "user=q,assistant=a", any_text(rng), "messages=m", f"user=q,assistant={any_text(rng)}")
    )
    if kind < 0.6:
        header, sign = (
            rng.choice((["q", "a"], ["user", "assistant"], ["prompt", "completion", "id"], ["m"])),
            rng.choice(",;\t"),
        )
        cells = [[any_text(rng)[:200] if rng.random() < 0.5 else "x" for _ in header] for _ in range(3)]
        quoted = [[f'"{c}"' if rng.random() < 0.3 else c for c in line] for line in cells]
        content = "\n".join(sign.join(line) for line in [header, *quoted]).encode("utf-8", "surrogatepass")
        path = folder / "t.csv"
    elif kind < 0.8:
        content, path = parquet(), folder / "t.parquet"
        content = spoilt(rng, content)
    else:
        content = written(rng, [mutated(rng, rng.choice(FORMS)) for _ in range(2)])
        path = folder / "t.json"
        columns = None
    path.write_bytes(spoilt(rng, content) if rng.random() < 0.3 else content)
    form = ToolForms() if path.suffix == ".json" else None
    try:
        found = read_source(str(path), columns, form)
    finally:
        clear(folder)
    require_plain(found, "rows")


@cache
def parquet() -> bytes:
    """A small table."""
    import io

    import pyarrow
    import pyarrow.parquet

    file = io.BytesIO()
    table = pyarrow.table({"prompt": ["a", "b"], "completion": ["x", "y"], "n": [1, 2]})
    pyarrow.parquet.write_table(table, file)
    return file.getvalue()


LABEL: Json = {
    "message": "m",
    "reference": "r",
    "summary": "s",
    "label": "good",
    "annotator": "ada",
    "kind": "x",
}
PAIR_LABEL: Json = {"message": "m", "first": "a", "second": "b", "label": "first", "annotator": "ada"}


def labels(rng: Random, folder: Path) -> None:
    """Labels of judges, of pairs, and of a run's answers."""
    from harness.scoring.labels import parse_labels
    from harness.scoring.pair_labels import parse_pair_labels
    from harness.scoring.run_labels import fit_to, parse_run_labels

    kind = rng.choice(("judge", "pair", "run", "run"))
    one = {"judge": LABEL, "pair": PAIR_LABEL, "run": run_label()}[kind]
    path = folder / "labels.jsonl"
    path.write_bytes(lines(rng, (one,)))
    from harness.data.files import MOST_LABEL_BYTES, read_text

    text = read_text(path, most_bytes=MOST_LABEL_BYTES)
    if kind == "judge":
        require_plain(parse_labels(text, "labels.jsonl"), "labels")
    elif kind == "pair":
        require_plain(parse_pair_labels(text, "labels.jsonl"), "labels")
    else:
        found = parse_run_labels(text, "labels.jsonl")
        require_plain(found, "labels")
        require(all(0 < label.probability <= 1 for label in found), "a probability")
        fit_to(record(), found)


@cache
def record() -> RunRecord:
    """A small run."""
    from harness.report.runjson import load_run

    return load_run(EXAMPLE.read_text("utf-8"), str(EXAMPLE))


@cache
def run_label() -> Json:
    """A label of one of its answers."""
    from harness.scoring.run_labels import answer_digest

    run = record()
    trial = run.trials[0]
    answer = trial.answers[0]
    suite = next(each for each in run.suites if each.name == trial.suite)
    return {
        "run": run.id,
        "suite": trial.suite,
        "score": suite.scores[0].name,
        "row": answer.row_id,
        "side": trial.label,
        "seed": trial.seed,
        "answer": answer_digest(answer.text),
        "annotator": "ada",
        "label": "good",
        "probability": 0.5,
    }


RECORDED: Json = {
    "id": "r0",
    "answer": "yes",
    "suite": "s",
    "question": "How much?",
    "model": "m",
    "time": "2026-11-01T00:00:00+00:00",
    "prompt_tokens": 3,
    "completion_tokens": 1,
    "latency_ms": 20.5,
    "finish": "stop",
    "usd": 0.01,
    "settings": {"t": 0},
    "logprob": -0.5,
    "attempts": 2,
    "thought": "hm",
    "thought_tokens": 3,
    "parts": [],
    "served_by": "n",
    "failure": None,
}


def recorded(rng: Random, folder: Path) -> None:
    """Answers that somebody recorded, and their rows."""
    from harness.data.recorded import match, parse_recorded, require_all

    turns = (Message("user", "How much?"), Message("assistant", "3 USD"))
    held = tuple(Row(f"r{at}", turns) for at in range(3))
    found = parse_recorded(lines(rng, (RECORDED,)), "answers.jsonl")
    require_plain(found, "answers")
    matched = match(found, "s", held)
    require_all(matched, found, "s", "answers.jsonl")


# --------------------------------------------------------------------------- money
ECONOMICS = """currency = "USD"
requests_per_day = [20000, 40000]
horizon_days = 30
gpu_usd_per_hour = 1.2
gpu_hours_per_day = 24
hosting_hours_per_day = 12
hosting_replicas = 2
storage_gb = 5
training_usd_per_hour = 1.2
retraining_every_days = 30
hourly_usd = 60
row_minutes = 2
value_usd_per_point_per_day = 5

[prices."gpt-4o-mini"]
input_usd_per_mtok = 0.15
output_usd_per_mtok = 0.6
hosting_usd_per_hour = 5
storage_usd_per_gb_month = 0.1
source = "the price list"
date = "2026-11-01"
"""
TOML_VALUES: tuple[str, ...] = (
    "nan",
    "inf",
    "-inf",
    "-1",
    "0",
    "1e999",
    "1e-320",
    "9" * 5_000,
    "1_0",
    "true",
    '""',
    '"5"',
    "[1, 2]",
    "[2, 1]",
)
TOML_VALUES += (
    "[]",
    "[1]",
    "[1, nan]",
    "{}",
    "1979-05-27",
    '"\\ud800"',
    "0x10",
    "[[[[]]]]",
    '"{{ 1 }}"',
    "'''a\nb'''",
    "-0.0",
)


def economics(rng: Random, folder: Path) -> None:
    """economics.toml: values, keys, tables and bytes."""
    from harness.data.files import read_text
    from harness.decision.economics_file import parse_economics
    from harness.run.repricing import priced_again

    given = ECONOMICS.splitlines()
    for _ in range(rng.choice((1, 1, 2, 3))):
        at = rng.randrange(len(given))
        key, equals, _ = given[at].partition(" = ")
        kind = rng.random()
        if kind < 0.5 and equals:
            given[at] = f"{key} = {rng.choice(TOML_VALUES)}"
        elif kind < 0.6 and equals:
            given[at] = f"{rng.choice((key + 's', key.upper(), any_text(rng)))} = 1"
        elif kind < 0.7:
            given.insert(at, given[rng.randrange(len(given))])
        elif kind < 0.85:
            del given[at]
        else:
            given.insert(at, f"{any_text(rng)} = {rng.choice(TOML_VALUES)}")
    content = ("\n".join(given) + "\n").encode("utf-8", "surrogatepass")
    path = folder / "economics.toml"
    path.write_bytes(spoilt(rng, content) if rng.random() < 0.2 else content)
    found = parse_economics(read_text(path, ".toml"), "economics.toml")
    require_plain(replace(found, text=""), "economics")
    for each in fields(found):
        number = getattr(found, each.name)
        require(
            not isinstance(number, float)
            or number >= 0
            or each.name.startswith(("requests_growth", "value")),
            f"{each.name} is {number}",
        )
    if rng.random() < 0.1:
        again = priced_again(record(), found, "decide")
        require_plain(again.economics, "what it is worth")


# --------------------------------------------------------------------------- suites
def suites(rng: Random, folder: Path) -> None:
    """What a suite file gives: suites, checks and candidates with any value in a field; schemas; prompts."""
    import harness
    from harness.run.suite_loading import load_suite

    (folder / "heldout.jsonl").write_text(json.dumps(CHAT) + "\n" + json.dumps(PAIR) + "\n", "utf-8")
    (folder / "prompt.md").write_bytes(spoilt(rng, b"Answer in JSON: {system}. {{ 7 * 7 }}\n"))
    (folder / "schema.json").write_bytes(schema(rng))
    value = any_odd(rng)
    made = rng.choice(("suite", "check", "candidate", "schema", "schema"))
    if made == "candidate":
        kind = rng.choice(
            [
                harness.QLoRA,
                harness.LoRA,
                harness.Prompted,
                harness.FewShot,
                harness.Full,
                harness.OpenAITuning,
                harness.HostedTuning,
                harness.RemoteModel,
                harness.Decoding,
                harness.Recorded,
                harness.Retrieval,
            ]
        )
        names = [each.name for each in fields(kind) if each.init]
        defaults: dict[str, object] = {
            "base": "smollm2-135m",
            "train": "train.jsonl",
            "model": "m",
            "answers": "a.jsonl",
            "file": "a.jsonl",
        }
        given = {name: text for name, text in defaults.items() if name in names}
        given |= {rng.choice(names): value, rng.choice(names): given.get(names[0], value)}
        try:
            found = kind(**given)
        except TypeError as error:
            if "argument" in str(error):
                return
            raise
        require_plain(
            [getattr(found, name) for name in names if isinstance(getattr(found, name), int | float | str)],
            kind.__name__,
        )
        described = getattr(found, "described", None)
        if described is not None:
            require_plain(described(), "described")
        return
    kinds = [
        harness.Regex,
        harness.Contains,
        harness.FieldMatch,
        harness.MaxTokens,
        harness.Refusal,
        harness.JsonSchema,
        harness.ToolCall,
        harness.TokenF1,
    ]
    check = harness.ExactMatch()
    if made == "check":
        kind = rng.choice(kinds)
        names = [each.name for each in fields(kind) if each.init and each.name != "document"]
        given = (
            {"pattern": "a+"}
            if kind is harness.Regex
            else {"field": "f"}
            if kind is harness.FieldMatch
            else {}
        )
        given |= (
            {"schema": "schema.json"}
            if kind is harness.JsonSchema
            else {"limit": 9}
            if kind is harness.MaxTokens
            else {}
        )
        try:
            check = kind(**{**given, rng.choice(names): value})
        except TypeError as error:
            if "argument" in str(error):
                return
            raise
    if made == "schema":
        check = harness.JsonSchema("schema.json")
    given = {"heldout": "heldout.jsonl", "scores": (check,)}
    if made == "suite":
        given |= {
            rng.choice(
                ("prompt", "heldout", "slices", "group", "final", "max_tokens", "scores", "may_drop", "leaks")
            ): value
        }
    elif rng.random() < 0.3:
        given |= {"prompt": "prompt.md"}
    try:
        suite = harness.Suite(**given)
    except TypeError as error:
        if "argument" in str(error):
            return
        raise
    loaded = load_suite(suite, folder / "test_it.py", folder)
    require_plain(loaded.prompt, "prompt")
    require(
        loaded.prompt is None or "{{ 7 * 7 }}" in loaded.prompt or "49" not in loaded.prompt,
        "a template was evaluated",
    )
    from harness.scoring.checks import score_all

    for score in loaded.scores:
        answers = [
            Answer(row.id, rng.choice((row.reference, *TEXTS, "a" * 30_000)), 1, 1, 1.0)
            for row in loaded.rows
        ]
        for one in score_all(score, loaded.rows, answers):
            require(one.value is None or one.value >= 0, f"the score {one.value}")
        json.dumps(score.spec())


def any_odd(rng: Random) -> object:
    """A value of any type at all."""
    return rng.choice(
        (
            rng.choice(NUMBERS),
            any_text(rng),
            any_value(rng),
            (),
            ("a", any_text(rng)),
            [1],
            {},
            object(),
            int,
            b"x",
            3 + 1j,
            lambda: 1,
            Path("x"),
            frozenset({1}),
            range(3),
        )
    )


SCHEMA: Json = {
    "type": "object",
    "additionalProperties": False,
    "required": ["a"],
    "properties": {
        "a": {"type": "string", "pattern": "^(a|aa)+$", "maxLength": 9},
        "b": {"$ref": "#/$defs/n"},
    },
    "$defs": {"n": {"type": "number", "multipleOf": 0.1, "enum": [1, 2]}},
}


def schema(rng: Random) -> bytes:
    """A JSON Schema, or nearly."""
    value = mutated(rng, SCHEMA)
    if rng.random() < 0.3 and isinstance(value, dict):
        value["$ref"] = rng.choice(
            ("#", "#/properties/a", "http://127.0.0.1:9/x", "file:///etc/passwd", "#/x", "", "%zz")
        )
    content = written(rng, value)
    return spoilt(rng, content) if rng.random() < 0.2 else content


def patterns(rng: Random, folder: Path) -> None:
    """Regular expressions that backtrack, on texts that make them."""
    import harness
    from harness.scoring.checks import score_all

    inner = rng.choice(("a+", "(a|aa)", "(a|a?)", "a*", r"\w", ".*", "(?:a?){9}", r"(\w\s?)"))
    pattern = rng.choice(
        ("^({})+$", "({})*b", "({}){{50}}c", r"(({})+)\1$", "(?=({})+b)", "(?<=({})+)b")
    ).format(inner)
    pattern = rng.choice(
        (pattern, pattern, any_text(rng), "(" * 3_000 + ")" * 3_000, "a{99999999}", "(?P<x>a)(?P<x>b)")
    )
    text = rng.choice(("a" * 60, "a" * 30_000, "a " * 500, rng.choice(TEXTS)))
    check = harness.Regex(pattern or "a")
    row = Row("r", (Message("user", "q"), Message("assistant", "a")))
    score_all(check, [row] * 1, [Answer("r", text, 1, 1, 1.0)])


# --------------------------------------------------------------------------- records
def run_json(rng: Random, folder: Path) -> None:
    """A run's record, changed by hand, and all pages that are made of it."""
    from harness.report.html import render_html, write_index
    from harness.report.markdown import render_markdown
    from harness.report.runjson import dump_run, load_file, load_run
    from harness.report.terminal import summary

    own = folder / "run"
    own.mkdir(exist_ok=True)
    plain = json.loads(EXAMPLE.read_text("utf-8")) if rng.random() < 0.5 else json.loads(today())
    content = written(rng, mutated(rng, plain))
    if rng.random() < 0.4:  # in the form in which it is written
        content = spoilt(rng, today().encode())
    path = own / "run.json"
    path.write_bytes(content)
    try:
        if rng.random() < 0.2:
            path.unlink()
            path = odd_path(rng, own, content, "run.json")
        write_index(folder)
        found = load_file(path)
        if rng.random() < 0.5:
            page = render_html(found)
            require(
                "<script>alert" not in page and "onerror=alert(1)>" not in page,
                "markup of an answer in the page",
            )
        else:
            require(
                load_run(dump_run(found), "again").id == found.id.encode("utf-8", "replace").decode(),
                "another record",
            )
            render_markdown(found)
            said = summary(found, 80, colour=False)
            require(
                not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f]", said), "control characters on the terminal"
            )
    finally:
        clear(folder)


@cache
def today() -> str:
    """The record in today's form."""
    from harness.report.runjson import dump_run

    return dump_run(record())


CELLS = (
    "answers.answer",
    "answers.row_id",
    "judgments.numbers",
    "heldout_decisions.verdict",
    "anchors.scores",
    "attack_tests.found",
    "row_sets.rows",
    "row_sets.n",
)


def store(rng: Random, folder: Path) -> None:
    """Answers, artifacts and states of jobs that something has damaged."""
    from harness.store.adapters import AdapterStore
    from harness.store.answers import AnswerStore
    from harness.training.hosted.record import JobRecord, read_state

    kind = rng.choice(("answers", "answers", "cells", "training", "state", "job"))
    try:
        if kind in ("answers", "cells"):
            path = folder / "answers.sqlite"
            path.write_bytes(kept_answers())
            if kind == "answers":
                path.write_bytes(spoilt(rng, kept_answers()))
            else:
                table, column = rng.choice(CELLS).split(".")
                value = rng.choice((written(rng, any_value(rng)), any_text(rng), rng.choice(NUMBERS)))
                try:
                    with sqlite3.connect(path) as connection:
                        connection.execute(f"UPDATE {table} SET {column} = ?", (value,))
                    connection.close()
                except (sqlite3.Error, OverflowError, UnicodeEncodeError):
                    return
            kept = AnswerStore(path)
            try:
                require_plain(kept.answers("c"), "answers")
                kept.origins("c")
                require_plain(kept.judgment("k"), "a judgment")
                kept.anchor_scores("j")
                kept.attack_test("j")
                kept.uses()
                kept.judged()
                kept.keep_answers("c", [Answer("r9", "yes", 1, 1, 1.0)])
            finally:
                kept.close()
        elif kind == "training":
            artifact = folder / ("ab" * 16)
            artifact.mkdir()
            content = written(rng, mutated(rng, training()))
            (artifact / "training.json").write_bytes(spoilt(rng, content) if rng.random() < 0.3 else content)
            AdapterStore(folder).find("ab" * 32)
            AdapterStore(folder).trainings()
        else:
            content = written(
                rng, mutated(rng, {"files": {"a": "file-1"}, "job": "ftjob-1", "ends": None, "notes": ["n"]})
            )
            (folder / "x.job.json").write_bytes(content)
            (folder / "x").mkdir()
            (folder / "x" / "hosted.json").write_bytes(content)
            read_state(folder / "x") if kind == "state" else JobRecord.read(folder / "x")
    finally:
        clear(folder)


@cache
def kept_answers() -> bytes:
    """A store with a little of everything."""
    import tempfile

    from harness.records import HeldoutUse, RowSet
    from harness.store.answers import AnswerStore

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "answers.sqlite")
        kept = AnswerStore(path)
        kept.keep_answers("c", [Answer(f"r{at}", "yes " * 20, 3, 1, 1.0) for at in range(20)])
        kept.keep_judgment("k", [0.5, 1.0])
        kept.keep_anchor_scores("j", {"a": 0.5})
        kept.keep_embeddings({"e": b"1234"})
        use = {each.name: "x" for each in fields(HeldoutUse)} | {"level": 0.05, "verdict": None}
        kept.keep_uses([HeldoutUse(**use)], {"d": RowSet("d", 2, ("a", "b"), 64)}, "h")
        with kept._writing() as connection:
            connection.execute("INSERT INTO attack_tests VALUES ('j', '{}')")
        kept.close()
        return path.read_bytes()


@cache
def training() -> Json:
    """How an artifact came to be."""
    from pydantic import TypeAdapter

    from harness.records import Training

    found = next((trial.training for trial in record().trials if trial.training is not None), None)
    return cast("Json", {} if found is None else json.loads(TypeAdapter(Training).dump_json(found)))


# --------------------------------------------------------------------------- replies of services
REPLY: Json = {
    "id": "x",
    "object": "chat.completion",
    "created": 1,
    "model": "m",
    "system_fingerprint": "f",
    "choices": [
        {
            "index": 0,
            "finish_reason": "stop",
            "message": {
                "role": "assistant",
                "content": "yes",
                "refusal": None,
                "tool_calls": [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
            },
            "logprobs": {"content": [{"token": "yes", "logprob": -0.1, "top_logprobs": []}]},
        }
    ],
    "usage": {
        "prompt_tokens": 3,
        "completion_tokens": 1,
        "total_tokens": 4,
        "prompt_tokens_details": {"cached_tokens": 1},
        "completion_tokens_details": {"reasoning_tokens": 0},
    },
}
JOB: Json = {
    "id": "ftjob-1",
    "object": "fine_tuning.job",
    "created_at": 1,
    "finished_at": 2,
    "model": "gpt-4o-mini",
    "status": "running",
    "fine_tuned_model": "ft:m",
    "training_file": "file-1",
    "validation_file": None,
    "trained_tokens": 9,
    "seed": 1,
    "result_files": ["file-2"],
    "hyperparameters": {"n_epochs": 3, "batch_size": "auto"},
    "metadata": {"a": "b"},
    "error": {"code": "c", "message": "m", "param": "training_file"},
    "organization_id": "o",
    "estimated_finish": 5,
    "method": {"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 3}}},
}
FILE: Json = {
    "id": "file-1",
    "object": "file",
    "bytes": 9,
    "created_at": 1,
    "filename": "a.jsonl",
    "purpose": "fine-tune",
    "status": "processed",
}
EVENT: Json = {
    "id": "e1",
    "object": "fine_tuning.job.event",
    "created_at": 1,
    "level": "info",
    "message": "Step 1/9: training loss=0.5",
    "data": {"step": 1, "train_loss": 0.5},
    "type": "metrics",
}
CHECKPOINT: Json = {
    "id": "k",
    "object": "fine_tuning.job.checkpoint",
    "created_at": 1,
    "fine_tuning_job_id": "ftjob-1",
    "step_number": 1,
    "fine_tuned_model_checkpoint": "ft:m:k",
    "metrics": {"step": 1, "full_valid_loss": 0.5},
}


def replies(rng: Random, folder: Path) -> None:
    """Bodies of answers, of chats and of completions, read and charged."""
    from harness.models.call_scheduler import CallFailed
    from harness.models.protocol import Prompt
    from harness.models.remote_wire import ModelWire, read_reply

    completions = rng.random() < 0.2
    body = mutated(rng, REPLY)
    if completions and isinstance(body, dict):
        body = mutated(
            rng,
            {
                **body,
                "choices": [
                    {"text": "yes", "finish_reason": "stop", "logprobs": {"token_logprobs": [None, -1]}}
                ],
            },
        )
    content = written(rng, body)
    try:
        reply = read_reply(spoilt(rng, content) if rng.random() < 0.2 else content, completions=completions)
    except CallFailed as error:
        require_plain(error.reason, "the failure's reason")
        return
    prompt = Prompt("r", (Message("user", "q"),))
    answer = ModelWire(wire_model()).answer(prompt, reply, 1, 1.0)
    require_plain(answer, "an answer")
    require(answer.prompt_tokens >= 0 and answer.completion_tokens >= 0, "a count below 0")
    require(
        answer.prompt_tokens < 2**63 and answer.completion_tokens < 2**63, f"{answer.prompt_tokens} tokens"
    )


@cache
def wire_model() -> RemoteModel:
    """A model on this machine."""
    from harness.models.remote import RemoteModel

    return RemoteModel("m", base_url="http://127.0.0.1:9/v1")


def service(rng: Random, folder: Path) -> None:
    """Whatever a tuning service answers: jobs, files, events, checkpoints, errors, results."""
    import httpx2
    from openai import OpenAI

    from harness.training.hosted.metrics import parse_results
    from harness.training.hosted.openai import OpenAIProvider
    from harness.training.hosted.provider import ServiceError
    from harness.training.hosted.request import Upload

    if rng.random() < 0.25:
        results = b"step,train_loss,train_accuracy,valid_loss\n1,2.0,0.4,\n2,nan,inf,1e999\n3,-1,9,0.5\n"
        require_plain([m.step for m in parse_results(spoilt(rng, results))], "metrics")
        return
    kinds = {"job": JOB, "file": FILE, "event": EVENT, "checkpoint": CHECKPOINT}
    kind = rng.choice(list(kinds))
    one = mutated(rng, kinds[kind])
    listed: Json = {
        "object": "list",
        "data": [one, mutated(rng, kinds[kind])],
        "has_more": rng.choice((False, False, True, "x", None)),
    }

    def reply(request: httpx2.Request) -> httpx2.Response:
        body = (
            listed
            if request.method == "GET" and not re.search(r"(ftjob-1|file-1)$", request.url.path)
            else one
        )
        status = rng.choice((200, 200, 200, 200, 400, 404, 429, 500, 302, 204))
        if status >= 400:
            body = mutated(rng, {"error": {"message": "no", "type": "t", "param": "model", "code": "bad"}})
        content = written(rng, mutated(rng, body) if rng.random() < 0.2 else body)
        headers = {
            "content-type": rng.choice(
                ("application/json", "application/json", "text/html", "application/json; charset=x")
            )
        }
        if rng.random() < 0.2:
            headers["retry-after"] = rng.choice(
                ("1", "-1", "nan", "1e999", "x", "9" * 400, "Wed, 21 Oct 2026 07:28:00 GMT")
            )
        return httpx2.Response(
            status, content=spoilt(rng, content) if rng.random() < 0.1 else content, headers=headers
        )

    provider = OpenAIProvider("http://127.0.0.1:9/v1", api_key_env="HARNESS_DOORS_KEY")
    http = httpx2.Client(transport=httpx2.MockTransport(reply))
    client = OpenAI(
        api_key="planted-secret", base_url="http://127.0.0.1:9/v1", http_client=http, max_retries=0
    )
    provider.__dict__["_client"] = client
    os.environ["HARNESS_DOORS_KEY"] = "planted-secret"
    sent = Upload("a.jsonl", b"{}", ("a.jsonl:1",))
    calls: Mapping[str, Callable[[], object]] = {
        "job": lambda: rng.choice(
            (lambda: provider.get("ftjob-1"), provider.jobs, lambda: provider.cancel("ftjob-1"))
        )(),
        "file": lambda: rng.choice(
            (lambda: provider.file_state("file-1"), lambda: provider.find_file(sent))
        )(),
        "event": lambda: provider.events("ftjob-1", None),
        "checkpoint": lambda: provider.checkpoints("ftjob-1"),
    }
    try:
        found = calls[kind]()
    except ServiceError as error:
        require_plain(str(error), "the failure")
        require("planted-secret" not in str(error), "the key in a message")
        return
    finally:
        provider.close()
    from harness.cli.jobs import _line
    from harness.training.hosted.metrics import metrics_of_event

    for item in found if isinstance(found, tuple | list) else ():
        if kind == "job":
            _line(item)
        elif kind == "event":
            metrics_of_event(item)


# --------------------------------------------------------------------------- the command line
COMMANDS = """validate FILE
validate FILE --columns TEXT
validate good.jsonl --max-tokens=TEXT
validate good.jsonl --heldout FILE
validate good.jsonl --stratify=TEXT
validate good.jsonl --epochs=TEXT
validate good.jsonl --model TEXT
split FILE --heldout 5 --to o
split good.jsonl --heldout=TEXT --to o
split good.jsonl --heldout=5 --group=TEXT --to o
split good.jsonl --heldout=5 --time=TEXT
convert FILE --to c.jsonl --force
convert good.jsonl --to FILE
convert good.jsonl --format=TEXT --to x
report FILE
report r1
report --compare r1 FILE
report --compare r1 r1
label r1 --suite=TEXT
label r1 --out=TEXT
label r1 --earlier labels.jsonl
decide r1 --labels labels.jsonl
decide r1 --labels FILE
decide r1 --economics economics.toml
decide r1 --economics FILE
decide r1 --requests-per-day=TEXT
decide r1 --horizon-days=TEXT
diagnose r1
diagnose FILE
diagnose TEXT
export r1 --to=TEXT
export TEXT
judge-check FILE
judge-check TEXT
jobs TEXT
jobs --profile=TEXT --base-url=http://127.0.0.1:9
capture FILE --model=TEXT --out=TEXT --base-url=http://127.0.0.1:9
TEXT
TEXT TEXT
providers TEXT
providers TEXT --check
providers --TEXT
twin --fail=TEXT --port=-1
doctor TEXT
label TEXT
decide TEXT
report TEXT""".splitlines()


def command_line(rng: Random, folder: Path) -> None:
    """``harness`` with any command, files and options; what would ask a service or the hub is left out."""
    from harness.cli import main

    content = lines(rng, FORMS)
    good = folder / "good.jsonl"
    good.write_text(
        "".join(json.dumps({"prompt": f"what {k}?", "completion": str(k)}) + "\n" for k in range(20)), "utf-8"
    )
    odd = odd_path(rng, folder, content, "odd.jsonl")
    run = folder / "r1"
    run.mkdir(exist_ok=True)
    (run / "run.json").write_text(today(), "utf-8")
    beside = folder / f"{record().id}-decided"
    beside.mkdir(exist_ok=True)
    (beside / "run.json").write_bytes(spoilt(rng, today().encode()) if rng.random() < 0.5 else content)
    (folder / "economics.toml").write_bytes(spoilt(rng, ECONOMICS.encode()))
    (folder / "labels.jsonl").write_bytes(lines(rng, (run_label(),)))
    file = str(rng.choice((odd, odd, good, folder)))
    text = any_text(rng)
    command = rng.choice(COMMANDS).split()
    chosen = [part.replace("FILE", file).replace("TEXT", text) for part in command]
    kept = os.environ.get("HF_HUB_OFFLINE")
    os.environ["HF_HUB_OFFLINE"] = "1"
    try:
        really = rng.random() < REALLY
        status = _process(["-m", "harness.cli", *chosen], folder) if really else main(chosen)
    except SystemExit:
        raise
    except BaseException as error:
        error.add_note(f"harness {chosen!a}"[:400])
        raise
    finally:
        os.environ.pop("HF_HUB_OFFLINE") if kept is None else os.environ.__setitem__("HF_HUB_OFFLINE", kept)
        clear(folder)
    require(status in (0, 1, 2), f"status {status}")


def _process(arguments: list[str], folder: Path) -> int:
    """The status of a real command; what a shell cannot hand over is left out."""
    try:
        done = subprocess.run(
            [sys.executable, *arguments], cwd=folder, capture_output=True, timeout=50, check=False
        )
    except (ValueError, UnicodeEncodeError):
        return 2
    said = (done.stdout + done.stderr).decode("utf-8", "replace")
    if "Traceback (most recent" in said or "INTERNALERROR" in said:
        raise RuntimeError(f"{arguments!a}"[:300] + "\n" + said[-3_000:])
    return done.returncode


CONFTEST = """import harness
from harness.testing import Scripted

pytest_plugins = ["harness.plugin"]


@harness.candidate(params={"a": 9, "b": 3})
def good(request):
    return Scripted(train="train.jsonl", reply=lambda prompt, size: "3 USD", base="good")


@harness.candidate
def old():
    return Scripted(train="train.jsonl", reply=lambda prompt, size: "no")
"""
TESTS = """import pytest
from harness import Contains, ExactMatch, JsonSchema, Regex, Suite

right = ExactMatch(name="right")


@pytest.fixture(scope="module")
def suite():
    return Suite(heldout="heldout.jsonl", scores=(right, Regex("USD"), Contains()), slices=("language",))


def test_better(candidate, baseline):
    assert candidate.scores(right) > baseline.scores(right) + 0.1


@pytest.mark.parametrize("language", ["en", "de"])
def test_slice(candidate, baseline, language):
    spoken = {"language": language}
    assert candidate.scores(right).where(**spoken) >= baseline.scores(right).where(**spoken) - 0.5
"""
_LITERAL = re.compile(
    r'"[^"\n]*"|\b\d+(?:\.\d+)?\b|\b(?:good|old|candidate|baseline|suite|right|request|train|size)\b'
)


def project(rng: Random, folder: Path) -> None:
    """A conftest and a suite in which something else stands, run by pytest."""
    files = {"conftest.py": CONFTEST, "test_it.py": TESTS}
    name = rng.choice(list(files))
    places = list(_LITERAL.finditer(files[name]))
    for place in rng.sample(places, rng.choice((1, 1, 2))):
        value = repr(_plain_odd(rng)) if rng.random() < 0.7 else rng.choice(places).group()
        files[name] = files[name].replace(place.group(), value, 1)
    if rng.random() < 0.2:
        lines_of = files[name].splitlines(keepends=True)
        del lines_of[rng.randrange(len(lines_of))]
        files[name] = "".join(lines_of)
    held = "".join(json.dumps({**PAIR, "id": f"r{at}", "language": "en"}) + "\n" for at in range(25))
    for file, text in files.items():
        (folder / file).write_text(text, "utf-8", "surrogatepass")
    (folder / "heldout.jsonl").write_text(held, "utf-8")
    (folder / "train.jsonl").write_text(json.dumps({"prompt": "b", "completion": "c"}) + "\n", "utf-8")
    try:
        status = _process(
            ["-m", "pytest", "-p", "no:cacheprovider", "-q", "--candidate=*", "--baseline=old"], folder
        )
    finally:
        clear(folder)
    require(status in range(6), f"status {status}")


def _plain_odd(rng: Random) -> object:
    value = any_odd(rng)
    return value if isinstance(value, str | int | float | tuple | list | dict | bytes | None) else "odd"


CALLS: Mapping[str, Door] = MappingProxyType(
    {
        "options": Door(2_540, options),
        "environment": Door(1_000, environment),
        "rows": Door(3_000, rows),
        "tables": Door(1_500, tables),
        "labels": Door(1_500, labels),
        "recorded": Door(1_000, recorded),
        "economics": Door(2_500, economics),
        "suites": Door(2_000, suites),
        "patterns": Door(200, patterns),
        "run.json": Door(1_000, run_json),
        "store": Door(1_000, store),
        "replies": Door(1_300, replies),
        "service": Door(1_000, service),
        "command line": Door(600, command_line),
        "project": Door(60, project),
    }
)
