"""Answers side by side: every row's question, reference, and what each trial said to it."""

from __future__ import annotations

from collections.abc import Iterator
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

_Scored = dict[str, Score]


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
    wrong: bool

    @property
    def changed(self) -> bool:
        return bool(self.lost or self.gained)


@dataclass(frozen=True, slots=True)
class _Column:
    """One trial's answers and scores by row id."""

    trial: Trial
    answers: dict[str, Answer]
    scores: dict[str, _Scored]

    @classmethod
    def of(cls, pair: Pair, trial: Trial) -> _Column:
        scores: dict[str, _Scored] = {answer.row_id: {} for answer in trial.answers}
        for name, scored in trial.scores.items():
            for answer, score in zip(trial.answers, scored, strict=True):
                scores[answer.row_id][name] = score
        return cls(trial, {answer.row_id: answer for answer in trial.answers}, scores)


def _block(pair: Pair, budget: int) -> Answers:
    baseline = _Column.of(pair, pair.baseline) if pair.baseline else None
    columns = [_Column.of(pair, trial) for trial in pair.trials]
    lead = next(column for column in columns if column.trial is pair.lead)
    ranked = sorted(
        (_ranked(pair, row, place, baseline, lead) for place, row in enumerate(pair.suite.rows)),
        key=lambda item: item.rank,
    )
    shown = tuple(_within(pair, ranked, ([baseline] if baseline else []) + columns, budget))
    changed = sum(item.changed for item in ranked)
    return Answers(
        title=f"{pair.suite.name}, {trial_label(pair.lead)} beside {pair.candidate.baseline or 'nothing'}",
        rows=shown,
        n_changed=_shown_of(sum("changed" in row.tags.split() for row in shown), changed),
        n_wrong=_shown_of(
            sum("wrong" in row.tags.split() for row in shown), sum(item.wrong for item in ranked)
        ),
        n_all=_shown_of(len(shown), len(ranked)),
        note=_note(pair, len(shown), len(ranked)),
    )


def _shown_of(shown: int, total: int) -> str:
    return numbers.count(total) if shown == total else numbers.count(shown, total)


def _note(pair: Pair, shown: int, total: int) -> str:
    text = (
        f"Changed: a score differs between {pair.candidate.baseline or 'the baseline'} and "
        f"{trial_label(pair.lead)} (a graded one by {numbers.points(_GRADED_CHANGE)[1:]} points or more). "
        "Wrong: the candidate failed the row, or scored 0 on a yes/no score or below 50 on a graded one."
    )
    if shown < total:
        text += f" The {shown:,} most informative of {total:,} rows are shown: "
        text += "losses, gains, wrong answers, then others."
    return text


def _ranked(pair: Pair, row: SuiteRow, place: int, baseline: _Column | None, lead: _Column) -> _Ranked:
    before = baseline.scores.get(row.id, {}) if baseline else {}
    after = lead.scores.get(row.id, {})
    lost, gained, wrong = [], [], False
    for name, kind in kinds(pair.suite).items():
        if name not in after:
            continue
        wrong = wrong or _is_wrong(after[name], kind)
        if name in before:
            step = _step(before[name], after[name], kind)
            lost += [name] if step < 0 else []
            gained += [name] if step > 0 else []
    group = _group(pair, lost, gained, wrong)
    return _Ranked((group, place), row, tuple(lost), tuple(gained), wrong)


def _group(pair: Pair, lost: list[str], gained: list[str], wrong: bool) -> int:
    """Losses, gains, changes that only a judge without a vote saw, wrong answers, then the rest."""
    voting = {info.name for info in pair.suite.scores if not is_advisory(info)}
    if voting & {*lost}:
        return 0
    if voting & {*gained}:
        return 1
    return 2 if lost or gained else 3 if wrong else 4


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


def _within(pair: Pair, ranked: list[_Ranked], columns: list[_Column], budget: int) -> Iterator[AnswerRow]:
    """The best-ranked rows, as far as the number of rows and of bytes allow."""
    for item in ranked[:MOST_ROWS]:
        row = _row(pair, item, columns)
        budget -= _size(row)
        if budget < 0:
            return
        yield row


def _size(row: AnswerRow) -> int:
    """Bytes of the row on the page, roughly: its texts, escaped, and the markup around them."""
    slices = [value for _, value in row.slices]
    folded = [row.question, row.reference, *(cell.answer for cell in row.cells)]
    reasons = [chip.reason for cell in row.cells for chip in cell.chips]
    texts = [text for one in folded for text in (one.head, one.whole or "")] + reasons + slices
    return 600 + sum(120 + len(escape(text).encode("utf-8", "replace")) for text in texts)


def _row(pair: Pair, item: _Ranked, columns: list[_Column]) -> AnswerRow:
    tags = [name for name, holds in (("changed", item.changed), ("wrong", item.wrong)) if holds]
    tone: Tone = "bad" if item.lost else "good" if item.gained else "plain"
    return AnswerRow(
        id=item.row.id,
        tags=" ".join(tags),
        change=_change(item),
        tone=tone,
        question=fold(item.row.question),
        reference=fold(item.row.reference),
        slices=tuple(
            (key, item.row.slices[key][:MOST_OF_A_SLICE])
            for key in pair.suite.slices
            if key in item.row.slices
        ),
        cells=tuple(_cell(pair, item.row.id, column) for column in columns),
    )


def _change(item: _Ranked) -> str:
    parts = ["lost " + ", ".join(item.lost)] if item.lost else []
    parts += ["gained " + ", ".join(item.gained)] if item.gained else []
    return "; ".join(parts) or ("wrong, unchanged" if item.wrong else "unchanged")


def _cell(pair: Pair, row_id: str, column: _Column) -> AnswerCell:
    answer, trial = column.answers.get(row_id), column.trial
    is_baseline = trial is pair.baseline
    label = trial.label if is_baseline else _short(trial)
    scored = column.scores.get(row_id, {})
    return AnswerCell(
        label=label,
        is_baseline=is_baseline,
        answer=fold(answer.text if answer else ""),
        failure=_failure(answer),
        chips=tuple(
            _chip(name, scored[name], kind) for name, kind in kinds(pair.suite).items() if name in scored
        ),
    )


def _short(trial: Trial) -> str:
    """The trial among its candidate's: ``400 rows``."""
    if trial.size is None:
        return trial.candidate
    return size_label(None, trial.seed, numbers.plural(trial.size, "row"))


def _failure(answer: Answer | None) -> str:
    if answer is None:
        return "not asked"
    if answer.failure is not None:
        return f"failed: {answer.failure[:_REASON]}"
    return "cut off at the token limit" if answer.finish == "length" else ""


def _chip(name: str, score: Score, kind: Kind) -> ScoreChip:
    if score.value is None:
        return ScoreChip(name, "failed", "unsure", (score.failure or score.reason)[:_REASON])
    tone: Tone = "bad" if _is_wrong(score, kind) else "good"
    return ScoreChip(name, numbers.score(score.value, kind), tone, score.reason[:_REASON])


def fold(text: str) -> Folded:
    """The text, folded past its beginning and cut past what a page can hold."""
    if len(text) <= _UNFOLDED:
        return Folded(text, None, "")
    left = len(text) - _WHOLE
    left_out = f"{left:,} more characters stand in run.json" if left > 0 else ""
    head, space, _ = text[:_HEAD].rpartition(" ")
    return Folded((head if space else text[:_HEAD]).rstrip() + " …", text[:_WHOLE], left_out)
