"""Labels that people gave to pairs: which of two answers is better. They test judges of pairs."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

from harness.errors import DataError
from harness.records import Admission, Disagreement, Json, Rate
from harness.scoring.admission import MIN_LABELS_OF_A_KIND, MIN_TNR, MIN_TPR, admit, widest, wilson
from harness.scoring.text import NotJson, in_unicode, parse_json, short

Verdict: TypeAlias = Literal["first", "second", "tie"]

VERDICTS: tuple[Verdict, ...] = ("first", "second", "tie")
MOST_UNJUDGED = 0.1  # of the labels: beyond it the others are too few to admit a judge


@dataclass(frozen=True, slots=True)
class PairLabel:
    """Two answers to one message, and which of them a person called better."""

    message: str
    reference: str  # empty: there is none
    first: str
    second: str
    label: Verdict


def pair_material(known: Sequence[PairLabel] | None, path: str) -> Json:
    """Labels in a judge's fingerprint: their content, or their file's path before they were read."""
    return [list(dataclasses.astuple(label)) for label in known or ()] or path


def read_pair_labels(read: Callable[[str], str], path: str) -> tuple[PairLabel, ...]:
    """The labels of the file ``path``; DataError if it is missing or holds a line that is no label."""
    try:
        text = read(path)
    except (OSError, UnicodeDecodeError) as error:
        hint = "write the labels there; the path is relative to the suite's file"
        raise DataError(path, f"the labels cannot be read: {error}", hint) from error
    return parse_pair_labels(text, path)


def parse_pair_labels(text: str, where: str) -> tuple[PairLabel, ...]:
    """Labels from JSONL: message, first, second, label ("first", "second" or "tie"), optional reference.

    Raises:
        DataError: a line that is not such a label, or no line at all.
    """
    labels = tuple(
        _label(line, f"{where}:{number}")
        for number, line in enumerate(text.split("\n"), start=1)
        if line.strip()
    )
    if not labels:
        raise DataError(where, "no labels", "write one JSON object a line")
    return labels


def _label(line: str, where: str) -> PairLabel:
    try:
        row = parse_json(line)
    except NotJson as error:
        raise DataError(where, str(error), "write one JSON object a line") from error
    if not isinstance(row, dict):
        raise DataError(where, "not a JSON object", "write one JSON object a line")
    texts = {key: row.get(key) for key in ("message", "first", "second")}
    if row.get("reference") is not None:
        texts["reference"] = row["reference"]
    for key, value in texts.items():
        if not isinstance(value, str) or not value.strip():
            raise DataError(where, f"no text under {key!r}", "give message, first, second and label")
        if value != in_unicode(value):
            problem = f"{key!r} holds half a surrogate pair, which is no character"
            raise DataError(where, problem, "write the character itself, or both halves")
    found: object = row.get("label")
    for label in VERDICTS:
        if found == label:
            if str(texts["first"]).strip() == str(texts["second"]).strip() and label != "tie":
                raise DataError(where, "the two answers are the same text", 'write "label": "tie"')
            parts = {key: str(value) for key, value in texts.items()}
            return PairLabel(
                parts["message"], parts.get("reference", ""), parts["first"], parts["second"], label
            )
    problem = f"the label is {short(repr(found), 40)}"
    raise DataError(where, problem, 'write "label": "first", "label": "second" or "label": "tie"')


def require_both_sides(labels: Sequence[PairLabel], where: str) -> None:
    """DataError unless some labels are for the first answer, and some for the second."""
    for side in ("first", "second"):
        if not any(label.label == side for label in labels):
            raise DataError(
                where,
                f"no pair of which the {side} answer is the better one, so the judge cannot be tested",
                f"label at least {MIN_LABELS_OF_A_KIND} pairs for either side; swap the answers of some",
            )


def in_words(rate: Rate) -> str:
    """A rate with its interval and n."""
    return f"{rate.value:.2f} ({rate.low:.2f} to {rate.high:.2f}, n={rate.n})"


def admit_pairs(
    judge: str, labels: Sequence[PairLabel], verdicts: Sequence[Verdict | None], where: str
) -> Admission:
    """Admitted when of the pairs with a better answer, for either side, .8 are judged as people did.

    The rate of pairs given to the first stands as TPR, that of those given to the second as TNR; a tie of the
    judge's there is a miss, in kappa as well. Nothing is fitted, so all labels test. Pairs that people called
    ties are told apart, as a fact: a judge that sees a difference there decides more than it should.

    Args:
        judge: its name.
        labels: of people.
        verdicts: the judge's on the same pairs; None where it gave none.
        where: the labels' file.

    Raises:
        DataError: no pair was judged of which the first answer is the better one, or none for the second.
    """
    pairs = [(x.label, said) for x, said in zip(labels, verdicts, strict=True) if said is not None]
    decided = [(label, said) for label, said in pairs if label != "tie"]
    truth = [label == "first" for label, _ in decided]
    if len(set(truth)) < 2:
        problem = f"{judge}: of {len(labels)} labels {len(pairs)} were judged, none of one side"
        raise DataError(where, problem, "read what the judge says; a model that thinks needs more max_tokens")
    predicted = [(label == "first") == (said == label) for label, said in decided]
    found = admit(judge, truth, predicted, threshold=0.5, n_calibration=0)
    rates = (("first", found.tpr, MIN_TPR), ("second", found.tnr, MIN_TNR))
    reasons = [
        f"not enough labels: {rate.n} pairs that people gave to the {side}, and it takes at least"
        f" {MIN_LABELS_OF_A_KIND}"
        for side, rate, _ in rates
        if rate.n < MIN_LABELS_OF_A_KIND
    ]
    reasons += [
        f"right where people preferred the {side}: {in_words(rate)}, which is below {bar:g}"
        for side, rate, bar in rates
        if rate.value < bar
    ]
    if not reasons and not found.admitted:
        reasons = list(found.reasons)
    opposed = [
        Disagreement(
            f"people preferred the {one.label}",
            one.message,
            f"first: {short(one.first, 190)} · second: {short(one.second, 190)}",
            float(said == "first"),
            float(one.label == "first"),
        )
        for one, said in zip(labels, verdicts, strict=True)
        if {one.label, said} == {"first", "second"}
    ]
    lost = len(labels) - len(pairs)
    if lost > MOST_UNJUDGED * len(labels):
        reasons.append(f"{lost} of {len(labels)} labels were not judged")
    facts = []
    if ties := [said == "tie" for label, said in pairs if label == "tie"]:
        facts.append(("ties where people saw one", in_words(wilson(sum(ties), len(ties)))))
    return replace(
        found,
        admitted=not reasons,
        n_test=len(pairs),
        reasons=tuple(reasons),
        facts=tuple(facts),
        disagreements=widest(opposed),
    )
