"""What services answer with: fields missing, fields of their own, pages in any order, or no JSON at all."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from httpx2 import Request, Response
from openai import APIStatusError, BaseModel
from openai.types.fine_tuning import FineTuningJob, FineTuningJobEvent

from harness.errors import HostedTrainingError
from harness.training.hosted.openai import OpenAIProvider
from harness.training.hosted.openai_objects import (
    MOST_PAGES,
    Page,
    error_fields,
    items,
    read_events,
    read_job,
)
from harness.training.hosted.provider import (
    JobFailure,
    OutcomeUnknown,
    RateLimited,
    RequestRejected,
    ServiceError,
)


def clean(text: str) -> str:
    return text.replace("secret", "[key]")


PROVIDER = OpenAIProvider("http://127.0.0.1:1/v1", api_key_env="PLANTED")


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLANTED", "secret")


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
    assert len(list(items(Pages(*pages[:-1])))) == MOST_PAGES
    with pytest.raises(HostedTrainingError, match="more than 100 pages"):
        list(items(Pages(*pages)))
    assert len(read_events(Pages(*pages), None, clean)) == MOST_PAGES  # these are a comfort only


def test_a_job_with_hardly_any_field_is_read() -> None:
    job = read_job(FineTuningJob.construct(id="j", status="running", model="m"), clean)
    assert (job.id, job.status, job.seed, job.failure, dict(job.hyperparameters)) == (
        "j",
        "running",
        None,
        None,
        {},
    )


def test_settings_are_read_wherever_a_service_says_them() -> None:
    nested = {"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 3, "batch_size": "auto"}}}
    job = read_job(FineTuningJob.construct(id="j", method=nested, hyperparameters={"n_epochs": None}), clean)
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
    assert read_job(FineTuningJob.construct(id="j", error=error), clean).failure == failure


def test_events_are_put_in_order_whichever_way_they_are_listed() -> None:
    newest_first = Pages([event(4), event(3)], [event(2), event(1)])
    assert [e.id for e in read_events(newest_first, None, clean)] == ["e1", "e2", "e3", "e4"]
    assert [e.id for e in read_events(Pages([event(1), event(2)]), None, clean)] == ["e1", "e2"]
    assert [e.id for e in read_events(Pages([event(4), event(3)], [event(2)]), "e3", clean)] == ["e4"]
    later = read_events(Pages([event(1), event(2)], [event(3)]), "e2", clean)
    assert [e.id for e in later if e.id != "e1"] == ["e3"]


def test_a_service_that_gives_one_page_for_ever_is_believed_once() -> None:
    assert len(list(items(Pages([event(1), event(2)], endless=True)))) == 2


@pytest.mark.parametrize("item", ["<html>", None, 3, []])
def test_what_is_no_object_is_malformed(item: object) -> None:
    with pytest.raises(OutcomeUnknown):
        read_job(item, clean)


def test_an_object_without_an_id_is_malformed() -> None:
    with pytest.raises(OutcomeUnknown, match="no id"):
        read_job(FineTuningJob.construct(status="running"), clean)


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
    assert error_fields(body) == said


@pytest.mark.parametrize(
    ("status", "code", "headers", "becomes"),
    [
        (429, "rate_limit_exceeded", {"retry-after": "7"}, RateLimited),
        (429, "insufficient_quota", {}, RequestRejected),
        (429, "billing_hard_limit_reached", {}, RequestRejected),
        (400, "bad", {}, RequestRejected),
        (409, None, {}, OutcomeUnknown),
        (500, None, {"x-should-retry": "false"}, OutcomeUnknown),  # a job may have begun, whatever it says
        (503, None, {"retry-after": "7"}, OutcomeUnknown),
    ],
)
def test_an_http_error_says_whether_anything_was_done(
    status: int, code: str | None, headers: dict[str, str], becomes: type[ServiceError]
) -> None:
    response = Response(status, headers=headers, request=Request("POST", "http://127.0.0.1:1/v1"))
    error = APIStatusError("a secret", response=response, body={"code": code, "message": "a secret"})
    with pytest.raises(becomes) as caught, PROVIDER._calling():
        raise error
    assert str(caught.value) == "a [key]"
    assert caught.value.__suppress_context__
    if "retry-after" in headers:
        assert getattr(caught.value, "retry_after_s", None) == 7.0
