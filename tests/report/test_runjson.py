from __future__ import annotations

import json
from dataclasses import replace

import pytest
from sample_run import sample_run

from harness.errors import StoreError
from harness.report.runjson import dump_run, load_run


def test_a_run_comes_back_as_it_was() -> None:
    run = sample_run()
    text = dump_run(run)
    assert load_run(text, "run.json") == run
    assert dump_run(load_run(text, "run.json")) == text


def test_the_order_of_keys_does_not_depend_on_how_the_record_was_built() -> None:
    run = sample_run(n_rows=20)
    turned = replace(run, environment=dict(list(run.environment.items())[::-1]))
    assert dump_run(turned) == dump_run(run)


def test_another_schema_version_is_refused_with_what_to_do() -> None:
    text = json.dumps({**json.loads(dump_run(sample_run(n_rows=20))), "schema": 99})
    with pytest.raises(StoreError, match=r"old/run\.json: run record schema 99(.|\n)*hint: "):
        load_run(text, "old/run.json")


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


def test_a_lone_surrogate_in_an_answer_does_not_make_the_record_unreadable() -> None:
    run = sample_run(n_rows=20)
    trial = run.trials[0]
    odd = replace(trial, answers=(replace(trial.answers[0], text="\ud800!"), *trial.answers[1:]))
    back = load_run(dump_run(replace(run, trials=(odd, *run.trials[1:]))), "run.json")
    assert back.trials[0].answers[0].text == "?!"
