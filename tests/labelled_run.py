"""A small run whose judge is kind to the candidate, and labels of its answers."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from harness.decision.gates import decide
from harness.decision.paired import compare
from harness.decision.vectors import over_seeds, recorded_vector
from harness.records import (
    Answer,
    Gate,
    Kind,
    Role,
    RunRecord,
    Score,
    ScoreInfo,
    SuiteInfo,
    SuiteRow,
    Trial,
)
from harness.scoring.run_labels import RunLabel, answer_digest, parse_run_labels

N, BASE, TUNED = 120, "prompt", "tuned"
#: what people would say of each row's answers: three rows of seven are mended, one is spoilt
GOOD: Mapping[str, np.ndarray] = {
    BASE: np.array([at % 7 not in (1, 2, 3) for at in range(N)], dtype=np.float64),
    TUNED: np.array([at % 7 != 4 for at in range(N)], dtype=np.float64),
}


def run(
    candidates: Sequence[str] = (TUNED,), *, kind: float = 0.2, seeds: int = 1, score: ScoreInfo | None = None
) -> RunRecord:
    """The run: the judge's score is the truth blurred, and ``kind`` more for a candidate."""
    noise = np.random.default_rng(3)
    suite = SuiteInfo(
        name="support",
        heldout="heldout.jsonl",
        heldout_digest="d",
        rows=tuple(
            SuiteRow(f"row-{at}", f"question {at}", "reference", {"language": ("en", "de")[at % 2]})
            for at in range(N)
        ),
        scores=(
            score or ScoreInfo("summary", Kind.GRADED, "a judge"),
            ScoreInfo("format", Kind.BINARY, "JSON"),
        ),
        slices=("language",),
        prompt_digest=None,
    )
    trials = [_trial(BASE, None, noise, 0.0)]
    for name in candidates:
        trials += [_trial(name, seed, noise, kind) for seed in range(seeds)]
    record = RunRecord(
        id="20261128-101500-tuned",
        created="2026-11-28T10:15:00+00:00",
        command="pytest suites/",
        gate_policy="release",
        alpha=0.05,
        candidates=(),
        suites=(suite,),
        trials=tuple(trials),
        gates=(),
        decisions=(),
        economics=(),
        environment={},
        timings_s={},
    )
    gates = [gate for name in candidates for gate in _gates(record, name, tuple(range(seeds)))]
    return replace(
        record,
        gates=tuple(gates),
        decisions=tuple(
            decide(
                name,
                400,
                gates,
                seeds=tuple(range(seeds)),
                obstacles=["a row leaks."],
                remarks=["no gate compares tone."],
                notes=("1 answer is cut off.",),
            )
            for name in candidates
        ),
    )


def without_obstacles(record: RunRecord) -> RunRecord:
    """The run with nothing against GO but its gates."""
    decisions = (decide(d.candidate, d.size, record.gates, seeds=d.seeds) for d in record.decisions)
    return replace(record, decisions=tuple(decisions))


def _trial(name: str, seed: int | None, noise: np.random.Generator, kind: float) -> Trial:
    good = GOOD[BASE if name == BASE else TUNED]
    blurred = np.minimum(0.1 + 0.6 * good + 0.2 * noise.random(N) + kind / 2.0, 1.0)
    return Trial(
        candidate=name,
        size=None if seed is None else 400,
        seed=seed,
        suite="support",
        answers=tuple(Answer(f"row-{at}", f"{name} {seed} says {at}", 9, 9, 0.0) for at in range(N)),
        scores={
            "summary": tuple(Score(round(float(value), 3)) for value in blurred),
            "format": tuple(Score(float(name != BASE or at % 2)) for at in range(N)),
        },
        seconds=1.0,
        numeric_config="",
    )


def _gates(record: RunRecord, name: str, seeds: tuple[int, ...]) -> list[Gate]:
    (suite,) = record.suites
    gates = []
    for score, role, state, bound in (
        ("summary", Role.TARGET, "advisory", 0.0),
        ("format", Role.GUARD, "gated", -0.05),
    ):
        mine = [recorded_vector(suite, t, score) for t in record.trials if t.candidate == name]
        theirs = recorded_vector(suite, record.trials[0], score)
        found = compare(over_seeds(mine, seeds), theirs, bound=bound)
        gates.append(
            Gate(
                "support",
                f"suites/support/test_support.py::test_{score}",
                name,
                400,
                seeds,
                role,
                "advisory" if state == "advisory" else "gated",
                found,
            )
        )
    return gates


def lines(
    record: RunRecord,
    rows: Sequence[int] = range(0, N, 2),
    *,
    annotator: str = "ada",
    good: Mapping[str, np.ndarray] = GOOD,
    probability: float = 0.5,
) -> list[dict[str, object]]:
    """Labels of all answers to these rows, as a file holds them."""
    return [
        {
            "run": record.id,
            "suite": "support",
            "score": "summary",
            "row": f"row-{at}",
            "side": trial.label,
            "seed": trial.seed,
            "answer": answer_digest(trial.answers[at].text),
            "annotator": annotator,
            "label": "good" if good[BASE if trial.candidate == BASE else TUNED][at] else "bad",
            "probability": probability,
        }
        for at in rows
        for trial in record.trials
        if trial.answers[at].failure is None
    ]


def text_of(labels: Sequence[Mapping[str, object]]) -> str:
    """The file."""
    return "\n".join(map(json.dumps, labels)) + "\n"


def parsed(labels: Sequence[Mapping[str, object]], where: str = "labels.jsonl") -> tuple[RunLabel, ...]:
    """The labels as they are read."""
    return parse_run_labels(text_of(labels), where)
