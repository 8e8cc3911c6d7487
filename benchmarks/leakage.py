"""How long it takes to find training rows that also stand in the held-out rows."""

from __future__ import annotations

import random
import time
from itertools import accumulate

from benchmarks.results import Options, Result
from harness.data.leakage import find_leaks
from harness.records import Message, Row

TRAIN_ROWS, HELDOUT_ROWS, PLANTED = 10_000, 2_000, 100
VOCABULARY, OPENINGS = 8_000, 50


def measure(options: Options) -> list[Result]:
    """Time ``find_leaks`` on rows among which edited copies are planted, and count those it finds."""
    shrink = 20 if options.smoke else 1
    train, heldout = synthetic_rows(TRAIN_ROWS // shrink, HELDOUT_ROWS // shrink, PLANTED // shrink)
    began = time.perf_counter()
    leaks = find_leaks(train, heldout)
    seconds = time.perf_counter() - began
    planted = {f"heldout-{k}" for k in range(PLANTED // shrink)}
    found = {leak.heldout_id for leak in leaks}
    return [
        Result(
            name=f"leakage, {TRAIN_ROWS:,} × {HELDOUT_ROWS:,} rows",
            value=seconds if planted <= found else None,  # to miss them quickly is worth nothing
            unit="s",
            detail=f"{len(train):,} training and {len(heldout):,} held-out rows of 20–80 words; "
            f"{len(found & planted)} of {len(planted)} planted edited copies found, "
            f"{len(found - planted)} other held-out rows named",
            bar=10.0,
            bar_is="value at most",
        )
    ]


def synthetic_rows(n_train: int, n_heldout: int, planted: int) -> tuple[tuple[Row, ...], tuple[Row, ...]]:
    """Messages of Zipf-distributed words with stock openings, as customers write them.

    The first ``planted`` held-out rows are training rows with every tenth word or so replaced.
    """
    rng = random.Random(0)
    words = [f"w{k}" for k in range(VOCABULARY)]
    weights = list(accumulate(1 / (k + 2) for k in range(VOCABULARY)))
    openings = [" ".join(rng.choices(words, k=6)) for _ in range(OPENINGS)]

    def text(low: int, high: int) -> str:
        return " ".join(rng.choices(words, cum_weights=weights, k=rng.randint(low, high)))

    def row(name: str, message: str) -> Row:
        turns = (Message("user", message), Message("assistant", text(8, 20)))
        return Row(name, turns, {}, f"{name}.jsonl:1")

    messages = [f"{rng.choice(openings)} {text(20, 80)}" for _ in range(n_train + n_heldout)]
    for k in range(planted):
        copied = messages[rng.randrange(n_train)].split()
        edited = [rng.choice(words) if rng.random() < 0.1 else word for word in copied]
        messages[n_train + k] = " ".join(edited)
    train = tuple(row(f"train-{k}", message) for k, message in enumerate(messages[:n_train]))
    heldout = tuple(row(f"heldout-{k}", message) for k, message in enumerate(messages[n_train:]))
    return train, heldout
