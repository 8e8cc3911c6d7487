"""A tuning service that this project does not know, as a user writes it: one class, and nothing inherited."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from hosted_builders import Killed, killing

from harness import HostedTuning, RemoteModel
from harness.candidates.base import Variant, require_candidate
from harness.candidates.lab import Lab
from harness.errors import BudgetReached, HostedTrainingError, UsageError
from harness.models.ledger import Ledger, Money
from harness.models.progress import Silent
from harness.records import Price
from harness.store.adapters import AdapterStore
from harness.training.hosted.jobs import Environment
from harness.training.hosted.openai import OpenAIProvider
from harness.training.hosted.provider import (
    Capabilities,
    JobCheckpoint,
    JobEvent,
    RemoteFile,
    RequestRejected,
    TuningJob,
    TuningProvider,
)
from harness.training.hosted.request import JobRequest, Upload

STATES = {"PENDING": "queued", "RUNNING": "running", "COMPLETED": "succeeded", "FAILED": "failed"}


@dataclass
class Cloud:
    """A service with an interface of its own: rows come with the job, whose id the client chooses."""

    jobs: dict[str, dict[str, object]] = field(default_factory=dict)
    submissions: int = 0

    def create(self, id: str, **body: object) -> dict[str, object]:
        if id in self.jobs:
            raise RequestRejected(f"{id} exists", status=409, code="already_exists")
        self.submissions += 1
        self.jobs[id] = {"id": id, "state": "PENDING", "looks": 0, **body}
        return self.jobs[id]

    def look(self, id: str) -> dict[str, object]:
        if id not in self.jobs:
            raise RequestRejected(f"no job {id}", status=404)
        job = self.jobs[id]
        job["looks"] = int(str(job["looks"])) + 1
        job["state"] = "PENDING" if job["looks"] == 1 else "RUNNING" if job["looks"] == 2 else "COMPLETED"
        return job


CLOUDS: dict[str, Cloud] = {}  # by address


@dataclass(frozen=True)
class CloudProvider:
    address: str
    region: str = "eu"

    capabilities = Capabilities(name="cloud", minimum_rows=4, poll_s=1.0)

    @property
    def url(self) -> str:
        return self.address

    def identity(self) -> Mapping[str, str]:
        return {"cloud": self.address, "region": self.region}

    def redirected(self, url: str) -> OpenAIProvider:
        return OpenAIProvider().redirected(url)

    def model(self, name: str) -> RemoteModel:
        return RemoteModel(name, base_url=f"{self.address}/v1", api_key_env="CLOUD_KEY")

    def require_ready(self) -> None: ...

    def close(self) -> None: ...

    def shutdown_date(self, model: str) -> str | None:
        return None

    def find_file(self, sent: Upload) -> RemoteFile | None:
        return None

    def upload(self, sent: Upload) -> RemoteFile:
        return RemoteFile(sent.name)

    def file_state(self, id: str) -> RemoteFile:
        return RemoteFile(id)

    def find(self, request: JobRequest, files: Mapping[str, str]) -> Sequence[TuningJob]:
        id = f"harness-{request.fingerprint[:16]}"
        return [self._job(CLOUDS[self.address].jobs[id])] if id in CLOUDS[self.address].jobs else []

    def submit(self, request: JobRequest, training_file: str, validation_file: str | None) -> TuningJob:
        made = CLOUDS[self.address].create(
            f"harness-{request.fingerprint[:16]}",
            rows=request.training.content.decode().splitlines(),
            base=request.base,
            epochs=request.settings.epochs,
            lora_rank=request.settings.hyperparameters.get("lora_rank"),
        )
        return self._job(made)

    def get(self, job: str) -> TuningJob:
        return self._job(CLOUDS[self.address].look(job))

    def cancel(self, job: str) -> TuningJob:
        raise RequestRejected("nothing can be cancelled here", status=405)

    def events(self, job: str, known: str | None) -> Sequence[JobEvent]:
        looks = int(str(CLOUDS[self.address].jobs[job]["looks"]))
        return [
            JobEvent(f"{job}-{k}", "", data={"step": k, "train_loss": 1 / k}, created=k)
            for k in range(1, looks + 1)
        ]

    def checkpoints(self, job: str) -> Sequence[JobCheckpoint]:
        raise AssertionError("the capabilities say that there are none")

    def content(self, file: str) -> bytes:
        raise AssertionError("no job names a results file")

    def _job(self, found: Mapping[str, object]) -> TuningJob:
        status = STATES[str(found["state"])]
        name = f"cloud/{found['id']}" if status == "succeeded" else None
        return TuningJob(str(found["id"]), status, tuned_model=name)


@dataclass(frozen=True, kw_only=True)
class Quick(HostedTuning):
    """The candidate, which does not wait, and which a test can kill."""

    killed_at: int | None = None

    def __hash__(self) -> int:
        return super().__hash__()

    def environment(self, lab: Lab) -> Environment:
        return replace(super().environment(lab), sleep=lambda seconds: None)

    def service(self) -> TuningProvider:
        own = super().service()
        return own if self.killed_at is None else killing(own, self.killed_at, after=True)


@pytest.fixture
def cloud() -> Cloud:
    CLOUDS["https://cloud.example"] = Cloud()
    return CLOUDS["https://cloud.example"]


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    lines = [
        json.dumps(
            {"messages": [{"role": "user", "content": f"q{k}"}, {"role": "assistant", "content": f"a{k}"}]}
        )
        for k in range(8)
    ]
    (tmp_path / "train.jsonl").write_text("\n".join(lines), encoding="utf-8")
    return Lab(tmp_path, AdapterStore(tmp_path / "store"), Silent())


SPEC = Quick(
    base="open-8b",
    train="train.jsonl",
    provider=CloudProvider("https://cloud.example"),
    learning_rate=1e-4,
    hyperparameters={"lora_rank": 16},
)


def at_size(candidate: HostedTuning = SPEC, size: int | None = None) -> Variant:
    return Variant("cloud", candidate, size)


def test_it_is_tuned_at_its_service_and_answers_where_the_provider_says(cloud: Cloud, lab: Lab) -> None:
    require_candidate(SPEC, "conftest.py")
    SPEC.preflight(lab, at_size())
    made = SPEC.prepare(lab, at_size(size=6))
    assert made.training is not None
    assert (made.model_name, made.training.rows, made.training.epochs) == ("open-8b", 6, 3.0)
    assert made.training.device.endswith("at https://cloud.example")
    assert [point.train_loss for point in made.training.points] == [1.0, 0.5, pytest.approx(1 / 3)]
    (job,) = cloud.jobs.values()
    assert (job["epochs"], job["lora_rank"], len(str(job["rows"]).split("q")) - 1) == (3, 16, 6)
    estimated = SPEC.estimate(lab, at_size(size=6))
    assert estimated.asked_as is not None
    assert estimated.asked_as.model == f"cloud/{job['id']}"
    assert estimated.asked_as.url == "https://cloud.example/v1"


def test_a_job_is_submitted_once_and_found_again_by_another_machine(
    cloud: Cloud, lab: Lab, tmp_path: Path
) -> None:
    first = SPEC.prepare(lab, at_size())
    again = SPEC.prepare(Lab(lab.root, lab.adapters, Silent()), at_size())
    clone = SPEC.prepare(Lab(lab.root, AdapterStore(tmp_path / "clone"), Silent()), at_size())
    assert first.identity == again.identity == clone.identity
    assert cloud.submissions == 1
    elsewhere = replace(SPEC, provider=CloudProvider("https://cloud.example", region="us"))
    assert elsewhere.estimate(lab, at_size(elsewhere)).prepared.identity != first.identity


def test_killed_after_each_call_in_turn_it_goes_on_with_the_one_job(cloud: Cloud, lab: Lab) -> None:
    reached = 0
    for at in range(30):
        killed = replace(SPEC, killed_at=at)
        with suppress(Killed):
            killed.prepare(Lab(lab.root, lab.adapters, Silent()), at_size(killed))
            break
        reached = at
    assert reached > 2
    assert cloud.submissions == 1
    assert SPEC.prepare(Lab(lab.root, lab.adapters, Silent()), at_size()).training is not None


def paid(lab: Lab, ledger: Ledger, training_usd: float | None = 2.0) -> Lab:
    prices = {("open-8b", True): Price("open-8b", 0.1, 0.4, training_usd, "the provider", None)}
    money = Money(ledger, lambda: (prices, "economics.toml"))
    return Lab(lab.root, lab.adapters, Silent(), money=money)


def test_the_cap_is_honoured_and_a_job_is_paid_once(cloud: Cloud, lab: Lab) -> None:
    with pytest.raises(BudgetReached, match="missing: the tuning of open-8b"):
        SPEC.prepare(paid(lab, Ledger(max_usd=0.0001)), at_size())
    with pytest.raises(UsageError, match="no price for tuning open-8b"):
        SPEC.preflight(paid(lab, Ledger(max_usd=1.0), training_usd=None), at_size())
    assert cloud.jobs == {}
    ledger = Ledger(max_usd=1.0)
    for _ in range(2):
        SPEC.prepare(paid(lab, ledger), at_size())
    size = len(SPEC.job(lab, at_size()).request.training.content)
    # its tokens are not known, nor what was billed: every byte counts, in each of three epochs
    assert ledger.spent_usd == pytest.approx(3 * size * 2.0 / 1e6)


def test_its_errors_name_no_command_that_does_not_reach_it(
    cloud: Cloud, lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(STATES, "RUNNING", "paused")
    with pytest.raises(HostedTrainingError, match="is paused") as caught:
        SPEC.prepare(lab, at_size())
    assert "harness jobs" not in str(caught.value)


def test_what_is_written_down_of_it_is_its_identity_and_a_rehearsal_leaves_it(cloud: Cloud) -> None:
    assert SPEC.described()["provider"] == {"cloud": "https://cloud.example", "region": "eu"}
    assert hash(SPEC) == hash(replace(SPEC))
    there = SPEC.redirected("http://127.0.0.1:9/v1")
    assert there.endpoint().model.url == "http://127.0.0.1:9/v1"
    there.require_fit(there.service().capabilities)
    with pytest.raises(UsageError, match="'cloud' service: there is no checkpoint there"):
        replace(SPEC, checkpoint=2).require_fit(SPEC.service().capabilities)
