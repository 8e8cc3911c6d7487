"""``harness init`` writes a project that is whole, says what it did, and writes over nothing."""

import json
import re
import tomllib
from itertools import pairwise
from pathlib import Path

import pytest
import yaml

from harness.cli.main import main
from harness.data.leakage import require_no_leaks
from harness.data.rows import read_rows
from harness.decision.estimates import MIN_ROWS
from harness.models.profiles import OPENAI

WORDS = [
    "one",
    "two",
    "red",
    "dog",
    "sun",
    "sea",
    "ice",
    "oak",
    "fox",
    "bee",
    "cup",
    "map",
    "pen",
    "key",
    "jar",
    "hat",
]
ROWS = Path(__file__).parents[2] / "suites" / "support" / "train.jsonl"


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("candidate", ["local", "hosted"])
@pytest.mark.parametrize("kind", ["label", "json", "text"])
def test_the_files_of_a_starter_are_whole(kind: str, candidate: str, tmp_path: Path) -> None:
    assert main(["init", "p", "--yes", "--kind", kind, "--candidate", candidate, "--task", "mail"]) == 0
    project = tmp_path / "p"
    for path in project.rglob("*.py"):
        compile(path.read_text(), str(path), "exec")
        assert max(map(len, path.read_text().splitlines())) <= 110
    steps = yaml.safe_load((project / ".github/workflows/fine-tune.yml").read_text())["jobs"]["decide"][
        "steps"
    ]
    page = (Path(__file__).parents[2] / "docs/ci.md").read_text()
    shown = yaml.safe_load(re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)[1])["jobs"]["decide"]["steps"]
    for step in (*steps, *shown):  # candidate and most money stand in pytest.ini
        if "pytest suites/" in step.get("run", ""):
            step["run"] = re.sub(r" --(candidate|max-usd)=\S+", "", step["run"])
            step.pop("env", None)
        elif "pip install" in step.get("run", ""):
            step["run"] = step["run"].replace("[twin]", "[local]")
    assert steps == shown  # which is run by its own tests
    assert tomllib.loads((project / "suites/economics.toml").read_text())["requests_per_day"]
    train, heldout = (read_rows(project / f"suites/mail/{side}.jsonl") for side in ("train", "heldout"))
    assert len(train) >= OPENAI.minimum_rows
    assert MIN_ROWS / 2 < len(heldout) < MIN_ROWS  # examples show the form, and no verdict
    require_no_leaks(train, heldout)
    assert ("harness_rehearse" in (project / "pytest.ini").read_text()) == (candidate == "hosted")


def test_the_questions(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = iter(["9", "json", "2", "tickets"])
    monkeypatch.setattr("builtins.input", lambda question: next(said))
    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    assert main(["init"]) == 0
    assert (tmp_path / "suites/tickets/reply.schema.json").is_file()
    assert "NebiusTuning" in (tmp_path / "conftest.py").read_text()
    assert "next: pytest suites/" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give --kind, --candidate, --task, or --yes"),
        (["--yes", "--heldout", "5"], "name their file with --from"),
        (["--yes", "--task", "../x"], "is no name for a task"),
        (["--yes", "--from", "rows.jsonl", "--kind", "json"], "leave it out with --from"),
    ],
)
def test_usage(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["init", *arguments]) == 2
    assert message in capsys.readouterr().err


def test_nothing_is_written_over(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "conftest.py").write_text("mine")
    (tmp_path / ".gitignore").write_text("mine")
    (tmp_path / "pyproject.toml").write_text("[tool.pytest.ini_options]\n")
    assert main(["init", "--yes"]) == 2
    said = capsys.readouterr().err
    assert "conftest.py" in said
    assert "pyproject.toml, whose settings of pytest" in said
    assert sorted(path.name for path in tmp_path.iterdir()) == [".gitignore", "conftest.py", "pyproject.toml"]
    (tmp_path / "conftest.py").unlink()
    (tmp_path / "pyproject.toml").unlink()
    assert main(["init", "--yes"]) == 0
    assert (tmp_path / ".gitignore").read_text() == "mine"
    assert ".gitignore is there, and was left" in capsys.readouterr().out


def test_from_rows_of_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["init", "p", "--from", str(ROWS), "--yes", "--task", "support", "--heldout", "120"]) == 0
    suite = tmp_path / "p/suites/support"
    train, dev, heldout = (read_rows(suite / f"{side}.jsonl") for side in ("train", "dev", "heldout"))
    assert len(train) + len(dev) + len(heldout) == 400
    assert len(heldout) == 120
    require_no_leaks(train, heldout)
    schema = json.loads((suite / "reply.schema.json").read_text())
    assert schema["properties"]["urgency"]["enum"] == ["high", "low", "normal"]
    test = (suite / "test_support.py").read_text()
    assert 'intent = FieldMatch("intent")' in test
    assert 'summary = TokenF1(field="summary")' in test
    assert "400 rows, read as chat rows" in capsys.readouterr().out


def write(path: Path, rows: list[dict[str, object]]) -> str:
    path.write_text("\n".join(map(json.dumps, rows)))
    return str(path)


def chat(text: str, reply: str, **metadata: object) -> dict[str, object]:
    turns = [{"role": "user", "content": text}, {"role": "assistant", "content": reply}]
    return {"messages": turns, **metadata}


def test_conversations_stay_together_and_the_newest_are_held_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [
        f"{a} {b} {c}"
        for a in ("red", "blue", "grey")
        for b in ("cat", "dog", "hen")
        for c in ("ate", "ran", "sat", "hid")
    ]
    rows = [
        chat(text, "yes" if k % 2 else "no", session_id=f"s{k // 2}", created_at=1_700_000_000 + 60 * k)
        for k, text in enumerate(words)
    ]
    assert main(["init", "p", "--from", write(tmp_path / "rows.jsonl", rows), "--yes"]) == 0
    suite = tmp_path / "p/suites/rows"
    train, heldout = (read_rows(suite / f"{side}.jsonl") for side in ("train", "heldout"))
    times = [[int(row.text("created_at") or 0) for row in side] for side in (train, heldout)]
    assert max(times[0]) < min(times[1])
    assert not {row.metadata["session_id"] for row in train} & {row.metadata["session_id"] for row in heldout}
    assert 'group="session_id"' in (suite / "test_rows.py").read_text()
    assert "- no\n" in (suite / "prompt.md").read_text()
    assert "the newest by 'created_at'" in capsys.readouterr().out


def test_where_no_cut_in_time_is_possible_rows_are_held_out_at_random(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [
        chat(f"{word} of {k}", "yes" if k % 2 else "no", session_id="s" if k % 4 > 1 else f"t{k}", time=k)
        for k, word in enumerate(WORDS)
    ]
    assert main(["init", "p", "--from", write(tmp_path / "rows.jsonl", rows), "--yes", "--heldout", "4"]) == 0
    assert "no cut in 'time'" in capsys.readouterr().out


def test_a_table_whose_columns_are_named(tmp_path: Path) -> None:
    lines = [f"where is the {a} {b}?,{'lost' if a < b else 'late'}" for a, b in pairwise(WORDS)]
    (tmp_path / "banking.csv").write_text("\n".join(["text,category", *lines]))
    assert (
        main(["init", "p", "--from", "banking.csv", "--columns", "user=text,assistant=category", "--yes"])
        == 0
    )
    assert "- late\n" in (tmp_path / "p/suites/banking/prompt.md").read_text()


def test_names_of_fields_cannot_leave_their_quotes(tmp_path: Path) -> None:
    names = ['a"]); import os #', "class", "düse", "line\nend", "{{ x }}", "suite"]
    replies = [{name: ["x", "y"][k % 2] for name in names} for k in range(12)]
    rows = [chat(f"{word} of {k}", json.dumps(replies[k % 12])) for k, word in enumerate(WORDS)]
    assert main(["init", "p", "--from", write(tmp_path / "rows.jsonl", rows), "--yes"]) == 0
    for path in (tmp_path / "p").rglob("*.py"):
        compile(path.read_text(), str(path), "exec")
        assert "import os" not in path.read_text().replace(json.dumps(names[0]), "")
    assert tomllib.loads((tmp_path / "p/suites/economics.toml").read_text())


def test_redacted_on_request(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [chat(f"I am number {k}: jo{k}.doe@firm.co.uk", "yes" if k % 2 else "no") for k in range(12)]
    assert main(["init", "p", "--from", write(tmp_path / "rows.jsonl", rows), "--yes", "--redact"]) == 0
    assert "12 × e-mail address; names and postal addresses are not found" in capsys.readouterr().out
    assert not any("@firm" in path.read_text() for path in (tmp_path / "p").rglob("*.jsonl"))


def test_too_few_rows(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["init", "p", "--from", write(tmp_path / "rows.jsonl", [chat("a", "b")]), "--yes"]) == 1
    assert "1 rows are too few" in capsys.readouterr().err
    assert not (tmp_path / "p").exists()
