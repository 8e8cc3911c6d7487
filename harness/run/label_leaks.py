"""Labels of a suite's judges, compared with the rows that candidates learn from and with held-out rows.

A candidate that learnt a labelled reply is near to what its judge was fitted and tested on: the judge is then
no better known on its answers than a text is that it has seen. So such rows are refused. A labelled message
with another reply, and labels of replies to held-out rows, are told.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import product

from harness.data.files import read_text
from harness.data.leakage import Leak, find_leaks, refuse_leaks, without_honest_repeats
from harness.data.plain_text import plain_words
from harness.errors import DataError
from harness.records import Message, Row
from harness.run.suite_loading import LoadedSuite
from harness.scoring.drift import known_of
from harness.scoring.labels import Label
from harness.scoring.text import judged_text
from harness.training.rows import TrainingData
from harness.words import plural

SAME_REPLY = 0.8  # of the words, in the same order


@dataclass(frozen=True, slots=True)
class LabelledRows:
    """A judge's labels as rows: the message, and a labelled reply."""

    judge: str
    field: str | None  # of JSON replies that is judged, and labelled alone
    rows: tuple[Row, ...]


def labelled_rows(suite: LoadedSuite) -> Iterator[LabelledRows]:
    """The labels and anchors of each judge, a panel's members included; those in one file once."""
    done = set()
    judges = [one for each in suite.judges for one in (each, *getattr(each, "judges", ()))]
    for judge, what in product(judges, ("labels", "anchors")):
        file, field = getattr(judge, what, None), getattr(judge, "field", None)
        known = known_of(judge, "known" if what == "labels" else "known_anchors")
        if not isinstance(file, str) or not known or (file, field) in done:
            continue  # a judge of the project's own keeps its labels where it likes
        if not (suite.folder / file).is_file():
            continue  # they were handed over in code
        done.add((file, field))
        try:
            text = read_text(suite.folder / file)
        except DataError:  # the judge has read them, wherever they are: they are counted from 1
            text = "label\n" * len(known)
        lines = (number for number, line in enumerate(text.split("\n"), start=1) if line.strip())
        folder = suite.heldout.rpartition("/")[0]
        rows = []
        for number, label in zip(lines, known, strict=False):
            replies = (label.reply,) if isinstance(label, Label) else (label.first, label.second)
            for at, reply in enumerate(replies):
                messages = Message("user", label.message), Message("assistant", reply)
                where = f"{folder}/{file}:{number}".lstrip("/")
                rows.append(Row(f"label-{number}-{at}", messages, {}, where))
        yield LabelledRows(judge.name, field if isinstance(field, str) else None, tuple(rows))


def heldout_notes(suite: LoadedSuite) -> Iterator[str]:
    """A sentence for each judge whose labels are of replies to held-out rows."""
    for labels in labelled_rows(suite):
        copies = find_leaks((*suite.rows, *suite.reserved), labels.rows)
        if found := without_honest_repeats(copies, len(labels.rows)):
            yield (
                f"{suite.name}: the judge {labels.judge} is fitted and tested on replies to held-out rows"
                f" ({_counted(found)}): on other rows it may be worth less."
            )


def training_notes(data: TrainingData, suite: LoadedSuite) -> Iterator[str]:
    """A sentence for each judge on labelled messages that a candidate has learnt with another reply.

    Raises:
        LeakError: training or development rows that are labelled replies; accepted as held-out rows are.
    """
    accepted = suite.suite.leaks
    for labels in labelled_rows(suite):
        said = {row.id: row for row in labels.rows}
        for rows, ours in ((data.seen, "training rows"), (data.dev, "development rows")):
            known = {(row.id, row.where): row for row in rows}
            found: Sequence[Leak] = find_leaks(rows, labels.rows)
            if accepted != "warn":
                found = [leak for leak in found if not leak.is_named(accepted)]
            same = [
                leak
                for leak in found
                if _same_reply(known[leak.train_id, leak.train_where], said[leak.heldout_id], labels.field)
            ]
            if accepted != "warn" and (leaks := without_honest_repeats(same, len(said))):
                refuse_leaks(leaks, (ours, f"labels of the judge {labels.judge}"))
            if found := without_honest_repeats(found, len(said)):
                yield (
                    f"{suite.name}: {ours} have messages of labels of the judge {labels.judge}"
                    f" ({_counted(found)}): it is tested on questions that were learnt."
                )


def _same_reply(row: Row, label: Row, field: str | None) -> bool:
    learnt = judged_text(row.reference, field)[0] or row.reference
    same = SequenceMatcher(None, plain_words(learnt), plain_words(label.reference), autojunk=False)
    return bool(same.ratio() >= SAME_REPLY)


def _counted(found: Sequence[Leak]) -> str:
    """How many of the labels, and the first pair."""
    places = len({leak.heldout_where for leak in found})
    return f"{plural(places, 'label')}, such as {found[0].train_where} ~ {found[0].heldout_where}"
