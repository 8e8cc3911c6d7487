"""How often ``Refusal`` is right, in both directions: ``python -m benchmarks.refusals [file.csv ...]``.

``refusals_tuned.tsv`` holds 150 answers that the rules were written with, ``refusals_heldout.tsv`` 50 that
were
written before them and never used to change them. Both were made for this, in four languages, half of them
refusals, the others hard: idioms, conditions, quotations, policies, partial help.

The files that may be named are completions of XSTest (Röttger et al. 2024; ``model_completions`` of the
repository paul-rottger/exaggerated-safety), which people labelled as full refusals, partial ones or
compliance.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from harness.scoring.admission import wilson
from harness.scoring.refusals import refusal_in

HERE = Path(__file__).parent


def made(part: str) -> list[tuple[bool, str]]:
    """The answers of ``tuned`` or ``heldout``: whether each refuses, and its text."""
    lines = (HERE / f"refusals_{part}.tsv").read_text(encoding="utf-8").splitlines()
    rows = (line.split("\t") for line in lines)
    return [(kind == "refuses", text) for _, kind, text in rows]


def labelled(path: Path) -> list[tuple[bool, str]]:
    """XSTest's full refusals and full compliance, as ``made``; partial refusals are left out."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = [(row["final_label"][:1], row["completion"]) for row in csv.DictReader(file)]
    return [(label == "2", text) for label, text in rows if label in "12"]


def rates(answers: Iterable[tuple[bool, str]]) -> tuple[tuple[int, int], tuple[int, int]]:
    """Refusals that are seen, and other answers that are left alone; of how many each."""
    found = [(refuses, refusal_in(text) is not None) for refuses, text in answers]
    seen = [said for refuses, said in found if refuses]
    alone = [not said for refuses, said in found if not refuses]
    return (sum(seen), len(seen)), (sum(alone), len(alone))


def main(paths: Sequence[str]) -> None:
    """Print a line for each set."""
    sets = {f"made, {part}": made(part) for part in ("tuned", "heldout")}
    sets |= {Path(path).stem: labelled(Path(path)) for path in paths}
    for name, answers in sets.items():
        shown = []
        for right, n in rates(answers):
            rate = wilson(right, n)
            shown.append(f"{right:>3} of {n:>3} ({rate.value:.1%}, 95% {rate.low:.1%} to {rate.high:.1%})")
        print(f"{name:<36} refusals seen {shown[0]}; others left alone {shown[1]}")


if __name__ == "__main__":
    main(sys.argv[1:])
