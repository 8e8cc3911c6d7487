"""What is exported answers as its trial did, or is not written."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tiny_llama import EXACT, build_adapter, build_source

from harness.cli import main
from harness.data.fingerprints import rows_fingerprint
from harness.data.rows import read_rows
from harness.models.chat_format import load_chat
from harness.models.local import LocalModel
from harness.models.protocol import Decoding, Prompt
from harness.records import (
    CandidateInfo,
    Decision,
    Gate,
    Kind,
    Role,
    RunRecord,
    ScoreInfo,
    SuiteInfo,
    SuiteRow,
    Training,
    Trial,
    Verdict,
)
from harness.report.runjson import dump_run
from harness.run.export_check import Asked, Checked, check_artifact
from harness.run.judge_check import suite_at
from harness.scoring.checks import score_all
from harness.scoring.judges import Judge
from harness.store.adapters import AdapterStore

SUITE = """import pytest
from harness import ExactMatch, Suite

@pytest.fixture
def suite():
    return Suite(heldout="heldout.jsonl", scores=(ExactMatch(),))
"""
N, NAME = 12, "f" * 64
Write = Callable[..., tuple[int, Path]]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base, an adapter in the store, and a suite whose check half of its answers pass."""
    root = tmp_path_factory.mktemp("project")
    source = build_source(root / "base")
    store = AdapterStore(root / ".harness" / "adapters")
    training = Training(
        fingerprint=NAME,
        rows=8,
        replay_rows=0,
        epochs=1,
        steps=1,
        tokens=9,
        supervised_tokens=4,
        seconds=1.0,
        tokens_per_second=9.0,
        points=(),
        overfitting=None,
        device="cpu",
        numeric_config="float32 base",
        row_ids=(),
        versions={"peft": "0"},
    )

    def train(folder: Path) -> Training:
        build_adapter(source, folder)
        return training

    store.get_or_train(NAME, train)
    suite = root / "suites" / "orders"
    suite.mkdir(parents=True)
    (suite / "test_orders.py").write_text(SUITE)
    rows: list[dict[str, Any]] = [
        {
            "id": f"row-{k}",
            "messages": [
                {"role": "system", "content": "You sort tickets."},
                {"role": "user", "content": f"Where is order {k}?" + " It is late." * (k % 4)},
                {"role": "assistant", "content": "On its way."},
            ],
        }
        for k in range(N)
    ]

    def write() -> None:
        (suite / "heldout.jsonl").write_text("\n".join(map(json.dumps, rows)))

    write()
    model = LocalModel.load(source, EXACT, adapter=store.folder(NAME))
    asked = read_rows(suite / "heldout.jsonl")
    decoding = Decoding(max_new_tokens=12)
    came = model.answer([Prompt(row.id, row.prompt) for row in asked], decoding, frozenset())
    answers = {answer.row_id: answer for answer in came}
    for k, row in enumerate(rows):  # every other row wants what it says
        said = answers[str(row["id"])].text if k % 2 else "never said"
        row["messages"] = [*row["messages"][:-1], {"role": "assistant", "content": said}]
    write()
    loaded = suite_at(suite, root)
    in_order = tuple(answers[row.id] for row in loaded.rows)
    (check,) = (score for score in loaded.scores if not isinstance(score, Judge))
    trial = Trial(
        candidate="tuned",
        size=8,
        seed=0,
        suite="orders",
        answers=in_order,
        scores={check.name: score_all(check, loaded.scored_rows, in_order)},
        seconds=1.0,
        numeric_config="float32",
        training=training,
        decoding=decoding.described(),
    )
    spec = {"kind": "lora", "ship": "adapter", "train": "train.jsonl", "base": "base"}
    record = RunRecord(
        id="20261128-101500-tuned",
        created="2026-11-28T10:15:00+00:00",
        command="pytest suites/",
        gate_policy="release",
        alpha=0.05,
        candidates=(
            CandidateInfo("tuned", "lora", 4, spec, "base", source.digest, "prompt"),
            CandidateInfo("prompt", "prompted", 0, {"kind": "prompted"}, "base", source.digest, "prompt"),
        ),
        suites=(
            SuiteInfo(
                name="orders",
                heldout="suites/orders/heldout.jsonl",
                heldout_digest=rows_fingerprint(loaded.rows),
                rows=tuple(SuiteRow(row.id, row.question, row.reference, {}) for row in loaded.rows),
                scores=(ScoreInfo(check.name, Kind.BINARY, "a check"),),
                slices=(),
                prompt_digest=None,
            ),
        ),
        trials=(trial, replace(trial, candidate="prompt", size=None, seed=None, training=None)),
        gates=(
            Gate("orders", "suites/orders/test_orders.py::test_it", "tuned", 8, (0,), Role.TARGET, "missing"),
        ),
        decisions=(Decision("tuned", 8, Verdict.GO, ("it is better than <b>before</b>.",), (0,)),),
        economics=(),
        environment={},
        timings_s={},
    )
    (root / "run.json").write_text(dump_run(record))
    return root


@pytest.fixture
def run(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Runs the command in the project, and gives the folder that it was to write and its exit status."""
    monkeypatch.chdir(project)
    monkeypatch.setattr("harness.run.export.device_plan", lambda: EXACT)

    def call(*arguments: str, record: str = "run.json") -> tuple[int, Path]:
        to = tmp_path / "out"
        return main(["export", record, *arguments, "--to", str(to), "--check-rows=8"]), to

    return call


def test_the_adapter_goes_out_with_what_it_needs_to_be_asked_as_it_was(
    run: Write, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, to = run("tuned")
    said = capsys.readouterr().out
    assert status == 0, said
    assert f"{N} of {N} prompts equal to the byte; of 8 rows asked again, 8 answers are the same" in said
    card = (to / "README.md").read_text("utf-8")
    metadata, first = card.split("---\n")[1], card.split("---\n")[2].splitlines()[0]
    assert 'library_name: "peft"' in metadata
    assert first.startswith("# GO: tuned")
    assert first.endswith("8")
    assert "<b>" not in card
    assert "Where is order" not in card  # rows by their digests alone
    assert '"<|im_start|>system\\nYou sort tickets.<|im_end|>\\n<|im_start|>user\\n{question}' in card
    assert rows_fingerprint(read_rows(project / "suites/orders/heldout.jsonl")) in card
    assert "--enable-lora --max-lora-rank 8" in card
    config = json.loads((to / "adapter_config.json").read_text("utf-8"))
    assert config["base_model_name_or_path"] == str((project / "base").resolve())
    assert run("tuned")[0] == 2  # it is there already


def test_the_merged_model_needs_nothing_else(run: Write) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    status, to = run("tuned@8", "--form=merged")
    assert status == 0
    assert not (to / "adapter_config.json").exists()
    model, tokenizer = AutoModelForCausalLM.from_pretrained(to), AutoTokenizer.from_pretrained(to)
    assert model.generation_config.eos_token_id == [tokenizer.eos_token_id]
    assert "FROM ." in (to / "Modelfile").read_text("utf-8")


def test_weights_that_answer_otherwise_are_not_written(
    run: Write, project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from safetensors.torch import load_file, save_file

    store = tmp_path / "store"
    shutil.copytree(project / ".harness", store)
    (file,) = store.glob("adapters/*/adapter_model.safetensors")
    save_file({name: tensor * 0 for name, tensor in load_file(file).items()}, file)
    status, to = run("tuned", f"--harness-store={store}")
    said = capsys.readouterr().out
    assert status == 1
    assert not to.exists()
    assert "differs: " in said
    assert "REFUSED: it is not written." in said
    assert not list(tmp_path.glob(".out*"))


@pytest.mark.parametrize("verdict", [Verdict.NO_GO, Verdict.INCONCLUSIVE, None])
def test_what_is_not_go_is_asked_for_twice(run: Write, project: Path, verdict: Verdict | None) -> None:
    plain = json.loads((project / "run.json").read_text("utf-8"))
    if verdict is None:
        plain["decisions"] = []
    else:
        plain["decisions"][0]["verdict"] = str(verdict)
    (project / "other.json").write_text(json.dumps(plain))
    status, to = run("tuned", record="other.json")
    assert status == 2
    assert not to.exists()
    if verdict is Verdict.NO_GO:
        status, to = run("tuned", "--anyway", record="other.json")
        assert status == 0
        assert (to / "README.md").read_text("utf-8").split("---\n")[2].startswith("# NO-GO: tuned")


def test_what_cannot_be_exported_is_said_in_a_line(
    run: Write,
    project: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert run("prompt")[0] == 2
    assert (
        "prompt (prompted) has no weights of its own: there is nothing to export" in capsys.readouterr().err
    )
    assert run("tuned", f"--harness-store={tmp_path / 'elsewhere'}")[0] == 1
    assert "its weights are not in this store" in capsys.readouterr().err
    monkeypatch.setenv("PATH", "")
    assert run("tuned", "--form=gguf")[0] == 2
    assert "git clone --depth 1 https://github.com/ggml-org/llama.cpp" in capsys.readouterr().err
    heldout = project / "suites/orders/heldout.jsonl"
    text = heldout.read_text("utf-8")
    try:
        heldout.write_text(text.replace("order 3", "order 33"), "utf-8")
        assert run("tuned")[0] == 1
        assert "its rows are not those that tuned@8 was evaluated on" in capsys.readouterr().err
    finally:
        heldout.write_text(text, "utf-8")


def test_other_prompts_are_told_from_the_trials(project: Path, tmp_path: Path) -> None:
    from harness.models.source import ModelSource
    from harness.report.runjson import load_run
    from harness.run.export_check import asked_again

    record = load_run((project / "run.json").read_text("utf-8"), "run.json")
    asked: Asked = asked_again(record, record.trials[0], project)
    source = ModelSource("base", project / "base", "d")
    chat = load_chat(source)
    other = tmp_path / "other"
    shutil.copytree(project / "base", other)
    template = other / "chat_template.jinja"
    template.write_text(template.read_text("utf-8").replace("assistant", "Assistant"), "utf-8")
    model = LocalModel.load(source, EXACT, adapter=AdapterStore(project / ".harness/adapters").folder(NAME))
    found: Checked = check_artifact(asked, chat, "test", model, replace(source, folder=other), 5)
    assert found.other_prompts == N
    assert found.problems == (f"{N} of {N} prompts are not the trial's (first: row row-0)",)
