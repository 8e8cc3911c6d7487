"""What a run's record says was billed is what the service billed."""

from __future__ import annotations

import json
import random
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from importlib import import_module

import pytest
from small_project import SUITE, Row, SmallProject, jsonl
from stub_service import Body, Service, asked, error, said, serving

from harness.decision.prices import call_usd, price_of

# pytester forgets what a run was the first to import; these cannot be imported twice
for name in ("openai", "anyio", "httpx2", "httpcore2", "starlette", "uvicorn"):
    import_module(name)

BASE, TUNED = "gpt-4o-mini", "ft:gpt-4o-mini:us::1"
CANDIDATES = """

def hosted(model, **given):
    return harness.RemoteModel(model, base_url={url!r}, profile="twin", **given)


@harness.candidate
def base():
    return Prompted(model=hosted({base!r}))


@harness.candidate
def tuned():
    return Prompted(model=hosted({tuned!r}, concurrency=4))
"""
RUBRIC = """
from harness import RemoteModel, Rubric

grader = RemoteModel({base!r}, base_url={url!r}, profile="twin")
clear = Rubric(grader, "It says yes.", labels="labels.jsonl", name="clear")
"""
GATE = """
def test_better(candidate, baseline):
    assert candidate.scores(right) > baseline.scores(right)
"""


@dataclass
class Biller:
    """Answers at random lengths, sometimes "too many", and adds up what it bills by purpose and model."""

    rng: random.Random = field(default_factory=lambda: random.Random(3))
    calls: Counter[tuple[str, str]] = field(default_factory=Counter)
    read: Counter[tuple[str, str]] = field(default_factory=Counter)
    written: Counter[tuple[str, str]] = field(default_factory=Counter)
    usd: defaultdict[tuple[str, str], float] = field(default_factory=lambda: defaultdict(float))

    def reply(self, body: Body) -> Body:
        model, is_judge = str(body["model"]), "response_format" in body
        place = "judging" if is_judge else "answers", model
        read, written = self.rng.randint(5, 20), self.rng.randint(1, 8)
        cached = self.rng.randint(0, read)
        self.calls[place] += 1
        self.read[place] += read
        self.written[place] += written
        self.usd[place] += call_usd(price_of(model, tuned=False), read, written, cached)
        number = int("".join(filter(str.isdigit, asked(body))) or 0)
        text = "yes" if model == TUNED or number % 3 else "no"
        if is_judge:
            text = json.dumps({"reason": "because", "score": 5})
        details = {"cached_tokens": cached}
        return said(text, prompt_tokens=read, completion_tokens=written, prompt_tokens_details=details)


def test_the_record_s_bills_are_those_of_the_service(
    project: SmallProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    biller = Biller()
    busy = error(429, headers={"retry-after-ms": "1"})
    service = Service(
        reply=biller.reply,
        script=lambda body, number: busy if number == 1 and biller.rng.random() < 0.2 else None,
    )
    with serving(service):
        project.conftest(CANDIDATES.format(url=service.base_url, base=BASE, tuned=TUNED))
        head = SUITE.replace(
            "\n\n@pytest.fixture", RUBRIC.format(url=service.base_url, base=BASE) + "\n\n@pytest.fixture", 1
        )
        project.suite(GATE, head=head.replace("scores=(right,)", "scores=(right, clear), max_tokens=8"))
        label: Row = {"message": "m", "reference": "yes"}
        labels: list[Row] = [
            {**label, "reply": f"yes {k}", "label": ("bad", "good")[k % 2]} for k in range(24)
        ]
        project.write("suites/support/labels.jsonl", jsonl(labels))
        outcome = project.run("--candidate=tuned", "--max-usd=0.5", baseline="base")
    record = project.record
    assert record.max_usd == 0.5, outcome.said
    assert {("answers", BASE), ("answers", TUNED), ("judging", BASE)} == biller.calls.keys()
    assert {(line.purpose, line.model) for line in record.spending} == biller.calls.keys()
    assert len(service.bodies) > sum(biller.calls.values()), "some calls were turned away, and not billed"
    for line in record.spending:
        place = line.purpose, line.model
        assert line.is_tuned == (line.model == TUNED)
        assert line.calls == biller.calls[place]
        assert (line.prompt_tokens, line.completion_tokens) == (biller.read[place], biller.written[place])
        assert line.usd == pytest.approx(biller.usd[place], abs=1e-9)

    again = project.run("--candidate=tuned", "--max-usd=0.000001", baseline="base")
    assert project.record.spending == (), again.said
