from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from pydantic import TypeAdapter
from sample_run import sample_run

from harness.atomic import write_atomically
from harness.errors import StoreError
from harness.records import SCHEMA_VERSION, RunRecord
from harness.report import runjson
from harness.report.html import render_html, write_index
from harness.report.markdown import render_markdown
from harness.report.runjson import (
    OLDEST,
    JudgedHead,
    RunHead,
    dump_run,
    dumped,
    load_as,
    load_file,
    load_head,
    load_run,
)

RECORDS = Path(__file__).parent / "records"
OLD = range(OLDEST, SCHEMA_VERSION)


def test_a_run_comes_back_as_it_was() -> None:
    run = sample_run()
    text = dump_run(run)
    assert load_run(text, "run.json") == run
    assert dump_run(load_run(text, "run.json")) == text


@pytest.mark.parametrize("at_once", [7, 10_000])
def test_a_file_comes_back_as_it_was_however_its_pieces_are_cut(
    at_once: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runjson, "AT_ONCE", at_once)
    run, file = sample_run(n_rows=20), tmp_path / "run.json"
    write_atomically(file, dumped(run))
    text = file.read_text("utf-8")
    assert runjson._read_lines(file, RunRecord) == run == load_run(text, "run.json") == load_file(file)
    for shape in (RunHead, JudgedHead):
        assert load_head(file, shape) == load_as(TypeAdapter(shape), text, "run.json")
    assert json.loads(text) == TypeAdapter(RunRecord).dump_python(run, mode="json")


@pytest.mark.parametrize("version", [*OLD, SCHEMA_VERSION])
def test_a_file_that_somebody_laid_out_otherwise_is_read_as_well(version: int, tmp_path: Path) -> None:
    known = dump_run(sample_run(n_rows=20)) if version == SCHEMA_VERSION else ""
    text = known or (RECORDS / f"schema-{version}.json").read_text("utf-8")
    file = tmp_path / "run.json"
    for laid_out in (text, json.dumps(json.loads(text), indent=1), json.dumps(json.loads(text))):
        file.write_text(laid_out, "utf-8")
        assert load_file(file) == load_run(text, "run.json")
        assert load_head(file, JudgedHead).id == json.loads(text)["id"]


def test_a_file_that_was_cut_or_edited_is_refused_by_its_name(tmp_path: Path) -> None:
    text, file = dump_run(sample_run(n_rows=20)), tmp_path / "run.json"
    for wrong in (text[: len(text) // 2], text.replace('"seconds":', '"seconds":"soon","other":', 1)):
        file.write_text(wrong, "utf-8")
        with pytest.raises(StoreError, match=re.escape(str(file))):
            load_file(file)


def test_the_order_of_keys_does_not_depend_on_how_the_record_was_built() -> None:
    run = sample_run(n_rows=20)
    turned = replace(run, environment=dict(list(run.environment.items())[::-1]))
    assert dump_run(turned) == dump_run(run)


def test_another_schema_version_is_refused_with_what_to_do() -> None:
    text = json.dumps({**json.loads(dump_run(sample_run(n_rows=20))), "schema": 99})
    with pytest.raises(StoreError, match=r"old/run\.json: run record schema 99(.|\n)*hint: "):
        load_run(text, "old/run.json")


def test_a_record_whose_parts_do_not_fit_each_other_is_refused() -> None:
    run = sample_run(n_rows=20)
    first = run.trials[0]
    for changed, said in (
        (
            replace(first, scores={name: of[1:] for name, of in first.scores.items()}),
            "20 answers have 19 scores",
        ),
        (replace(first, answers=(*first.answers[1:], first.answers[1]), scores={}), "one each"),
        (replace(first, suite="other"), "suite 'other', which is not there"),
    ):
        text = dump_run(replace(run, trials=(changed, *run.trials[1:])))
        with pytest.raises(StoreError, match=said):
            load_run(text, "run.json")


@pytest.mark.parametrize("version", OLD)
def test_a_record_of_an_earlier_version_is_read_and_shown(version: int) -> None:
    text = (RECORDS / f"schema-{version}.json").read_text("utf-8")
    assert json.loads(text)["schema"] == version
    run = load_run(text, "run.json")
    assert run.schema == SCHEMA_VERSION
    assert {gate.seeds for gate in run.gates} == {(0,)}
    assert {candidate.kind: candidate.cost_rank for candidate in run.candidates} == {
        "prompted": 0,
        "qlora": 4,
    }
    assert all(trial.numeric_config for trial in run.trials)
    assert all(trial.training.numeric_config for trial in run.trials if trial.training)
    assert load_run(dump_run(run), "run.json") == run
    page, summary = render_html(run), render_markdown(run)
    for reason in run.decisions[0].reasons:
        assert reason.split(":")[0] in summary
    assert run.id in page


@pytest.mark.parametrize("version", OLD)
def test_the_index_lists_runs_of_earlier_versions(version: int, tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    text = (RECORDS / f"schema-{version}.json").read_text("utf-8")
    (tmp_path / "old" / "run.json").write_text(text, "utf-8")
    page = write_index(tmp_path).read_text("utf-8")
    assert "unreadable" not in page
    assert json.loads(text)["id"] in page


@pytest.mark.parametrize("version", OLD)
@pytest.mark.parametrize("missing", ["gates", "candidates", "trials"])
def test_a_record_that_cannot_be_migrated_is_refused_with_what_to_do(version: int, missing: str) -> None:
    plain = json.loads((RECORDS / f"schema-{version}.json").read_text("utf-8"))
    for value in (None, "text", [1]):
        with pytest.raises(StoreError, match=r"old/run\.json(.|\n)*hint: "):
            load_run(json.dumps({**plain, missing: value}), "old/run.json")
    del plain[missing]
    with pytest.raises(StoreError, match=r"old/run\.json(.|\n)*hint: "):
        load_run(json.dumps(plain), "old/run.json")


@pytest.mark.parametrize("text", ["", "{", "[1]", '"text"', "{}"])
def test_what_is_no_run_record_is_named_with_its_file(text: str) -> None:
    with pytest.raises(StoreError, match=r"^some/run\.json: "):
        load_run(text, "some/run.json")


def test_a_field_of_the_wrong_shape_is_named() -> None:
    plain = json.loads(dump_run(sample_run(n_rows=20)))
    plain["trials"][0]["seconds"] = "soon"
    with pytest.raises(StoreError, match=r"trials\.0\.seconds"):
        load_run(json.dumps(plain), "run.json")


def test_a_loss_that_is_not_a_number_is_written_as_null() -> None:
    run = sample_run(n_rows=20)
    trained = next(trial for trial in run.trials if trial.training)
    assert trained.training
    point = replace(trained.training.points[0], train_loss=float("nan"))
    diverged = replace(trained, training=replace(trained.training, points=(point,)))
    text = dump_run(replace(run, trials=(diverged,)))
    assert "NaN" not in text
    back = load_run(text, "run.json").trials[0].training
    assert back
    assert back.points[0].train_loss is None


def test_a_number_that_has_to_be_there_is_not_lost_silently() -> None:
    with pytest.raises(StoreError, match="not finite"):
        dump_run(replace(sample_run(n_rows=20), alpha=float("inf")))


def test_a_lone_surrogate_in_an_answer_or_a_key_does_not_make_the_record_unreadable() -> None:
    run = sample_run(n_rows=20)
    trial = run.trials[0]
    odd = replace(trial, answers=(replace(trial.answers[0], text="\ud800!"), *trial.answers[1:]))
    timings = {"\udfff": 1.0}
    back = load_run(dump_run(replace(run, trials=(odd, *run.trials[1:]), timings_s=timings)), "run.json")
    assert back.trials[0].answers[0].text == "?!"
    assert back.timings_s == {"?": 1.0}
