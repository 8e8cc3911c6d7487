"""What people said of the answers of one run: a file of labels, read and fitted to the run's record.

JSON Lines, one label a line. ``probability`` is that of the row being drawn for labelling; of a drawn row all
answers are shown, so that it is the same for both sides:

    {"run": "20261128-101500-qlora-r16", "suite": "support", "score": "summary", "row": "row-12",
     "side": "qlora-r16@400", "seed": 0, "answer": "9f86d081884c7d65", "annotator": "ada", "label": "good",
     "probability": 0.25}

A label is ``good`` or ``bad``, or a level of a judge that has a scale. Of pairs it is ``first`` (``side`` is
better), ``second`` (``against`` is) or ``tie``; of any answer ``skipped``: it was seen, and nobody could say.
``answer`` pins the text that was read (`answer_digest`).
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import TypeAlias, TypeVar

from harness.errors import DataError
from harness.records import Answer, Kind, RunRecord, ScoreInfo, SuiteInfo, Trial
from harness.scoring.agreement import krippendorff_alpha
from harness.scoring.labels import label_object, numbered_labels
from harness.scoring.text import in_unicode, short

GOOD_OR_BAD: Mapping[str, float] = {"bad": 0.0, "good": 1.0}
PREFERRED: Mapping[str, float] = {"second": 0.0, "tie": 0.5, "first": 1.0}  # as the value of ``side``
SKIPPED = "skipped"  # the row was drawn, and this answer of it has no label
DIGEST_CHARACTERS = 16
LEAST_PROBABILITY = 1e-6  # one of 25 labels in a file of 25 million rows
Place: TypeAlias = tuple[str, int | None, str]  # side, seed, and the other side of a pair
_T = TypeVar("_T")

_ONE_LINE = "write one JSON object a line, as the labelling page saves them"
_AGAIN = "label the answers of this run: harness label RUN"


@dataclass(frozen=True, slots=True)
class RunLabel:
    """What one person said of one answer, or of a pair of answers."""

    run: str
    suite: str
    score: str
    row: str
    side: str  # ``name`` or ``name@size``
    seed: int | None  # of the training; None: that of the side's only answers
    answer: str  # `answer_digest` of the answer that was read
    annotator: str  # empty: nobody's name
    label: str | int
    probability: float
    against: str = ""  # of a pair: the other side
    note: str = ""
    where: str = ""  # ``file:line``

    @property
    def answer_key(self) -> tuple[str, str, str, str, int | None, str]:
        """What was labelled."""
        return self.suite, self.score, self.row, self.side, self.seed, self.against


@dataclass(frozen=True, slots=True)
class ScoreLabels:
    """The labels of one score in one suite, as values in [0, 1].

    Args:
        values: by side, seed, other side of a pair, and row: the mean over those who labelled the answer.
        each: the same by annotator.
        probabilities: by side and row; of rows that were skipped, too.
        annotators: each with their number of labels.
        agreement: Krippendorff's alpha, ordinal for levels and pairs; None where nothing can be said.
        n_shared: answers with several labels.
        where: of the first label.
    """

    suite: str
    score: str
    values: Mapping[Place, Mapping[str, float]]
    each: Mapping[Place, Mapping[str, Mapping[str, float]]]
    probabilities: Mapping[str, Mapping[str, float]]
    annotators: Mapping[str, int]
    agreement: float | None
    n_shared: int
    where: str

    def compared(self, places: Sequence[Place], row: str) -> list[float]:
        """The mean label of each of the row's answers, by those who labelled all that anyone did; else nan.

        People are of unequal severity: one side's labels by one person and the other's by another would
        differ by that.
        """
        said = [self.each.get(place, {}).get(row, {}) for place in places]
        names = set[str]().union(*said).intersection(*(one for one in said if one))
        return [sum(one[name] for name in names) / len(names) if one and names else math.nan for one in said]


def answer_digest(text: str) -> str:
    """The beginning of the SHA-256 of an answer's text, as a run's record holds it."""
    return sha256(text.encode("utf-8", "replace")).hexdigest()[:DIGEST_CHARACTERS]


def scale_of(info: ScoreInfo) -> int | None:
    """The highest level of a judge on a scale; None where its answers are good or bad."""
    scale = info.spec.get("scale")
    return scale if isinstance(scale, int) and not isinstance(scale, bool) and scale > 1 else None


# ------------------------------------------------------------------------------------------------- reading
def parse_run_labels(text: str, where: str) -> tuple[RunLabel, ...]:
    """The labels of a file; ``where`` names it.

    Raises:
        DataError: a line that is no label, or no line at all.
    """
    return tuple(label for _, label in numbered_labels(text, where, _label, _AGAIN))


def _label(line: str, where: str) -> RunLabel:
    row = label_object(line, where, _ONE_LINE)
    if "\\ud" in line.lower() and in_unicode(text := json.dumps(row, ensure_ascii=False)) != text:
        raise DataError(where, "holds half a surrogate pair, which is no character", _AGAIN)
    names = "run", "suite", "score", "row", "side", "answer"
    for name in names:
        value = row.get(name)
        if not isinstance(value, str) or not value:
            problem = (
                f"no text under {name!r}" if name not in row else f"{name!r} is {short(repr(value), 40)}"
            )
            raise DataError(where, problem, f"give {', '.join(names)}, label and probability")
    run, suite, score, row_id, side, answer = (str(row[name]) for name in names)
    for name in ("against", "annotator", "note"):
        if not isinstance(row.get(name), str | None):
            raise DataError(where, f"{name!r} is {short(repr(row[name]), 40)}", "write it as text")
    seed, label, probability = row.get("seed"), row.get("label"), row.get("probability")
    if seed is not None and (isinstance(seed, bool) or not isinstance(seed, int)):
        raise DataError(where, f"the seed is {short(repr(seed), 40)}", "write a whole number, or null")
    if isinstance(label, bool) or not isinstance(label, int | str):
        raise DataError(
            where,
            f"the label is {short(repr(label), 40)}",
            'write "good" or "bad", a level, or for pairs "first", "second" or "tie"',
        )
    if (
        isinstance(probability, bool)
        or not isinstance(probability, int | float)
        or not LEAST_PROBABILITY <= probability <= 1.0
    ):
        raise DataError(
            where,
            f"the probability is {short(repr(probability), 40)}",
            "it is that of the row being drawn to be labelled, above 0 and at most 1; 1 where all were",
        )
    return RunLabel(
        run=run,
        suite=suite,
        score=score,
        row=row_id,
        side=side,
        seed=seed,
        answer=answer.lower(),
        annotator=" ".join(str(row.get("annotator") or "").split()),
        label=label,
        probability=float(probability),
        against=str(row.get("against") or ""),
        note=str(row.get("note") or ""),
        where=where,
    )


# ------------------------------------------------------------------------------------------------- fitting
def fit_to(record: RunRecord, labels: Sequence[RunLabel]) -> tuple[ScoreLabels, ...]:
    """The labels as values of the record's answers, one item for each score of a suite that was labelled.

    Raises:
        DataError: labels of another run, of what is not in it, or of answers that have changed since; one
            person who says two things of one answer; two labels of one answer without a name; a label that
            the score cannot have, or all of a score alike; probabilities of one row that differ.
    """
    rows = {suite.name: frozenset(row.id for row in suite.rows) for suite in record.suites}
    named = {(label.suite, label.row) for label in labels}
    answers = {
        (trial.suite, trial.label, trial.seed, answer.row_id): answer
        for trial in record.trials
        for answer in trial.answers
        if (trial.suite, answer.row_id) in named
    }
    fitted = [_fitted(record, label, rows, answers) for label in labels]
    by_score: dict[tuple[str, str], list[tuple[RunLabel, float]]] = {}
    for label, value in _once((label, value) for label, value in fitted if label.label != SKIPPED):
        by_score.setdefault((label.suite, label.score), []).append((label, value))
    _require_one_draw(record, [label for label, _ in fitted])
    skipped = [label for label, _ in fitted if label.label == SKIPPED]
    if labels and not by_score:
        raise DataError(labels[0].where, "all of it was skipped: there is no label", _AGAIN)
    return tuple(
        _of_score(record, *place, each, [it for it in skipped if (it.suite, it.score) == place])
        for place, each in by_score.items()
    )


def _fitted(
    record: RunRecord,
    label: RunLabel,
    rows: Mapping[str, Collection[str]],
    answers: Mapping[tuple[str, str, int | None, str], Answer],
) -> tuple[RunLabel, float]:
    """The label with the seed of the answers that it is of, its value in [0, 1], and pairs turned round."""
    if label.run != record.id:
        raise DataError(label.where, f"a label of run {_named(label.run)}; this is run {record.id}", _AGAIN)
    suite = _found(label, "suite", label.suite, {each.name: each for each in record.suites})
    info = _found(label, "score", label.score, {each.name: each for each in suite.scores})
    if label.row not in rows[suite.name]:
        _found(label, "row", label.row, dict.fromkeys(rows[suite.name]))
    is_pair = info.kind is Kind.PREFERENCE
    if is_pair != bool(label.against):
        problem = "no other side ('against')" if is_pair else "two sides of a score of single answers"
        raise DataError(label.where, f"{problem}: {label.score} of suite {label.suite}", _AGAIN)
    trial = _trial(record, suite, label, label.side)
    _require_same_answer(label, answers.get((suite.name, trial.label, trial.seed, label.row)))
    value = _value(label, info)
    if is_pair:
        other = _trial(record, suite, replace(label, seed=None), label.against)
        if label.score not in trial.scores and label.score in other.scores:
            turned = replace(label, side=label.against, against=label.side, seed=other.seed)
            return turned, 1.0 - value
    return replace(label, seed=trial.seed), value


def _found(label: RunLabel, what: str, name: str, known: Mapping[str, _T]) -> _T:
    if name in known:
        return known[name]
    problem = f"{what} {_named(name)} is not in run {label.run}"
    raise DataError(label.where, problem, f"it has {_listed(known) or 'none'}; {_AGAIN}")


def _named(name: str) -> str:
    """A name from a file, which may be anything, on one line."""
    return short(repr(name), 60)


def _listed(known: Iterable[object]) -> str:
    names = [short(str(name), 40) for name in known]
    return ", ".join(names[:5]) + (", …" if len(names) > 5 else "")


def _trial(record: RunRecord, suite: SuiteInfo, label: RunLabel, side: str) -> Trial:
    trials = [trial for trial in record.trials if trial.suite == suite.name]
    _found(label, "side", side, {trial.label: trial for trial in trials})
    seeds = {trial.seed: trial for trial in trials if trial.label == side}
    if label.seed is None and len(seeds) == 1:
        return next(iter(seeds.values()))
    if label.seed not in seeds:
        problem = f"{side} has no answers of seed {short(str(label.seed), 40)}"
        has = "it was not trained: write null" if seeds.keys() == {None} else f"it has seeds {_listed(seeds)}"
        raise DataError(label.where, problem, f"{has}; {_AGAIN}")
    return seeds[label.seed]


def _require_same_answer(label: RunLabel, answer: Answer | None) -> None:
    if answer is None or answer.failure is not None:
        problem = f"{label.side} gave no answer to {label.row}"
        raise DataError(label.where, problem, "an answer that never came needs no label: remove the line")
    if answer_digest(answer.text) != label.answer:
        raise DataError(
            label.where,
            f"the answer of {label.side} to {label.row} is not the one that was labelled",
            f"it has changed since; {_AGAIN}",
        )


def _value(label: RunLabel, info: ScoreInfo) -> float:
    scale, given = scale_of(info), label.label
    words = PREFERRED if label.against else GOOD_OR_BAD
    if isinstance(given, str):
        if given in words or given == SKIPPED:
            return words.get(given, math.nan)
    elif scale is not None and not label.against and 1 <= given <= scale:
        return (given - 1) / (scale - 1)
    allowed = ", ".join(f'"{word}"' for word in reversed([*words]))
    if scale is not None and not label.against:
        allowed += f", or a level from 1 to {scale}"
    problem = f"the label {short(repr(given), 40)} is none of {label.score}"
    raise DataError(label.where, problem, f"it has {allowed}")


def _once(labels: Iterable[tuple[RunLabel, float]]) -> list[tuple[RunLabel, float]]:
    """Each person's label of an answer once; the same one again is the same label."""
    seen: dict[tuple[object, ...], tuple[RunLabel, float]] = {}
    kept = []
    for label, value in labels:
        before, said = seen.setdefault((*label.answer_key, label.annotator), (label, value))
        if before is label:
            kept.append((label, value))
            continue
        what = f"{label.side}'s answer to {label.row}"
        if not label.annotator:
            raise DataError(
                label.where,
                f"a second label of {what} without a name; the first is {before.where}",
                'say who gave them: "annotator": "ada"',
            )
        if said != value:
            raise DataError(
                label.where,
                f"{label.annotator} calls {what} {label.label!r}, and {before.label!r} in {before.where}",
                "remove one of the two lines",
            )
    return kept


def _require_one_draw(record: RunRecord, labels: Sequence[RunLabel]) -> None:
    """A row has one probability: in a file, and of a side in all files.

    A baseline may have been drawn once for each candidate that is compared with it.
    """
    baselines = {candidate.baseline for candidate in record.candidates}
    drawn: dict[tuple[str, ...], RunLabel] = {}
    for label in labels:
        file, row = label.where.rpartition(":")[0], (label.suite, label.score, label.row)
        keys = [("file", file, *row)]
        if label.side.rpartition("@")[0] not in baselines and label.side not in baselines:
            keys.append(("side", label.side, *row))
        for key in keys:
            before = drawn.setdefault(key, label)
            if not math.isclose(before.probability, label.probability, rel_tol=1e-6):
                raise DataError(
                    label.where,
                    f"{label.row} was drawn with probability {label.probability:g} here, and with"
                    f" {before.probability:g} in {before.where}",
                    "both sides of a row are drawn together: give them the probability that the page gave",
                )


def _of_score(
    record: RunRecord,
    suite: str,
    score: str,
    labels: Sequence[tuple[RunLabel, float]],
    skipped: Sequence[RunLabel],
) -> ScoreLabels:
    first = labels[0][0]
    if len({value for _, value in labels}) < 2:
        file = first.where.rpartition(":")[0]
        raise DataError(
            file,
            f"all {len(labels)} labels of {score} (suite {suite}) are {first.label!r}",
            "what a judge does wrong shows only where people saw both kinds: label more rows",
        )
    if len({type(label.label) for label, _ in labels}) > 1:
        odd = next(label for label, _ in labels if type(label.label) is not type(first.label))
        raise DataError(
            odd.where,
            f"a label of another sort than the one in {first.where}: {odd.label!r} and {first.label!r}",
            "use levels throughout, or good and bad throughout",
        )
    each: dict[Place, dict[str, dict[str, float]]] = {}
    probabilities: dict[str, dict[str, float]] = {}
    for label, value in labels:
        of_place = each.setdefault((label.side, label.seed, label.against), {})
        of_place.setdefault(label.row, {})[label.annotator] = value
    for label in (*(label for label, _ in labels), *skipped):
        probabilities.setdefault(label.side, {})[label.row] = label.probability
    answers = [said for rows in each.values() for said in rows.values()]
    is_nominal = first.label in GOOD_OR_BAD
    return ScoreLabels(
        suite=suite,
        score=score,
        values={
            place: {row: sum(said.values()) / len(said) for row, said in rows.items()}
            for place, rows in each.items()
        },
        each=each,
        probabilities=probabilities,
        annotators=dict(Counter(label.annotator or "unnamed" for label, _ in labels)),
        agreement=krippendorff_alpha(answers, "nominal" if is_nominal else "ordinal"),
        n_shared=sum(len(said) > 1 for said in answers),
        where=first.where.rpartition(":")[0],
    )
