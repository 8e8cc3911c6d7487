"""Answers side by side: every row's question, reference, and each trial's answer to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

from markupsafe import escape

from harness.records import TIE, Answer, Kind, RunRecord, Score, SuiteRow, Trial
from harness.report import numbers
from harness.report.comparisons import MOST_OF_A_SLICE
from harness.report.trial_pairs import Pair, is_advisory, pairs, size_label, trial_label
from harness.report.view_models import AnswerCell, AnswerRow, Answers, Folded, ScoreChip, Tone

MOST_ROWS = 300  # of one suite and candidate: the most informative ones
MOST_BYTES = 3_600_000  # of the whole page
_UNFOLDED, _HEAD = 360, 280  # characters: shown as they are; shown of what is longer
_WHOLE, _REASON = 2_000, 300  # characters at most, of a text and of a reason
_GRADED_CHANGE, _GRADED_RIGHT = 0.25, 0.5

_Column: TypeAlias = tuple[Trial, Mapping[str, tuple[Answer, Mapping[str, Score]]]]  # answers by row


def answers(record: RunRecord) -> list[Answers]:
    """One block for each suite and compared candidate; the budget of the page is shared evenly."""
    found = pairs(record)
    return [_block(pair, MOST_BYTES // len(found)) for pair in found]


def _block(pair: Pair, budget_bytes: int) -> Answers:
    columns: list[_Column] = []
    for trial in [*([pair.baseline] if pair.baseline else []), *pair.trials]:
        scores = [{name: each[at] for name, each in trial.scores.items()} for at in range(len(trial.answers))]
        by_row = {answer.row_id: (answer, mine) for answer, mine in zip(trial.answers, scores, strict=True)}
        columns.append((trial, by_row))
    ranked = [_ranked(pair, row, columns) for row in pair.suite.rows]
    rows = [row for _, row in sorted(ranked, key=lambda item: item[0])]
    shown: list[AnswerRow] = []
    for row in rows[:MOST_ROWS]:
        budget_bytes -= _size_bytes(row)
        if budget_bytes < 0:
            break
        shown.append(row)

    note = (
        f"Changed: a score differs between {pair.candidate.baseline or 'the baseline'} and "
        f"{trial_label(pair.lead)} (a graded one by {numbers.points(_GRADED_CHANGE)[1:]} points or more). "
        "Wrong: the candidate failed the row, or scored 0 on a yes/no score or below 50 on a graded one."
    )
    if len(shown) < len(rows):
        note += f" The {len(shown):,} most informative of {len(rows):,} rows are shown: "
        note += "losses, gains, wrong answers, then others."
    counts = []
    for tag in ("changed", "wrong", ""):
        n_shown, n = (sum(not tag or tag in row.tags for row in some) for some in (shown, rows))
        counts.append(numbers.count(n) if n_shown == n else numbers.count(n_shown, n))
    title = f"{pair.suite.name}, {trial_label(pair.lead)} beside {pair.candidate.baseline or 'nothing'}"
    return Answers(title, shown, note, *counts)


def _ranked(pair: Pair, row: SuiteRow, columns: Sequence[_Column]) -> tuple[int, AnswerRow]:
    """Losses first, then gains, changes that only a judge without a vote saw, wrong answers, the rest."""
    before: Mapping[str, Score] = {}
    after: Mapping[str, Score] = {}
    for trial, by_row in columns:
        if row.id in by_row and trial is pair.baseline:
            before = by_row[row.id][1]
        elif row.id in by_row and trial is pair.lead:
            after = by_row[row.id][1]
    lost: dict[str, bool] = {}  # by score, whether it has a vote
    gained: dict[str, bool] = {}
    is_wrong = False
    for info in pair.suite.scores:
        if info.name in after:
            is_wrong = is_wrong or _is_wrong(after[info.name], info.kind)
            step = 0
            if info.kind is Kind.PREFERENCE:  # set against the baseline already
                value = after[info.name].value
                step = 0 if value is None else _step(Score(TIE), after[info.name], info.kind)
            elif info.name in before:
                step = _step(before[info.name], after[info.name], info.kind)
            if step:
                (lost if step < 0 else gained)[info.name] = not is_advisory(info)
    if any(lost.values()) or any(gained.values()):
        rank = 0 if any(lost.values()) else 1
    else:
        rank = 2 if lost or gained else 3 if is_wrong else 4
    changes = ["lost " + ", ".join(lost)] if lost else []
    changes += ["gained " + ", ".join(gained)] if gained else []
    return rank, AnswerRow(
        id=row.id,
        tags=[*(["changed"] if changes else []), *(["wrong"] if is_wrong else [])],
        change="; ".join(changes) or ("wrong, unchanged" if is_wrong else "unchanged"),
        tone="bad" if lost else "good" if gained else "plain",
        question=fold(row.question),
        reference=fold(row.reference),
        slices=[(key, row.slices[key][:MOST_OF_A_SLICE]) for key in pair.suite.slices if key in row.slices],
        cells=[_cell(pair, trial, *by_row.get(row.id, (None, {}))) for trial, by_row in columns],
    )


def _is_wrong(score: Score, kind: Kind) -> bool:
    return score.value is None or score.value < (1.0 if kind is Kind.BINARY else _GRADED_RIGHT)


def _step(before: Score, after: Score, kind: Kind) -> int:
    """-1 where the candidate lost the score, 1 where it gained it, 0 where little changed."""
    if before.value is None or after.value is None:
        return (after.value is not None) - (before.value is not None)
    difference = after.value - before.value
    if difference == 0 or (kind is Kind.GRADED and abs(difference) < _GRADED_CHANGE):
        return 0
    return 1 if difference > 0 else -1


def _cell(pair: Pair, trial: Trial, answer: Answer | None, scores: Mapping[str, Score]) -> AnswerCell:
    label, is_baseline = trial.label, trial is pair.baseline
    if not is_baseline and trial.size is not None:  # the candidate is named above
        label = size_label(None, trial.seed, numbers.plural(trial.size, "row"))
    failure = ""
    if answer is None:
        failure = "not asked"
    elif answer.failure is not None:
        failure = f"failed: {answer.failure[:_REASON]}"
    elif answer.finish == "length":
        failure = "cut off at the token limit"
    chips = []
    if answer is not None and answer.route:
        chips.append(ScoreChip("route", answer.route, "plain", answer.parts[-1].why))
    for info in pair.suite.scores:
        score = scores.get(info.name)
        if score is not None and score.value is None:
            chips.append(ScoreChip(info.name, "failed", "unsure", (score.failure or score.reason)[:_REASON]))
        elif score is not None:
            tone: Tone = "bad" if _is_wrong(score, info.kind) else "good"
            text = numbers.score(score.value, info.kind)
            chips.append(ScoreChip(info.name, text, tone, score.reason[:_REASON]))
    return AnswerCell(label, is_baseline, fold(answer.text if answer else ""), failure, chips)


def fold(text: str) -> Folded:
    """The text, folded past its beginning and cut past what a page can hold."""
    if len(text) <= _UNFOLDED:
        return Folded(text, None, "")
    left = len(text) - _WHOLE
    left_out = f"{left:,} more characters are in run.json" if left > 0 else ""
    head, space, _ = text[:_HEAD].rpartition(" ")
    return Folded((head if space else text[:_HEAD]).rstrip() + " …", text[:_WHOLE], left_out)


def _size_bytes(row: AnswerRow) -> int:
    """The row on the page, roughly: its texts, escaped, and the markup around them."""
    folded = [row.question, row.reference, *(cell.answer for cell in row.cells)]
    texts = [text for one in folded for text in (one.head, one.whole or "")]
    texts += [chip.reason for cell in row.cells for chip in cell.chips]
    texts += [value for _, value in row.slices]
    return 600 + sum(120 + len(escape(text).encode("utf-8", "replace")) for text in texts)
