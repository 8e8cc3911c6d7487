"""Labels that people gave to replies: one half calibrates a judge, the other tests it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from statistics import median_low
from typing import Protocol, TypeVar

from harness.errors import DataError
from harness.records import Json
from harness.scoring.text import in_unicode, short
from harness.words import plural

_T = TypeVar("_T")
MIN_LABELS_OF_A_KIND = 2  # good and bad each, one for either half: with fewer nothing can be calibrated


@dataclass(frozen=True, slots=True)
class Label:
    """One reply that a person called good or bad, or gave a level; halves are even in ``kind``, the way in
    which it is so.
    """

    message: str
    reference: str
    reply: str
    good: bool
    kind: str = ""
    level: int | None = None  # on the judge's scale; ``good`` follows from it
    annotator: str = ""

    @property
    def content(self) -> tuple[str, str, str]:
        """What was labelled."""
        return self.message, self.reference, self.reply

    def digest(self, seed: int) -> str:
        """Its place in the split: a hash of its content, whatever its file or line."""
        material = json.dumps([seed, self.message, self.reference, self.reply], ensure_ascii=False)
        return sha256(material.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class LevelsRead:
    """Labels may be levels from 1 to ``scale``; those from ``good_from`` on are good."""

    scale: int
    good_from: int


def label_material(known: Sequence[Label] | None, path: str, seed: int) -> Json:
    """Labels in a judge's fingerprint: their content, or their file's path before they were read."""
    return [
        [
            label.digest(seed),
            label.good,
            label.kind,
            *([] if label.level is None else [label.level]),
            *([label.annotator] if label.annotator else []),
        ]
        for label in known or ()
    ] or path


def read_file(read: Callable[[str], str], path: str) -> str:
    """The text of a file of labels; DataError where it cannot be read."""
    try:
        return read(path)
    except (OSError, UnicodeDecodeError) as error:
        hint = "write the labels there; the path is relative to the suite's file"
        raise DataError(path, f"the labels cannot be read: {error}", hint) from error


def read_labels(
    read: Callable[[str], str], path: str, reply_key: str, levels: LevelsRead | None = None
) -> tuple[Label, ...]:
    """The labels of the file ``path``; raises as ``parse_labels`` does, and where there is no file."""
    return parse_labels(read_file(read, path), path, reply_key, levels)


def parse_labels(
    text: str, where: str, reply_key: str = "summary", levels: LevelsRead | None = None
) -> tuple[Label, ...]:
    """Labels from JSONL: message, reference, the reply under ``reply_key``, label; optional kind, annotator.

    A label is "good" or "bad", or, where there are ``levels``, a whole number.

    Raises:
        DataError: a line that is not such a label, or no line at all; one annotator's two labels of one reply
            that differ.
    """
    numbered = numbered_labels(text, where, lambda line, place: _label(line, place, reply_key, levels))
    said: dict[tuple[str, tuple[str, str, str]], tuple[int, Label]] = {}
    for number, label in numbered:
        first, other = said.setdefault((label.annotator, label.content), (number, label))
        if (other.good, other.level) != (label.good, label.level):
            who = short(label.annotator, 40) or "somebody without a name"
            problem = f"{who} labelled the same reply otherwise in line {first}"
            hint = 'keep the label that is meant; of several people, say who: "annotator": "ada"'
            raise DataError(f"{where}:{number}", problem, hint)
    return tuple(label for _, label in numbered)


def numbered_labels(
    text: str, where: str, parse: Callable[[str, str], _T], hint: str = "write one JSON object a line"
) -> list[tuple[int, _T]]:
    """The label of each line that is not empty, and the line's number; DataError where there is none.

    Args:
        parse: makes a label of a line; given its place, too.
    """
    numbered = [
        (number, parse(line, f"{where}:{number}"))
        for number, line in enumerate(text.split("\n"), start=1)
        if line.strip()
    ]
    if not numbered:
        raise DataError(where, "no labels", hint)
    return numbered


def require_texts(texts: Mapping[str, Json], where: str, hint: str) -> dict[str, str]:
    """The texts of a label; DataError where one is none, empty, or cannot be given to a model."""
    for key, value in texts.items():
        if not isinstance(value, str) or not value.strip():
            raise DataError(where, f"no text under {key!r}", hint)
        if value != in_unicode(value):
            problem = f"{key!r} holds half a surrogate pair, which is no character"
            raise DataError(where, problem, "write the character itself, or both halves")
    return {key: str(value) for key, value in texts.items()}


def _label(line: str, where: str, reply_key: str, levels: LevelsRead | None) -> Label:
    row = label_object(line, where)
    given = {key: row.get(key) for key in ("message", "reference", reply_key)}
    texts = require_texts(given, where, f"give {', '.join(given)} and label")
    level = _level(row.get("label"), where, levels)
    good = row["label"] == "good" if level is None or levels is None else level >= levels.good_from
    message, reference, reply = (texts[key] for key in ("message", "reference", reply_key))
    kind, annotator = in_unicode(str(row.get("kind", ""))), in_unicode(str(row.get("annotator") or ""))
    return Label(message, reference, reply, good, kind, level, annotator)


def label_object(line: str, where: str, hint: str = "write one JSON object a line") -> dict[str, Json]:
    """The object that a line of labels is; DataError where it is none, or names a key twice."""

    def once(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
        twice = [name for name, n in Counter(name for name, _ in pairs).items() if n > 1]
        if twice:
            raise DataError(where, f"{short(repr(twice[0]), 40)} stands twice in one label", hint)
        return dict(pairs)

    try:
        row: Json = json.loads(line, object_pairs_hook=once)
    except json.JSONDecodeError as error:
        raise DataError(where, f"not JSON: {error.msg} (column {error.colno})", hint) from error
    except (RecursionError, ValueError) as error:  # nested too deeply; an integer of thousands of digits
        raise DataError(where, f"not JSON: {short(str(error), 80)}", hint) from error
    if not isinstance(row, dict):
        raise DataError(where, "not a JSON object", hint)
    return row


def _level(label: Json, where: str, levels: LevelsRead | None) -> int | None:
    """The level that a label gives; None for good and bad."""
    if label == "good" or label == "bad":
        return None
    is_number = isinstance(label, int) and not isinstance(label, bool)
    if levels is not None and isinstance(label, int) and is_number and 1 <= label <= levels.scale:
        return label
    hint = 'write "label": "good" or "label": "bad"'
    if levels is not None:
        hint += f", or a whole number from 1 to {levels.scale}"
    elif is_number:
        hint += "; levels are for judges on a scale"
    raise DataError(where, f"the label is {short(repr(label), 40)}", hint)


def split_labels(labels: Sequence[Label], seed: int = 0) -> tuple[tuple[Label, ...], tuple[Label, ...]]:
    """A calibration and a test half, alike in labels and kinds, whatever the file's order.

    Copies of one label are one: a test on a copy would be a test on the calibration, and ten copies one test.
    """
    distinct = {label.digest(seed): label for label in labels}
    # kinds stand together, in the order of the hash; the halves take turns through all of them
    order = sorted(distinct, key=lambda digest: (distinct[digest].good, distinct[digest].kind, digest))
    half = {digest: turn % 2 for turn, digest in enumerate(order)}
    calibration = tuple(label for digest, label in distinct.items() if half[digest] == 0)
    return calibration, tuple(label for digest, label in distinct.items() if half[digest] == 1)


def enough_labels(
    labels: Sequence[Label], where: str, seed: int = 0, anchors: Sequence[Label] | None = None
) -> tuple[tuple[Label, ...], tuple[Label, ...]]:
    """The halves of ``split_labels``, several annotators' labels of one reply being one by majority.

    What is labelled among the judge's ``anchors`` calibrates nothing.

    Raises:
        DataError: some half has no good or no bad label, so that nothing can be calibrated or tested. Whether
            a test half is large enough to admit a judge is for ``admission.admit`` to say.
    """
    labels = by_majority(labels)
    calibration, test = split_labels(labels, seed)
    frozen = {anchor.content for anchor in anchors or ()}
    calibration = tuple(label for label in calibration if label.content not in frozen)
    for kind, of in (("good", True), ("bad", False)):
        if any(all(label.good != of for label in half) for half in (calibration, test)):
            count = len({label.content for label in labels if label.good == of})
            said = plural(count, f"{kind} label")
            problem = f"{said}, too few to calibrate a judge and to test it"
            hint = f"label at least {MIN_LABELS_OF_A_KIND} different replies of each; 50 of each may admit it"
            raise DataError(where, problem, hint)
    return calibration, test


def by_majority(labels: Sequence[Label]) -> tuple[Label, ...]:
    """One label for each reply that several annotators labelled, the others as they are.

    A reply on which as many say good as bad is left out. A level is the median, of two middle ones the lower.
    """
    several = rated_by_several(labels)
    found: list[Label] = []
    settled: set[tuple[str, str, str]] = set()
    for label in labels:
        ratings = several.get(label.content)
        if ratings is None:
            found.append(label)
        elif label.content not in settled:
            settled.add(label.content)
            balance = sum(1 if one.good else -1 for one in ratings)
            levels = [one.level for one in ratings if one.level is not None]
            level = median_low(levels) if len(levels) == len(ratings) else None
            if balance:
                found.append(replace(label, good=balance > 0, level=level, annotator=""))
    return tuple(found)


class _Given(Protocol):
    """A label that somebody gave."""

    @property
    def content(self) -> tuple[str, ...]:
        """What was labelled."""

    @property
    def annotator(self) -> str:
        """Who said so."""


_L = TypeVar("_L", bound=_Given)


def rated_by_several(labels: Sequence[_L]) -> dict[tuple[str, ...], tuple[_L, ...]]:
    """For each reply, or pair, that several annotators labelled, one label of each."""
    ratings: dict[tuple[str, ...], dict[str, _L]] = {}
    for label in labels:
        ratings.setdefault(label.content, {})[label.annotator] = label
    return {content: tuple(each.values()) for content, each in ratings.items() if len(each) > 1}
