"""What must stay to be read is printed above a bar on a terminal, and as a line in a log."""

from __future__ import annotations

from io import StringIO

from harness.models.progress import Drawn, Printed, Silent

SAID = "tuning job [ftjob-1] has begun"


def test_a_terminal_keeps_it_with_a_bar_and_without() -> None:
    terminal = StringIO()
    drawn = Drawn(terminal)
    drawn.say(f"{SAID} before")
    with drawn.task("tuning", unit="step") as bar:
        bar.at(0, None, SAID)
        drawn.say(f"{SAID} meanwhile")
    drawn.say(f"{SAID} after")
    for when in ("before", "meanwhile", "after"):
        assert f"{SAID} {when}" in terminal.getvalue()


def test_tasks_of_several_threads_share_one_display() -> None:
    terminal = StringIO()
    drawn = Drawn(terminal)
    with drawn.task("training 50", unit="step") as bar:
        with drawn.task("fetching", unit="B") as other:
            bar.at(1, 2, "loss 1.5")
            other.at(3e6, 4e6)
        bar.at(2, 2, "loss 1.4")
    shown = terminal.getvalue()
    assert "2/2" in shown
    assert "3/4 MB" in shown
    assert shown.count("training 50") == 1  # drawn when the last has ended
    with drawn.task("answers", unit="row") as bar:
        bar.at(5, 5)
    assert "5/5" in terminal.getvalue()


def test_a_log_gets_a_line_and_nothing_of_the_bar() -> None:
    lines: list[str] = []
    printed = Printed(lines.append)
    with printed.task("tuning", unit="step") as bar:
        bar.at(1, 2, "loss")
        printed.say(SAID)
    assert lines == [f"\nharness: {SAID}\n"]


def test_a_program_hears_nothing() -> None:
    Silent().say(SAID)
