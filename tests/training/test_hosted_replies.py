"""What services answer with: fields missing, fields of their own, pages in any order, or no JSON at all."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from openai import BaseModel
from openai.types.fine_tuning import FineTuningJob, FineTuningJobEvent

from harness.errors import HostedTrainingError
from harness.training.hosted.replies import MOST_PAGES, Garbled, Page, Reader, retry_after_s, said_no
from harness.training.hosted.requests import JobFailure

READ = Reader(lambda text: text.replace("secret", "[key]"))


class Pages:
    """Listed pages; the last is followed by itself where the service cannot page."""

    def __init__(self, *pages: Sequence[BaseModel], endless: bool = False) -> None:
        self.data: Sequence[object] = pages[0]
        self._rest, self._endless = pages[1:], endless

    def has_next_page(self) -> bool:
        return bool(self._rest) or self._endless

    def get_next_page(self) -> Page:
        return Pages(*self._rest) if self._rest else self


def event(number: int) -> FineTuningJobEvent:
    return FineTuningJobEvent.construct(id=f"e{number}", created_at=number, message=f"Step {number}/9: x")


def test_a_listing_that_is_too_long_is_an_error_and_not_a_missing_job() -> None:
    pages = [[event(number)] for number in range(MOST_PAGES + 1)]
    assert len(READ.all(Pages(*pages[:-1]), lambda item: item)) == MOST_PAGES
    with pytest.raises(HostedTrainingError, match="more than 100 pages"):
        READ.all(Pages(*pages), lambda item: item)
    assert len(READ.events(Pages(*pages), None)) == MOST_PAGES  # these are a comfort only


def test_a_job_with_hardly_any_field_is_read() -> None:
    job = READ.job(FineTuningJob.construct(id="j", status="running", model="m"))
    assert (job.id, job.status, job.seed, job.failure, dict(job.hyperparameters)) == (
        "j",
        "running",
        None,
        None,
        {},
    )


def test_settings_are_read_wherever_a_service_says_them() -> None:
    nested = {"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 3, "batch_size": "auto"}}}
    job = READ.job(FineTuningJob.construct(id="j", method=nested, hyperparameters={"n_epochs": None}))
    assert dict(job.hyperparameters) == {"n_epochs": 3}


@pytest.mark.parametrize(
    ("error", "failure"),
    [
        ({"code": "bad", "message": "a secret", "param": None}, JobFailure("bad", "a [key]", None)),
        ({"code": "", "message": "", "param": None}, None),
        ("went wrong", JobFailure(None, "went wrong", None)),
        (None, None),
    ],
)
def test_an_error_is_read_in_any_form_and_an_empty_one_is_none(
    error: object, failure: JobFailure | None
) -> None:
    assert READ.job(FineTuningJob.construct(id="j", error=error)).failure == failure


def test_events_are_put_in_order_whichever_way_they_are_listed() -> None:
    newest_first = Pages([event(4), event(3)], [event(2), event(1)])
    assert [e.id for e in READ.events(newest_first, None)] == ["e1", "e2", "e3", "e4"]
    assert [e.id for e in READ.events(Pages([event(1), event(2)]), None)] == ["e1", "e2"]
    assert [e.id for e in READ.events(Pages([event(4), event(3)], [event(2)]), "e3")] == ["e4"]


def test_a_service_that_gives_one_page_for_ever_is_believed_once() -> None:
    assert len(READ.all(Pages([event(1), event(2)], endless=True), lambda item: item)) == 2


@pytest.mark.parametrize("item", ["<html>", None, 3, []])
def test_what_is_no_object_is_garbled(item: object) -> None:
    with pytest.raises(Garbled):
        READ.job(item)


def test_an_object_without_an_id_is_garbled() -> None:
    with pytest.raises(Garbled, match="no id"):
        READ.job(FineTuningJob.construct(status="running"))


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"code": "c", "message": "m", "param": "p"}, ("c", "m", "p")),
        ({"error": {"code": 7, "message": "m"}}, ("7", "m", None)),
        ({"detail": [{"loc": ["body"]}]}, (None, "[{'loc': ['body']}]", None)),
        ("<html>", (None, None, None)),
        (None, (None, None, None)),
    ],
)
def test_refusals_are_read_in_their_several_forms(body: object, said: tuple[str | None, ...]) -> None:
    assert said_no(body) == said


@pytest.mark.parametrize(
    ("headers", "wait_s"),
    [
        ({"retry-after": "3"}, 3.0),
        ({"retry-after-ms": "250", "retry-after": "9"}, 0.25),
        ({"retry-after": "Fri, 31 Dec 1999 23:59:59 GMT"}, None),
        ({}, None),
    ],
)
def test_the_wait_that_a_service_asks_for(headers: dict[str, str], wait_s: float | None) -> None:
    assert retry_after_s(headers) == wait_s
