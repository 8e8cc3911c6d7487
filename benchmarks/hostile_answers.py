"""Whether one bad row can sink a run: ``python -m benchmarks.hostile_answers [first seed, answers]``.

5,000 answers and more results of checks, drawn from fixed seeds, go the whole way in runs of 100 rows: a
model that a stranger wrote, checks and a judge of the same kind, claims, the decision, and the reports. Each
run is pytest with a project of its own. Counted are the runs that ended with their reports, and what must not
be: an INTERNALERROR, a row without an answer or score, markup that the page would run, and control characters
on the terminal. Exit status 1 where there is one.
"""

from __future__ import annotations

import importlib
import io
import json
import re
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from random import Random

import numpy as np
import pytest

from benchmarks.hostile_values import LONGEST, RAISED, TEXTS, hostile_reply, hostile_result
from harness.candidates.base import Prepared, Variant
from harness.candidates.lab import Lab
from harness.models.protocol import Decoding, Prompt
from harness.records import Admission, Answer, Json, Kind, Message, Rate, Row, RunRecord, Score
from harness.report.runjson import load_run
from harness.scoring.judges import JudgeEstimate, Oracle
from harness.testing import Scripted

ROWS = 100  # of one run
# what a terminal would obey, and no run may write
STEERS = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


# --------------------------------------------------------------------------- what a stranger wrote
@dataclass
class HostileModel:
    """A model of a stranger's. One in five stops in the middle."""

    seed: int
    longest: int = LONGEST  # characters of an answer
    numeric_config: str = "none"

    def answer(
        self, prompts: Sequence[Prompt], decoding: Decoding, known: frozenset[str]
    ) -> Iterator[object]:
        """Hostile replies, in any order, some of them twice."""
        rng = Random(f"replies {self.seed}")
        stops = rng.randrange(len(prompts)) if rng.random() < 0.2 else -1
        for at, prompt in enumerate(rng.sample(prompts, len(prompts))):
            if at == stops:
                raise rng.choice(RAISED)
            yield hostile_reply(rng, prompt.row_id, self.longest)

    def logprob(self, pairs: Sequence[tuple[str, str]]) -> list[float]:
        """No number."""
        return [float("nan") for _ in pairs]


@dataclass(frozen=True, kw_only=True)
class Hostile(Scripted):
    """A candidate whose model is hostile."""

    seed: int = 0
    longest: int = LONGEST

    def prepare(self, lab: Lab, variant: Variant) -> Prepared:
        """See ``Candidate``."""
        made = super().prepare(lab, variant)
        load = partial(HostileModel, self.seed, self.longest)
        identity = f"{made.identity}-{self.seed}"
        return replace(made, identity=identity, load=load)  # type: ignore[arg-type]  # its answers are none


@dataclass(frozen=True)
class HostileCheck:
    """A check of a stranger's: its results, by the row and the seed."""

    name: str
    kind: Kind
    seed: int

    def spec(self) -> Mapping[str, Json]:
        """Nothing shapes it."""
        return {}

    def bind(self, read: object) -> HostileCheck:
        """It has no files."""
        return self

    def score(self, row: Row, answer: Answer) -> Score:
        """Anything."""
        given = hostile_result(Random(f"{self.name} {self.seed} {row.id} {answer.text[:40]!a}"))
        if isinstance(given, BaseException):
            raise given
        return given  # type: ignore[return-value]  # that is the point


@dataclass(frozen=True)
class HostileJudge:
    """A judge of a stranger's, which may break while it is calibrated, or when it judges."""

    name: str
    seed: int
    kind = Kind.GRADED
    trust = "transfer"

    def spec(self) -> Mapping[str, Json]:
        """Its name: keys are made of it."""
        return {"judge": self.name}

    def bind(self, read: object) -> HostileJudge:
        """It has no labels."""
        return self

    def require_ready(self, oracle: Oracle) -> None:
        """It is always ready."""

    def estimate(self, rows: Sequence[Row]) -> JudgeEstimate | None:
        """Nothing is hosted."""
        return None

    def redirected(self, url: str) -> HostileJudge:
        """Nothing is hosted."""
        return self

    def calibrated(self, oracle: Oracle) -> HostileJudge:
        """Itself, where it does not break."""
        rng = Random(f"calibrated {self.seed}")
        if rng.random() < 0.3:
            raise rng.choice(RAISED)
        return rng.choice((None, 3)) if rng.random() < 0.1 else self  # type: ignore[return-value]

    @property
    def admission(self) -> Admission:
        """Admitted, with odd numbers."""
        rng = Random(f"admission {self.seed}")
        odd = rng.choice((1.0, 1.0, 1.0, np.float32(1), float("nan"), None, "1"))
        rate = Rate(odd, 0.9, 1.0, rng.choice((50, np.int64(50))))  # type: ignore[arg-type]
        return Admission("j", True, rate, rate, rate, 0.5, 50, 50, rng.choice(((), ("\ud800",))))

    def score_many(self, rows: Sequence[Row], answers: Sequence[Answer], oracle: Oracle) -> Iterator[object]:
        """One result a row; of some runs too few, or without end."""
        rng = Random(f"judged {self.seed} {len(rows)}")
        given = [hostile_result(rng) for _ in rows]
        if rng.random() < 0.2:
            given = given[1:]
        if rng.random() < 0.2:
            raise rng.choice(RAISED)
        return (one for one in given if not isinstance(one, BaseException) or rng.random() < 0.9)


# --------------------------------------------------------------------------- one run
CONFTEST = """
import harness
from benchmarks.hostile_answers import Hostile
from harness.testing import Scripted

pytest_plugins = ["harness.plugin"]


@harness.candidate(params={"hostile": SEED_HERE})
def a(request):
    seed, longest = request.param, LONGEST_HERE
    return Hostile(train="train.jsonl", reply=lambda prompt, size: "", seed=seed, longest=longest)


@harness.candidate
def old():
    return Scripted(train="train.jsonl", reply=lambda prompt, size: '{"intent": "refund"}')
"""
SUITE = """
import pytest
from benchmarks.hostile_answers import HostileCheck, HostileJudge
from harness import Contains, ExactMatch, FieldMatch, JsonSchema, Regex, Suite, assert_not_worse
from harness.records import Kind

SEED = SEED_HERE
CHECKS = (
    HostileCheck("binary", Kind.BINARY, SEED),
    HostileCheck("graded <script>alert(1)</script>", Kind.GRADED, SEED),
    HostileJudge("[/] {{ 1 }}", SEED),
    ExactMatch(),
    Contains(),
    FieldMatch("intent"),
    JsonSchema({"type": "object", "properties": {"intent": {"pattern": "^"}}}),
    Regex(r'"intent"'),
)


@pytest.fixture(scope="module")
def suite():
    return Suite(heldout="heldout.jsonl", scores=CHECKS, slices=("kind",), group="who", prompt="prompt.md")


@pytest.mark.parametrize("check", CHECKS[:4], ids=lambda check: check.name)
def test_better(candidate, baseline, check):
    assert candidate.scores(check) > baseline.scores(check)


@pytest.mark.parametrize("check", CHECKS[4:6], ids=lambda check: check.name)
def test_kept(candidate, baseline, check):
    assert_not_worse(candidate.scores(check), baseline.scores(check), margin=0.1)


def test_bar(candidate):
    assert candidate.scores(CHECKS[0]) > 0.5
"""


def rows_of(seed: int, n_rows: int = ROWS) -> list[dict[str, object]]:
    """Held-out rows whose ids, groups, slices and turns are hostile, as far as a file may hold that."""
    rng = Random(f"rows {seed}")
    texts = [
        text
        for text in TEXTS
        if text.strip().strip("\ufeff") and len(text) < 3_000 and not STEERS.search(text)
    ]

    def row(at: int) -> dict[str, object]:
        question = Message("user", f"{at} {rng.choice(texts)} {rng.random()}")
        held = json.dumps(
            {"intent": rng.choice((rng.choice(texts), "refund", 10**20, [])), "n": at}, ensure_ascii=False
        )
        return {
            "id": f"{rng.choice(texts)[:40]}-{at}",
            "who": rng.choice(texts),
            "kind": rng.choice(texts)[:60],
            "messages": [
                {"role": "user", "content": question.content},
                {"role": "assistant", "content": held},
            ],
        }

    return [row(at) for at in range(n_rows)]


def write_project(folder: Path, seed: int, n_rows: int = ROWS, longest: int = LONGEST) -> None:
    """A project with one hostile candidate, a plain baseline and one suite, in ``folder``."""
    suite = folder / "suites" / "support"
    suite.mkdir(parents=True, exist_ok=True)
    train = {"id": "t", "messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]}
    texts = {
        folder / "pytest.ini": "[pytest]\n",
        folder / "conftest.py": CONFTEST,
        folder / "train.jsonl": json.dumps(train) + "\n",
        suite / "heldout.jsonl": "".join(json.dumps(row) + "\n" for row in rows_of(seed, n_rows)),
        suite / "prompt.md": f"{{{{ 7 * 7 }}}} <|im_end|> </think> {{system}} [/] {seed}\n",
        suite / "test_support.py": SUITE,
    }
    for path, text in texts.items():
        text = text.replace("SEED_HERE", str(seed)).replace("LONGEST_HERE", str(longest))
        path.write_text(text, encoding="utf-8")


ARGUMENTS = (
    *("--candidate=a-hostile", "--baseline=old", "-p", "no:cacheprovider", "-p", "no:randomly"),
    *("-p", "no:hypothesispytest", "-p", "no:xdist"),
)


@dataclass(frozen=True)
class Ended:
    """How one run ended: its record, where there is one, and what must not be."""

    record: RunRecord | None
    problems: list[str] = field(default_factory=list)


def ended(folder: Path, said: str) -> Ended:
    """Look at what the newest run of the project in ``folder`` has written and ``said``."""
    problems = ["INTERNALERROR"] if "INTERNALERROR" in said else []
    if found := STEERS.search(said):
        problems.append(f"the terminal is sent {found[0]!a}")
    reports = sorted((folder / "reports").glob("*/run.json"), key=lambda path: path.stat().st_mtime_ns)
    if not reports:
        return Ended(None, [*problems, "no report"])
    record = load_run(reports[-1].read_text("utf-8"), str(reports[-1]))
    page, plain = ((reports[-1].parent / f"report.{kind}").read_text("utf-8") for kind in ("html", "md"))
    outside = re.sub(r"<script>.*?</script>", "", page, count=1, flags=re.DOTALL)  # our own
    problems += [f"the page holds {tag}" for tag in ("<script", "<img", "onload=alert(1)>") if tag in outside]
    problems += ["the Markdown holds control characters"] if STEERS.search(plain) else []
    if not record.decisions:
        problems.append("no decision")
    for trial in record.trials:
        n_rows = len(record.suites[0].rows)
        if any(len(each) != n_rows for each in (trial.answers, *trial.scores.values())):
            problems.append(f"{trial.label} lacks an answer or a score")
        for score in (score for scores in trial.scores.values() for score in scores):
            if (score.value is None) == (score.failure is None):
                problems.append(f"a score that is neither a value nor a failure: {score}")
    return Ended(record, problems)


def run(folder: Path, seed: int) -> Ended:
    """One run of pytest, in this process."""
    write_project(folder, seed)
    said = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(said), redirect_stderr(said):
        patch.chdir(folder)
        pytest.main([*ARGUMENTS, "-s", "suites"])
    sys.modules.pop("test_support", None)
    return ended(folder, said.getvalue())


def main(arguments: Sequence[str]) -> int:
    """Run them all and print the counts."""
    first, wanted = (int(given) for given in arguments) if len(arguments) == 2 else (0, 5_000)
    seeds = range(first, first + -(-wanted // ROWS))
    importlib.import_module("torch")
    runs, answers, failed, results, unscored, problems = 0, 0, 0, 0, 0, list[str]()
    for seed in seeds:
        with tempfile.TemporaryDirectory() as folder:
            done = run(Path(folder), seed)
        problems += [f"run {seed}: {problem}" for problem in done.problems]
        if done.record is None:
            continue
        runs += 1
        for trial in done.record.trials:
            answers += ROWS * (trial.candidate == "a-hostile")
            failed += sum(answer.failure is not None for answer in trial.answers)
            scores = [score for each in trial.scores.values() for score in each]
            results, unscored = results + len(scores), unscored + sum(score.value is None for score in scores)
    print(f"hostile answers          {answers:>7,}  ({failed:,} of them failures of their rows)")
    print(f"scores                   {results:>7,}  ({unscored:,} of them failures of their rows)")
    print(f"runs with all reports    {runs:>7,}  of {len(seeds):,}")
    print(f"problems                 {len(problems):>7,}")
    print("\n".join(problems[:40]))
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
