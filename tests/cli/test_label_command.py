"""``harness label``: a run's folder in, a page out, and on the terminal what to do with it."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from harness.cli import main
from harness.report.labelling import Wanted, label_sheet
from harness.report.runjson import load_run

ROOT = Path(__file__).parents[2]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = tmp_path / "reports" / "a run"
    folder.mkdir(parents=True)
    shutil.copy(ROOT / "reports" / "example" / "run.json", folder)
    return folder


def test_the_page_of_the_example_stands_beside_its_record(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["label", str(run), "--labels=40", "--seed=3"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0] == str(run / "label.html")
    assert (
        "qlora-r16@400 and prompted-smollm2-135m to 40 of 200 rows of support, for the score summary"
        in said[1]
    )
    assert said[2].startswith("40 of 200 rows labelled are worth")
    assert said[-1] == f"  harness decide '{run}' --labels labels-NAME.jsonl"
    page = (run / "label.html").read_text("utf-8")
    assert "qlora-r16@400" not in page[: page.index('id="data"')]
    assert main(["label", str(run / "run.json"), "--labels=10"]) == 0  # over the page of before
    assert "A correction takes 25 rows at least." in capsys.readouterr().out


def test_whole_conversations_are_shown_where_the_heldout_file_is_there(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from harness.data.fingerprints import rows_fingerprint
    from harness.data.rows import read_rows

    record = json.loads((run / "run.json").read_text("utf-8"))
    (suite,) = (one for one in record["suites"] if one["name"] == "support")
    turns = [{"role": "user", "content": "FIRST TURN"}, {"role": "assistant", "content": "SECOND"}]
    rows = [
        {
            "id": row["id"],
            "messages": [
                *turns,
                {"role": "user", "content": row["question"]},
                {"role": "assistant", "content": row["reference"]},
            ],
        }
        for row in suite["rows"]
    ]
    monkeypatch.chdir(tmp_path)
    Path("heldout.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows), "utf-8")
    suite |= {
        "heldout": "heldout.jsonl",
        "heldout_digest": rows_fingerprint(read_rows(Path("heldout.jsonl"))),
    }
    (run / "run.json").write_text(json.dumps(record), "utf-8")
    assert main(["label", str(run)]) == 0
    assert "user: FIRST TURN\\n\\nassistant: SECOND\\n\\nuser: " in (run / "label.html").read_text("utf-8")
    Path("heldout.jsonl").write_text("changed", "utf-8")
    assert main(["label", str(run)]) == 0
    assert "FIRST TURN" not in (run / "label.html").read_text("utf-8")


def test_earlier_labels_say_how_good_the_judge_is(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record = load_run((run / "run.json").read_text("utf-8"), "run.json")
    lines = [
        json.dumps({**line, "annotator": "ada", "label": "good" if place % 3 else "bad"})
        for place, card in enumerate(label_sheet(record, Wanted(labels=30)).cards)
        for line in card.lines
    ]
    (run / "labels.jsonl").write_text("\n".join(lines), "utf-8")
    assert main(["label", str(run), "--labels=50", "--earlier", str(run / "labels.jsonl")]) == 0
    said = capsys.readouterr().out
    assert re.search(r"worth, with the judge, \d+ to \d+ labelled without it: in 30 labelled earlier", said)
    assert re.search(r"correlate at -?0\.\d\d \(-?0\.\d\d to -?0\.\d\d\)\.", said)
    (run / "labels.jsonl").write_text("{", "utf-8")
    assert main(["label", str(run), "--earlier", str(run / "labels.jsonl")]) == 1
    assert "labels.jsonl:1: not JSON" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["--score=sumary"], 2, "Did you mean 'summary'?"),
        (["--scale=5"], 2, "summary has no levels"),
        (["--scale=1"], 2, "1"),
        (["--labels=0"], 2, "0"),
        (["--seed=-1"], 2, "seed"),
        (["--pairs", "--scale=5"], 2, "not allowed"),
        (["--pairs"], 2, "scores single answers"),
        (["--out=run.json"], 2, "no page for labelling"),
        (["--out=."], 2, "no page for labelling"),
        (["--ask=\x1b[2J"], 2, "argument"),
    ],
)
def test_what_cannot_be_is_refused_and_nothing_is_written(
    run: Path,
    arguments: list[str],
    status: int,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(run)
    before = (run / "run.json").read_bytes()
    try:
        found = main(["label", ".", *arguments])
    except SystemExit as ended:  # argparse's
        found = int(str(ended.code))
    assert (found, said in capsys.readouterr().err) == (status, True)
    assert [path.name for path in run.iterdir()] == ["run.json"]
    assert (run / "run.json").read_bytes() == before


def test_a_run_that_is_not_there_is_a_usage_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["label", str(tmp_path / "none")]) == 2
    assert "does not exist" in capsys.readouterr().err
