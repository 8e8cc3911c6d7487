"""A realistic run record: a support suite and a retention suite, one baseline, one adapter at four sizes."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache
from random import Random

from harness.decision.gates import decide
from harness.decision.paired import compare
from harness.decision.vectors import recorded_vector
from harness.records import (
    Admission,
    Answer,
    CandidateInfo,
    Category,
    CauseTest,
    Diagnosis,
    Economics,
    Gate,
    Kind,
    Price,
    Rate,
    Role,
    RunRecord,
    Score,
    ScoreInfo,
    SuiteInfo,
    SuiteRow,
    Training,
    TrainingPoint,
    Trial,
)

SIZES = (50, 100, 200, 400)
BASE, ADAPTER = "smollm2-135m", "qlora-r16"
INTENTS = ("refund", "delivery", "login", "invoice", "cancel", "upgrade")
LANGUAGES = ("en", "de", "fr")
_RIGHT = {None: 0.52, 50: 0.58, 100: 0.66, 200: 0.74, 400: 0.81}
_VALID = {None: 0.94, 50: 0.96, 100: 0.97, 200: 0.985, 400: 0.99}
_KEPT = {None: 0.61, 50: 0.60, 100: 0.60, 200: 0.585, 400: 0.58}

ADMISSION = Admission(
    judge="likelihood of the reference summary under smollm2-135m",
    admitted=False,
    kappa=Rate(0.41, 0.26, 0.56, 118),
    tpr=Rate(0.78, 0.67, 0.87, 64),
    tnr=Rate(0.63, 0.49, 0.75, 54),
    threshold=0.47,
    n_calibration=60,
    n_test=118,
    reasons=("kappa 0.41 is below 0.60.", "The lower limit of the true-negative rate, 0.49, is below 0.70."),
)


@cache
def sample_run(n_rows: int = 200, n_slices: int = 2, seed: int = 7) -> RunRecord:
    """The run; ``n_slices`` keys of metadata on ``n_rows`` support rows."""
    support, retention = _support(n_rows, n_slices, seed), _retention(max(n_rows * 3 // 4, 20))
    trials = tuple(
        trial
        for suite in (support, retention)
        for trial in [
            _trial(suite, BASE, None, seed),
            *(_trial(suite, ADAPTER, size, seed) for size in SIZES),
        ]
    )
    gates = _gates(support, retention, trials)
    return RunRecord(
        id="2026-11-21-qlora-r16-7f3a",
        created="2026-11-21T09:14:05Z",
        command="pytest suites/ --candidate=qlora-r16 --sizes=50,100,200,400",
        gate_policy="release",
        alpha=0.05,
        candidates=(
            CandidateInfo(BASE, "prompted", 0, {"max_tokens": 96}, "smollm2-135m", "sha256:5d0c61ee", BASE),
            CandidateInfo(
                ADAPTER,
                "qlora",
                4,
                {"r": 16, "alpha": 32, "epochs": 3},
                "smollm2-135m",
                "sha256:5d0c61ee",
                BASE,
            ),
        ),
        suites=(support, retention),
        trials=trials,
        gates=gates,
        decisions=(decide(ADAPTER, 400, gates),),
        economics=(ECONOMICS,),
        environment={"python": "3.11.7", "torch": "2.9.1", "trl": "1.2.0", "machine": "2 cores, AVX512-BF16"},
        timings_s={"training": 812.4, "generation": 96.2, "scoring": 14.8, "total": 931.0},
    )


def _support(n_rows: int, n_slices: int, seed: int) -> SuiteInfo:
    chance = Random(seed)
    rows = tuple(_support_row(place, n_slices, chance) for place in range(n_rows))
    keys = ("intent", "language", *(f"key{place}" for place in range(2, n_slices)))[:n_slices]
    return SuiteInfo(
        name="support",
        heldout="suites/support/heldout.jsonl",
        heldout_digest="sha256:9b1f44c2",
        rows=rows,
        scores=(
            ScoreInfo("valid", Kind.BINARY, "the reply is JSON that fits ticket.schema.json"),
            ScoreInfo("intent", Kind.BINARY, "the intent equals the reference's"),
            ScoreInfo("summary", Kind.GRADED, "a judge's score of the summary", ADMISSION),
        ),
        slices=keys,
        prompt_digest="sha256:1c77a0d9",
        uses=3,
    )


def _support_row(place: int, n_slices: int, chance: Random) -> SuiteRow:
    intent, language = chance.choice(INTENTS), chance.choice(LANGUAGES)
    order = chance.randint(10_000, 99_999)
    question = (
        f"Hello, I wrote to you last week about order {order} and nobody answered. It is about a {intent}: "
        "the app shows an error, the chat robot sends me in circles, and by now I want to talk to a person. "
        "Please tell me what happens next and how long it takes, because I am travelling from Monday on."
    )
    reference = json.dumps(
        {"intent": intent, "summary": f"Customer asks about a {intent} for order {order}."}
    )
    extra = {f"key{key}": f"v{chance.randint(0, 4)}" for key in range(2, n_slices)}
    return SuiteRow(f"s-{place:04d}", question, reference, {"intent": intent, "language": language, **extra})


def _retention(n_rows: int) -> SuiteInfo:
    rows = tuple(
        SuiteRow(f"r-{place:04d}", f"What is {place} plus {place + 3}?", str(2 * place + 3), {})
        for place in range(n_rows)
    )
    return SuiteInfo(
        name="retention",
        heldout="suites/retention/heldout.jsonl",
        heldout_digest="sha256:77aa02be",
        rows=rows,
        scores=(ScoreInfo("exact", Kind.BINARY, "the reply holds the number"),),
        slices=(),
        prompt_digest=None,
    )


def _trial(suite: SuiteInfo, name: str, size: int | None, seed: int) -> Trial:
    chance = Random(f"{suite.name}{size}{seed}")
    made = [_answered(suite, row, size, chance) for row in suite.rows]
    scores = {info.name: tuple(one[1][info.name] for one in made) for info in suite.scores}
    return Trial(
        candidate=name,
        size=size,
        seed=None if size is None else 0,
        suite=suite.name,
        answers=tuple(one[0] for one in made),
        scores=scores,
        seconds=18.2,
        numeric_config="nf4, bf16 compute" if size else "bf16",
        training=None if size is None else training(size),
    )


def _answered(
    suite: SuiteInfo, row: SuiteRow, size: int | None, chance: Random
) -> tuple[Answer, dict[str, Score]]:
    luck = Random(row.id).random()  # the same row is easy or hard for every size
    if suite.name == "retention":
        right = 0.8 * luck + 0.2 * chance.random() < _KEPT[size]
        text = row.reference if right else str(int(row.reference) + 10)
        return _answer(row, text), {"exact": _binary(right, f"expected {row.reference}")}
    if row.id == "s-0003" and size in (None, 400):
        lost = Score(None, failure="no answer to score")
        failed = Answer(row.id, "", 0, 0, 0.0, "failed", "HTTP 500 from the endpoint, after 4 attempts")
        return failed, {info.name: lost for info in suite.scores}
    valid = 0.7 * luck + 0.3 * chance.random() < _VALID[size]
    right = valid and 0.7 * luck + 0.3 * chance.random() < _RIGHT[size]
    intent = row.slices["intent"] if right else chance.choice(INTENTS[:3]) + "_other"
    text = json.dumps(
        {"intent": intent, "summary": f"The customer writes about {intent} and wants an answer."}
    )
    text = text if valid else text[:-2]
    graded = min(1.0, max(0.0, chance.gauss(0.45 + 0.3 * right, 0.12)))
    judged = Score(round(graded, 3), "log-probability of the reference, calibrated")
    if row.id == "s-0009":
        judged = Score(None, failure="the judge's reply could not be read")
    return _answer(row, text), {
        "valid": _binary(valid, "fits the schema" if valid else "Expecting ',' delimiter: line 1 column 81"),
        "intent": _binary(right, f"{intent!r}, expected {row.slices['intent']!r}"),
        "summary": judged,
    }


def _answer(row: SuiteRow, text: str) -> Answer:
    return Answer(row.id, text, 411, max(1, len(text) // 4), 240.0 + len(text))


def _binary(right: bool, reason: str) -> Score:
    return Score(1.0 if right else 0.0, reason)


def training(size: int) -> Training:
    """A plausible training; the largest ends above its lowest development loss."""
    floor = 1.3 - 0.15 * SIZES.index(size) if size in SIZES else 1.0
    rise = 0.09 if size == 400 else 0.0
    points = tuple(
        TrainingPoint(
            step=step,
            epoch=step / 4,
            train_loss=floor * (0.75 + 1.1 * 0.72**step),
            train_token_accuracy=0.9 - 0.4 * 0.75**step,
            dev_loss=floor * (0.9 + 0.9 * 0.75**step) + (rise * (step - 9) / 3 if step > 9 else 0.0),
            dev_loss_se=0.02,
            dev_token_accuracy=0.97 - floor / 8 - 0.38 * 0.76**step,
        )
        for step in range(13)
    )
    return Training(
        fingerprint=f"fp-{size}",
        rows=size,
        replay_rows=50,
        epochs=3.0,
        steps=size * 3 // 8,
        tokens=size * 171,
        supervised_tokens=size * 42,
        seconds=size * 1.6,
        tokens_per_second=347.2,
        points=points,
        overfitting="development loss ended 0.09 above its minimum at epoch 2.25." if rise else None,
        device="cpu",
        numeric_config="nf4, bf16 compute",
        row_ids=tuple(f"t-{place}" for place in range(size)),
        versions={"torch": "2.9.1", "peft": "0.18.0"},
        row_digest=f"sha256:train{size}",
    )


def _gates(support: SuiteInfo, retention: SuiteInfo, trials: tuple[Trial, ...]) -> tuple[Gate, ...]:
    asserted = (
        (support, "suites/support/test_support.py::test_format", "valid", Role.GUARD, -0.02),
        (support, "suites/support/test_support.py::test_intent", "intent", Role.TARGET, 0.0),
        (support, "suites/support/test_support.py::test_summary", "summary", Role.TARGET, 0.0),
        (retention, "suites/retention/test_retention.py::test_kept", "exact", Role.GUARD, -0.10),
    )
    return tuple(
        _gate(suite, test, score, role, bound, size, trials)
        for suite, test, score, role, bound in asserted
        for size in SIZES
    )


def _gate(
    suite: SuiteInfo,
    test: str,
    score: str,
    role: Role,
    bound: float,
    size: int,
    trials: tuple[Trial, ...],
) -> Gate:
    of_suite = [trial for trial in trials if trial.suite == suite.name]
    base = next(trial for trial in of_suite if trial.candidate == BASE)
    mine = next(trial for trial in of_suite if trial.size == size)
    state = "measured" if size != SIZES[-1] else "advisory" if score == "summary" else "gated"
    found = compare(recorded_vector(suite, mine, score), recorded_vector(suite, base, score), bound=bound)
    return Gate(suite.name, test, ADAPTER, size, (0,), role, state, found)  # type: ignore[arg-type]


ECONOMICS = Economics(
    candidate=ADAPTER,
    baseline=BASE,
    requests_per_day=2_000.0,
    horizon_days=90.0,
    baseline_prompt_tokens=1_184.0,
    baseline_completion_tokens=41.3,
    candidate_prompt_tokens=96.0,
    candidate_completion_tokens=38.9,
    n_requests_measured=200,
    training_usd=1.84,
    baseline_usd_per_day=0.4048,
    candidate_usd_per_day=0.1509,
    saving_usd_per_day=0.2539,
    saving_usd_over_horizon=21.01,
    break_even_days=7.2,
    baseline_price=Price("gpt-4o-mini", 0.15, 0.60, None, "OpenAI price page", "2025-12-04"),
    candidate_price=Price("ft:gpt-4o-mini", 0.30, 1.20, 3.00, "price table without a date", None),
    notes=("The model shuts down on 14 January 2027.",),
)


def hostile_run(text: str) -> RunRecord:
    """The sample with ``text`` in every place that a model, a user or a file name reaches."""
    run = sample_run(n_rows=20)
    suite = run.suites[0]
    rows = tuple(replace(row, question=text, reference=text, slices={"intent": text}) for row in suite.rows)
    info = tuple(replace(score, description=text) for score in suite.scores)
    trials = tuple(
        _hostile_trial(trial, text) if trial.suite == suite.name else trial for trial in run.trials
    )
    return replace(
        run,
        id=text,
        command=text,
        notes=(text,),
        candidates=tuple(replace(c, spec={text: text}, model=text) for c in run.candidates),
        suites=(replace(suite, rows=rows, scores=info, heldout=text), *run.suites[1:]),
        trials=trials,
        gates=tuple(replace(gate, test=text) for gate in run.gates),
        decisions=tuple(replace(one, reasons=(text,)) for one in run.decisions),
        economics=tuple(replace(one, notes=(text,)) for one in run.economics),
        environment={text: text},
    )


def _hostile_trial(trial: Trial, text: str) -> Trial:
    answers = tuple(replace(answer, text=text, failure=None, finish="stop") for answer in trial.answers)
    scores = {
        name: tuple(replace(score, reason=text) for score in scored) for name, scored in trial.scores.items()
    }
    return replace(trial, answers=answers, scores=scores, numeric_config=text)


def diagnosis(text: str) -> Diagnosis:
    """Of a run's failures, with this text in every place."""
    shown = CauseTest(
        "shift",
        text,
        text,
        "Cliff's delta",
        (60, 200),
        0.5,
        0.3,
        0.7,
        0.0001,
        0.001,
        0.3,
        is_shown=True,
        next_step=text,
    )
    not_looked = CauseTest("base", text, text)
    category = Category(text, text, 3, 20, 0.5, 12, is_thin=True)
    return Diagnosis(
        run=text,
        candidate=text,
        suite=text,
        file=text,
        failures=60,
        training=400,
        heldout=200,
        judged=200,
        right=150,
        level=0.05,
        tests=(shown, not_looked),
        causes=("shift",),
        categories=(category,),
        notes=(text,),
    )
