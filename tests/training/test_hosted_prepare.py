"""A hosted candidate from its rows to answers, against a stand-in of the service on loopback."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path

import pytest
from hosted_builders import BASE, FakeService, FakeTuning, provider_of, tuned, variant

from harness.candidates.base import Prepared
from harness.candidates.hosted_tuning import OpenAITuning
from harness.candidates.lab import Lab
from harness.errors import DataError, HarnessError, HostedTrainingError, ModelError, UsageError
from harness.models.profiles import AZURE, OPENAI
from harness.models.progress import Silent
from harness.models.protocol import Decoding, Prompt
from harness.models.retry import RetryPolicy
from harness.store.adapters import AdapterStore
from harness.testing.fake_openai import (
    CHAT,
    CLOSING,
    COMPLETIONS,
    Faults,
    ScriptedBackend,
    running_fake_openai,
    set_twin_faults,
    twin_stats,
)
from harness.training.hosted.jobs import Environment
from harness.training.hosted.lifetimes import today
from harness.training.hosted.provider import JobFailure

TODAY = date(2026, 11, 21)
KEY = "sk-planted-0123456789abcdef"


@dataclass(frozen=True, kw_only=True)
class Quick(OpenAITuning):
    """The candidate, which hardly waits."""

    def __hash__(self) -> int:
        return super().__hash__()

    def environment(self, lab: Lab) -> Environment:
        retry = RetryPolicy(attempts=4, throttled_attempts=4)
        waits = replace(super().environment(lab), sleep=lambda s: time.sleep(min(s, 0.005)))
        return replace(waits, retry=retry)


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with running_fake_openai(backend=ScriptedBackend()) as address:
        yield address


@pytest.fixture
def root(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """A project whose rows are no other test's: all share one twin."""
    for name, n in (("train", 16), ("dev", 3), ("general", 4)):
        lines = [_line(f"{request.node.name} {name} {k}", f"answer {k}") for k in range(n)]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(lines), encoding="utf-8")
    return tmp_path


@pytest.fixture
def lab(root: Path) -> Lab:
    return Lab(root, AdapterStore(root / "store"), Silent(), today=lambda: TODAY)


def spec(url: str, **changes: object) -> Quick:
    made = Quick(base=CHAT, train="train.jsonl", dev="dev.jsonl", base_url=url or None, profile="twin")
    return replace(made, **changes)  # type: ignore[arg-type]  # the fields' own types


def fake(service: FakeService, **changes: object) -> FakeTuning:
    made = FakeTuning(
        base=BASE,
        train="train.jsonl",
        dev="dev.jsonl",
        base_url="http://127.0.0.1:1/v1",
        profile="twin",
        provider=provider_of(service),
    )
    return replace(made, **changes)  # type: ignore[arg-type]  # the fields' own types


def prepared(candidate: OpenAITuning, lab: Lab, size: int | None = None, seed: int = 0) -> Prepared:
    return candidate.prepare(lab, variant(candidate, size, seed))


def again(lab: Lab) -> Lab:
    """That of a later run, over the same store."""
    return Lab(lab.root, lab.adapters, Silent(), today=lab.today)


def test_the_tuned_model_answers_what_it_was_taught(url: str, lab: Lab) -> None:
    made = prepared(spec(url), lab)
    row = lab.rows("train.jsonl")[3]
    prompts = [Prompt(row.id, made.ask(row, "the suite's full prompt"))]
    (answer,) = made.load().answer(prompts, Decoding(), frozenset())
    assert answer.text == row.reference
    assert prompts[0].messages == row.prompt


def test_the_record_says_what_the_service_tells(url: str, lab: Lab) -> None:
    training = prepared(spec(url, epochs=2), lab).training
    assert training is not None
    assert (training.rows, training.replay_rows, training.epochs, training.steps) == (16, 0, 2.0, 4)
    assert training.device.startswith("hosted: ftjob-")
    assert url in training.device
    assert training.tokens > 0
    assert training.supervised_tokens > 0
    assert training.subset == "all 16 rows of the file"
    assert [p.epoch for p in training.points] == [0.5, 1.0, 1.5, 2.0]
    assert [p.dev_loss is not None for p in training.points] == [False, True, False, True]


def test_a_second_run_asks_the_service_for_nothing(url: str, lab: Lab) -> None:
    first = prepared(spec(url), lab)
    before = twin_stats(url)["calls"]
    second = prepared(spec(url), again(lab))
    assert twin_stats(url)["calls"] == before
    assert (second.identity, second.training) == (first.identity, first.training)


def test_a_fresh_clone_finds_the_job_and_pays_nothing(url: str, lab: Lab, tmp_path: Path) -> None:
    first = prepared(spec(url), lab)
    jobs = twin_stats(url)["jobs"]
    clone = Lab(lab.root, AdapterStore(tmp_path / "another-store"), Silent())
    assert prepared(spec(url), clone).identity == first.identity
    assert twin_stats(url)["jobs"] == jobs


def test_general_rows_are_added_to_every_size(url: str, lab: Lab) -> None:
    training = prepared(spec(url, replay="general.jsonl"), lab, size=12).training
    assert training is not None
    assert (training.rows, training.replay_rows, len(training.row_ids)) == (12, 4, 12)


@pytest.mark.parametrize(("checkpoint", "ends"), [("last", ""), (2, ":ckpt-step-2"), ("best", "")])
def test_a_checkpoint_is_chosen_without_another_job(
    url: str, lab: Lab, checkpoint: str | int, ends: str
) -> None:
    prepared(spec(url), lab)
    jobs = twin_stats(url)["jobs"]
    model = prepared(spec(url, checkpoint=checkpoint), lab).load()
    assert model.spec.model.rpartition("ftjob")[2].endswith(ends)  # type: ignore[attr-defined]
    assert twin_stats(url)["jobs"] == jobs


def test_a_checkpoint_that_is_not_there_lists_those_that_are(url: str, lab: Lab) -> None:
    with pytest.raises(HostedTrainingError, match="no checkpoint at step 5; it has: 2, 4, 6"):
        prepared(spec(url, checkpoint=5), lab)


def test_two_seeds_and_two_checkpoints_are_told_apart(url: str, lab: Lab) -> None:
    made = [
        prepared(spec(url), lab, size=12),
        prepared(spec(url), lab, size=12, seed=1),
        prepared(spec(url, checkpoint=2), lab, size=12),
    ]
    assert len({p.identity for p in made}) == 3


def test_a_completion_model_is_tuned_on_prompts_and_completions(url: str, lab: Lab) -> None:
    made = prepared(spec(url, base=COMPLETIONS, completions=True), lab)
    row = lab.rows("train.jsonl")[0]
    (answer,) = made.load().answer([Prompt(row.id, made.ask(row, None))], Decoding(), frozenset())
    assert answer.failure is None


def test_a_service_without_metadata_is_found_again_too(url: str, lab: Lab, tmp_path: Path) -> None:
    plain = spec(url, profile="compatible")
    first = prepared(plain, lab)
    jobs = twin_stats(url)["jobs"]
    clone = Lab(lab.root, AdapterStore(tmp_path / "another-store"), Silent())
    assert prepared(plain, clone).identity == first.identity
    assert twin_stats(url)["jobs"] == jobs


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_server_on_this_machine_is_never_asked_through_a_proxy(
    url: str, lab: Lab, monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")  # nobody listens there
        monkeypatch.setenv(name.lower(), "http://127.0.0.1:9")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    made = prepared(spec(url.replace("127.0.0.1", host)), lab)
    row = lab.rows("train.jsonl")[3]
    prompts = [Prompt(row.id, made.ask(row, None))]
    (answer,) = made.load().answer(prompts, Decoding(), frozenset())
    assert answer.text == row.reference


# --------------------------------------------------------------------------- what stands in the way
def test_a_file_that_the_service_refuses_names_the_users_line(url: str, root: Path, lab: Lab) -> None:
    lines = (root / "train.jsonl").read_text(encoding="utf-8").splitlines()
    long = _line("long " * 9_000, "answer")
    (root / "train.jsonl").write_text("\n".join([*lines[:4], long, *lines[4:]]), encoding="utf-8")
    with pytest.raises(HostedTrainingError) as caught:
        prepared(spec(url), lab)
    assert caught.value.where == (f"{root / 'train.jsonl'}:5",)
    assert caught.value.code


@pytest.mark.parametrize(
    ("changes", "says"), [({"base": "no-such-model"}, "no-such-model"), ({"base": CHAT + "-x"}, "model")]
)
def test_a_base_that_the_service_does_not_tune_is_said_so(
    url: str, lab: Lab, changes: dict[str, object], says: str
) -> None:
    with pytest.raises(HostedTrainingError, match="did not begin a tuning job") as caught:
        prepared(spec(url, **changes), lab)
    assert says in str(caught.value)


def test_a_job_that_fails_at_the_service_is_begun_anew_by_the_next_run(url: str, lab: Lab) -> None:
    set_twin_faults(url, Faults(job_fails_at_step=2))
    try:
        with pytest.raises(HostedTrainingError, match="failed") as caught:
            prepared(spec(url), lab)
    finally:
        set_twin_faults(url, Faults())
    assert caught.value.code == "server_error"
    with pytest.raises(HostedTrainingError, match=str(caught.value.job)):
        prepared(spec(url, checkpoint=2), lab)  # another candidate of the same job and session
    made = prepared(spec(url), again(lab))
    notes = spec(url).notes(lab, variant(spec(url)))
    assert made.training is not None
    assert any(str(caught.value.job) in note for note in notes)


def test_a_tuned_model_that_must_be_deployed_says_so_and_is_not_tuned_again(lab: Lab) -> None:
    service = FakeService(keeps_metadata=False)
    azure = fake(service, provider=provider_of(service, AZURE), base="gpt-4.1-mini-2025-04-14")
    with pytest.raises(HostedTrainingError, match=r"deployment='ITS NAME'"):
        prepared(azure, lab, 12)
    named = replace(azure, deployment="support-{size}")
    assert prepared(named, lab, 12).model_name == azure.base
    assert len(service.jobs) == 1
    with pytest.raises(UsageError, match=r"only {size} and {seed}"):
        prepared(replace(azure, deployment="{name}"), lab, 12)


def test_a_deployment_that_another_model_of_the_run_would_answer_under_is_refused(lab: Lab) -> None:
    service = FakeService(keeps_metadata=False)
    azure = fake(service, provider=provider_of(service, AZURE), base="gpt-4.1-mini-2025-04-14")
    one = replace(azure, deployment="support", base_deployment="mini")
    for _ in range(2):
        preflight(one, lab, 12)
    with pytest.raises(UsageError, match=r"'support-{size}-{seed}'"):
        preflight(one, lab, 11)
    with pytest.raises(UsageError, match="the base answers there"):
        preflight(replace(one, deployment="mini"), lab, 12)
    for size in (11, 12):
        preflight(replace(one, deployment="support-{size}"), lab, size)
    assert not service.jobs


def preflight(candidate: OpenAITuning, lab: Lab, size: int | None = None) -> None:
    candidate.preflight(lab, variant(candidate, size))


def test_too_few_rows_are_refused_before_anything_is_sent(url: str, lab: Lab) -> None:
    with pytest.raises(DataError, match="5 training rows; this service takes no fewer than 10"):
        preflight(spec(url), lab, 5)


OPENAI_ITSELF = {"base_url": "https://api.openai.com/v1", "profile": None, "base": BASE}


def test_a_missing_key_is_told_before_anything_is_sent(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    openai = spec("", **OPENAI_ITSELF)
    with pytest.raises(ModelError, match="OPENAI_API_KEY"):
        preflight(openai, lab)
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    preflight(openai, lab)


def test_a_row_beyond_the_models_context_is_named(
    root: Path, lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with (root / "train.jsonl").open("a", encoding="utf-8") as file:
        file.write("\n" + _line("word " * 20_000, "answer"))
    with pytest.raises(DataError, match=r"train.jsonl:17: .* more than the 16,385"):
        preflight(spec("http://127.0.0.1:1/v1", base="gpt-3.5-turbo"), lab)


def test_rows_are_checked_even_where_there_is_no_key(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(DataError, match="5 training rows"):
        preflight(spec("", **OPENAI_ITSELF), lab, 5)


def closed(lab: Lab) -> Lab:
    """The lab on a day on which OpenAI takes no new job."""
    return replace(lab, today=lambda: date(2027, 1, 7))


def test_a_model_that_can_no_longer_be_tuned_is_told_before_a_job(lab: Lab) -> None:
    service = FakeService()
    openai = fake(service, provider=provider_of(service, OPENAI))
    with pytest.raises(HostedTrainingError, match="2027-01-06"):
        preflight(openai, closed(lab))
    assert not service.jobs
    service.asked.clear()
    preflight(openai, replace(closed(lab), is_offline=True))  # a plan says it beside its numbers
    assert service.asked == []
    estimated = openai.estimate(closed(lab), variant(openai)).training
    assert estimated is not None
    assert "2027-01-06" in estimated.problem


def test_a_job_that_was_begun_in_time_is_used_after_its_model_has_closed(lab: Lab) -> None:
    service = FakeService()
    openai = fake(service, provider=provider_of(service, OPENAI))
    tuned(openai.job(lab, variant(openai)).request, service, profile=OPENAI)
    preflight(openai, closed(lab))


def test_a_model_that_closes_within_the_horizon_is_noted(url: str, lab: Lab) -> None:
    closing, now = spec(url, base=CLOSING), replace(lab, today=today, horizon_days=lambda: 90.0)
    prepared(closing, now)
    (note,) = closing.notes(now, variant(closing))
    assert note.startswith("WARNING")
    assert "(the service)" in note


def test_a_model_that_closes_is_noted_though_its_job_failed(lab: Lab) -> None:
    service = FakeService(
        shutdown_date="2026-12-10",
        life=("queued", "failed"),
        failure=JobFailure("server_error", "internal", None),
    )
    with pytest.raises(HostedTrainingError):
        prepared(fake(service), lab)
    (note,) = fake(service).notes(lab, variant(fake(service)))
    assert "2026-12-10, in 19 days: within the horizon" in note


def test_the_horizon_of_the_economics_says_what_is_warned_of_before_the_job(lab: Lab) -> None:
    said: list[str] = []

    class Saying(Silent):
        def say(self, text: str) -> None:
            said.append(text)

    far = replace(lab, progress=Saying(), horizon_days=lambda: 90.0)
    prepared(fake(FakeService(shutdown_date="2027-01-14")), far)
    assert "within the horizon of 90 days" in said[0]
    assert "has begun" in said[1]


# --------------------------------------------------------------------------- secrets
@pytest.mark.parametrize("faults", [Faults(), Faults(unauthorized=1.0), Faults(server_error=1.0)])
def test_a_planted_key_is_in_no_error_repr_log_or_file(
    root: Path,
    lab: Lab,
    faults: Faults,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("PLANTED", KEY)
    caplog.set_level(logging.DEBUG)
    said = [repr(lab)]
    with running_fake_openai(backend=ScriptedBackend(), api_key=KEY, faults=faults) as url:
        candidate = spec(url, api_key_env="PLANTED")
        try:
            made = prepared(candidate, lab)
            said += [repr(made), repr(made.load()), repr(candidate), str(candidate.described())]
        except HarnessError as error:
            said += [repr(error), str(error), repr(error.__cause__)]
    for path in root.rglob("*"):
        said += [path.read_text(encoding="utf-8")] if path.is_file() else []
    said += [caplog.text, *capsys.readouterr()]
    assert len(said) > 4
    assert not any(KEY in text or KEY[:12] in text for text in said)


def test_a_key_that_the_service_quotes_is_taken_out_of_the_error(
    url: str, lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = "sk-wrong-key-000111222333"
    monkeypatch.setenv("PLANTED", wrong)
    with ExitStack() as stack:
        guarded = stack.enter_context(running_fake_openai(backend=ScriptedBackend(), api_key=KEY))
        caught = stack.enter_context(pytest.raises(HostedTrainingError))
        prepared(spec(guarded, api_key_env="PLANTED"), lab)
    assert caught.value.code in ("invalid_api_key", "401")
    assert wrong not in str(caught.value)
    assert "check that the key belongs to this service" in str(caught.value)


def _line(question: str, answer: str) -> str:
    turns = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    return json.dumps({"messages": turns})


def test_nothing_is_asked_of_the_service_where_the_artifact_is_there(lab: Lab) -> None:
    service = FakeService()
    first = prepared(fake(service), lab)
    service.asked.clear()
    second = prepared(fake(service), again(lab))
    assert (second.identity, service.asked) == (first.identity, [])


def test_names_in_the_store_are_those_of_artifacts_that_were_paid_for(lab: Lab, root: Path) -> None:
    """A change here means that finished jobs are looked for again, and answers asked and paid again."""
    turns = [{"role": "user", "content": "a question"}, {"role": "assistant", "content": "an answer"}]
    lines = [json.dumps({"messages": turns, "id": str(k)}) for k in range(12)]
    (root / "train.jsonl").write_text("\n".join(lines), encoding="utf-8")
    candidate = fake(FakeService(), dev=None)
    estimated = candidate.estimate(lab, variant(candidate))
    assert estimated.training is not None
    assert estimated.training.tokens == 540.0
    assert estimated.training.most_tokens == pytest.approx(838.8)
    yet = "ea543fa6f873019c07ea29bae4b2c9ef35221008ed973c2d42fd83154e5ac424"
    assert estimated.prepared.identity == yet
    made = prepared(candidate, lab)
    assert made.training is not None
    artifact = "1311dd9e933e3c2c897344a57ce1e154e41677f2c53688348655a80bb92ac75c"
    assert (estimated.training.artifact, made.training.fingerprint) == (artifact, artifact)
    assert made.identity == "e26459fecd7f1cef803a4f5102bdb25bcf9653ee55db42cbed69ddcf189c3ea1"
    assert made.model_digest == "be3d04aedf294911b8d6d161b71ee68706a9d7f25f69669c5ee3c002ecd73faa"


def test_seeds_of_one_recipe_share_their_settings_whatever_their_files_are_called(
    lab: Lab, root: Path
) -> None:
    copied = root / "train-v2.jsonl"
    copied.write_text((root / "train.jsonl").read_text(encoding="utf-8"), encoding="utf-8")
    first, other = fake(FakeService(), suffix="a"), fake(FakeService(), suffix="b", train="train-v2.jsonl")
    recipes = [
        prepared(first, lab, 12).recipe,
        prepared(other, lab, 12, seed=1).recipe,
        other.estimate(lab, variant(other, 12, seed=2)).prepared.recipe,
    ]
    assert recipes[0] == recipes[1] == recipes[2] is not None
    assert prepared(replace(first, epochs=2), lab, 12).recipe != recipes[0]
