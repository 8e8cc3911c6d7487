"""Labels that people gave to pairs: which of two answers is better. They test judges of pairs."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import astuple, dataclass, replace
from hashlib import sha256
from typing import Literal, TypeAlias

from harness.errors import DataError
from harness.records import TIE, Admission, Disagreement, Json
from harness.scoring.admission import (
    MIN_LABELS_OF_A_KIND,
    MIN_TNR,
    MIN_TPR,
    admit,
    few_messages,
    in_words,
    widest,
    wilson,
)
from harness.scoring.agreement import agreement
from harness.scoring.annotators import Annotation
from harness.scoring.labels import label_object, numbered_labels, rated_by_several, read_file, require_texts
from harness.scoring.text import in_unicode, short

Verdict: TypeAlias = Literal["first", "second", "tie"]

#: as the score of the first answer
VALUES: Mapping[Verdict, float] = {"first": 1.0, "second": 0.0, "tie": TIE}
VERDICTS: tuple[Verdict, ...] = tuple(VALUES)
_OTHER: Mapping[Verdict, Verdict] = {"first": "second", "second": "first", "tie": "tie"}
MOST_UNJUDGED = 0.1  # of the labels: beyond it the others are too few to admit a judge


@dataclass(frozen=True, slots=True)
class PairLabel:
    """Two answers to one message, and which of them a person called better."""

    message: str
    reference: str  # empty: there is none
    first: str
    second: str
    label: Verdict
    annotator: str = ""

    @property
    def swapped(self) -> PairLabel:
        """The same in the other order."""
        return replace(self, first=self.second, second=self.first, label=_OTHER[self.label])

    @property
    def upright(self) -> PairLabel:
        """The same in an order that the texts decide."""
        return self if self.first <= self.second else self.swapped

    @property
    def content(self) -> tuple[str, ...]:
        """What was labelled, in whatever order."""
        return self.message, self.reference, *sorted((self.first, self.second))

    @property
    def good(self) -> bool | None:
        """Whether the first answer is the better one; None for a tie."""
        return None if self.label == "tie" else self.label == "first"

    def digest(self, seed: int) -> str:
        """A hash of its content as it stands, whatever its file or line."""
        material = json.dumps([seed, self.message, self.reference, self.first, self.second])
        return sha256(material.encode()).hexdigest()


def pair_material(known: Sequence[PairLabel] | None, path: str) -> Json:
    """Labels in a judge's fingerprint: their content, or their file's path before they were read."""
    return [[*astuple(label)][: None if label.annotator else -1] for label in known or ()] or path


def read_pair_labels(read: Callable[[str], str], path: str) -> tuple[PairLabel, ...]:
    """The labels of the file ``path``; DataError if it is missing or holds a line that is no label."""
    return parse_pair_labels(read_file(read, path), path)


def parse_pair_labels(text: str, where: str) -> tuple[PairLabel, ...]:
    """Labels from JSONL: message, first, second, label ("first", "second" or "tie"); optional reference and
    annotator.

    Raises:
        DataError: a line that is not such a label, or no line at all; two labels of one pair, in whatever
            order, by one annotator or by nobody in particular, that differ.
    """
    said: dict[tuple[str, tuple[str, ...]], tuple[int, Verdict]] = {}
    numbered = numbered_labels(text, where, _label)
    for number, label in numbered:
        first, verdict = said.setdefault((label.annotator, label.content), (number, label.upright.label))
        if verdict != label.upright.label:
            who = short(label.annotator, 40) or "somebody without a name"
            hint = 'keep the label that is meant; of several people, say who: "annotator": "ada"'
            problem = f"{who} labelled the same pair otherwise in line {first}"
            raise DataError(f"{where}:{number}", problem, hint)
    return tuple(label for _, label in numbered)


def _label(line: str, where: str) -> PairLabel:
    row = label_object(line, where)
    texts = {key: row.get(key) for key in ("message", "first", "second")}
    if row.get("reference") is not None:
        texts["reference"] = row["reference"]
    parts = require_texts(texts, where, "give message, first, second and label")
    found: object = row.get("label")
    for label in VERDICTS:
        if found == label:
            if parts["first"].strip() == parts["second"].strip() and label != "tie":
                raise DataError(where, "the two answers are the same text", 'write "label": "tie"')
            names = parts["message"], parts.get("reference", ""), parts["first"], parts["second"]
            return PairLabel(*names, label, in_unicode(str(row.get("annotator") or "")))
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


def pairs_by_majority(labels: Sequence[PairLabel]) -> tuple[PairLabel, ...]:
    """One label for each pair: what most of its annotators said.

    A pair of which two verdicts are said most often is left out.
    """
    several, found = rated_by_several(labels), []
    for label in {label.content: label for label in labels}.values():
        said = _most_said(several.get(label.content, (label,)))
        if said is not None:
            own = said if label.first <= label.second else _OTHER[said]
            found.append(replace(label, label=own, annotator=""))
    return tuple(found)


def _most_said(labels: Sequence[PairLabel]) -> Verdict | None:
    (most, votes), *others = Counter(label.upright.label for label in labels).most_common(2)
    return None if others and others[0][1] == votes else most


def annotation_of(labels: Sequence[PairLabel]) -> Annotation:
    """The agreement of the annotators: ordinal, for a tie lies between the two sides."""
    several = list(rated_by_several(labels).values())
    units = [{one.annotator: VALUES[one.upright.label] for one in ratings} for ratings in several]
    names = {label.annotator for label in labels if label.annotator}
    return Annotation(agreement(units, "ordinal"), len(names), sum(_most_said(x) is None for x in several))


def admit_pairs(
    judge: str,
    labels: Sequence[PairLabel],
    verdicts: Sequence[Verdict | None],
    where: str,
    known: Sequence[PairLabel] = (),
) -> Admission:
    """Admitted when of the pairs with a better answer, for either side, .8 are judged as people did.

    The rate of pairs given to the first stands as TPR, that of those given to the second as TNR; a tie of the
    judge's there is a miss, in kappa as well. Nothing is fitted, so all labels test. Pairs that people called
    ties are told apart, as a fact: a judge that sees a difference there decides more than it should.

    Args:
        judge: its name.
        labels: of people, one a pair.
        verdicts: the judge's on the same pairs; None where it gave none.
        where: the labels' file.
        known: all labels as they were read, each annotator's.

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
    annotation = annotation_of(known)
    found = admit(judge, truth, predicted, threshold=TIE, n_calibration=0, annotation=annotation)
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
    judged = [x for x, said in zip(labels, verdicts, strict=True) if said is not None]
    reasons += few_messages(
        {f"{side}-is-better": [x.content[:2] for x in judged if x.label == side] for side, *_ in rates}
    )
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
        annotators=tuple(sorted({label.annotator for label in known if label.annotator})),
        disagreements=widest(opposed),
    )
