"""Tests as people write them in a hurry, each with the words that name what is wrong with it."""

# ruff: noqa: E501 - a table of tests reads better on long lines

from __future__ import annotations

from small_project import SUITE

HEAD = (
    SUITE.replace(
        'right = ExactMatch(name="right")',
        'right, brief = Contains(name="right"), MaxTokens(3, name="brief")',
    )
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
    "any_lazily": (
        in_test(f"assert any(one() for one in [lambda: {SHOWN}, lambda: {GUARD}])"),
        "was never made",
    ),
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
    "skipped": (
        "\n\n@pytest.mark.skip(reason='later')" + in_test(f"assert {GUARD}")[1:],
        "it was skipped: later",
    ),
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
    "of_strings": (
        in_test(f"assert {SHOWN}", "assert 'candidate.scores(brief) >= baseline.scores(brief)'"),
        "worse",
    ),
    "sorted": (
        in_test(f"assert {SHOWN}", "assert sorted([baseline.scores(brief), candidate.scores(brief)])"),
        "is shown to be worse",
    ),
    "decorated_away": (
        "\n\ndef later(test):\n    return lambda candidate, baseline: None\n\n\n@later"
        + in_test(f"assert {GUARD}")[1:],
        "it ran and claimed nothing",
    ),
    "asked_of_the_request": (
        "\n\ndef test_brief(request):\n    candidate, baseline = map(request.getfixturevalue, ('candidate', 'baseline'))\n"
        f"    assert {GUARD}\n",
        "was never made",
    ),
    "exception_first": (in_test("float('brief')", f"assert {GUARD}"), "ValueError: could not convert"),
}
CAREFUL = {
    "waived": "",
    "bound_first": in_test(f"ok = {SHOWN}", "assert ok, 'message'"),
    "walrus": in_test(f"assert (ok := {SHOWN})", "print(ok)"),
    "printed_too": in_test(f"print({SHOWN})", f"assert {SHOWN}"),
    "all_of_two": in_test(f"assert all([{SHOWN}, candidate.scores(right) > 0.5])"),
    "helper": f"\n\ndef holds(candidate, baseline):\n    assert {SHOWN}\n"
    + in_test("holds(candidate, baseline)"),
    "branches": (
        "\n\n@pytest.mark.parametrize('strict', [True, False])"
        "\ndef test_right(candidate, baseline, strict):\n    if strict:\n"
        f"        assert {SHOWN}\n    else:\n        assert candidate.scores(right) > 0.5\n"
    ),
    "in_a_class": f"\n\nclass TestRight:\n    def test_right(self, candidate, baseline):\n        assert {SHOWN}\n",
    "bar_below": in_test("assert candidate.scores(brief) < 0.5"),
    "asked_in_if": in_test(f"if not {SHOWN}:", "    pytest.fail('worse')"),
    "decorated": (
        "\n\ndef noisy(test):\n    def inner(candidate, baseline):\n        test(candidate, baseline)\n\n    return inner\n"
        f"\n\n@noisy\ndef test_right(candidate, baseline):\n    assert {SHOWN}\n"
        "\n\n@noisy\ndef test_bar(candidate, baseline):\n    assert candidate.scores(right) > 0.5\n"
    ),
    "own_fixture": (
        "\n\n@pytest.fixture\ndef both(candidate, baseline):\n    return candidate.scores(right), baseline.scores(right)\n"
        "\n\ndef test_right(both):\n    mine, theirs = both\n    assert mine >= theirs - 0.1\n"
    ),
}
CAREFUL |= {
    "factory": (
        "\n\ndef gate(score):\n    def test(candidate, baseline):\n"
        "        assert candidate.scores(score) >= baseline.scores(score) - 0.1\n\n    return test\n"
        "\n\ntest_right = gate(right)\n"
    ),
    "loop": in_test(
        "for score in (right,):", "    assert candidate.scores(score) >= baseline.scores(score) - 0.1"
    ),
    "kept_claims": in_test(
        "claims = {s.name: candidate.scores(s) >= baseline.scores(s) - 0.1 for s in (right,)}",
        "assert not [name for name, claim in claims.items() if not claim]",
    ),
    "called_inside": in_test(
        "def holds(candidate, baseline):", f"    assert {SHOWN}", "", "holds(candidate, baseline)"
    ),
}


NEVER = {
    "worse_and_return": (
        in_test("if candidate.scores(brief) < baseline.scores(brief):", "    return"),
        "claims that the baseline is the better one",
    ),
    "swapped": (in_test("assert baseline.scores(brief) >= candidate.scores(brief) - 0.05"), "more is better"),
    "swapped_and_shifted": (
        in_test("assert baseline.scores(brief) + 0.1 > candidate.scores(brief)"),
        "more is better",
    ),
    "not_worse": (in_test("assert not candidate.scores(brief) < baseline.scores(brief)"), "more is better"),
    "in_names": (
        in_test(
            "mine = candidate.scores(brief)",
            "theirs = baseline.scores(brief)",
            "assert mine <= theirs + 0.05",
        ),
        "more is better",
    ),
    "itself": (in_test("assert candidate.scores(brief) >= candidate.scores(brief) - 0.1"), "with itself"),
    "baseline_itself": (
        in_test("assert baseline.scores(brief) >= baseline.scores(right) - 0.1"),
        "with itself",
    ),
    "bar_of_the_baseline": (in_test("assert baseline.scores(brief) > 0.5"), "the baseline with a number"),
    "points": (
        in_test("assert candidate.scores(brief) >= baseline.scores(brief) - 5"),
        "a loss of 500 points",
    ),
    "nearly_all": (
        in_test("assert candidate.scores(brief) >= baseline.scores(brief) - 0.999999"),
        "a margin of",
    ),
    "added_to_the_wrong_side": (
        in_test("assert candidate.scores(brief) + 0.9 >= baseline.scores(brief)"),
        "a margin of 0.9",
    ),
    "two_of_one_name": (
        f"\n\ndef test_better(candidate, baseline):\n    assert {GUARD}\n" + BETTER,
        "test_better is written again on line",
    ),
    "two_of_one_name_in_a_class": (
        f"\n\nclass TestIt:\n    def test_a(self, candidate, baseline):\n        assert {GUARD}\n\n"
        f"    def test_a(self, candidate, baseline):\n        assert {SHOWN}\n",
        "test_a is written again on line",
    ),
    "not_named_test": (
        in_test(f"assert {GUARD}").replace("test_brief", "brief_test"),
        "brief_test tests a candidate",
    ),
    "class_not_named_test": (
        f"\n\nclass Brief:\n    def test_brief(self, candidate, baseline):\n        assert {GUARD}\n",
        "pytest does not collect it",
    ),
    "method_not_named_test": (
        f"\n\nclass TestIt:\n    def brief(self, candidate, baseline):\n        assert {GUARD}\n",
        "pytest does not collect it",
    ),
    "given_to_the_helpers": (
        in_test("assert_not_worse(baseline.scores(brief), candidate.scores(brief), margin=0.05)"),
        "more is better",
    ),
    "given_to_the_helpers_in_points": (
        in_test("assert_not_worse(candidate.scores(brief), baseline.scores(brief), margin=5)"),
        "a loss of 500 points",
    ),
    "marked_as_no_test": (
        in_test(f"assert {GUARD}") + "\n\ntest_brief.__test__ = False\n",
        "does not collect it",
    ),
    "class_marked_as_no_test": (
        f"\n\nclass TestBrief:\n    __test__ = False\n\n    def test_brief(self, candidate):\n        assert {GUARD}\n",
        "does not collect it",
    ),
    "never_true": (
        f"\n\nif False:\n\n    def test_brief(candidate, baseline):\n        assert {GUARD}\n",
        "not collect it",
    ),
    "deleted": (in_test(f"assert {GUARD}") + "\n\ndel test_brief\n", "does not collect it"),
    "own_parameter": (
        "\n\n@pytest.mark.parametrize('candidate', ['carol'])\ndef test_brief(candidate, baseline):\n"
        f"    if candidate != 'carol':\n        assert {GUARD}\n",
        "a parameter of its own",
    ),
    "own_candidate": (in_test(f"assert {GUARD}"), "takes the place of the harness's own candidate"),
    "own_baseline": (
        "\n\n@pytest.fixture\ndef baseline(candidate):\n    return candidate\n" + in_test(f"assert {GUARD}"),
        "takes the place of the harness's own baseline",
    ),
    "module_marked_as_no_test": ("", "test_mail tests a candidate, and pytest does not collect it"),
    "inside_another": (
        "\n\ndef test_all():" + in_test(f"assert {GUARD}").replace("\n", "\n    "),
        "stands inside another function",
    ),
    "file_not_named_test": ("", "pytest does not collect its file (python_files: test_*.py, *_test.py)"),
}
GATE = f"\n\ndef test_mail(candidate, baseline):\n    assert {GUARD}\n"
TEST = "mail/test_mail.py"
# a second suite whose guard pytest never runs: what stands in its folder and in the one around
UNRUN: dict[str, dict[str, str]] = {
    "no_test_file": {},
    "empty_file": {TEST: ""},
    "suite_alone": {TEST: HEAD},
    "text_file": {f"{TEST}.txt": HEAD + GATE},
    "in_quotes": {TEST: f"{HEAD}\ntext = {GATE!r}\n"},
    "of_no_candidate": {TEST: "\n\ndef test_mail():\n    assert True\n"},
    "of_a_fixture": {TEST: f"{HEAD}\n\n@pytest.fixture\n{GATE.strip()}\n"},
    "ignored_file": {TEST: HEAD + GATE, "mail/conftest.py": "collect_ignore = ['test_mail.py']\n"},
    "ignored_folder": {TEST: HEAD + GATE, "conftest.py": "collect_ignore_glob = ['*_mail']\n"},
    "not_recursed": {TEST: HEAD + GATE},
}
BESIDE = {
    "module_marked_as_no_test": {"test_mail.py": f"{HEAD}__test__ = False\n{GATE}"},
    "own_candidate": {
        "conftest.py": "import pytest\n\n\n@pytest.fixture\ndef candidate():\n    return None\n"
    },
    "file_not_named_test": {
        "checks.py": f"from test_support import brief, right\n{in_test(f'assert {GUARD}')}"
    },
}
FIELDS: dict[str, tuple[str, list[object], str]] = {
    "misspelt": (
        "group='custmer'",
        ["c1", "c2"],
        "no row has the group field 'custmer'. Did you mean 'customer'?",
    ),
    "on_half": ("group='customer'", ["c1", None], "10 of 20 rows have no group field 'customer'"),
    "empty": ("group='customer'", ["c1", " "], "10 of 20 rows have no group field 'customer'"),
    "trailing_space": ("group='customer'", ["c1", "c1 "], "'c1' on line 1 and 'c1 ' on line 2"),
    "case": ("group='customer'", ["c1", "C1"], "two values by their writing alone"),
    "invisible": ("group='customer'", ["c1", "c\u200b1"], "two values by their writing alone"),
    "full_width": ("group='customer'", ["c1", "ｃ１"], "two values by their writing alone"),
    "numbers": ("group='customer'", [1, 1.0], "two values by their writing alone"),
    "whole_numbers": ("group='customer'", [1, "1.0"], "two values by their writing alone"),
    "lists": ("group='customer'", [["c1"], ["c2"]], "is a list or an object on line 1"),
    "empty_everywhere": ("group='customer'", ["", None], "It is empty on all."),
    "slice_on_half": ("slices=('customer',)", ["c1", None], "10 of 20 rows have no slice field 'customer'"),
    "slice_by_case": ("slices=('customer',)", ["en", "EN"], "two values by their writing alone"),
}
