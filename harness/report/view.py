"""A run record as a report: which blocks there are, in which order; the decision and what was run. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from harness.decision.advice import pointers
from harness.decision.gates import speaks_of as of_checkpoint
from harness.records import Decision, Gate, Provenance, RunRecord, Trial, Verdict
from harness.report import numbers
from harness.report.answers import answers
from harness.report.comparisons import SLICES_NOTE, comparisons, slices
from harness.report.costs import cost, spending, spending_sentence
from harness.report.earnings import money_warnings
from harness.report.forecasts import forecasts
from harness.report.go_forecast import forecast_of, go_forecast
from harness.report.judges import judge_blocks, judge_cautions
from harness.report.ladder import ladder_block
from harness.report.learning import learning_curves, trainings
from harness.report.pictures import pictures
from harness.report.plainly import plainly, speaks_of
from harness.report.reference import reference_lines
from harness.report.rows import packed_rows
from harness.report.sides import sides
from harness.report.trial_pairs import is_compared, size_label, trial_label
from harness.report.view_models import Caution, DecisionCard, Fact, Headline, ReportView, TextTable, Tone

VERDICT_TONE: dict[Verdict, Tone] = {
    Verdict.GO: "good",
    Verdict.NO_GO: "bad",
    Verdict.INCONCLUSIVE: "unsure",
}
_MEANS = {
    Verdict.GO: "Ship it.",
    Verdict.NO_GO: "Do not ship it.",
    Verdict.INCONCLUSIVE: "Not decided: this run cannot tell.",
}
_MOST_IN_TITLE = 3
REHEARSAL = "REHEARSAL: hosted models were a local twin of the service; nothing here speaks of the real ones."
_POLICY = {
    "release": "release policy: anything but GO fails the run",
    "regression": "regression policy: only a refuted gate fails the run",
}


def build_view(record: RunRecord) -> ReportView:
    """Everything the reports show, in reading order, formatted; nothing that is not in the record."""
    curves = learning_curves(record)
    return ReportView(
        headline=headline(record),
        curves=curves,
        forecasts=forecasts(curves),
        comparisons=comparisons(record),
        judges=[*judge_blocks(record)],
        slices=slices(record),
        slices_note=SLICES_NOTE,
        answers=answers(record),
        rows=packed_rows(record),
        pictures=pictures(record),
        costs=[cost(record, money) for money in record.economics],
        spending=spending(record),
        training=trainings(record),
        command=record.command,
        provenance=[table for table in _provenance(record) if table.rows],
        not_measured=[*_not_measured(record)],
    )


def headline(record: RunRecord) -> Headline:
    """The decisions, what qualifies them, and the policy they were taken under."""
    decided = list(dict.fromkeys(decision.candidate for decision in record.decisions))
    names = decided or [candidate.name for candidate in record.candidates if is_compared(candidate)]
    # a stand-in may well end in GO, and a line of a log is read without its heading
    rehearsed = " (a rehearsal: it says nothing of the real models)" if record.rehearsal else ""
    cards = [_card(record, decision, rehearsed) for decision in record.decisions]
    title = f"Should we ship {' or '.join(names)}?" if names else "Nothing was compared"
    if len(names) > _MOST_IN_TITLE:
        title = f"Which of {len(names):,} candidates should we ship?"
    return Headline(
        title="What is the cheapest that holds?" if record.ladder else title,
        run_id=record.id,
        created=record.created,
        stamp=REHEARSAL if record.rehearsal else "",
        notes=record.notes,
        cards=cards,
        cautions=[*_beside(cards), *map(Caution, money_warnings(record)), *_cautions(record)],
        policy=f"Gate {_POLICY[record.gate_policy]}. Each gate is a one-sided test at "
        f"{numbers.one_sided(record.alpha)}; GO needs every gate to be shown.",
        spending=spending_sentence(record),
        together=_together(record),
        ladder=ladder_block(record),
        reference=[*reference_lines(record)],
        evidence=_evidence(record),
    )


def _beside(cards: Sequence[DecisionCard]) -> Iterator[Caution]:
    """What is said beside each verdict."""
    for card in cards:
        for note in card.notes:
            yield Caution(f"{card.subject}: {note}" if len(cards) > 1 else note)


def _not_measured(record: RunRecord) -> Iterator[str]:
    """What this run leaves open, however its gates ended."""
    asserted = {(gate.suite, gate.comparison.score) for gate in record.gates if gate.comparison}
    scores = [(suite.name, info) for suite in record.suites for info in suite.scores]
    unasked = [f"{suite} / {info.name}" for suite, info in scores if (suite, info.name) not in asserted]
    if unasked:
        yield f"No test asks anything of {numbers.listed(unasked)}."
    advisory = dict.fromkeys(f"{g.suite} / {_score(g)}" for g in record.gates if g.state == "advisory")
    if advisory:
        yield f"{numbers.listed([*advisory])}: its judge advises, and its figures decide nothing."
    sliced = {gate.suite for gate in record.gates if gate.comparison and gate.comparison.rows}
    coarse = [suite.name for suite in record.suites if suite.slices and suite.name not in sliced]
    if coarse:
        yield f"No test holds for one part of the rows of {numbers.listed(coarse)}: the slices only explore."
    trainings = dict.fromkeys(filter(None, map(of_checkpoint, record.decisions)))
    yield from (f"The luck of training. {said}" for said in trainings)
    if record.decisions and not record.economics:
        yield "Money: suites/economics.toml has no prices for it."
    yield "Whether tomorrow's requests are like these rows: fresh rows, from time to time, tell."


def _score(gate: Gate) -> str:
    return gate.comparison.score if gate.comparison else gate.test.rpartition("::")[2]


def _evidence(record: RunRecord) -> list[Fact]:
    """What the baselines' failures point to: whose, to what, and the counts with the rule."""
    return [
        Fact(side, pointer.rung, f"{pointer.evidence} {pointer.means}") for side, pointer in pointers(record)
    ]


def _card(record: RunRecord, decision: Decision, rehearsed: str) -> DecisionCard:
    forecast = forecast_of(record, decision)
    of_size = "" if decision.size is None else f" at {numbers.plural(decision.size, 'row')}"
    return DecisionCard(
        subject=decision.candidate + of_size + rehearsed,
        verdict=decision.verdict.value,
        tone=VERDICT_TONE[decision.verdict],
        means=_MEANS[decision.verdict],
        reasons=decision.reasons,
        notes=decision.notes,
        forecast=go_forecast(record, decision, forecast),
        speaks_of=speaks_of(record, decision),
        plainly=plainly(record, decision, forecast),
    )


def _together(record: RunRecord) -> TextTable | None:
    """The level that each candidate met; None where there was one, or the record is of an earlier version."""
    m = max((decision.candidates_judged for decision in record.decisions), default=1)
    if m < 2:
        return None
    today = len(record.decisions)
    rows = [
        (
            size_label(decision.size, None, decision.candidate),
            decision.verdict.value,
            str(decision.candidates_judged),
            numbers.one_sided(decision.p_value),
            numbers.one_sided(decision.level),
            numbers.NONE if decision.level is None else "yes" if decision.verdict is Verdict.GO else "no",
        )
        for decision in record.decisions
    ]
    return TextTable(
        "The level that each candidate met",
        ("candidate", "verdict", "tries#", "largest p of its gates#", "level to reach#", "met"),
        rows,
        f"Tries are the candidates that were up for a decision today, {today}, and those that were judged"
        " beside one on its rows before and that this run leaves out"
        f"{', and rungs of the ladder that were not tried' if record.ladder else ''}."
        " They share the level of one gate: some"
        f" GO among them is false at most {numbers.one_sided(record.alpha)} of the time (S. Holm 1979). One"
        " that is no GO by its own gates has no level to reach.",
    )


def _cautions(record: RunRecord) -> Iterator[Caution]:
    if not record.decisions:
        yield Caution("No decision was taken in this run: no gate was collected.")
    yield from judge_cautions(record)
    n_answers, n_scores, details = 0, 0, []
    for trial in record.trials:
        counts = trial.counts
        answers = counts.n_failed
        scores = sum(score.failure is not None for many in trial.scores.values() for score in many)
        if answers or scores:
            why = ", ".join(f"{n:,} {kind.value}" for kind, n in counts.failed.items())
            of_all = numbers.count(answers, counts.n) + " answers" + (f" ({why})" if why else "")
            details.append(
                f"{trial.suite}, {trial_label(trial)}: {of_all}, {numbers.plural(scores, 'score')}."
            )
        n_answers, n_scores = n_answers + answers, n_scores + scores
    if details:
        yield Caution(
            f"{numbers.plural(n_answers, 'answer')} and {numbers.plural(n_scores, 'score')} failed. "
            "They are counted here and left out of every mean; none is a zero.",
            details,
        )
    kept = [*kept_answers(record)]
    if kept:
        yield Caution("Answers of earlier runs were used; --fresh asks again.", kept)
    recorded = [*recorded_answers(record)]
    if recorded:
        yield Caution("Nobody was asked in this run for answers that were recorded before.", recorded)
    for suite in record.suites:
        if suite.uses > 1 and not suite.history:  # a version that did not note them; else decisions say it
            yield Caution(
                f"{suite.heldout} has been used for a decision {suite.uses:,} times, this run included: "
                "each further use makes it a little less held out.",
            )


def kept_answers(record: RunRecord) -> Iterator[str]:
    """For each trial with answers of earlier runs: how many, when they were given and by which runs."""
    for trial in record.trials:
        found = trial.provenance
        if found is None or not found.kept or found.recorded:
            continue
        dates = _dates(found)
        runs = (
            [f"by {numbers.plural(len(found.runs), 'run')}: {', '.join(found.runs[-3:])}"]
            if found.runs
            else []
        )
        yield (
            f"{trial.suite}, {trial_label(trial)}: {numbers.count(found.kept)} of"
            f" {numbers.plural(found.asked + found.kept, 'answer')} kept, {', '.join([*dates, *runs])};"
            f" {numbers.count(found.asked)} asked now"
        )


def recorded_answers(record: RunRecord) -> Iterator[str]:
    """For each trial whose answers were there before: in which file or run, whose, and of which days."""
    for trial in record.trials:
        found = trial.provenance
        if found is not None and found.recorded:
            whose = f" from {found.by}" if found.by else ""
            told = ", ".join([f"recorded in {found.recorded}{whose}", *_dates(found)])
            yield f"{trial.suite}, {trial_label(trial)}: {numbers.plural(found.kept, 'answer')} {told}"


def _dates(found: Provenance) -> list[str]:
    days = list(dict.fromkeys(day[:10] for day in (found.oldest, found.newest) if day))
    dates = [f"given {' to '.join(days)} (UTC)"] if days else []
    if found.undated:
        dates.append(f"{numbers.count(found.undated)} on an unknown day" if days else "on an unknown day")
    return dates


def _provenance(record: RunRecord) -> Iterator[TextTable]:
    """Enough to run it again, and to see what did not go as it should."""
    yield TextTable(
        "Candidates",
        ("candidate", "kind", "cost rank#", "model", "model digest", "compared with", "settings"),
        [
            (
                candidate.name,
                candidate.kind,
                str(candidate.cost_rank),
                candidate.model,
                candidate.model_digest,
                candidate.baseline or numbers.NONE,
                ", ".join(f"{key}={value}" for key, value in sorted(candidate.spec.items())) or numbers.NONE,
            )
            for candidate in record.candidates
        ],
    )
    yield TextTable(
        "Suites and data",
        ("suite", "held-out file", "digest", "rows#", "prompt digest", "uses#", "scores"),
        [
            (
                suite.name,
                suite.heldout,
                suite.heldout_digest,
                numbers.count(len(suite.rows)),
                suite.prompt_digest or numbers.NONE,
                numbers.count(suite.uses),
                "; ".join(f"{info.name} ({info.kind.value}): {info.description}" for info in suite.scores),
            )
            for suite in record.suites
        ],
        "Uses: decisions about a candidate that the held-out rows have served, this run's included.",
    )
    yield sides(record)
    heads = ["trial", "suite", "seed#", "answers#", "failed#", "scores failed#", "time#"]
    yield TextTable(
        "Trials",
        [*heads, "latency (mean)#", "numerics", "training data digest"],
        [_trial(trial) for trial in record.trials],
        "A failed answer or score has no value: it is counted here and left out of every mean. A thought is"
        " set aside and never scored.",
    )
    timings = [(part, numbers.seconds(seconds)) for part, seconds in record.timings_s.items()]
    yield TextTable("Timings", ("part", "time#"), timings)
    versions = dict(record.environment)
    for trial in record.trials:
        for name, version in trial.training.versions.items() if trial.training else ():
            if record.environment.get(name) != version:  # trained elsewhere, or before an update
                versions[f"{name} (training)"] = version
    yield TextTable("Environment", ("name", "version"), sorted(versions.items()))


def _trial(trial: Trial) -> tuple[str, ...]:
    came = [answer for answer in trial.answers if answer.failure is None and not answer.batched]
    latencies_ms = [answer.latency_ms for answer in came if answer.latency_ms is not None]
    counts = trial.counts
    failed = {name: sum(score.failure is not None for score in each) for name, each in trial.scores.items()}
    return (
        trial.label,
        trial.suite,
        numbers.NONE if trial.seed is None else str(trial.seed),
        numbers.count(counts.n),
        numbers.count(counts.n_failed),
        ", ".join(f"{name} {n:,}" for name, n in failed.items() if n) or "0",
        numbers.seconds(trial.seconds) if latencies_ms else numbers.NONE,
        f"{sum(latencies_ms) / len(latencies_ms):,.0f} ms" if latencies_ms else numbers.NONE,
        trial.numeric_config,
        (trial.training.row_digest if trial.training else "") or numbers.NONE,
    )
