"""What the built-in model read of a text is kept under it, or beside all others where they shape it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from tiny_llama import EXACT

from harness.models.device import DevicePlan
from harness.models.fast import ALL_OFF
from harness.models.ledger import Ledger, Money
from harness.models.local import LocalModel
from harness.models.progress import Silent
from harness.run import judge_backends
from harness.run.judge_backends import JudgeBackends
from harness.store.answers import AnswerStore

TEXTS = [("a", " b"), ("c", " d e"), ("a", " b")]


def backends(
    folder: Path, plan: DevicePlan, read: list[str], monkeypatch: pytest.MonkeyPatch
) -> JudgeBackends:
    class Reader:
        def token_logprobs(self, prompts: Sequence[tuple[str, str]]) -> list[list[float]]:
            read.extend(before + after for before, after in prompts)
            return [[-float(len(word)) for word in after.split()] for _, after in prompts]

    monkeypatch.setattr(judge_backends, "resolve", lambda *_: SimpleNamespace(digest="built-in"))
    monkeypatch.setattr(judge_backends, "device_plan", lambda: plan)
    monkeypatch.setattr(LocalModel, "load", lambda *_: Reader())
    return JudgeBackends(AnswerStore(folder / "kept.sqlite"), Money(Ledger()), Silent())


def test_each_text_is_read_once_in_this_run_and_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    first = backends(tmp_path, EXACT, read, monkeypatch)
    assert first.token_logprobs(TEXTS) == [[-1.0], [-1.0, -1.0], [-1.0]]
    assert first.logprob([*TEXTS, ("a", " xyz")]) == [-1.0, -1.0, -1.0, -3.0]
    assert backends(tmp_path, EXACT, read, monkeypatch).token_logprobs(TEXTS[1:]) == [[-1.0, -1.0], [-1.0]]
    assert read == ["a b", "c d e", "a xyz"]


def test_read_in_plain_batches_a_text_is_kept_with_those_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    plain = backends(tmp_path, replace(EXACT, inference_attention="eager", fast=ALL_OFF), read, monkeypatch)
    for _ in range(2):
        plain.token_logprobs(TEXTS)
    plain.token_logprobs(TEXTS[:1])
    assert read == ["a b", "c d e", "a b"]
