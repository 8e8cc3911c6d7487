"""Vectors of texts are kept: a second run loads no encoder and gets the same bits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from tiny_bert import build_encoder

from harness.errors import UnknownName
from harness.models.embeddings import EmbedderSource, LocalEmbedder
from harness.models.ledger import Ledger, Money
from harness.models.progress import Silent
from harness.run import judge_backends
from harness.run.judge_backends import JudgeBackends
from harness.store.answers import AnswerStore

if TYPE_CHECKING:
    import numpy.typing as npt

TEXTS = ["the valve", "refund please", "the valve", "order"]


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_encoder(tmp_path_factory.mktemp("encoder"))


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Texts as encoders read them."""
    seen: list[str] = []

    class Watched(LocalEmbedder):
        def __init__(self, source: EmbedderSource) -> None:
            seen.append("loaded")
            super().__init__(source)

        def embed(
            self, texts: Sequence[str], done: Callable[[int], None] = lambda _: None
        ) -> npt.NDArray[np.float32]:
            seen.extend(texts)
            return super().embed(texts, done)

    monkeypatch.setattr(judge_backends, "LocalEmbedder", Watched)
    return seen


def backends(folder: Path) -> JudgeBackends:
    return JudgeBackends(AnswerStore(folder / "kept.sqlite"), Money(Ledger()), Silent())


def test_each_text_is_read_once_in_this_run_and_the_next(
    encoder: Path, tmp_path: Path, read: list[str]
) -> None:
    first = backends(tmp_path)
    vectors = first.embedder(str(encoder)).embed(TEXTS)
    assert read == ["loaded", "the valve", "refund please", "order"]
    first.embedder(str(encoder)).embed(["order", "late"])
    assert read[4:] == ["late"]
    again = backends(tmp_path).embedder(str(encoder)).embed(TEXTS)
    assert read[5:] == []
    assert again.dtype == np.float32
    assert np.array_equal(again, vectors)
    assert np.array_equal(vectors[0], vectors[2])


def test_another_encoder_reads_anew(encoder: Path, tmp_path: Path, read: list[str]) -> None:
    backends(tmp_path).embedder(str(encoder)).embed(["order"])
    other = tmp_path / "other"
    build_encoder(other)
    (other / "1_Pooling" / "config.json").write_text('{"pooling_mode": "cls"}', encoding="utf-8")
    backends(tmp_path).embedder(str(other)).embed(["order"])
    assert read == ["loaded", "order"] * 2


def test_an_encoder_that_is_not_there_is_refused_before_anything_is_fetched(tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match="encoder 'no-such'"):
        backends(tmp_path).embedder("no-such")
