"""A run as the comment on a pull or merge request: the report in brief, with a mark to find it again by."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256

from harness.decision.regression import why_blocked
from harness.records import RunRecord, Verdict
from harness.report.markdown import markdown_of, plain
from harness.report.view import build_view

NO_RUN = (
    "# No decision\n\n⚠️ The job ended before a report was written, so nothing is said of this change. Its log"
    " says why."
)


def mark_of(key: str) -> str:
    """The first line of a comment, which nobody sees. Comments with other keys are other comments."""
    return f"<!-- finetune-harness {sha256(key.encode('utf-8', 'replace')).hexdigest()[:16]} -->"


def comment_of(record: RunRecord | None, mark: str, links: Mapping[str, str], commit: str = "") -> str:
    """The comment, below its ``mark``; without a record, that there is none.

    Args:
        links: addresses by what they lead to.
        commit: that was judged.
    """
    tail = [f"[{plain(name)}](<{url}>)" for name, url in links.items()]
    tail += [f"commit {plain(commit[:12])}"] if commit else []
    body = (
        NO_RUN
        if record is None
        else f"{_consequence(record)}\n\n{markdown_of(build_view(record), is_brief=True)}"
    )
    return "\n\n".join(part.strip("\n") for part in (mark, body, " · ".join(tail)) if part) + "\n"


def _consequence(record: RunRecord) -> str:
    """What the gate's policy makes of the decisions."""
    policy = f"`--gate={record.gate_policy}`"
    if why := why_blocked(record):
        return f"**Blocks this change** ({policy}): {why.removesuffix(' fails the run')}."
    if any(decision.verdict is not Verdict.GO for decision in record.decisions) and record.ladder is None:
        return (
            f"**Neither blocks nor approves this change** ({policy}): no gate is refuted, and not every gate"
            " is shown."
        )
    changes = record.held_to.changes if record.held_to else ()
    same = bool(changes) and not any(one.answers or one.scores for one in changes)
    since = ": every answer is the reference run's, so nothing changed" if same else ""
    return f"**Does not block this change** ({policy}){since}."
