"""The rows of the largest loss as text: what a page without a script shows, and a pull request's comment."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from difflib import SequenceMatcher

from markupsafe import escape

from harness.records import Kind, RunRecord, Trial
from harness.report import numbers
from harness.report.rows import (
    GRADED_CHANGE,
    GRADED_RIGHT,
    LONGEST,
    LONGEST_REASON,
    OUTCOMES,
    by_loss,
    lettered,
    note_of,
    of_several,
    places,
    shown,
    words,
)
from harness.report.trial_pairs import MOST_OF_A_SLICE, Pair, pairs, trial_label
from harness.report.view_models import AnswerCell, AnswerRow, Answers, Marked, ScoreChip, Tone

ALL_ROWS, WORST_ROWS = 300, 50  # up to so many rows all are shown, of more the worst
MOST_BYTES = 900_000  # of all blocks
_MOST_MARKED = 2_000_000  # pairs of words compared on a page, which takes a second
_TONE: dict[str, Tone] = {"l": "bad", "w": "good", "f": "unsure", "n": "unsure"}


def answers(record: RunRecord) -> list[Answers]:
    """One block for each suite and compared candidate; the budget of the page is shared evenly.

    Of a run that was held to a reference, those beside it stand first.
    """
    found = pairs(record)
    return [
        *_since_reference(record, found),
        *(_block(pair, MOST_BYTES // len(found), _MOST_MARKED // len(found)) for pair in found),
    ]


def _since_reference(record: RunRecord, found: Sequence[Pair]) -> Iterator[Answers]:
    """Rows that were lost or won since the reference, which is taken for a baseline that has scores alone."""
    held = record.held_to
    changes = {(one.candidate, one.suite): one for one in held.changes} if held else {}
    for pair in found:
        change = changes.get((pair.candidate.name, pair.suite.name))
        if held is None or change is None:
            continue
        lead = pair.lead
        scores = {name: [*each] for name, each in lead.scores.items()}
        now = {name: [*each] for name, each in lead.scores.items()}
        at = {answer.row_id: place for place, answer in enumerate(lead.answers)}
        for name in scores.keys() & change.scores.keys() - {*change.less_is_better}:
            for row, steps in change.scores[name].items():
                for column, value in zip((scores, now), steps, strict=True):
                    column[name][at[row]] = replace(column[name][at[row]], value=value)
        then, today = (
            replace(lead, scores={name: tuple(each) for name, each in column.items()})
            for column in (scores, now)
        )
        block = _block(
            replace(pair, trials=[today], baselines=[then]),
            MOST_BYTES // len(found),
            _MOST_MARKED // len(found),
        )
        rows = [replace(row, cells=row.cells[1:]) for row in block.rows if row.outcome in ("lost", "won")]
        title = f"{pair.suite.name}, {trial_label(lead)} since the reference {held.label}"
        n = f"{len(change.answers):,} of {numbers.plural(change.rows, 'row')} have another answer"
        yield replace(block, title=title, rows=rows, note=f"{n}. {block.note}", since_reference=True)


def _block(pair: Pair, budget_bytes: int, budget_pairs: int) -> Answers:
    rows, n = pair.suite.rows, len(pair.suite.rows)
    each = lettered(pair, pair.lead)
    together = of_several(pair.suite, each).tobytes().decode("ascii")
    worst = by_loss(pair, each)[: n if n <= ALL_ROWS else WORST_ROWS].tolist()
    sides = [
        (trial, places(pair.suite, trial)[worst].tolist()) for trial in (pair.baseline, pair.lead) if trial
    ]
    block: list[AnswerRow] = []
    for nth, place in enumerate(worst):
        row = rows[place]
        lost = [name for name, letters in each.items() if letters[place] == ord("l")]
        won = [name for name, letters in each.items() if letters[place] == ord("w")]
        changes = [f"lost {', '.join(lost)}"] if lost else []
        changes += [f"won {', '.join(won)}"] if won else []
        cells = [_cell(pair, trial, at[nth]) for trial, at in sides]
        reference = shown(row.reference[:LONGEST])
        told = [reference, *(cell.answer.text for cell in cells)]
        budget_pairs -= len(reference.split()) * sum(len(text.split()) for text in told)
        if budget_pairs > 0:
            marked = [_marked(reference, cell.answer.text)[1] for cell in cells]
            cells = [replace(cell, answer=answer) for cell, answer in zip(cells, marked, strict=True)]
        made = AnswerRow(
            id=shown(row.id),
            outcome=OUTCOMES[together[place]],
            change="; ".join(changes) or OUTCOMES[together[place]],
            tone=_TONE.get(together[place], "plain"),
            question=shown(row.question[:LONGEST]),
            reference=_marked(reference, told[-1])[0] if budget_pairs > 0 else Marked([(reference, False)]),
            slices=[
                (key, row.slices[key][:MOST_OF_A_SLICE]) for key in pair.suite.slices if key in row.slices
            ],
            cells=cells,
        )
        budget_bytes -= _size_bytes(made)
        if budget_bytes < 0:
            break
        block.append(made)
    note = (
        "Lost: right before and wrong now, or a graded score lower by"
        f" {numbers.points(GRADED_CHANGE)[1:]} points or more; won is the opposite. Right is 1 of a yes/no"
        f" score, {GRADED_RIGHT * 100:.0f} or more of a graded one. Marked words stand on one side only: in"
        " an answer, those that the reference does not have; in the reference, those that"
        f" {trial_label(pair.lead)} does not have."
    )
    if len(block) < n:
        note = f"The {len(block):,} worst of {n:,} rows. {note}"
    title = f"{pair.suite.name}, {trial_label(pair.lead)} beside {pair.candidate.baseline or 'nothing'}"
    return Answers(title, block, note, numbers.count(together.count("l") + together.count("w")))


def _cell(pair: Pair, trial: Trial, at: int) -> AnswerCell:
    """The trial's answer at one of its places; -1: it was not asked."""
    answer = trial.answers[at] if at >= 0 else None
    scores = {name: each[at] for name, each in trial.scores.items()} if at >= 0 else {}
    chips = []
    for info in pair.suite.scores:
        score = scores.get(info.name)
        if score is not None and score.value is None:
            told = shown((score.failure or score.reason)[:LONGEST_REASON])
            chips.append(ScoreChip(info.name, "failed" if score.failure else "not judged", "unsure", told))
        elif score is not None and score.value is not None:
            right = score.value >= (1.0 if info.kind is Kind.BINARY else GRADED_RIGHT)
            text, reason = numbers.score(score.value, info.kind), shown(score.reason[:LONGEST_REASON])
            chips.append(ScoreChip(info.name, text, "good" if right else "bad", reason))
    text = shown(answer.text[:LONGEST]) if answer else ""
    note = "not asked" if answer is None else shown(note_of(answer)[:LONGEST_REASON])
    return AnswerCell(trial_label(trial), trial is pair.baseline, Marked([(text, False)]), note, chips)


def _marked(one: str, other: str) -> tuple[Marked, Marked]:
    """Both texts, with the words marked that the other does not have in their place."""
    mine, theirs = words(one), words(other)
    ours = [place for place, word in enumerate(mine) if not word.isspace()]
    found = [place for place, word in enumerate(theirs) if not word.isspace()]
    matcher = SequenceMatcher(None, [mine[at] for at in ours], [theirs[at] for at in found], autojunk=False)
    blocks = matcher.get_matching_blocks()
    shared = [
        {places[start + step] for start, size in starts for step in range(size)}
        for places, starts in (
            (ours, [(block.a, block.size) for block in blocks]),
            (found, [(block.b, block.size) for block in blocks]),
        )
    ]
    return _runs(mine, shared[0]), _runs(theirs, shared[1])


def _runs(text: Sequence[str], shared: set[int]) -> Marked:
    """The words joined to runs that are marked or not; white space between marked words is marked."""
    parts: list[tuple[str, bool]] = []
    for place, word in enumerate(text):
        if word.isspace():
            differs = bool(parts) and parts[-1][1] and place + 1 < len(text) and place + 1 not in shared
        else:
            differs = place not in shared
        if parts and parts[-1][1] == differs:
            parts[-1] = parts[-1][0] + word, differs
        else:
            parts.append((word, differs))
    return Marked(parts)


def _size_bytes(row: AnswerRow) -> int:
    """The row on the page, roughly: its texts, escaped, and the markup around them."""
    texts = [row.question, row.reference.text, *(cell.answer.text for cell in row.cells)]
    texts += [chip.reason for cell in row.cells for chip in cell.chips]
    texts += [value for _, value in row.slices]
    marks = sum(13 * len(one.parts) for one in (row.reference, *(cell.answer for cell in row.cells)))
    return 600 + marks + sum(120 + len(escape(text).encode("utf-8", "replace")) for text in texts)
