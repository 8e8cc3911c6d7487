from __future__ import annotations

import re
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st
from sample_run import hostile_run, sample_run

from harness.report import numbers
from harness.report.markdown import plain, render_markdown

HOSTILE = "a | b\n# c <script>x</script> `d` [e](https://evil.example) @team ![i](//x) ~~s~~ \\|"


def test_the_decision_opens_the_summary_and_its_gates_follow() -> None:
    run = sample_run()
    text = render_markdown(run)
    lines = text.splitlines()
    assert lines[0] == "# Should we ship qlora-r16?"
    assert run.decisions[0].verdict.value in lines[2]
    target = next(g.comparison for g in run.gates if g.state == "gated" and g.test.endswith("test_intent"))
    assert target
    row = next(line for line in lines if "| support / intent | target" in line)
    assert numbers.interval(target.low, target.high) in row


def test_every_row_of_a_table_has_as_many_cells_as_its_head() -> None:
    width = None
    for line in render_markdown(hostile_run(HOSTILE)).splitlines():
        if not line.startswith("|"):
            width = None
            continue
        cells = line.count("|")
        assert width in (None, cells), line
        width = cells


def test_text_from_a_run_makes_no_markup() -> None:
    text = render_markdown(hostile_run(HOSTILE))
    assert "<script" not in text
    assert "https://evil" not in text
    assert not re.search(r"(?<!\w)@team", text)
    assert not re.search(r"\[[^]\n]*\]\(", text)
    assert text.count("<details>") == text.count("</details>")


@given(st.text())
def test_escaped_text_holds_no_active_character(text: str) -> None:
    escaped = plain(text)
    assert "\n" not in escaped
    without = re.sub(r"&#\d+;", "", escaped)
    assert not set(without) & set("|<>`*[\\~&")
    assert not escaped.startswith("/"), "GitLab does what such a line says"


def test_a_name_inside_a_word_stays_readable() -> None:
    assert plain("test_intent of qlora-r16@400") == "test_intent of qlora-r16@400"
    assert plain("_this_ @me") == "&#95;this&#95; &#64;\N{ZERO WIDTH SPACE}me"


def test_a_run_without_gates_or_money_still_has_a_summary() -> None:
    text = render_markdown(replace(sample_run(n_rows=20), gates=(), decisions=(), economics=()))
    assert "No gate was collected." in text
    assert "Cost" not in text


def test_control_characters_are_spelled_out() -> None:
    text = render_markdown(hostile_run("red \x1b[31m \x07 \x9b2J \u202e\ud800 end"))
    assert r"\x1b" not in text  # the backslash is an entity, too
    assert "&#92;x1b" in text
    assert "&#92;u202e&#92;ud800" in text
    assert all(character.isprintable() or character in "\n\u200b" for character in text)


def test_it_fits_a_comment_at_any_size() -> None:
    run = hostile_run("<*@team|" * 700)
    long = "a" * 3_000
    decisions = tuple(replace(run.decisions[0], candidate=f"{place}{long}") for place in range(60))
    gates = tuple(replace(gate, suite=f"{place}{long}") for place in range(20) for gate in run.gates)
    text = render_markdown(replace(run, decisions=decisions, gates=gates, notes=(long,) * 30))
    assert len(text) < 65_000
    assert text.startswith("# Which of 60 candidates should we ship?")
    assert "Left out, as a comment has no room" in text
    assert text.count("<details>") == text.count("</details>")
