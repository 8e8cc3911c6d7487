"""Answers side by side: every row's question, reference, and each trial's answer to it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from markupsafe import escape

from harness.records import Answer, Kind, RunRecord, Score, SuiteRow, Trial
from harness.report import numbers
from harness.report.trial_pairs import Pair, is_advisory, kinds, pairs, size_label, trial_label
from harness.report.view_models import AnswerCell, AnswerRow, Answers, Folded, ScoreChip, Tone

MOST_ROWS = 300  # of one suite and candidate: the most informative ones
MOST_BYTES = 3_600_000  # of the whole page
_UNFOLDED, _HEAD = 360, 280  # characters: shown as they are; shown of what is longer
MOST_OF_A_SLICE = 80  # characters of a slice's value
_WHOLE, _REASON = 2_000, 300  # characters at most, of a text and of a reason
_GRADED_CHANGE, _GRADED_RIGHT = 0.25, 0.5


def answers(record: RunRecord) -> tuple[Answers, ...]:
    """One block for each suite and compared candidate; the budget of the page is shared evenly."""
    found = pairs(record)
    return tuple(_block(pair, MOST_BYTES // len(found)) for pair in found)


@dataclass(frozen=True, slots=True)
class _Ranked:
    """A row's place: smaller ``rank`` is more informative."""

    rank: tuple[int, int]
    row: SuiteRow
    lost: tuple[str, ...]
    gained: tuple[str, ...]
    is_wrong: bool

    @property
    def is_changed(self) -> bool:
        return bool(self.lost or self.gained)


@dataclass(frozen=True, slots=True)
class _Column:
    """One trial's answers and scores by row id."""

    trial: Trial
    is_baseline: bool
    answers: dict[str, Answer]
    scores: dict[str, dict[str, Score]]

    @classmethod
    def of(cls, trial: Trial, *, is_baseline: bool) -> _Column:
        scores: dict[str, dict[str, Score]] = {answer.row_id: {} for answer in trial.answers}
        for name, scored in trial.scores.items():
            for answer, score in zip(trial.answers, scored, strict=True):
                scores[answer.row_id][name] = score
        return cls(trial, is_baseline, {answer.row_id: answer for answer in trial.answers}, scores)


def _block(pair: Pair, budget_bytes: int) -> Answers:
    columns = [_Column.of(pair.baseline, is_baseline=True)] if pair.baseline else []
    before = columns[0].scores if columns else {}
    columns += [_Column.of(trial, is_baseline=False) for trial in pair.trials]
    after = next(column.scores for column in columns if column.trial is pair.lead)
    ranked = sorted(
        (
            _ranked(pair, row, place, before.get(row.id, {}), after.get(row.id, {}))
            for place, row in enumerate(pair.suite.rows)
        ),
        key=lambda item: item.rank,
    )
    shown: list[AnswerRow] = []
    for item in ranked[:MOST_ROWS]:
        row = _row(pair, item, columns)
        budget_bytes -= _size_bytes(row)
        if budget_bytes < 0:
            break
        shown.append(row)

    note = (
        f"Changed: a score differs between {pair.candidate.baseline or 'the baseline'} and "
        f"{trial_label(pair.lead)} (a graded one by {numbers.points(_GRADED_CHANGE)[1:]} points or more). "
        "Wrong: the candidate failed the row, or scored 0 on a yes/no score or below 50 on a graded one."
    )
    if len(shown) < len(ranked):
        note += f" The {len(shown):,} most informative of {len(ranked):,} rows are shown: "
        note += "losses, gains, wrong answers, then others."
    totals = {
        "changed": sum(item.is_changed for item in ranked),
        "wrong": sum(item.is_wrong for item in ranked),
    }
    n_changed, n_wrong = (
        _n_shown(sum(tag in row.tags.split() for row in shown), total) for tag, total in totals.items()
    )
    return Answers(
        title=f"{pair.suite.name}, {trial_label(pair.lead)} beside {pair.candidate.baseline or 'nothing'}",
        rows=tuple(shown),
        n_changed=n_changed,
        n_wrong=n_wrong,
        n_all=_n_shown(len(shown), len(ranked)),
        note=note,
    )


def _n_shown(shown: int, total: int) -> str:
    return numbers.count(total) if shown == total else numbers.count(shown, total)


def _ranked(
    pair: Pair, row: SuiteRow, place: int, before: Mapping[str, Score], after: Mapping[str, Score]
) -> _Ranked:
    """Losses first, then gains, changes that only a judge without a vote saw, wrong answers, the rest."""
    lost, gained, is_wrong = [], [], False
    for name, kind in kinds(pair.suite).items():
        if name not in after:
            continue
        is_wrong = is_wrong or _is_wrong(after[name], kind)
        if name in before:
            step = _step(before[name], after[name], kind)
            lost += [name] if step < 0 else []
            gained += [name] if step > 0 else []
    voting = {info.name for info in pair.suite.scores if not is_advisory(info)}
    if voting & {*lost}:
        rank = 0
    elif voting & {*gained}:
        rank = 1
    else:
        rank = 2 if lost or gained else 3 if is_wrong else 4
    return _Ranked((rank, place), row, tuple(lost), tuple(gained), is_wrong)


def _is_wrong(score: Score, kind: Kind) -> bool:
    if score.value is None:
        return True
    return score.value < (1.0 if kind is Kind.BINARY else _GRADED_RIGHT)


def _step(before: Score, after: Score, kind: Kind) -> int:
    """-1 where the candidate lost the score, 1 where it gained it, 0 where little changed."""
    if before.value is None or after.value is None:
        return (after.value is not None) - (before.value is not None)
    difference = after.value - before.value
    if difference == 0 or (kind is Kind.GRADED and abs(difference) < _GRADED_CHANGE):
        return 0
    return 1 if difference > 0 else -1


def _size_bytes(row: AnswerRow) -> int:
    """The row on the page, roughly: its texts, escaped, and the markup around them."""
    slices = [value for _, value in row.slices]
    folded = [row.question, row.reference, *(cell.answer for cell in row.cells)]
    reasons = [chip.reason for cell in row.cells for chip in cell.chips]
    texts = [text for one in folded for text in (one.head, one.whole or "")] + reasons + slices
    return 600 + sum(120 + len(escape(text).encode("utf-8", "replace")) for text in texts)


def _row(pair: Pair, item: _Ranked, columns: list[_Column]) -> AnswerRow:
    row = item.row
    tags = [name for name, holds in (("changed", item.is_changed), ("wrong", item.is_wrong)) if holds]
    tone: Tone = "bad" if item.lost else "good" if item.gained else "plain"
    changes = ["lost " + ", ".join(item.lost)] if item.lost else []
    changes += ["gained " + ", ".join(item.gained)] if item.gained else []
    return AnswerRow(
        id=row.id,
        tags=" ".join(tags),
        change="; ".join(changes) or ("wrong, unchanged" if item.is_wrong else "unchanged"),
        tone=tone,
        question=fold(row.question),
        reference=fold(row.reference),
        slices=tuple(
            (key, row.slices[key][:MOST_OF_A_SLICE]) for key in pair.suite.slices if key in row.slices
        ),
        cells=tuple(_cell(pair, row.id, column) for column in columns),
    )


def _cell(pair: Pair, row_id: str, column: _Column) -> AnswerCell:
    answer, trial = column.answers.get(row_id), column.trial
    if column.is_baseline or trial.size is None:
        label = trial.label
    else:  # the candidate is named above
        label = size_label(None, trial.seed, numbers.plural(trial.size, "row"))
    failure = ""
    if answer is None:
        failure = "not asked"
    elif answer.failure is not None:
        failure = f"failed: {answer.failure[:_REASON]}"
    elif answer.finish == "length":
        failure = "cut off at the token limit"
    chips = []
    for name, kind in kinds(pair.suite).items():
        score = column.scores.get(row_id, {}).get(name)
        if score is None:
            continue
        if score.value is None:
            chips.append(ScoreChip(name, "failed", "unsure", (score.failure or score.reason)[:_REASON]))
        else:
            tone: Tone = "bad" if _is_wrong(score, kind) else "good"
            chips.append(ScoreChip(name, numbers.score(score.value, kind), tone, score.reason[:_REASON]))
    return AnswerCell(label, column.is_baseline, fold(answer.text if answer else ""), failure, tuple(chips))


def fold(text: str) -> Folded:
    """The text, folded past its beginning and cut past what a page can hold."""
    if len(text) <= _UNFOLDED:
        return Folded(text, None, "")
    left = len(text) - _WHOLE
    left_out = f"{left:,} more characters are in run.json" if left > 0 else ""
    head, space, _ = text[:_HEAD].rpartition(" ")
    return Folded((head if space else text[:_HEAD]).rstrip() + " …", text[:_WHOLE], left_out)
