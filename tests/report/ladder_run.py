"""A made-up run up a ladder: the sample's suite, asked by as many candidates as wanted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Literal

from sample_run import BASE, sample_run

from harness.decision.gates import decide
from harness.decision.ladder import BY_COST, IS_BASELINE
from harness.decision.paired import compare
from harness.decision.vectors import recorded_vector
from harness.records import Answer, CandidateInfo, Gate, Ladder, Role, Rung, RunRecord, Score, Trial

Outcome = Literal["holds", "fails", "undecided", "not tried"]


@dataclass(frozen=True)
class Step:
    """One rung to make up."""

    name: str
    share: float  # of right answers
    outcome: Outcome
    usd: float | None = None  # per 1,000 requests
    ms: float | None = 300.0
    size: int | None = None
    training_usd: float | None = None
    model: str = BASE


FIVE = (
    Step("prompt", 0.52, "fails", 0.09, 210),
    Step("few-shot-5", 0.66, "holds", 0.31, 260),
    Step("retrieval", 0.68, "holds", 0.42, 390),
    Step("qlora-r16", 0.81, "holds", 0.05, 190, size=400, training_usd=6.4),
    Step("large-model", 0.83, "holds", 4.10, 820, model="gpt-4.1"),
)


def ladder_run(
    steps: Sequence[Step] = FIVE, mode: Literal["first", "all"] = "all", *, n_rows: int = 200
) -> RunRecord:
    """The record; the first step is the baseline of all."""
    plain = sample_run(n_rows=n_rows)
    rows = tuple(replace(row, unseen_facts=(row.id,)) for row in plain.suites[0].rows)
    suite = replace(plain.suites[0], rows=rows)
    base = steps[0].name
    trials = []
    for step in steps:
        chance = Random(step.name)
        luck = [0.7 * Random(row.id).random() + 0.3 * chance.random() < step.share for row in suite.rows]
        answers = tuple(
            Answer(row.id, '{"intent": "x"}' if ok else "Sorry", 180 + len(step.name), 40, step.ms)
            for row, ok in zip(suite.rows, luck, strict=True)
        )
        scored = tuple(Score(float(ok), "" if ok else "another intent") for ok in luck)
        scores = {"valid": tuple(Score(1.0) for _ in luck), "intent": scored}
        trials.append(
            Trial(step.name, step.size, 0 if step.size else None, suite.name, answers, scores, 1.0, "bf16")
        )
    tried = {s.name: t for s, t in zip(steps, trials, strict=True) if s.outcome != "not tried"}
    against = recorded_vector(suite, trials[0], "intent")
    gates = [
        Gate(
            suite.name,
            "suites/support/test_support.py::test_intent",
            step.name,
            step.size,
            (0,),
            Role.TARGET,
            "gated",
            compare(recorded_vector(suite, tried[step.name], "intent"), against),
        )
        for step in steps[1:]
        if step.name in tried
    ]
    rungs = tuple(
        Rung(
            step.name,
            step.size,
            rank,
            rank,
            step.outcome,
            _why(step, base),
            step.usd,
            step.ms if step.outcome != "not tried" else None,
            step.training_usd,
        )
        for rank, step in enumerate(steps, start=1)
    )
    answer = next((rung.label for rung in rungs if rung.outcome == "holds"), None)
    return replace(
        plain,
        command="pytest suites/ --ladder",
        suites=(suite,),
        candidates=tuple(
            CandidateInfo(step.name, "kind", rank, {}, step.model, "sha256:1", base)
            for rank, step in enumerate(steps)
            if step.name in tried
        ),
        trials=tuple(tried.values()),
        gates=tuple(gates),
        decisions=tuple(decide(g.candidate, g.size, gates) for g in gates),
        economics=(),
        ladder=Ladder(
            rungs,
            mode,
            0.05 / len(rungs),
            answer,
            BY_COST,
            12.5 if mode == "first" else None,
        ),
    )


def _why(step: Step, base: str) -> str:
    if step.name == base and step.outcome == "fails":
        return IS_BASELINE
    return "few-shot-5 holds already" if step.outcome == "not tried" else f"its gates: {step.outcome}"
