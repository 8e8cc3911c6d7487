"""The top of the report: the decision with its reasons, and what to know before trusting it."""

from __future__ import annotations

from collections.abc import Iterator

from harness.decision.gates import speaks_of
from harness.records import Admission, Kind, RunRecord, Verdict
from harness.report import numbers
from harness.report.spending import spending_sentence
from harness.report.trial_pairs import decision_label, is_compared, trial_label
from harness.report.view_models import Caution, DecisionCard, Headline, Tone

VERDICT_TONE: dict[Verdict, Tone] = {
    Verdict.GO: "good",
    Verdict.NO_GO: "bad",
    Verdict.INCONCLUSIVE: "unsure",
}
_MEANS = {
    Verdict.GO: "Ship it: every gate is shown.",
    Verdict.NO_GO: "Do not ship it: at least one gate is refuted.",
    Verdict.INCONCLUSIVE: "Not decided: the evidence shows neither.",
}
REHEARSAL = "REHEARSAL: hosted models were a local twin of the service; nothing here speaks of the real ones."
_POLICY = {
    "release": "release policy: anything but GO fails the run",
    "regression": "regression policy: only a refuted gate fails the run",
}


def headline(record: RunRecord) -> Headline:
    """The decisions, what qualifies them, and the policy they were taken under."""
    decided = list(dict.fromkeys(decision.candidate for decision in record.decisions))
    names = decided or [candidate.name for candidate in record.candidates if is_compared(candidate)]
    cards = tuple(
        DecisionCard(
            subject=decision_label(decision),
            verdict=decision.verdict.value,
            tone=VERDICT_TONE[decision.verdict],
            means=f"{_MEANS[decision.verdict]} {speaks_of(decision)}".strip(),
            reasons=decision.reasons,
        )
        for decision in record.decisions
    )
    return Headline(
        title=f"Should we ship {' or '.join(names)}?" if names else "Nothing was compared",
        run_id=record.id,
        created=record.created,
        stamps=stamps(record.rehearsal),
        notes=record.notes,
        cards=cards,
        cautions=tuple(_cautions(record)),
        policy=f"Gate {_POLICY[record.gate_policy]}. Each gate is a one-sided test at "
        f"{numbers.percent(record.alpha, 0)}; GO needs every gate to be shown.",
        spending=spending_sentence(record),
    )


def stamps(rehearsal: bool) -> tuple[str, ...]:
    """What has to be read before anything else."""
    return (REHEARSAL,) if rehearsal else ()


def admission_figures(judge: Admission) -> tuple[tuple[str, str], ...]:
    """What was measured of a judge, as (name, value with interval and n)."""
    return (
        ("Cohen’s kappa", numbers.rate(judge.kappa)),
        ("true-positive rate", numbers.rate(judge.tpr)),
        ("true-negative rate", numbers.rate(judge.tnr)),
        ("good from a score of", numbers.score(judge.threshold, Kind.GRADED)),
        ("calibrated on", numbers.plural(judge.n_calibration, "label")),
        ("tested on", numbers.plural(judge.n_test, "other label")),
    )


def _cautions(record: RunRecord) -> Iterator[Caution]:
    if not record.decisions:
        yield Caution("No decision was taken in this run: no gate was collected.")
    for suite in record.suites:
        for info in suite.scores:
            if info.admission is not None and not info.admission.admitted:
                yield Caution(
                    f"The judge of {suite.name} / {info.name} was not admitted: its gates only advise.",
                    info.admission.reasons,
                    admission_figures(info.admission),
                )
    n_answers, n_scores, details = 0, 0, []
    for trial in record.trials:
        answers = sum(answer.failure is not None for answer in trial.answers)
        scores = sum(score.failure is not None for many in trial.scores.values() for score in many)
        if answers or scores:
            of_all = numbers.count(answers, len(trial.answers))
            details.append(
                f"{trial.suite}, {trial_label(trial)}: {of_all} answers, {numbers.plural(scores, 'score')}."
            )
        n_answers, n_scores = n_answers + answers, n_scores + scores
    if details:
        yield Caution(
            f"{numbers.plural(n_answers, 'answer')} and {numbers.plural(n_scores, 'score')} failed. "
            "They are counted here and left out of every mean; none is a zero.",
            tuple(details),
        )
    for suite in record.suites:
        if suite.uses > 1:
            yield Caution(
                f"{suite.heldout} has been used for a decision {suite.uses:,} times, this run included: "
                "each further use makes it a little less held out.",
            )
