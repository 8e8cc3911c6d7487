"""A run decided again, from its record and from what people said of its answers. No model is asked."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import numpy as np

from harness.decision.estimates import Codes
from harness.decision.gates import UNASKED_DROP, decided_again
from harness.decision.holm import LeftOut, Rejudged, judged_together
from harness.decision.judged import JudgedClaim, JudgedSide
from harness.decision.ladder import with_decisions
from harness.decision.paired import summary
from harness.decision.retesting import level_after, percent
from harness.errors import DataError, UsageError
from harness.records import (
    TIE,
    Comparison,
    Correction,
    Decision,
    Disagreement,
    Gate,
    Kind,
    LabelFile,
    Outcome,
    RunRecord,
    SuiteInfo,
    SuiteRow,
    Trial,
)
from harness.run.judge_notes import transfer_note
from harness.run.recorded_claims import judged_alone, recorded_claim
from harness.scoring.admission import widest
from harness.scoring.run_labels import Place, RunLabel, ScoreLabels, fit_to
from harness.words import plural

MOST_OFF = 0.8  # of the rows that the labelled ones stand for; by the luck of the draw it is some percent
DECIDED = "decided"  # the end of the name of a run that was decided with labels


@dataclass(frozen=True, slots=True)
class DecidedHead:
    """The fields of a decided run's record that a further decision reads."""

    created: str
    decided_from: str = ""
    label_files: tuple[LabelFile, ...] = ()


def decide_with_labels(
    record: RunRecord,
    labels: Sequence[RunLabel],
    files: Sequence[LabelFile],
    command: str,
    earlier: Sequence[Sequence[LabelFile]] = (),
) -> RunRecord:
    """The record with every gate that rests on a labelled score corrected, and decided again.

    A gate that was only advice decides where it is corrected: its judge is held to what people said of the
    very answers. Costs, answers and scores stay as they are. Who labels until it is GO decides too often: the
    levels of a run that was decided with other labels before are those of rows that have grown
    (:mod:`harness.decision.retesting`).

    Args:
        record: of the run.
        labels: those of all files; ``files`` names these.
        command: what the user typed.
        earlier: the files of each decision of this run, oldest first.

    Raises:
        DataError: labels that do not fit the record (see `fit_to`), or too few of them.
        UsageError: the record was decided with labels itself, or no gate rests on a labelled score.
    """
    if record.decided_from:
        raise UsageError(
            f"run {record.id} was decided with labels already.\n  hint: decide {record.decided_from}, the run"
            " that it came from, with all files of labels at once."
        )
    fitted = {(each.suite, each.score): each for each in fit_to(record, labels)}
    before = _decided_before(files, earlier)
    judged = [(gate, _corrected(record, gate, fitted, before)) for gate in record.gates]
    if all(corrected is None for _, corrected in judged):
        raise _no_gate(record, fitted.values())
    gates = tuple(gate if corrected is None else corrected[0] for gate, corrected in judged)
    used = {(g.suite, g.comparison.score) for g in gates if g.correction is not None and g.comparison}
    outdated = {transfer_note(suite, score) for suite, score in used}
    decisions = [
        decided_again(
            replace(
                _with_unasserted(record, each, fitted.values(), before),
                notes=tuple(note for note in each.notes if note not in outdated),
            ),
            record.gates,
            gates,
            record.money_gates,
        )
        for each in record.decisions
    ]
    judged_again = decided_together(record, decisions, judged)
    return replace(
        record,
        id=f"{record.id}-{DECIDED}",
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        command=command,
        gates=gates,
        decisions=judged_again,
        ladder=record.ladder and with_decisions(record.ladder, judged_again),
        notes=(*record.notes, *_notes(record, files, [each for each in fitted if each not in used])),
        decided_from=record.id,
        label_files=tuple(files),
    )


def decided_together(
    record: RunRecord,
    decisions: Sequence[Decision],
    judged: Iterable[tuple[Gate, tuple[Gate, JudgedClaim] | None]],
) -> tuple[Decision, ...]:
    """The decisions at the levels that they share with the run's other candidates (Holm).

    Args:
        record: as it was, whose decisions counted the candidates.
        decisions: each by its own gates.
        judged: the gates of the record, with what stands in their place where labels corrected them.
    """
    untried = 0 if record.ladder is None else round(record.alpha / record.ladder.level) - len(decisions)
    left_out = {
        each.candidate: LeftOut(number, f"before run {record.id}", "Judge them together")
        for each in record.decisions
        if (number := each.candidates_judged - len(decisions) - untried) > 0
    }
    claims: list[tuple[Gate, Rejudged]] = []
    for gate, corrected in judged if len(decisions) + untried > 1 or left_out else ():
        if corrected is not None:
            claims.append(corrected)
        elif gate.state == "gated" and gate.comparison is not None:
            claims.append((gate, recorded_claim(record, gate, gate.comparison)))
    return judged_together(decisions, claims, record.alpha, left_out, untried)


def _no_gate(record: RunRecord, fitted: Iterable[ScoreLabels]) -> UsageError:
    labelled = {
        f"{each.suite} / {each.score}": sorted({side for side, _, _ in each.values}) for each in fitted
    }
    named = "; ".join(f"{score} of {', '.join(sides)}" for score, sides in labelled.items())
    gates = [
        f"{gate.suite} / {found.score} of {found.candidate} against {found.baseline}"
        for gate in record.gates
        if (found := gate.comparison) is not None and gate.state in ("gated", "advisory")
    ]
    close = [gate for gate in gates if any(gate.startswith(f"{score} of ") for score in labelled)]
    return UsageError(
        f"no gate of run {record.id} is decided by labels of {named} alone.\n  hint: label both sides that a"
        f" gate compares: {'; '.join(dict.fromkeys(close or gates)) or 'there is none'}."
    )


def _decided_before(files: Sequence[LabelFile], earlier: Sequence[Sequence[LabelFile]]) -> int:
    """How many times the run was decided with other labels before these were first used."""
    seen: list[frozenset[str]] = []
    for each in (*earlier, files):
        digests = frozenset(file.digest for file in each)
        if digests not in seen:
            seen.append(digests)
    return seen.index(frozenset(file.digest for file in files))


def _notes(record: RunRecord, files: Sequence[LabelFile], unused: Sequence[tuple[str, str]]) -> list[str]:
    named = ", ".join(
        f"{file.name} ({plural(file.n_labels, 'label')}, SHA-256 {file.digest[:16]})" for file in files
    )
    notes = [f"Run {record.id} was decided again, without asking a model, by the labels of {named}."]
    if unused:
        scores = ", ".join(f"{suite} / {score}" for suite, score in unused)
        notes.append(
            f"No gate rests on {scores} of the sides that were labelled: these labels make nothing GO."
        )
    return notes


def _corrected(
    record: RunRecord, gate: Gate, fitted: Mapping[tuple[str, str], ScoreLabels], before: int
) -> tuple[Gate, JudgedClaim] | None:
    """The gate by judge and labels, with its claim; None where it decides nothing, or has no labels."""
    naive = gate.comparison
    if naive is None or gate.state not in ("gated", "advisory"):
        return None
    labels = fitted.get((gate.suite, naive.score))
    claim = None if labels is None else _claim(record, gate.suite, naive, labels, before)
    if labels is None or claim is None:
        return None
    if (problem := claim.why_not) is not None:
        raise DataError(
            labels.where,
            f"{naive.score} (suite {gate.suite}) of {naive.candidate} against {naive.baseline}: {problem}",
            "label more rows: harness label RUN",
        )
    rows = _rows(_suite(record, gate.suite), naive.rows)
    estimate, found = claim.estimate, claim.comparison
    if not naive.rows and not MOST_OFF < claim.stands_for / len(rows) < 1.0 / MOST_OFF:
        found = replace(
            found,
            reason=f"{found.reason} By their probabilities the labelled rows stand for {claim.stands_for:.0f}"
            f" rows, not {len(rows)}: rows that were drawn have no labels, or the probabilities are others."
            " That is fair only if nobody chose among the rows.",
        )
    if before:
        times = "once" if before == 1 else f"{before} times"
        level = f"Judged at {percent(found.alpha)}, as this run was decided with other labels {times} before."
        found = replace(found, reason=f"{found.reason} {level}")
    correction = Correction(
        n=len(rows),
        n_labels=claim.n_labels,
        weight=0.0 if isinstance(estimate, str) else estimate.weight,
        difference_of_labels=claim.labels_alone,
        labels_saved=0.0 if isinstance(estimate, str) else estimate.labels_saved,
        labels_needed=claim.labels_needed,
        annotators=labels.annotators,
        agreement=labels.agreement,
        n_shared=labels.n_shared,
        unpaired=tuple(rows[at].id for at in claim.unpaired.tolist()),
        disagreements=widest(_opposed(record, gate, naive, labels)),
    )
    return replace(gate, state="gated", comparison=found, why="", naive=naive, correction=correction), claim


def _with_unasserted(
    record: RunRecord, decision: Decision, fitted: Iterable[ScoreLabels], before: int
) -> Decision:
    """The decision with what labels say of scores that no gate compares with the baseline.

    As in a run, a drop that is shown stands in the way of GO; of a judge without labels nothing was shown.
    """
    mine = decision.candidate if decision.size is None else f"{decision.candidate}@{decision.size}"
    info = next((one for one in record.candidates if one.name == decision.candidate), None)
    if info is None or decision.obstacles is None:
        return decision
    obstacles, remarks = list(decision.obstacles), list(decision.remarks)
    for labels in fitted:
        place = f"{labels.score} (suite {labels.suite})"
        own = [g for g in record.gates if (g.candidate, g.size) == (decision.candidate, decision.size)]
        scores = {(g.suite, g.comparison.score) for g in own if g.comparison and not g.comparison.rows}
        trials = [trial for trial in record.trials if trial.suite == labels.suite]
        label_of = {trial.candidate: trial.label for trial in trials if trial.size is None}
        is_waived = any("(may_drop)" in said and place in said for said in remarks)
        if (labels.suite, labels.score) in scores or info.baseline not in label_of or is_waived:
            continue
        kind = next(s.kind for s in _suite(record, labels.suite).scores if s.name == labels.score)
        if kind is Kind.PREFERENCE:  # a tie is no drop, and no gate of the baseline's is missing
            continue
        naive = judged_alone(record, labels.suite, labels.score, mine, label_of[info.baseline], -UNASKED_DROP)
        claim = naive and _claim(record, labels.suite, naive, labels, before)
        if not claim or claim.why_not is not None:
            continue
        obstacles = [said for said in obstacles if not said.startswith(f"score {place} is shown")]
        said = f"{place}, which no gate compares with the baseline, by labels: {summary(claim.comparison)}."
        if claim.comparison.outcome is Outcome.REFUTED:
            obstacles.append(
                f"score {said} It is worse by more than {100 * UNASKED_DROP:g} points: assert it."
            )
        else:
            remarks.append(said)
    return replace(decision, obstacles=tuple(obstacles), remarks=tuple(remarks))


def _claim(
    record: RunRecord, name: str, naive: Comparison, labels: ScoreLabels, before: int
) -> JudgedClaim | None:
    """What the gate claims of judge and labels; None where the answers that it compares have no labels."""
    suite = _suite(record, name)
    trials = {
        label: [trial for trial in record.trials if (trial.suite, trial.label) == (name, label)]
        for label in (naive.candidate, naive.baseline)
    }
    is_pair = any(against for _, _, against in labels.values)
    labelled = {side for side, _, _ in labels.values}
    sides = [label for label, found in trials.items() if found]
    if not sides or not labelled.issuperset(sides):
        return None
    if not all(labels.score in trial.scores for side in sides for trial in trials[side]):
        return None
    rows = _rows(suite, naive.rows)
    places = [place for place in labels.values if place[0] in sides and bool(place[2]) is is_pair]
    with_labels = set[str]().union(*(labels.each.get(place, {}) for place in places))
    said = {name: dict(zip(places, labels.compared(places, name), strict=True)) for name in with_labels}
    try:
        larger, smaller = (
            _side(rows, trials[label], said, labels.score) if trials[label] else float(label)
            for label in (naive.candidate, naive.baseline)
        )
    except ValueError:  # a name in the record that no answers have: somebody edited it
        return None
    # a baseline's rows may have been drawn for another candidate
    baselines = {each.baseline for each in record.candidates}
    own = [label for label in sides if label.rpartition("@")[0] not in baselines and label not in baselines]
    drawn_by = own if own and not labelled.issubset(sides) else [*own, *sides]
    drawn = {name: p for s in reversed(drawn_by) for name, p in labels.probabilities[s].items() if p}
    probabilities = np.array([drawn.get(row.id, np.nan) for row in rows])
    # a judge that is trusted with labels from elsewhere was tested at another bound than the claim's
    at_level = replace(naive, alpha=level_after(naive.alpha, before), bound=naive.claimed, written=None)
    return JudgedClaim(at_level, larger, smaller, probabilities, _clusters(rows))


def _side(
    rows: Sequence[SuiteRow],
    trials: Sequence[Trial],
    said: Mapping[str, Mapping[Place, float]],
    score: str,
) -> JudgedSide:
    """One side of a claim, a column for each seed; ``said`` are the labels of rows that have any."""
    judged, labelled, answered = (np.full((len(rows), len(trials)), np.nan) for _ in range(3))
    for at, trial in enumerate(sorted(trials, key=lambda each: each.seed or 0)):
        both = zip(trial.answers, trial.scores[score], strict=True)
        answers = {answer.row_id: (answer, kept) for answer, kept in both}
        own = [answers.get(row.id) for row in rows]
        answered[:, at] = [one is not None and one[0].failure is None for one in own]
        judged[:, at] = [np.nan if one is None or one[1].failure else one[1].value for one in own]
        for place, row in enumerate(rows):
            for (side, seed, _), value in said.get(row.id, {}).items():
                if (side, seed) == (trial.label, trial.seed) and not np.isnan(value):
                    labelled[place, at] = value
    return JudgedSide(judged, labelled, answered.astype(np.bool_))


def _opposed(record: RunRecord, gate: Gate, naive: Comparison, labels: ScoreLabels) -> Iterator[Disagreement]:
    """The gate's labelled answers of which the judge and people fall on different sides of the middle."""
    suite = _suite(record, gate.suite)
    questions = {row.id: row.question for row in suite.rows}
    info = next(info for info in suite.scores if info.name == labels.score)
    good_from = 0.5 if info.admission is None else info.admission.threshold
    for trial in record.trials:
        if trial.suite != gate.suite or trial.label not in (naive.candidate, naive.baseline):
            continue
        said = [
            values
            for (side, seed, _), values in labels.values.items()
            if (side, seed) == (trial.label, trial.seed)
        ]
        for answer, score in zip(trial.answers, trial.scores.get(labels.score, ()), strict=False):
            value = score.value
            for label in (values[answer.row_id] for values in said if answer.row_id in values):
                if value is None or answer.failure is not None or label == 0.5:
                    continue
                is_tie = info.kind is Kind.PREFERENCE and value == TIE
                if not is_tie and (value >= good_from) != (label > 0.5):
                    where = f"{answer.row_id}, {trial.label}"
                    question = questions[answer.row_id]
                    yield Disagreement(where, question, answer.text, value, label, score.reason)


def _suite(record: RunRecord, name: str) -> SuiteInfo:
    return next(suite for suite in record.suites if suite.name == name)


def _rows(suite: SuiteInfo, label: str) -> list[SuiteRow]:
    """The rows of a slice, by its label in a comparison (``language=es, kind=bill``); empty: all."""
    if not label:
        return list(suite.rows)
    fields = "|".join(re.escape(field) for field in sorted(suite.slices, key=len, reverse=True))
    parts = re.split(rf"(?:^|, )({fields})=", label)[1:]
    where = dict(zip(parts[::2], parts[1::2], strict=True))
    return [row for row in suite.rows if where.items() <= row.slices.items()]


def _clusters(rows: Sequence[SuiteRow]) -> Codes | None:
    names = [f"group {row.group}" if row.group is not None else f"row {at}" for at, row in enumerate(rows)]
    codes = np.unique(names, return_inverse=True)[1]
    return None if len(np.unique(codes)) == len(codes) else codes.astype(np.int64)
