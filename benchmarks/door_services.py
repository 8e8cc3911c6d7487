"""The doors of `benchmarks.doors` at which services and other machines speak."""

# values of other types than are declared are what it is about
# mypy: disable-error-code="arg-type, assignment, attr-defined, call-arg, index, misc"

from __future__ import annotations

import io
import json
import math
import os
import re
import shutil
import tarfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from hashlib import sha256
from pathlib import Path
from random import Random
from types import MappingProxyType, SimpleNamespace
from typing import TYPE_CHECKING, TypeVar

from benchmarks.door_calls import REPLY, Door, any_odd, kept_answers, require, require_plain
from benchmarks.door_inputs import any_text, any_value, mutated, spoilt, written
from harness.records import Json, Message

if TYPE_CHECKING:
    import httpx
    from tinker import RestClient

    from harness.training.hosted.provider import TuningProvider

T = TypeVar("T")
SECRET = "planted-secret-0123456789"
HERE = "http://127.0.0.1:9"


def _body(rng: Random, value: Json) -> bytes:
    """What a service might answer in place of ``value``."""
    content = written(rng, mutated(rng, value) if rng.random() < 0.7 else value)
    return spoilt(rng, content) if rng.random() < 0.1 else content


def _status(rng: Random) -> int:
    return rng.choice((200, 200, 200, 200, 200, 200, 400, 404, 409, 429, 500, 302, 204))


def _headers(rng: Random) -> dict[str, str]:
    kinds = ("application/json", "application/json", "application/json", "text/html", "text/plain")
    paused = {"retry-after": rng.choice(("1", "-1", "nan", "1e999", "x", "9" * 400))}
    return {"content-type": rng.choice(kinds), **(paused if rng.random() < 0.2 else {})}


# --------------------------------------------------------------------------- the Batch API
class _Progress:
    """Bars that nobody sees."""

    @contextmanager
    def task(self, *_: object, **__: object) -> Iterator[SimpleNamespace]:
        yield SimpleNamespace(at=lambda *_: None)


def batches(rng: Random, folder: Path) -> None:
    """What the Batch API answers: batches, files, and the lines of its results."""
    import httpx2
    from openai import OpenAI

    from harness.models.call_scheduler import CallFailed
    from harness.models.protocol import Decoding, Prompt
    from harness.models.remote import RemoteModel
    from harness.models.remote_batch import MARK, BatchSender, cut
    from harness.models.remote_wire import ModelWire

    wire = ModelWire(RemoteModel("m", base_url=f"{HERE}/v1", profile="openai", batch=True))
    prompts = [Prompt(f"r{at}", (Message("user", f"q{at}"),)) for at in range(3)]
    name = next(cut([wire.request(one, Decoding()) for one in prompts], completions=False)).name
    batch: Json = {
        **{"id": "batch_1", "object": "batch", "endpoint": "/v1/chat/completions", "input_file_id": "file-1"},
        **{"completion_window": "24h", "status": rng.choice(("completed", "completed", "failed", "expired"))},
        **{"output_file_id": "file-2", "error_file_id": None, "created_at": 1, "expires_at": 2},
        "request_counts": {"total": 3, "completed": 3, "failed": 0},
        "errors": {"object": "list", "data": [{"code": "c", "line": 1, "message": "m", "param": "p"}]},
        "metadata": {MARK: name},
    }
    lines: list[Json] = [
        {
            "id": "x",
            "custom_id": f"r{at}",
            "response": {"status_code": 200, "request_id": "q", "body": REPLY},
            "error": None,
        }
        for at in range(3)
    ]
    spoiled = mutated(rng, batch) if rng.random() < 0.5 else batch
    is_well = rng.random() < 0.6

    def reply(request: httpx2.Request) -> httpx2.Response:
        if request.url.path.endswith("/content"):
            content = b"\n".join(_body(rng, line) for line in lines)
            return httpx2.Response(200, content=spoilt(rng, content) if rng.random() < 0.1 else content)
        found: Json = spoiled
        if request.url.path.endswith(("/batches", "/files")) and request.method == "GET":
            found = {"object": "list", "data": [spoiled], "has_more": rng.choice((False, False, True, "x"))}
        status = 200 if is_well else _status(rng)
        if status >= 400:
            found = {"error": {"message": "no", "type": "t", "param": "model", "code": "bad"}}
        content = json.dumps(found).encode() if is_well else _body(rng, found)
        kind = {"content-type": "application/json"} if is_well else _headers(rng)
        return httpx2.Response(status, content=content, headers=kind)

    http = httpx2.Client(transport=httpx2.MockTransport(reply))
    clock = iter(range(0, 10**9, 3_600))
    sender = BatchSender(wire, _Progress(), lambda _: None, lambda: float(next(clock)))
    own = sender.endpoint
    sender.endpoint = SimpleNamespace(
        client=lambda: OpenAI(api_key=SECRET, base_url=own.url, http_client=http, max_retries=0),
        **{each: getattr(own, each) for each in ("url", "scrub", "client_kind", "key_variable")},
    )
    try:
        found = list(sender.answers(prompts, frozenset(), Decoding()))
    except CallFailed as error:
        raise RuntimeError("a failure of one call left the sender") from error
    require([one.row_id for one in found] == [one.row_id for one in prompts] or len(found) == 3, "rows")
    require({one.row_id for one in found} == {"r0", "r1", "r2"}, "answers of other rows")
    require_plain(found, "answers")
    require(
        all(0 <= (n or 0) < 2**63 for one in found for n in (one.prompt_tokens, one.completion_tokens)),
        "tokens",
    )


# --------------------------------------------------------------------------- a store that machines share
def shared(rng: Random, folder: Path) -> None:
    """Artifacts and answers at an address that several machines write to."""
    import gzip

    from harness.store.answers import AnswerStore
    from harness.store.shared import SharedStore

    there, here = folder / "there", folder / "here"
    here.mkdir()
    key = "ab" * 16
    try:
        if rng.random() < 0.15:
            SharedStore(rng.choice(("", "s3://", "file://", "memory://")) + any_text(rng), here, print)
            return
        store = SharedStore(f"file://{there}", here, print)
        if rng.random() < 0.5:
            files = {"model.safetensors": b"weights", "own/training.json": b"{}"}
            upload = there / "adapters" / key / "u1"
            for name, content in files.items():
                (upload / name).parent.mkdir(parents=True, exist_ok=True)
                (upload / name).write_bytes(spoilt(rng, content) if rng.random() < 0.2 else content)
            digests: Json = {name: sha256(content).hexdigest() for name, content in files.items()}
            upload.with_name("u1.json").write_bytes(_body(rng, {"files": digests}))
            target = here / key
            store.fetch(target, lambda part: (part / "own" / "training.json").is_file())
            held = {str(path.relative_to(target)) for path in target.rglob("*") if path.is_file()}
            require(all((target / name).read_bytes() == files.get(name) for name in held), "other bytes")
            require({path.name for path in folder.iterdir()} <= {"there", "here"}, "a file outside")
            return
        (there / "answers").mkdir(parents=True)
        kept = kept_answers()
        content = gzip.compress(spoilt(rng, kept) if rng.random() < 0.6 else kept, 1)
        content = spoilt(rng, content) if rng.random() < 0.3 else content
        name = sha256(content).hexdigest() if rng.random() < 0.9 else any_text(rng).replace("/", "")[:40]
        (there / "answers" / f"{name.replace(chr(0), '')}.sqlite.gz").write_bytes(content)
        AnswerStore(here / "answers.sqlite").close()
        try:
            store.begin()
        finally:
            store.close()
        own = AnswerStore(here / "answers.sqlite")
        try:
            require_plain(own.answers("c"), "answers")
            own.keep_answers("d", list(own.answers("c").values())[:1])
        finally:
            own.close()
    except (OSError, UnicodeEncodeError) as error:
        if error.__traceback__ is None or error.__traceback__.tb_next is not None:
            raise
    finally:
        shutil.rmtree(there, ignore_errors=True)
        shutil.rmtree(here)


# --------------------------------------------------------------------------- Together
TOGETHER_JOB: Json = {
    **{"id": "ft-1", "status": "completed", "model": "m/b", "training_file": "file-1", "suffix": "s-abc"},
    **{"validation_file": None, "model_output_name": "o/b-s", "n_epochs": 3, "random_seed": 1},
    **{"total_price": 410_000_000, "created_at": "2026-11-29T03:00:00Z", "learning_rate": 1e-5},
    **{
        "updated_at": "2026-11-29T04:00:00Z",
        "training_type": {"type": "Lora", "lora_r": 8},
        "n_checkpoints": 1,
    },
}
TOGETHER_FILE: Json = {
    **{"id": "file-1", "object": "file", "bytes": 2, "created_at": 1, "filename": "a.jsonl"},
    **{"purpose": "fine-tune", "processing_status": "COMPLETED", "validation_report": {"valid": True}},
}
TOGETHER_OTHERS: Mapping[str, Json] = {
    "events": {"message": "m", "type": "epoch_complete", "level": "info", "created_at": "x", "step": 1},
    "checkpoints": {"step": 10, "path": "p", "created_at": "x", "checkpoint_type": "intermediate"},
    "metrics": {"train/global_step": 1, "train/loss": 0.5, "eval/loss": 0.4},
    "estimate-price": {
        **{"estimation_available": True, "allowed_to_proceed": True, "estimated_total_price": 0.4},
        **{"estimated_train_token_count": 2_400, "user_limit": 100.0, "unavailable_reason": None},
    },
}


def together(rng: Random, folder: Path) -> None:
    """What Together answers: jobs, files, what became of jobs, prices, and the archive of an adapter."""
    import httpx
    from together import Together

    from harness.training.hosted.together import TogetherProvider

    if rng.random() < 0.25:
        _archive(rng, folder)
        return

    def reply(request: httpx.Request) -> httpx.Response:
        last = request.url.path.rpartition("/")[2]
        if "/files" in request.url.path:
            one: Json = TOGETHER_FILE
        else:
            one = TOGETHER_OTHERS.get(last, TOGETHER_JOB)
        if last in ("files", "fine-tunes", "events", "checkpoints", "metrics") and request.method == "GET":
            one = {"metrics" if last == "metrics" else "data": [one, mutated(rng, one)]}
        status = _status(rng)
        return httpx.Response(status, content=_body(rng, one), headers=_headers(rng))

    provider = TogetherProvider(HERE, api_key_env="HARNESS_DOORS_KEY")
    http = httpx.Client(transport=httpx.MockTransport(reply))
    provider.__dict__["_client"] = Together(api_key=SECRET, base_url=HERE, max_retries=0, http_client=http)
    quotes = (lambda: provider.quote(_request({}), "file-1", None), lambda: provider.content("ft-1"))
    _asked(rng, provider, "ft-1", quotes)


def _archive(rng: Random, folder: Path) -> None:
    import zstandard

    from harness.training.hosted.adapters import AdapterProblem, _config, _shapes, unpack_adapter

    plain = io.BytesIO()
    config = _body(
        rng, {"peft_type": "LORA", "r": 8, "base_model_name_or_path": "m/b", "target_modules": ["q"]}
    )
    with tarfile.open(fileobj=plain, mode="w") as archive:
        for name, content in (("adapter_config.json", config), ("adapter_model.safetensors", _weights())):
            odd = rng.choice((name, f"../{name}", f"/{name}", f"a/{name}")) if rng.random() < 0.2 else name
            member = tarfile.TarInfo(odd)
            member.size = len(content)
            member.type = rng.choice((tarfile.REGTYPE,) * 9 + (tarfile.SYMTYPE, tarfile.FIFOTYPE))
            archive.addfile(member, io.BytesIO(spoilt(rng, content)[: member.size].ljust(member.size)))
    content = plain.getvalue()
    content = spoilt(rng, content) if rng.random() < 0.4 else content
    content = zstandard.compress(content) if rng.random() < 0.7 else content
    file, into = folder / "adapter.tar.zst", folder / "adapter"
    file.write_bytes(spoilt(rng, content) if rng.random() < 0.4 else content)
    into.mkdir()
    try:
        unpack_adapter(file, into)
        _config(into / "adapter_config.json")
        _shapes(into)
    except AdapterProblem as problem:
        require(bool(str(problem).strip()), "a problem that says nothing")
    finally:
        outside = {path.name for path in folder.iterdir()} - {file.name, into.name}
        shutil.rmtree(into)
        file.unlink()
    require(not outside, f"files outside of its folder: {outside}")


@cache
def _weights() -> bytes:
    import numpy as np
    from safetensors.numpy import save

    return save({"model.layers.0.q.lora_A.weight": np.zeros((2, 4), np.float32)})


def _request(hyperparameters: Mapping[str, Json]) -> SimpleNamespace:
    settings = SimpleNamespace(hyperparameters=hyperparameters, suffix="s", base="m/b")
    training = SimpleNamespace(name="a.jsonl")
    return SimpleNamespace(
        settings=settings, training=training, validation=None, seed=1, base="m/b", fingerprint="abc" * 20
    )


def _asked(
    rng: Random, provider: TuningProvider, job: str, more: tuple[Callable[[], object], ...] = ()
) -> None:
    """One of a service's calls, whose answers or failure people may read."""
    from harness.cli.jobs import _line
    from harness.training.hosted.metrics import metrics_of_event
    from harness.training.hosted.provider import JobEvent, RemoteFile, ServiceError, TuningJob
    from harness.training.hosted.request import Upload

    os.environ["HARNESS_DOORS_KEY"] = SECRET
    sent = Upload("a.jsonl", b"{}", ("a.jsonl:1",))
    calls: tuple[Callable[[], object], ...] = (
        lambda: provider.get(job),
        lambda: provider.find(_request({}), {"a.jsonl": "file-1"}),
        lambda: provider.submit(_request({"n_epochs": 3}), "file-1", None),
        lambda: provider.cancel(job),
        lambda: provider.file_state("file-1"),
        lambda: provider.find_file(sent),
        lambda: provider.events(job, None),
        lambda: provider.checkpoints(job),
        *more,
    )
    try:
        found = rng.choice(calls)()
    except ServiceError as error:
        require_plain(str(error), "the failure")
        require(SECRET not in str(error), "the key in a message")
        pause_s = getattr(error, "retry_after_s", None)
        require(pause_s is None or pause_s >= 0, f"a pause of {pause_s} s")
        return
    finally:
        provider.close()
    require_plain(found, "what was read")
    for item in found if isinstance(found, tuple | list) else (found,):
        if isinstance(item, TuningJob):
            _line(item)
            require(bool(item.id) and (item.estimated_usd or 0) >= 0, "a job")
            require(item.status != "succeeded" or bool(item.tuned_model), "success without a model")
        elif isinstance(item, JobEvent):
            metrics_of_event(item)
        elif isinstance(item, RemoteFile):
            require(bool(item.id), "a file without an id")


# --------------------------------------------------------------------------- Fireworks
FIREWORKS_JOB: Json = {
    **{"name": "accounts/a/supervisedFineTuningJobs/harness-abc", "state": "JOB_STATE_COMPLETED"},
    **{"baseModel": "accounts/fireworks/models/m", "dataset": "accounts/a/datasets/d", "epochs": 3},
    **{"evaluationDataset": "", "outputModel": "accounts/a/models/harness-abc", "learningRate": 1e-4},
    **{"estimatedCost": {"currencyCode": "USD", "units": "1", "nanos": 250_000_000}, "loraRank": 8},
    **{"createTime": "2026-11-29T03:00:00.123456789Z", "completedTime": "2026-11-29T04:00:00Z"},
    **{"jobProgress": {"epoch": 0, "percent": 10}, "status": {"code": "OK", "message": ""}},
}
FIREWORKS_OTHERS: Mapping[str, Json] = {
    "datasets": {
        "name": "accounts/a/datasets/a",
        "state": "READY",
        "exampleCount": "1",
        "status": {"code": "OK"},
    },
    "models": {"name": "accounts/a/models/harness-abc", "state": "READY", "status": {"code": "OK"}},
    "deployments": {"name": "accounts/a/deployments/d", "state": "READY", "enableAddons": True},
    "deployedModels": {"deployedModels": [{"model": "m", "deployment": "d", "state": "DEPLOYED"}]},
}


def fireworks(rng: Random, folder: Path) -> None:
    """What Fireworks answers: jobs, data sets, models, deployments and what is loaded on them."""
    import httpx
    from fireworks import Fireworks

    from harness.errors import HostedTrainingError
    from harness.training.hosted.fireworks import FireworksProvider

    def reply(request: httpx.Request) -> httpx.Response:
        place = re.search(r"/accounts/[^/]+/(\w+)(/\S+)?$", request.url.path)
        one = FIREWORKS_OTHERS.get(place[1] if place else "", FIREWORKS_JOB)
        if place and place[1] == "supervisedFineTuningJobs" and not place[2] and request.method == "GET":
            one = {place[1]: [one, mutated(rng, one)], "nextPageToken": rng.choice(("", "", "2"))}
        status = _status(rng)
        if status >= 400:
            one = {"code": rng.choice((3, 5, 6, "ALREADY_EXISTS")), "message": "no", "details": []}
        return httpx.Response(status, content=_body(rng, one), headers=_headers(rng))

    provider = FireworksProvider(HERE, "HARNESS_DOORS_KEY", "a")
    http = httpx.Client(transport=httpx.MockTransport(reply))
    provider.__dict__["_client"] = Fireworks(
        api_key=SECRET, account_id="a", base_url=HERE, max_retries=0, http_client=http
    )
    more = (
        lambda: provider.deployment("accounts/a/deployments/d"),
        lambda: provider.loaded("m", "d"),
        lambda: provider.resume("harness-abc"),
        lambda: provider.upload(_sent()),
    )
    try:
        _asked(rng, provider, "harness-abc", more)
    except HostedTrainingError as error:
        require(SECRET not in str(error), "the key in a message")
        raise


def _sent() -> SimpleNamespace:
    return SimpleNamespace(name="a.jsonl", content=b"{}\n", places=("a.jsonl:1",))


# --------------------------------------------------------------------------- Tinker
RUN: Json = {
    **{"training_run_id": "run-1", "base_model": "m/b", "model_owner": "o", "is_lora": True, "lora_rank": 8},
    **{"corrupted": False, "last_request_time": "2026-11-29T03:00:00Z"},
    "user_metadata": {"harness_fingerprint": "f"},
}
CHECKPOINTS: Json = {
    "checkpoints": [
        {
            **{"checkpoint_id": f"{kind}/{name}", "checkpoint_type": "training" if step else "sampler"},
            **{"time": "2026-11-29T03:00:00Z", "tinker_path": f"tinker://run-1/{kind}/{name}"},
            **{"size_bytes": 9, "public": False, "expires_at": None},
            "user_metadata": {"harness_fingerprint": "f", **({"harness_step": str(step)} if step else {})},
        }
        for kind, name, step in (
            *(("weights", "harness-step-10", 10), ("weights", "harness-step-20", 20)),
            *(("sampler_weights", "harness-final", 0), ("sampler_weights", "harness-final", 0)),
        )
    ]
}
SESSION: Json = {
    **{"session_id": "s-1", "user_metadata": {"harness_fingerprint": "f"}, "status": {"type": "active"}},
    **{"created_at": "2026-11-29T03:00:00Z", "project_id": "p", "owner": "o"},
    "checkpoints_count": 4,
}


def tinker(rng: Random, folder: Path) -> None:
    """What a server of Tinker's wire says it has of a training: sessions, runs and checkpoints."""
    from tinker import types

    from harness.training.tinker.service import TinkerFault, TinkerService, look, told

    names = (
        "harness-step-" + any_text(rng),
        "harness-step-" + "9" * 5_000,
        "harness-step-٣",
        "harness-step-0",
    )
    held: Json = json.loads(json.dumps(CHECKPOINTS))
    if rng.random() < 0.4:
        one = rng.choice(held["checkpoints"])
        one["checkpoint_id"] = one["user_metadata"]["harness_step"] = rng.choice(names)
    if rng.random() < 0.4:
        times = ("2026-11-29T03:00:00", "0001-01-01T00:00:00+23:59", 0, 1e12, "x")
        rng.choice(held["checkpoints"])["time"] = rng.choice(times)

    is_well, is_plain = rng.random() < 0.6, rng.random() < 0.5

    def given(kind: type[T], value: Json) -> SimpleNamespace:
        def result() -> T:
            if not is_well and (status := _status(rng)) >= 300:
                raise _refused(status, "no")
            return _read(
                kind, _body(rng, value) if not is_plain and rng.random() < 0.3 else json.dumps(value).encode()
            )

        return SimpleNamespace(result=result)

    cursor: Json = {"last_created_at": "2026-11-29T03:00:00Z", "last_session_id": "s-1"}
    page: Json = {"sessions": [SESSION], "next_cursor": rng.choice((None, None, None, cursor))}
    rest: RestClient = SimpleNamespace(
        search_sessions=lambda asked: given(types.SessionSearchResponse, page),
        get_session=lambda id: given(
            types.GetSessionResponse, {"training_run_ids": ["run-1"], "sampler_ids": []}
        ),
        get_training_run=lambda id: given(types.TrainingRun, RUN),
        list_checkpoints=lambda id: given(types.CheckpointsListResponse, held),
    )
    service = TinkerService(HERE, "HARNESS_DOORS_KEY")
    os.environ["HARNESS_DOORS_KEY"] = SECRET
    try:
        found = look(service, rest, "f", "m/b", 8, 30, rng.choice(((), ("s-0",))))
    except TinkerFault as fault:
        error = told(fault, service, "m/b", None)
        require(SECRET not in str(error), "the key in a message")
        raise error from None
    steps = [state.step for state in found.states]
    require(steps == sorted(steps, reverse=True) and all(0 < step <= 30 for step in steps), f"steps {steps}")
    require(all(state.path.startswith("tinker://") for state in found.states), "a path")
    require_plain([state.path for state in found.states], "paths")


def _read(kind: type[T], content: bytes) -> T:
    """As the SDK reads a body: strictly."""
    from pydantic import TypeAdapter
    from tinker import APIResponseValidationError

    try:
        return TypeAdapter(kind).validate_python(json.loads(content))
    except (ValueError, RecursionError) as error:
        import httpx

        answer = httpx.Response(200, request=httpx.Request("GET", HERE))
        raise APIResponseValidationError(response=answer, body=None) from error


def _refused(status: int, message: str) -> Exception:
    import httpx
    from tinker import APIStatusError

    answer = httpx.Response(status, request=httpx.Request("GET", HERE))
    return APIStatusError(f"{message} {SECRET}", response=answer, body={"detail": message})


# --------------------------------------------------------------------------- a server of one's own
def server(rng: Random, folder: Path) -> None:
    """``Server(...)`` with any value in a field."""
    from dataclasses import fields

    from harness import Server

    words = (
        "vllm",
        "serve",
        "--port={port}",
        "{base}",
        "{adapters}",
        "{",
        "{0}",
        "{port!r:>9999999}",
        "{x}",
        "",
    )
    values: tuple[Callable[[], object], ...] = (
        lambda: any_odd(rng),
        lambda: any_value(rng),
        lambda: tuple(rng.choices(words, k=rng.randrange(5))),
        lambda: rng.choice(("http://127.0.0.1:8000/v1", "http://x", "https://u:p@x", "ftp://x", "http://[")),
        lambda: {any_text(rng): any_text(rng)},
        lambda: rng.choice(("{candidate}", "{size}-{x}", "{seed:>99999999}", "{", "{candidate.__class__}")),
    )
    names = [each.name for each in fields(Server) if each.init]
    given = {name: rng.choice(values)() for name in rng.sample(names, rng.choice((1, 1, 2, 3)))}
    if rng.random() < 0.3:
        given["url"] = "http://127.0.0.1:8000/v1"
    found = Server(**given)
    hash(found)
    require_plain({name: getattr(found, name) for name in names}, "Server")
    require(all(isinstance(word, str) and word.isprintable() for word in found.command), "the command")
    numbers = (found.ready_s, found.timeout_s, found.compare_rows, found.concurrency or 1)
    require(all(0 < number < math.inf for number in numbers), f"{numbers}")
    environment = found.env.items()
    require(
        all(name and "=" not in name and "\0" not in name + text for name, text in environment),
        "a variable that no process can have",
    )
    _ = found.program, found.is_own, found.by_folder, found.takes_adapters, found.binds
    places = {"candidate": "c", "size": "9", "seed": "1", "key": "k"}
    require(len(found.adapter_name.format_map(places)) < 100_000 if found.url else True, "a name without end")


SERVICES: Mapping[str, Door] = MappingProxyType(
    {
        "batches": Door(500, batches),
        "shared store": Door(500, shared),
        "together": Door(500, together),
        "fireworks": Door(500, fireworks),
        "tinker": Door(500, tinker),
        "server": Door(500, server),
    }
)
