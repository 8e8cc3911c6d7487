"""Labels that people gave to replies: one half calibrates a judge, the other tests it."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256

from harness.errors import DataError
from harness.records import Json
from harness.scoring.text import in_unicode, short

MIN_LABELS_OF_A_KIND = 10  # good and bad each: fewer leave five for the test half


@dataclass(frozen=True, slots=True)
class Label:
    """One reply that a person called good or bad; halves are even in ``kind``, the way in which it is."""

    message: str
    reference: str
    reply: str
    good: bool
    kind: str = ""

    def digest(self, seed: int) -> str:
        """Its place in the split: a hash of its content, whatever its file or line."""
        material = json.dumps([seed, self.message, self.reference, self.reply], ensure_ascii=False)
        return sha256(material.encode()).hexdigest()


def label_material(known: Sequence[Label] | None, path: str, seed: int) -> Json:
    """Labels in a judge's fingerprint: their content, or their file's path before they were read."""
    return [[label.digest(seed), label.good, label.kind] for label in known or ()] or path


def read_labels(read: Callable[[str], str], path: str, reply_key: str) -> tuple[Label, ...]:
    """The labels of the file ``path``; raises as ``parse_labels`` does, and where there is no file."""
    try:
        text = read(path)
    except (OSError, UnicodeDecodeError) as error:
        hint = "write the labels there; the path is relative to the suite's file"
        raise DataError(path, f"the labels cannot be read: {error}", hint) from error
    return parse_labels(text, path, reply_key)


def parse_labels(text: str, where: str, reply_key: str = "summary") -> tuple[Label, ...]:
    """Labels from JSONL: message, reference, the reply under ``reply_key``, label, optional kind.

    Raises:
        DataError: a line that is not such a label, or no line at all.
    """
    labels = tuple(
        _label(line, f"{where}:{number}", reply_key)
        for number, line in enumerate(text.split("\n"), start=1)
        if line.strip()
    )
    if not labels:
        raise DataError(where, "no labels", "write one JSON object a line")
    return labels


def _label(line: str, where: str, reply_key: str) -> Label:
    try:
        row: Json = json.loads(line)
    except json.JSONDecodeError as error:
        raise DataError(where, f"not JSON: {error.msg}", "write one JSON object a line") from error
    except RecursionError as error:
        raise DataError(
            where, "not a label: nested too deeply", "write one flat JSON object a line"
        ) from error
    except ValueError as error:  # an integer of thousands of digits
        raise DataError(
            where, f"not JSON: {short(str(error), 80)}", "write long digit strings in quotes"
        ) from error
    if not isinstance(row, dict):
        raise DataError(where, "not a JSON object", "write one JSON object a line")
    texts = {key: row.get(key) for key in ("message", "reference", reply_key)}
    for key, value in texts.items():
        if not isinstance(value, str) or not value.strip():
            raise DataError(where, f"no text under {key!r}", f"give {', '.join(texts)} and label")
        if value != in_unicode(value):
            problem = f"{key!r} holds half a surrogate pair, which is no character"
            raise DataError(where, problem, "write the character itself, or both halves")
    if row.get("label") not in ("good", "bad"):
        problem = f"the label is {short(repr(row.get('label')), 40)}"
        raise DataError(where, problem, 'write "label": "good" or "label": "bad"')
    message, reference, reply = (str(texts[key]) for key in ("message", "reference", reply_key))
    return Label(message, reference, reply, row["label"] == "good", in_unicode(str(row.get("kind", ""))))


def split_labels(labels: Sequence[Label], seed: int = 0) -> tuple[tuple[Label, ...], tuple[Label, ...]]:
    """A calibration and a test half, alike in labels and kinds, whatever the file's order.

    Copies of one label fall into one half: a test on a copy would be a test on the calibration.
    """
    distinct = {label.digest(seed): label for label in labels}
    # kinds stand together, in the order of the hash; the halves take turns through all of them
    order = sorted(distinct, key=lambda digest: (distinct[digest].good, distinct[digest].kind, digest))
    half = {digest: turn % 2 for turn, digest in enumerate(order)}
    calibration = tuple(label for label in labels if half[label.digest(seed)] == 0)
    return calibration, tuple(label for label in labels if half[label.digest(seed)] == 1)


def enough_labels(
    labels: Sequence[Label], where: str, seed: int = 0
) -> tuple[tuple[Label, ...], tuple[Label, ...]]:
    """The halves of ``split_labels``; DataError for fewer than 10 good or 10 bad labels."""
    calibration, test = split_labels(labels, seed)
    for kind, of in (("good", True), ("bad", False)):
        count = sum(label.good == of for label in labels)
        if count < MIN_LABELS_OF_A_KIND or len({label.good for label in test}) < 2:
            problem = f"{count} {kind} labels, too few to calibrate a judge and to test it"
            hint = f"label at least {MIN_LABELS_OF_A_KIND} different replies of each"
            raise DataError(where, problem, hint)
    return calibration, test
