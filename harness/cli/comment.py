"""``harness comment``: a run as the one comment of a pull or merge request; GitLab's Code Quality report."""

from __future__ import annotations

import argparse
import os
import re
from pathlib import Path

from harness.atomic import what_is_at, write_atomically
from harness.cli.arguments import whole
from harness.cli.forges import NotPosted, Thread, github_thread, gitlab_thread, post
from harness.errors import UsageError
from harness.fields import LARGEST
from harness.records import RunRecord


def add_comment(parser: argparse.ArgumentParser) -> None:
    """Its arguments."""
    parser.add_argument(
        "run",
        type=Path,
        nargs="?",
        help="a run's folder or run.json, or a folder of runs, of which the newest is taken; without one, the"
        " comment says that there is no report",
    )
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--github", action="store_true", help="default in a step of GitHub Actions")
    where.add_argument("--gitlab", action="store_true", help="default in a job of GitLab")
    parser.add_argument("--number", type=whole(1, LARGEST), help="of the request, where no variable says it")
    parser.add_argument("--key", metavar="TEXT", help="tells comments of one request apart; default: the job")
    parser.add_argument("--link", metavar="URL", help="where the report is")
    parser.add_argument("--code-quality", type=Path, metavar="FILE", help="write GitLab's report, too")


def comment(given: argparse.Namespace) -> int:
    """Post or update it; elsewhere than on a forge, print it. A forge that refuses fails no job.

    Raises:
        HarnessError: the run cannot be read.
    """
    from harness.report.comment import comment_of, mark_of

    if given.link and not re.fullmatch(r"https?://[^\s<>]+", given.link):
        raise UsageError(f"--link={given.link}: write an address that begins with https://.")
    record = _newest(given.run)
    if given.code_quality is not None and record is not None:
        from harness.report.ci import code_quality

        repository = Path(os.environ.get("CI_PROJECT_DIR") or ".").absolute()
        write_atomically(given.code_quality, code_quality(record, Path.cwd(), repository))
    own = {"report": given.link} if given.link else {}
    key = (
        given.key
        or os.environ.get("CI_JOB_NAME")
        or "/".join(os.environ.get(name, "") for name in ("GITHUB_WORKFLOW", "GITHUB_JOB"))
    )
    mark = mark_of(key)
    try:
        thread = _thread(given)
        if thread is None:
            print(comment_of(record, mark, own), end="")  # noqa: T201 - a command prints
            return 0
        body = comment_of(record, mark, {**thread.links, **own}, thread.commit)
        print(post(thread, mark, body))  # noqa: T201
    except NotPosted as why:
        from harness.report.printable import printable

        print(f"no comment was written: {printable(' '.join(str(why).split()))}")  # noqa: T201
    return 0


def _thread(given: argparse.Namespace) -> Thread | None:
    if given.github or (not given.gitlab and os.environ.get("GITHUB_ACTIONS") == "true"):
        return github_thread(given.number)
    if given.gitlab or os.environ.get("GITLAB_CI") == "true":
        return gitlab_thread(given.number)
    return None


def _newest(run: Path | None) -> RunRecord | None:
    """The record of the run, or of the newest in a folder of runs; None where there is none."""
    from harness.cli.runs import load_record

    if run is None or what_is_at(run) is None:
        return None
    if what_is_at(run) == "folder" and not (run / "run.json").exists():
        runs = sorted(run.glob("*/run.json"), key=lambda file: file.parent.name)  # named after their time
        return load_record(runs[-1])[0] if runs else None
    return load_record(run)[0]
