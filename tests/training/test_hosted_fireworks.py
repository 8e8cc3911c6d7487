"""Fireworks: the job's id is the harness's own, so the same content is begun once, whoever begins it."""

from __future__ import annotations

import json
import re
from contextlib import closing, suppress
from dataclasses import replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, get_args

import pytest
from hosted_builders import Killed, killing
from httpx2 import Request, Response
from openai import InternalServerError
from stand_ins import Asked, Fault, Reply, Scenario
from stand_ins.fireworks import ACCOUNT, BASE, DEPLOYMENT, FireworksStand, refused

from harness import FireworksTuning
from harness.candidates.base import Prepared, Variant
from harness.candidates.lab import Lab
from harness.errors import HarnessError, HostedTrainingError, ModelError, UsageError
from harness.models.local import LocalModel
from harness.models.progress import Silent
from harness.models.protocol import Decoding, Prompt
from harness.models.remote_wire import WAKING_S, failure_of
from harness.models.server import Server
from harness.models.source import ModelSource
from harness.records import Message
from harness.store.adapters import AdapterStore
from harness.training.hosted.adapters import CONFIG, WEIGHTS
from harness.training.hosted.fireworks import FireworksProvider
from harness.training.hosted.fireworks_objects import STATES, is_id, read_dataset, read_job, resource
from harness.training.hosted.provider import (
    CANCELLED,
    FAILED,
    PAUSED,
    SUCCEEDED,
    OutcomeUnknown,
    RequestRejected,
    TuningProvider,
)

OWN = {"state", "name", "createTime", "outputModel"}


ROLES = ("user", "assistant")


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    for name, rows in (("train", 8), ("dev", 3)):
        lines = [
            json.dumps(
                {"messages": [{"role": role, "content": f"{name} {k}"} for role in ("user", "assistant")]}
            )
            for k in range(rows)
        ]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(lines), encoding="utf-8")
    return Lab(tmp_path, AdapterStore(tmp_path / "store"), Silent())


def elsewhere(lab: Lab, name: str = "elsewhere") -> Lab:
    """Another machine."""
    return Lab(lab.root, AdapterStore(lab.root / name), Silent())


def again(lab: Lab) -> Lab:
    """The next run on this machine."""
    return Lab(lab.root, lab.adapters, Silent())


def made(stand: FireworksStand, lab: Lab, size: int | None = None, **fields: Any) -> Prepared:  # noqa: ANN401
    candidate = stand.candidate("train.jsonl", fields.pop("dev", None), **fields)
    variant = Variant("n", candidate, size)
    candidate.preflight(lab, variant)
    return candidate.prepare(lab, variant)


def posts(stand: FireworksStand, end: str) -> int:
    return sum(method == "POST" and path.endswith(end) for method, path in stand.requests)


@cache
def usual(rows: bytes) -> tuple[str, ...]:
    """What is posted, and when, where nothing goes wrong."""
    with TemporaryDirectory() as folder, FireworksStand(Scenario()) as stand:
        Path(folder, "train.jsonl").write_bytes(rows)
        made(stand, Lab(Path(folder), AdapterStore(Path(folder, "store")), Silent()))
        return tuple(path if method == "POST" else "" for method, path in stand.requests)


def first(lab: Lab, end: str) -> int:
    """The number of the first request of a run that posts there."""
    told = usual((lab.root / "train.jsonl").read_bytes())
    return next(k for k, path in enumerate(told) if path.endswith(end))


def plain(said: str) -> str:
    return said


# --------------------------------------------------------------------------- the whole way
def test_sizes_are_tuned_loaded_on_one_deployment_and_answer(lab: Lab) -> None:
    with FireworksStand(Scenario()) as stand:
        small, large = (made(stand, lab, size, dev="dev.jsonl", suffix="mail") for size in (4, 8))
        for prepared in (small, large):
            stand.proves(prepared)
        jobs = list(stand.jobs.values())
        base = stand.candidate("train.jsonl", None).own_baseline().model
    assert [stand.billed, len(stand.loaded), len(stand.datasets)] == [2, 2, 3]
    assert {job["earlyStop"] for job in jobs} == {job["evalAutoCarveout"] for job in jobs} == {False}
    assert all("mail-harness-" in job["outputModel"] and is_id(job["outputModel"][21:]) for job in jobs)
    assert jobs[0]["evaluationDataset"] == jobs[1]["evaluationDataset"]
    assert base.model == f"{BASE}#accounts/{ACCOUNT}/deployments/{DEPLOYMENT}"  # type: ignore[union-attr]
    assert not stand.server.broken
    assert small.training is not None
    assert small.training.versions.keys() == {"fireworks-ai"}


def test_every_setting_goes_where_the_sdk_has_it(lab: Lab) -> None:
    with FireworksStand(Scenario()) as stand:
        made(
            stand, lab, dev="dev.jsonl", batch_size=4, max_context_length=2048, early_stop=True, epochs="auto"
        )
        (job,) = stand.jobs.values()
    sent = {name: job[name] for name in ("batchSizeSamples", "maxContextLength", "earlyStop", "loraRank")}
    assert sent == {"batchSizeSamples": 4, "maxContextLength": 2048, "earlyStop": True, "loraRank": 8}
    assert "epochs" not in job


def test_killed_before_and_after_each_call_one_job_is_begun(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = FireworksTuning.service
    for after in (False, True):
        with FireworksStand(Scenario()) as stand:
            for at in range(60):

                def killed(self: FireworksTuning, at: int = at, after: bool = after) -> TuningProvider:
                    return killing(service(self), at, after=after)

                monkeypatch.setattr(FireworksTuning, "service", killed)
                candidate = stand.candidate("train.jsonl", None)
                with suppress(Killed):
                    candidate.prepare(elsewhere(lab, f"store-{after}"), Variant("n", candidate))
                    break
            else:
                raise AssertionError("it never came through")
            assert at > 3
            assert [len(stand.begun), posts(stand, "/datasets")] == [1, 1]


# --------------------------------------------------------------------------- one id, one job
def test_two_machines_at_once_begin_one_job(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other machine begins it between this one's look and its own attempt."""
    submit = FireworksProvider.submit
    with FireworksStand(Scenario()) as stand:

        def late(self: FireworksProvider, *given: Any) -> Any:  # noqa: ANN401
            monkeypatch.setattr(FireworksProvider, "submit", submit)
            made(stand, elsewhere(lab))
            return submit(self, *given)

        monkeypatch.setattr(FireworksProvider, "submit", late)
        stand.proves(made(stand, lab))
        assert [stand.billed, posts(stand, "/supervisedFineTuningJobs")] == [1, 2]


@pytest.mark.parametrize("fault", ["drop after", 409, "html"])
def test_a_submission_of_unknown_outcome_is_found_and_not_repeated(lab: Lab, fault: str | int) -> None:
    faults = {
        "drop after": Fault(after=True),
        "html": Fault(200, "<html>sorry</html>", after=True),
        409: Fault(409, '{"code": 10, "message": "aborted"}', after=True),
    }
    nth = first(lab, "/supervisedFineTuningJobs")
    how = faults.get(fault) or Fault(int(fault), "{}", after=True)
    with FireworksStand(Scenario(faults={nth: how})) as stand:
        stand.proves(made(stand, lab))
        assert len(stand.begun) == 1


def test_a_job_that_is_taken_and_not_shown_yet_is_no_reason_for_another(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another machine's: its id is taken, and neither the listing nor its own address has it yet."""
    with FireworksStand(Scenario()) as stand:
        show, late = stand._show_job, iter((True,))

        def hidden(asked: Asked, id: str) -> Reply:
            return refused("NOT_FOUND", "not yet") if next(late, False) else show(asked, id)

        made(stand, lab)
        begun = [*stand.begun]
        monkeypatch.setattr(stand, "_show_job", hidden)
        monkeypatch.setattr(stand, "_list_jobs", lambda asked, _: Reply({}))
        stand.models.clear()
        stand._looks.clear()
        stand.proves(made(stand, elsewhere(lab)))
        assert stand.begun == begun


def test_the_next_attempt_has_the_next_id(lab: Lab) -> None:
    with FireworksStand(Scenario(ends="JOB_STATE_FAILED")) as stand:
        for _ in range(2):
            with pytest.raises(HostedTrainingError, match="the service's own machine failed"):
                made(stand, again(lab))
        first = stand.begun[0]
        for job in stand.jobs.values():
            job["state"] = "JOB_STATE_CANCELLED"
        stand.scenario = Scenario()
        stand.proves(made(stand, again(lab)))
        assert stand.begun == [first, f"{first}-2", f"{first}-3"]
        clone = stand.candidate("train.jsonl", None)
        assert clone.prepare(elsewhere(lab), Variant("n", clone)).training is not None
        assert len(stand.begun) == 3


def test_a_failure_of_the_input_is_not_paid_again(lab: Lab) -> None:
    with FireworksStand(
        Scenario(ends="JOB_STATE_FAILED", failure="INVALID_ARGUMENT: line 3 is empty")
    ) as stand:
        for machine in (lab, elsewhere(lab)):
            with pytest.raises(HostedTrainingError, match="line 3") as caught:
                made(stand, machine)
            assert re.search(r"train\.jsonl:\d", str(caught.value))
        assert len(stand.begun) == 1


def test_jobs_are_found_on_later_pages_beside_those_of_others(lab: Lab) -> None:
    with FireworksStand(Scenario(page=2)) as stand:
        for k in range(5):
            name = stand.full("supervisedFineTuningJobs", f"a-{k}")
            stand.jobs[f"a-{k}"] = {"name": name, "dataset": "d", "state": "JOB_STATE_FAILED"}
        made(stand, lab)
        made(stand, elsewhere(lab))
        assert len(stand.begun) == 1
        own = stand.begun[0]
        del stand.jobs[own]  # its model is still there
        made(stand, elsewhere(lab, "third"))
        assert stand.begun == [own]


def test_a_model_that_was_deleted_is_not_paid_again_without_a_word(lab: Lab) -> None:
    with FireworksStand(Scenario()) as stand:
        made(stand, lab)
        stand.models.clear()
        shown = stand._job

        def long_ago(id: str, *, look: bool = False) -> dict[str, Any]:
            found = {**shown(id, look=look), "completedTime": "2026-01-01T00:00:00Z"}
            stand.models.clear()
            return found

        stand._job = long_ago  # type: ignore[method-assign]
        with pytest.raises(HostedTrainingError, match="not there any more") as caught:
            made(stand, elsewhere(lab))
        assert f"delete {stand.begun[0]}" in str(caught.value)
        assert len(stand.begun) == 1


# --------------------------------------------------------------------------- files
def test_a_dataset_that_was_made_and_not_filled_is_filled(lab: Lab) -> None:
    nth = first(lab, ":upload")
    with FireworksStand(Scenario(faults={nth: Fault(500), nth + 1: Fault(500)})) as stand:
        made(stand, lab)
        (state,) = (found["state"] for found in stand.datasets.values())
        assert [state, len(stand.begun)] == ["READY", 1]


def test_a_dataset_that_is_refused_leads_to_its_row(lab: Lab) -> None:
    nth = first(lab, ":upload")
    body = '{"code": 3, "message": "invalid example on line 2: no assistant", "details": []}'
    with FireworksStand(Scenario(faults={nth: Fault(400, body)})) as stand:
        with pytest.raises(HostedTrainingError, match="line 2") as caught:
            made(stand, lab)
        assert re.search(r"train\.jsonl:\d", str(caught.value))
        assert not stand.begun


def test_large_files_go_to_the_sdks_own_upload(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    from fireworks.lib import dataset_upload

    sent: list[bytes] = []

    def shards(client: object, id: str, path: str) -> None:
        sent.append(Path(path).read_bytes())
        stand.contents[id] = sent[-1]

    monkeypatch.setattr("harness.training.hosted.fireworks.MOST_BYTES_AT_ONCE", 10)
    monkeypatch.setattr(dataset_upload, "upload_dataset_shards", shards)
    with FireworksStand(Scenario()) as stand:
        made(stand, lab)
    assert [len(sent), len(sent[0].splitlines())] == [1, 8]


# --------------------------------------------------------------------------- where it answers
def test_without_a_deployment_nothing_is_sent(lab: Lab) -> None:
    with FireworksStand(Scenario()) as stand:
        for fields, words in (
            ({"deployment": None}, "enable-addons"),
            ({"deployment": "other"}, "no deployment"),
        ):
            with pytest.raises(HarnessError, match=words):
                made(stand, lab, **fields)
        where = stand.deployments[stand.full("deployments", DEPLOYMENT)]
        for change, words in (
            ({"enableAddons": False}, "takes no adapters"),
            ({"baseModel": "accounts/fireworks/models/qwen3-8b"}, "qwen3-8b, and"),
            ({"state": "FAILED"}, "is failed"),
        ):
            before = dict(where)
            where.update(change)
            with pytest.raises(HostedTrainingError, match=words):
                made(stand, lab)
            where.update(before)
        assert not [path for method, path in stand.requests if method == "POST"]
        made(stand, lab)
        assert stand.billed == 1


def test_a_deployment_of_the_tuned_model_itself_is_taken(lab: Lab) -> None:
    with FireworksStand(Scenario()) as stand:
        made(stand, lab)
        (model,) = stand.models
        stand.deployments[stand.full("deployments", "alone")] = {"baseModel": model, "state": "READY"}
        stand.proves(made(stand, again(lab), deployment="alone"))
        assert [stand.billed, len(stand.loaded)] == [1, 0]


def test_an_adapter_that_cannot_be_loaded_leads_out(lab: Lab) -> None:
    with FireworksStand(Scenario()) as stand:
        prepared = made(stand, lab)
        stand._load = lambda asked, _: FireworksStand._list_loaded(stand, asked, _)  # type: ignore[method-assign]
        with pytest.raises(HostedTrainingError, match="not there after 30 minutes") as caught:
            prepared.load()
        assert "load-lora" in str(caught.value)
        stand.deployments[stand.full("deployments", DEPLOYMENT)] |= {
            "state": "FAILED",
            "status": {"code": "INTERNAL", "message": f"no node for {stand.keys['FIREWORKS_API_KEY']}"},
        }
        with pytest.raises(HostedTrainingError, match=r"no node for \[key\]"):
            made(stand, again(lab))


# --------------------------------------------------------------------------- states, names, money
def test_every_state_of_the_sdk_is_decided() -> None:
    from fireworks.types import SupervisedFineTuningJob

    hint = SupervisedFineTuningJob.model_fields["state"].annotation
    words = {word for part in get_args(hint) for word in get_args(part)}
    assert words == STATES.keys()
    ends = {word for word, status in STATES.items() if status in {SUCCEEDED, *FAILED, *CANCELLED, *PAUSED}}
    assert words - ends == {
        f"JOB_STATE_{word}"
        for word in (
            *("UNSPECIFIED", "CREATING", "CREATING_INPUT_DATASET", "VALIDATING", "PENDING", "RE_QUEUEING"),
            *("RUNNING", "WRITING_RESULTS", "IDLE"),
        )
    }


@pytest.mark.parametrize(
    ("state", "words"),
    [
        ("JOB_STATE_IDLE", ""),
        ("JOB_STATE_NOBODY_KNOWS", ""),
        ("JOB_STATE_EARLY_STOPPED", ""),
        ("JOB_STATE_EXPIRED", "its time ran out"),
        ("JOB_STATE_CANCELLING", "cancelled"),
    ],
)
def test_a_state_ends_in_an_answer_or_in_words(lab: Lab, state: str, words: str) -> None:
    ends = state if words or state == "JOB_STATE_EARLY_STOPPED" else "JOB_STATE_COMPLETED"
    with FireworksStand(Scenario(statuses=(state,), ends=ends)) as stand:
        if words:
            with pytest.raises(HostedTrainingError, match=words):
                made(stand, lab)
        else:
            stand.proves(made(stand, lab))
        assert len(stand.begun) == 1


def test_a_paused_job_is_followed_once_it_is_resumed(lab: Lab) -> None:
    with FireworksStand(Scenario(statuses=("JOB_STATE_PAUSED", "JOB_STATE_RUNNING"))) as stand:
        with pytest.raises(HostedTrainingError, match="paused"):
            made(stand, lab)
        (id,) = stand.begun
        with closing(stand.candidate("train.jsonl", None).service()) as service:
            service.resume(id)
        stand.proves(made(stand, again(lab)))
        assert len(stand.begun) == 1


@pytest.mark.parametrize(
    ("moment", "seconds"),
    [
        ("2026-11-29T03:00:00Z", 1795921200),
        ("2026-11-29T03:00:00.123456789Z", 1795921200),
        ("2026-11-29T04:00:00+01:00", 1795921200),
        ("2026-11-29T03:00:00", 1795921200),
        ("2026-11-29", 1795910400),
        (1795921200, 1795921200),
        (1795921200000, 1795921200),
        ("yesterday", 0),
        ("", 0),
        (None, 0),
        ({"seconds": 5}, 0),
    ],
)
def test_times_in_other_forms(moment: Any, seconds: int) -> None:  # noqa: ANN401
    job = read_job({"name": "accounts/a/supervisedFineTuningJobs/x", "createTime": moment}, "a", plain)
    assert job.created == seconds


@pytest.mark.parametrize(
    ("money", "usd"),
    [
        ({"currencyCode": "USD", "units": "3", "nanos": 500_000_000}, 3.5),
        ({"units": 2}, 2.0),
        ({"nanos": 10_000_000}, 0.01),
        ({"currencyCode": "EUR", "units": "3"}, None),
        ({"currencyCode": "USD"}, None),
        ({"units": "many"}, None),
        ("3 dollars", None),
        (None, None),
    ],
)
def test_money(money: Any, usd: float | None) -> None:  # noqa: ANN401
    found = read_job({"name": "x", "estimatedCost": money}, "a", plain)
    assert found.estimated_usd == usd


def test_objects_that_are_none_are_no_news() -> None:
    for read in (lambda item: read_job(item, "a", plain), lambda item: read_dataset(item, plain)):
        for item in ({}, {"name": ""}, {"name": 3}, "<html>", None, [1]):
            with pytest.raises(OutcomeUnknown):
                read(item)


def test_names_long_and_short_are_one_model_and_one_job(lab: Lab) -> None:
    short, long = (
        FireworksTuning(base=base, train="train.jsonl") for base in (BASE.rpartition("/")[2], BASE)
    )
    assert short == long
    own = replace(long, base="accounts/acme/models/mine")
    assert own.settings().base == "accounts/acme/models/mine"
    for wrong in ("meta-llama/Llama-3.1-8B-Instruct", "accounts/acme/deployments/x", "accounts//models/x"):
        with pytest.raises(UsageError, match="name of Fireworks' models"):
            replace(long, base=wrong)
    assert resource("accounts/a/deployments/d", "deployments", "b") == "accounts/a/deployments/d"


@pytest.mark.parametrize(
    ("id", "can"),
    [
        ("a", True),
        ("a" * 63, True),
        ("a" * 64, False),
        ("", False),
        ("-a", False),
        ("a-", False),
        ("a_b", False),
    ],
)
def test_ids(id: str, can: bool) -> None:
    assert is_id(id) is can


def test_the_longest_suffix_still_makes_an_id(lab: Lab) -> None:
    candidate = FireworksTuning(
        base=BASE, train="train.jsonl", suffix="s" * 24, account=ACCOUNT, deployment=DEPLOYMENT
    )
    service, job = candidate.service(), candidate.job(lab, Variant("n", candidate))
    sent = service.body(job.request, "d", None, 50)
    assert is_id(str(sent["output_model"]))
    for suffix, words in (("s" * 25, "at most 24"), ("Über uns", "a-z, 0-9"), ("-", "a-z, 0-9")):
        with pytest.raises(UsageError, match=words):
            replace(candidate, suffix=suffix).job(lab, Variant("n", candidate))


@pytest.mark.parametrize(
    ("account", "words"), [("", "FIREWORKS_ACCOUNT_ID is not set"), ("Acme Inc", "no account at Fireworks")]
)
def test_an_account_that_is_missing_or_none(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, account: str, words: str
) -> None:
    with FireworksStand(Scenario()) as stand:
        monkeypatch.setenv("FIREWORKS_ACCOUNT_ID", account)
        with pytest.raises(ModelError, match=words):
            made(stand, lab)
        monkeypatch.setenv("FIREWORKS_ACCOUNT_ID", f"accounts/{ACCOUNT}/")
        made(stand, lab)
        assert stand.requests[0][1].startswith(f"/v1/accounts/{ACCOUNT}/")


def test_no_key_is_in_any_word(lab: Lab) -> None:
    key = FireworksStand.keys["FIREWORKS_API_KEY"]
    body = json.dumps({"code": 16, "message": f"bad key Bearer {key} or fw_another0123456"})
    stand = FireworksStand(Scenario(faults=dict.fromkeys(range(50), Fault(401, body))))
    with stand, pytest.raises(HostedTrainingError) as caught:
        made(stand, lab)
    assert "bad key" in str(caught.value)
    assert "fw_" not in str(caught.value)


# --------------------------------------------------------------------------- adapters that answer here
def here(stand: FireworksStand, tiny: ModelSource, adapter: Path, **fields: Any) -> dict[str, Any]:  # noqa: ANN401
    stand.files = {name: (adapter / name).read_bytes() for name in (CONFIG, WEIGHTS)}
    return {"deployment": None, "local_base": str(tiny.folder), **fields}


def texts(model: Any) -> list[str]:  # noqa: ANN401
    prompts = [Prompt(str(k), (Message("user", f"where is order {k}?"),)) for k in range(3)]
    return [answer.text for answer in model.answer(prompts, Decoding(max_new_tokens=8), frozenset())]


def test_an_adapter_is_fetched_in_parts_and_answers_here(
    lab: Lab, tiny: ModelSource, adapter: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with FireworksStand(Scenario()) as stand:
        given = here(stand, tiny, adapter)
        stand.most_a_part = len(stand.files[WEIGHTS]) // 3 + 1
        prepared = made(stand, lab, **given)
        (folder,) = (lab.root / "store").glob("*/adapter_model.safetensors")
        assert folder.read_bytes() == stand.files[WEIGHTS]
        wanted = [
            int(at.removeprefix("bytes=").rstrip("-") or 0) for name, at in stand.downloads if name == WEIGHTS
        ]
        assert wanted == [k * stand.most_a_part for k in range(3)]  # no byte twice
        ours = texts(prepared.load())
        assert ours == texts(LocalModel.load(tiny, lab.plan(), adapter=adapter))
        assert ours != texts(LocalModel.load(tiny, lab.plan()))
        assert stand.candidate("train.jsonl", None, **given).own_baseline().model_name == str(tiny.folder)
        asked = len(stand.requests)
        monkeypatch.delenv("FIREWORKS_API_KEY")  # what is here needs none
        assert made(stand, again(lab), **given).identity == prepared.identity
    assert (stand.billed, len(stand.requests), posts(stand, "deployedModels")) == (1, asked, 0)
    assert not list((lab.root / "store").glob("*.archive*"))


def test_an_adapter_that_is_not_given_leads_out_and_nothing_is_tuned_twice(
    lab: Lab, tiny: ModelSource, adapter: Path
) -> None:
    with FireworksStand(Scenario()) as stand:
        given = here(stand, tiny, adapter)
        whole = stand.files
        twice = {f"{side}/{name}": b"x" for side in "ab" for name in whole}
        for stand.files in ({CONFIG: whole[CONFIG]}, {}, twice):
            with pytest.raises(HostedTrainingError, match=r"cannot answer here(.|\n)*nothing is tuned twice"):
                made(stand, again(lab), **given)
        # weights that were finished, but for the end of their archive, by a process that was killed
        stand.files = whole
        provider = FireworksProvider(stand.url)
        (job,), (model,) = stand.jobs, stand.models
        archive, most = lab.root / "some.archive", 10**6
        with closing(provider):
            provider.fetch_adapter(job, model, None, archive, most)
            first = archive.read_bytes()
            size = len(whole[WEIGHTS])
            for cut in (1, 512, 1024, 1100, 1024 + size // 2, len(first) - size):
                archive.write_bytes(first[:-cut])
                provider.fetch_adapter(job, model, None, archive, most)
                assert archive.read_bytes() == first, cut
            with pytest.raises(RequestRejected, match="more than 700 bytes"):
                provider.fetch_adapter(job, model, None, lab.root / "other.archive", 700)
    assert stand.billed == 1


def test_an_adapter_may_answer_by_a_server(lab: Lab, tiny: ModelSource, adapter: Path) -> None:
    server = Server(url="http://127.0.0.1:9/v1", adapter_name="{candidate}-{size}", version="1")
    with FireworksStand(Scenario()) as stand:
        given = here(stand, tiny, adapter, serve=server)
        candidate = stand.candidate("train.jsonl", None, **given)
        assert candidate.own_baseline().serve == server
        planned = candidate.estimate(lab, Variant("n", candidate, 4)).prepared
        assert planned.served is not None
        with pytest.raises(UsageError, match="no local_base"):
            made(stand, lab, serve=server)
    assert stand.billed == 0


def test_a_rehearsal_leaves_the_service_and_a_factor_is_no_rate(lab: Lab) -> None:
    candidate = FireworksTuning(
        base=BASE, train="train.jsonl", deployment="d", learning_rate=1e-4, lora_rank=8, suffix="s"
    )
    there = candidate.redirected("http://127.0.0.1:9/v1")
    assert (there.base, there.suffix, there.deployment) == (BASE, "s", None)
    there.require_fit(there.service().capabilities)
    with pytest.raises(UsageError, match="rate itself"):
        replace(candidate, learning_rate=2.0).job(lab, Variant("n", candidate))
    with pytest.raises(UsageError, match="development rows"):
        replace(candidate, early_stop=True)
    with pytest.raises(UsageError, match="base_deployment"):
        replace(candidate, deployment="mail-{size}").own_baseline()
    serverless = replace(candidate, base_deployment="serverless").own_baseline().model
    assert serverless.model == BASE  # type: ignore[union-attr]


def test_a_deployment_that_sleeps_is_told_from_a_service_that_fails() -> None:
    for code, waking_s in (("DEPLOYMENT_SCALING_UP", WAKING_S), ("INTERNAL", 0.0), (None, 0.0)):
        body = {"message": "Deployment is currently scaled to zero and is scaling up.", "code": code}
        response = Response(503, request=Request("POST", "https://api.fireworks.ai/inference/v1"), json=body)
        failed = failure_of(InternalServerError("503", response=response, body=body), plain)
        assert (failed.waking_s, failed.unbilled) == (waking_s, waking_s > 0)
