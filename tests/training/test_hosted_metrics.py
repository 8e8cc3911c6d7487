"""Losses and accuracies, however a service writes them; what cannot be read is left out, never a number."""

from __future__ import annotations

import base64
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.training.hosted.metrics import (
    MOST_POINTS,
    Metrics,
    best_checkpoint,
    merged,
    metrics_of_event,
    parse_results,
    training_points,
)
from harness.training.hosted.provider import JobCheckpoint, JobEvent

OPENAI_FILE = (
    "step,train_loss,train_accuracy,valid_loss,valid_mean_token_accuracy\n"
    "1,4.41,0.25,,\n2,3.1,0.5,2.9,0.4\n3,1.5,0.75,,\n"
)
EXPECTED = (
    Metrics(1, train_loss=4.41, train_accuracy=0.25),
    Metrics(2, train_loss=3.1, train_accuracy=0.5, batch_loss=2.9, batch_accuracy=0.4),
    Metrics(3, train_loss=1.5, train_accuracy=0.75),
)


@pytest.mark.parametrize(
    "content",
    [
        OPENAI_FILE.encode(),
        b"\xef\xbb\xbf" + OPENAI_FILE.encode(),
        OPENAI_FILE.replace("\n", "\r\n").encode(),
        OPENAI_FILE.replace(",", ";").encode(),
        base64.b64encode(OPENAI_FILE.encode()),
        base64.encodebytes(OPENAI_FILE.encode()),
        ("\n" + OPENAI_FILE + "\n\n").encode(),
    ],
    ids=["plain", "byte order mark", "crlf", "semicolons", "base64", "base64 in lines", "blank lines"],
)
def test_one_results_file_in_many_wrappings(content: bytes) -> None:
    assert parse_results(content) == EXPECTED


@pytest.mark.parametrize(
    ("header", "field"),
    [
        ("training_loss", "train_loss"),
        ("Train Loss", "train_loss"),
        ("full_valid_loss", "full_loss"),
        ("validation_loss", "batch_loss"),
        ("train_mean_token_accuracy", "train_accuracy"),
        ("full_valid_mean_token_accuracy", "full_accuracy"),
    ],
)
def test_columns_under_their_other_names(header: str, field: str) -> None:
    (found,) = parse_results(f"elapsed_tokens,step,{header},new_column\n99,7,0.5,x\n".encode())
    assert (found.step, getattr(found, field)) == (7, 0.5)


@pytest.mark.parametrize("cell", ["", "nan", "inf", "-", "None", "1e999", "true"])
def test_a_cell_that_is_no_number_is_left_out(cell: str) -> None:
    (found,) = parse_results(f"step,train_loss\n1,{cell}\n".encode())
    assert found.train_loss is None


def test_rows_without_a_step_and_short_rows_are_left_out() -> None:
    found = parse_results(b"step,train_loss,valid_loss\n,1.0,\n2\n3,0.5,0.6,surplus\n")
    assert [(m.step, m.train_loss) for m in found] == [(2, None), (3, 0.5)]


@given(st.one_of(st.binary(max_size=300), st.text(max_size=200).map(lambda t: f"step,loss\n{t}".encode())))
def test_no_file_makes_it_fail(content: bytes) -> None:
    for metrics in parse_results(content):
        assert metrics.train_loss is None or math.isfinite(metrics.train_loss)


def test_an_event_is_read_from_its_data_and_else_from_its_words() -> None:
    words = "Step 10/90: training loss=0.52, validation loss=0.61, full validation loss=0.57"
    said = Metrics(10, 90, train_loss=0.52, batch_loss=0.61, full_loss=0.57)
    assert metrics_of_event(JobEvent("e", words)) == said
    exact = metrics_of_event(JobEvent("e", words, data={"step": 10, "train_loss": 0.5211}))
    assert exact is not None
    assert (exact.train_loss, exact.full_loss, exact.total) == (0.5211, 0.57, 90)
    assert metrics_of_event(JobEvent("e", "Files validated")) is None


def test_a_later_telling_completes_an_earlier_one() -> None:
    assert merged([Metrics(2, train_loss=1.0), Metrics(1), Metrics(2, full_loss=0.5)]) == (
        Metrics(1),
        Metrics(2, train_loss=1.0, full_loss=0.5),
    )


def test_the_curve_runs_over_epochs_and_prefers_the_loss_over_all_development_rows() -> None:
    metrics = (Metrics(1, train_loss=2.0, batch_loss=9.0), Metrics(2, train_loss=1.0, full_loss=1.5))
    points = training_points(metrics, epochs=3)
    assert [(p.step, p.epoch, p.train_loss, p.dev_loss) for p in points] == [
        (1, 1.5, 2.0, None),
        (2, 3.0, 1.0, 1.5),
    ]


@given(st.integers(1, 1_000))
def test_a_long_job_is_kept_in_few_points_and_keeps_its_mean(steps: int) -> None:
    metrics = [Metrics(k, train_loss=float(k)) for k in range(1, steps + 1)]
    points = training_points(metrics, epochs=1)
    assert len(points) <= MOST_POINTS
    assert points[-1].step == steps
    assert points[-1].epoch == 1.0


def test_the_best_checkpoint_has_the_lowest_validation_loss_and_is_the_earlier_of_equals() -> None:
    def at(step: int, **metrics: float | None) -> JobCheckpoint:
        return JobCheckpoint(f"c{step}", step, f"m{step}", metrics)

    losses = [at(3, full_valid_loss=0.4), at(1, full_valid_loss=0.4), at(2, full_valid_loss=0.5)]
    best = best_checkpoint(losses)
    assert best is not None
    assert best.step == 1
    assert best_checkpoint([at(1, train_loss=0.1), at(2, full_valid_loss=None)]) is None


@pytest.mark.parametrize("delimiter", [";", "\t"])
def test_decimal_commas_are_read_where_no_comma_separates_the_columns(delimiter: str) -> None:
    lines = ["step;train_loss;valid_loss", "1;1,5;2", "2;0,9;1,2e-1", "3;,5;1.25"]
    content = "\n".join(lines).replace(";", delimiter).encode()
    assert [(m.train_loss, m.batch_loss) for m in parse_results(content)] == [
        (1.5, 2.0),
        (0.9, 0.12),
        (0.5, 1.25),
    ]


def test_a_quoted_comma_between_commas_may_be_either_and_is_left_out() -> None:
    (first,) = parse_results(b'step,train_loss,valid_loss\n1,"1,500",2\n')
    assert (first.train_loss, first.batch_loss) == (None, 2.0)
