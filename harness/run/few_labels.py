"""Judges whose labels are too few to admit them, found before anything is asked of them."""

from __future__ import annotations

from collections.abc import Iterator

from harness.run.suite_loading import LoadedSuite
from harness.scoring.admission import MIN_LABELS_OF_A_KIND
from harness.scoring.judges import Judge
from harness.scoring.labels import Label, by_majority, split_labels
from harness.scoring.pair_labels import PairLabel, pairs_by_majority


def few_label_notes(suite: LoadedSuite) -> Iterator[str]:
    """A sentence for each judge that will only advise, however well it does on the labels that it has."""
    for judge in suite.judges:
        yield from _of_pairs(suite, judge)
        known: object = getattr(judge, "known", None)
        labels = [one for one in known if isinstance(one, Label)] if isinstance(known, tuple) else []
        if not labels:  # a judge of the project's own keeps its labels where it likes
            continue
        _, test = split_labels(by_majority(labels), getattr(judge, "seed", 0))
        counts = {
            kind: len({label.content[:2] for label in test if label.good == of})
            for kind, of in (("good", True), ("bad", False))
        }
        if min(counts.values()) < MIN_LABELS_OF_A_KIND:
            yield (
                f"{suite.name}: the judge {judge.name} cannot be admitted, whatever it says: its test half"
                f" holds {counts['good']} good and {counts['bad']} bad labels of different messages, and"
                f" takes {MIN_LABELS_OF_A_KIND} of each, so about {2 * MIN_LABELS_OF_A_KIND} of each in all."
            )


def _of_pairs(suite: LoadedSuite, judge: Judge) -> Iterator[str]:
    known: object = getattr(judge, "known_pairs", getattr(judge, "known", None))
    pairs = [one for one in known if isinstance(one, PairLabel)] if isinstance(known, tuple) else []
    first, second = (
        sum(one.label == side for one in pairs_by_majority(pairs)) for side in ("first", "second")
    )
    if pairs and min(first, second) < MIN_LABELS_OF_A_KIND:
        yield (
            f"{suite.name}: the judge {judge.name} cannot be admitted, whatever it says: its labels give"
            f" {first} pairs to the first and {second} to the second, and it takes"
            f" {MIN_LABELS_OF_A_KIND} of each."
        )
