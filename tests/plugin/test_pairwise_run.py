"""A judge of pairs in a run: both orders over HTTP, against the baseline's answers, in report and plan."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib import import_module

import pytest
from small_project import SUITE, SmallProject, jsonl

from harness.records import Trial
from harness.testing.fake_openai import CHAT, ScriptedBackend, running_fake_openai
from harness.testing.fake_openai.backend import Question

# pytester forgets what a run was the first to import; these cannot be imported twice
for name in ("openai", "anyio", "httpx2", "httpcore2", "starlette", "uvicorn"):
    import_module(name)

BLOCKS = re.compile(r"<first-(\w+)>\n(.*)\n</first-\1>\n\n<second-\1>\n(.*)\n</second-\1>", re.DOTALL)
ROWS, DIFFERENT = 40, 24  # rows; those to which old and good do not say the same
PAIRS = 60
HEAD = """
from harness import Pairwise, RemoteModel

better = Pairwise(
    RemoteModel("{chat}", base_url="{url}", profile="twin", api_key_env="HARNESS_TEST_KEY"),
    "It says yes.",
    labels="pairs.jsonl",
    trust="transfer",
)
"""
GATE = """
def test_preferred(candidate):
    assert candidate.preferred(better) > 0.5
"""


def verdict(said: str) -> str:
    return json.dumps({"reason": "because", "verdict": said})


def honest(first: str, second: str) -> str:
    mine, theirs = first.startswith("yes"), second.startswith("yes")
    return verdict("tie" if mine == theirs else "first" if mine else "second")


@dataclass
class Comparer:
    """The model at the twin: compares by ``say`` and notes what it was asked."""

    say: Callable[[str, str], str] = honest
    asked: list[tuple[str, str]] = field(default_factory=list)

    def __call__(self, question: Question) -> str:
        found = BLOCKS.search(question.last)
        assert found is not None, question.last
        self.asked.append((found[2], found[3]))
        return self.say(found[2], found[3])


@pytest.fixture
def comparer() -> Comparer:
    return Comparer()


@pytest.fixture
def preferring(
    project: SmallProject, comparer: Comparer, monkeypatch: pytest.MonkeyPatch
) -> Iterator[SmallProject]:
    """A suite whose only target is a preference, judged at the twin."""
    monkeypatch.setenv("HARNESS_TEST_KEY", "sk-planted-81c2")
    with running_fake_openai(backend=ScriptedBackend(comparer)) as url:
        head = SUITE.replace(
            "\n\n@pytest.fixture", HEAD.format(chat=CHAT, url=url) + "\n\n@pytest.fixture", 1
        )
        project.suite(GATE, head=head.replace("scores=(right,)", "scores=(right, better)"))
        sides = [("yes", "no"), ("no", "yes")]
        labels = [
            {"message": f"m {k}", "first": f"{sides[k % 2][0]} {k}", "second": f"{sides[k % 2][1]} {k}",
             "label": ("first", "second")[k % 2]}
            for k in range(PAIRS)
        ]  # fmt: skip
        project.write("suites/support/pairs.jsonl", jsonl(labels))  # type: ignore[arg-type]
        yield project


def test_a_preference_decides_over_the_baselines_answers_and_is_asked_once_in_both_orders(
    preferring: SmallProject, comparer: Comparer
) -> None:
    outcome = preferring.run("--candidate=good")
    assert outcome.status == 0, outcome.said
    record = preferring.record
    assert record.decisions[0].verdict == "GO"
    (gate,) = record.gates
    assert (gate.role, gate.state) == ("target", "gated")
    assert gate.comparison is not None
    assert (gate.comparison.method, gate.comparison.discordant) == ("Tango", DIFFERENT)
    trials = {trial.candidate: trial for trial in record.trials}
    assert "preference" not in trials["old"].scores, "the baseline is not set against itself"
    values = [score.value for score in trials["good"].scores["preference"]]
    assert (values.count(1.0), values.count(0.5)) == (DIFFERENT, ROWS - DIFFERENT)
    of_rows = [shown for shown in comparer.asked if shown in {("yes", "no"), ("no", "yes")}]
    assert len(of_rows) == 2 * DIFFERENT, "the same text twice is not asked about"
    assert len(comparer.asked) == 2 * PAIRS + 2 * DIFFERENT
    (folder,) = (preferring.path / "reports").glob("*-good")
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "depend on which answer stands first" in page
    assert "0.00 [0.00, 0.14], n = 24" in page
    again = preferring.run("--candidate=good", "--max-interim-looks=4")
    assert again.status == 0, again.said
    found = preferring.record.gates[0].comparison
    assert found is not None
    assert "stopped after look" in found.reason
    judged = [score for score in trial_of(preferring).scores["preference"] if score.was_judged]
    assert len(judged) == found.n < ROWS
    assert len(comparer.asked) == 2 * PAIRS + 2 * DIFFERENT


def trial_of(project: SmallProject) -> Trial:
    (trial,) = [trial for trial in project.record.trials if trial.candidate == "good"]
    return trial


def test_each_size_and_seed_is_preferred_or_not_over_the_same_baseline(preferring: SmallProject) -> None:
    outcome = preferring.run("--candidate=good", "--sizes=10,30", "--train-seeds=0,1")
    assert outcome.status == 0, outcome.said
    trials = [trial for trial in preferring.record.trials if trial.candidate == "good"]
    assert [(t.size, t.seed, len(t.scores["preference"])) for t in trials] == [
        (size, seed, ROWS) for size in (10, 30) for seed in (0, 1)
    ]
    (of_all,) = [gate for gate in preferring.record.gates if gate.test.endswith("more rows do no harm")]
    assert of_all.state == "measured"


@pytest.mark.parametrize(
    ("gate", "told"),
    [
        ("candidate.preferred(right) > 0.5", "judges one answer at a time"),
        ("baseline.scores(better) < candidate.scores(better)", "write `candidate.preferred(x) > 0.5`"),
    ],
)
def test_a_claim_that_cannot_be_meant_says_what_to_write(
    preferring: SmallProject, gate: str, told: str
) -> None:
    file = preferring.path / "suites/support/test_support.py"
    text = file.read_text(encoding="utf-8").removesuffix(GATE)
    file.write_text(f"{text}\ndef test_it(candidate, baseline):\n    assert {gate}\n", encoding="utf-8")
    outcome = preferring.run("--candidate=good")
    assert outcome.status == 1
    assert told in outcome.said
