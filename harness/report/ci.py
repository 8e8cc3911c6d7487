"""What a continuous integration shows of a run beside its reports: notes at lines, properties of tests.

GitHub's annotations are lines on standard output that the runner acts on ("workflow commands"), GitLab's
Code Quality is a JSON file, and JUnit's properties are names with values.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path

from harness.atomic import what_is_at
from harness.records import Decision, Gate, Outcome, Role, RunRecord, Verdict
from harness.report import numbers
from harness.report.printable import printable
from harness.report.trial_pairs import seeds_label, size_label

MOST_ANNOTATIONS = 10  # that GitHub shows of one step, for errors and for warnings each
_LONGEST = 800  # characters of a message


@dataclass(frozen=True, slots=True)
class Finding:
    """What stands against GO: a gate that is refuted or open, or what kept gates from being judged."""

    outcome: str  # "refuted", "open", "not run", "in the way"
    title: str
    message: str
    file: str = ""  # relative to the project's root; empty: no gate's
    line: int = 1

    @property
    def is_refuted(self) -> bool:
        """Whether it alone makes a NO-GO."""
        return self.outcome == "refuted"


def findings(record: RunRecord, root: Path) -> list[Finding]:
    """All that stands against GO, refuted gates first.

    Args:
        root: of the project, where a test without a place of its own is looked up.
    """
    # a gate that no test wrote (a reference run's) stands where its score is asserted
    places = {(g.suite, g.comparison.score): g.place for g in record.gates if g.comparison and g.place}
    gates = [
        replace(g, place=places.get((g.suite, g.comparison.score), "")) if g.comparison and not g.place else g
        for g in record.gates
    ]
    found = [finding for gate in gates if (finding := _of_gate(gate, root)) is not None]
    for money in record.money_gates:
        if money.outcome is not Outcome.SHOWN:
            label = size_label(money.size, None, money.candidate)
            found.append(_finding(money.outcome, money.test, label, money.reason, money.place, root))
    for decision in record.decisions:
        label = size_label(decision.size, None, decision.candidate)
        for obstacle in decision.obstacles or ():
            found.append(Finding("in the way", f"{decision.verdict.value}: {label}", obstacle))
    return sorted(found, key=lambda one: not one.is_refuted)


def verdict_of(decisions: Sequence[Decision]) -> str:
    """One word for a whole run: ``GO`` where every candidate is, ``NO-GO`` where any is; empty for none."""
    verdicts = {decision.verdict for decision in decisions}
    if len(verdicts) == 1 or Verdict.NO_GO in verdicts:
        return (Verdict.NO_GO if Verdict.NO_GO in verdicts else verdicts.pop()).value
    return Verdict.INCONCLUSIVE.value if verdicts else ""


def _of_gate(gate: Gate, root: Path) -> Finding | None:
    label, found = seeds_label(gate.size, gate.seeds, gate.candidate), gate.comparison
    if gate.state == "missing" or (gate.state == "gated" and found is None):
        why = gate.why or "it was deselected or never reached."
        return _finding(None, gate.test, label, why, gate.place, root)
    if gate.state != "gated" or found is None or found.outcome is Outcome.SHOWN:
        return None
    rows = f" where {found.rows}" if found.rows else ""
    means = (
        f"{numbers.mean(found.baseline_mean, found.kind)} → {numbers.mean(found.candidate_mean, found.kind)}"
    )
    claim = f"{gate.suite} / {found.score}{rows}, {found.candidate} against {found.baseline} ({means})"
    return _finding(found.outcome, gate.test, label, f"{claim}: {found.reason}", gate.place, root)


def _finding(outcome: Outcome | None, test: str, label: str, why: str, place: str, root: Path) -> Finding:
    words = {Outcome.REFUTED: "refuted", Outcome.INCONCLUSIVE: "open"}
    word = words[outcome] if outcome is not None else "not run"
    file, _, function = test.partition("::")
    line = 1
    if at := re.fullmatch(r"(.+?):(\d+)(?::\d+)?", place):
        file, line = at[1], int(at[2])
    elif what_is_at(root / file) != "file":
        file = ""
    else:
        name = re.escape(function.rpartition("::")[2].partition("[")[0])
        source = (root / file).read_text("utf-8", "replace")
        if written := re.search(rf"^\s*(async )?def {name}\b", source, re.MULTILINE):
            line = source.count("\n", 0, written.end()) + 1
    return Finding(word, f"{word}: {function or test} ({label})", why, file, line)


# --------------------------------------------------------------------------- GitHub
def workflow_commands(
    found: Sequence[Finding], shown: Callable[[str], str], *, is_ladder: bool
) -> Iterator[str]:
    """An annotation a line, as many as GitHub shows: refuted gates are errors, open ones warnings.

    Args:
        found: see `findings`.
        shown: a file as the repository names it.
        is_ladder: a rung that does not hold is no error there.
    """
    for is_refuted, level in ((True, "notice" if is_ladder else "error"), (False, "warning")):
        mine = [one for one in found if one.is_refuted is is_refuted]
        for place, one in enumerate(mine[:MOST_ANNOTATIONS], start=1):
            more = len(mine) - MOST_ANNOTATIONS if place == MOST_ANNOTATIONS else 0
            title = f"{one.title}, and {more:,} more" if more > 0 else one.title
            at = {"file": shown(one.file), "line": str(one.line)} if one.file else {}
            given = ",".join(f"{name}={_property(text)}" for name, text in {**at, "title": title}.items())
            yield f"::{level} {given}::{_data(one.message)}"


def _data(text: str) -> str:
    """As `@actions/core` escapes what a command says."""
    line = printable(text[:_LONGEST])
    return line.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")


def without_commands(line: str) -> str:
    """A line of a log that GitHub's runner takes for text, whatever a model wrote in it.

    The runner acts on ``::name::`` at the beginning of a line, white space aside, and on ``##[name]``
    anywhere in one. It compares as people read, so signs that have no width hide neither.
    """
    if re.match(r"\W*?::", line):
        line = f"| {line}"
    return re.sub(r"#(?=[^\w\s]*\[)", "# ", line)


# --------------------------------------------------------------------------- GitLab
def code_quality(record: RunRecord, root: Path, repository: Path) -> str:
    """GitLab's Code Quality report: a JSON list of what stands against GO, each at its place.

    A fingerprint says which gate and which outcome, not where or how far, so that a merge request shows
    what it changed.
    """
    seen: dict[str, int] = {}
    issues = []
    for one in findings(record, root):
        if not one.file:
            continue
        what = f"{one.file} {one.title}"
        seen[what] = seen.get(what, 0) + 1
        path = os.path.relpath(root / one.file, repository)
        issues.append(
            {
                "description": printable(f"{one.title}: {one.message}"[:_LONGEST]).replace("\n", " "),
                "check_name": f"finetune-harness/{one.outcome.replace(' ', '-')}",
                "fingerprint": sha256(f"{what} {seen[what]}".encode("utf-8", "replace")).hexdigest(),
                "severity": "critical" if one.is_refuted else "minor",
                "location": {"path": Path(path).as_posix(), "lines": {"begin": one.line}},
            }
        )
    return json.dumps(issues, indent=1)


# --------------------------------------------------------------------------- JUnit
def properties(gates: Sequence[Gate]) -> list[tuple[str, str]]:
    """The comparisons of one test as names with values, in score units; those of a second end in ``_2``."""
    found: list[tuple[str, str]] = []
    for gate in dict.fromkeys(gates):
        one = gate.comparison
        if one is None:
            continue
        number = 1 + sum(name.startswith("outcome") for name, _ in found)
        named = {
            "score": f"{one.score} where {one.rows}" if one.rows else one.score,
            "claim": gate.role.value,
            "margin": f"{abs(one.claimed):g}" if gate.role is not Role.THRESHOLD else f"{one.claimed:g}",
            "n": str(one.n),
            "difference": _decimal(one.difference),
            "interval": f"[{_decimal(one.low)}, {_decimal(one.high)}]",
            "outcome": one.outcome.value,
            "state": gate.state,
        }
        found += [(name if number == 1 else f"{name}_{number}", text) for name, text in named.items()]
    return found


def _decimal(value: float | None) -> str:
    return "unknown" if value is None else f"{value:+.4f}"
