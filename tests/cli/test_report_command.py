"""``harness report``: pages from a record that an earlier version of the harness wrote."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.cli import main

RECORDS = Path(__file__).parents[1] / "report" / "records"


@pytest.mark.parametrize("record", sorted(RECORDS.glob("*.json")), ids=lambda record: record.stem)
def test_pages_of_an_old_run_are_written_again_and_its_record_is_left_alone(
    record: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "reports" / "old"
    run.mkdir(parents=True)
    text = record.read_text("utf-8")
    (run / "run.json").write_text(text, "utf-8")
    assert main(["report", str(run)]) == 0
    assert capsys.readouterr().out.strip() == str(run / "report.html")
    assert (run / "run.json").read_text("utf-8") == text
    assert "qlora-r16" in (run / "report.md").read_text("utf-8")
    assert "unreadable" not in (run.parent / "index.html").read_text("utf-8")


def test_a_record_of_a_later_version_is_refused_in_one_message(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "run.json").write_text('{"schema": 99}', "utf-8")
    assert main(["report", str(tmp_path)]) == 1
    said = capsys.readouterr().err
    assert "run record schema 99" in said
    assert "hint:" in said


def test_a_folder_without_a_record_is_a_usage_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["report", str(tmp_path)]) == 2
    assert "does not exist" in capsys.readouterr().err
