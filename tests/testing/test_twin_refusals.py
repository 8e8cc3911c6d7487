"""The twin refuses what the service refuses: status, code, parameter, and the line at fault."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Callable

import openai
import pytest
from openai import OpenAI
from twin_client import chat_row, lines, upload, waited

from harness.testing.fake_openai import CHAT, COMPLETIONS, RETIRED

GOOD = [chat_row(k) for k in range(12)]
USER, REPLY = {"role": "user", "content": "u"}, {"role": "assistant", "content": "a"}


def with_line_7(row: object) -> bytes:
    text = row if isinstance(row, str) else json.dumps(row)
    before = lines(GOOD[:6])
    return before + text.encode() + b"\n" + lines(GOOD[6:])


BAD_ROWS = {
    "no JSON": ("{", "Example 7 is invalid. It is no JSON: Expecting"),
    "no object": ("[]", "Example 7 is invalid. Invalid '': [] is not of type 'object'."),
    "extra key": ({"messages": [USER, REPLY], "id": "7"}, "Example 7 is invalid. Unknown parameter: 'id'."),
    "no messages": ({"tools": []}, "Missing required parameter: 'messages'."),
    "empty messages": ({"messages": []}, "Invalid 'messages': []"),
    "extra key in a message": (
        {"messages": [USER, {**REPLY, "score": 1}]},
        "Unknown parameter: 'messages[1].score'.",
    ),
    "weight of a user": (
        {"messages": [{**USER, "weight": 1}, REPLY]},
        "Unknown parameter: 'messages[0].weight'.",
    ),
    "no role": (
        {"messages": [{"content": "u"}, REPLY]},
        "Missing required parameter: 'messages[0].role'.",
    ),
    "unknown role": ({"messages": [{"role": "robot", "content": "u"}, REPLY]}, "Invalid 'messages[0].role'"),
    "no content": (
        {"messages": [{"role": "user"}, REPLY]},
        "Missing required parameter: 'messages[0].content'.",
    ),
    "content of a number": (
        {"messages": [{"role": "user", "content": 3}, REPLY]},
        "3 is not of type 'string'",
    ),
    "no reply": ({"messages": [USER]}, "The last message must be from the assistant"),
    "weight 2": ({"messages": [USER, {**REPLY, "weight": 2}]}, "Invalid 'messages[1].weight'"),
    "nothing to learn": (
        {"messages": [USER, {**REPLY, "weight": 0}]},
        "no assistant message with a weight of 1",
    ),
    "special token": (
        {"messages": [USER, {"role": "assistant", "content": "<|fim_suffix|>"}]},
        "'messages[1]' contains an invalid token: <|fim_suffix|>.",
    ),
    "too long": (
        {"messages": [USER, {"role": "assistant", "content": "word " * 9000}]},
        "9003 tokens, more than the 8192",
    ),
}


@pytest.mark.parametrize("case", BAD_ROWS)
def test_a_job_fails_with_the_row_that_cannot_be_trained_on(client: OpenAI, case: str) -> None:
    row, message = BAD_ROWS[case]
    file = upload(client, with_line_7(row))
    job = client.fine_tuning.jobs.create(model=CHAT, training_file=file.id)
    assert job.status == "validating_files"
    failed = waited(client, job.id)
    assert failed.status == "failed"
    assert failed.error is not None
    assert (failed.error.code, failed.error.param) == ("invalid_training_file", "training_file")
    assert failed.error.message.startswith("The job failed due to an invalid training file. ")
    assert "Example 7 is invalid." in failed.error.message
    assert message in failed.error.message


def test_a_bad_validation_file_is_named_as_such(client: OpenAI) -> None:
    training, validation = upload(client, lines(GOOD)), upload(client, b'{"messages": 3}\n')
    job = client.fine_tuning.jobs.create(model=CHAT, training_file=training.id, validation_file=validation.id)
    error = waited(client, job.id).error
    assert error is not None
    assert (error.code, error.param) == ("invalid_validation_file", "validation_file")


def test_fewer_than_ten_rows_are_refused(client: OpenAI) -> None:
    job = client.fine_tuning.jobs.create(model=CHAT, training_file=upload(client, lines(GOOD[:9])).id)
    error = waited(client, job.id).error
    assert error is not None
    assert (error.code, error.param) == ("invalid_n_examples", "training_file")
    assert error.message == "Training file has 9 example(s), but must have at least 10 examples"


@pytest.mark.parametrize(
    ("model", "row"), [(COMPLETIONS, GOOD[0]), (CHAT, {"prompt": "p", "completion": "c"})]
)
def test_the_format_has_to_be_the_models(client: OpenAI, model: str, row: dict[str, object]) -> None:
    job = client.fine_tuning.jobs.create(model=model, training_file=upload(client, lines([row] * 10)).id)
    error = waited(client, job.id).error
    assert error is not None
    assert error.code == "invalid_training_file"
    assert "Example 1 is invalid." in error.message


Call = Callable[[OpenAI], object]
MESSAGES: list[dict[str, str]] = [{"role": "user", "content": "hello"}]


def chat(**more: object) -> Call:
    given = {"model": CHAT, "messages": MESSAGES, **more}
    return lambda client: client.chat.completions.create(**given)  # type: ignore[call-overload]


def job(**more: object) -> Call:
    def create(client: OpenAI) -> object:
        file = upload(client, lines(GOOD))
        given = {"model": CHAT, "training_file": file.id, **more}
        return client.fine_tuning.jobs.create(**given)  # type: ignore[arg-type]

    return create


def hyperparameters(**given: object) -> Call:
    return job(method={"type": "supervised", "supervised": {"hyperparameters": given}})


REFUSED: dict[str, tuple[Call, int, str | None, str | None]] = {
    "unknown parameter": (chat(extra_body={"beam": 2}), 400, "unknown_parameter", "beam"),
    "no messages": (chat(messages=[]), 400, "invalid_value", "messages"),
    "unknown role": (
        chat(messages=[{"role": "robot", "content": "x"}]),
        400,
        "invalid_value",
        "messages[0].role",
    ),
    "temperature as text": (chat(temperature="hot"), 400, "invalid_value", "temperature"),
    "temperature 3": (chat(temperature=3), 400, "invalid_value", "temperature"),
    "max_tokens 0": (chat(max_tokens=0), 400, "invalid_value", "max_tokens"),
    "max_tokens beyond the model": (chat(max_tokens=5000), 400, "invalid_value", "max_tokens"),
    "a stop": (chat(stop=["a"]), 400, "unsupported_value", "stop"),
    "alternatives": (chat(logprobs=True, top_logprobs=2), 400, "unsupported_value", "top_logprobs"),
    "any object": (
        chat(response_format={"type": "json_object"}),
        400,
        "unsupported_value",
        "response_format.type",
    ),
    "two choices": (chat(n=2), 400, "unsupported_value", "n"),
    "beyond the context": (
        chat(messages=[{"role": "user", "content": "w " * 9000}]),
        400,
        "context_length_exceeded",
        "messages",
    ),
    "open schema": (
        chat(
            response_format={
                "type": "json_schema",
                "json_schema": {"name": "s", "strict": True, "schema": {"type": "object", "properties": {}}},
            }
        ),
        400,
        "invalid_json_schema",
        "response_format",
    ),
    "no schema": (
        chat(
            response_format={"type": "json_schema", "json_schema": {"name": "s", "schema": {"type": "text"}}}
        ),
        400,
        "invalid_json_schema",
        "response_format",
    ),
    "unknown model": (chat(model="gpt-9"), 404, "model_not_found", "model"),
    "retired model": (chat(model=RETIRED), 404, "model_not_found", "model"),
    "completion model in a chat": (chat(model=COMPLETIONS), 404, None, "model"),
    "chat model in a completion": (
        lambda client: client.completions.create(model=CHAT, prompt="x"),
        404,
        None,
        "model",
    ),
    "unknown parameter of a job": (job(extra_body={"epochs": 3}), 400, "unknown_parameter", "epochs"),
    "unknown hyperparameter": (
        hyperparameters(epochs=3),
        400,
        "unknown_parameter",
        "method.supervised.hyperparameters.epochs",
    ),
    "0 epochs": (
        hyperparameters(n_epochs=0),
        400,
        "invalid_value",
        "method.supervised.hyperparameters.n_epochs",
    ),
    "batch of 1000": (
        hyperparameters(batch_size=1000),
        400,
        "invalid_value",
        "method.supervised.hyperparameters.batch_size",
    ),
    "preference tuning": (job(method={"type": "dpo"}), 400, "unsupported_value", "method.type"),
    "long suffix": (job(suffix="s" * 65), 400, "invalid_value", "suffix"),
    "much metadata": (
        job(metadata={str(k): "v" for k in range(17)}),
        400,
        "invalid_value",
        "metadata",
    ),
    "long metadata": (job(metadata={"k": "v" * 513}), 400, "invalid_value", "metadata.k"),
    "wandb without a project": (
        job(integrations=[{"type": "wandb", "wandb": {}}]),
        400,
        "missing_required_parameter",
        "integrations[0].wandb.project",
    ),
    "missing training file": (job(training_file="file-none"), 400, None, "training_file"),
    "unknown job": (
        lambda client: client.fine_tuning.jobs.retrieve("ftjob-none"),
        404,
        None,
        "id",
    ),
    "unknown file": (lambda client: client.files.retrieve("file-none"), 404, None, "id"),
    "not JSON Lines": (lambda client: upload(client, b"x", name="t.csv"), 400, None, "file"),
    "empty file": (lambda client: upload(client, b""), 400, "empty_file", "file"),
    "unknown purpose": (lambda client: upload(client, b"x", purpose="fun"), 400, None, None),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_wrong_request_is_refused_with_the_services_code(client: OpenAI, case: str) -> None:
    call, status, code, param = REFUSED[case]
    with pytest.raises(openai.APIStatusError) as caught:
        call(client)
    error = caught.value
    assert (error.status_code, error.code, error.param) == (status, code, param), error.message
    assert error.type == "invalid_request_error"


def test_a_file_of_another_purpose_trains_nothing(client: OpenAI) -> None:
    file = upload(client, lines(GOOD), purpose="batch")
    with pytest.raises(openai.BadRequestError) as caught:
        client.fine_tuning.jobs.create(model=CHAT, training_file=file.id)
    assert caught.value.param == "training_file"


def test_a_wrong_key_is_refused_and_not_repeated_whole(base_url: str) -> None:
    with (
        OpenAI(base_url=base_url, api_key="sk-a-wrong-key-1234", max_retries=0) as client,
        pytest.raises(openai.AuthenticationError) as caught,
    ):
        client.models.list()
    assert caught.value.code == "invalid_api_key"
    assert "sk-a-wrong-key-1234" not in str(caught.value)


@pytest.mark.parametrize(
    ("path", "body", "key", "status"),
    [
        ("chat/completions", b"{", "right-key-of-tests", 400),
        ("chat/completions", b"[1]", "right-key-of-tests", 400),
        ("files", b"no multipart", "right-key-of-tests", 400),
        ("nothing/here", b"{}", "right-key-of-tests", 404),
        ("models", b"{}", "right-key-of-tests", 404),
        ("chat/completions", b"{}", "", 401),
    ],
)
def test_malformed_requests_get_an_error_body_too(
    base_url: str, path: str, body: bytes, key: str, status: int
) -> None:
    headers = {"content-type": "application/json"} | ({"authorization": f"Bearer {key}"} if key else {})
    request = urllib.request.Request(f"{base_url}/{path}", body, headers, method="POST")
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(request, timeout=10)
    with caught.value as answer:
        error = json.load(answer)["error"]
    assert answer.status == status
    assert set(error) == {"message", "type", "param", "code"}


def test_a_deleted_file_is_gone(client: OpenAI) -> None:
    file = upload(client, lines(GOOD))
    assert client.files.content(file.id).content == lines(GOOD)
    assert file.id in {found.id for found in client.files.list(purpose="fine-tune")}
    assert client.files.delete(file.id).deleted
    with pytest.raises(openai.NotFoundError):
        client.files.content(file.id)
