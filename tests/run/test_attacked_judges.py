"""Every judge whose model is local, with its real model, against a fifth of the attacks that are shipped."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from harness.models.embeddings import embedder_is_at_hand
from harness.models.ledger import Ledger, Money
from harness.models.progress import Silent
from harness.models.source import BUILTIN, is_at_hand
from harness.run.judge_backends import JudgeBackends
from harness.scoring.attacks import MOST_GAINING, attempts, share_gained, shipped_attacks
from harness.scoring.judge import LikelihoodJudge
from harness.scoring.judges import tried_out
from harness.scoring.similarity import Similarity
from harness.scoring.tuned_judge import TunedJudge
from harness.store.answers import AnswerStore

LABELS = Path(__file__).parents[2] / "suites/support/judge_labels.jsonl"
FEW = 24  # labels: enough to calibrate with


@pytest.fixture(scope="module")  # the built-in model is loaded once
def oracle(tmp_path_factory: pytest.TempPathFactory) -> Iterator[JudgeBackends]:
    store = AnswerStore(tmp_path_factory.mktemp("kept") / "kept.sqlite")
    yield JudgeBackends(store, Money(Ledger()), Silent())
    store.close()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("judge", "is_here"),
    [
        (LikelihoodJudge("summary", labels="labels"), lambda: is_at_hand(BUILTIN)),
        (Similarity("summary", labels="labels"), embedder_is_at_hand),
        (
            TunedJudge("summary", labels="labels"),
            lambda: is_at_hand(BUILTIN) and embedder_is_at_hand(),
        ),
    ],
    ids=["likelihood", "similarity", "tuned"],
)
def test_it_is_not_talked_round(
    judge: LikelihoodJudge | Similarity | TunedJudge, is_here: Callable[[], bool], oracle: JudgeBackends
) -> None:
    if not is_here():
        pytest.skip("its model is not here")
    bound = judge.bind(lambda name: LABELS.read_text(encoding="utf-8"))
    few = replace(bound, known=(bound.known or ())[:FEW])
    attacks = shipped_attacks()[::5]  # `harness judge-check` tries all
    made = attempts(few, tried_out(few, oracle), attacks, oracle)
    assert len(made) == 2 * len(attacks) == 16
    assert share_gained(made).value <= MOST_GAINING
