"""What the local judges are worth, and what they take.

    python -m benchmarks judging           1,000 answers by each local judge, with its labels: CPU time
    python -m benchmarks.judging           how far each agrees with people, on the example's labels: a table

Nothing is kept between judges or runs: each reads everything.
"""

from __future__ import annotations

import itertools
import json
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from benchmarks.results import Options, Result
from harness import LikelihoodJudge, Similarity, TokenF1
from harness.models.ledger import Ledger, Money
from harness.models.progress import Silent
from harness.records import Admission, Answer, Message, Rate, Row
from harness.run.judge_backends import JudgeBackends
from harness.scoring.calibration import calibrated_on_labels
from harness.scoring.checks import score_all
from harness.store.answers import AnswerStore

LABELS = Path("suites/support/judge_labels.jsonl")
ANSWERS = 1_000
FIELD = "summary"


def local_judges() -> tuple[LikelihoodJudge, Similarity]:
    """Every judge whose model is on this machine, bound to the example's labels."""
    read = LABELS.read_text(encoding="utf-8")
    judges = LikelihoodJudge(FIELD, labels=LABELS.name), Similarity(FIELD, labels=LABELS.name)
    return judges[0].bind(lambda _: read), judges[1].bind(lambda _: read)


@contextmanager
def backends() -> Iterator[JudgeBackends]:
    """Models for judges, with a store of their own that holds nothing."""
    with tempfile.TemporaryDirectory() as folder:
        store = AnswerStore(Path(folder, "answers.sqlite"))
        try:
            yield JudgeBackends(store, Money(Ledger()), Silent())
        finally:
            store.close()


def measure(options: Options) -> list[Result]:
    """Calibrating each local judge and judging 1,000 different answers to 200 rows."""
    import torch

    n = 40 if options.smoke else ANSWERS
    rows, answers = _asked(n)
    results = []
    for judge in local_judges():
        with backends() as oracle:
            began, began_cpu = time.perf_counter(), time.process_time()
            calibrated = judge.calibrated(oracle)
            prepared = time.perf_counter() - began
            scores = calibrated.score_many(rows, answers, oracle)
            seconds, cpu = time.perf_counter() - began, time.process_time() - began_cpu
        judged = sum(score.value is not None for score in scores)
        results.append(
            Result(
                name=f"judging by {type(judge).__name__}",
                value=cpu if judged == n else None,
                unit="CPU s",
                detail=f"{judged} of {n} answers judged, {torch.get_num_threads()} threads on"
                f" {os.cpu_count()} cores; {seconds:.0f} s in all, {prepared:.0f} of them to load the model"
                f" and to read {len(judge.known or ())} labels",
                bar=180.0,
                bar_is="value at most",
            )
        )
    return results


def _asked(n: int) -> tuple[list[Row], list[Answer]]:
    """The example's held-out rows, in turns, with answers that are all different: summaries of other rows."""
    held = [json.loads(line) for line in LABELS.with_name("heldout.jsonl").read_text("utf-8").splitlines()]
    turns = [tuple(Message(turn["role"], turn["content"]) for turn in one["messages"]) for one in held]
    labels = [json.loads(line) for line in LABELS.read_text("utf-8").splitlines()]
    said = itertools.cycle(label[FIELD] for label in labels)
    rows = [Row(f"row-{k}", turns[k % len(turns)]) for k in range(n)]
    texts = (json.dumps({FIELD: f"{text}, note {k}"}) for k, text in zip(range(n), said, strict=False))
    return rows, [Answer(row.id, text, 1, 1, 0.0) for row, text in zip(rows, texts, strict=True)]


# ----------------------------------------------------------------- agreement with people
def admissions() -> list[tuple[str, Admission]]:
    """Each local judge's admission, and that of token F1, calibrated as they are."""
    likelihood, similarity = local_judges()
    with backends() as oracle:
        found = [("likelihood", likelihood.calibrated(oracle).admission)]
        found.append(("similarity", similarity.calibrated(oracle).admission))

    def f1(pairs: Sequence[tuple[str, str]]) -> list[float]:
        rows = [
            Row(str(k), (Message("user", "?"), Message("assistant", reference)))
            for k, (reference, _) in enumerate(pairs)
        ]
        answers = [Answer(row.id, reply, 1, 1, 0.0) for row, (_, reply) in zip(rows, pairs, strict=True)]
        return [score.value or 0.0 for score in score_all(TokenF1(), rows, answers)]

    return [*found, ("token F1", calibrated_on_labels(similarity, f1)[1])]


def _cell(rate: Rate) -> str:
    return f"{rate.value:.2f} ({rate.low:.2f} to {rate.high:.2f})"


def table() -> str:
    """Admissions as a Markdown table."""
    lines = ["| score | kappa | TPR | TNR | n | admitted |", "| --- | --: | --: | --: | --: | --- |"]
    for name, one in admissions():
        cells = [_cell(one.kappa), _cell(one.tpr), _cell(one.tnr), str(one.n_test)]
        lines.append(f"| {name} | {' | '.join(cells)} | {'yes' if one.admitted else 'no'} |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(table())
