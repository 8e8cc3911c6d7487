"""The table at the end of a run, as a terminal of 80 columns shows it."""

from __future__ import annotations

from dataclasses import replace

import sample_run

from harness.report.printable import encodable
from harness.report.terminal import summary

RUN = sample_run.sample_run()


def test_at_80_columns_every_gate_of_the_example_has_a_line_of_its_own() -> None:
    names = ("general_knowledge_is_kept", "format", "intent", "urgency", "summary")
    gated = [gate for gate in RUN.gates if gate.state == "gated" and gate.comparison is not None]
    gates = tuple(replace(gated[0], test=f"suites/support/test_support.py::test_{name}") for name in names)
    lines = summary(replace(RUN, gates=gates), 80, colour=False).splitlines()
    assert all(len(line) <= 80 for line in lines)
    for name in names:
        (line,) = [line for line in lines if line.startswith(name)]
        assert gates[0].comparison is not None
        assert gates[0].comparison.outcome in line


def test_a_wide_terminal_shows_the_score_as_well() -> None:
    scores = {gate.comparison.score for gate in RUN.gates if gate.state == "gated" and gate.comparison}
    wide, narrow = summary(RUN, 120, colour=False), summary(RUN, 80, colour=False)
    assert all(score in wide.splitlines()[1] or score in wide for score in scores)
    assert " score " in wide.splitlines()[1]
    assert " score " not in narrow.splitlines()[1]


def test_a_verdict_of_a_rehearsal_says_so_in_its_own_line() -> None:
    lines = summary(replace(RUN, rehearsal=True), 200, colour=False).splitlines()
    verdicts = [line for line in lines if line.startswith(("GO: ", "NO-GO: ", "INCONCLUSIVE: "))]
    assert verdicts
    assert all("(a rehearsal: it says nothing of the real models)" in line for line in verdicts)


def test_a_terminal_without_unicode_is_shown_ascii_signs_and_keeps_its_lines() -> None:
    text = "30.0 → 90.0%, n=60 × 2 seeds…\n“naïve” 日"
    assert encodable(text, "utf-8") == text
    assert encodable(text, "latin-1") == "30.0 -> 90.0%, n=60 × 2 seeds...\n\\u201cnaïve\\u201d \\u65e5"
    assert encodable(text, "ascii").startswith("30.0 -> 90.0%, n=60 x 2 seeds...\n\\u201cna\\xefve")
    whole = summary(RUN, 80, colour=False)
    for encoding in ("latin-1", "ascii"):
        shown = encodable(whole, encoding)
        assert len(shown.splitlines()) == len(whole.splitlines())
        assert "\\u" not in shown
