"""Together: a price before each job, jobs that are known by their suffix, and adapters that answer here."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
from hosted_builders import Killed, killing
from stand_ins import Fault, Scenario
from stand_ins.together import BASE, USD, TogetherStand, packed, packed_folder
from together.lib.resources.fine_tuning import create_finetune_request
from together.types.finetune_model_limits import FinetuneModelLimits

from harness import TogetherTuning
from harness.candidates.base import Variant
from harness.candidates.downloaded import DownloadedTuning
from harness.candidates.lab import Lab
from harness.errors import BudgetReached, HostedTrainingError, UsageError
from harness.models.ledger import Ledger, Money
from harness.models.local import LocalModel
from harness.models.progress import Silent
from harness.models.protocol import Decoding, Prompt
from harness.models.source import ModelSource
from harness.records import Message
from harness.store.adapters import AdapterStore
from harness.training.hosted.adapters import (
    CONFIG,
    WEIGHTS,
    AdapterProblem,
    require_adapter,
    unpack_adapter,
)
from harness.training.hosted.provider import TuningProvider

KEY = TogetherStand.keys["TOGETHER_API_KEY"]
Made = Callable[..., TogetherStand]


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    lines = [
        json.dumps(
            {"messages": [{"role": "user", "content": f"q{k}"}, {"role": "assistant", "content": f"a{k}"}]}
        )
        for k in range(8)
    ]
    for name in ("train", "dev"):
        (tmp_path / f"{name}.jsonl").write_text("\n".join(lines), encoding="utf-8")
    return Lab(tmp_path, AdapterStore(tmp_path / "store"), Silent())


@pytest.fixture
def stand() -> Iterator[Made]:
    opened: list[TogetherStand] = []

    def make(adapter: bytes = b"", local_base: str | None = None, **scenario: Any) -> TogetherStand:  # noqa: ANN401
        opened.append(TogetherStand(Scenario(**scenario), adapter, local_base))
        opened[-1].__enter__()
        return opened[-1]

    yield make
    for one in opened:
        one.__exit__(None, None, None)
        assert one.server.broken == []


def again(lab: Lab, **fields: Any) -> Lab:  # noqa: ANN401
    """The next run on the same machine."""
    return Lab(lab.root, lab.adapters, Silent(), **fields)


def capped(lab: Lab, usd: float) -> Lab:
    return again(lab, money=Money(Ledger(usd)))


def config_of(base: str, **fields: Any) -> bytes:  # noqa: ANN401
    return json.dumps({"peft_type": "LORA", "r": 4, "base_model_name_or_path": base, **fields}).encode()


def posted(stand: TogetherStand, path: str) -> int:
    return stand.requests.count(("POST", path))


# --------------------------------------------------------------------------- jobs
def test_a_job_is_priced_begun_once_and_answers_by_the_users_deployment(stand: Made, lab: Lab) -> None:
    there = stand()
    candidate = there.candidate("train.jsonl", "dev.jsonl", learning_rate=1e-4, suffix="support")
    candidate.preflight(lab, Variant("n", candidate, 6))
    made = candidate.prepare(lab, Variant("n", candidate, 6))
    there.proves(made)
    (body,) = there.jobs.values()
    shape = {"lora_r": 4, "lora_alpha": 8, "lora_dropout": 0.0, "lora_trainable_modules": "all-linear"}
    assert body["training_type"] == {"type": "Lora", **shape}
    assert body["training_method"] == {"method": "sft", "train_on_inputs": False}
    assert (body["learning_rate"], body["n_epochs"], body["n_evals"], body["random_seed"]) == (1e-4, 3, 3, 0)
    assert body["suffix"].startswith("support-")
    asked = [path for method, path in there.requests if method == "POST"]
    assert asked.index("/v1/fine-tunes/estimate-price") < asked.index("/v1/fine-tunes")
    assert made.training is not None
    assert [point.dev_loss for point in made.training.points if point.dev_loss] == [1.9, 1.2, 1.5]
    clone = Lab(lab.root, AdapterStore(lab.root / "elsewhere"), Silent())  # another machine
    assert candidate.prepare(clone, Variant("n", candidate, 6)).identity == made.identity
    assert there.billed == 1
    kept = "".join(p.read_text("utf-8", "ignore") for p in lab.root.rglob("*") if p.is_file())
    assert KEY not in kept


def test_the_request_is_the_one_that_the_sdk_would_send(lab: Lab) -> None:
    candidate = TogetherTuning(
        base=BASE,
        train="train.jsonl",
        epochs=2,
        batch_size=8,
        learning_rate=2e-4,
        lora_rank=8,
        lora_alpha=16,
        lora_dropout=0.1,
        lora_modules="q_proj,v_proj",
        checkpoints=2,
        local_base="x",
    )
    request = candidate.job(lab, Variant("n", candidate)).request
    sent = candidate.service().body(request, "file-1", None).model_dump(exclude_none=True)
    bounds = {"max_batch_size": 64, "max_batch_size_dpo": 64, "min_batch_size": 8, "max_rank": 64}
    limits = FinetuneModelLimits.model_construct(
        lora_training=type("Lora", (), bounds)(),
        supports_vision=False,
    )
    theirs, _, _ = create_finetune_request(
        limits,
        "file-1",
        BASE,
        n_epochs=2,
        validation_file=None,
        n_evals=None,
        n_checkpoints=2,
        batch_size=8,
        learning_rate=2e-4,
        lora=True,
        lora_r=8,
        lora_alpha=16,
        lora_dropout=0.1,
        lora_trainable_modules="q_proj,v_proj",
        suffix=request.fingerprint[:12],
        random_seed=0,
        train_on_inputs=False,
    )
    unset = {"early_stopping_enabled"}
    assert sent == {k: v for k, v in theirs.model_dump(exclude_none=True).items() if k not in unset}


def test_two_settings_on_the_same_rows_share_a_file_and_are_two_jobs(stand: Made, lab: Lab) -> None:
    there = stand()
    for rank in (4, 8, 4):
        candidate = there.candidate("train.jsonl", None, lora_rank=rank)
        candidate.prepare(again(lab), Variant("n", candidate))
    assert [len(there.contents), there.billed] == [1, 2]


@pytest.mark.parametrize("omit", [{"suffix", "model_output_name"}, {"suffix"}, {"total_price"}])
def test_a_job_whose_name_is_not_told_is_found_and_another_is_not_taken_for_it(
    stand: Made, lab: Lab, omit: set[str]
) -> None:
    there = stand(omit=frozenset(omit), extra={"new_field": {"a": 1}})
    other = there.candidate("train.jsonl", None, lora_rank=8)
    other.prepare(again(lab), Variant("n", other))
    candidate = there.candidate("train.jsonl", None)
    for at in range(60):
        killed = _killed(candidate, at)
        with suppress(Killed):
            killed.prepare(again(lab), Variant("n", killed))
            break
    assert there.billed == 2


@pytest.mark.parametrize(
    ("ends", "told"),
    [
        ("error", r"failed(.|\n)*out of memory"),
        ("cancelled", "was cancelled"),
        ("cancel_requested", "was cancelled"),
    ],
)
def test_a_job_that_ends_otherwise_is_told_in_the_services_words(
    stand: Made, lab: Lab, ends: str, told: str
) -> None:
    there = stand(ends=ends, failure="out of memory on node 3")
    candidate = there.candidate("train.jsonl", None)
    with pytest.raises(HostedTrainingError, match=told) as caught:
        candidate.prepare(lab, Variant("n", candidate))
    assert "hint:" in str(caught.value)
    assert KEY not in str(caught.value)


def test_every_word_that_a_job_passes_through_goes_on(stand: Made, lab: Lab) -> None:
    words = ("pending", "queued", "running", "compressing", "uploading")
    there = stand(statuses=words)
    candidate = there.candidate("train.jsonl", None)
    there.proves(candidate.prepare(lab, Variant("n", candidate)))


def _killed(candidate: Any, at: int) -> DownloadedTuning:  # noqa: ANN401
    class Mortal(type(candidate)):  # type: ignore[misc]
        def service(self) -> TuningProvider:
            return killing(super().service(), at, after=True)

        __hash__ = type(candidate).__hash__

    made: DownloadedTuning = Mortal(
        **{each.name: getattr(candidate, each.name) for each in fields(candidate)}
    )
    return made


def test_killed_after_each_call_one_job_is_begun(stand: Made, lab: Lab) -> None:
    there = stand()
    candidate = there.candidate("train.jsonl", None)
    for at in range(60):
        killed = _killed(candidate, at)
        with suppress(Killed):
            there.proves(killed.prepare(again(lab), Variant("n", killed)))
            break
    else:
        raise AssertionError("it never came through")
    assert at > 5
    assert there.billed == 1


@pytest.mark.parametrize("after", [False, True])
def test_a_connection_that_breaks_at_any_request_begins_no_second_job(
    stand: Made, lab: Lab, after: bool
) -> None:
    for n in (3, 8):
        there = stand(faults={n: Fault(after=after)})
        candidate = there.candidate("train.jsonl", None)
        store = AdapterStore(lab.root / f"store-{n}")
        there.proves(candidate.prepare(Lab(lab.root, store, Silent()), Variant("n", candidate)))
        assert there.billed == 1, n


# --------------------------------------------------------------------------- money
def test_a_price_above_the_cap_is_refused_before_anything_is_begun(
    stand: Made, lab: Lab, tiny: ModelSource
) -> None:
    there = stand(local_base=str(tiny.folder))
    candidate = there.candidate("train.jsonl", None)
    with pytest.raises(BudgetReached, match=r"the service asks \$0\.41"):
        candidate.prepare(capped(lab, 0.40), Variant("n", candidate))
    assert there.billed == 0
    run = capped(lab, 0.42)
    with pytest.raises(HostedTrainingError, match="does not give it"):  # the job is paid all the same
        candidate.prepare(run, Variant("n", candidate))
    assert run.money is not None
    assert run.money.ledger.spent_usd == pytest.approx(USD)


@pytest.mark.parametrize(
    ("estimate", "told"),
    [
        ({"allowed_to_proceed": False, "user_limit": 0.1}, r"asks \$0\.41 .* the account may spend \$0\.10"),
        ({"allowed_to_proceed": None, "user_limit": 0.1}, r"the account may spend \$0\.10"),
        ({"estimation_available": False, "unavailable_reason": "train_file_invalid"}, "train_file_invalid"),
    ],
)
def test_what_the_service_would_not_let_proceed_is_not_begun(
    stand: Made, lab: Lab, estimate: dict[str, Any], told: str
) -> None:
    there = stand()
    known = {} if estimate.get("unavailable_reason") else there.estimate
    there.estimate = {**known, **estimate}
    candidate = there.candidate("train.jsonl", None)
    with pytest.raises(HostedTrainingError, match=told):
        candidate.prepare(lab, Variant("n", candidate))
    assert there.billed == 0


def test_without_a_price_a_cap_needs_one_of_the_users(stand: Made, lab: Lab, tiny: ModelSource) -> None:
    there = stand(local_base=str(tiny.folder))
    there.estimate = {"estimation_available": False, "unavailable_reason": "multimodal_dataset"}
    candidate = replace(there.candidate("train.jsonl", None), base="org/unlisted-70B")  # type: ignore[type-var]
    with pytest.raises(UsageError, match="no price"):
        candidate.prepare(capped(lab, 5), Variant("n", candidate))
    assert there.billed == 0


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"local_base": "x", "deployment": "y"},
        {"local_base": "x", "base_deployment": "y"},
        {"local_base": "x", "full": True},
        {"local_base": "x", "learning_rate": 2.0},
        {"local_base": "x", "lora_alpha": 8},
        {"local_base": "x", "checkpoint": 3},
        {"local_base": "x", "suffix": "s" * 28},
    ],
)
def test_what_could_not_answer_or_be_is_refused_before_anything_is_sent(
    lab: Lab, fields: dict[str, Any]
) -> None:
    candidate = TogetherTuning(base=BASE, train="train.jsonl", **fields)
    with pytest.raises(UsageError) as caught:
        candidate.estimate(lab, Variant("n", candidate))
    assert str(caught.value).count("\n") < 8
    if not fields:
        assert all(way in str(caught.value) for way in ("local_base=", "deployment=", "NebiusTuning"))


def test_a_rehearsal_leaves_the_service_and_its_settings() -> None:
    candidate = TogetherTuning(
        base=BASE, train="t.jsonl", local_base="x", lora_rank=8, checkpoint=3, checkpoints=4
    )
    there = candidate.redirected("http://127.0.0.1:9/v1")
    assert (there.base, there.base_url, there.checkpoint) == (BASE, "http://127.0.0.1:9/v1", "last")
    there.require_fit(there.service().capabilities)


# --------------------------------------------------------------------------- adapters
def test_an_adapter_is_fetched_once_and_answers_here_as_any_other(
    stand: Made, lab: Lab, tiny: ModelSource, adapter: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (adapter_config := json.loads((adapter / CONFIG).read_bytes()))["base_model_name_or_path"] = BASE
    files = {CONFIG: json.dumps(adapter_config).encode(), WEIGHTS: (adapter / WEIGHTS).read_bytes()}
    whole = packed({**files, "tokenizer.json": b"{}"})
    there = stand(whole, str(tiny.folder))
    there.elsewhere, there.most_a_part = True, len(whole) // 2 + 1
    candidate = there.candidate("train.jsonl", None)
    assert candidate.own_baseline().model_name == str(tiny.folder)
    priced = candidate.endpoint()
    assert priced is not None
    assert not priced.answers
    candidate.preflight(lab, Variant("n", candidate))
    made = candidate.prepare(lab, Variant("n", candidate))
    assert [bool(wanted) for wanted, _ in there.downloads] == [False, True]  # on from where it broke
    prompts = [Prompt(str(k), (Message("user", f"where is order {k}?"),)) for k in range(3)]
    decoding = Decoding(max_new_tokens=8)

    def texts(model: LocalModel) -> list[str]:
        return [answer.text for answer in model.answer(prompts, decoding, frozenset())]

    ours = texts(made.load())  # type: ignore[arg-type]
    plan = lab.plan()
    assert ours == texts(LocalModel.load(tiny, plan, adapter=adapter))
    assert ours != texts(LocalModel.load(tiny, plan))
    before = len(there.requests)
    monkeypatch.delenv("TOGETHER_API_KEY")  # what is here needs none
    candidate.preflight(again(lab), Variant("n", candidate))
    kept = candidate.prepare(again(lab), Variant("n", candidate))
    planned = candidate.estimate(again(lab), Variant("n", candidate)).prepared
    assert kept.identity == made.identity == planned.identity
    assert len(there.requests) == before
    assert not list((lab.root / "store").glob("*.archive"))


def test_killed_in_a_download_the_next_run_goes_on_from_there(
    stand: Made, lab: Lab, tiny: ModelSource, adapter: Path
) -> None:
    there = stand(packed_folder(adapter), str(tiny.folder))
    there.most_a_part = 1000
    candidate = there.candidate("train.jsonl", None)
    for at in range(60):
        killed = _killed(candidate, at)
        with suppress(Killed, HostedTrainingError):
            killed.prepare(again(lab), Variant("n", killed))
            break
    firsts = [int(wanted.removeprefix("bytes=").rstrip("-") or 0) for wanted, _ in there.downloads]
    assert firsts == sorted(set(firsts))  # no byte twice
    assert there.billed == 1


def test_what_was_begun_of_another_archive_is_fetched_anew(
    stand: Made, lab: Lab, tiny: ModelSource, adapter: Path
) -> None:
    there = stand(b"x" * 500, str(tiny.folder))
    candidate = there.candidate("train.jsonl", None)
    with pytest.raises(HostedTrainingError, match=r"not whole, or is none(.|\n)*nothing is tuned twice"):
        candidate.prepare(lab, Variant("n", candidate))
    there.adapter = packed_folder(adapter)
    (name,) = {path.name[:32] for path in (lab.root / "store").glob("*.lock")} - {
        path.name for path in (lab.root / "store").iterdir() if path.is_dir()
    }
    (lab.root / "store" / f"{name}.archive").write_bytes(b"y" * 500)
    candidate.prepare(again(lab), Variant("n", candidate))
    assert there.billed == 1


def test_an_adapter_of_another_base_says_so_and_the_mend_costs_nothing(
    stand: Made, lab: Lab, tiny: ModelSource, adapter: Path
) -> None:
    config = {**json.loads((adapter / CONFIG).read_bytes()), "base_model_name_or_path": "org/Another-3B"}
    files = {CONFIG: json.dumps(config).encode(), WEIGHTS: (adapter / WEIGHTS).read_bytes()}
    there = stand(packed(files), str(tiny.folder))
    candidate = there.candidate("train.jsonl", None)
    with pytest.raises(HostedTrainingError, match=r"trained on org/Another-3B") as caught:
        candidate.prepare(lab, Variant("n", candidate))
    assert "deployment='ITS NAME'" in str(caught.value)
    by_endpoint = replace(candidate, local_base=None, deployment="org/support-tuned", base_deployment="b")  # type: ignore[type-var]
    there.proves(by_endpoint.prepare(again(lab), Variant("n", by_endpoint)))
    assert there.billed == 1


def _matrix(rows: int, columns: int) -> bytes:
    head = json.dumps(
        {PLACE: {"dtype": "F32", "shape": [rows, columns], "data_offsets": [0, 4 * rows * columns]}}
    )
    return len(head).to_bytes(8, "little") + head.encode() + bytes(4 * rows * columns)


PLACE = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight"


@pytest.mark.parametrize(
    ("config", "weights", "told"),
    [
        (config_of(BASE), _matrix(4, 64), ""),
        (config_of("/checkpoints/step-9"), _matrix(4, 64), ""),
        (config_of("meta-llama/Llama-3.1-8B-Instruct"), _matrix(4, 64), ""),
        (config_of(BASE), _matrix(4, 4096), "4×4096, and that layer"),
        (config_of(BASE), _matrix(4, 64).replace(b"layers.0", b"layers.7"), "a layer that .* does not have"),
        (config_of("Qwen/Qwen3-8B"), _matrix(4, 64), "trained on Qwen/Qwen3-8B"),
        (config_of(BASE, peft_type="IA3"), _matrix(4, 64), "peft_type is 'IA3'"),
        (b"[1]", _matrix(4, 64), "no JSON object"),
        (b"[" * 100_000, _matrix(4, 64), "no JSON"),
        (config_of(BASE), _matrix(4, 64)[:-8], "not whole"),
        (config_of(BASE), b"\x80\x04K\x01.", "not whole"),
        (config_of(BASE), _matrix(4, 64).replace(b"lora_A.weight", b"lora_X.weight"), ""),
    ],
)
def test_an_adapter_is_held_against_the_base_before_it_is_loaded(
    tmp_path: Path, tiny: ModelSource, config: bytes, weights: bytes, told: str
) -> None:
    (tmp_path / CONFIG).write_bytes(config)
    (tmp_path / WEIGHTS).write_bytes(weights)
    if not told:
        require_adapter(tmp_path, BASE, tiny)
        return
    with pytest.raises(AdapterProblem, match=told):
        require_adapter(tmp_path, BASE, tiny)


def _tar(*members: tuple[tarfile.TarInfo, bytes]) -> bytes:
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w") as archive:
        for member, content in members:
            member.size = member.size or len(content)
            archive.addfile(member, io.BytesIO(content))
    return plain.getvalue()


def _link(name: str, target: str, kind: bytes) -> tuple[tarfile.TarInfo, bytes]:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, target
    return member, b""


def _endless_header() -> bytes:
    """A pax header of 64 MiB."""
    member = tarfile.TarInfo("x")
    member.pax_headers = {"comment": "a" * 2**26}
    return _tar((member, b""))


FILES = {CONFIG: b"{}", WEIGHTS: b"w"}
PLAIN = _tar(*((tarfile.TarInfo(name), content) for name, content in FILES.items()))


@pytest.mark.parametrize(
    ("archive", "told"),
    [
        (packed(FILES), ""),
        (packed({f"out/{name}": content for name, content in FILES.items()} | {"tokenizer.json": b"t"}), ""),
        (gzip.compress(PLAIN), ""),
        (PLAIN, ""),
        (packed({"../../evil": b"", **FILES}), "leads out of its folder"),
        (packed({"/etc/evil": b"", **FILES}), "leads out of its folder"),
        (_tar(_link(WEIGHTS, "/etc/passwd", tarfile.SYMTYPE)), "no plain file"),
        (_tar(_link(CONFIG, "elsewhere", tarfile.LNKTYPE)), "no plain file"),
        (_tar(_link(WEIGHTS, "", tarfile.FIFOTYPE)), "no plain file"),
        (packed({CONFIG: b" " * (2**20 + 1)}), "has 1,048,577 bytes"),
        (packed({f"{side}/{name}": b"" for side in "ab" for name in FILES}), "several adapters"),
        (
            packed({CONFIG: b"{}", "adapter_model.bin": b"\x80"}),
            r"no adapter_model.safetensors \(it has .*run code",
        ),
        (packed(FILES)[:-6], "not whole"),
        (b"", "not whole"),
        (b"PK\x03\x04zip", "not whole"),
        (gzip.compress(PLAIN)[:40], "not whole"),
        (_endless_header(), "header without end"),
    ],
    # not by their content: gzip writes the time into it
    ids=[
        *("zst", "folders", "gzip", "tar", "parent", "absolute", "symlink", "hardlink", "fifo", "large"),
        *("two", "pickle", "cut zst", "empty", "zip", "cut gzip", "header"),
    ],
)
def test_an_archive_gives_its_two_files_or_says_why_not(tmp_path: Path, archive: bytes, told: str) -> None:
    (tmp_path / "archive").write_bytes(archive)
    (folder := tmp_path / "a" / "b").mkdir(parents=True)
    if told:
        with pytest.raises(AdapterProblem, match=told):
            unpack_adapter(tmp_path / "archive", folder)
    else:
        unpack_adapter(tmp_path / "archive", folder)
        assert {path.name: path.read_bytes() for path in folder.iterdir()} == FILES
    assert {path.name for path in tmp_path.rglob("*")} <= {"archive", "a", "b", *FILES}


def test_what_unpacks_to_too_much_is_not_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.training.hosted.adapters.MOST_BYTES", 2**20)
    (tmp_path / "archive").write_bytes(packed({"zeros": bytes(2**22), **FILES}))  # some kB on the wire
    with pytest.raises(AdapterProblem, match="unpacks to more than"):
        unpack_adapter(tmp_path / "archive", tmp_path)
