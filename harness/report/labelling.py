"""What people are asked about one run: which score, which rows, and the words.

Each row is drawn with a known probability, and people may stop at any card, as the order is random.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from harness.decision.sampling import CORRELATIONS, correlation_interval, draw, labels_saved
from harness.errors import UnknownName, UsageError
from harness.records import Json, Kind, Message, Row, RunRecord, ScoreInfo, SuiteRow
from harness.report import numbers
from harness.report.label_cards import Card, Mode, Sides
from harness.report.label_gain import LabelOutlook, by_kappa
from harness.report.trial_pairs import Pair, pairs
from harness.scoring.run_labels import ScoreLabels
from harness.scoring.text import judged_text

SCALES = range(2, 11)  # levels: one key each, 0 for the tenth


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the user names; None: the only one there is."""

    suite: str | None = None
    score: str | None = None
    candidate: str | None = None  # ``name`` or ``name@size``
    labels: int = 100  # rows
    seed: int = 0  # of the draw
    pairs: bool = False
    scale: int | None = None  # None: the judge's, where it grades on one
    field: str | None = None  # of JSON answers, shown alone; None: the judge's
    uniform: bool = False
    ask: str = ""  # the question to people; empty: whether it is good


@dataclass(frozen=True, slots=True)
class Sheet:
    """Everything that a page for labelling holds."""

    run: str
    suite: str
    score: str
    mode: Mode
    scale: int
    field: str | None
    ask: str
    told: str  # what the judge was told, where it was told anything
    rows: tuple[SuiteRow, ...]
    cards: tuple[Card, ...]
    n_rows: int  # that could be drawn
    subject: str  # candidate and baseline: for the terminal, never on the page
    outlook: LabelOutlook
    is_asserted: bool = True  # whether a gate compares the score, so that labels decide something
    n_earlier: int = 0  # rows labelled earlier
    correlation: float | None = None  # of judged and true differences in them

    @property
    def gain(self) -> str:
        """What these labels bring together with the judge, before anything is known of its errors."""
        n = len(self.rows)
        if not self.is_asserted:
            return (
                f"No gate of this run compares {self.score} at this size, so labels of it decide nothing"
                " but a drop: assert it in the suite, and run again, before you label."
            )
        if n == self.n_rows:
            return f"All {numbers.plural(n, 'row')} are to be labelled: then the judge adds nothing."
        worth = f"{n:,} of {numbers.plural(self.n_rows, 'row')} labelled are worth, with the judge,"
        if self.correlation is not None:
            low, high = correlation_interval(self.correlation, self.n_earlier)
            few, many = (n + round(labels_saved(n, self.n_rows, max(rho, 0.0))) for rho in (low, high))
            return (
                f"{worth} {few:,} to {many:,} labelled without it: in {self.n_earlier:,} labelled earlier,"
                f" judged and true differences correlate at {self.correlation:.2f} ({low:.2f} to {high:.2f})."
            )
        both = [f"{n + round(labels_saved(n, self.n_rows, rho)):,}" for rho in CORRELATIONS]
        return (
            f"{worth} {_listed(both)} labelled without it, where judged and true differences correlate at"
            f" {_listed([f'{rho:g}' for rho in CORRELATIONS])}."
        )


def label_sheet(record: RunRecord, wanted: Wanted, earlier: Sequence[ScoreLabels] = ()) -> Sheet:
    """Choose what is judged, draw the rows, and lay out the cards.

    Args:
        record: of the run.
        wanted: what the user names.
        earlier: what people said of this run's answers before; it says how good the judge is.

    Raises:
        UnknownName: no such suite, score or candidate in this run.
        UsageError: several would do, or nothing is there to be labelled.
    """
    pair, info = _chosen(record, wanted)
    mode, scale = _mode(info, wanted)
    field = wanted.field or _text(info.spec.get("field"))
    sides = Sides(record.id, pair, info, mode, field)
    rows = sides.rows
    if not rows:
        raise UsageError(f"suite {pair.suite.name} has no answer of {sides.subject}.")
    sizes = np.ones(len(rows)) if wanted.uniform else sides.sizes(rows)
    places, probabilities = draw(sizes, min(wanted.labels, len(rows)), wanted.seed)
    chosen = [rows[place] for place in places]
    cards = [
        card
        for at, place in enumerate(places)
        for card in sides.cards(rows[place], at, float(probabilities[place]))
    ]
    known = [each for each in earlier if (each.suite, each.score) == (pair.suite.name, info.name)]
    n_earlier, correlation, spread = sides.measured(known[0]) if known else (0, None, None)
    outlook = by_kappa(info.admission.kappa if info.admission else None, len(rows))
    if correlation is not None:
        low, high = correlation_interval(correlation, n_earlier)
        values = tuple(dict.fromkeys(max(rho, 0.0) for rho in (low, correlation, high)))
        rows_of = numbers.plural(n_earlier, "row")
        source = (
            f"It is that of judged and true differences in {rows_of} labelled earlier, with its interval."
        )
        outlook = LabelOutlook(len(rows), values, "correlation", source, spread)
    return Sheet(
        run=record.id,
        suite=pair.suite.name,
        score=info.name,
        mode=mode,
        scale=scale,
        field=field,
        ask=wanted.ask or _question(mode, scale, field),
        told=_text(info.spec.get("instructions")) or "",
        rows=tuple(
            replace(row, reference=judged_text(row.reference, field)[0] or row.reference) for row in chosen
        ),
        cards=tuple(sorted(cards, key=lambda card: card.key)),  # an order that tells nothing of the sides
        n_rows=len(rows),
        subject=sides.subject,
        outlook=outlook,
        is_asserted=any(
            (gate.suite, gate.candidate, gate.size) == (pair.suite.name, pair.candidate.name, pair.lead.size)
            and gate.state in ("gated", "advisory")
            and gate.comparison is not None
            and gate.comparison.score == info.name
            for gate in record.gates
        ),
        n_earlier=n_earlier,
        correlation=correlation,
    )


def in_full(sheet: Sheet, heldout: Sequence[Row]) -> Sheet:
    """The sheet with whole conversations in place of last turns, of which alone a run's record has."""
    turns = {row.id: row.turns for row in heldout if len(row.turns) > 1}
    return replace(
        sheet,
        rows=tuple(
            replace(row, question="\n\n".join(map(_turn, turns[row.id]))) if row.id in turns else row
            for row in sheet.rows
        ),
    )


def _turn(message: Message) -> str:
    calls = (f"{call.name}({call.arguments})" for call in message.tool_calls)
    return "\n".join((f"{message.role}: {message.content}", *calls))


def _chosen(record: RunRecord, wanted: Wanted) -> tuple[Pair, ScoreInfo]:
    """The score to label: as named, and without a name a judge's where there is one."""
    name, at, size = (wanted.candidate or "").rpartition("@")
    if not (at and size.isascii() and size.isdecimal()):
        name, size = wanted.candidate or "", ""
    known = [pair for pair in pairs(record) if pair.baselines]
    for kind, given, names in (
        ("suite", wanted.suite, {pair.suite.name for pair in known}),
        ("candidate", name or None, {pair.candidate.name for pair in known}),
        ("score", wanted.score, {info.name for pair in known for info in pair.suite.scores}),
    ):
        if given is not None and given not in names:
            raise UnknownName(kind, given, names, f"Run: {record.id}.")
    found = [
        (pair, info)
        for pair in known
        for info in pair.suite.scores
        if wanted.suite in (None, pair.suite.name)
        and wanted.score in (None, info.name)
        and name in ("", pair.candidate.name)
    ]
    if wanted.score is None:
        judged = [(pair, info) for pair, info in found if info.admission is not None or info.spec]
        found = judged or found
        preferences = [one for one in found if one[1].kind is Kind.PREFERENCE]
        found = preferences if wanted.pairs and preferences else found
    if not found:
        raise UsageError(f"run {record.id} has no answers of a candidate and its baseline to label.")
    if len(found) > 1:
        choices = (
            f'  --suite="{pair.suite.name}" --score="{info.name}" --candidate="{pair.candidate.name}"'
            for pair, info in found
        )
        raise UsageError("labels are for one score of one candidate; name it:\n" + "\n".join(choices))
    pair, info = found[0]
    if not size:
        return pair, info
    trials = [trial for trial in pair.trials if trial.size == int(size)]
    if not trials:
        sizes = {trial.label for trial in pair.trials}
        raise UnknownName("candidate", wanted.candidate or "", sizes, f"Run: {record.id}.")
    return replace(pair, trials=trials), info


def _mode(info: ScoreInfo, wanted: Wanted) -> tuple[Mode, int]:
    """How people answer, and the levels of a scale (2 where there is none).

    Raises:
        UsageError: labels that no decision could read together with this score.
    """
    is_preference = info.kind is Kind.PREFERENCE
    if wanted.pairs and not is_preference:
        raise UsageError(f"--pairs: {info.name} scores single answers; pairs are labelled for a preference.")
    own = info.spec.get("scale")
    levels = own if isinstance(own, int) and own in SCALES and not is_preference else 2
    if wanted.scale not in (None, 2, levels):
        has = f"levels from 1 to {levels}" if levels > 2 else "no levels"
        raise UsageError(
            f"--scale={wanted.scale}: {info.name} has {has}; people label by the same, or by good and bad."
        )
    if is_preference:
        return "pairs", 2
    return ("scale", levels) if (wanted.scale or levels) > 2 else ("good", 2)


def _question(mode: Mode, scale: int, field: str | None) -> str:
    subject = field or "answer"
    if mode == "pairs":
        return f"Which {subject} is better?"
    if mode == "scale":
        return f"How good is this {subject}, from 1 (worst) to {scale} (best)?"
    return f"Is this {subject} good?"


def _text(value: Json) -> str | None:
    return value if isinstance(value, str) and value else None


def _listed(words: Sequence[str]) -> str:
    return f"{', '.join(words[:-1])} and {words[-1]}"
