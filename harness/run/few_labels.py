"""Judges whose labels are too few to admit them, found before anything is asked of them."""

from __future__ import annotations

from collections.abc import Iterator

from harness.run.suite_loading import LoadedSuite
from harness.scoring.admission import MIN_LABELS_OF_A_KIND
from harness.scoring.drift import each_once, known_of
from harness.scoring.labels import Label, split_labels
from harness.scoring.pair_labels import PairLabel


def few_label_notes(suite: LoadedSuite) -> Iterator[str]:
    """A sentence for each judge that will only advise, however well it does on the labels that it has."""
    for judge in suite.judges:
        labels = each_once(known_of(judge))  # a judge of the project's own keeps its labels where it likes
        beginning = f"{suite.name}: the judge {judge.name} cannot be admitted, whatever it says: its"
        pairs = [one for one in labels if isinstance(one, PairLabel)]
        first, second = (sum(one.label == side for one in pairs) for side in ("first", "second"))
        if pairs and min(first, second) < MIN_LABELS_OF_A_KIND:
            yield (
                f"{beginning} labels give {first} pairs to the first and {second} to the second, and it takes"
                f" {MIN_LABELS_OF_A_KIND} of each."
            )
        replies = [one for one in labels if isinstance(one, Label)]
        _, test = split_labels(replies, getattr(judge, "seed", 0))
        good, bad = (len({one.content[:2] for one in test if one.good is kind}) for kind in (True, False))
        if replies and min(good, bad) < MIN_LABELS_OF_A_KIND:
            yield (
                f"{beginning} test half holds {good} good and {bad} bad labels of different messages, and"
                f" takes {MIN_LABELS_OF_A_KIND} of each, so about {2 * MIN_LABELS_OF_A_KIND} of each in all."
            )
