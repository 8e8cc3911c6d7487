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
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.results import Options, Result
from harness import LikelihoodJudge, Similarity, TokenF1, TunedJudge
from harness.models.ledger import Ledger, Money
from harness.models.progress import Silent
from harness.records import Admission, Answer, Message, Rate, Row
from harness.run.judge_backends import JudgeBackends
from harness.scoring.admission import wilson
from harness.scoring.calibration import calibrated_on_labels
from harness.scoring.checks import score_all
from harness.scoring.drift import as_answered
from harness.scoring.labels import split_labels
from harness.scoring.similarity import cosines
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
@dataclass(frozen=True)
class Agreement:
    """How far a score agrees with the example's labels; ``refused`` is its TNR by the kind of bad reply."""

    name: str
    admission: Admission
    refused: dict[str, Rate]


def agreements() -> Iterator[Agreement]:
    """Of each local judge, of token F1, calibrated as they are, and of the trained judge, on all labels."""
    likelihood, similarity = local_judges()
    with backends() as oracle:
        yield _agreement("likelihood", lambda pairs: likelihood.statistics(pairs, oracle))
        yield _agreement("similarity", lambda pairs: cosines(pairs, oracle.embedder(similarity.model)))
    yield _agreement("token F1", _token_f1)
    with backends() as oracle:
        yield _tuned(oracle)


def _tuned(oracle: JudgeBackends) -> Agreement:
    read = LABELS.read_text(encoding="utf-8")
    judge = TunedJudge(FIELD, labels=LABELS.name).bind(lambda _: read)
    trained = judge.calibrated(oracle)
    bad = [label for label in judge.known or () if not label.good]
    pairs = [as_answered(label, FIELD) for label in bad]
    scores = trained.score_many([row for row, *_ in pairs], [answer for _, answer, _ in pairs], oracle)
    threshold = trained.admission.threshold
    is_refused = [score.value is not None and score.value < threshold for score in scores]
    return Agreement("tuned", trained.admission, _by_kind([label.kind for label in bad], is_refused))


def _by_kind(kinds: Sequence[str], is_refused: Sequence[bool]) -> dict[str, Rate]:
    found = {}
    for kind in sorted(set(kinds)):
        hits = [hit for own, hit in zip(kinds, is_refused, strict=True) if own == kind]
        found[kind] = wilson(sum(hits), len(hits))
    return found


def _agreement(name: str, statistics: Callable[[Sequence[tuple[str, str]]], Sequence[float]]) -> Agreement:
    judge = local_judges()[1]
    platt, admission = calibrated_on_labels(judge, statistics)
    _, test = split_labels(judge.known or (), judge.seed)
    bad = [label for label in test if not label.good]
    found = statistics([(label.reference, label.reply) for label in bad])
    is_refused = [platt.probability(statistic) < judge.threshold for statistic in found]
    refused = _by_kind([label.kind for label in bad], is_refused)
    return Agreement(name, admission, refused)


def _token_f1(pairs: Sequence[tuple[str, str]]) -> list[float]:
    rows = [
        Row(str(k), (Message("user", "?"), Message("assistant", reference)))
        for k, (reference, _) in enumerate(pairs)
    ]
    answers = [Answer(row.id, reply, 1, 1, 0.0) for row, (_, reply) in zip(rows, pairs, strict=True)]
    return [score.value or 0.0 for score in score_all(TokenF1(), rows, answers)]


def table() -> str:
    """Agreements as a Markdown table, each rate with its 95% interval."""
    found = list(agreements())
    kinds = list(found[0].refused)
    first = found[0].admission
    heads = ["kappa", "TPR", "TNR", *(f"TNR, {kind}" for kind in kinds)]
    counts = [first.kappa.n, first.tpr.n, first.tnr.n, *(found[0].refused[kind].n for kind in kinds)]
    lines = [
        f"| score | {' | '.join(f'{h} (n={n})' for h, n in zip(heads, counts, strict=True))} | admitted |",
        f"| --- |{' --: |' * len(heads)} --- |",
    ]
    for one in found:
        rates = (one.admission.kappa, one.admission.tpr, one.admission.tnr, *one.refused.values())
        cells = [
            f"{rate.value:.2f} ({rate.low:.2f} to {rate.high:.2f}{'' if rate.n == n else f', n={rate.n}'})"
            for rate, n in zip(rates, counts, strict=True)
        ]
        lines.append(f"| {one.name} | {' | '.join(cells)} | {'yes' if one.admission.admitted else 'no'} |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(table())
