"""A rubric in a run: a hosted model grades over HTTP, is admitted or not, kept, capped and rehearsed."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib import import_module

import pytest
from small_project import SUITE, TARGET, SmallProject, jsonl, rows

from harness.models.remote import RemoteModel
from harness.scoring.rubric import Rubric
from harness.testing.fake_openai import (
    CHAT,
    Faults,
    ScriptedBackend,
    running_fake_openai,
    set_twin_faults,
    twin_stats,
)
from harness.testing.fake_openai.backend import FakeReply, Question

# pytester forgets what a run was the first to import; these cannot be imported twice
for name in ("openai", "anyio", "httpx2", "httpcore2", "starlette", "uvicorn"):
    import_module(name)

SCRIPTED = "harness.testing.fake_openai.scripted_backend.ScriptedBackend"  # what a rehearsal asks
KEY = "sk-planted-5e2d81"
LABELS, ROWS = 100, 40
DIFFERENT = 24  # rows to which old and good do not say the same
BLOCK = re.compile(r"<answer-(\w+)>\n(.*)\n</answer-\1>", re.DOTALL)
RUBRIC = """
from harness import RemoteModel, Rubric

clear = Rubric(
    RemoteModel({model}),
    "It says yes.",
    labels="labels.jsonl",
    name="clear",
    trust="transfer",
)
"""
AT_TWIN = '"{model}", base_url="{url}", profile="twin", api_key_env="HARNESS_TEST_KEY"{more}'
GATE = """
def test_clear(candidate, baseline):
    assert candidate.scores(clear) > baseline.scores(clear)
"""


def graded(level: int, reason: str = "because") -> str:
    return json.dumps({"reason": reason, "score": level})


def answer_in(question: Question) -> str:
    found = BLOCK.search(question.last)
    assert found is not None, question.last
    return found[2]


def honest(answer: str) -> str:
    return graded(5 if answer.startswith("yes") else 1)


@dataclass
class Grader:
    """The model at the twin: grades by ``say`` and notes what it was asked."""

    say: Callable[[str], str | FakeReply] = honest
    asked: list[Question] = field(default_factory=list)

    def __call__(self, question: Question) -> str | FakeReply:
        self.asked.append(question)
        return self.say(answer_in(question))

    @property
    def answers(self) -> list[str]:
        return [answer_in(question) for question in self.asked]


@pytest.fixture
def grader() -> Grader:
    return Grader()


@pytest.fixture
def url(grader: Grader) -> Iterator[str]:
    with running_fake_openai(backend=ScriptedBackend(grader), aliases=["gpt-4o-mini"]) as base_url:
        yield base_url


@pytest.fixture
def judged(project: SmallProject, url: str, monkeypatch: pytest.MonkeyPatch) -> SmallProject:
    """A suite whose target rests on a rubric at the twin, with a key in the environment."""
    monkeypatch.setenv("HARNESS_TEST_KEY", KEY)
    judge(project, AT_TWIN.format(model=CHAT, url=url, more=""))
    return project


def judge(project: SmallProject, model: str, gates: str = GATE) -> None:
    """A suite with a rubric of that model, and its labels."""
    head = SUITE.replace("\n\n@pytest.fixture", RUBRIC.format(model=model) + "\n\n@pytest.fixture", 1)
    project.suite(gates, head=head.replace("scores=(right,)", "scores=(right, clear)"))
    project.write("suites/support/labels.jsonl", labels())


def labels(n: int = LABELS) -> str:
    made: list[dict[str, object]] = [
        {
            "message": f"m {number}",
            "reference": "yes",
            "reply": f"{'yes' if number % 2 else 'no'} {number}",
            "label": "good" if number % 2 else "bad",
        }
        for number in range(n)
    ]
    return jsonl(made)


# --------------------------------------------------------------------------- deciding
def test_a_rubric_that_agrees_with_its_labels_decides_and_is_asked_once(
    judged: SmallProject, grader: Grader, url: str
) -> None:
    first = judged.run("--candidate=good")
    assert first.status == 0, first.said
    record = judged.record
    assert record.decisions[0].verdict == "GO"
    (gate,) = record.gates
    assert (gate.state, gate.comparison.score if gate.comparison else None) == ("gated", "clear")
    (_, info) = record.suites[0].scores
    assert info.admission is not None
    assert info.admission.admitted
    assert (info.admission.kappa.value, info.admission.n_test) == (1.0, LABELS // 2)
    asked = len(grader.asked)
    assert asked == len({question.last for question in grader.asked}) == LABELS + ROWS + DIFFERENT
    (how,) = {(q.temperature, q.max_tokens, str(q.schema and q.schema["required"])) for q in grader.asked}
    assert how == (0.0, 400, "['reason', 'score']")
    again = judged.run("--candidate=good")
    assert again.status == 0, again.said
    assert len(grader.asked) == asked
    assert judged.record.trials[0].scores == record.trials[0].scores


def test_the_record_holds_what_the_grader_was_told_the_report_its_reasons_escaped_and_no_file_the_key(
    judged: SmallProject, grader: Grader
) -> None:
    grader.say = lambda answer: graded(5 if answer.startswith("yes") else 1, "<script>bad()</script> [x](y)")
    outcome = judged.run("--candidate=good")
    assert outcome.status == 0, outcome.said
    spec = judged.record.suites[0].scores[1].spec
    assert isinstance(spec["model"], dict)
    assert (spec["model"]["model"], spec["scale"]) == (CHAT, 5)
    assert spec["instructions"] == Rubric(RemoteModel(CHAT), "It says yes.", labels="x").instructions
    (folder,) = (judged.path / "reports").glob("*-good")
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "5 of 5: &lt;script&gt;bad()" in page
    assert "<script>bad()" not in page
    assert f"{CHAT} at http://127.0.0.1" in page
    assert "good from a score of" in page
    summary = (folder / "report.md").read_text(encoding="utf-8")
    assert "5 of 5: &#60;script&#62;bad()" in summary
    assert "<script" not in summary
    assert not re.search(r"\[[^]\n]*\]\(", summary)
    assert KEY not in outcome.said
    for file in judged.path.rglob("*"):
        assert not file.is_file() or KEY.encode() not in file.read_bytes(), file


def test_a_rubric_that_disagrees_with_its_labels_only_advises(judged: SmallProject, grader: Grader) -> None:
    grader.say = lambda answer: graded(5 if answer == "yes" else 3)  # so are none of the labels
    outcome = judged.run("--candidate=good")
    assert (outcome.status, outcome.last_line) == (1, "1 advisory"), outcome.said
    assert "INCONCLUSIVE" in outcome.out, "nothing else claims an improvement"
    record = judged.record
    assert record.gates[0].state == "advisory"
    admission = record.suites[0].scores[1].admission
    assert admission is not None
    assert not admission.admitted


def test_two_rubrics_equal_but_for_their_labels_are_calibrated_apart(
    judged: SmallProject, grader: Grader, url: str
) -> None:
    """They stand in two suites, under one file name."""
    project = judged
    head = SUITE.replace(
        "\n\n@pytest.fixture",
        RUBRIC.format(model=AT_TWIN.format(model=CHAT, url=url, more="")) + "\n\n@pytest.fixture",
        1,
    ).replace("scores=(right,)", "scores=(clear,)")
    project.suite(GATE, name="other", head=head)
    swapped = labels().replace('"good"', '"?"').replace('"bad"', '"good"').replace('"?"', '"bad"')
    project.write("suites/other/labels.jsonl", swapped)
    outcome = project.run("--candidate=good", "suites")
    found = {
        (suite.name, info.admission.admitted)
        for suite in project.record.suites
        for info in suite.scores
        if info.admission is not None
    }
    assert found == {("support", True), ("other", False)}, outcome.said


def test_with_looks_only_the_rows_that_a_claim_needs_are_judged(judged: SmallProject, grader: Grader) -> None:
    judged.suite(GATE, head=judged_head(judged), held=rows("support", 200))
    outcome = judged.run("--candidate=good", "--judge-looks=4")
    assert outcome.status == 0, outcome.said
    assert judged.record.decisions[0].verdict == "GO"
    of_rows = [question for question in grader.asked if "support" in question.last]
    assert 0 < len(of_rows) <= 2 * 150


def test_looks_go_on_for_the_level_that_candidates_left_out_leave(
    judged: SmallProject, grader: Grader
) -> None:
    judged.suite(GATE, head=judged_head(judged), held=rows("support", 200))
    many = ["--candidate=good", "--candidate=bad", "--candidate=much-the-same"]
    judged.run(*many, "--judge-looks=4")
    judged.run("--candidate=good", "--judge-looks=4")
    (alone,) = judged.record.decisions
    assert (alone.verdict, alone.candidates_judged) == ("GO", 3)
    assert alone.level == pytest.approx(0.05 / 3)


def judged_head(project: SmallProject) -> str:
    text = (project.path / "suites/support/test_support.py").read_text(encoding="utf-8")
    return text.removesuffix(GATE)


# --------------------------------------------------------------------------- failing
def test_judgments_that_fail_are_counted_and_shown_and_asked_again_by_the_next_run(
    judged: SmallProject, grader: Grader
) -> None:
    asked_for: list[str] = []

    def sometimes(answer: str) -> str | FakeReply:
        if len(asked_for) % 4 == 3 and answer in ("yes", "no"):
            asked_for.append(answer)
            return FakeReply(graded(5)[:9], 9, 400, "length")
        asked_for.append(answer)
        return honest(answer)

    grader.say = sometimes
    judged.run("--candidate=good")
    failed = [
        score.failure
        for trial in judged.record.trials
        for score in trial.scores["clear"]
        if score.failure is not None
    ]
    assert 5 <= len(failed) <= 20
    assert set(failed) == {"not judged: cut off after 400 tokens; raise the judge's max_tokens"}
    (folder,) = (judged.path / "reports").glob("*-good")
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert f"{len(failed)} scores failed" in page
    assert "raise the judge" in page
    before, grader.say = len(grader.asked), honest
    judged.run("--candidate=good")
    assert 0 < len(grader.asked) - before <= len(failed)
    assert all(s.failure is None for trial in judged.record.trials for s in trial.scores["clear"])


def test_a_service_in_trouble_still_gives_every_judgment(
    judged: SmallProject, grader: Grader, url: str
) -> None:
    faults = Faults(rate_limited=0.05, retry_after_s=0.01, server_error=0.02, dropped=0.02, seed=3)
    set_twin_faults(url, faults)
    outcome = judged.run("--candidate=good")
    assert outcome.status == 0, outcome.said
    assert all(s.value is not None for trial in judged.record.trials for s in trial.scores["clear"])


# --------------------------------------------------------------------------- money and keys
def test_a_cap_that_is_reached_in_judging_ends_inconclusive_and_a_higher_one_goes_on(
    judged: SmallProject, grader: Grader, url: str
) -> None:
    judge(judged, AT_TWIN.format(model="gpt-4o-mini", url=url, more=", concurrency=2, version='1'"))
    poor = judged.run("--candidate=good", "--max-usd=0.0012")
    assert poor.status == 1, poor.said
    assert "INCONCLUSIVE" in poor.out
    assert re.search(r"missing: [\d,]+ of \d+ judgments of gpt-4o-mini", poor.out), poor.said
    sent = len(grader.asked)
    assert 0 < sent < LABELS + ROWS + DIFFERENT
    rich = judged.run("--candidate=good", "--max-usd=5")
    assert rich.status == 0, rich.said
    prompts = [question.last for question in grader.asked]
    assert len(prompts) == len(set(prompts)), "what was paid for is not asked again"
    (line,) = judged.record.spending
    assert (line.purpose, line.model) == ("judging", "gpt-4o-mini")
    assert 0 < line.usd < 5


def test_a_grader_without_a_key_or_under_a_cap_without_a_price_is_found_before_anything_is_asked(
    project: SmallProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HARNESS_TEST_KEY", raising=False)
    far = '"gpt-4o-mini", base_url="https://judges.example/v1", api_key_env="HARNESS_TEST_KEY"'
    judge(project, far)
    project.run("--candidate=good").assert_one_screen("HARNESS_TEST_KEY is not set")
    judge(project, '"own-model", base_url="http://127.0.0.1:9/v1"')
    project.run("--candidate=good", "--max-usd=5").assert_one_screen("own-model", "economics.toml")


# --------------------------------------------------------------------------- rehearsing
def test_a_rehearsal_asks_judges_at_the_twin_and_nobody_else(
    project: SmallProject, grader: Grader, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    rehearsed = Grader()
    monkeypatch.setattr(SCRIPTED, lambda script: ScriptedBackend(rehearsed))
    monkeypatch.setenv("OPENAI_BASE_URL", url)
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    judge(project, '"gpt-4o-mini"')
    before = twin_stats(url)
    outcome = project.run("--candidate=good", "--rehearse")
    assert outcome.status == 0, outcome.said
    assert "GO: good at 30 rows" in outcome.out
    assert rehearsed.asked
    assert {question.model for question in rehearsed.asked} == {"gpt-4o-mini"}
    assert (grader.asked, twin_stats(url)) == ([], before)
    assert project.record.suites[0].scores[1].spec["model"] != {}
    assert not (project.path / ".harness" / "answers.sqlite").exists()
    asked = len(rehearsed.asked)
    assert project.run("--candidate=good", "--rehearse").status == 0
    assert len(rehearsed.asked) == asked, "a second rehearsal finds what the first was told"


def test_a_check_beside_the_rubric_still_decides_what_it_decides(judged: SmallProject, url: str) -> None:
    judge(judged, AT_TWIN.format(model=CHAT, url=url, more=", batch=True"), gates=TARGET + GATE)
    outcome = judged.run("--candidate=good")
    assert (outcome.status, outcome.last_line) == (0, "2 passed"), outcome.said
    assert twin_stats(url)["batches"] != 0


# --------------------------------------------------------------------------- moving
def test_a_grader_that_moved_only_advises_and_the_candidate_does_not_fail_for_it(
    judged: SmallProject, grader: Grader, url: str
) -> None:
    """Its name pins nothing. It tells good from bad as well as before, one level lower."""
    judge(judged, AT_TWIN.format(model="gpt-4o-mini", url=url, more=""))
    assert judged.run("--candidate=good").status == 0
    grader.say = lambda answer: graded(4 if answer.startswith("yes") else 1, f"of {len(grader.asked)}")
    moved = judged.run("--candidate=good")
    assert "1 advisory" in moved.last_line, moved.said
    assert "the judge clear is not admitted: its anchors moved by" in moved.said
    admission = judged.record.suites[0].scores[1].admission
    assert admission is not None
    assert admission.anchors is not None
    assert admission.anchors.moved
    page = (max((judged.path / "reports").glob("*-good")) / "report.md").read_text(encoding="utf-8")
    assert "anchors moved by" in page
