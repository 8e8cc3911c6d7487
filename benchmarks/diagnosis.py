"""How often the planted cause ranks first, and how often one is claimed where none is.

``python -m benchmarks.diagnosis DATA_FULL.json XQUAD_FOLDER [--draws N]``: CLINC150 (Larson et al. 2019,
github.com/clinc/oos-eval) and XQuAD (Artetxe et al. 2020, github.com/google-deepmind/xquad), as they are
published. Candidates are nearest neighbours by TF-IDF, which answer with the label of the most similar
training row, so that each is wrong on rows of its own. In XQuAD the label is the article that is asked about.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from random import Random

import numpy as np
import numpy.typing as npt

from harness.data.plain_text import words
from harness.records import Cause, Message, Row, TrainingPoint
from harness.run.cause_inputs import Case, General
from harness.run.causes import find_causes

INTENTS, ROWS_EACH = 25, 10
ARTICLES = 15
HELDOUT, FAILURES, POOL = 200, 60, 800
Labelled = list[tuple[str, str]]


def main() -> None:
    """Print a line for each case."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.diagnosis", description=__doc__)
    parser.add_argument("clinc", type=Path, help="CLINC150's data_full.json")
    parser.add_argument(
        "xquad", type=Path, help="a folder with xquad.en.json, xquad.es.json and xquad.zh.json"
    )
    parser.add_argument("--draws", type=int, default=200, help="of each case; default: 200")
    parser.add_argument("--only", default="", help="cases whose name begins so")
    given = parser.parse_args()
    public = Public.read(given.clinc, given.xquad)
    print(f"{given.draws} draws of each; n = {FAILURES} failures, {HELDOUT} held-out rows at most")
    print(f"{'planted':44} {'first':>7} {'shown':>7} {'another first':>14} {'none':>6}  others first")
    for name, (cause, draw) in CASES.items():
        if not name.startswith(given.only):
            continue
        began, first, among, others = time.process_time(), 0, 0, Counter[str]()
        for seed in range(given.draws):
            _, causes, _ = find_causes(draw(public, Random(f"{name} {seed}")))
            first += causes[:1] == [cause]
            among += cause in causes
            if causes and causes[0] != cause:
                others[causes[0]] += 1
        n, wrong = given.draws, others.total()
        shown = ", ".join(f"{other} {count}" for other, count in others.most_common())
        rates = f"{first / n:7.1%} {among / n:7.1%}" if cause else f"{'':7} {'':7}"
        seconds = (time.process_time() - began) / n
        print(
            f"{name:44} {rates} {wrong / n:14.1%} {1 - (first + wrong) / n:6.1%}  {shown} ({seconds:.2f} s)",
            flush=True,
        )


# --------------------------------------------------------------------------- public rows
@dataclass(frozen=True)
class Public:
    """Texts with labels."""

    intents: dict[str, list[str]]  # of CLINC150
    questions: dict[str, dict[str, list[str]]]  # of XQuAD: by language and article, in the same order

    @classmethod
    def read(cls, clinc: Path, xquad: Path) -> Public:
        """From the files as they are published."""
        parts = json.loads(clinc.read_text("utf-8"))
        intents: dict[str, list[str]] = {}
        for part in ("train", "val", "test"):
            for text, label in parts[part]:
                intents.setdefault(label, []).append(text)
        questions = {}
        for language in ("en", "es", "zh"):
            articles = json.loads((xquad / f"xquad.{language}.json").read_text("utf-8"))["data"]
            questions[language] = {
                f"article {at}": [qa["question"] for p in article["paragraphs"] for qa in p["qas"]]
                for at, article in enumerate(articles)
            }
        return cls({k: list(dict.fromkeys(v)) for k, v in intents.items()}, questions)

    def clinc(self, rng: Random) -> tuple[Labelled, Labelled, Labelled]:
        """Training and held-out rows, and rows of production, all of the same intents."""
        train, rest = Labelled(), Labelled()
        for label in rng.sample(sorted(self.intents), INTENTS):
            texts = rng.sample(self.intents[label], len(self.intents[label]))
            train += [(text, label) for text in texts[:ROWS_EACH]]
            rest += [(text, label) for text in texts[ROWS_EACH:]]
        rng.shuffle(rest)
        return train, rest[:HELDOUT], rest[HELDOUT : HELDOUT + POOL]

    def xquad(self, rng: Random, language: str, share: float) -> tuple[Labelled, Labelled, Labelled]:
        """The same of XQuAD, where so large a share of production asks in another language."""
        chosen = rng.sample(sorted(self.questions["en"]), ARTICLES)
        rows = [(label, at) for label in chosen for at in range(len(self.questions["en"][label]))]
        rng.shuffle(rows)
        third = len(rows) // 3

        def texts(some: Sequence[tuple[str, int]], share: float) -> Labelled:
            return [
                (self.questions[language if rng.random() < share else "en"][label][at], label)
                for label, at in some
            ]

        return texts(rows[:third], 0), texts(rows[third : 2 * third], 0), texts(rows[2 * third :], share)


# --------------------------------------------------------------------------- candidates
class Nearest:
    """Answers with the label of the most similar training text (TF-IDF, cosine)."""

    def __init__(self, train: Labelled) -> None:
        self.labels = [label for _, label in train]
        found = Counter(chain.from_iterable(set(words(text)) for text, _ in train))
        self.place = {word: at for at, word in enumerate(found)}
        self.weight = np.log((1 + len(train)) / np.array([1 + n for n in found.values()]))
        self.vectors = self._vectors([text for text, _ in train])

    def _vectors(self, texts: Sequence[str]) -> npt.NDArray[np.float64]:
        table = np.zeros((len(texts), len(self.place)))
        for at, text in enumerate(texts):
            for word in words(text):
                if word in self.place:
                    table[at, self.place[word]] += self.weight[self.place[word]]
        lengths: npt.NDArray[np.float64] = np.linalg.norm(table, axis=1, keepdims=True)
        return table / np.maximum(lengths, 1e-9)

    def answers(self, rows: Labelled) -> tuple[list[bool], list[float]]:
        """Whether it is right on each row, and how far the nearest training row is."""
        near = self._vectors([text for text, _ in rows]) @ self.vectors.T
        best = near.argmax(axis=1)
        right = [self.labels[at] == label for at, (_, label) in zip(best, rows, strict=True)]
        return right, list(1 - near.max(axis=1))


def _rows(kind: str, labelled: Labelled) -> tuple[Row, ...]:
    return tuple(
        Row(f"{kind}-{at}", (Message("user", text), Message("assistant", label)))
        for at, (text, label) in enumerate(labelled)
    )


def _case(rng: Random, train: Labelled, heldout: Labelled, production: Labelled, *, own: bool = True) -> Case:
    """What a candidate of ``train`` fails on in production; with ``own`` False, rows drawn at random."""
    model = Nearest(train)
    right, distances = model.answers(heldout)
    fine, far = model.answers(production)
    failed = [at for at in range(len(production)) if not own or not fine[at]]
    failed = rng.sample(failed, min(FAILURES, len(failed)))
    rows = _rows("held", heldout)
    base = {row.id: rng.random() < 0.6 for row in rows}
    moved = [rng.random() for _ in range(20)]
    return Case(
        _rows("train", train),
        rows,
        _rows("failed", [production[at] for at in failed]),
        {row.id: one for row, one in zip(rows, right, strict=True)},
        distances=(distances, [far[at] for at in failed]),
        curve=_curve(rng, 0.0),
        base=(base, [rng.random() < 0.6 for _ in failed]),
        general=[General("general", sum(x < 0.5 for x in moved), sum(x >= 0.5 for x in moved), 200)],
    )


def _curve(rng: Random, rise: float) -> list[TrainingPoint]:
    """Development losses after each of six epochs: falling, then rising by ``rise`` to the last."""
    least, noise = 1.0, 0.01
    losses = [least + 0.6 * 0.3**at for at in range(3)]
    losses += [losses[-1] + rise * (at + 1) / 3 for at in range(3)]
    return [
        TrainingPoint(at, at, 1.0, None, loss + rng.gauss(0, noise), 0.05, None)
        for at, loss in enumerate(losses, start=1)
    ]


# --------------------------------------------------------------------------- cases
def _missing_class(public: Public, rng: Random) -> Case:
    """Two of 25 intents are in no training or held-out row."""
    train, heldout, production = public.clinc(rng)
    gone = set(rng.sample(sorted({label for _, label in train}), 2))
    kept, held = ([row for row in side if row[1] not in gone] for side in (train, heldout))
    return _case(rng, kept, held, production)


def _rare_class(public: Public, rng: Random) -> Case:
    """Four of 25 intents have two training rows each, and a tenth of their held-out rows."""
    train, heldout, production = public.clinc(rng)
    rare = rng.sample(sorted({label for _, label in train}), 4)
    kept = [row for row in train if row[1] not in rare]
    for label in rare:
        kept += [row for row in train if row[1] == label][:2]
    held = [row for row in heldout if row[1] not in rare or rng.random() < 0.1]
    return _case(rng, kept, held, production)


def _class_shift(public: Public, rng: Random) -> Case:
    """Production asks for three of 25 intents eight times as often."""
    train, heldout, production = public.clinc(rng)
    often = set(rng.sample(sorted({label for _, label in train}), 3))
    return _case(rng, train, heldout, [row for row in production if row[1] in often or rng.random() < 1 / 8])


def _longer(public: Public, rng: Random) -> Case:
    """Messages of production are two of one intent in one."""
    train, heldout, production = public.clinc(rng)
    of: dict[str, list[str]] = {}
    for text, label in production:
        of.setdefault(label, []).append(text)
    joined = [(f"{text}. {rng.choice(of[label])}", label) for text, label in production]
    return _case(rng, train, heldout, joined)


def _leak(public: Public, rng: Random) -> Case:
    """Half of the held-out rows stand in the training rows as well."""
    train, heldout, production = public.clinc(rng)
    return _case(rng, train + heldout[: len(heldout) // 2], heldout, production)


def _edited_leak(public: Public, rng: Random) -> Case:
    """Half of the held-out rows of eight words or more stand in the training rows with one word added."""
    train, heldout, production = public.clinc(rng)
    long = [row for row in heldout if len(words(row[0])) >= 8]
    edited = [(f"{text} please", label) for text, label in long[: len(long) // 2]]
    return _case(rng, train + edited, heldout, production)


def _overfit(public: Public, rng: Random) -> Case:
    """Development loss ends a quarter above its least."""
    return replace(_case(rng, *public.clinc(rng)), curve=_curve(rng, 0.25))


def _broken(public: Public, rng: Random) -> Case:
    """The base is right on 95% of the failures, and on 60% of all rows."""
    case = _case(rng, *public.clinc(rng))
    assert not isinstance(case.base, str)
    return replace(case, base=(case.base[0], [rng.random() < 0.95 for _ in case.failures]))


def _forgot(public: Public, rng: Random) -> Case:
    """15% of 200 general rows is lost, and a fiftieth gained."""
    lost, gained = (sum(rng.random() < share for _ in range(200)) for share in (0.15, 0.02))
    return replace(_case(rng, *public.clinc(rng)), general=[General("general", lost, gained, 200)])


CASES: dict[str, tuple[Cause | None, Callable[[Public, Random], Case]]] = {
    "two intents that training lacks": ("long tail", _missing_class),
    "four intents with two training rows": ("long tail", _rare_class),
    "XQuAD: half of production in Spanish": ("shift", lambda p, rng: _case(rng, *p.xquad(rng, "es", 0.5))),
    "XQuAD: a quarter of production in Chinese": (
        "shift",
        lambda p, rng: _case(rng, *p.xquad(rng, "zh", 0.25)),
    ),
    "three intents eight times as often": ("shift", _class_shift),
    "messages twice as long": ("shift", _longer),
    "half of the held-out rows in training": ("leaks", _leak),
    "the same, a word added": ("leaks", _edited_leak),
    "development loss rises by a quarter": ("overfitting", _overfit),
    "the base is right on 95% of failures": ("base", _broken),
    "15% of general rows lost, 2% gained": ("forgetting", _forgot),
    "nothing: failures drawn at random": (None, lambda p, rng: _case(rng, *p.clinc(rng), own=False)),
    "nothing: the candidate's own failures": (None, lambda p, rng: _case(rng, *p.clinc(rng))),
    "nothing: XQuAD, drawn at random": (None, lambda p, rng: _case(rng, *p.xquad(rng, "es", 0), own=False)),
    "nothing: XQuAD, its own failures": (None, lambda p, rng: _case(rng, *p.xquad(rng, "es", 0))),
}


if __name__ == "__main__":
    main()
