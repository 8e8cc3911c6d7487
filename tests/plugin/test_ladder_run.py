"""``--ladder``: the cheapest candidate whose gates all hold, and nothing spent on what need not be tried."""

from __future__ import annotations

import re

import pytest
from small_project import GUARD, SUITE, TARGET, SmallProject
from test_xdist import JUDGE

RUNGS = """
from dataclasses import dataclass
from harness import RemoteModel
from harness.errors import BudgetReached, TrainingError


@dataclass(frozen=True, kw_only=True)
class Noted(Scripted):
    '''Says when it is trained, and may fail at it.'''

    failing: str = ""

    def prepare(self, lab, variant):
        if variant.size == 30:
            log(f"trained-{variant.name}-{variant.size}")
        if self.failing == "cap":
            raise BudgetReached(1.0, 1.0, 0.0, 0.5)
        if self.failing:
            raise TrainingError(self.failing)
        return super().prepare(lab, variant)


def rung(name, rank, right, failing=""):
    return Noted(train="train.jsonl", reply=says(right), base=name, cost_rank=rank, failing=failing)


@harness.candidate
def first():
    return rung("first", 0, 0)


@harness.candidate
def no_key():
    return FewShot(model=RemoteModel("gpt-4.1", api_key_env="NO_SUCH_KEY"), train="train.jsonl", shots=2)


@harness.candidate
def second():
    return rung("second", 2, 9)


@harness.candidate
def third():
    return rung("third", 3, 9, failing=FAILING)
"""
BAR = """
def test_bar(candidate):
    assert candidate.scores(right) > 0.5
"""
CHOSEN = tuple(f"--candidate={name}" for name in ("old", "first", "no-key", "second", "third"))


@pytest.fixture
def rungs(project: SmallProject) -> SmallProject:
    project.conftest(f"FAILING = ''\n{RUNGS}")
    project.suite(TARGET + BAR)
    project.suite(GUARD, name="other")
    return project


def outcomes(project: SmallProject) -> dict[str, str]:
    ladder = project.record.ladder
    assert ladder is not None
    return {rung.candidate: rung.outcome for rung in ladder.rungs}


def trained(project: SmallProject) -> list[str]:
    return [line for line in project.asked if line.startswith("trained")]


def test_it_ends_at_the_first_that_holds_and_says_so(rungs: SmallProject) -> None:
    outcome = rungs.run("--ladder", *CHOSEN, "-v", "-rs", "-x", "--sizes=10,30")
    assert outcome.status == 0, outcome.said
    ladder = rungs.record.ladder
    assert ladder is not None
    assert [rung.label for rung in ladder.rungs] == ["first@30", "second@30", "third@30", "no-key", "old@30"]
    assert [*outcomes(rungs).values()] == ["fails", "holds", "not tried", "not tried", "fails"]
    assert (ladder.answer, ladder.mode) == ("second@30", "first")
    assert ladder.level == pytest.approx(0.05 / 3)  # neither the baseline's nor that without a key is a try
    assert trained(rungs)[0] == "trained-first-30"
    assert not [line for line in trained(rungs) if "third" in line]
    order = outcome.said.index("1. first@30 (scripted, first)")  # printed before the first rung is asked
    assert order < outcome.said.index("rung 1 of 5, first@30: NO-GO")
    assert "NO_SUCH_KEY is not set" in outcome.said
    assert "not tried: second@30 holds already" in outcome.out
    assert [decision.candidate for decision in rungs.record.decisions] == ["first", "second"]
    assert not [gate for gate in rungs.record.gates if gate.state == "missing"]
    assert "failed" not in outcome.last_line  # a gate that does not hold is what a ladder asks for


def test_all_rungs_are_tried_and_judged_as_candidates_of_one_run_are(rungs: SmallProject) -> None:
    outcome = rungs.run("--ladder=all", *CHOSEN)
    assert outcome.status == 0, outcome.said
    assert [*outcomes(rungs).values()] == ["fails", "holds", "holds", "not tried", "fails"]
    assert rungs.record.ladder is not None
    assert rungs.record.ladder.answer == "second@30"
    assert {d.candidates_judged for d in rungs.record.decisions} == {3}
    asked = len(rungs.asked)
    again = rungs.run("--ladder", "suites", *CHOSEN, "--ladder-order=third,second")  # a path after the option
    assert again.status == 0, again.said
    assert rungs.record.ladder is not None
    assert (rungs.record.ladder.answer, rungs.record.ladder.order) == ("third@30", "as set")
    assert len([line for line in rungs.asked[asked:] if "trained" not in line]) == 0


def test_where_none_holds_the_run_fails(rungs: SmallProject) -> None:
    none = rungs.run("--ladder", "--candidate=first", "--candidate=much-the-same")
    assert none.status == 1
    assert "no rung of the ladder holds" in none.out
    assert [*outcomes(rungs).values()] == ["fails", "fails"]


@pytest.mark.parametrize(("failing", "why", "status"), [("cap", "--max-usd", 1), ("no disk", "", 1)])
def test_a_cap_ends_the_ladder_and_a_rung_that_breaks_does_not(
    project: SmallProject, failing: str, why: str, status: int
) -> None:
    project.conftest(f"FAILING = {failing!r}\n{RUNGS}")
    project.suite(TARGET)
    outcome = project.run("--ladder", "--candidate=third", "--candidate=good", "--ladder-order=third")
    assert outcome.status == status, outcome.said
    ladder = project.record.ladder
    assert ladder is not None
    broken, next_ = ladder.rungs
    assert broken.outcome == "undecided"
    assert next_.outcome == ("not tried" if why else "holds")
    assert why in next_.why


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--ladder=some",), ("--ladder=some", "first", "all")),
        (("--ladder", "--ladder-order=first,,good"), ("a name is empty",)),
        (("--ladder", "--ladder-order=frist"), ("frist", "first")),
        (("--ladder", "--candidate=old"), ("there is no candidate but old",)),
    ],
)
def test_what_cannot_be_meant_is_refused_on_one_screen(
    rungs: SmallProject, options: tuple[str, ...], words: tuple[str, ...]
) -> None:
    rungs.run(*options).assert_one_screen(*words)


JUDGED = """
def test_judged(candidate, baseline):
    assert candidate.scores(affirmative) > baseline.scores(affirmative)
"""


def test_workers_run_the_other_tests_and_the_ladder_is_climbed_as_without_them(rungs: SmallProject) -> None:
    rungs.write("tests/test_others.py", "def test_plain():\n    pass\n")
    for options in (("-n0",), ("-n2", "-x")):
        outcome = rungs.run("--ladder", *CHOSEN, *options)
        assert outcome.status == 0, outcome.said
        assert outcome.last_line == "4 passed, 9 skipped, 3 refuted"
        assert [*outcomes(rungs).values()] == ["fails", "holds", "not tried", "not tried", "fails"]
        assert not [line for line in trained(rungs) if "third" in line]


def test_looks_end_the_judging_of_a_rung_at_the_level_of_the_whole_ladder(rungs: SmallProject) -> None:
    head = SUITE.replace("scores=(right,)", "scores=(right, affirmative)")
    rungs.suite(TARGET + JUDGED, head=head.replace("import pytest\n", f"import pytest\n{JUDGE}", 1))
    outcome = rungs.run("--ladder", *CHOSEN, "--max-interim-looks=4")
    assert outcome.status == 0, outcome.said
    assert [*outcomes(rungs).values()] == ["fails", "holds", "not tried", "not tried", "fails"]
    assert not [line for line in trained(rungs) if "third" in line]
    said = {gate.candidate: gate.comparison for gate in rungs.record.gates if "judged" in gate.test}
    for name, n in (("first", 20), ("second", 10)):
        found = said[name]
        assert found is not None
        assert (found.n, "stopped after look" in found.reason) == (n, True)
    assert (
        "holds at 1.67% among the 3 rungs of this ladder, 1 of them not tried"
        in rungs.record.decisions[1].reasons[0]
    )


MODELS = """
from harness import RemoteModel


def hosted(model, **given):
    return RemoteModel(model, api_key_env="NO_SUCH_KEY", **given)


@harness.candidate(params={"large": "gpt-4.1", "mini": "gpt-4o-mini-2024-07-18"})
def asked(request):
    return Prompted(model=hosted(request.param))


@harness.candidate
def few_of_mini():
    return FewShot(model=hosted("gpt-4o-mini"), train="train.jsonl", shots=2)


@harness.candidate
def unknown():
    return Prompted(model=hosted("ours", base_url="https://models.example/v1"))


@harness.candidate(params={"small": 1, "larger": 0, "tuned": 4})
def here(request):
    base = "bases/larger" if request.param == 0 else "bases/small"
    return Scripted(train="train.jsonl", reply=says(9), base=base, cost_rank=request.param)
"""


def test_the_order_is_by_size_here_then_by_price_then_what_is_trained(project: SmallProject) -> None:
    project.conftest(MODELS)
    project.suite(TARGET)
    for name, size in (("small", 100), ("larger", 5_000)):
        project.write(f"bases/{name}/model.safetensors", "x" * size)
    names = ["asked-*", "few-of-mini", "unknown", "here-*"]
    outcome = project.run("--ladder", "--plan", *(f"--candidate={name}" for name in names))
    order = "here-small here-larger asked-mini few-of-mini asked-large unknown here-tuned"
    assert re.findall(r"^ +\d\. ([a-z-]+)", outcome.out, re.MULTILINE) == order.split()
    assert "5. asked-large (prompted, gpt-4.1)" in outcome.out
