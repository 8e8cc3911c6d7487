"""One line says who judges: the same suite by a check, a local judge, hosted ones, and a class of one's own.

Every one of them reaches a gate that labels of the run's own answers correct.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from importlib import import_module

import numpy as np
import pytest
from small_project import SmallProject, jsonl, rows

from harness.records import Json, LabelFile, RunRecord, Trial
from harness.run.deciding import decide_with_labels
from harness.run.judge_backends import JudgeBackends
from harness.scoring.run_labels import answer_digest, parse_run_labels
from harness.testing.fake_openai import CHAT, ScriptedBackend, running_fake_openai
from harness.testing.fake_openai.backend import Question

# pytester forgets what a run was the first to import; these cannot be imported twice
for name in ("openai", "anyio", "httpx2", "httpcore2", "starlette", "uvicorn"):
    import_module(name)

RUBRIC = 'Rubric(MODEL, "It says yes.", labels="labels.jsonl", name="{name}")'
JUDGES = {
    "words": "TokenF1()",
    "near": 'Similarity(labels="labels.jsonl")',
    "tuned": 'TunedJudge(labels="labels.jsonl")',
    "clear": RUBRIC.format(name="clear"),
    "jury": f'Panel(({RUBRIC.format(name="one")}, Similarity(labels="labels.jsonl"), Shortest()))',
    "own": "Shortest()",
    "better": 'Pairwise(MODEL, "It says yes.", labels="pairs.jsonl")',
}
SUITE = """
import pytest
from judges import MODEL, Shortest

from harness import Pairwise, Panel, Rubric, Similarity, Suite, TokenF1, TunedJudge

judge = {judge}


@pytest.fixture(scope="module")
def suite():
    return Suite(heldout="heldout.jsonl", scores=(judge,))


def test_it(candidate, baseline):
    assert {claim}
"""
OWN = '''
from dataclasses import dataclass

from harness import RemoteModel
from harness.records import Kind, Score
from harness.scoring.admission import admit

MODEL = RemoteModel("{chat}", base_url="{url}", profile="twin", api_key_env="HARNESS_TEST_KEY")


@dataclass(frozen=True)
class Shortest:
    """A judge that derives from nothing: its members are those of `harness.scoring.judges.Judge`."""

    name: str = "shortest"
    kind = Kind.BINARY

    def spec(self):
        return {{"check": "Shortest"}}

    def bind(self, read):
        return self

    def require_ready(self, oracle):
        pass

    def estimate(self, rows):
        return None

    def redirected(self, url):
        return self

    def calibrated(self, oracle):
        truth = [k % 2 == 0 for k in range(60)]
        return Calibrated(self.name, admit(self.name, truth, truth, threshold=0.5, n_calibration=0))


@dataclass(frozen=True)
class Calibrated:
    name: str
    admission: object

    def score_many(self, rows, answers, oracle):
        return [Score(float(len(answer.text) == 3), "of three letters") for answer in answers]
'''
ROWS, LABELLED = 30, 26
SAID = (("yes", "no"), ("no", "yes"))


class Letters:
    """An encoder in place of the model's."""

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        counted = [[text.count("y"), text.count("n"), 0.1] for text in texts]
        return np.array(counted, dtype=np.float32)


def judged(question: Question) -> str:
    """Whether the texts in the tags say yes, as a grade or as a verdict."""
    parts = question.last.split("\n")
    said = [
        parts[at + 1] for at, line in enumerate(parts) if line.startswith(("<answer-", "<first-", "<second-"))
    ]
    if len(said) == 1:
        return json.dumps({"reason": "so", "score": 5 if said[0].startswith("yes") else 1})
    first, second = (one.startswith("yes") for one in said[:2])
    return json.dumps(
        {"reason": "so", "verdict": "tie" if first == second else "first" if first else "second"}
    )


@pytest.fixture
def judges(project: SmallProject, monkeypatch: pytest.MonkeyPatch) -> Iterator[SmallProject]:
    """A suite for each judge; they differ in one line, and for a judge of pairs in the claim."""
    monkeypatch.setenv("HARNESS_TEST_KEY", "sk-planted-77aa")
    monkeypatch.setattr(JudgeBackends, "embedder", lambda self, model="": Letters())
    monkeypatch.setattr(JudgeBackends, "token_logprobs", lambda self, prompts: [[-1.0, -2.0]] * len(prompts))
    monkeypatch.chdir(project.path)
    pairs: list[dict[str, object]] = [
        {"message": f"m {k}", "first": f"{one} {k}", "second": f"{other} {k}", "label": "first"}
        if k % 2 == 0
        else {"message": f"m {k}", "first": f"{one} {k}", "second": f"{other} {k}", "label": "second"}
        for k, (one, other) in ((k, SAID[k % 2]) for k in range(8))
    ]
    labels: list[dict[str, object]] = [
        {"message": f"m {k}", "reference": "yes", "reply": f"{said} {k}", "label": label}
        for k, (said, label) in ((k, (("yes", "good"), ("no", "bad"))[k % 2]) for k in range(20))
    ]
    with running_fake_openai(backend=ScriptedBackend(judged)) as url:
        project.write("judges.py", OWN.format(chat=CHAT, url=url))
        for folder, judge in JUDGES.items():
            is_pair = judge.startswith("Pairwise")
            claim = (
                "candidate.preferred(judge) > 0.5"
                if is_pair
                else "candidate.scores(judge) > baseline.scores(judge)"
            )
            project.suite(
                "", name=folder, head=SUITE.format(judge=judge, claim=claim), held=rows(folder, ROWS)
            )
            project.write(f"suites/{folder}/labels.jsonl", jsonl(labels))
            project.write(f"suites/{folder}/pairs.jsonl", jsonl(pairs))
        yield project


def run_labels(record: RunRecord) -> list[dict[str, Json]]:
    """What people would say of the first rows: yes is good."""
    lines: list[dict[str, Json]] = []
    for suite in record.suites:
        sides = {trial.candidate: trial for trial in record.trials if trial.suite == suite.name}
        (score,) = suite.scores
        is_pair = score.kind == "preference"

        def label(trial: Trial, at: int, *, is_pair: bool = is_pair, old: Trial = sides["old"]) -> str:
            good = trial.answers[at].text == "yes"
            if not is_pair:
                return "good" if good else "bad"
            other = old.answers[at].text == "yes"
            return "tie" if good == other else "first" if good else "second"

        for trial in [sides["good"]] if is_pair else sides.values():
            lines += [
                {
                    "run": record.id,
                    "suite": suite.name,
                    "score": score.name,
                    "row": answer.row_id,
                    "side": trial.label,
                    "seed": trial.seed,
                    "answer": answer_digest(answer.text),
                    "label": label(trial, at),
                    "probability": LABELLED / ROWS,
                    **({"against": sides["old"].label} if is_pair else {}),
                }
                for at, answer in enumerate(trial.answers[:LABELLED])
            ]
    return lines


def test_every_judge_reaches_a_corrected_gate(judges: SmallProject) -> None:
    outcome = judges.run("--candidate=good")
    record = judges.record
    states = {gate.suite: gate.state for gate in record.gates}
    assert states == {suite: "gated" if suite == "words" else "advisory" for suite in JUDGES}, outcome.said
    labels = parse_run_labels(jsonl(run_labels(record)), "labels.jsonl")
    found = decide_with_labels(record, labels, [LabelFile("labels.jsonl", "ab" * 32, len(labels))], "decide")
    assert [gate.state for gate in found.gates] == ["gated"] * len(JUDGES)
    assert all(gate.correction is not None and gate.correction.n == ROWS for gate in found.gates)
    assert found.decisions[0].verdict == "GO"
