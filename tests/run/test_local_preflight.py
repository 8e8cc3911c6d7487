"""Before anything is trained, every prompt of every side of a local base is rendered."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import trl
from planned_project import Project
from tiny_llama import build_tokenizer

from harness import FewShot, LoRA, Prompted
from harness.candidates.base import Candidate
from harness.errors import HarnessError, ModelError
from harness.models.protocol import Decoding
from harness.models.source import ModelSource

EIGHT = Decoding(max_new_tokens=8)
TUNED = LoRA(base="base", train="train.jsonl", decoding=EIGHT)


def base(project: Project, tiny: ModelSource, template: str) -> None:
    """A base of the tiny model's shape without weights, with a chat template that trl ships."""
    tokenizer = build_tokenizer()
    marks = ["<start_of_turn>", "<end_of_turn>"]
    tokenizer.add_special_tokens({"additional_special_tokens": marks})
    tokenizer.add_tokens(["<think>", "</think>"])
    file = Path(trl.__file__).parent / "chat_templates" / f"{template}.jinja"
    tokenizer.chat_template = file.read_text(encoding="utf-8")
    folder = project.root / "base"
    tokenizer.save_pretrained(folder)
    config = json.loads((tiny.folder / "config.json").read_text(encoding="utf-8"))
    project.write("base/config.json", json.dumps({**config, "vocab_size": len(tokenizer)}))
    project.write("base/generation_config.json", '{"eos_token_id": 1}')
    project.write("base/model.safetensors", "")  # never opened


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


def problems(project: Project, candidate: Candidate, prompt: str | None = "Sort it.") -> list[HarnessError]:
    project.candidates = {"tuned": candidate}
    run = project.run(prompt=prompt)
    found = list(run.problems())
    assert not list((project.root / ".harness").glob("adapters/*"))
    return found


@pytest.mark.parametrize(
    "candidate",
    [
        TUNED,
        Prompted(model="base", decoding=EIGHT),
        FewShot(model="base", train="train.jsonl", shots=2, decoding=EIGHT),
    ],
    ids=lambda candidate: candidate.kind,
)
def test_a_template_without_a_system_turn_takes_the_suite_s_prompt(
    project: Project, tiny: ModelSource, candidate: Candidate
) -> None:
    base(project, tiny, "gemma")
    assert problems(project, candidate) == []
    run = project.run(prompt="Sort it.")
    arm = next(iter(run.selection.arms()))
    assert "no system turn" in " ".join(arm.candidate.notes(run.lab_of(arm), arm.variants[0]))


def test_turns_that_a_template_refuses_are_found_on_every_side(project: Project, tiny: ModelSource) -> None:
    base(project, tiny, "gemma")
    twice = [{"role": "user", "content": "a?"}, {"role": "user", "content": "b?"}]
    row = {"id": "odd", "messages": [*twice, {"role": "assistant", "content": "yes"}]}
    file = project.root / "suites/support/heldout.jsonl"
    file.write_text(file.read_text(encoding="utf-8") + json.dumps(row) + "\n", encoding="utf-8")
    found = problems(project, TUNED)
    assert len(found) == 2  # the fine-tune's, and its own baseline's
    for problem in found:
        assert isinstance(problem, ModelError)
        assert "suite support, row odd: the chat template of" in str(problem)
        assert "must alternate" in str(problem)
        assert "hint:" in str(problem)


def test_training_rows_are_read_back_before_they_are_trained_on(project: Project, tiny: ModelSource) -> None:
    base(project, tiny, "qwen3")
    assert problems(project, TUNED) == []
    rows = (project.root / "train.jsonl").read_text(encoding="utf-8").splitlines()
    project.write(
        "train.jsonl", "\n".join([*rows[:3], rows[3].replace('"yes"', '"yes<|im_end|>"'), *rows[4:]])
    )
    (problem,) = problems(project, TUNED)
    assert "train.jsonl:4: what" in str(problem)


@pytest.mark.parametrize("candidate", [TUNED, Prompted(model="base", decoding=EIGHT)], ids=lambda c: c.kind)
def test_a_prompt_without_room_for_a_thought_is_refused(
    project: Project, tiny: ModelSource, candidate: Candidate
) -> None:
    base(project, tiny, "qwen2_5")
    assert isinstance(candidate, LoRA | Prompted)
    long = replace(candidate, decoding=replace(EIGHT, thinking=True, max_thinking_tokens=600))
    assert all("a thought of 600" in str(problem) for problem in problems(project, long))
    assert problems(project, long)


def test_a_base_that_answers_otherwise_now_has_other_keys(project: Project, tiny: ModelSource) -> None:
    """Answers and artifacts of a template whose prompts have changed are not taken for today's."""
    identities = {}
    for template in ("qwen2_5", "qwen3"):
        base(project, tiny, template)
        project.candidates = {"asked": Prompted(model="base")}
        run = project.run()
        arm = next(iter(run.selection.arms()))
        identities[template] = (
            arm.candidate.prepare(run.lab_of(arm), arm.variants[0]).identity,
            run.lab.source("base").digest,
        )
    from harness.data.fingerprints import fingerprint

    identity, digest = identities["qwen2_5"]
    assert identity == fingerprint({"base": digest})  # as it was: what is kept is found
    identity, digest = identities["qwen3"]
    assert identity != fingerprint({"base": digest})
