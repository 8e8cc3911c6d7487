"""Together's fine-tuning API and file upload, as the ``together`` SDK's types and its own calls have them.

A file is announced, put at an address that the answer names, and then checked; one of the same content is
there already, whatever its name. An adapter is a tar archive packed with zstd, and can be had in parts.
"""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import zstandard
from pydantic import BaseModel
from together.lib.types.fine_tuning import FinetuneRequest, FullTrainingType, LoRATrainingType
from together.types import FileResponse, FinetuneEvent, FinetuneResponse
from together.types.chat import ChatCompletion
from together.types.chat.completion_create_params import CompletionCreateParamsNonStreaming
from together.types.fine_tuning_cancel_response import FineTuningCancelResponse
from together.types.fine_tuning_estimate_price_params import FineTuningEstimatePriceParams
from together.types.fine_tuning_estimate_price_response import AvailableEstimate, UnavailableEstimate
from together.types.fine_tuning_list_checkpoints_response import Data as Checkpoint
from together.types.fine_tuning_list_metrics_response import FineTuningListMetricsResponse
from together.types.fine_tuning_list_response import Data as Listed

from harness.candidates.base import Candidate
from harness.candidates.together_tuning import TogetherTuning
from stand_ins import BY_BASE, BY_TUNED, Scenario, Stand, hurried
from stand_ins.loopback import Asked, Reply, shown, unknown_fields

BASE = "meta-llama/Meta-Llama-3.1-8B-Instruct-Reference"
ENDED_UNPAID = frozenset({"error", "user_error", "cancelled", "cancel_requested"})
TUNED_AT, BASE_AT = "org/support-tuned", "org/support-base"
USD = 0.41
TIME = "2026-11-29T03:00:{:02d}Z"


def packed(files: Mapping[str, bytes]) -> bytes:
    """An archive of these files, as Together packs adapters."""
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return zstandard.ZstdCompressor().compress(plain.getvalue())


def packed_folder(folder: Path) -> bytes:
    """An archive of a folder's files."""
    return packed({path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.is_file()})


class TogetherStand(Stand):
    """Together in memory. A job moves through its life a look at a time."""

    service: ClassVar[str] = "together"
    keys: ClassVar[Mapping[str, str]] = {"TOGETHER_API_KEY": "tgp-planted-0123456789abcdef"}
    usual: ClassVar[tuple[str, ...]] = ("pending", "queued", "running", "compressing", "uploading")
    success: ClassVar[str] = "completed"
    begins_at: ClassVar[str] = "/v1/fine-tunes"
    asks_usd: ClassVar[float | None] = USD
    models: ClassVar[tuple[str, ...]] = (BASE, TUNED_AT, BASE_AT)
    essential: ClassVar[frozenset[str]] = frozenset(
        {"id", "status", "training_file", "estimated_total_price"}
    )

    def __init__(self, scenario: Scenario, adapter: bytes = b"", local_base: str | None = None) -> None:
        super().__init__(scenario)
        self.adapter, self.local_base = adapter, local_base
        self.estimate: Mapping[str, Any] = {
            "estimation_available": True,
            "allowed_to_proceed": True,
            "estimated_total_price": USD,
            "estimated_train_token_count": 2400,
            "estimated_eval_token_count": 0,
            "user_limit": 100.0,
        }
        self.is_moved = False  # adapters lie at another address than the one that is asked
        self.most_a_part = 0  # bytes after which a download breaks; 0: none does
        self.downloads: list[tuple[str, int]] = []  # the range that was asked for, and the bytes sent
        self.files: dict[str, dict[str, Any]] = {}
        self.contents: dict[str, bytes] = {}
        self.sums: dict[str, str] = {}  # ids of files by the SHA-256 of their content
        self.jobs: dict[str, dict[str, Any]] = {}
        self.cancelled: list[str] = []
        self.looks: dict[str, int] = {}
        self.listings = 0
        self.born: dict[str, int] = {}

    def candidate(self, train: str, dev: str | None, **fields: Any) -> Candidate:  # noqa: ANN401
        there = {"deployment": TUNED_AT, "base_deployment": BASE_AT}
        answers = there if self.local_base is None else {"local_base": self.local_base}
        return hurried(TogetherTuning)(
            base=BASE, train=train, dev=dev, base_url=self.url, **(answers | {"lora_rank": 4} | fields)
        )

    @property
    def billed(self) -> int:
        left_alone = [id for id in self.jobs if self.status(id) not in ENDED_UNPAID]
        return len({*left_alone, *self.cancelled})

    def may_leave(self, asked: Asked) -> bool:
        """Storage may send an upload on, as S3 does to another region; without the key."""
        return asked.method == "PUT" and "authorization" not in asked.headers

    # ----------------------------------------------------------------------- the wire
    def wire(self, asked: Asked) -> Reply:
        key = asked.headers.get("authorization")
        if asked.path.startswith("/storage/"):  # an address that is signed: it is shown no key
            assert key is None, "the key was shown to the storage"
            return self.on_storage(asked, asked.path.removeprefix("/storage/"))
        if key != f"Bearer {self.keys['TOGETHER_API_KEY']}":
            return no(401, "Invalid API key provided.", "invalid_api_key")
        head, _, rest = asked.path.removeprefix("/v1/").partition("/")
        handlers = {"files": self.on_files, "fine-tunes": self.on_jobs, "chat": self.on_chat}
        return self.on_download(asked) if head == "finetune" else handlers[head](asked, rest)

    def on_storage(self, asked: Asked, id: str) -> Reply:
        if asked.method == "PUT":
            rows = [json.loads(line) for line in asked.raw.splitlines()]
            assert all(set(row) == {"messages"} for row in rows), rows[0]
            self.contents[id] = asked.raw
            return Reply()
        return self.part(asked)

    def on_files(self, asked: Asked, rest: str) -> Reply:
        id = rest.partition("/")[0]
        if not id and asked.method == "POST":
            form = {name: content.decode() for name, (_, content) in asked.parts.items()}
            assert set(form) == {"purpose", "file_name", "file_type", "checksum"}, form
            if form["checksum"] in self.sums and self.sums[form["checksum"]] in self.contents:
                return Reply({"file_id": self.sums[form["checksum"]]}, 409)
            id = f"file-{len(self.files)}"
            self.sums[form["checksum"]], self.files[id] = id, form
            place = {"Location": f"{self.url}/storage/{id}", "X-Together-File-Id": id}
            return Reply(status=302, headers=place)
        if not id:
            return Reply({"data": [self.file(id) for id in self.contents]})
        if id not in self.contents:
            return no(404, "file not found")
        self.born.setdefault(id, self.listings)
        return Reply(self.file(id))

    def on_jobs(self, asked: Asked, rest: str) -> Reply:
        id, _, action = rest.partition("/")
        if id == "estimate-price":
            return self.on_estimate(asked.body)
        if not id and asked.method == "POST":
            return self.on_create(asked.body)
        if not id:
            self.listings += 1
            late = {id for id, n in self.born.items() if self.listings - n <= self.scenario.lag}
            return Reply({"data": [self.job(id, Listed) for id in self.jobs if id not in late]})
        if id not in self.jobs:
            return no(404, f"job {id} not found")
        if action == "events":
            return Reply({"data": self.events(id)})
        if action == "checkpoints":
            return Reply({"data": self.checkpoints(id)})
        if action == "metrics":
            return Reply(self.shown(FineTuningListMetricsResponse, metrics=METRICS))
        if action == "cancel":
            self.cancelled.append(id)
            return Reply(self.job(id, FineTuningCancelResponse))
        self.looks[id] += 1
        return Reply(self.job(id, FinetuneResponse))

    def on_estimate(self, body: Mapping[str, Any]) -> Reply:
        unknown = [*unknown_fields(FineTuningEstimatePriceParams, body)]
        if unknown or body["training_file"] not in self.contents:
            return no(400, f"cannot estimate: {unknown or body['training_file']}")
        kind = AvailableEstimate if self.estimate["estimation_available"] else UnavailableEstimate
        return Reply(self.shown(kind, **self.estimate))

    def on_create(self, body: Mapping[str, Any]) -> Reply:
        unknown = [*unknown_fields(FinetuneRequest, body)]
        method, kind = body.get("training_method") or {}, body.get("training_type")
        if kind is not None:
            unknown += unknown_fields(LoRATrainingType if kind["type"] == "Lora" else FullTrainingType, kind)
        if unknown or set(method) != {"method", "train_on_inputs"} or len(body["suffix"]) > 40:
            return no(400, f"unknown or wrong: {unknown or method or body['suffix']}")
        if body["training_file"] not in self.contents:
            return no(400, "no such training file")
        FinetuneRequest.model_validate(body)
        id = f"ft-{len(self.jobs):04x}"
        self.jobs[id], self.looks[id], self.born[id] = dict(body), 0, self.listings
        return Reply(self.job(id, FineTuningCancelResponse))

    def on_download(self, asked: Asked) -> Reply:
        assert set(asked.query) <= {"ft_id", "checkpoint", "checkpoint_step"}, asked.query
        if self.status(asked.query["ft_id"]) != self.success or asked.query["checkpoint"] != "adapter":
            return no(400, "nothing to download")
        if self.is_moved:
            return Reply(status=302, headers={"Location": f"{self.url}/storage/adapter?signed=secret"})
        return self.part(asked)

    def part(self, asked: Asked) -> Reply:
        """The adapter's archive, from the byte on that is asked for."""
        wanted, whole = asked.headers.get("range"), self.adapter
        first = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted else 0
        if first >= len(whole):
            return Reply(b"", 416)
        rest = whole[first:]
        sent = rest[: self.most_a_part or len(rest)]
        self.downloads.append((wanted or "", len(sent)))
        headers = {"Content-Type": "application/zstd", "Content-Length": str(len(rest))}
        if len(sent) < len(rest):
            headers["Connection"] = "close"  # before the end that was promised
        if wanted:
            headers["Content-Range"] = f"bytes {first}-{len(whole) - 1}/{len(whole)}"
        return Reply(sent, 206 if wanted else 200, headers)

    def on_chat(self, asked: Asked, rest: str) -> Reply:
        unknown = [*unknown_fields(CompletionCreateParamsNonStreaming, asked.body)]
        model = str(asked.body["model"])
        if unknown or model not in (TUNED_AT, BASE_AT):
            return no(400 if unknown else 404, f"{unknown or model}")
        message = {"role": "assistant", "content": BY_TUNED if model == TUNED_AT else BY_BASE}
        choice = {"index": 0, "finish_reason": "stop", "message": message}
        usage = {"prompt_tokens": 9, "completion_tokens": 4, "total_tokens": 13}
        told: dict[str, Any] = {"id": "c", "object": "chat.completion", "created": 1, "model": model}
        told["prompt"] = []
        return Reply(shown(ChatCompletion, {**told, "choices": [choice], "usage": usage}, (), {}))

    # ----------------------------------------------------------------------- what is there
    def status(self, id: str) -> str:
        """The word that a job says now."""
        return "cancelled" if id in self.cancelled else self.life[min(self.looks[id], len(self.life) - 1)]

    def file(self, id: str) -> dict[str, Any]:
        form = self.files[id]
        told = {"filename": form["file_name"], "FileType": form["file_type"], "purpose": form["purpose"]}
        report = {"valid": True, "nlines": self.contents[id].count(b"\n")}
        done = {"processing_status": "COMPLETED", "validation_report": report}
        size = len(self.contents[id])
        return self.shown(FileResponse, id=id, bytes=size, created_at=1, object="file", **told, **done)

    def job(self, id: str, kind: type[BaseModel]) -> dict[str, Any]:
        """A job as one of three answers shows it; they have different fields."""
        body, status = self.jobs[id], self.status(id)
        is_done = status == self.success
        repeated = ("model", "n_epochs", "n_evals", "n_checkpoints", "learning_rate", "random_seed")
        fields: dict[str, Any] = {
            **{name: body.get(name) for name in (*repeated, "training_file", "validation_file")},
            **{name: body.get(name) for name in ("suffix", "training_type", "training_method")},
            "id": id,
            "status": status,
            "user_id": "user",
            "created_at": TIME.format(list(self.jobs).index(id)),
            "updated_at": TIME.format(59),
            "token_count": 800 if is_done else None,
            "total_price": round(USD * 1e9) if is_done else None,
            "model_output_name": f"org/{BASE.partition('/')[2]}-{body['suffix']}" if is_done else None,
        }
        names = {found.alias or name for name, found in kind.model_fields.items()}
        return self.shown(kind, **{name: value for name, value in fields.items() if name in names})

    def events(self, id: str) -> list[dict[str, Any]]:
        """What happened to a job."""
        found: list[tuple[str, str, int | None]] = [("job_start", "Job started", None)]
        found += [("training_start", "Training started", None)]
        found += [("epoch_complete", f"Epoch {n} done", 3 * n) for n in (1, 2, 3)]
        if self.status(id) == "error":
            found.append(("job_error", self.scenario.failure, None))
        told = []
        for n, (kind, message, step) in enumerate(found):
            at = {"created_at": TIME.format(n), "object": "fine-tune-event"}
            level, steps = "error" if kind == "job_error" else "info", 9 if step else None
            fields = {**at, "message": message, "type": kind, "level": level, "step": step}
            told.append(self.shown(FinetuneEvent, **fields, total_steps=steps))
        return told

    def checkpoints(self, id: str) -> list[dict[str, Any]]:
        """Models from the middle of a job: each as a whole and as an adapter."""
        if self.status(id) != self.success:
            return []
        at = {"created_at": TIME.format(30), "path": f"s3://bucket/{id}", "checkpoint_type": "Intermediate"}
        return [
            self.shown(Checkpoint, **at, step=step, checkpoint=kind)
            for step in (9, 3, 6)
            for kind in ("model", "adapter")
        ]

    def shown(self, kind: type[BaseModel], /, **fields: Any) -> dict[str, Any]:  # noqa: ANN401
        given = {name: value for name, value in fields.items() if value is not None}
        return shown(kind, given, self.scenario.omit, dict(self.scenario.extra))


METRICS = [
    {"train/global_step": float(n), "train/loss": 3.0 - 0.2 * n, **({"eval/loss": loss} if loss else {})}
    for n, loss in zip(range(1, 10), (0, 0, 1.9, 0, 0, 1.2, 0, 0, 1.5), strict=True)
]


def no(status: int, message: str, code: str | None = None) -> Reply:
    """An error as Together words it."""
    error = {"message": message, "type": "invalid_request_error", "param": None, "code": code}
    return Reply({"error": error}, status)
