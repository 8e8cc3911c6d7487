"""Together behind its official SDK (``together`` 3.1): jobs, their price beforehand, and their adapters.

Requests are made of the SDK's own models. Answers are read as plain JSON: a word or a field that the SDK does
not know yet is no error. Jobs carry no metadata, and two jobs on the same rows share one file there, so a job
is known by the end of its suffix alone.
"""

from __future__ import annotations

import csv
import io
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from harness.data.fingerprints import bytes_digest
from harness.extras import require_extra
from harness.models.endpoint import Endpoint
from harness.models.profiles import TOGETHER
from harness.models.remote import RemoteModel
from harness.models.retry import TOO_MANY, retry_after_s
from harness.records import Json
from harness.training.hosted.downloads import keep, opened, ranged
from harness.training.hosted.openai import MARK_DIGITS, MESSAGE_CHARACTERS, OpenAIProvider
from harness.training.hosted.openai_objects import error_fields
from harness.training.hosted.provider import (
    Capabilities,
    JobCheckpoint,
    JobEvent,
    JobFailure,
    OutcomeUnknown,
    Quote,
    RateLimited,
    RemoteFile,
    RequestRejected,
    ServiceError,
    TuningJob,
)
from harness.training.hosted.request import JobRequest, Upload

if TYPE_CHECKING:
    from together import APIStatusError, Together
    from together.lib.types.fine_tuning import FinetuneRequest

URL = "https://api.together.ai"
# its own words (3.1.1), and those of its earlier interface
STATUS: Mapping[str, str] = {
    "completed": "succeeded",
    "error": "failed",
    "user_error": "failed",
    "cancelled": "cancelled",
    "cancel_requested": "cancelling",
}
FILE_STATES: Mapping[str, Literal["checking", "ready", "unusable"]] = {
    "PENDING": "checking",
    "QUEUED": "checking",
    "RUNNING": "checking",
    "FAILED": "unusable",
    "INVALID_FORMAT": "unusable",
}
LARGEST = 1e18  # above it a number is nonsense
NANO_USD = 1e9  # the unit of ``total_price``, as in the SDK's own `together fine-tuning list`
PRICED_BY = (
    *("training_file", "validation_file", "model", "n_epochs", "n_evals"),
    *("training_method", "training_type"),
)
# what a job repeats of its request as it was
TOLD = (
    "training_file",
    "model",
    "n_epochs",
    "learning_rate",
    "random_seed",
    "n_checkpoints",
    "training_type",
)
UNQUOTED_YET = ("train_file_not_validated", "eval_file_not_validated")
UNQUOTABLE: Mapping[str, str] = {
    "train_file_invalid": "training_file",
    "eval_file_invalid": "validation_file",
}


@dataclass(frozen=True)
class TogetherProvider:
    """Fine-tuning at Together. No text of it is returned or raised with the key in it.

    Args:
        base_url: its address without ``/v1`` (None: Together's own).
        api_key_env: the environment variable that holds the key (None: ``TOGETHER_API_KEY``).
    """

    base_url: str | None = None
    api_key_env: str | None = None

    capabilities = Capabilities(
        name=TOGETHER.name,
        suffix_characters=TOGETHER.suffix_characters,
        learning_rate=TOGETHER.learning_rate,
        checkpoints=TOGETHER.checkpoints,
        must_deploy=TOGETHER.must_deploy,
        package="together",
    )

    @property
    def endpoint(self) -> Endpoint:
        """Where it is asked, and with which key."""
        return TOGETHER.endpoint((self.base_url or URL).rstrip("/").removesuffix("/v1"), self.api_key_env)

    @property
    def url(self) -> str:
        """See ``TuningProvider``."""
        return self.endpoint.url

    def identity(self) -> str:
        """See ``TuningProvider``."""
        return self.url

    def redirected(self, url: str) -> OpenAIProvider:
        """See ``TuningProvider``."""
        return OpenAIProvider().redirected(url, TOGETHER.name)

    def model(self, name: str) -> RemoteModel:
        """See ``TuningProvider``: a deployment, under its own name."""
        return RemoteModel(name, f"{self.url}/v1", self.api_key_env, TOGETHER.name)

    def require_ready(self) -> None:
        """See ``TuningProvider``."""
        require_extra("together", "tuning at Together")
        self.endpoint.require_key()

    def close(self) -> None:
        """See ``TuningProvider``."""
        client: Together | None = self.__dict__.pop("_client", None)
        if client is not None:
            client.close()

    def shutdown_date(self, model: str) -> None:
        """See ``TuningProvider``: none is told."""

    # ----------------------------------------------------------------------- files
    def find_file(self, sent: Upload) -> RemoteFile | None:
        """See ``TuningProvider``."""
        with self._calling() as client:
            listed = _objects(client.files.with_raw_response.list().json(), "data")
        same = [
            found
            for found in listed
            if found.get("filename") == sent.name and found.get("bytes") in (None, len(sent.content))
        ]
        same.sort(key=lambda found: (_whole(found, "created_at") or 0, _text(found, "id") or ""))
        files = map(self._file, same)
        return next((file for file in files if file.state != "unusable"), None)

    def upload(self, sent: Upload) -> RemoteFile:
        """See ``TuningProvider``. A file of the same content that is there is taken by the SDK itself."""
        from together.lib.types.error import FileTypeError

        with tempfile.TemporaryDirectory() as scratch, self._calling() as client:
            file = Path(scratch) / sent.name
            file.write_bytes(sent.content)
            try:
                id = client.files.upload(file, purpose="fine-tune").id
            except FileTypeError as error:
                raise RequestRejected(self._clean(str(error)), param="training_file") from None
        return self.file_state(id)

    def file_state(self, id: str) -> RemoteFile:
        """See ``TuningProvider``."""
        with self._calling() as client:
            return self._file(_object(client.files.with_raw_response.retrieve(id).json()))

    def content(self, file: str) -> bytes:
        """See ``TuningProvider``: the metrics of a job, whose id it is, as a table."""
        written = io.StringIO()
        metrics = self._metrics(file)
        columns = dict.fromkeys(name for row in metrics for name in row)
        table = csv.DictWriter(written, [*columns])
        table.writeheader()
        table.writerows(metrics)
        return written.getvalue().encode()

    # ----------------------------------------------------------------------- jobs
    def find(self, request: JobRequest, files: Mapping[str, str]) -> Sequence[TuningJob]:
        """See ``TuningProvider``. A job whose name is not told is known by its file and its settings."""
        with self._calling() as client:
            listed = _objects(client.fine_tuning.with_raw_response.list().json(), "data")
        body = self.body(request, files.get(request.training.name, ""), None).model_dump(exclude_none=True)
        return tuple(self._job(job) for job in listed if _is_of(job, body, request.fingerprint[:MARK_DIGITS]))

    def quote(self, request: JobRequest, training_file: str, validation_file: str | None) -> Quote | None:
        """See ``Quotes``.

        Raises:
            OutcomeUnknown: the service has not checked the files yet.
        """
        body = self.body(request, training_file, validation_file).model_dump(exclude_none=True)
        with self._calling() as client:
            sent = {name: body[name] for name in PRICED_BY if name in body}
            found = _object(client.fine_tuning.with_raw_response.estimate_price(**sent).json())
        reason = _text(found, "unavailable_reason") or ""
        if reason in UNQUOTED_YET:
            raise OutcomeUnknown(f"the price is not known yet: {reason}")
        if reason in UNQUOTABLE:
            raise RequestRejected(f"no price: {reason}", param=UNQUOTABLE[reason])
        usd, limit = _number(found, "estimated_total_price"), _number(found, "user_limit")
        if found.get("estimation_available") is False or usd is None or usd < 0:
            return None
        word = found.get("allowed_to_proceed")
        is_allowed = word is True or (word is None and (limit is None or usd <= limit))
        return Quote(usd, _whole(found, "estimated_train_token_count"), is_allowed, limit)

    def submit(self, request: JobRequest, training_file: str, validation_file: str | None) -> TuningJob:
        """See ``TuningProvider``: the body that the SDK would send, without what it asks before."""
        body = self.body(request, training_file, validation_file).model_dump(exclude_none=True)
        with self._calling() as client:
            return self._job(_object(client.post("/v1/fine-tunes", body=body, cast_to=object)))

    def get(self, job: str) -> TuningJob:
        """See ``TuningProvider``. Why a job failed stands in its events alone."""
        with self._calling() as client:
            found = _object(client.fine_tuning.with_raw_response.retrieve(job).json())
        if STATUS.get(_text(found, "status") or "") != "failed":
            return self._job(found)
        with suppress(ServiceError):
            for event in self.events(job, None):
                if event.level == "error":
                    return self._job(found, event.message)
        return self._job(found)

    def cancel(self, job: str) -> TuningJob:
        """See ``TuningProvider``."""
        with self._calling() as client:
            return self._job(_object(client.fine_tuning.with_raw_response.cancel(job).json()))

    def events(self, job: str, known: str | None) -> Sequence[JobEvent]:
        """See ``TuningProvider``; the events have no ids of their own."""
        with self._calling() as client:
            listed = _objects(client.fine_tuning.with_raw_response.list_events(job).json(), "data")
        events = []
        for found in listed:
            message, kind = self._clean(_text(found, "message") or ""), (_text(found, "type") or "").lower()
            level = (_text(found, "level") or "info").lower()
            is_error = level.endswith("error") or kind in ("job_error", "job_user_error", "billing_limit")
            at, step = _seconds(found, "created_at"), _whole(found, "step")
            id = bytes_digest(f"{found.get('created_at')} {kind} {step} {message}".encode())[:16]
            data: dict[str, Json] = {} if step is None else {"step": step}
            if step is not None and (total := _whole(found, "total_steps")):
                data["total_steps"] = total
            events.append(JobEvent(id, message, "error" if is_error else "info", data, at))
        return sorted(events, key=lambda event: event.created)

    def checkpoints(self, job: str) -> Sequence[JobCheckpoint]:
        """See ``TuningProvider``, with the losses that were measured at their steps."""
        with self._calling() as client:
            listed = _objects(client.fine_tuning.with_raw_response.list_checkpoints(job).json(), "data")
        losses = {row["step"]: row for row in self._metrics(job) if "eval_loss" in row}
        steps = sorted({step for found in listed if (step := _whole(found, "step"))})
        return [JobCheckpoint(f"{job}:{k}", k, f"{job}:{k}", losses.get(k, {})) for k in steps]

    # ----------------------------------------------------------------------- adapters
    def fetch_adapter(self, job: str, model: str, step: int | None, archive: Path, most_bytes: int) -> None:
        """See ``GivesAdapters``."""
        from together import omit

        there = archive.stat().st_size if archive.exists() else 0
        headers = ranged(there)
        with ExitStack() as stack, self._calling() as client:
            ask = partial(client.fine_tuning.with_streaming_response.content, checkpoint="adapter")
            try:
                call = ask(ft_id=job, checkpoint_step=step or omit, extra_headers=headers)
                answer = stack.enter_context(call).http_response
            except self._status_error as error:
                if error.status_code == 416 and there:  # nothing is left of it
                    return
                if not error.response.has_redirect_location:
                    raise
                place = error.response.next_request
                answer = opened(str(place.url) if place else "", self.endpoint, headers, stack)
            keep(answer, archive, there, most_bytes)

    # ----------------------------------------------------------------------- the request
    def body(self, request: JobRequest, training_file: str, validation_file: str | None) -> FinetuneRequest:
        """The request that begins the job, for files that are at the service."""
        from together.lib.types import fine_tuning as shapes

        given = dict(request.settings.hyperparameters)
        shape = {name: given.pop(name) for name in [*given] if name.startswith("lora_")}
        kind: shapes.TrainingType | None = None
        if given.pop("full", False):
            kind = shapes.FullTrainingType()
        elif shape:  # else the service's own
            kind = shapes.LoRATrainingType.model_validate(shape)
        suffix = (request.settings.suffix, request.fingerprint[:MARK_DIGITS])
        learned = bool(given.pop("train_on_inputs", False))
        return shapes.FinetuneRequest.model_validate(
            {
                "n_epochs": 1,
                "learning_rate": 1e-5,
                "lr_scheduler": shapes.CosineLRScheduler(lr_scheduler_args=shapes.CosineLRSchedulerArgs()),
                "warmup_ratio": 0.0,
                "max_grad_norm": 1.0,
                "weight_decay": 0.0,
                "batch_size": "max",
                **given,
                "model": request.base,
                "training_file": training_file,
                "validation_file": validation_file,
                "training_type": kind,
                "training_method": shapes.TrainingMethodSFT(train_on_inputs=learned),
                "random_seed": request.seed,
                "suffix": "-".join(part for part in suffix if part),
            }
        )

    # ----------------------------------------------------------------------- answers
    def _file(self, found: Mapping[str, Json]) -> RemoteFile:
        report = found.get("validation_report")
        report = report if isinstance(report, Mapping) else {}
        state = FILE_STATES.get(_text(found, "processing_status") or "", "ready")
        state = "unusable" if report.get("valid") is False else state
        return RemoteFile(_required(found, "id"), state, self._clean(_text(report, "error") or ""))

    def _job(self, found: Mapping[str, Json], why: str | None = None) -> TuningJob:
        id, said = _required(found, "id"), _text(found, "status") or ""
        status, price = STATUS.get(said, said), _whole(found, "total_price")
        is_users = said == "user_error"
        failure = JobFailure(said, why, "training_file" if is_users else None) if status == "failed" else None
        epochs = _whole(found, "n_epochs")
        return TuningJob(
            id=id,
            status=status,
            model=_text(found, "model") or "",
            training_file=_text(found, "training_file") or "",
            validation_file=_text(found, "validation_file"),
            # an adapter is asked for by the job's id, whatever the model is called
            tuned_model=(_text(found, "model_output_name") or id) if status == "succeeded" else None,
            suffix=_text(found, "suffix"),
            hyperparameters={} if epochs is None else {"n_epochs": epochs},
            seed=_whole(found, "random_seed"),
            failure=failure,
            result_files=(id,) if status == "succeeded" else (),
            estimated_usd=price / NANO_USD if price else None,
            created=_seconds(found, "created_at"),
            finished=_seconds(found, "updated_at") or None if status == "succeeded" else None,
        )

    def _metrics(self, job: str) -> list[dict[str, float]]:
        """Measurements of a job, each with its step, under the names of ``metrics``."""
        with self._calling() as client:
            rows = _objects(client.fine_tuning.with_raw_response.list_metrics(job).json(), "metrics")
        named = {"train/global_step": "step", "global_step": "step", "eval/loss": "eval_loss"}
        named |= {"train/loss": "train_loss"}
        found = [
            {named.get(name, name): value for name in row if (value := _number(row, name)) is not None}
            for row in rows
        ]
        return [row for row in found if "step" in row]

    # ----------------------------------------------------------------------- calls
    @cached_property
    def _client(self) -> Together:
        from together import DefaultHttpxClient, Together

        self.require_ready()
        at = self.endpoint
        http = DefaultHttpxClient(follow_redirects=False, trust_env=not at.is_local, timeout=at.timeout_s)
        kind = partial(Together, base_url=at.url, max_retries=0, http_client=http, timeout=at.timeout_s)
        client = at.opened(kind)
        if self.base_url is not None:  # what TOGETHER_CUSTOM_HEADERS holds is for Together
            client._custom_headers = {}
        return client

    @property
    def _status_error(self) -> type[APIStatusError]:
        import together

        return together.APIStatusError

    @contextmanager
    def _calling(self) -> Iterator[Together]:
        """The client, whose errors leave here as those of ``provider``."""
        import httpx
        import together

        failure: ServiceError
        try:
            yield self._client
            return
        except together.APIStatusError as error:
            failure = self._failure(error)
        except (together.APIError, httpx.HTTPError, httpx.StreamError, ValueError, RecursionError) as error:
            failure = OutcomeUnknown(self._clean(str(error) or type(error).__name__))
        except (
            AttributeError,
            AssertionError,
            LookupError,
            TypeError,
        ) as error:  # of the SDK
            failure = OutcomeUnknown(self._clean(f"the service's answer cannot be read: {error}"))
        raise failure from None  # the client's own error holds the request's headers, and so the key

    def _failure(self, error: APIStatusError) -> ServiceError:
        import time

        code, message, param = error_fields(error.body)
        text, status = self._clean(message or str(error)), error.status_code
        pause_s = retry_after_s(error.response.headers, time.time())
        if status == TOO_MANY:
            return RateLimited(text, retry_after_s=pause_s, code=code, param=param)
        if status in (408, 409) or status >= 500 or status < 400:
            return OutcomeUnknown(text, retry_after_s=pause_s)
        return RequestRejected(text, status=status, code=code, param=param)

    def _clean(self, text: str) -> str:
        return self.endpoint.scrub(text)[:MESSAGE_CHARACTERS]


def _is_of(job: Mapping[str, Json], body: Mapping[str, Json], mark: str) -> bool:
    """Whether a listed job was begun by ``body``. Its file alone tells nothing: jobs on its rows share it."""
    named = [name for key in ("suffix", "model_output_name") if (name := _text(job, key))]
    if named:
        return any(mark in name for name in named)
    told = {key: value for key in TOLD if (value := job.get(key)) is not None}
    shape, own = told.pop("training_type", None), body.get("training_type")
    if isinstance(shape, Mapping) and isinstance(own, Mapping) and not own.items() <= shape.items():
        return False
    is_same_file = bool(body["training_file"]) and told.get("training_file") == body["training_file"]
    return is_same_file and all(body.get(key) == value for key, value in told.items())


# --------------------------------------------------------------------------- fields of its answers
def _object(found: object) -> Mapping[str, Json]:
    if not isinstance(found, Mapping):
        raise OutcomeUnknown("the service answered with something that is no JSON object")
    return found


def _objects(found: object, name: str) -> list[Mapping[str, Json]]:
    listed = _object(found).get(name)
    if not isinstance(listed, list):
        raise OutcomeUnknown("the service answered with no list")
    return [_object(item) for item in listed]


def _required(found: Mapping[str, Json], name: str) -> str:
    text = _text(found, name)
    if text is None:
        raise OutcomeUnknown(f"the service's answer has no {name}")
    return text


def _text(found: Mapping[str, Json], name: str) -> str | None:
    value = found.get(name)
    return value if isinstance(value, str) and value else None


def _number(found: Mapping[str, Json], name: str) -> float | None:
    value = found.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if abs(value) < LARGEST else None  # NaN is not below it


def _whole(found: Mapping[str, Json], name: str) -> int | None:
    value = _number(found, name)
    return None if value is None else int(value)


def _seconds(found: Mapping[str, Json], name: str) -> int:
    """A time in ISO 8601 as seconds since 1970; 0 where it is none."""
    with suppress(ValueError):
        return int(datetime.fromisoformat(_text(found, name) or "").timestamp())
    return 0
