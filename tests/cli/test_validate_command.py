"""``harness validate`` as its users meet it: one bad file a finding, fuzzed lines, JSON, exit status."""

from __future__ import annotations

import json
import random
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.cli import main
from harness.cli.validate import ValidateOptions, examine_file
from harness.data.findings import CODES, Finding
from harness.data.rows import scan_lines
from harness.records import Row

ROOT = Path(__file__).parents[2]
BAD = ROOT / "tests" / "data" / "bad"
FILES = sorted(file for file in BAD.glob("*.jsonl") if ".heldout" not in file.name)
MODELS = {"over-context": "gpt-3.5-turbo", "wrong-format": "babbage-002"}
SUPPORT = ROOT / "suites" / "support"
REAL = [line for line in (SUPPORT / "train.jsonl").read_bytes().split(b"\n") if line]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_each_bad_file_has_its_one_finding_and_no_other(file: Path) -> None:
    heldout = file.with_suffix(".heldout.jsonl")
    code = file.stem.removesuffix("-utf16")
    asked = ValidateOptions(
        str(file),
        model=MODELS.get(code),
        heldout=(str(heldout),) if heldout.exists() else (),
    )
    report = examine_file(asked)
    assert set(report.validation.counts) == {code}
    lines = file.read_bytes().count(b"\n")
    assert all(1 <= finding.line <= lines for finding in report.validation.findings)
    assert all(finding.problem and finding.hint for finding in report.validation.findings)


def test_every_code_has_a_bad_file() -> None:
    assert {file.stem.removesuffix("-utf16") for file in FILES} == set(CODES)


def test_every_code_is_explained_in_the_documentation() -> None:
    text = (ROOT / "docs" / "data.md").read_text(encoding="utf-8")
    assert [code for code in CODES if f"`{code}`" not in text] == []


@pytest.mark.parametrize(
    ("train", "heldout"),
    [("support/train.jsonl", "support/heldout.jsonl"), ("retention/replay.jsonl", "retention/heldout.jsonl")],
)
def test_the_worked_example_is_clean(train: str, heldout: str, capsys: pytest.CaptureFixture[str]) -> None:
    suites = ROOT / "suites"
    status = main(["validate", str(suites / train), "--heldout", str(suites / heldout), "--json"])
    said = json.loads(capsys.readouterr().out)
    assert (status, said["counts"], said["usable"]) == (0, {}, True)
    assert said["rows"] == said["usable_rows"] == said["tokens"]["n"]


def test_the_exit_status_is_that_of_a_gate(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["validate", str(BAD / "few-rows.jsonl")]) == 0, "a warning does not stop a pipeline"
    assert main(["validate", str(BAD / "no-user.jsonl")]) == 1
    assert main(["validate", str(BAD / "none.jsonl")]) == 1
    assert main(["validate", str(BAD / "no-user.jsonl"), "--columns", "user=a,assistant=b"]) == 2
    assert "Traceback" not in capsys.readouterr().err


def test_a_person_sees_lines_findings_hints_and_tokens(capsys: pytest.CaptureFixture[str]) -> None:
    main(["validate", str(BAD / "bad-weight.jsonl"), "--model", "gpt-4o-mini"])
    said = capsys.readouterr().out
    assert "56 rows, 55 usable; 1 error" in said
    assert re.search(r"^ *21 +bad-weight +message 3 has weight 0\.5", said, re.M)
    assert "→ use 0 (not learned) or 1" in said
    assert "Tokens a row (n=55, o200k_base)" in said
    assert re.search(r"Training gpt-4o-mini: about 0\.\d\d US dollars", said)
    assert "price table without a date" in " ".join(said.split())
    assert all(len(line) <= 100 for line in said.splitlines())


def test_the_diversity_is_told_with_the_lint_and_only_then(capsys: pytest.CaptureFixture[str]) -> None:
    main(["validate", str(SUPPORT / "train.jsonl"), "--json"])
    assert json.loads(capsys.readouterr().out)["diversity_distinct_3"] > 0.9
    main(["validate", str(BAD / "low-diversity.jsonl")])
    shown = re.search(r"Diversity .*: (0\.\d\d)", capsys.readouterr().out)
    assert shown
    assert float(shown[1]) < 0.7
    main(["validate", str(SUPPORT / "train.jsonl"), "--no-lint"])
    assert "Diversity" not in capsys.readouterr().out


def test_a_field_that_no_row_has_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["validate", str(SUPPORT / "train.jsonl"), "--stratify", "intents"]) == 2
    assert "Did you mean 'intent'?" in capsys.readouterr().err


def test_markup_in_a_file_is_shown_as_it_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bad = {"messages": [{"role": "[bold red]x[/]", "content": "a"}]}
    file = tmp_path / "[red]rows.jsonl"
    file.write_bytes(b"\n".join([*REAL[:60], json.dumps(bad).encode()]))
    main(["validate", str(file), "--no-lint"])
    said = capsys.readouterr().out
    assert "unknown role '[bold red]x[/]'" in " ".join(said.split())
    assert "[red]rows.jsonl" in said


def test_the_price_is_tokens_times_epochs_times_the_dated_price() -> None:
    report = examine_file(
        ValidateOptions(str(SUPPORT / "train.jsonl"), model="gpt-4o-mini", epochs=2, lint=False)
    )
    assert report.price is not None
    assert report.validation.tokens is not None
    assert report.price.usd == pytest.approx(report.validation.tokens.total * 2 * 3.0 / 1e6)


def test_a_model_without_a_price_is_said_and_no_zero() -> None:
    report = examine_file(ValidateOptions(str(SUPPORT / "train.jsonl"), model="gpt-9-nano", lint=False))
    assert report.price is None
    assert any("gpt-9-nano" in note and "economics.toml" in note for note in report.notes)


# ----------------------------------------------------------------------------------------- fuzzing
def mutated(line: bytes, random_: random.Random) -> bytes:
    """A real row with one to four of its bytes cut, doubled, swapped or replaced."""
    data = bytearray(line)
    for _ in range(random_.randint(1, 4)):
        place = random_.randrange(len(data))
        end = min(len(data), place + random_.choice((1, 1, 1, 8, 60)))
        choice = random_.randrange(5)
        if choice == 0:
            del data[place:end]
        elif choice == 1:
            data[place:place] = data[place:end]
        elif choice == 2:
            data[place:end] = bytes(reversed(data[place:end]))
        elif choice == 3:
            data[place] = random_.randrange(256)
        else:
            data[place:end] = random_.choice(
                (b"null", b"[]", b"{}", b"\\ud800", b"1e999", b'"', b"\x00", b"")
            )
        if not data:
            data = bytearray(line)
    return bytes(data).replace(b"\n", b" ")


def test_twenty_thousand_damaged_lines_give_rows_or_findings_with_their_lines() -> None:
    """No traceback, no finding without its line, and no undamaged row refused."""
    random_ = random.Random(20_000)
    lines: list[bytes] = []
    whole: set[int] = set()
    for number in range(1, 20_001):
        line = random_.choice(REAL)
        if random_.random() < 0.1:
            whole.add(number)
            line = re.sub(rb'"id": "[^"]*", ', b"", line, count=1)  # ids would repeat
        else:
            line = mutated(line, random_)
        lines.append(line + b"\n")
    seen: set[int] = set()
    accepted: set[int] = set()
    for item in scan_lines(lines, "fuzzed.jsonl"):
        number = item.line if isinstance(item, Finding) else int(item.where.rpartition(":")[2])
        assert number not in seen, "one outcome a line"
        seen.add(number)
        if isinstance(item, Row):
            accepted.add(number)
        else:
            assert item.code in CODES
            assert item.problem
            assert item.hint
    assert seen >= {number for number, line in enumerate(lines, start=1) if line.strip()}
    assert whole <= accepted


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(("role", "content", "weight", "tool_calls", "id", "function", "name", "x")),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)
ROWS = st.dictionaries(
    st.sampled_from(("messages", "tools", "functions", "prompt", "completion", "id", "parallel_tool_calls")),
    JSON,
    max_size=4,
)


@settings(max_examples=150, deadline=None)
@given(values=st.lists(ROWS | JSON, min_size=1, max_size=4))
def test_any_json_gives_one_outcome_a_line(values: list[object]) -> None:
    lines = [json.dumps(value).encode() + b"\n" for value in values]
    outcomes = [
        item
        for item in scan_lines(lines, "f")
        if not (isinstance(item, Finding) and item.code == "deprecated-functions")
    ]
    assert len(outcomes) == len(values)


@settings(max_examples=100, deadline=None)
@given(data=st.binary(max_size=300))
def test_any_bytes_are_findings_or_rows(data: bytes) -> None:
    for item in scan_lines(data.split(b"\n"), "f"):
        assert isinstance(item, Row) or item.line >= 1
