"""How well ``ByLikeness`` tells a fine-tune's own questions from others: ``python -m benchmarks.route FILE``.

FILE is ``data/data_full.json`` of CLINC150 (Larson et al. 2019, CC BY 3.0), https://github.com/clinc/oos-eval:
150 intents in ten domains, and questions that are in none of them. Each domain is in turn the task of a
fine-tune, with so many training rows; its validation questions set the threshold, and its test questions are
its own. Others are the questions out of scope, or the test questions of the nine other domains. Nothing is
trained: the route goes by training questions alone. The last figures are of one task of all intents.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from random import Random
from statistics import fmean
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from scipy.stats import rankdata

from harness.candidates.router import ByLikeness, nearness, threshold
from harness.data.rows import file_digest
from harness.models.embeddings import LocalEmbedder, resolve_embedder
from harness.models.progress import Silent
from harness.scoring.admission import wilson
from harness.scoring.judges import BUILTIN_EMBEDDER

if TYPE_CHECKING:
    import numpy.typing as npt

    Numbers: TypeAlias = npt.NDArray[np.float64]

SIZES, SIZES_OF_ALL = (50, 150, 1500), (1500, 15000)
OUT_OF_SCOPE = "out of scope"
HEADS = (
    f"{'rows':>6}  {'others':<17}  {'n':>5}  {'AUROC':<49}  own that go to the fine-tune       others that do"
)
KEEP = ByLikeness(dev="val").keep
Labelled: TypeAlias = list[list[str]]  # each a question and its intent


@dataclass(frozen=True, slots=True)
class Sides:
    """Values of a task's own questions and of others, and the threshold."""

    own: Numbers
    others: Numbers
    least: float

    @property
    def auroc(self) -> float:
        """The chance that one of its own is nearer to the training rows than another; a tie counts half."""
        ranks = rankdata(np.concatenate([self.own, self.others]))[: len(self.own)]
        return float((ranks.mean() - (len(self.own) + 1) / 2) / len(self.others))


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.route", description=__doc__)
    parser.add_argument("file", type=Path, help="data/data_full.json of CLINC150; domains.json beside it")
    file = parser.parse_args(arguments).file
    data: dict[str, Labelled] = json.loads(file.read_text(encoding="utf-8"))
    domains: dict[str, list[str]] = json.loads(file.with_name("domains.json").read_text(encoding="utf-8"))
    print(f"{file.name}, SHA-256 {file_digest(file)[:12]}; encoder {BUILTIN_EMBEDDER}; keep={KEEP}\n")
    texts = list(dict.fromkeys(question for part in data.values() for question, _ in part))
    vectors = LocalEmbedder(resolve_embedder(BUILTIN_EMBEDDER, Silent())).embed(texts)
    place = {text: k for k, text in enumerate(texts)}
    print(f"{HEADS}\nten tasks of one domain each: means, and the least and most of a task")
    for others in (OUT_OF_SCOPE, "the other domains"):
        for size in SIZES:
            found = [sides(data, intents, size, others, place, vectors) for intents in domains.values()]
            print(told(size, others, list(domains), found))
    print("one task of all domains")
    for size in SIZES_OF_ALL:
        every = sides(data, list(chain(*domains.values())), size, OUT_OF_SCOPE, place, vectors)
        print(told(size, OUT_OF_SCOPE, [], [every]))
    return 0


def sides(
    data: dict[str, Labelled],
    intents: Sequence[str],
    size: int,
    others: str,
    place: dict[str, int],
    vectors: npt.NDArray[np.float32],
) -> Sides:
    """One task: as many training rows of each intent, and what its route makes of the others."""

    def values(rows: Labelled) -> Numbers:
        return nearness(vectors[[place[question] for question, _ in rows]], known)

    task = set(intents)
    train = [row for row in data["train"] if row[1] in task]
    drawn = Random(0).sample(train, size)
    known = vectors[[place[question] for question, _ in drawn]]
    own = [[row for row in data[part] if row[1] in task] for part in ("val", "test")]
    foreign = data["oos_test"] if others == OUT_OF_SCOPE else [r for r in data["test"] if r[1] not in task]
    return Sides(values(own[1]), values(foreign), threshold(values(own[0]), KEEP))


def told(size: int, others: str, names: Sequence[str], found: Sequence[Sides]) -> str:
    """A line of the table: means over the tasks, and the tasks between which they lie."""
    aurocs = [one.auroc for one in found]
    let = [float((one.others >= one.least).mean()) for one in found]
    kept = wilson(sum(int((one.own >= one.least).sum()) for one in found), sum(len(one.own) for one in found))
    return (
        f"{size:>6,}  {others:<17}  {len(found[0].others):>5,}  {between(aurocs, names, '.3f'):<49}"
        f"  {kept.value:.1%} ({kept.low:.1%} to {kept.high:.1%}, n={kept.n:,})  {between(let, names, '.1%')}"
    )


def between(values: Sequence[float], names: Sequence[str], form: str) -> str:
    """Their mean, and the tasks that have the least and the most, where there are several."""
    least, most = int(np.argmin(values)), int(np.argmax(values))
    ends = f" ({values[least]:{form}} {names[least]} to {values[most]:{form}} {names[most]})" if names else ""
    return f"{fmean(values):{form}}{ends}"


if __name__ == "__main__":
    sys.exit(main())
