"""A run becomes the reference that later ones are held to: after a GO, and with who, when and why."""

from __future__ import annotations

import getpass
import os
import subprocess
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from harness.atomic import write_atomically
from harness.errors import UsageError
from harness.records import Decision, RunRecord, Verdict
from harness.report.reference import dump_reference, is_blessed, reference_file, reference_of
from harness.run.against import row_keys, scores_made
from harness.run.session import Session

GIT_S = 10.0
CI_USERS = ("GITHUB_ACTOR", "GITLAB_USER_LOGIN")


def bless(run: Session, record: RunRecord, environment: Mapping[str, str] = os.environ) -> str:
    """Write the reference run, and say so.

    Raises:
        UsageError: why this run cannot be one.
        OSError: the file cannot be written.
    """
    decision = _go(record)
    found = reference_of(
        record,
        decision.candidate,
        decision.size,
        rows={name: row_keys(suite) for name, suite in run.suites.items()},
        scores={name: scores_made(suite) for name, suite in run.suites.items()},
    )
    root, file = run.settings.root, destination(run)
    found = replace(
        found,
        blessed=datetime.now(UTC).isoformat(timespec="seconds"),
        by=_who(root, environment),
        why=run.settings.bless_why,
        commit=_commit(root),
    )
    unseen = file.exists() and record.held_to is None  # each blessing might lower the bar a little
    write_atomically(file, dump_reference(found))
    name = run.lab.relative(file)
    return f"blessed: {found.label} is the reference run in {name}; commit it" + (
        f". It took the place of another one, to which this run was not held (--against={name})"
        if unseen
        else ""
    )


def destination(run: Session) -> Path:
    """The file that was named, else the one that this run was held to, else one beside the suites."""
    settings = run.settings
    if settings.bless_to is not None:
        return settings.bless_to
    if settings.against is not None and is_blessed(file := reference_file(settings.against)):
        return file
    folders = {suite.folder.parent.resolve() for suite in run.suites.values()}
    common, root = Path(os.path.commonpath(folders)), settings.root.resolve()
    return (common if common.is_relative_to(root) else root) / "reference.json"


def _go(record: RunRecord) -> Decision:
    """The one decision that can be blessed."""
    if record.rehearsal:
        raise UsageError("a rehearsal says nothing of the real models")
    missing = [gate.test.rpartition("::")[2] for gate in record.gates if gate.state == "missing"]
    if missing:
        more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        raise UsageError(f"not every gate was judged: {', '.join(missing[:3])}{more}")
    decided = [one for one in record.decisions if one.verdict is Verdict.GO]
    if record.ladder is not None:
        labels = {rung.candidate: rung.label for rung in record.ladder.rungs}
        decided = [one for one in decided if labels.get(one.candidate) == record.ladder.answer]
    if len(decided) == 1:
        return decided[0]
    if decided:
        names = ", ".join(one.candidate for one in decided)
        raise UsageError(f"{len(decided)} candidates are GO ({names}); choose one with --candidate")
    said = ", ".join(f"{one.candidate} is {one.verdict.value}" for one in record.decisions)
    raise UsageError(f"only a GO is blessed, and {said or 'nothing was decided'}")


def _who(root: Path, environment: Mapping[str, str]) -> str:
    """Who started the job in CI, who git says it is, or the user of this machine."""
    for name in CI_USERS:
        if environment.get(name):
            return environment[name]
    if name := _git(root, "config", "user.name") or _git(root, "config", "user.email"):
        return name
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):  # a container's user without a name
        return "not known"


def _commit(root: Path) -> str:
    """The commit that was tried; empty outside of a repository."""
    commit = _git(root, "rev-parse", "HEAD")
    is_changed = bool(commit) and _git(root, "status", "--porcelain", "--untracked-files=no") != ""
    return f"{commit} and changes that are not committed" if is_changed else commit


def _git(root: Path, *arguments: str) -> str:
    command = ["git", "-C", str(root), *arguments]
    try:
        found = subprocess.run(command, capture_output=True, text=True, timeout=GIT_S, check=False)
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError):
        return ""
    return found.stdout.strip() if found.returncode == 0 else ""
