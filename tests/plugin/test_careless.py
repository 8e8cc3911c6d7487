"""Careless but ordinary tests: none of them ends in GO, and what is written with care still does.

``wordy`` is better at ``right`` and plainly worse at ``brief``, which its suite means to guard.
"""

from __future__ import annotations

import pytest
from small_project import SUITE, SmallProject, rows

CONFTEST = """
import harness
from harness.testing import Scripted

pytest_plugins = ["harness.plugin"]


from words import reply


@harness.candidate
def old():
    return Scripted(train="train.jsonl", reply=reply(3, False))


@harness.candidate
def wordy():
    return Scripted(train="train.jsonl", reply=reply(9, True), base="wordy")


@harness.candidate
def terse():
    return Scripted(train="train.jsonl", reply=reply(9, False), base="terse")
"""
WORDS = """
def reply(right, wordy):
    def said(prompt, size):
        number = int(prompt.row_id.rpartition("-")[2])
        return ("yes" if number % 10 < right else "no") + (" indeed my dear old friend" if wordy else "")

    return said
"""
OWN = CONFTEST.partition("@harness")[0].replace('pytest_plugins = ["harness.plugin"]', "")
HEAD = (
    SUITE.replace('right = ExactMatch(name="right")', 'right, brief = Contains(name="right"), MaxTokens(3, name="brief")')
    .replace("import Contains, ", "import Contains, MaxTokens, ")
    .replace("(right,)", "(right, brief)")
)
WAIVED = HEAD.replace("(right, brief)", "(right, brief), may_drop=('brief',)")
BETTER = """
def test_better(candidate, baseline):
    assert candidate.scores(right) > baseline.scores(right)

"""
GUARD = "candidate.scores(brief) >= baseline.scores(brief) - 0.05"
SHOWN = "candidate.scores(right) >= baseline.scores(right) - 0.1"


def in_test(*lines: str) -> str:
    return "\n\ndef test_brief(candidate, baseline):\n" + "".join(f"    {line}\n" for line in lines)


# what happens only when the tests run: the words that the decision names it by
RUNS = {
    "claim_kept": (in_test(f"assert {SHOWN}", f"ok = {GUARD}"), "made on line"),
    "assert_forgotten": (in_test(f"assert {SHOWN}", GUARD), "made on line"),
    "printed": (in_test(f"assert {SHOWN}", f"print({GUARD})"), "never asserted"),
    "formatted": (in_test(f"assert {SHOWN}", f"print(f'brief: {{{GUARD}}}')"), "never asserted"),
    "not_none": (in_test(f"assert {SHOWN}", f"assert ({GUARD}) is not None"), "never asserted"),
    "tuple": (in_test(f"assert {SHOWN}", f"assert ({GUARD}, 'must be brief')"), "never asserted"),
    "in_list": (in_test(f"assert {SHOWN}", f"assert [{GUARD}]"), "never asserted"),
    "in_dict": (in_test(f"assert {SHOWN}", f"assert {{'brief': {GUARD}}}"), "never asserted"),
    "isinstance": (in_test(f"assert {SHOWN}", f"assert isinstance({GUARD}, object)"), "never asserted"),
    "outcome_not_refuted": (in_test(f"assert {SHOWN}", f"assert ({GUARD}).outcome"), "never asserted"),
    "or_shown": (in_test(f"assert {SHOWN} or {GUARD}"), "was never made"),
    "or_true": (in_test(f"assert {SHOWN}", f"assert True or {GUARD}"), "was never made"),
    "any": (in_test(f"assert any([{SHOWN}, {GUARD}])"), "never asserted"),
    "any_lazily": (in_test(f"assert any(one() for one in [lambda: {SHOWN}, lambda: {GUARD}])"), "was never made"),
    "all_of_none": (in_test(f"assert {SHOWN}", f"assert all({GUARD} for _ in ())"), "was never made"),
    "returns_early": (in_test(f"if {SHOWN}:", "    return", f"assert {GUARD}"), "was never made"),
    "after_return": (in_test(f"assert {SHOWN}", "return", f"assert {GUARD}"), "was never made"),
    "inner_function": (in_test(f"assert {SHOWN}", "def later():", f"    assert {GUARD}"), "was never made"),
    "kept_scores": (
        in_test(
            f"assert {SHOWN}",
            "mine, theirs = candidate.scores(brief), baseline.scores(brief)",
            "if mine is None:",
            "    assert mine >= theirs - 0.05",
        ),
        "was never made",
    ),
    "below_and_return": (
        in_test("if candidate.scores(brief) < 0.5:", "    return", f"assert {GUARD}"),
        "asked for on line",
    ),
    "below_and_print": (
        in_test(f"assert {SHOWN}", "if candidate.scores(brief) < 0.5:", "    print('wordy')"),
        "asked for on line",
    ),
    "swallowed": (in_test("try:", f"    assert {GUARD}", "except AssertionError:", "    pass"), "is refuted"),
    "expected_to_raise": (
        in_test("with pytest.raises(AssertionError):", f"    assert {GUARD}"),
        "is refuted",
    ),
    "swallowed_error": (
        in_test(
            f"assert {SHOWN}",
            "a, b = candidate, baseline",
            "try:",
            "    assert b.scores(brief) >= a.scores(brief) - 0.05",
            "except Exception:",
            "    pass",
        ),
        "was never made",
    ),
    "skipped": ("\n\n@pytest.mark.skip(reason='later')" + in_test(f"assert {GUARD}")[1:], "it was skipped: later"),
    "skips_itself": (in_test("pytest.skip('no time')", f"assert {GUARD}"), "it was skipped: no time"),
    "expected_to_fail": ("\n\n@pytest.mark.xfail" + in_test(f"assert {GUARD}")[1:], "is refuted"),
    "not_run": (
        "\n\n@pytest.mark.xfail(run=False, reason='flaky')" + in_test(f"assert {GUARD}")[1:],
        "is missing",
    ),
    "no_parameters": (
        "\n\n@pytest.mark.parametrize('margin', [])"
        "\ndef test_brief(candidate, baseline, margin):\n    assert " + GUARD.replace("0.05", "margin"),
        "it was skipped: got empty parameter set",
    ),
    "fixture_fails": (
        "\n\n@pytest.fixture\ndef margin():\n    raise OSError('no such drive')\n"
        "\n\ndef test_brief(candidate, baseline, margin):\n    assert " + GUARD.replace("0.05", "margin"),
        "OSError: no such drive",
    ),
    "by_hand": (
        in_test(
            f"assert {SHOWN}",
            "def mean(side):",
            "    values = side.scores(brief).vector.values",
            "    return sum(values) / len(values)",
            "assert mean(candidate) >= mean(baseline) - 2",
        ),
        "is shown to be worse, and no gate compares it",
    ),
    "never_asked": ("", "is shown to be worse, and no gate compares it"),
    "held_by_a_bar": (in_test("assert candidate.scores(brief) >= 0.0"), "brief"),
    "unused_helper": (
        f"\n\ndef is_brief(candidate, baseline):\n    assert {GUARD}\n\n\nCHECKS = [is_brief]\n",
        "was never made",
    ),
    "lambda_never_called": (in_test(f"assert {SHOWN}", f"check = lambda: {GUARD}"), "was never made"),
    "of_strings": (in_test(f"assert {SHOWN}", "assert 'candidate.scores(brief) >= baseline.scores(brief)'"), "worse"),
    "sorted": (
        in_test(f"assert {SHOWN}", "assert sorted([baseline.scores(brief), candidate.scores(brief)])"),
        "is refuted",
    ),
    "exception_first": (in_test("float('brief')", f"assert {GUARD}"), "ValueError: could not convert"),
    "skipped_file": ("\n\npytest.importorskip('no_such_module')\n" + in_test(f"assert {GUARD}"), "no_such_module"),
}
CAREFUL = {
    "waived": (WAIVED, ""),
    "bound_first": (WAIVED, in_test(f"ok = {SHOWN}", "assert ok, 'message'")),
    "walrus": (WAIVED, in_test(f"assert (ok := {SHOWN})", "print(ok)")),
    "printed_too": (WAIVED, in_test(f"print({SHOWN})", f"assert {SHOWN}")),
    "all_of_two": (WAIVED, in_test(f"assert all([{SHOWN}, candidate.scores(right) > 0.5])")),
    "helper": (WAIVED, f"\n\ndef holds(candidate, baseline):\n    assert {SHOWN}\n" + in_test("holds(candidate, baseline)")),
    "branches": (
        WAIVED,
        "\n\n@pytest.mark.parametrize('strict', [True, False])"
        "\ndef test_right(candidate, baseline, strict):\n    if strict:\n"
        f"        assert {SHOWN}\n    else:\n        assert candidate.scores(right) > 0.5\n",
    ),
    "in_a_class": (WAIVED, f"\n\nclass TestRight:\n    def test_right(self, candidate, baseline):\n        assert {SHOWN}\n"),
    "bar_below": (WAIVED, in_test("assert candidate.scores(brief) < 0.5")),
    "asked_in_if": (WAIVED, in_test(f"if not {SHOWN}:", "    pytest.fail('worse')")),
    "own_fixture": (
        WAIVED,
        "\n\n@pytest.fixture\ndef both(candidate, baseline):\n    return candidate.scores(right), baseline.scores(right)\n"
        "\n\ndef test_right(both):\n    mine, theirs = both\n    assert mine >= theirs - 0.1\n",
    ),
}


def add(project: SmallProject, name: str, head: str, gates: str) -> None:
    """A suite with a candidate of its own, so that one run decides each case for itself."""
    project.suite(BETTER + gates, name=name, head=head, held=rows(name, 80))
    if name == "skipped_file":
        project.write(f"suites/{name}/test_{name}.py", head + gates)
        project.write(f"suites/{name}/test_others.py", head + BETTER)
    answer = "reply(9, True)"
    project.write(
        f"suites/{name}/conftest.py",
        OWN + f"\n@harness.candidate\ndef own_{name}():\n"
        f"    return Scripted(train='../../train.jsonl', reply={answer}, base='{name}')\n",
    )


@pytest.fixture
def careless(project: SmallProject) -> SmallProject:
    project.write("conftest.py", CONFTEST)
    project.write("words.py", WORDS)
    return project


def test_what_no_assert_asks_is_named_and_never_go(careless: SmallProject) -> None:
    for name, (gates, _) in RUNS.items():
        add(careless, name, HEAD, gates)
    for name, (head, gates) in CAREFUL.items():
        add(careless, name, head, gates)
    outcome = careless.run("--candidate=own-*", "-W", "ignore:assertion is always true")
    decisions = {d.candidate.removeprefix("own-").replace("-", "_"): d for d in careless.record.decisions}
    assert decisions.keys() == RUNS.keys() | CAREFUL.keys(), outcome.said
    went = {name: decisions[name].reasons for name in RUNS if decisions[name].verdict == "GO"}
    stayed = {name: decisions[name].reasons for name in CAREFUL if decisions[name].verdict != "GO"}
    unnamed = {n: decisions[n].reasons for n, (_, words) in RUNS.items() if words not in " ".join(decisions[n].reasons)}
    assert (went, stayed, unnamed) == ({}, {}, {})
    assert outcome.status == 1
    assert "never asserted" in outcome.out
