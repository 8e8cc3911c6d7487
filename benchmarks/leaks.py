"""What the leak check finds: ``python -m benchmarks.leaks [TRAIN.jsonl HELDOUT.jsonl ...]``.

For each pair of files (the worked example without any) a line: the share of held-out rows that are accused of
being edits, exact copies, rows that are near, and how many planted copies are found. Planted are copies of a
tenth of the held-out rows, of those with twelve words or more: with a fifth of the words replaced, deleted or
inserted (words drawn from the training rows), with a sentence added, with the sentences in another order.
"""

from __future__ import annotations

import random
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from harness.data.leakage import compare_rows, find_leaks
from harness.data.rows import read_rows
from harness.records import Message, Row

SUPPORT = Path(__file__).parents[1] / "suites" / "support"
LONG_WORDS, PLANTED_SHARE, EDITED_SHARE = 12, 0.1, 0.2
ADDED = (
    "Thanks a lot for your help.",
    "I wrote about this last week as well.",
    "Please answer before Friday.",
)


def main(files: Sequence[str]) -> None:
    """Print the table."""
    named = [Path(file) for file in files] or [SUPPORT / "train.jsonl", SUPPORT / "heldout.jsonl"]
    print(
        f"{'held-out file':36} {'train':>6} {'held':>5} {'accused':>8} {'copies':>6} {'near':>6}  found: "
        f"{'edited':>6} {'added':>6} {'moved':>6}"
    )
    for train, heldout in zip(named[::2], named[1::2], strict=True):
        print(_line(heldout, read_rows(train), read_rows(heldout)), flush=True)


def _line(file: Path, train: Sequence[Row], heldout: Sequence[Row]) -> str:
    rng = random.Random(0)
    compared = compare_rows(train, heldout)
    copies = {leak.heldout_id for leak in compared.leaks if leak.kind in ("exact", "exact-short")}
    accused = {leak.heldout_id for leak in compared.leaks} - copies
    long = [r for r in heldout if len(r.question.split()) >= LONG_WORDS and r.id not in copies | accused]
    vocabulary = sorted({word for r in train for word in r.question.split()})
    some = rng.sample(long, min(len(long), max(1, round(PLANTED_SHARE * len(heldout)))))
    changes: list[Callable[[str], str]] = [
        lambda text: _edited(text, vocabulary, rng),
        lambda text: f"{text} {rng.choice(ADDED)}",
        _moved,
    ]
    found = [_found(train, heldout, [(r, change(r.question)) for r in some]) for change in changes]
    shares = f"{len(accused) / len(heldout):8.2%} {len(copies):6} {len(compared.near) / len(heldout):6.1%}"
    rates = " ".join(f"{rate:6.1%}" for rate in found)
    return f"{str(file)[-36:]:36} {len(train):6} {len(heldout):5} {shares}         {rates} (n={len(some)})"


def _found(train: Sequence[Row], heldout: Sequence[Row], planted: Sequence[tuple[Row, str]]) -> float:
    made = [
        Row(
            f"copy of {r.id}",
            (Message("user", text), Message("assistant", r.reference)),
            {},
            f"copy of {r.id}",
        )
        for r, text in planted
    ]
    pairs = {(leak.train_id, leak.heldout_id) for leak in find_leaks([*train, *made], heldout)}
    return sum((f"copy of {r.id}", r.id) in pairs for r, _ in planted) / max(len(planted), 1)


def _edited(text: str, vocabulary: Sequence[str], rng: random.Random) -> str:
    words = text.split()
    for _ in range(round(EDITED_SHARE * len(words))):
        at = rng.randrange(len(words))
        how = rng.choice(("replace", "delete", "insert"))
        if how == "delete":
            del words[at]
        elif how == "replace":
            words[at] = rng.choice(vocabulary)
        else:
            words.insert(at, rng.choice(vocabulary))
    return " ".join(words)


def _moved(text: str) -> str:
    parts = re.split(r"(?<=[.!?]) ", text)
    if len(parts) > 1:
        return " ".join(parts[1:] + parts[:1])
    words = text.split()
    return " ".join(words[len(words) // 2 :] + words[: len(words) // 2])


if __name__ == "__main__":
    main(sys.argv[1:])
