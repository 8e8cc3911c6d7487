"""What a gate is in pytest's own terms: its letter, word, exit status, and what other options make of it."""

from __future__ import annotations

import re
from xml.etree import ElementTree as XmlTree

import pytest
from small_project import GUARD, SUITE, TARGET, Outcome, SmallProject, jsonl, rows

from harness.decision.ppi import MIN_LABELS
from harness.run.judge_backends import JudgeBackends

JUDGED = SUITE.replace("scores=(right,)", "scores=(right, meant)").replace(
    "\n\n@pytest.fixture",
    'meant = LikelihoodJudge(labels="labels.jsonl", name="meant", trust="transfer")\n\n\n@pytest.fixture',
    1,
)
ADVISORY = """
def test_meant(candidate, baseline):
    assert candidate.scores(meant) > baseline.scores(meant)
"""
GROWS = """

@harness.candidate
def grows():
    return Scripted(train="train.jsonl", reply=says(lambda size: size * 3 // 10))
"""


def letters(outcome: Outcome) -> str:
    found = re.search(r"^suites\S+ (\S+) +\[100%\]", outcome.out, re.MULTILINE)
    assert found is not None, outcome.said
    return found[1]


@pytest.fixture
def judged(project: SmallProject) -> SmallProject:
    """A suite whose second score is a judge with a hundred labels."""
    project.suite(TARGET + ADVISORY, head=JUDGED)
    labels: list[dict[str, object]] = [
        {
            "message": f"m {number}",
            "reference": f"alpha {number}",
            "reply": f"{'alpha' if good else 'beta'} {number}",
            "label": "good" if good else "bad",
        }
        for number in range(50)
        for good in (True, False)
    ]
    project.write("suites/support/labels.jsonl", jsonl(labels))
    return project


def reads(monkeypatch: pytest.MonkeyPatch, understands: bool) -> None:
    """Replace the judge's model: it finds a reference likely after a reply that holds it, or never does."""

    def logprob(self: JudgeBackends, prompts: list[tuple[str, str]]) -> list[float]:
        return [-0.5 if understands and text.strip() in context else -4.0 for context, text in prompts]

    monkeypatch.setattr(JudgeBackends, "logprob", logprob)


# --------------------------------------------------------------------------- shown and refuted
def test_a_shown_gate_passes(project: SmallProject) -> None:
    project.suite(TARGET + GUARD)
    outcome = project.run("--candidate=good")
    assert (outcome.status, outcome.last_line, letters(outcome)) == (0, "2 passed", "..")
    assert "GO: good at 30 rows" in outcome.out


def test_a_refuted_gate_fails_and_explains_itself(project: SmallProject) -> None:
    project.suite()
    outcome = project.run("--candidate=bad")
    assert (outcome.status, outcome.last_line, letters(outcome)) == (1, "1 failed", "F")
    assert "REFUTED: right of bad@30 > old@30" in outcome.out
    assert "-30.0 points [-42.9, -18.8], n=40" in outcome.out
    assert "support-0: bad@30 0 (expected 'yes', got 'no') | old@30 1" in outcome.out
    assert "NO-GO: bad at 30 rows" in outcome.out
    assert len(project.record.gates) == 1, "pytest asks again for the truth of what failed"
    assert outcome.out.count("is refuted") == 1


def test_assert_better_explains_itself_too(project: SmallProject) -> None:
    gate = """
def test_better(candidate, baseline):
    assert_better(candidate.scores(right), baseline.scores(right))
"""
    project.suite(gate)
    outcome = project.run("--candidate=bad")
    assert outcome.last_line == "1 failed"
    assert "-30.0 points [-42.9, -18.8], n=40" in outcome.out
    assert "support-0: bad@30 0 (expected 'yes', got 'no') | old@30 1" in outcome.out


def test_a_long_explanation_is_shown_whole(project: SmallProject, monkeypatch: pytest.MonkeyPatch) -> None:
    for ci in ("CI", "BUILD_NUMBER"):  # there pytest truncates nothing
        monkeypatch.delenv(ci, raising=False)
    project.conftest(
        """

@harness.candidate
def wordy():
    return Scripted(train="train.jsonl", reply=says(0, wrong="no " * 100))
"""
    )
    project.suite()
    outcome = project.run("--candidate=wordy")
    assert "Full output truncated" in outcome.out
    assert "support-11: wordy@30 0" in outcome.out


def test_the_values_of_fixtures_are_short_in_a_traceback(project: SmallProject) -> None:
    project.suite()
    assert "candidate = <bad@30 on support>" in project.run("--candidate=bad").out


# --------------------------------------------------------------------------- inconclusive
@pytest.mark.parametrize(("policy", "status"), [("release", 1), ("regression", 0)])
def test_an_inconclusive_gate_has_its_own_letter_and_word(
    project: SmallProject, policy: str, status: int
) -> None:
    project.suite(TARGET + GUARD)
    quiet = project.run("--candidate=much-the-same", f"--gate={policy}")
    assert (quiet.status, letters(quiet)) == (status, "I.")
    assert quiet.last_line == "1 passed, 1 inconclusive"
    assert "the interval holds 0" in " ".join(quiet.out.split())  # however the terminal wraps it
    assert re.search(r"test_better\S+ INCONCLUSIVE", project.run("-v", "--candidate=much-the-same").out)


def test_failed_passed_and_inconclusive_are_counted_side_by_side(project: SmallProject) -> None:
    gates = """
def test_bar(candidate):
    assert candidate.scores(right) > 0.9
"""
    project.suite(TARGET + GUARD + gates)
    outcome = project.run("--candidate=much-the-same")
    assert outcome.last_line == "1 failed, 1 passed, 1 inconclusive"
    assert outcome.status == 1


@pytest.mark.parametrize(
    ("policy", "counts"), [("release", "1 inconclusive"), ("regression", "1 passed, 1 inconclusive")]
)
def test_exitfirst_stops_at_an_inconclusive_gate_only_where_it_fails(
    project: SmallProject, policy: str, counts: str
) -> None:
    project.suite(TARGET + GUARD)
    outcome = project.run("--candidate=much-the-same", f"--gate={policy}", "-x")
    assert outcome.last_line.removesuffix(", stopping after 1 failures") == counts


def test_last_failed_repeats_an_inconclusive_gate_only_where_it_failed(project: SmallProject) -> None:
    project.suite(TARGET + GUARD)
    project.run("--candidate=much-the-same", plugins=["cache"])
    again = project.run("--candidate=much-the-same", "--lf")
    assert again.last_line == "1 deselected, 1 inconclusive"
    project.run("--candidate=much-the-same", "--gate=regression", plugins=["cache"])
    again = project.run("--candidate=much-the-same", "--gate=regression", "--lf")
    assert again.last_line == "1 passed, 1 inconclusive"


@pytest.mark.parametrize(("policy", "counted"), [("release", "failures"), ("regression", "skipped")])
def test_junit_reports_an_inconclusive_gate_as_the_policy_has_it(
    project: SmallProject, policy: str, counted: str
) -> None:
    project.suite(TARGET + GUARD)
    project.run("--candidate=much-the-same", f"--gate={policy}", "--junitxml=out.xml")
    suite = XmlTree.parse(project.path / "out.xml").getroot()[0]
    counts = {name: int(suite.attrib[name]) for name in ("tests", "failures", "errors", "skipped")}
    assert counts == {"tests": 2, "failures": 0, "errors": 0, "skipped": 0} | {counted: 1}
    every = [(child.tag, child.get("message", "")) for case in suite for child in case]
    said = [(tag, message) for tag, message in every if tag != "properties"]
    assert [tag for tag, _ in said] == [{"failures": "failure"}.get(counted, counted)]
    assert "right of much-the-same@30 > old@30" in said[0][1]


# --------------------------------------------------------------------------- measured
def test_only_the_largest_size_is_gated(project: SmallProject) -> None:
    project.conftest(GROWS)
    project.suite()
    outcome = project.run("--candidate=grows", "--sizes=2,20,30")
    assert (outcome.status, letters(outcome)) == (0, "mm.")
    assert outcome.last_line == "1 passed, 2 measured"
    *gates, harm = project.record.gates
    assert [(gate.state, gate.size) for gate in gates] == [("measured", 2), ("measured", 20), ("gated", 30)]
    assert (harm.test, harm.state) == ("support::more rows do no harm", "measured")
    assert outcome.out.count("GO: grows at") == 1  # at 2 rows the gate is refuted, and nobody minds


def test_an_error_at_a_smaller_size_is_an_error(project: SmallProject) -> None:
    gates = """
def test_odd(candidate, baseline):
    assert_better(candidate.scores(right), baseline.scores(right))
    if candidate.arm.size == 10:
        raise ValueError("not a gate's business")
"""
    project.suite(gates)
    outcome = project.run("--candidate=good", "--sizes=10,20")
    assert (outcome.status, letters(outcome)) == (1, "F.")


# --------------------------------------------------------------------------- advisory
def test_a_gate_on_a_judge_that_was_not_admitted_only_advises(
    judged: SmallProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads(monkeypatch, understands=False)
    outcome = judged.run("--candidate=good", "-v")
    assert outcome.status == 0
    assert outcome.last_line == "1 passed, 1 advisory"
    assert re.search(r"test_meant\S+ ADVISORY", outcome.out)
    assert [gate.state for gate in judged.record.gates] == ["gated", "advisory"]
    assert "GO: good at 30 rows" in outcome.out
    page = (judged.path / "reports" / judged.record.id / "report.html").read_text(encoding="utf-8")
    assert "The judge of support / meant was not admitted: its gates only advise." in page


def test_an_advisory_gate_alone_cannot_carry_a_decision(
    judged: SmallProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads(monkeypatch, understands=False)
    judged.suite(ADVISORY, head=JUDGED)
    released = judged.run("--candidate=good")
    assert (released.status, letters(released)) == (1, "A")
    assert "no target gate decides: the judge that it rests on was not admitted" in " ".join(
        released.out.split()
    )
    assert judged.run("--candidate=good", "--gate=regression").status == 0


def test_a_gate_on_an_admitted_judge_decides(judged: SmallProject, monkeypatch: pytest.MonkeyPatch) -> None:
    reads(monkeypatch, understands=True)
    outcome = judged.run("--candidate=bad")
    assert outcome.last_line == "2 failed"
    assert judged.run("--candidate=good").last_line == "2 passed"
    (admission,) = [info.admission for info in judged.record.suites[0].scores if info.admission]
    assert admission.admitted
    note = " ".join(judged.record.decisions[0].notes)
    assert "the judge meant (suite support) decides on labels from elsewhere" in note


def test_a_gate_on_a_judge_admitted_on_labels_from_elsewhere_advises_and_says_what_would_let_it_decide(
    judged: SmallProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads(monkeypatch, understands=True)
    judged.suite(TARGET + ADVISORY, head=JUDGED.replace(', trust="transfer"', ""))
    outcome = judged.run("--candidate=bad")
    assert outcome.last_line == "1 failed, 1 advisory"
    said = " ".join(outcome.out.split())
    assert "or is trusted with labels of this run only" in said
    assert "is advisory and decides nothing: its judge was admitted on labels from elsewhere" in said
    assert f"Label {MIN_LABELS} or more of this run's rows (harness label RUN)" in said
    assert "or give the judge trust='transfer'" in said
    record = judged.record
    (info,) = [info for info in record.suites[0].scores if info.admission]
    assert (info.trust, info.admission.admitted if info.admission else None) == ("run-labels", True)
    page = (judged.path / "reports" / record.id / "report.html").read_text(encoding="utf-8")
    assert "it decides once some of this run&#39;s are labelled." in page


# --------------------------------------------------------------------------- other shapes
def test_a_method_of_a_class_is_a_gate_too(project: SmallProject) -> None:
    gates = '''
class TestBetter:
    def test_better(self, candidate, baseline):
        text = """
not indented
"""
        assert candidate.scores(right) > baseline.scores(right), text
'''
    project.suite(gates)
    assert project.run("--candidate=good").last_line == "1 passed"
    assert project.record.gates[0].test == "suites/support/test_support.py::TestBetter::test_better"


def test_a_claim_inside_a_function_of_the_project_counts(project: SmallProject) -> None:
    gates = """
def require_better(candidate, baseline):
    assert candidate.scores(right) > baseline.scores(right)


def test_better(candidate, baseline):
    require_better(candidate, baseline)
"""
    project.suite(gates)
    assert project.run("--candidate=good").last_line == "1 passed"


def test_a_test_that_fails_for_another_reason_keeps_its_candidate_from_a_go(project: SmallProject) -> None:
    odd = "    raise ZeroDivisionError\n"
    project.suite(TARGET + odd)
    outcome = project.run("--candidate=good", "--gate=regression")
    assert outcome.status == 1
    assert "INCONCLUSIVE: good at 30 rows" in outcome.out
    assert "failed though what it claims is shown: ZeroDivisionError" in " ".join(outcome.out.split())
    assert project.record.gates[0].comparison is not None


def test_comparing_vectors_of_two_suites_is_refused(project: SmallProject) -> None:
    gates = """
KEPT = []


def test_better(candidate, baseline):
    KEPT.append(candidate.scores(right))
    assert candidate.scores(right) > baseline.scores(right)
"""
    project.suite(gates, name="one")
    mixed = """
from test_one import KEPT


def test_mixed(candidate, baseline):
    assert candidate.scores(right) > KEPT[0]
"""
    project.suite(mixed, name="two", held=rows("two", 30))
    outcome = project.run("--candidate=good")
    assert outcome.last_line == "1 failed, 1 passed"
    assert "suites/two/test_two.py:18: UsageError:" in outcome.out


def test_a_test_may_call_something_of_its_own_a_candidate(project: SmallProject) -> None:
    gates = """
@pytest.mark.parametrize("candidate", ["carol", "dave"])
def test_hiring(candidate):
    assert candidate
"""
    project.suite(TARGET + gates)
    assert project.run("--candidate=good").last_line == "3 passed"
    assert project.run(baseline="").last_line == "2 passed, 1 deselected"


def test_judging_in_looks_stops_on_a_clear_answer_and_says_what_it_saved(
    judged: SmallProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads(monkeypatch, understands=True)
    judged.suite(TARGET + ADVISORY, head=JUDGED, held=rows("support", 200))
    outcome = judged.run("--candidate=good", "--judge-looks=5")
    assert outcome.last_line == "2 passed"
    (gate,) = [g for g in judged.record.gates if g.test.endswith("test_meant")]
    assert gate.comparison is not None
    assert gate.comparison.n == 40
    assert "stopped after look 1 of 5 (40 of 200 rows): shown; 80% of the judge calls were saved" in (
        gate.comparison.reason
    )
    trial = next(t for t in judged.record.trials if t.candidate == "good")
    assert sum(score.was_judged for score in trial.scores["meant"]) == 40
    page = (judged.path / "reports" / judged.record.id / "report.html").read_text(encoding="utf-8")
    assert "80% of the judge calls were saved" in page


def test_a_judge_of_the_candidates_own_family_is_named_beside_the_decision(
    judged: SmallProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads(monkeypatch, understands=True)
    judged.conftest(
        """
@harness.candidate
def akin():
    return Scripted(train="train.jsonl", reply=says(9), base="SmolLM2-360M-Instruct")
"""
    )
    judged.run("--candidate=akin", "--candidate=good")
    notes = {decision.candidate: " ".join(decision.notes) for decision in judged.record.decisions}
    assert (
        "the judge meant (suite support) asks smollm2-135m, of the family of the candidate"
        " (SmolLM2-360M-Instruct)"
    ) in notes["akin"]
    assert "of the family of" not in notes["good"]


def test_a_judge_with_too_few_labels_is_named_before_it_is_asked_and_advises(
    judged: SmallProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads(monkeypatch, understands=True)
    kept = (judged.path / "suites/support/labels.jsonl").read_text(encoding="utf-8").splitlines()[:24]
    judged.write("suites/support/labels.jsonl", "\n".join(kept))
    outcome = judged.run("--candidate=good")
    assert outcome.last_line == "1 passed, 1 advisory"
    said = (
        "support: the judge meant cannot be admitted, whatever it says: its test half holds 6 good and 6 bad"
    )
    assert any(note.startswith(said) for note in judged.record.notes)
    assert said in " ".join(outcome.said.split())
    (admission,) = [info.admission for info in judged.record.suites[0].scores if info.admission]
    assert [reason.partition(" in the")[0] for reason in admission.reasons] == [
        "not enough labels: 6 good",
        "not enough labels: 6 bad",
    ]


def test_without_looks_every_row_is_judged(judged: SmallProject, monkeypatch: pytest.MonkeyPatch) -> None:
    reads(monkeypatch, understands=True)
    judged.run("--candidate=good")
    trial = next(t for t in judged.record.trials if t.candidate == "good")
    assert all(score.was_judged for score in trial.scores["meant"])
